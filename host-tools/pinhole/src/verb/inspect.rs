//! `pinhole inspect`: what is in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pinhole_graph::{Graph, Node};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use serde::Serialize;

use crate::encoder::{LoadedModel, kind_name};
use crate::failure::{Failure, Outcome};
use crate::files::FileKind;
use crate::output::{json, say};
use crate::{bank, files, graph_file};

/// Say what is in a model, a class bank or a graph.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole inspect models/lite0/image.phm
  pinhole inspect models/lite0/bank.phc --json
  pinhole inspect models/lite0/image.phg
  pinhole inspect models/lite0/image.phg --svg image.svg

The kind of a file is told by its first bytes, not by its name.")]
pub(crate) struct Args {
    /// .phm, .phc or .phg.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Draw a graph into an SVG file that needs nothing beside itself.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    if let Some(path) = &args.svg {
        files::check_target(path)?;
        files::write(path, graph_file::open(&args.file)?.to_svg().as_bytes())?;
    }
    let bytes = files::read_aligned(&args.file)?;
    match FileKind::of(&bytes) {
        FileKind::Model => {
            let loaded = LoadedModel::from_bytes(args.file.display(), bytes, kernel::detect())?;
            let inspected = inspect_model(&args.file, &loaded.model);
            if args.json { json(&inspected) } else { print_model(&inspected) }
        }
        FileKind::Bank => {
            let inspected = inspect_bank(&args.file, bytes)?;
            if args.json { json(&inspected) } else { print_bank(&inspected) }
        }
        FileKind::Graph | FileKind::Safetensors => {
            let graph = Graph::parse(&args.file, &bytes)?;
            if args.json {
                return json(&inspect_graph(&args.file, &graph));
            }
            say!("{}", graph.to_string().trim_end());
            Ok(())
        }
        found => Err(Failure::new(format_args!(
            "{}: found {found}, expected a packed model (.phm), a class bank (.phc) or a graph (.phg)",
            args.file.display()
        ))
        .help("pinhole import FILE --out graph.phg reads checkpoints and ONNX files")),
    }
}

/// A packed model; the order of keys is part of the output.
#[derive(Serialize)]
struct ModelFile<'a> {
    file: &'a Path,
    kind: String,
    format_version: u16,
    file_bytes: u64,
    data_bytes: u64,
    golden_bytes: u64,
    macs: u64,
    arena_bytes: usize,
    arena_lower_bound_bytes: usize,
    arena_ratio: f64,
    embedding_space: String,
    logit_scale: f32,
    geometry: Option<Geometry>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "is_zero")]
    padding_tokens: usize,
    vocabulary_bytes: usize,
    ops: Vec<OpRow<'a>>,
    values: Vec<ValueRow<'a>>,
    /// For people, in words.
    #[serde(skip)]
    kind_name: &'static str,
}

/// How a picture becomes the input.
#[derive(Serialize)]
struct Geometry {
    width: u16,
    height: u16,
    resize_shorter: u16,
    mean: [f32; 3],
    std: [f32; 3],
}

/// One operator.
#[derive(Serialize)]
struct OpRow<'a> {
    index: usize,
    name: Option<&'a str>,
    op: &'static str,
    macs: u64,
    output: u64,
    data_bytes: u64,
    scratch_bytes: u64,
}

/// What flows along an edge.
#[derive(Serialize)]
struct ValueRow<'a> {
    index: usize,
    name: Option<&'a str>,
    dtype: &'static str,
    shape: Vec<u64>,
    scale: f32,
    zero_point: i32,
    constant: bool,
    offset: u64,
}

