//! Runs a graph (.phg), or an ONNX or TFLite file, in the runtime, and writes what came out.
//!
//! `cargo run -p pinhole-tests --features onnx --example export_run -- FILE INPUTS.safetensors OUT.safetensors`, where
//! INPUTS holds `input` (N, …), the real numbers of N inputs in f32. OUT holds `input` and `output` (N, …), in int8
//! where the model has them so. `tests/import/export_peers.py` compares them with what other engines make of exported
//! files.

use std::collections::BTreeMap;
use std::error::Error;

use pinhole_graph::Graph;
use pinhole_graph::import::{onnx, tflite};
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, inputs, out] = &arguments[..] else {
        return Err("usage: export_run FILE INPUTS.safetensors OUT.safetensors".into());
    };
    let graph = read(file)?;
    let content = std::fs::read(inputs)?;
    let inputs = SafeTensors::deserialize(&content)?;
    let input = inputs.tensor("input")?;
    let count = input.shape()[0];
    let (words, _) = input.data().as_chunks::<4>();
    let reals: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let mut written = Outputs::default();
    run(&graph, &reals, count, &mut written)?;
    written.save(out, count)
}

fn read(file: &str) -> Result<Graph, Box<dyn Error>> {
    Ok(match file.rsplit('.').next() {
        Some("onnx") => onnx::load(file, &onnx::Options::default())?,
        Some("tflite") => tflite::load(file, &tflite::Options::default())?,
        _ => Graph::load(file)?,
    })
}

/// Bytes of the first input and output, and whether they are int8.
#[derive(Default)]
struct Outputs {
    tensors: BTreeMap<&'static str, (bool, Vec<u8>)>,
}

impl Outputs {
    fn add(&mut self, name: &'static str, int8: bool, bytes: &[u8]) {
        let tensor = self.tensors.entry(name).or_default();
        tensor.0 = int8;
        tensor.1.extend(bytes);
    }

    fn save(&self, path: &str, count: usize) -> Result<(), Box<dyn Error>> {
        let mut views = Vec::new();
        for (name, (int8, bytes)) in &self.tensors {
            let (dtype, width) = match int8 {
                true => (Dtype::I8, 1),
                false => (Dtype::F32, 4),
            };
            let shape = vec![count, bytes.len() / count / width];
            views.push((*name, TensorView::new(dtype, shape, bytes)?));
        }
        Ok(std::fs::write(path, safetensors::serialize(views, None)?)?)
    }
}

fn run(
    graph: &Graph,
    reals: &[f32],
    count: usize,
    written: &mut Outputs,
) -> Result<(), Box<dyn Error>> {
    let packed = pack(graph, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let set = kernel::detect();
    let mut interpreter =
        Interpreter::new(&model, &mut arena, set).map_err(|error| error.to_string())?;
    let quant = graph.values[graph.inputs[0]].quant.as_ref();
    for real in reals.chunks_exact(reals.len() / count) {
        let place = interpreter.input_bytes_mut(0);
        let place = place.map_err(|error| error.to_string())?;
        match quant {
            Some(quant) => {
                let mut steps = vec![0; real.len()];
                set.quantize_f32(real, quant.scales[0], quant.zero_point, &mut steps);
                let steps: Vec<u8> = steps.iter().map(|&step| step as u8).collect();
                place.copy_from_slice(&steps);
                written.add("input", true, &steps);
            }
            None => {
                let bytes: Vec<u8> = real.iter().flat_map(|real| real.to_le_bytes()).collect();
                place.copy_from_slice(&bytes);
                written.add("input", false, &bytes);
            }
        }
        interpreter.run();
        let output = interpreter.output_bytes(0);
        let output = output.map_err(|error| error.to_string())?;
        let elements: usize = graph.values[graph.outputs[0]].shape.iter().product();
        written.add("output", output.len() == elements, output);
    }
    Ok(())
}
