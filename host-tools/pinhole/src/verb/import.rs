//! `pinhole import`: a checkpoint, an ONNX or a TFLite file to a graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pinhole_graph::import::projection::{Projection, Tower};
use pinhole_graph::import::{Checkpoint, bert, clip, efficientnet_lite, nearest};
use pinhole_graph::{Graph, pass};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome};
use crate::files::{self, FileKind};
use crate::graph_file;
use crate::output::{json, note, say};
use crate::vocabulary;

/// Longest token sequence of a BERT and of an ONNX graph.
const ASSUMED_TOKENS: usize = 64;

/// Import a checkpoint (.pth, .safetensors), an ONNX or a TFLite file as a graph.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole import efficientnet-lite0.pth --out lite0.phg
  pinhole import efficientnet-lite0.pth \\
    --projection projection.safetensors --out image.phg
  pinhole import minilm/model.safetensors \\
    --projection projection.safetensors --max-tokens 64 --out text.phg
  pinhole import mobilenet.onnx --out mobilenet.phg
  pinhole import efficientnet_lite0.tflite --features --out lite0-int8.phg
  pinhole import open_clip_model.safetensors --out image.phg
  pinhole import open_clip_model.safetensors --tower text --out text.phg \\
    --tokenizer $(pinhole data get clip-vocabulary)

The architecture is recognised from the checkpoint's keys: EfficientNet-Lite0 to
4, both towers of OpenAI's CLIP, open_clip's CLIP, SigLIP and CoCa (its image
tower), Hugging Face's CLIP and SigLIP, BERT and MiniLM. The vocabulary of a
text encoder is read from tokenizer.json, bpe_simple_vocab_16e6.txt.gz or
vocab.txt beside the checkpoint.

A TFLite file that is quantised to int8 keeps its scales and its bits: pack the
graph as it is, without pinhole quantize.")]
pub(crate) struct Args {
    /// Checkpoint, ONNX or TFLite file.
    #[arg(value_name = "FILE")]
    source: PathBuf,
    #[command(flatten)]
    choices: Choices,
    /// Where the graph goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// What import needs beside a file.
#[derive(clap::Args, Clone)]
#[group(id = "import choices")]
pub(crate) struct Choices {
    /// Append the projection into a shared embedding space that pinhole train made.
    #[arg(long, value_name = "FILE")]
    projection: Option<PathBuf>,
    /// Keep the classifier's head instead of ending at the pooled features.
    #[arg(long, conflicts_with = "projection")]
    head: bool,
    /// End a TFLite file at the pooled features in front of its classifier, as an embedding.
    #[arg(long, conflicts_with_all = ["head", "output"])]
    features: bool,
    /// End a TFLite file at the tensor of this name.
    #[arg(long, value_name = "TENSOR")]
    output: Option<String>,
    /// The activation of a vision transformer is QuickGELU, as in OpenAI's weights, which do not say so.
    #[arg(long)]
    quick_gelu: bool,
    /// Which encoder of a checkpoint that has both.
    #[arg(long, value_enum, default_value_t = Side::Image)]
    tower: Side,
    /// Tokenizer of a text encoder, or the folder that has it: tokenizer.json, vocab.txt or CLIP's merges; looked for beside the
    /// checkpoint otherwise.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Longest token sequence of a text encoder. [default: 64, or the context of a CLIP]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
}

#[cfg(feature = "train")]
impl Choices {
    /// A checkpoint up to its pooled features.
    pub(crate) fn features(max_tokens: usize) -> Self {
        Self {
            projection: None,
            head: false,
            features: false,
            output: None,
            quick_gelu: false,
            tower: Side::Image,
            tokenizer: None,
            max_tokens: Some(max_tokens),
        }
    }
}

/// An encoder of a pair: of pictures, or of sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Image,
    Text,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let graph = imported(&args.source, &args.choices)?;
    graph_file::save(&graph, &args.out)?;
    if args.json {
        return json(&Imported {
            graph: &args.out,
            name: &graph.name,
            nodes: graph.nodes.len(),
            parameters: graph.parameter_count(),
            macs: graph.macs(),
            source: &graph.meta.source,
        });
    }
    say!("{}", graph.summary());
    Ok(())
}

/// What was imported; the order of keys is part of the output.
#[derive(Serialize)]
struct Imported<'a> {
    graph: &'a Path,
    name: &'a str,
    nodes: usize,
    parameters: usize,
    macs: u64,
    source: &'a BTreeMap<String, String>,
}

