//! Damages files from outside at random, and checks that nothing but an error comes of it.
//!
//! `cargo run --release -p pinhole-tests --features onnx --example fuzz -- --reader NAME --seconds 600 [--seed N] [--also FOLDER]`.
//! Coverage-guided fuzzers need a nightly compiler, so this draws its damage blindly from files of the tests, most of it from
//! parts of their formats: tensors and their shapes, fields of messages, words, values of JSON. NAME says what reads them:
//!
//! - `checkpoint`: every architecture, from safetensors and from pickles in zip files and before;
//! - `config`: JSON beside checkpoints; `projection`: what `pinhole train` appends;
//! - `onnx`: floats, integers, QDQ, dynamic scales, weights in a file of their own;
//! - `tflite`, `graph` (which goes on to the packer), `model` (packed, which goes on to run), `tokenizer`.
//!
//! FOLDER has more files of the reader's ending. An input that panics, or that takes more than ten seconds, is named and ends the
//! run; it lies in `input`, also after a stack overflow or a lack of memory, and `--input FILE --choice N` reads it again. Of memory there should be little: `ulimit -v 4000000`.

mod corpus;
mod damage;
mod json;
mod protobuf;
mod readers;
mod safetensors;
mod words;

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use damage::{Format, Random, damage};
use readers::{Input, READERS, Reader, reader};

/// What one input may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Of a file.
const MOST_CHANGES: usize = 3;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// One of `all` with up to [`MOST_CHANGES`].
fn damaged(all: &[Vec<u8>], format: Format, random: &mut Random) -> Vec<u8> {
    let mut bytes = all[random.below(all.len())].clone();
    let other = &all[random.below(all.len())];
    for _ in 0..random.below(MOST_CHANGES + 1) {
        damage(&mut bytes, other, format, random);
    }
    bytes
}

/// One of `all` with up to [`MOST_CHANGES`] to its bytes.
fn damaged_text(all: &[Vec<u8>], random: &mut Random) -> String {
    let mut bytes = all[random.below(all.len())].clone();
    let other = &all[random.below(all.len())];
    for _ in 0..random.below(MOST_CHANGES + 1) {
        damage::damage_bytes(&mut bytes, other, random);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = argument("--reader").ok_or(format!("expected --reader {READERS}"))?;
    let seconds = argument("--seconds").map_or(Ok(60), |value| value.parse())?;
    let mut random = Random(argument("--seed").map_or(Ok(1), |value| value.parse())?);
    let scratch = std::env::temp_dir().join(format!("fuzz_{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let Reader {
        mut files,
        format,
        read,
    } = reader(&name, &scratch)?;
    if let Some(folder) = argument("--also") {
        files.extend(corpus::below(folder.as_ref(), &name)?);
    }
    if let Some(file) = argument("--input") {
        let input = Input {
            file: std::fs::read(&file)?,
            text: String::new(),
            choice: argument("--choice").map_or(Ok(0), |value| value.parse())?,
        };
        println!("{name}: {file} is read: {}", read(file.as_ref(), &input));
        return Ok(());
    }
    let texts = pinhole_tests::root().join("host-tools/text/tests/golden/tokenizers/texts.jsonl");
    let texts = std::fs::read_to_string(texts)?
        .lines()
        .map(|line| Ok(serde_json::from_str::<String>(line)?.into_bytes()))
        .collect::<Result<Vec<_>, serde_json::Error>>()?;
    let path = scratch.join("input");
    println!(
        "{name}: {} sound files, inputs at {}",
        files.len(),
        path.display()
    );
    let (start, mut accepted, mut count) = (Instant::now(), 0_u64, 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = Input {
            file: damaged(&files, format, &mut random),
            text: damaged_text(&texts, &mut random),
            choice: random.below(1 << 30),
        };
        std::fs::write(&path, &input.file)?;
        let begin = Instant::now();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| read(&path, &input)));
        if result.is_err() || begin.elapsed() > LIMIT {
            let (kept, took) = (path.display(), begin.elapsed());
            let (text, choice) = (input.text, input.choice);
            return Err(format!(
                "{kept} with choice {choice} and {text:?}: panicked, or took {took:?}"
            )
            .into());
        }
        accepted += u64::from(result.unwrap_or(false));
        count += 1;
    }
    std::fs::remove_dir_all(&scratch)?;
    println!("{name}: {count} damaged files in {seconds} s, {accepted} read, none panicked");
    Ok(())
}
