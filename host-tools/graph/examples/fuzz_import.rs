//! Damages checkpoints, graphs, TFLite and ONNX files at random, and checks that nothing but an error comes of it.
//!
//! `cargo run --release -p pinhole-graph --example fuzz_import -- --reader NAME --seconds 600 [--seed N]`, where NAME is
//! `checkpoint` (safetensors, and pickles in zip files and before), `graph`, `tflite` or `onnx`. Coverage-guided fuzzers need a
//! nightly compiler, so this draws its damage blindly from files of the tests. An input that panics, or that takes more than ten
//! seconds, is written to a file, named, and ends the run.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinhole_graph::import::{Checkpoint, bert, clip, efficientnet_lite, onnx, tflite};
use pinhole_graph::{Graph, pass};

/// What one input may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What formats understand, to be set in at random.
const WORDS: [&[u8]; 10] = [
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0",
    b"\x80\x02}q",
    b"PK\x03\x04",
    b"[18446744073709551615]",
    b"{\"shape\":[4294967295,4294967295]}",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"]]]]]]]]",
    b"\"F32\"",
];

/// Reads a file and goes on with what was read; whether there was something.
type Reader = fn(&Path, &[u8]) -> bool;

/// Files to damage, and what reads them.
type Corpus = (Vec<Vec<u8>>, Reader);

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

    /// A place, more often near the front, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let end = if self.below(2) == 0 {
            len.min(512)
        } else {
            len
        };
        self.below(end)
    }
}

/// One change to some bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.place(bytes.len());
    let end = (at + random.below(16)).min(bytes.len());
    match random.below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => bytes.truncate(at),
        4 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at.min(end)..end, word.iter().copied());
        }
        _ => {
            let copied = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copied);
        }
    }
}

fn checkpoint(path: &Path, bytes: &[u8]) -> bool {
    let Ok(checkpoint) = Checkpoint::parse(path, bytes) else {
        return false;
    };
    if let Some(keys) = clip::recognises(&checkpoint)
        && let Ok(config) = clip::config_beside(&checkpoint, keys)
    {
        let _ = clip::import_image(&checkpoint, keys, &config);
        let _ = clip::import_text(&checkpoint, keys, &config, None);
    }
    if bert::recognises(&checkpoint)
        && let Ok(config) = bert::config_beside(&checkpoint)
    {
        let _ = bert::import(&checkpoint, &config, 8);
    }
    if efficientnet_lite::recognises(&checkpoint) {
        let _ = efficientnet_lite::import(&checkpoint, efficientnet_lite::Output::Features);
    }
    true
}

fn graph(path: &Path, bytes: &[u8]) -> bool {
    simplified(Graph::parse(path, bytes).ok())
}

fn tflite(path: &Path, bytes: &[u8]) -> bool {
    simplified(tflite::parse(path, bytes, &tflite::Options::default()).ok())
}

fn onnx(path: &Path, bytes: &[u8]) -> bool {
    if std::fs::write(path, bytes).is_err() {
        return false;
    }
    simplified(onnx::load(path, &onnx::Options::default()).ok())
}

fn simplified(graph: Option<Graph>) -> bool {
    graph.is_some_and(|mut graph| pass::standard(&mut graph).is_ok())
}

/// What a reader is tried with.
fn corpus(reader: &str, scratch: &Path) -> Result<Corpus, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.join("../../tests/golden");
    let (paths, read): (Vec<PathBuf>, Reader) = match reader {
        "checkpoint" => (
            ["torch_zip.pth", "torch_legacy.pth", "clip_vit.safetensors"]
                .map(|name| golden.join(name))
                .to_vec(),
            checkpoint,
        ),
        "tflite" => (
            ["tflite_float.tflite", "tflite_int8.tflite"]
                .map(|name| golden.join(name))
                .to_vec(),
            tflite,
        ),
        "onnx" | "graph" => {
            let files = ["conv_net.onnx", "decomposed.onnx", "vit.onnx"];
            let files = files.map(|name| here.join("tests/onnx").join(name));
            if reader == "onnx" {
                (files.to_vec(), onnx)
            } else {
                let mut graphs = Vec::new();
                for (index, file) in files.iter().enumerate() {
                    let path = scratch.join(format!("{index}.phg"));
                    onnx::load(file, &onnx::Options::default())?.save(&path)?;
                    graphs.push(path);
                }
                (graphs, graph)
            }
        }
        other => {
            return Err(format!("no reader {other}: checkpoint, graph, tflite or onnx").into());
        }
    };
    let files = paths.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    Ok((files, read))
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

fn main() -> Result<(), Box<dyn Error>> {
    let reader = argument("--reader").ok_or("expected --reader checkpoint|graph|tflite|onnx")?;
    let seconds = argument("--seconds").map_or(Ok(60), |value| value.parse())?;
    let mut random = Random(argument("--seed").map_or(Ok(1), |value| value.parse())?);
    let scratch = std::env::temp_dir().join(format!("fuzz_import_{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let (files, read) = corpus(&reader, &scratch)?;
    let input = scratch.join("input");
    let (start, mut accepted, mut count) = (Instant::now(), 0_u64, 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut file = files[random.below(files.len())].clone();
        for _ in 0..=random.below(3) {
            damage(&mut file, &mut random);
        }
        let begin = Instant::now();
        let result = std::panic::catch_unwind(|| read(&input, &file));
        if result.is_err() || begin.elapsed() > LIMIT {
            let kept = scratch.join("finding");
            std::fs::write(&kept, &file)?;
            let took = begin.elapsed();
            return Err(format!("{}: panicked, or took {took:?}", kept.display()).into());
        }
        accepted += u64::from(result.unwrap_or(false));
        count += 1;
    }
    std::fs::remove_dir_all(&scratch)?;
    println!("{reader}: {count} damaged files in {seconds} s, {accepted} read, none panicked");
    Ok(())
}