/// Reads, recognises, simplifies.
pub(crate) fn imported(source: &Path, choices: &Choices) -> Outcome<Graph> {
    let bytes = files::read(source)?;
    let ends = choices.features || choices.output.is_some();
    if ends && extension(source) != "tflite" {
        return Err(Failure::new(format_args!(
            "{}: --features and --output choose where a TFLite file ends",
            source.display()
        ))
        .help("leave them out; a checkpoint ends at its pooled features unless --head is given"));
    }
    let mut graph = match extension(source).as_str() {
        "onnx" => onnx(source, choices)?,
        "tflite" => tflite(source, &bytes, choices)?,
        "phg" => graph_file::open(source)?,
        _ => checkpoint(source, &bytes, choices)?,
    };
    if let Some(path) = &choices.tokenizer {
        graph.meta.vocabulary = Some(vocabulary::read(path)?);
    }
    vocabulary::check(&graph, source)?;
    pass::standard(&mut graph)
        .map_err(|faults| Failure::new(format_args!("{}: {faults}", source.display())))?;
    graph.meta.source.insert(
        "file".into(),
        source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    let digest = Sha256::digest(&bytes);
    graph
        .meta
        .source
        .insert("sha256".into(), files::hex(&digest));
    Ok(graph)
}

fn extension(path: &Path) -> String {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn checkpoint(source: &Path, bytes: &[u8], choices: &Choices) -> Outcome<Graph> {
    let kind = FileKind::of(bytes);
    if !matches!(
        kind,
        FileKind::Safetensors | FileKind::Checkpoint | FileKind::Unknown
    ) {
        return Err(Failure::new(format_args!(
            "{}: found {kind}, expected a checkpoint (.pth, .safetensors), an ONNX file (.onnx), a TFLite file (.tflite) or a graph (.phg)",
            source.display()
        ))
        .help("pinhole inspect FILE says what a file is"));
    }
    let checkpoint = Checkpoint::load(source)?;
    let (mut graph, tower) = if efficientnet_lite::recognises(&checkpoint) {
        let output = if choices.head {
            efficientnet_lite::Output::Logits
        } else {
            efficientnet_lite::Output::Features
        };
        (
            efficientnet_lite::import(&checkpoint, output)?,
            Tower::Image,
        )
    } else if let Some(keys) = clip::recognises(&checkpoint) {
        let mut config = clip::config_beside(&checkpoint, keys)?;
        if choices.quick_gelu {
            config.quick_gelu();
        }
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        match choices.tower {
            Side::Image => (
                clip::import_image(&checkpoint, keys, &config)?,
                Tower::Image,
            ),
            Side::Text => {
                let mut graph = clip::import_text(&checkpoint, keys, &config, choices.max_tokens)?;
                match vocabulary::beside(source) {
                    Some(path) => graph.meta.vocabulary = Some(vocabulary::read(&path)?),
                    None if choices.tokenizer.is_none() => note!(
                        "found no tokenizer beside {}; the encoder takes token ids alone: --tokenizer FILE adds one",
                        source.display()
                    ),
                    None => {}
                }
                (graph, Tower::Text)
            }
        }
    } else if bert::recognises(&checkpoint) {
        let config = bert::config_beside(&checkpoint)?;
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        let mut graph = bert::import(
            &checkpoint,
            &config,
            choices.max_tokens.unwrap_or(ASSUMED_TOKENS),
        )?;
        graph.meta.vocabulary = bert::vocabulary_beside(source)?;
        (graph, Tower::Text)
    } else {
        let keys: Vec<&str> = checkpoint
            .tensors
            .keys()
            .take(5)
            .map(String::as_str)
            .collect();
        let nearest = nearest(&checkpoint).map_or_else(String::new, |nearest| {
            format!(
                "; nearest is {}, but there is no {}",
                nearest.family,
                nearest.missing.join(", ")
            )
        });
        return Err(Failure::new(format_args!(
            "{}: its {} tensors are of no known architecture; the first are {}{nearest}",
            source.display(),
            checkpoint.tensors.len(),
            keys.join(", ")
        ))
        .help("known are EfficientNet-Lite0 to 4, CLIP, SigLIP and CoCa of OpenAI, open_clip and Hugging Face, BERT and MiniLM; other networks come as ONNX: pinhole import model.onnx"));
    };
    if let Some(path) = &choices.projection {
        let projection = Projection::load(path)?;
        projection.append(&mut graph, tower)?;
    }
    Ok(graph)
}

fn tflite(source: &Path, bytes: &[u8], choices: &Choices) -> Outcome<Graph> {
    use pinhole_graph::import::tflite::{Options, Output, parse};

    if choices.projection.is_some() {
        return Err(Failure::new(format_args!(
            "{}: found --projection beside a TFLite file, expected a checkpoint",
            source.display()
        ))
        .help("leave it out, or import the network's checkpoint"));
    }
    let output = match &choices.output {
        Some(name) => Output::Tensor(name.clone()),
        None if choices.features => Output::Features,
        None => Output::Whole,
    };
    let options = Options {
        output,
        ..Options::default()
    };
    let graph = parse(source, bytes, &options)?;
    if let Some(assumed) = graph.meta.source.get("assumed") {
        note!("assumed: {assumed}");
    }
    Ok(graph)
}

#[cfg(feature = "onnx")]
fn onnx(source: &Path, choices: &Choices) -> Outcome<Graph> {
    use pinhole_graph::import::onnx::{Options, load};

    let options = Options {
        tokens: choices.max_tokens.unwrap_or(ASSUMED_TOKENS),
        ..Options::default()
    };
    let mut graph = load(source, &options)?;
    if let Some(assumed) = graph.meta.source.get("assumed") {
        note!("assumed: {assumed}");
    }
    if graph.meta.kind == pinhole_graph::ModelKind::TextEncoder {
        graph.meta.vocabulary = bert::vocabulary_beside(source)?;
    }
    Ok(graph)
}

#[cfg(not(feature = "onnx"))]
fn onnx(source: &Path, _choices: &Choices) -> Outcome<Graph> {
    Err(Failure::new(format_args!(
        "{}: this build reads no ONNX",
        source.display()
    ))
    .help("cargo build --release -p pinhole (without --no-default-features)"))
}
