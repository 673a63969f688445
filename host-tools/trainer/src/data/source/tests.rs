//! Tests of the sources: what each layout gives, and what it leaves out.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::super::pixels::tests::picture;
use super::*;

/// The bytes of a picture whose width tells which one it is.
pub(crate) fn png(width: u32) -> Vec<u8> {
    encoded(&picture(width, 4), ImageFormat::Png)
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// A tar archive with these files.
fn shard(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

fn ids(source: &dyn Source) -> Vec<&str> {
    source.samples().iter().map(|s| s.id.as_str()).collect()
}

fn widths(source: &dyn Source) -> Vec<u32> {
    (0..source.samples().len())
        .map(|index| source.picture(index).unwrap().width())
        .collect()
}

fn reasons(source: &dyn Source) -> String {
    let broken: Vec<String> = source
        .left_out()
        .broken
        .iter()
        .map(Broken::to_string)
        .collect();
    broken.join("\n")
}

#[test]
fn a_folder_is_walked_in_order_and_its_broken_files_are_told() {
    let dir = folder(&[
        ("b/2.png", &png(2)),
        ("b/1.jpg", &encoded(&picture(1, 1), ImageFormat::Jpeg)),
        ("a.dat", &png(3)),
        ("z.png", b""),
        ("notes.txt", b"text"),
        (".hidden.png", &png(9)),
        ("c/text.png", b"not a picture"),
    ]);
    let source = Folder::open(dir.path(), false).unwrap();
    assert_eq!(ids(&source), ["a.dat", "b/1.jpg", "b/2.png"]);
    assert_eq!(widths(&source), [3, 1, 2]);
    assert_eq!(source.left_out().to_string(), "2 broken, 1 other files");
    let told = reasons(&source);
    assert!(
        told.contains("c/text.png is not a readable picture"),
        "{told}"
    );
    assert!(
        told.contains("z.png") && told.contains("an empty file"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let outside = folder(&[("x.png", &png(1)), ("d/y.png", &png(2))]);
    let dir = folder(&[("a.png", &png(3))]);
    for name in ["x.png", "d"] {
        std::os::unix::fs::symlink(outside.path().join(name), dir.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(dir.path(), dir.path().join("round")).unwrap();
    let source = Folder::open(dir.path(), false).unwrap();
    assert_eq!(ids(&source), ["a.png"]);
    assert_eq!(source.left_out().broken.len(), 3);
    assert!(reasons(&source).contains("a link, which is not followed"));
}

#[test]
fn folders_are_classes_where_asked_for() {
    let dir = folder(&[
        ("dog/x/2.png", &png(2)),
        ("cat/1.png", &png(1)),
        ("stray.png", &png(3)),
        ("empty/notes.txt", b"text"),
    ]);
    let source = Folder::open(dir.path(), true).unwrap();
    assert_eq!(source.classnames(), ["cat", "dog"]);
    let labels: Vec<_> = source.samples().iter().map(|s| s.label).collect();
    assert_eq!(labels, [Some(0), Some(1)]);
    assert!(reasons(&source).contains("stray.png: lies beside"));
}

#[test]
fn a_source_without_a_good_record_is_an_error_that_counts() {
    let dir = folder(&[("a.png", b"no"), ("b.txt", b"text")]);
    let error = Folder::open(dir.path(), false).unwrap_err().to_string();
    assert!(
        error.contains("none of 2 records is good (1 broken"),
        "{error}"
    );
    assert!(error.contains("a.png"), "{error}");
    for missing in [dir.path().join("none"), dir.path().join("a.png")] {
        let error = Folder::open(&missing, false).unwrap_err().to_string();
        assert!(error.contains("expected a folder of pictures"), "{error}");
    }
}

fn table(dir: &TempDir, name: &str, text: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_table_has_quotes_several_captions_and_records_that_are_told() {
    let dir = folder(&[
        ("p/a.png", &png(1)),
        ("p/b.png", &png(2)),
        ("c.png", &png(3)),
        ("bad.png", b"bad"),
    ]);
    let text = b"\xef\xbb\xbfcaption,path,class\n\
        \"a \"\"red\"\" bus, parked\",p/a.png,bus\n\
        second,p/a.png,bus\n\
        \"two\nlines\",p/b.png,art\n\
        ,c.png,\n\
        gone,none.png,bus\n\
        nothing,,bus\n\
        broken,bad.png,bus\n\
        again,bad.png,bus\n\
        far,https://example.org/x.png,bus\n\
        too few,c.png\n\
        \xff,c.png,bus\n\
        other,p/a.png,art\n";
    let path = table(&dir, "t.csv", text);
    let columns = Columns {
        class: Some("class".into()),
        ..Columns::default()
    };
    let source = Table::open(&path, &columns).unwrap();
    assert_eq!(ids(&source), ["p/a.png", "p/b.png", "c.png"]);
    assert_eq!(widths(&source), [1, 2, 3]);
    assert_eq!(source.classnames(), ["art", "bus"]);
    let samples = source.samples();
    assert_eq!(samples[0].captions, ["a \"red\" bus, parked", "second"]);
    assert_eq!((samples[0].label, samples[2].label), (Some(1), None));
    assert_eq!(samples[1].captions, ["two\nlines"]);
    let left_out = source.left_out();
    assert_eq!(
        left_out.to_string(),
        "5 broken, 2 captions without a picture, 1 pictures without a caption"
    );
    assert!(
        left_out.without_picture[0].contains("t.csv, line 7: no "),
        "{left_out:?}"
    );
    assert!(
        left_out.without_picture[1].ends_with("t.csv, line 8"),
        "{left_out:?}"
    );
    let told = reasons(&source);
    for expected in [
        "line 9: ",
        "line 11: the address",
        "line 12: 2 fields, expected 3",
        "line 13: text that is not UTF-8",
        "line 14: class `art` of a picture of class `bus`",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn a_table_without_a_header_has_its_columns_named() {
    let dir = folder(&[("a.png", &png(1))]);
    let path = table(&dir, "t.TSV", b"a.png\t\"one\"\ttwo, \"three\"\n");
    let columns = Columns {
        names: Some(["path", "en", "de"].map(str::to_owned).to_vec()),
        captions: vec!["de".into(), "en".into()],
        ..Columns::default()
    };
    let source = Table::open(&path, &columns).unwrap();
    assert_eq!(source.samples()[0].captions, ["two, \"three\"", "one"]);
}

#[test]
fn a_quote_that_is_never_closed_swallows_the_rest_and_is_told() {
    let dir = folder(&[("a.png", &png(1))]);
    let path = table(
        &dir,
        "t.csv",
        b"path,caption\na.png,fine\n\"a.png,open\na.png,x\n",
    );
    let source = Table::open(&path, &Columns::default()).unwrap();
    assert_eq!(source.samples()[0].captions, ["fine"]);
    assert!(reasons(&source).contains("line 3: 1 fields, expected 2"));
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let dir = folder(&[("a.png", &png(1))]);
    let fault = |name: &str, text: &[u8]| {
        let path = table(&dir, name, text);
        Table::open(path, &Columns::default())
            .unwrap_err()
            .to_string()
    };
    let error = fault("t.csv", b"file,caption\na.png,x\n");
    assert!(
        error.contains("the columns file, caption, expected a column `path`"),
        "{error}"
    );
    assert!(fault("t.txt", b"path,caption\n").contains("a .csv or .tsv file"));
    assert!(fault("u.csv", b"path,caption\nno.png,x\n").contains("1 without a picture"));
    assert!(fault("v.csv", b"").contains("a column `path`"));
    let missing = Table::open(dir.path().join("w.csv"), &Columns::default());
    assert!(missing.unwrap_err().to_string().contains("w.csv"));
}

#[test]
fn shards_give_pictures_with_texts_of_three_kinds() {
    let dir = TempDir::new().unwrap();
    let long = format!("{}/long.png", "x".repeat(120));
    shard(
        &dir.path().join("s-000.tar"),
        &[
            ("b.txt", b" of b\n"),
            ("b.png", &png(2)),
            (
                "./d/a.json",
                br#"{"caption": "of a", "captions": ["more"], "label": 4, "url": 1}"#,
            ),
            ("./d/a.jpg", &encoded(&picture(1, 1), ImageFormat::Jpeg)),
            (&long, &png(3)),
        ],
    );
    shard(
        &dir.path().join("s-001.tar"),
        &[
            ("c.PNG", &png(4)),
            ("c.cls", b"7\n"),
            ("c.txt", b"same"),
            ("c.json", br#"{"text": "same"}"#),
            ("alone.txt", b"no picture"),
            ("bad.jpg", b"text"),
            ("bad.txt", b"of the bad one"),
            ("empty.png", b""),
            ("e.png", &png(5)),
            ("e.json", b"{"),
            ("e.jpg", &png(6)),
            ("f.png", &png(8)),
            ("f.txt", b"\xff"),
            ("readme", b"other"),
        ],
    );
    let pattern = dir.path().join("s-{000..001}.tar");
    let source = WebDataset::open(pattern.to_str().unwrap()).unwrap();
    let names = ids(&source);
    assert_eq!(names[..2], ["s-000.tar/b", "s-000.tar/d/a"]);
    assert_eq!(names[3..], ["s-001.tar/c", "s-001.tar/e", "s-001.tar/f"]);
    assert_eq!(widths(&source), [2, 1, 3, 4, 5, 8]);
    let samples = source.samples();
    assert_eq!(samples[0].captions, ["of b"]);
    assert_eq!(
        (&samples[1].captions[..], samples[1].label),
        (&["of a".into(), "more".into()][..], Some(4))
    );
    assert_eq!(
        (&samples[3].captions[..], samples[3].label),
        (&["same".to_owned()][..], Some(7))
    );
    assert_eq!(
        source.left_out().to_string(),
        "5 broken, 1 captions without a picture, 3 pictures without a caption, 1 other files"
    );
    assert!(source.left_out().without_picture[0].ends_with("s-001.tar: alone"));
    let told = reasons(&source);
    for expected in [
        "bad.jpg: found text that begins with `text`",
        "empty.png: found an empty file",
        "e.json: EOF",
        "e.jpg: a second picture of its name beside e.png",
        "f.txt: text that is not UTF-8",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(source.place(1).ends_with("d/a.jpg"), "{}", source.place(1));
}

#[test]
fn a_cut_shard_keeps_what_lies_before_the_cut() {
    let dir = TempDir::new().unwrap();
    let whole = dir.path().join("whole.tar");
    let files: Vec<_> = ["a.png", "b.png", "c.png"]
        .map(|name| (name, png(60)))
        .into();
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (*name, &bytes[..]))
        .collect();
    shard(&whole, &files);
    let bytes = fs::read(&whole).unwrap();
    let record = 512 + png(60).len().div_ceil(512) * 512;
    let cut = dir.path().join("cut.tar");
    for (len, good) in [(record + 700, 1), (2 * record + 100, 2), (record + 512, 1)] {
        fs::write(&cut, &bytes[..len]).unwrap();
        let source = WebDataset::open(cut.to_str().unwrap()).unwrap();
        assert_eq!(source.samples().len(), good, "{len}");
        assert_eq!(
            source.left_out().broken.len(),
            1,
            "{len}: {}",
            reasons(&source)
        );
        assert_eq!(widths(&source), vec![60; good]);
    }
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_shard_is_read_without_a_panic() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.tar");
    shard(&path, &[("a.png", &png(3)), ("a.txt", b"a")]);
    let whole = fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        if let Ok(source) = WebDataset::open(path.to_str().unwrap()) {
            for index in 0..source.samples().len() {
                let _ = source.picture(index);
            }
            return source.samples().len();
        }
        0
    };
    for len in (0..whole.len()).step_by(37) {
        assert!(read(&whole[..len]) <= 1);
    }
    for at in 0..512 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        assert!(read(&bytes) <= 1);
    }
    assert_eq!(read(&whole), 1);
}

#[test]
fn shards_that_are_missing_compressed_or_no_tar_are_told() {
    let dir = TempDir::new().unwrap();
    shard(&dir.path().join("0.tar"), &[("a.png", &png(1))]);
    fs::write(dir.path().join("1.tar"), b"\x1f\x8b\x08rest").unwrap();
    fs::write(dir.path().join("2.tar"), vec![b'x'; 2000]).unwrap();
    let open = |range: &str| {
        let pattern = dir.path().join(format!("{range}.tar"));
        WebDataset::open(pattern.to_str().unwrap())
    };
    let source = open("{0..3}").unwrap();
    assert_eq!(source.samples().len(), 1);
    let told = reasons(&source);
    assert!(
        told.contains("1.tar: is compressed") && told.contains("gunzip"),
        "{told}"
    );
    assert!(
        told.contains("2.tar: cannot be read after 0 entries"),
        "{told}"
    );
    assert!(told.contains("3.tar: "), "{told}");
    let error = open("{1..3}").unwrap_err().to_string();
    assert!(
        error.contains("none of 3 records is good (3 broken"),
        "{error}"
    );
}

#[test]
fn links_in_a_shard_are_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "a.png", "/etc/passwd")
        .unwrap();
    tar.finish().unwrap();
    let error = WebDataset::open(path.to_str().unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.png: a link"), "{error}");
}

#[test]
fn rows_have_labels_only_where_they_are_read() {
    let rows = vec![9; 2 * 3072];
    let source = Cifar10Rows::new(pinhole_data::Cifar10::from_rows(rows.clone(), None).unwrap());
    assert_eq!(
        (ids(&source), source.classnames().len()),
        (vec!["row 0", "row 1"], 0)
    );
    let labelled = pinhole_data::Cifar10::from_rows(rows, Some(vec![3, 0])).unwrap();
    let source = Cifar10Rows::new(labelled);
    assert_eq!(source.samples()[0].label, Some(3));
    assert_eq!(source.classnames()[3], "cat");
    assert_eq!(widths(&source), [32, 32]);
}

#[test]
fn stamps_have_a_caption_each_and_the_others_are_told() {
    let dir = folder(&[
        ("x/a.png", &png(1)),
        ("x/a.txt", b"A frog.\nde.utf8=Ein Frosch.\n"),
        ("b.png", &png(2)),
        ("c.png", b"broken"),
        ("c.txt", b"A cat."),
        ("d.png", &png(4)),
        ("d.txt", b"Two wild boars."),
    ]);
    let source = CaptionedStamps::open(dir.path(), false).unwrap();
    assert_eq!(ids(&source), ["d.png", "x/a.png"]);
    assert_eq!(source.samples()[1].captions, ["A frog."]);
    let told = reasons(&source);
    assert!(told.contains("b.png: a stamp without a caption"), "{told}");
    assert!(told.contains("c.png is not a readable picture"), "{told}");
    assert_eq!(
        ids(&CaptionedStamps::open(dir.path(), true).unwrap()),
        ["x/a.png"]
    );
}

#[test]
fn any_thread_reads_any_sample() {
    let names: Vec<String> = (1..20).map(|i| format!("{i:02}.png")).collect();
    let pictures: Vec<Vec<u8>> = (1..20).map(png).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(String::as_str)
        .zip(pictures.iter().map(Vec::as_slice))
        .collect();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.tar");
    shard(&path, &files);
    let source = WebDataset::open(path.to_str().unwrap()).unwrap();
    thread::scope(|scope| {
        for offset in 0..4 {
            let source = &source;
            scope.spawn(move || {
                for i in 0..19 {
                    let index = (i * 7 + offset * 5) % 19;
                    assert_eq!(source.picture(index).unwrap().width(), index as u32 + 1);
                }
            });
        }
    });
}

#[test]
fn a_recipe_names_each_kind() {
    let dir = folder(&[
        ("pictures/a.png", &png(1)),
        ("t.csv", b"file,caption\npictures/a.png,x\n"),
        ("stamps/b.png", &png(2)),
        ("stamps/b.txt", b"A cat."),
    ]);
    shard(&dir.path().join("s-0.tar"), &[("a.png", &png(1))]);
    let open = |text: &str| toml::from_str::<SourceSpec>(text).unwrap().open(dir.path());
    for text in [
        "kind = \"folder\"\npath = \"pictures\"",
        "kind = \"table\"\npath = \"t.csv\"\n[columns]\npicture = \"file\"",
        "kind = \"webdataset\"\npath = \"s-{0..0}.tar\"",
        "kind = \"stamps\"\npath = \"stamps\"\nsingle_objects = true",
    ] {
        assert_eq!(open(text).unwrap().samples().len(), 1, "{text}");
    }
    let error = open("kind = \"cifar10\"\npath = \"none\"\nlabelled = true")
        .err()
        .unwrap();
    assert!(error.to_string().contains("none"), "{error}");
    for (text, expected) in [
        ("kind = \"folder\"\npath = \"x\"\nclass = true", "`class`"),
        ("kind = \"zip\"\npath = \"x\"", "`zip`"),
        (
            "kind = \"table\"\npath = \"x\"\n[columns]\ncaption = \"x\"",
            "`caption`",
        ),
    ] {
        let error = toml::from_str::<SourceSpec>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