fn inspect_model<'a>(path: &'a Path, model: &Model<'a>) -> ModelFile<'a> {
    let header = model.header();
    let value = |index: usize| {
        let view = model.value(index);
        ValueRow {
            index,
            name: model.value_name(index),
            dtype: view.dtype.name(),
            shape: view.shape[..view.rank]
                .iter()
                .map(|&size| size as u64)
                .collect(),
            scale: view.scale,
            zero_point: view.zero_point,
            constant: view.constant,
            offset: view.offset as u64,
        }
    };
    let ops = model.ops().iter().enumerate();
    let ops = ops.map(|(index, op)| OpRow {
        index,
        name: model.op_name(index),
        op: OpKind::from_u16(op.kind.get()).map_or("unknown", OpKind::name),
        macs: model.op_macs(index),
        output: u64::from(op.output.get()),
        data_bytes: op.data.iter().map(|data| u64::from(data.bytes.get())).sum(),
        scratch_bytes: u64::from(op.scratch_bytes.get()),
    });
    let (arena, bound) = (model.arena_bytes(), header.arena_lower_bound_bytes.get());
    ModelFile {
        file: path,
        kind: format!("{:?}", model.kind()),
        format_version: header.version.get(),
        file_bytes: u64::from(header.file_bytes.get()),
        data_bytes: u64::from(header.data.bytes.get()),
        golden_bytes: u64::from(header.golden.bytes.get()),
        macs: header.macs.get(),
        arena_bytes: arena,
        arena_lower_bound_bytes: bound as usize,
        arena_ratio: arena as f64 / f64::from(bound.max(1)),
        embedding_space: files::hex(&model.embedding_space()),
        logit_scale: header.logit_scale.get(),
        geometry: model.geometry().map(|g| Geometry {
            width: g.width,
            height: g.height,
            resize_shorter: g.resize_shorter,
            mean: g.mean,
            std: g.std,
        }),
        max_tokens: header.max_tokens.get(),
        padding_tokens: model.padding_tokens(),
        vocabulary_bytes: model.vocabulary().len(),
        ops: ops.collect(),
        values: (0..model.values().len()).map(value).collect(),
        kind_name: kind_name(model.kind()),
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn print_model(model: &ModelFile<'_>) -> Outcome {
    say!(
        "{}: {}, format version {}",
        model.file.display(),
        model.kind_name,
        model.format_version
    );
    say!(
        "  file             {} bytes, {} of weights and tables",
        model.file_bytes,
        model.data_bytes
    );
    if model.golden_bytes > 0 {
        say!("  golden embedding {} bytes", model.golden_bytes);
    }
    say!(
        "  arena            {} bytes, lower bound {} bytes, ratio {:.3}",
        model.arena_bytes,
        model.arena_lower_bound_bytes,
        model.arena_ratio
    );
    say!(
        "  work             {} operators, {} MAC",
        model.ops.len(),
        model.macs
    );
    if let Some(g) = &model.geometry {
        say!(
            "  picture          {} x {}, shorter side resized to {}, mean {:?}, std {:?}",
            g.width,
            g.height,
            g.resize_shorter,
            g.mean,
            g.std
        );
    }
    if model.max_tokens > 0 {
        let padding = match model.padding_tokens {
            0 => String::new(),
            count => format!(", {count} of padding"),
        };
        say!(
            "  text             at most {} tokens{padding}, vocabulary of {} bytes",
            model.max_tokens,
            model.vocabulary_bytes
        );
    }
    say!(
        "  embedding space  {}, logit scale {}",
        model.embedding_space,
        model.logit_scale
    );
    say!();
    say!(
        "{:>4} {:<40} {:<20} {:<16} {:>5} {:>11} {:>4} {:>11} {:>9} {:>9}",
        "",
        "layer",
        "operator",
        "output",
        "dtype",
        "scale",
        "zero",
        "MAC",
        "data B",
        "scratch B"
    );
    for op in &model.ops {
        let output = &model.values[op.output as usize];
        say!(
            "{:>4} {:<40} {:<20} {:<16} {:>5} {:>11.3e} {:>4} {:>11} {:>9} {:>9}",
            op.index,
            op.name.unwrap_or("-"),
            op.op,
            shape(&output.shape),
            output.dtype,
            output.scale,
            output.zero_point,
            op.macs,
            op.data_bytes,
            op.scratch_bytes
        );
    }
    Ok(())
}

/// `1x7x7x320`
fn shape(sizes: &[u64]) -> String {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    sizes.join("x")
}

/// A class bank; the order of keys is part of the output.
#[derive(Serialize)]
struct BankFile<'a> {
    file: &'a Path,
    kind: &'static str,
    file_bytes: usize,
    classes: usize,
    slots: u64,
    slot_bytes: u64,
    dim: u64,
    embedding_space: String,
    logit_scale: f32,
    logit_bias: f32,
    temperature: f32,
    reject_threshold: Option<f32>,
    templates: Vec<&'a str>,
    names: Vec<String>,
}

fn inspect_bank(path: &Path, bytes: AlignedBytes) -> Outcome<BankFile<'_>> {
    let file_bytes = bytes.len();
    let bank = bank::load(path.display(), bytes)?;
    let threshold = bank.reject_threshold();
    Ok(BankFile {
        file: path,
        kind: "ClassBank",
        file_bytes,
        classes: bank.class_count() as usize,
        slots: bank.slot_count() as u64,
        slot_bytes: bank.slot_bytes() as u64,
        dim: bank.dim() as u64,
        embedding_space: files::hex(bank.embedding_space_id()),
        logit_scale: bank.logit_scale(),
        logit_bias: bank.logit_bias(),
        temperature: bank.temperature(),
        reject_threshold: threshold.is_finite().then_some(threshold),
        templates: bank.templates().lines().collect(),
        names: bank.classes().map(|class| class.name.to_string()).collect(),
    })
}

