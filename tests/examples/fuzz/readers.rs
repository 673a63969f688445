//! What is tried: each reader of files from outside, and what is done with what it has read.

use std::error::Error;
use std::path::Path;

use pinhole_graph::import::clip::Heads;
use pinhole_graph::import::projection::{Projection, Tower};
use pinhole_graph::import::{
    Checkpoint, bert, clip, efficientnet_lite, nearest, onnx, static_embeddings, tflite, timm,
};
use pinhole_graph::{Graph, pass};
use pinhole_pack::{PackOptions, Precision, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_text::tokenizer::{Clean, Tokenizer};

use crate::corpus;
use crate::damage::Format;

/// Readers by name.
pub(crate) const READERS: &str =
    "checkpoint, config, projection, graph, tflite, onnx, model or tokenizer";

/// Tokens of a text encoder that is imported.
const TOKENS: usize = 8;

/// A damaged file, and what else a reader is given.
pub(crate) struct Input {
    pub(crate) file: Vec<u8>,
    /// A damaged text, for the readers that go on to texts.
    pub(crate) text: String,
    /// A random number, for what is read in more than one way.
    pub(crate) choice: usize,
}

/// Reads a file, which lies at the path too, and goes on with what was read; whether there was something.
type Read = Box<dyn Fn(&Path, &Input) -> bool>;

/// Files to damage, and what reads them.
pub(crate) struct Reader {
    pub(crate) files: Vec<Vec<u8>>,
    pub(crate) format: Format,
    pub(crate) read: Read,
}

/// The reader of a name; `scratch` is the folder that damaged files are written to.
pub(crate) fn reader(name: &str, scratch: &Path) -> Result<Reader, Box<dyn Error>> {
    let (files, format, read): (_, _, Read) = match name {
        "checkpoint" => (
            corpus::checkpoints()?,
            Format::Safetensors,
            Box::new(checkpoint),
        ),
        "config" => {
            let imported = corpus::checkpoints()?;
            let imported = imported.iter().filter_map(|bytes| {
                Checkpoint::parse(&scratch.join("model.safetensors"), bytes).ok()
            });
            let imported: Vec<Checkpoint> = imported.collect();
            let read = move |path: &Path, input: &Input| config(path, input, &imported);
            (corpus::configs(), Format::Json, Box::new(read))
        }
        "projection" => {
            let towers = corpus::graphs()?;
            let files = corpus::projections(&towers);
            let read = move |path: &Path, input: &Input| projection(path, input, &towers);
            (files, Format::Safetensors, Box::new(read))
        }
        "graph" => (corpus::graph_files()?, Format::Safetensors, Box::new(graph)),
        "tflite" => (corpus::tflite_files()?, Format::Words, Box::new(tflite)),
        "onnx" => (
            corpus::onnx_files(scratch)?,
            Format::Protobuf,
            Box::new(onnx),
        ),
        "model" => (corpus::models()?, Format::Model, Box::new(model)),
        "tokenizer" => (corpus::tokenizers()?, Format::Json, Box::new(tokenizer)),
        other => return Err(format!("found reader {other}, expected {READERS}").into()),
    };
    Ok(Reader {
        files,
        format,
        read,
    })
}

/// A checkpoint as each architecture that recognises it reads it, with the options of small files or as it is.
fn checkpoint(path: &Path, input: &Input) -> bool {
    Checkpoint::parse(path, &input.file).is_ok_and(|checkpoint| imported(&checkpoint, input.choice))
}

/// What `pinhole import` does with a checkpoint, for every architecture that has its keys; whether one was imported.
fn imported(checkpoint: &Checkpoint, choice: usize) -> bool {
    let mut graphs = Vec::new();
    if let Some(keys) = clip::recognises(checkpoint)
        && let Ok(mut config) = clip::config_beside(checkpoint, keys)
    {
        if !choice.is_multiple_of(4) {
            (config.image.heads, config.text.heads) = (Heads::Width(32), Heads::Count(4));
        }
        let tokens = choice.is_multiple_of(3).then_some(TOKENS);
        graphs.push(clip::import_image(checkpoint, keys, &config));
        graphs.push(clip::import_text(checkpoint, keys, &config, tokens));
    }
    let end = match choice % 2 {
        0 => efficientnet_lite::Output::Features,
        _ => efficientnet_lite::Output::Logits,
    };
    if efficientnet_lite::recognises(checkpoint) {
        graphs.push(efficientnet_lite::import(checkpoint, end));
    }
    if bert::recognises(checkpoint)
        && let Ok(config) = bert::config_beside(checkpoint)
    {
        graphs.push(bert::import(checkpoint, &config, TOKENS));
    }
    if static_embeddings::recognises(checkpoint)
        && let Ok(config) = static_embeddings::config_beside(checkpoint)
    {
        graphs.push(static_embeddings::import(checkpoint, &config, TOKENS));
    }
    let known: Vec<&str> = timm::names().collect();
    let named = choice
        .is_multiple_of(5)
        .then(|| known[choice / 5 % known.len()]);
    if named.is_some() || timm::recognises(checkpoint).is_some() {
        let config = timm::config_beside(checkpoint, named);
        graphs.extend(config.map(|config| timm::import(checkpoint, &config, end)));
    }
    if graphs.is_empty() {
        let _ = (clip::refused(checkpoint), nearest(checkpoint));
    }
    let kept = graphs.into_iter().flatten().map(kept);
    // All of them, not up to the first.
    kept.filter(|&kept| kept).count() > 0
}

/// A configuration beside a sound checkpoint, under each of the names that are looked for.
fn config(path: &Path, input: &Input, checkpoints: &[Checkpoint]) -> bool {
    const NAMES: [&str; 4] = [
        "config.json",
        "open_clip_config.json",
        "model_config.json",
        "preprocessor_config.json",
    ];
    let name = NAMES[input.choice % NAMES.len()];
    let beside = path.with_file_name(name);
    if std::fs::write(&beside, &input.file).is_err() {
        return false;
    }
    let choice = input.choice / NAMES.len();
    let read = imported(&checkpoints[choice % checkpoints.len()], 4 * choice);
    let _ = std::fs::remove_file(beside);
    read
}

fn projection(path: &Path, input: &Input, towers: &[Graph]) -> bool {
    let Ok(checkpoint) = Checkpoint::parse(path, &input.file) else {
        return false;
    };
    let tower = match input.choice % 2 {
        0 => Tower::Image,
        _ => Tower::Text,
    };
    let projection = Projection::from_checkpoint(checkpoint);
    let appended = towers
        .iter()
        .cloned()
        .map(|mut graph| projection.append(&mut graph, tower).is_ok() && kept(graph));
    appended.filter(|&kept| kept).count() > 0
}

/// A graph, which goes on to the packer.
fn graph(path: &Path, input: &Input) -> bool {
    let Ok(mut graph) = Graph::parse(path, &input.file) else {
        return false;
    };
    let precision = match input.choice % 2 {
        0 => Precision::F32,
        _ => Precision::F16,
    };
    let options = PackOptions {
        precision,
        ..PackOptions::default()
    };
    let _ = pack(&graph, &options);
    pass::standard(&mut graph).is_ok() && kept(graph)
}

fn tflite(path: &Path, input: &Input) -> bool {
    let output = match input.choice % 2 {
        0 => tflite::Output::Whole,
        _ => tflite::Output::Features,
    };
    let options = tflite::Options {
        output,
        ..tflite::Options::default()
    };
    tflite::parse(path, &input.file, &options).is_ok_and(kept)
}

fn onnx(path: &Path, _: &Input) -> bool {
    let options = onnx::Options {
        tokens: TOKENS,
        ..onnx::Options::default()
    };
    onnx::load(path, &options).is_ok_and(kept)
}

/// What `pinhole import` goes on with: simplified, written and read again, which must succeed.
fn kept(mut graph: Graph) -> bool {
    if pass::standard(&mut graph).is_err() {
        return false;
    }
    let Ok(bytes) = graph.to_bytes() else {
        return false;
    };
    if let Err(error) = Graph::parse(Path::new("kept.phg"), &bytes) {
        panic!("what was imported cannot be read again: {error}");
    }
    true
}

/// A packed model, which runs on bytes of noise when it is taken for sound.
fn model(_: &Path, input: &Input) -> bool {
    let bytes = AlignedBytes::from_slice(&input.file);
    let Ok(model) = Model::load(&bytes) else {
        return false;
    };
    let sets: Vec<_> = kernel::available()
        .filter(|set| set.reads(model.weight_layout()))
        .collect();
    let Some(set) = sets.get(input.choice % sets.len().max(1)) else {
        return false;
    };
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let Ok(mut interpreter) = Interpreter::new(&model, &mut arena, *set) else {
        return false;
    };
    if model.max_tokens() > 0 {
        let _ = interpreter.set_tokens(1 + input.choice % model.max_tokens());
    }
    for index in 0..model.inputs().len() {
        if let Ok(bytes) = interpreter.input_bytes_mut(index) {
            let noise = (0..).map(|place: usize| (place * 167 + input.choice) as u8);
            bytes
                .iter_mut()
                .zip(noise)
                .for_each(|(byte, noise)| *byte = noise);
        }
    }
    interpreter.run();
    true
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
