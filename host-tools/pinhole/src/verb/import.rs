//! `pinhole import`: a checkpoint, an ONNX or a TFLite file to a graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pinhole_graph::import::projection::{Projection, Tower};
use pinhole_graph::import::{
    Checkpoint, bert, clip, efficientnet_lite, nearest, static_embeddings, timm,
};
use pinhole_graph::{Graph, ModelKind, pass};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome};
use crate::files::{self, FileKind, WEIGHTS};
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
  pinhole import mobilenet.onnx --input-size 96 --out mobilenet-96.phg
  pinhole import efficientnet_lite0.tflite --features --out lite0-int8.phg
  pinhole import open_clip_model.safetensors --out image.phg
  pinhole import hf:openai/clip-vit-base-patch32 --out image.phg
  pinhole import hf:timm/resnet18.a1_in1k --out resnet18.phg
  pinhole import $(pinhole data get potion-base-8m) --out text.phg
  pinhole import mobilenetv4.pth --arch mobilenetv4_conv_small --out image.phg
  pinhole import open_clip_model.safetensors --tower text --out text.phg \\
    --tokenizer $(pinhole data get clip-vocabulary)

The architecture is recognised from the checkpoint's keys: EfficientNet-Lite0 to
4, both towers of OpenAI's CLIP, open_clip's CLIP, SigLIP, CoCa and MobileCLIP,
Hugging Face's CLIP and SigLIP, BERT and MiniLM, model2vec's tables of static
embeddings; in timm's keys ResNet, MobileNetV2 to V4, RepViT and TinyViT, in
torchvision's ResNet, MobileNetV2 and V3. What tensors do not tell of these
comes from timm's config.json beside the checkpoint, or from --arch. The
vocabulary of a text encoder is read from tokenizer.json,
bpe_simple_vocab_16e6.txt.gz or vocab.txt beside the checkpoint.
Of a folder the weights are read that it has: model.safetensors,
open_clip_model.safetensors, pytorch_model.bin or open_clip_pytorch_model.bin.

hf:ORG/NAME[@REVISION] fetches the weights of a repository of the Hugging Face
Hub and what stands beside them, into the cache that all its programs share
(HF_HOME), and goes on with a download that was interrupted. HF_ENDPOINT names
another server, HF_TOKEN a token for what is private or gated.

A TFLite file that is quantised to int8 keeps its scales and its bits: pack the
graph as it is, without pinhole quantize. An int8 ONNX file keeps its
scales and integers in the same way, but not the bits of another engine.")]
pub(crate) struct Args {
    /// Checkpoint, the folder of one, ONNX or TFLite file, or hf:ORG/NAME of the Hub.
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
    /// Which network of timm a checkpoint is, as timm names it (resnet50, mobilenetv4_conv_small); looked for in config.json
    /// beside the checkpoint otherwise.
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// The activation of a vision transformer is QuickGELU, as in OpenAI's weights, which do not say so.
    #[arg(long)]
    quick_gelu: bool,
    /// Which encoder of a CLIP. [default: image]
    #[arg(long, value_enum)]
    tower: Option<Side>,
    /// Tokenizer of a text encoder, or the folder that has it: tokenizer.json, vocab.txt or CLIP's merges; looked for beside the
    /// checkpoint otherwise.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Longest token sequence of a text encoder. [default: 64, the context of a CLIP, or what a
    /// table of static embeddings says: 512 as a rule]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Side of the pictures in pixels, for a network that takes any: a multiple of its stride, 32 as a rule. [default: what
    /// it was trained with]
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<usize>,
    /// Leave out the residual branch that ends in this sum, or the gate of this product, so that what it was added to goes on
    /// alone: a smaller network to train. May be given more than once; a name that is none is answered with those there are.
    #[arg(long, value_name = "NODE")]
    drop_branch: Vec<String>,
}

#[cfg(feature = "train")]
impl Choices {
    /// A checkpoint up to its pooled features; `max_tokens` of a text encoder alone.
    pub(crate) fn features(max_tokens: Option<usize>) -> Self {
        Self {
            projection: None,
            head: false,
            features: false,
            output: None,
            arch: None,
            quick_gelu: false,
            tower: None,
            tokenizer: None,
            max_tokens,
            input_size: None,
            drop_branch: Vec::new(),
        }
    }
}

impl Choices {
    /// Where a network with a classifier ends.
    fn end(&self) -> efficientnet_lite::Output {
        match self.head {
            true => efficientnet_lite::Output::Logits,
            false => efficientnet_lite::Output::Features,
        }
    }

