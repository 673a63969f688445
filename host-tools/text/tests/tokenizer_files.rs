//! Tokenizers of every kind on any text, and from files that are cut, damaged or not understood.

use pinhole_text::tokenizer::{Clean, Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

const FILES: [&str; 8] = [
    "clip_merges.txt.gz",
    "clip_new.json",
    "clip_old.json",
    "t5.json",
    "t5_old.json",
    "gemma.json",
    "siglip.model",
    "bytes.model",
];

fn bytes(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers");
    std::fs::read(folder.join(file)).unwrap()
}

static TOKENIZERS: LazyLock<[Tokenizer; 8]> =
    LazyLock::new(|| FILES.map(|file| Tokenizer::load_bytes(&bytes(file)).unwrap()));

fn refusal(bytes: &[u8]) -> String {
    Tokenizer::load_bytes(bytes).unwrap_err().to_string()
}

/// Loads a file with the value at `pointer` replaced, and gives the message of the refusal.
fn refusal_with(file: &str, pointer: &str, value: Value) -> String {
    let mut json: Value = serde_json::from_slice(&bytes(file)).unwrap();
    *json.pointer_mut(pointer).expect("the file has the setting") = value;
    refusal(json.to_string().as_bytes())
}

#[test]
fn a_component_that_is_not_known_is_refused_by_name_with_what_is_known() {
    let cases = [
        (
            "clip_new.json",
            "/model/type",
            json!("WordLevel"),
            "found WordLevel, expected a model of type WordPiece, BPE",
        ),
        (
            "clip_new.json",
            "/normalizer",
            json!({"type": "Nmt"}),
            "normalizer: found Nmt, expected BertNormalizer, NFC",
        ),
        (
            "clip_new.json",
            "/normalizer/normalizers/0/type",
            json!("ByteLevel"),
            "normalizer: found ByteLevel",
        ),
        (
            "clip_new.json",
            "/normalizer/normalizers/1/extra",
            json!(1),
            "unknown field `extra`",
        ),
        (
            "clip_new.json",
            "/pre_tokenizer",
            json!({"type": "Digits"}),
            "pre_tokenizer: found Digits, expected BertPre",
        ),
        (
            "clip_new.json",
            "/pre_tokenizer/pretokenizers/0/pattern",
            json!({"Regex": "a(?!b)"}),
            "found the pattern \"a(?!b)\", expected one without look-around",
        ),
        (
            "clip_new.json",
            "/post_processor/type",
            json!("Pairs"),
            "post_processor: found Pairs, expected TemplateProc",
        ),
        (
            "clip_new.json",
            "/model/dropout",
            json!(0.1),
            "model: found dropout 0.1, expected none",
        ),
        (
            "clip_new.json",
            "/model/merges/0",
            json!("i n x"),
            "merge 0: expected two tokens",
        ),
        (
            "clip_new.json",
            "/model/merges/0",
            json!(["i", "qq"]),
            "merge 0: found \"i\" \"qq\"",
        ),
        (
            "clip_new.json",
            "/model/unk_token",
            json!("<none>"),
            "found no <none> in the vocabulary",
        ),
        (
            "t5.json",
            "/model/unk_id",
            json!(99999),
            "model: found unk_id 99999, expected one below",
        ),
        (
            "t5.json",
            "/model/vocab/5/0",
            json!(""),
            "model: found token 5 empty",
        ),
        (
            "t5.json",
            "/model/vocab/5/0",
            json!("<unk>"),
            "model: found \"<unk>\" as tokens 2 and 5",
        ),
        (
            "t5.json",
            "/normalizer/precompiled_charsmap",
            json!("AAAA"),
            "Precompiled: found a character map of 3 bytes",
        ),
        (
            "t5.json",
            "/normalizer/precompiled_charsmap",
            json!("?"),
            "Precompiled: Invalid",
        ),
        (
            "t5.json",
            "/pre_tokenizer/pretokenizers/1/prepend_scheme",
            json!("often"),
            "unknown variant `often`",
        ),
    ];
    for (file, pointer, value, expected) in cases {
        let mut json: Value = serde_json::from_slice(&bytes(file)).unwrap();
        let message = match json.pointer(pointer) {
            Some(_) => refusal_with(file, pointer, value),
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                json.pointer_mut(parent).unwrap()[name] = value;
                refusal(json.to_string().as_bytes())
            }
        };
        assert!(message.contains(expected), "{file} {pointer}: {message}");
    }
}

