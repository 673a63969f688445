//! Tests of shards: what an archive gives, and what is told of one that is cut or damaged.

use std::fs;
use std::thread;

use image::ImageFormat;
use tempfile::TempDir;

use super::super::super::pixels::tests::picture;
use super::super::tests::{encoded, ids, png, reasons, shard, widths};
use super::*;

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
fn only_a_single_ending_makes_a_file_the_picture_of_its_sample() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.tar");
    let files: [(&str, &[u8]); 3] = [
        ("a.mask.png", &png(1)),
        ("a.png", &png(2)),
        ("a.json", b"\xef\xbb\xbf{\"caption\": \"of a\"}"),
    ];
    shard(&path, &files);
    let source = WebDataset::open(path.to_str().unwrap()).unwrap();
    assert_eq!((ids(&source), widths(&source)), (vec!["s.tar/a"], vec![2]));
    assert_eq!(source.samples()[0].captions, ["of a"]);
    assert_eq!(source.left_out().to_string(), "1 other files");
}

#[test]
fn a_size_beyond_all_numbers_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s.tar");
    shard(&path, &[("a.png", &png(1)), ("b.png", &png(2))]);
    let mut bytes = fs::read(&path).unwrap();
    let second = 512 + png(1).len().div_ceil(512) * 512;
    // The field of the size as a binary number, then the sum of the header.
    for size in [u64::MAX, u64::MAX - 1024] {
        let mut header = tar::Header::new_gnu();
        header
            .as_mut_bytes()
            .copy_from_slice(&bytes[second..][..512]);
        header.set_size(size);
        header.set_cksum();
        bytes[second..][..512].copy_from_slice(header.as_bytes());
        fs::write(&path, &bytes).unwrap();
        let source = WebDataset::open(path.to_str().unwrap()).unwrap();
        assert_eq!(
            (ids(&source), source.left_out().broken.len()),
            (vec!["s.tar/a"], 1)
        );
    }
}