    /// An option that a file gives no meaning to is refused rather than ignored.
    fn only(&self, source: &Path, what: &str, accepted: &[&str]) -> Outcome {
        let given = [
            (self.projection.is_some(), "--projection"),
            (self.head, "--head"),
            (self.features, "--features"),
            (self.output.is_some(), "--output"),
            (self.arch.is_some(), "--arch"),
            (self.quick_gelu, "--quick-gelu"),
            (self.tower.is_some(), "--tower"),
            (self.tokenizer.is_some(), "--tokenizer"),
            (self.max_tokens.is_some(), "--max-tokens"),
        ];
        let misplaced = |(given, option): &&(bool, &str)| *given && !accepted.contains(option);
        let Some((_, option)) = given.iter().find(misplaced) else {
            return Ok(());
        };
        let expected = match accepted {
            [] => "no such option".to_owned(),
            accepted => format!("at most {}", accepted.join(", ")),
        };
        Err(Failure::new(format_args!(
            "{}: found {option} beside {what}, expected {expected}",
            source.display()
        ))
        .help(format_args!(
            "leave out {option}; pinhole import --help says what it is for"
        )))
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
    let fetched = fetched(source)?;
    let source = fetched.as_ref().map_or(source, |(path, _)| path);
    let inside = weights_inside(source)?;
    let source = inside.as_deref().unwrap_or(source);
    let bytes = files::read(source)?;
    let kind = FileKind::of(&bytes);
    if matches!(
        kind,
        FileKind::Empty | FileKind::WebPage | FileKind::LfsPointer
    ) {
        return Err(foreign(source, kind).help(kind.help()));
    }
    let mut graph = match extension(source).as_str() {
        "onnx" => onnx(source, choices)?,
        "tflite" => tflite(source, &bytes, choices)?,
        "phg" => graph(source, choices)?,
        _ => checkpoint(source, &bytes, choices)?,
    };
    if graph.meta.kind == ModelKind::TextEncoder {
        vocabulary::attach(&mut graph, source, choices.tokenizer.as_deref())?;
    }
    pass::standard(&mut graph)
        .map_err(|faults| Failure::new(format_args!("{}: {faults}", source.display())))?;
    if let Some(side) = choices.input_size {
        pass::resize_input(&mut graph, side).map_err(|error| {
            Failure::new(format_args!("{}: {error}", source.display()))
                .help("leave out --input-size")
        })?;
    }
    for sum in &choices.drop_branch {
        pass::drop_branch(&mut graph, sum).map_err(|error| {
            Failure::new(format_args!("{}: {error}", source.display()))
                .help("name a residual sum or a gate, or leave out --drop-branch")
        })?;
    }
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
    if let Some((_, origin)) = fetched {
        graph.meta.source.insert("repository".into(), origin);
    }
    Ok(graph)
}

/// A file of a kind that is not imported.
fn foreign(source: &Path, kind: FileKind) -> Failure {
    Failure::new(format_args!(
        "{}: found {kind}, expected a checkpoint (.pth, .safetensors), an ONNX file (.onnx), a TFLite file (.tflite) or a graph (.phg)",
        source.display()
    ))
}

/// The weights in a folder; `None` for a file.
fn weights_inside(source: &Path) -> Outcome<Option<PathBuf>> {
    if !source.is_dir() {
        return Ok(None);
    }
    let mut weights = WEIGHTS.iter().map(|name| source.join(name));
    let found = weights.find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(format_args!(
            "{}: found a folder without weights, expected one of {}",
            source.display(),
            WEIGHTS.join(", ")
        ))
        .help("name the file: pinhole import FILE")
    })?;
    Ok(Some(found))
}

/// The weights that `hf:ORG/NAME` names, once they are here, and where they are from; `None` for a file.
#[cfg(feature = "hub")]
fn fetched(source: &Path) -> Outcome<Option<(PathBuf, String)>> {
    let Some(named) = crate::hub::Source::parse(source) else {
        return Ok(None);
    };
    let fetched = named?.fetch()?;
    Ok(Some((fetched.path, fetched.origin)))
}

#[cfg(not(feature = "hub"))]
fn fetched(source: &Path) -> Outcome<Option<(PathBuf, String)>> {
    match source
        .to_str()
        .is_some_and(|source| source.starts_with("hf:"))
    {
        true => Err(Failure::new(format_args!(
            "{}: this build fetches nothing from the Hub",
            source.display()
        ))
        .help("cargo build --release -p pinhole (without --no-default-features)")),
        false => Ok(None),
    }
}

