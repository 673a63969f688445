//! Damages files from outside at random, and checks that nothing but an error comes of it.
//!
//! `cargo run --release -p pinhole-tests --features onnx --example fuzz -- --reader NAME --seconds 600 [--seed N]`, where NAME is
//! `checkpoint` (safetensors, and pickles in zip files and before), `graph`, `tflite`, `onnx` or `tokenizer`. Coverage-guided
//! fuzzers need a nightly compiler, so this draws its damage blindly from files of the tests. An input that panics, or that takes
//! more than ten seconds, is written to a file, named, and ends the run.

mod damage;
mod readers;

use std::error::Error;
use std::time::{Duration, Instant};

use damage::{Random, damage};
use readers::{Input, corpus};

/// What one input may take.
const LIMIT: Duration = Duration::from_secs(10);

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// One of `all` with up to `most` changes.
fn damaged(all: &[Vec<u8>], most: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = all[random.below(all.len())].clone();
    let other = &all[random.below(all.len())];
    for _ in 0..random.below(most + 1) {
        damage(&mut bytes, other, random);
    }
    bytes
}

fn main() -> Result<(), Box<dyn Error>> {
    let reader =
        argument("--reader").ok_or("expected --reader checkpoint|graph|tflite|onnx|tokenizer")?;
    let seconds = argument("--seconds").map_or(Ok(60), |value| value.parse())?;
    let mut random = Random(argument("--seed").map_or(Ok(1), |value| value.parse())?);
    let scratch = std::env::temp_dir().join(format!("fuzz_{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let (files, read) = corpus(&reader, &scratch)?;
    let texts = pinhole_tests::root().join("host-tools/text/tests/golden/tokenizers/texts.jsonl");
    let texts = std::fs::read_to_string(texts)?
        .lines()
        .map(|line| Ok(serde_json::from_str::<String>(line)?.into_bytes()))
        .collect::<Result<Vec<_>, serde_json::Error>>()?;
    let path = scratch.join("input");
    let (start, mut accepted, mut count) = (Instant::now(), 0_u64, 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = Input {
            file: damaged(&files, 3, &mut random),
            text: String::from_utf8_lossy(&damaged(&texts, 3, &mut random)).into_owned(),
        };
        let begin = Instant::now();
        let result = std::panic::catch_unwind(|| read(&path, &input));
        if result.is_err() || begin.elapsed() > LIMIT {
            let kept = scratch.join("finding");
            std::fs::write(&kept, &input.file)?;
            let (kept, took) = (kept.display(), begin.elapsed());
            return Err(format!("{kept} with {:?}: panicked, or took {took:?}", input.text).into());
        }
        accepted += u64::from(result.unwrap_or(false));
        count += 1;
    }
    std::fs::remove_dir_all(&scratch)?;
    println!("{reader}: {count} damaged files in {seconds} s, {accepted} read, none panicked");
    Ok(())
}