#[test]
fn merges_and_models_that_are_wrong_are_refused_with_the_place() {
    assert!(
        refusal(b"#version: 0.2\ni n\nt\n").contains("line 3: found \"t\", expected two tokens")
    );
    assert!(refusal(b"#version: 0.2\nqq x\n").contains("line 2: found the pair \"qq\" \"x\""));
    let unknown_only = b"\x0a\x0a\x0a\x03abc\x15\0\0\0\0";
    assert!(
        refusal(unknown_only).contains("found no piece of the type unknown"),
        "{}",
        refusal(unknown_only)
    );
    let nan = b"\x0a\x0a\x0a\x03abc\x15\0\0\xc0\x7f";
    assert!(refusal(nan).contains("piece 0: found the score NaN"));
    let byte_pairs = b"\x0a\x0a\x0a\x03abc\x15\0\0\0\0\x12\x02\x18\x02";
    assert!(refusal(byte_pairs).contains("found model type 2, expected 1, Unigram"));
}

#[test]
fn a_gzip_file_that_unpacks_to_too_much_is_refused() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(b'a'), 65 << 20),
        &mut packed,
    )
    .unwrap();
    let error = Tokenizer::load_bytes(&packed.finish().unwrap()).unwrap_err();
    assert!(matches!(error, TokenizerError::TooLarge { .. }), "{error}");
}

#[test]
fn cut_files_are_refused_and_cut_models_never_panic() {
    for file in FILES {
        let whole = bytes(file);
        let step = whole.len().div_ceil(300);
        for len in (0..whole.len()).step_by(step) {
            let loaded = Tokenizer::load_bytes(&whole[..len]);
            // A message that ends between two fields is a whole one.
            assert!(
                loaded.is_err() || file.ends_with(".model"),
                "{file} cut at {len}"
            );
        }
    }
}

#[test]
fn padding_fills_the_context_and_too_short_a_context_is_refused() {
    for (tokenizer, file) in TOKENIZERS.iter().zip(FILES) {
        let ids = tokenizer.encode_padded("a cat", 40).unwrap();
        assert_eq!(ids.len(), 40, "{file}");
        assert_eq!(ids[39], tokenizer.pad_id(), "{file}");
        let error = tokenizer.encode_padded("a cat", 0).unwrap_err();
        assert!(
            matches!(error, TokenizerError::MaxTokens { found: 0, .. }),
            "{file}"
        );
    }
}

#[test]
fn hostile_texts_take_time_in_proportion_to_their_length() {
    let length = 300_000;
    let texts = ["a", "aA", "Ã ", "â€", "&amp", "▁", "a\u{301}", "<", "ÃÂ"];
    for text in texts {
        let text: String = text.chars().cycle().take(length).collect();
        for tokenizer in TOKENIZERS.iter() {
            assert!(tokenizer.encode(&text).len() <= tokenizer.max_tokens());
        }
        Clean::Lower.apply(&text);
    }
}

proptest! {
    #[test]
    fn any_text_gives_ids_within_the_vocabulary_and_the_context(
        text in "\\PC*|(?s).*|[a-e ▁<>/&;é]{0,80}",
        context_length in 2_usize..40,
    ) {
        for tokenizer in TOKENIZERS.iter() {
            for clean in [Clean::None, Clean::Whitespace, Clean::Lower, Clean::Canonicalize] {
                let tokenizer = tokenizer.clone().with_clean(clean);
                let ids = tokenizer.encode(&text);
                prop_assert!(ids.len() <= tokenizer.max_tokens());
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
                let padded = tokenizer.encode_padded(&text, context_length).unwrap();
                prop_assert_eq!(padded.len(), context_length);
                let short = tokenizer.with_max_tokens(context_length).unwrap().encode(&text);
                prop_assert_eq!(&padded[..short.len()], &short[..]);
            }
        }
    }

    #[test]
    fn damaged_files_load_or_are_refused_without_a_panic(
        file in 0..FILES.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        text in "\\PC{0,20}",
    ) {
        let mut bytes = bytes(FILES[file]);
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(tokenizer) = Tokenizer::load_bytes(&bytes) {
            let ids = tokenizer.encode(&text);
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
        }
    }
}
