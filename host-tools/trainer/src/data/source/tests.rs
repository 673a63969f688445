//! Tests of the sources: what each layout gives, and what it leaves out.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::super::pixels::tests::picture;
use super::*;

/// The bytes of a picture whose width tells which one it is.
pub(crate) fn png(width: u32) -> Vec<u8> {
    encoded(&picture(width, 4), ImageFormat::Png)
}

pub(crate) fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
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
pub(crate) fn shard(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

pub(crate) fn ids(source: &dyn Source) -> Vec<&str> {
    source.samples().iter().map(|s| s.id.as_str()).collect()
}

pub(crate) fn widths(source: &dyn Source) -> Vec<u32> {
    (0..source.samples().len())
        .map(|index| source.picture(index).unwrap().width())
        .collect()
}

pub(crate) fn reasons(source: &dyn Source) -> String {
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
        second,./p//a.png,bus\n\
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
