//! Imports an ONNX file or reads a graph (.phg), packs it in f32, runs it in the runtime on a fixed input and prints what
//! came out as JSON.
//!
//! `cargo run -p pinhole-tests --features onnx --example onnx_run -- FILE [TOKENS]`, which
//! `tests/golden/onnx_parity.py` and `tests/import/onnx_export.py` compare with ONNX Runtime.

use std::error::Error;

use pinhole_graph::import::onnx::{Options, load};
use pinhole_graph::{Graph, Op};
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;

/// Ids of the fixed input are below this.
const VOCABULARY: u64 = 1000;

/// 64-bit LCG of Knuth's MMIX; the upper bits are used.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 40
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1 << 23) as f32 - 1.0
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: onnx_run FILE [TOKENS]")?;
    let mut options = Options::default();
    if let Some(tokens) = arguments.next() {
        options.tokens = tokens.parse()?;
    }
    let graph = if path.ends_with(".phg") {
        Graph::load(&path)?
    } else {
        load(&path, &options)?
    };
    let (ids, output) = run(&graph)?;
    let moves = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Transpose { .. }))
        .count();
    println!(
        "{}",
        serde_json::json!({
            "nodes": graph.nodes.len(),
            "transposes": moves,
            "dynamic": graph.inputs.iter().any(|&id| graph.values[id].dynamic),
            "input_shape": graph.values[graph.inputs[0]].shape,
            "output_shape": graph.values[graph.outputs[0]].shape,
            "ids": ids,
            "output": output,
        })
    );
    Ok(())
}

/// Rows of the table that token ids are looked up in.
fn vocabulary(graph: &Graph) -> Option<usize> {
    let mut nodes = graph.nodes.iter();
    let lookup = nodes.find(|node| matches!(node.op, Op::Embedding))?;
    graph.values[lookup.inputs[1]].shape.first().copied()
}

/// The token ids that it ran on, if any, and the output.
fn run(graph: &Graph) -> Result<(Vec<i32>, Vec<f32>), Box<dyn Error>> {
    let packed = pack(graph, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, kernel::detect())
        .map_err(|error| error.to_string())?;
    let mut random = Lcg(1);
    let mut fed = Vec::new();
    for (index, &id) in graph.inputs.iter().enumerate() {
        if graph.values[id].is_ids {
            let ids = interpreter
                .input_i32_mut(index)
                .map_err(|error| error.to_string())?;
            ids.fill_with(|| (random.next() % VOCABULARY) as i32);
            // What ends a text in the vocabulary of CLIP, which a tower without a causal mask looks for.
            if let (Some(last), Some(rows)) = (ids.last_mut(), vocabulary(graph)) {
                *last = i32::try_from(rows - 1)?;
            }
            fed = ids.to_vec();
        } else {
            let floats = interpreter
                .input_f32_mut(index)
                .map_err(|error| error.to_string())?;
            floats.fill_with(|| random.float());
        }
    }
    interpreter.run();
    let output = interpreter
        .output_f32(0)
        .map_err(|error| error.to_string())?;
    Ok((fed, output.to_vec()))
}
