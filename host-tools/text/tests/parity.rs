//! Ids and cleaned texts against the reference libraries: on the lines under `golden/tokenizers`, and, when asked, on
//! those that `tests/tokenizers/run.sh` makes in the folder of `PINHOLE_TOKENIZERS`.
//!
//! Such a folder holds `texts.jsonl`, `cases.json`, and for each case a tokenizer file and a file of ids.

use pinhole_text::tokenizer::{Clean, Tokenizer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Case {
    name: String,
    /// The tokenizer file.
    file: String,
    clean: String,
    /// Rows are padded to it; without it they are as long as the text.
    context_length: Option<usize>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers")
}

fn made() -> PathBuf {
    let folder = std::env::var_os("PINHOLE_TOKENIZERS");
    folder
        .expect("PINHOLE_TOKENIZERS names the folder that tests/tokenizers/run.sh makes")
        .into()
}

fn lines<T: DeserializeOwned>(path: &Path) -> impl Iterator<Item = T> + use<T> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(file).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn clean(name: &str) -> Clean {
    match name {
        "none" => Clean::None,
        "whitespace" => Clean::Whitespace,
        "lower" => Clean::Lower,
        "canonicalize" => Clean::Canonicalize,
        other => panic!("{other} is no cleaning"),
    }
}

/// Prints how many lines are identical and the first that are not; gives the number of those.
fn compare<T: PartialEq + std::fmt::Debug>(
    name: &str,
    texts: &[String],
    expected: impl Iterator<Item = T>,
    found: impl Fn(&str) -> T,
) -> usize {
    let (mut count, mut different) = (0, 0);
    for (text, expected) in texts.iter().zip(expected) {
        let found = found(text);
        if found != expected {
            different += 1;
            if different <= 3 {
                println!("  {text:?}\n    expected {expected:?}\n    found    {found:?}");
            }
        }
        count += 1;
    }
    assert_eq!(count, texts.len(), "{name}: lines of the reference");
    println!("{name}: {} of {count} identical", count - different);
    different
}

/// Compares every cleaning, and fails when a line differs.
fn compare_cleaned_texts(folder: &Path) {
    let texts: Vec<String> = lines(&folder.join("texts.jsonl")).collect();
    let compare = |name: &str| {
        let file = format!("clean_{name}.jsonl");
        let expected = lines::<String>(&folder.join(&file));
        compare(&file, &texts, expected, |text| {
            clean(name).apply(text).into_owned()
        })
    };
    let different = ["lower", "whitespace", "canonicalize"].map(compare);
    assert_eq!(different, [0; 3], "lines that differ");
}

/// Compares the ids of every case, and fails when a line differs.
fn compare_ids(folder: &Path) {
    let texts: Vec<String> = lines(&folder.join("texts.jsonl")).collect();
    let cases = std::fs::read(folder.join("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    assert!(!cases.is_empty());
    let different = cases.iter().map(|case| {
        let tokenizer = Tokenizer::load(&folder.join(&case.file)).unwrap();
        let tokenizer = tokenizer.with_clean(clean(&case.clean));
        let encode = |text: &str| match case.context_length {
            Some(len) => tokenizer.encode_padded(text, len).unwrap(),
            None => tokenizer.encode(text),
        };
        let expected = lines(&folder.join(format!("{}.jsonl", case.name)));
        compare(&case.name, &texts, expected, encode)
    });
    assert_eq!(different.sum::<usize>(), 0, "lines that differ");
}

#[test]
fn cleaned_golden_texts_equal_the_reference() {
    compare_cleaned_texts(&golden());
}

#[test]
fn ids_of_golden_texts_equal_the_reference() {
    compare_ids(&golden());
}

#[test]
#[ignore = "needs the files that tests/tokenizers/run.sh makes"]
fn cleaned_texts_equal_the_reference() {
    compare_cleaned_texts(&made());
}

#[test]
#[ignore = "needs the files that tests/tokenizers/run.sh makes"]
fn ids_equal_the_reference() {
    compare_ids(&made());
}
