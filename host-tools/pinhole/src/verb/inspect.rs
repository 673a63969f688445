//! `pinhole inspect`: what is in a file.

use std::path::{Path, PathBuf};

use pinhole_graph::Graph;
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use serde_json::{Value, json};

use crate::encoder::LoadedModel;
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::{bank, files};

/// Say what is in a model, a class bank or a graph.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole inspect models/lite0/image.phm
  pinhole inspect models/lite0/bank.phc --json")]
pub(crate) struct Args {
    /// .phm, .phc or .phg.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let bytes = files::read_aligned(&args.file)?;
    let object = match bytes.get(..4) {
        Some(b"PHM1") => {
            let loaded = LoadedModel::from_bytes(args.file.display(), bytes, kernel::detect())?;
            model(&args.file, &loaded.model)
        }
        Some(b"PHC1") => class_bank(&args.file, bytes)?,
        _ if args.file.extension().is_some_and(|e| e == "phg") => graph(&args)?,
        found => {
            return Err(Failure::new(format_args!(
                "{}: begins with {found:02x?}; expected a model (PHM1), a class bank (PHC1) or a graph named .phg",
                args.file.display()
            )));
        }
    };
    if args.json {
        say!("{object}");
    } else {
        print(&object, 0);
    }
    Ok(())
}

fn model(path: &Path, model: &Model<'_>) -> Value {
    let header = model.header();
    let values: Vec<Value> = (0..model.values().len())
        .map(|index| {
            let view = model.value(index);
            json!({
                "index": index, "name": model.value_name(index), "dtype": view.dtype.name(), "shape": &view.shape[..view.rank],
                "scale": view.scale, "zero_point": view.zero_point, "constant": view.constant, "offset": view.offset,
            })
        })
        .collect();
    let ops: Vec<Value> = model
        .ops()
        .iter()
        .enumerate()
        .map(|(index, op)| {
            json!({
                "index": index, "name": model.op_name(index), "op": OpKind::from_u16(op.kind.get()).map(OpKind::name),
                "macs": model.op_macs(index), "output": op.output.get(),
                "data_bytes": op.data.iter().map(|data| data.bytes.get() as usize).sum::<usize>(),
                "scratch_bytes": op.scratch_bytes.get(),
            })
        })
        .collect();
    let (arena, bound) = (model.arena_bytes(), header.arena_lower_bound_bytes.get());
    json!({
        "file": path, "kind": format!("{:?}", model.kind()), "format_version": header.version.get(),
        "file_bytes": header.file_bytes.get(), "data_bytes": header.data.bytes.get(), "macs": header.macs.get(),
        "arena_bytes": arena, "arena_lower_bound_bytes": bound, "arena_ratio": arena as f64 / f64::from(bound.max(1)),
        "embedding_space": files::hex(&model.embedding_space()), "logit_scale": header.logit_scale.get(),
        "geometry": model.geometry().map(|g| json!({"width": g.width, "height": g.height, "resize_shorter": g.resize_shorter, "mean": g.mean, "std": g.std})),
        "max_tokens": header.max_tokens.get(), "vocabulary_bytes": model.vocabulary().len(),
        "ops": ops, "values": values,
    })
}

fn class_bank(path: &Path, bytes: pinhole_runtime::interpreter::AlignedBytes) -> Outcome<Value> {
    let file_bytes = bytes.len();
    let bank = bank::load(path.display(), bytes)?;
    let threshold = bank.reject_threshold();
    Ok(json!({
        "file": path, "kind": "ClassBank", "file_bytes": file_bytes, "classes": bank.class_count(), "slots": bank.slot_count(),
        "slot_bytes": bank.slot_bytes(), "dim": bank.dim(), "embedding_space": files::hex(bank.embedding_space_id()),
        "logit_scale": bank.logit_scale(), "logit_bias": bank.logit_bias(), "temperature": bank.temperature(),
        "reject_threshold": threshold.is_finite().then_some(threshold), "templates": bank.templates().lines().collect::<Vec<_>>(),
        "names": bank.classes().map(|class| class.name.to_string()).collect::<Vec<_>>(),
    }))
}

fn graph(args: &Args) -> Outcome<Value> {
    let graph = Graph::load(&args.file).map_err(Failure::new)?;
    if !args.json {
        say!("{graph}");
    }
    let nodes: Vec<Value> = graph
        .nodes
        .iter()
        .map(|node| {
            let value = &graph.values[node.output];
            json!({
                "name": node.name, "op": node.op.name(), "shape": value.shape, "macs": graph.node_macs(node),
                "quant": value.quant.as_ref().map(|q| json!({"dtype": format!("{:?}", q.dtype), "scale": q.scales.first(), "zero_point": q.zero_point})),
            })
        })
        .collect();
    Ok(json!({
        "file": args.file, "kind": "Graph", "name": graph.name, "parameters": graph.parameter_count(), "macs": graph.macs(),
        "nodes": nodes, "source": graph.meta.source,
    }))
}

/// Keys and values; lists of objects as one line each.
fn print(object: &Value, indent: usize) {
    for (key, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Array(rows) if rows.first().is_some_and(Value::is_object) => {
                say!("{:indent$}{key}:", "");
                for row in rows {
                    let cells: Vec<String> = row
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(k, v)| format!("{k}={}", plain(v)))
                        .collect();
                    say!("{:indent$}  {}", "", cells.join("  "));
                }
            }
            Value::Object(_) => {
                say!("{:indent$}{key}:", "");
                print(value, indent + 2);
            }
            other => say!("{:indent$}{key}: {}", "", plain(other)),
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToString::to_string)
}
