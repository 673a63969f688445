//! Transcripts for people, kept under `golden/`: help texts whole; results with their numbers and hashes blanked, so that a
//! model that was trained again changes none of them.

use std::path::PathBuf;

use crate::{BANK, CAT, GRAPH, IMAGE, run};

/// Every verb, and what can follow it.
const VERBS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["classify"],
    &["embed"],
    &["eval"],
    &["import"],
    &["quantize"],
    &["pack"],
    &["convert"],
    &["export"],
    &["inspect"],
    &["diff"],
    &["bench"],
    &["board"],
    &["board", "list"],
    &["board", "flash"],
    &["board", "run"],
    &["board", "monitor"],
    &["board", "stats"],
    &["board", "slots"],
    &["board", "selftest"],
    &["board", "select"],
    &["board", "upload"],
    &["board", "activate"],
    &["board", "threshold"],
    &["board", "provision"],
    &["board", "reboot"],
    &["monitor"],
    &["flash"],
    &["classes"],
    &["classes", "list"],
    &["classes", "add"],
    &["classes", "remove"],
    &["classes", "push"],
    &["data"],
    &["data", "list"],
    &["data", "get"],
    #[cfg(feature = "train")]
    &["features"],
    #[cfg(feature = "train")]
    &["train"],
    &["keygen"],
    &["sign"],
    &["doctor"],
];

/// Compares with the transcript of a name, or writes it.
#[track_caller]
fn compare(name: &str, found: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("PINHOLE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(&path, found).expect("a transcript");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} differs; PINHOLE_GOLDEN=write cargo test -p pinhole --test cli golden rewrites it. Found:\n{found}",
        path.display()
    );
}

/// Digits, and the hexadecimal words that hold them, as `#`; columns that depend on their width are drawn together.
fn without_numbers(text: &str) -> String {
    let blank = |word: &str| {
        let is_hash = word.len() >= 32
            && word
                .trim_end_matches(',')
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            return "#".to_owned();
        }
        let mut blanked = String::new();
        for letter in word.chars() {
            match letter {
                '0'..='9' | '.' | '-' if blanked.ends_with('#') => {}
                '0'..='9' => {
                    // The sign of a number is a part of it.
                    blanked.truncate(blanked.trim_end_matches('-').len());
                    blanked.push('#');
                }
                letter => blanked.push(letter),
            }
        }
        blanked
    };
    let line = |line: &str| {
        let indent = if line.starts_with(' ') { "  " } else { "" };
        let words: Vec<String> = line.split_whitespace().map(blank).collect();
        format!("{indent}{}\n", words.join(" "))
    };
    text.lines().map(line).collect()
}

#[test]
fn every_verb_explains_itself_as_before_and_with_an_example() {
    for verb in VERBS {
        let help = run(verb.iter().chain(&["--help"])).done();
        assert!(help.contains("Example"), "{verb:?} has no example");
        // The usage of a verb with many options is one line, for the terminal to break.
        let fits = |line: &str| line.chars().count() <= 100 || line.starts_with("Usage: ");
        assert!(
            help.lines().all(fits),
            "{verb:?} has a line that is too long"
        );
        let name = if verb.is_empty() {
            "pinhole".to_owned()
        } else {
            verb.join("-")
        };
        compare(&format!("help-{name}"), &help);
    }
}

/// What is copied from a help text must be what was written there, on a terminal of 80 columns too.
#[test]
fn no_example_is_broken_on_a_terminal_of_80_columns() {
    for verb in VERBS {
        let help = |columns: &str| {
            let args = verb.iter().chain(&["--help"]);
            let output = crate::command().args(args).env("COLUMNS", columns).output();
            let help = String::from_utf8(output.expect("it starts").stdout).expect("UTF-8");
            let examples = help.find("\nExample").expect("examples");
            help[examples..].to_owned()
        };
        assert_eq!(help("80"), help("100"), "{verb:?}");
    }
}

#[test]
fn a_picture_is_named_as_before() {
    let found = run(["classify", "--model", IMAGE, "--bank", BANK, CAT]).done();
    // Which classes come after the first is the model's affair.
    let mut lines = found.lines();
    let first = lines.next().expect("a line").to_owned() + "\n";
    let others: String = lines
        .map(|line| {
            let (label, score) = line.trim().rsplit_once(' ').expect("a label and a score");
            assert!(!label.trim().is_empty());
            format!("    {:<24} {score}\n", "LABEL")
        })
        .collect();
    compare("classify", &without_numbers(&(first + &others)));
}

#[test]
fn files_are_described_as_before() {
    let model = run(["inspect", IMAGE]).done();
    // The heading and the first operator show the form.
    let model: String = model
        .lines()
        .take(10)
        .map(|line| format!("{line}\n"))
        .collect();
    compare("inspect-model", &without_numbers(&model));
    let bank = run(["inspect", BANK]).done();
    // The templates and the further classes are the affair of the bank.
    let bank: String = bank
        .lines()
        .filter(|line| !line.contains(" template "))
        .map(|line| match line.starts_with("  classes ") {
            true => "  classes NAMES\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    compare("inspect-bank", &without_numbers(&bank));
    let graph = run(["inspect", GRAPH]).done();
    let graph: String = graph
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect();
    compare("inspect-graph", &without_numbers(&graph));
}