fn graph(source: &Path, choices: &Choices) -> Outcome<Graph> {
    let graph = graph_file::open(source)?;
    let (what, accepted): (_, &[&str]) = match graph.meta.kind {
        ModelKind::TextEncoder => ("the graph of a text encoder", &["--tokenizer"]),
        _ => ("a graph", &[]),
    };
    choices.only(source, what, accepted)?;
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
        return Err(foreign(source, kind).help("pinhole inspect FILE says what a file is"));
    }
    let checkpoint = Checkpoint::load(source)?;
    let (mut graph, tower) = if efficientnet_lite::recognises(&checkpoint) {
        let accepted = ["--projection", "--head"];
        choices.only(source, "an EfficientNet-Lite", &accepted)?;
        let graph = efficientnet_lite::import(&checkpoint, choices.end())?;
        (graph, Tower::Image)
    } else if let Some(keys) = clip::recognises(&checkpoint) {
        let side = choices.tower.unwrap_or(Side::Image);
        let (what, accepted): (_, &[&str]) = match side {
            Side::Image => ("the image tower of a CLIP", &[]),
            Side::Text => ("the text tower of a CLIP", &["--tokenizer", "--max-tokens"]),
        };
        let both = ["--projection", "--tower", "--quick-gelu"];
        choices.only(source, what, &[&both, accepted].concat())?;
        let mut config = clip::config_beside(&checkpoint, keys)?;
        if choices.quick_gelu {
            config.quick_gelu();
        }
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        match side {
            Side::Image => (
                clip::import_image(&checkpoint, keys, &config)?,
                Tower::Image,
            ),
            Side::Text => {
                let graph = clip::import_text(&checkpoint, keys, &config, choices.max_tokens)?;
                (graph, Tower::Text)
            }
        }
    } else if bert::recognises(&checkpoint) {
        let accepted = ["--projection", "--tokenizer", "--max-tokens"];
        choices.only(source, "a BERT", &accepted)?;
        let config = bert::config_beside(&checkpoint)?;
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        let graph = bert::import(
            &checkpoint,
            &config,
            choices.max_tokens.unwrap_or(ASSUMED_TOKENS),
        )?;
        (graph, Tower::Text)
    } else if static_embeddings::recognises(&checkpoint) {
        let accepted = ["--projection", "--tokenizer", "--max-tokens"];
        choices.only(source, "a table of static embeddings", &accepted)?;
        let config = static_embeddings::config_beside(&checkpoint)?;
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        let tokens = choices.max_tokens.unwrap_or(config.max_tokens);
        let graph = static_embeddings::import(&checkpoint, &config, tokens)?;
        (graph, Tower::Text)
    } else if choices.arch.is_some() || timm::recognises(&checkpoint).is_some() {
        let accepted = ["--projection", "--head", "--arch"];
        choices.only(source, "a network of timm's or torchvision's", &accepted)?;
        let config = timm::config_beside(&checkpoint, choices.arch.as_deref()).map_err(|error| {
            Failure::new(error).help(
                "--arch NAME says which network of timm it is, whatever config.json says; others come as ONNX",
            )
        })?;
        config
            .assumed
            .iter()
            .for_each(|assumption| note!("assumed: {assumption}"));
        let graph = timm::import(&checkpoint, &config, choices.end())?;
        (graph, Tower::Image)
    } else {
        let keys: Vec<&str> = checkpoint
            .tensors
            .keys()
            .take(5)
            .map(String::as_str)
            .collect();
        let nearest = match (clip::refused(&checkpoint), nearest(&checkpoint)) {
            (Some(reason), _) => format!("; {reason}"),
            (None, Some(nearest)) => format!(
                "; nearest is {}, but there is no {}",
                nearest.family,
                nearest.missing.join(", ")
            ),
            (None, None) => String::new(),
        };
        return Err(Failure::new(format_args!(
            "{}: its {} tensors are of no known architecture; the first are {}{nearest}",
            source.display(),
            checkpoint.tensors.len(),
            keys.join(", ")
        ))
        .help("known are EfficientNet-Lite0 to 4, CLIP, SigLIP, CoCa and MobileCLIP of OpenAI, open_clip and Hugging Face, BERT and MiniLM, model2vec's static embeddings, and ResNet, MobileNetV2 to V4, RepViT and TinyViT in timm's keys, MobileNetV2 and V3 in torchvision's; other networks come as ONNX: pinhole import model.onnx"));
    };
    if let Some(path) = &choices.projection {
        let projection = Projection::load(path)?;
        projection.append(&mut graph, tower)?;
    }
    Ok(graph)
}

fn tflite(source: &Path, bytes: &[u8], choices: &Choices) -> Outcome<Graph> {
    use pinhole_graph::import::tflite::{Options, Output, parse};

    choices.only(source, "a TFLite file", &["--features", "--output"])?;
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
    let graph = load(source, &options)?;
    let (what, accepted): (_, &[&str]) = match graph.meta.kind {
        ModelKind::TextEncoder => ("an ONNX text encoder", &["--tokenizer", "--max-tokens"]),
        _ => ("an ONNX file without token ids", &[]),
    };
    choices.only(source, what, accepted)?;
    if let Some(assumed) = graph.meta.source.get("assumed") {
        note!("assumed: {assumed}");
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
