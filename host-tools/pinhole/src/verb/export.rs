//! `pinhole export`: a graph to an ONNX or a TFLite file.

use std::path::{Path, PathBuf};

use pinhole_graph::export::{self, ExportError};
use pinhole_graph::{Graph, PictureGeometry};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::output::{json as json_line, say};
use crate::{files, graph_file};

/// Export a graph to an ONNX or a TFLite file that other engines run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole export lite0-int8.phg --out lite0.tflite
  pinhole export lite0-int8.phg --out lite0.onnx
  pinhole export lite0-int8.phg --float --out lite0-f32.onnx
  pinhole export minilm.phg --out minilm.onnx --json

A quantised graph becomes int8 TFLite, or ONNX with QuantizeLinear and
DequantizeLinear around every value (QDQ), with the scales, zero points,
weights and biases of the graph. Pictures stay (1, height, width, channels);
token ids are (1, tokens).

The input of int8 TFLite takes bytes:
  scale * (byte - zero_point) = (pixel / 255 - mean) / std
The command prints these numbers; the file has mean and std as metadata. An
ONNX file takes (pixel / 255 - mean) / std as floats.")]
pub(crate) struct Args {
    /// Graph (.phg), quantised or not.
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    /// Where the file goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Format of the file, where the ending of --out (.onnx, .tflite) is not to say.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write a quantised graph in f32.
    #[arg(long)]
    float: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// What other engines read.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Onnx,
    Tflite,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Tflite => "tflite",
        }
    }
}

/// A file to be written.
struct Exported {
    bytes: Vec<u8>,
    /// Nodes of a quantised graph that run in floats.
    float_nodes: Vec<String>,
    /// What the format counts in.
    version: String,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let format = match args.format {
        Some(format) => format,
        None => format_of(&args.graph, &args.out)?,
    };
    let mut graph = graph_file::open(&args.graph)?;
    if args.float {
        graph = export::real(&graph);
    }
    let exported = match format {
        Format::Onnx => onnx(&args.graph, &graph)?,
        Format::Tflite => tflite(&args.graph, &graph)?,
    };
    files::write(&args.out, &exported.bytes)?;
    if args.json {
        return json_line(&report(format, &graph, &exported));
    }
    say!(
        "{}: {} bytes, {} nodes of the graph in {}{}",
        args.out.display(),
        exported.bytes.len(),
        graph.nodes.len(),
        exported.version,
        if graph.is_quantized() { ", int8" } else { "" },
    );
    if let Some(input) = input(format, &graph) {
        say!("{input}");
    }
    if !exported.float_nodes.is_empty() {
        say!(
            "in f32, since the graph keeps them in floats or the format has no such operator in int8: {}",
            exported.float_nodes.join(", ")
        );
    }
    Ok(())
}

/// The format that the ending of a name says.
fn format_of(graph: &Path, out: &Path) -> Outcome<Format> {
    let ending = out.extension().unwrap_or_default().to_string_lossy();
    match ending.to_ascii_lowercase().as_str() {
        "onnx" => Ok(Format::Onnx),
        "tflite" => Ok(Format::Tflite),
        _ => Err(Failure::new(format_args!(
            "{}: found no ending that names a format, expected .onnx or .tflite",
            out.display()
        ))
        .help(format_args!(
            "pinhole export {} --out {}, or add --format onnx or --format tflite",
            graph.display(),
            out.with_extension("onnx").display()
        ))),
    }
}

#[cfg(feature = "onnx")]
fn onnx(path: &Path, graph: &Graph) -> Outcome<Exported> {
    Ok(Exported {
        bytes: export::onnx(graph).map_err(|error| refused(path, &error))?,
        float_nodes: Vec::new(),
        version: format!("operator set {} of ONNX", export::OPSET),
    })
}

#[cfg(not(feature = "onnx"))]
fn onnx(path: &Path, _: &Graph) -> Outcome<Exported> {
    Err(
        Failure::new("this pinhole was built without ONNX, expected the feature `onnx`").help(
            format_args!("pinhole export {} --out FILE.tflite", path.display()),
        ),
    )
}

fn tflite(path: &Path, graph: &Graph) -> Outcome<Exported> {
    let written = export::tflite(graph).map_err(|error| refused(path, &error))?;
    Ok(Exported {
        bytes: written.bytes,
        float_nodes: written.float_nodes,
        version: format!("{} operators of TFLite", written.operators),
    })
}

/// A failure with the next thing to type.
fn refused(path: &Path, error: &ExportError) -> Failure {
    let failure = Failure::new(format_args!("{}: {error}", path.display()));
    match error {
        ExportError::Unsupported(_) => failure.help(format_args!(
            "pinhole export {} --out FILE.onnx",
            path.display()
        )),
        _ => failure.help(format_args!("pinhole inspect {}", path.display())),
    }
}

/// What bytes or floats the input takes, of a graph that takes pictures.
fn input(format: Format, graph: &Graph) -> Option<String> {
    let PictureGeometry {
        width,
        height,
        mean,
        std,
        ..
    } = graph.meta.geometry?;
    let real = format!("(pixel / 255 - mean) / std, mean {mean:?}, std {std:?}");
    let quant = graph.values[*graph.inputs.first()?].quant.as_ref();
    Some(match (format, quant) {
        (Format::Tflite, Some(quant)) => format!(
            "input: {height} x {width} pixels in int8, {:e} * (byte - {}) = {real}",
            quant.scales[0], quant.zero_point
        ),
        _ => format!("input: {height} x {width} pixels in f32, {real}"),
    })
}

fn report(format: Format, graph: &Graph, exported: &Exported) -> serde_json::Value {
    let mut report = json!({
        "file_bytes": exported.bytes.len(),
        "nodes": graph.nodes.len(),
        "format": format.name(),
        "quantised": graph.is_quantized(),
        "float_nodes": exported.float_nodes,
    });
    #[cfg(feature = "onnx")]
    if format == Format::Onnx {
        report["opset"] = export::OPSET.into();
    }
    let quant = graph.inputs.first().map(|&id| &graph.values[id].quant);
    if let (Format::Tflite, Some(Some(quant))) = (format, quant) {
        report["input_scale"] = quant.scales[0].into();
        report["input_zero_point"] = quant.zero_point.into();
    }
    report
}
