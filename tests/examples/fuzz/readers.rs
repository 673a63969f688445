//! What is tried: readers of files from outside, and the files of the tests that are damaged for them.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

use pinhole_graph::import::{Checkpoint, bert, clip, efficientnet_lite, onnx, tflite};
use pinhole_graph::{Graph, pass};
use pinhole_text::tokenizer::{Clean, Tokenizer};

/// A damaged file, and a damaged text for the readers that go on to texts.
pub(crate) struct Input {
    pub(crate) file: Vec<u8>,
    pub(crate) text: String,
}

/// Reads a file, at a path that it may write to, and goes on with what was read; whether there was something.
pub(crate) type Reader = fn(&Path, &Input) -> bool;

/// Files to damage, and what reads them.
pub(crate) type Corpus = (Vec<Vec<u8>>, Reader);

fn checkpoint(path: &Path, input: &Input) -> bool {
    let Ok(checkpoint) = Checkpoint::parse(path, &input.file) else {
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

fn graph(path: &Path, input: &Input) -> bool {
    simplified(Graph::parse(path, &input.file).ok())
}

fn tflite(path: &Path, input: &Input) -> bool {
    simplified(tflite::parse(path, &input.file, &tflite::Options::default()).ok())
}

fn onnx(path: &Path, input: &Input) -> bool {
    if std::fs::write(path, &input.file).is_err() {
        return false;
    }
    simplified(onnx::load(path, &onnx::Options::default()).ok())
}

fn simplified(graph: Option<Graph>) -> bool {
    graph.is_some_and(|mut graph| pass::standard(&mut graph).is_ok())
}

/// What a reader is tried with.
pub(crate) fn corpus(reader: &str, scratch: &Path) -> Result<Corpus, Box<dyn Error>> {
    let root = pinhole_tests::root();
    let golden = root.join("tests/golden");
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
            let files = files.map(|name| root.join("host-tools/graph/tests/onnx").join(name));
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
        "tokenizer" => return Ok((tokenizers(&root)?, tokenizer)),
        other => {
            let known = "checkpoint, graph, tflite, onnx or tokenizer";
            return Err(format!("found reader {other}, expected {known}").into());
        }
    };
    let files = paths.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    Ok((files, read))
}

/// The tokenizer files of the tests, unpacked.
fn tokenizers(root: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("host-tools/text/tests/golden/tokenizers"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".jsonl") || name == "cases.json" || name == "README.md" {
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        if name.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
        }
        files.push(bytes);
    }
    Ok(files)
}

/// Cleans and encodes a text; ids that are out of bounds are a finding too.
fn tokenizer(_: &Path, input: &Input) -> bool {
    for clean in [Clean::Whitespace, Clean::Lower, Clean::Canonicalize] {
        clean.apply(&input.text);
    }
    let Ok(tokenizer) = Tokenizer::load_bytes(&input.file) else {
        return false;
    };
    let ids = tokenizer.encode(&input.text);
    assert!(ids.len() <= tokenizer.max_tokens(), "{} ids", ids.len());
    let vocab_len = tokenizer.vocab_len();
    assert!(
        ids.iter().all(|&id| (id as usize) < vocab_len),
        "{ids:?} of {vocab_len}"
    );
    true
}
