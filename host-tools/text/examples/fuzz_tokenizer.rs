//! Damages tokenizer files and texts at random, and checks that nothing but an error comes of it.
//!
//! `cargo run --release -p pinhole-text --example fuzz_tokenizer -- --seconds 600 [--seed N]`. Coverage-guided fuzzers
//! need a nightly compiler, so this draws its damage blindly from the files under `tests/golden/tokenizers`. An input that
//! panics, or whose ids are out of bounds, is written to a file, named, and ends the run.

use pinhole_text::tokenizer::{Clean, Tokenizer};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a format understands, to be set in at random.
const WORDS: [&[u8]; 14] = [
    b"null",
    b"{}",
    b"[]",
    b"0",
    b"-1",
    b"4294967295",
    b"1e999",
    b"\"\"",
    b"\\u0000",
    b"true",
    b"\xff\xff\xff\xff\x0f",
    b"\x0a\x00",
    "▁".as_bytes(),
    b"<0x41>",
];

/// SplitMix64 (Steele et al., OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One change to some bytes.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    let end = (at + random.below(16)).min(bytes.len());
    match random.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => bytes.truncate(at),
        4 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at.min(end)..end, word.iter().copied());
        }
        5 => {
            let copied = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copied);
        }
        _ => {
            let from = random.below(other.len());
            let to = (from + random.below(200)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
    }
}

/// The files to damage, unpacked, by name.
fn corpus() -> Result<BTreeMap<String, Vec<u8>>, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers");
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut bytes = std::fs::read(&path)?;
        if name.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
        }
        if !name.ends_with(".jsonl") && name != "cases.json" {
            files.insert(name, bytes);
        }
    }
    Ok(files)
}

/// Loads, cleans, encodes; gives whether the file loaded.
fn check(file: &[u8], text: &str) -> bool {
    for clean in [Clean::Whitespace, Clean::Lower, Clean::Canonicalize] {
        clean.apply(text);
    }
    let Ok(tokenizer) = Tokenizer::load_bytes(file) else {
        return false;
    };
    let ids = tokenizer.encode(text);
    assert!(ids.len() <= tokenizer.max_tokens(), "{} ids", ids.len());
    let vocab_len = tokenizer.vocab_len();
    assert!(
        ids.iter().all(|&id| (id as usize) < vocab_len),
        "{ids:?} of {vocab_len}"
    );
    true
}

fn argument(name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    Ok(args.next().map_or(Ok(default), |value| value.parse())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let time = Duration::from_secs(argument("--seconds", 60)?);
    let mut random = Random(argument("--seed", 1)?);
    let corpus = corpus()?;
    let files: Vec<&Vec<u8>> = corpus.values().collect();
    let texts = include_str!("../tests/golden/tokenizers/texts.jsonl");
    let texts: Vec<String> = texts
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let (start, mut loaded, mut count) = (Instant::now(), 0_u64, 0_u64);
    while start.elapsed() < time {
        let mut file = files[random.below(files.len())].clone();
        let other = files[random.below(files.len())];
        for _ in 0..random.below(4) {
            damage(&mut file, other, &mut random);
        }
        let mut text = texts[random.below(texts.len())].clone().into_bytes();
        let other = texts[random.below(texts.len())].as_bytes();
        for _ in 0..random.below(4) {
            damage(&mut text, other, &mut random);
        }
        let text = String::from_utf8_lossy(&text);
        match std::panic::catch_unwind(|| check(&file, &text)) {
            Ok(is_loaded) => loaded += u64::from(is_loaded),
            Err(_) => {
                let path = std::env::temp_dir().join("fuzz_tokenizer_input");
                std::fs::write(&path, &file)?;
                return Err(format!("{}: with the text {text:?}", path.display()).into());
            }
        }
        count += 1;
    }
    println!(
        "{count} damaged files and texts in {} s, {loaded} of them loaded, none panicked",
        time.as_secs()
    );
    Ok(())
}
