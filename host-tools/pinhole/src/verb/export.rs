//! `pinhole export`: a graph to an ONNX file.

use std::path::PathBuf;

use pinhole_graph::export;
use serde_json::json;

use crate::failure::{Context, Outcome};
use crate::output::{json as json_line, say};
use crate::{files, graph_file};

/// Export a graph in f32 to an ONNX file that other engines run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole export lite0.phg --out lite0.onnx
  pinhole export minilm.phg --out minilm.onnx --json

Pictures stay (1, height, width, channels); token ids are (1, tokens).")]
pub(crate) struct Args {
    /// Graph (.phg), not quantised.
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    /// Where the ONNX file goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let graph = graph_file::open(&args.graph)?;
    let bytes = export::onnx(&graph).context(args.graph.display())?;
    files::write(&args.out, &bytes)?;
    if args.json {
        return json_line(&json!({
            "file_bytes": bytes.len(),
            "nodes": graph.nodes.len(),
            "opset": export::OPSET,
        }));
    }
    say!(
        "{}: {} bytes, {} nodes of the graph in operator set {}",
        args.out.display(),
        bytes.len(),
        graph.nodes.len(),
        export::OPSET
    );
    Ok(())
}
