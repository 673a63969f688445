//! WordPiece against the reference: ids made by PyPI `tokenizers` (`golden/make_wordpiece.py`), and files that are wrong.

use pinhole_text::tokenizer::{Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const VOCAB: &str = include_str!("golden/vocab.txt");
const CASES: &str = include_str!("golden/wordpiece.jsonl");
const CODE_POINTS: &str = include_str!("golden/wordpiece_code_points.txt");

static UNCASED: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::load_bytes(VOCAB.as_bytes()).expect("the golden vocabulary loads"));

/// `clean_text`, `handle_chinese_chars`, `strip_accents`, `lowercase`, maximum of tokens.
type Settings = (bool, bool, Option<bool>, bool, usize);

/// A `tokenizer.json` with the parts that MiniLM's has, around `vocab`.
fn tokenizer_json(vocab: Value, settings: Settings) -> Value {
    let (clean_text, handle_chinese_chars, strip_accents, lowercase, max_length) = settings;
    let special = |(id, content)| {
        json!({"id": id, "special": true, "content": content, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    };
    let specials = [
        (0, "[PAD]"),
        (100, "[UNK]"),
        (101, "[CLS]"),
        (102, "[SEP]"),
        (103, "[MASK]"),
    ];
    json!({
        "version": "1.0",
        "truncation": {"max_length": max_length, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_id": 0, "pad_token": "[PAD]"},
        "added_tokens": specials.map(special),
        "normalizer": {"type": "BertNormalizer", "clean_text": clean_text, "lowercase": lowercase,
                       "handle_chinese_chars": handle_chinese_chars, "strip_accents": strip_accents},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [102], "tokens": ["[SEP]"]}},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

fn full_vocab() -> Value {
    VOCAB
        .lines()
        .enumerate()
        .map(|(id, token)| (token.to_owned(), json!(id)))
        .collect()
}

/// A small file, quick to break in many places.
fn small_json() -> Value {
    let mut file = tokenizer_json(
        json!({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "cat": 5, "##s": 6, "a": 7}),
        (true, true, None, true, 16),
    );
    for (id, index) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)] {
        file["added_tokens"][index]["id"] = json!(id);
    }
    file["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([2]);
    file["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([3]);
    file
}

/// Loads the small file with the value at `pointer` replaced, and gives the message of the refusal.
fn refusal(pointer: &str, value: Value) -> String {
    let mut file = small_json();
    *file
        .pointer_mut(pointer)
        .expect("the small file has the setting") = value;
    let error =
        Tokenizer::load_bytes(file.to_string().as_bytes()).expect_err("the file is refused");
    error.to_string()
}

#[test]
fn ids_equal_the_reference_for_every_golden_text_and_setting() {
    let mut loaded: Option<(Settings, Tokenizer)> = None;
    let mut count = 0;
    for line in CASES.lines() {
        let (settings, text, expected): (Settings, String, Vec<u32>) =
            serde_json::from_str(line).unwrap();
        if loaded.as_ref().is_none_or(|(of, _)| *of != settings) {
            let file = tokenizer_json(full_vocab(), settings).to_string();
            loaded = Some((settings, Tokenizer::load_bytes(file.as_bytes()).unwrap()));
        }
        let (_, tokenizer) = loaded.as_ref().unwrap();
        assert_eq!(tokenizer.encode(&text), expected, "{settings:?} {text:?}");
        count += 1;
    }
    assert!(count > 1000, "only {count} golden cases were read");
}

#[test]
fn ids_equal_the_reference_around_every_code_point() {
    for line in CODE_POINTS.lines() {
        let (block, expected) = line.split_once(' ').unwrap();
        let block = u32::from_str_radix(block, 16).unwrap();
        let mut digest = Sha256::new();
        for c in (block..block + 4096).filter_map(char::from_u32) {
            let ids = UNCASED.encode(&format!("a{c}b {c} {c}\u{301}"));
            digest.update(
                ids.iter()
                    .flat_map(|id| id.to_le_bytes())
                    .collect::<Vec<u8>>(),
            );
        }
        let found: String = digest.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, expected, "block of code points from {block:#x}");
    }
}

#[test]
fn vocab_txt_and_tokenizer_json_give_the_same_ids() {
    let file = tokenizer_json(full_vocab(), (true, true, None, true, 512)).to_string();
    let from_json = Tokenizer::load_bytes(file.as_bytes()).unwrap();
    assert_eq!(
        (
            from_json.vocab_len(),
            from_json.max_tokens(),
            from_json.pad_id()
        ),
        (30522, 512, 0)
    );
    assert_eq!(
        (UNCASED.vocab_len(), UNCASED.max_tokens(), UNCASED.pad_id()),
        (30522, 512, 0)
    );
    for text in [
        "a photo of a cat.",
        "[MASK] ünïcode 東京 qwxzj",
        &"long ".repeat(600),
    ] {
        assert_eq!(from_json.encode(text), UNCASED.encode(text));
    }
}

#[test]
fn the_maximum_can_be_lowered_to_the_special_tokens_and_no_further() {
    let short = UNCASED.clone().with_max_tokens(4).unwrap();
    assert_eq!(short.encode("a photo of a cat."), [101, 1037, 6302, 102]);
    assert_eq!(
        UNCASED
            .clone()
            .with_max_tokens(2)
            .unwrap()
            .encode("a photo"),
        [101, 102]
    );
    let error = UNCASED.clone().with_max_tokens(1).unwrap_err();
    assert!(matches!(
        error,
        TokenizerError::MaxTokens {
            found: 1,
            specials: 2
        }
    ));
}

#[test]
fn the_older_bert_post_processor_frames_as_the_template_does() {
    let mut file = small_json();
    let template = Tokenizer::load_bytes(file.to_string().as_bytes()).unwrap();
    file["post_processor"] =
        json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    let older = Tokenizer::load_bytes(file.to_string().as_bytes()).unwrap();
    assert_eq!(older.encode("a cats"), [2, 7, 5, 6, 3]);
    assert_eq!(older.encode("a cats"), template.encode("a cats"));
}

#[test]
fn a_setting_that_cannot_be_honoured_is_refused_by_name() {
    let cases = [
        (
            "/model/type",
            json!("WordLevel"),
            "found WordLevel, expected a model of type WordPiece, BPE or Unigram",
        ),
        (
            "/normalizer/type",
            json!("StripAccents"),
            "normalizer: found StripAccents",
        ),
        (
            "/pre_tokenizer/type",
            json!("Whitespace"),
            "pre_tokenizer: found Whitespace",
        ),
        ("/pre_tokenizer", Value::Null, "pre_tokenizer: found none"),
        (
            "/post_processor/type",
            json!("PrefixProcessing"),
            "post_processor: found PrefixProcessing",
        ),
        (
            "/post_processor/single",
            json!([]),
            "found 0 places for the text",
        ),
        (
            "/post_processor/special_tokens",
            json!({}),
            "found [CLS] in the template",
        ),
        (
            "/post_processor/special_tokens/[SEP]/ids",
            json!([999]),
            "found special token id 999",
        ),
        (
            "/truncation/max_length",
            json!(1),
            "found max_length 1, expected at least 2",
        ),
        (
            "/added_tokens/4/single_word",
            json!(true),
            "added token [MASK]: found single_word true",
        ),
        (
            "/added_tokens/4/id",
            json!(5),
            "added token [MASK]: found id 5, expected 4",
        ),
        (
            "/model/unk_token",
            json!("<unk>"),
            "found no <unk> in the vocabulary",
        ),
        (
            "/model/vocab/cat",
            json!(7),
            "found id 7 for both \"a\" and \"cat\"",
        ),
        (
            "/model/vocab/cat",
            json!(4_000_000_000_u32),
            "found token id 4000000000",
        ),
        (
            "/model/vocab",
            json!([["a", -1.5]]),
            "expected a whole tokenizer.json",
        ),
        ("/padding/pad_id", json!(77), "found special token id 77"),
    ];
    for (pointer, value, expected) in cases {
        let message = refusal(pointer, value);
        assert!(message.contains(expected), "{pointer}: {message}");
        assert!(message.starts_with("tokenizer: "), "{message}");
    }
}

#[test]
fn all_faults_of_a_file_are_named_at_once() {
    let mut file = small_json();
    file["normalizer"]["type"] = json!("NFKC");
    file["pre_tokenizer"]["type"] = json!("Split");
    let message = Tokenizer::load_bytes(file.to_string().as_bytes())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("NFKC") && message.contains("Split"),
        "{message}"
    );
}

#[test]
fn foreign_files_are_refused_with_what_was_found() {
    let text = |bytes: &[u8]| Tokenizer::load_bytes(bytes).unwrap_err().to_string();
    assert!(text(b"").contains("found no [UNK]"));
    assert!(
        text(b"# a readme\n\nabout\n\nthings\n").contains("line 4 repeats the token of line 2")
    );
    assert!(text(b"PK\x03\x04\xff\xfe").contains("not UTF-8 at offset 4"));
    assert!(text(b"{\"a\": 1}").contains("found no model, expected a model of type WordPiece"));
    assert!(text("[".repeat(100_000).as_bytes()).contains("found no [UNK]"));
    let nested = format!("{{\"model\":{}", "{\"model\":".repeat(100_000));
    assert!(text(nested.as_bytes()).contains("expected a whole tokenizer.json"));
}

#[test]
fn a_missing_and_an_oversized_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("tokenizer.json");
    let error = Tokenizer::load(&missing).unwrap_err();
    assert!(
        matches!(&error, TokenizerError::Io { path, .. } if *path == missing),
        "{error}"
    );
    let huge = folder.path().join("huge.json");
    // Sparse, so that the test costs no disk.
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(matches!(
        Tokenizer::load(&huge),
        Err(TokenizerError::TooLarge { .. })
    ));
}

#[test]
fn every_truncation_of_tokenizer_json_is_refused() {
    let file = small_json().to_string();
    for len in 0..file.len() {
        assert!(
            Tokenizer::load_bytes(&file.as_bytes()[..len]).is_err(),
            "cut at {len}"
        );
    }
}

#[test]
fn every_flipped_bit_of_tokenizer_json_loads_or_is_refused_without_a_panic() {
    let file = small_json().to_string().into_bytes();
    for index in 0..file.len() {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[index] ^= 1 << bit;
            if let Ok(tokenizer) = Tokenizer::load_bytes(&flipped) {
                let ids = tokenizer.encode("cats [MASK] a東");
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_gives_framed_ids_within_the_vocabulary(text in "\\PC*|(?s).*", max_tokens in 2_usize..40) {
        let tokenizer = UNCASED.clone().with_max_tokens(max_tokens).unwrap();
        let ids = tokenizer.encode(&text);
        prop_assert!(ids.len() <= max_tokens);
        prop_assert_eq!((ids.first(), ids.last()), (Some(&101), Some(&102)));
        prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
        // A lower maximum cuts the same ids, it makes no others.
        let all = UNCASED.encode(&text);
        prop_assert_eq!(&ids[..ids.len() - 1], &all[..(all.len() - 1).min(max_tokens - 1)]);
    }

    #[test]
    fn any_bytes_load_or_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Tokenizer::load_bytes(&bytes);
    }
}