fn print_bank(bank: &BankFile<'_>) -> Outcome {
    say!(
        "{}: a class bank of {} classes",
        bank.file.display(),
        bank.classes
    );
    say!(
        "  file             {} bytes, {} slots of {} bytes",
        bank.file_bytes,
        bank.slots,
        bank.slot_bytes
    );
    say!(
        "  embedding space  {}, {} dimensions",
        bank.embedding_space,
        bank.dim
    );
    say!(
        "  scores           logit scale {}, logit bias {}, temperature {}",
        bank.logit_scale,
        bank.logit_bias,
        bank.temperature
    );
    match bank.reject_threshold {
        Some(threshold) => say!("  rejects          pictures with an energy above {threshold}"),
        None => say!("  rejects          nothing"),
    }
    for template in &bank.templates {
        say!("  template         {template}");
    }
    say!("  classes          {}", bank.names.join(", "));
    Ok(())
}

/// A graph; the order of keys is part of the output.
#[derive(Serialize)]
struct GraphFile<'a> {
    file: &'a Path,
    kind: &'static str,
    name: &'a str,
    parameters: usize,
    macs: u64,
    nodes: Vec<NodeRow<'a>>,
    source: &'a BTreeMap<String, String>,
}

/// One node.
#[derive(Serialize)]
struct NodeRow<'a> {
    name: &'a str,
    op: String,
    shape: &'a [usize],
    macs: u64,
    quant: Option<Quant>,
}

/// Of a node's output.
#[derive(Serialize)]
struct Quant {
    dtype: String,
    scale: Option<f32>,
    zero_point: i32,
}

fn inspect_graph<'a>(path: &'a Path, graph: &'a Graph) -> GraphFile<'a> {
    let row = |node: &'a Node| {
        let value = &graph.values[node.output];
        NodeRow {
            name: &node.name,
            op: node.op.name().to_string(),
            shape: &value.shape,
            macs: graph.node_macs(node),
            quant: value.quant.as_ref().map(|q| Quant {
                dtype: format!("{:?}", q.dtype),
                scale: q.scales.first().copied(),
                zero_point: q.zero_point,
            }),
        }
    };
    GraphFile {
        file: path,
        kind: "Graph",
        name: &graph.name,
        parameters: graph.parameter_count(),
        macs: graph.macs(),
        nodes: graph.nodes.iter().map(row).collect(),
        source: &graph.meta.source,
    }
}
