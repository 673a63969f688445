//! Imports a quantised TFLite file, packs it, and compares every tensor, bit for bit, with what LiteRT's reference
//! kernels computed, for every kernel set of this CPU.
//!
//! `cargo run --release -p pinhole-tests --example tflite_equality -- FILE.tflite REFERENCE.safetensors`, where
//! `tests/import/litert_reference.py` wrote REFERENCE. Fails when a tensor differs that does not come from a fully
//! connected layer or a softmax; of those it says how many numbers differ and by how much (`docs/numerics.md` says
//! why). A fully connected layer may be off by [`ALLOWED_STEPS`], and a softmax by what that makes of its
//! probabilities and a step more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use pinhole_graph::import::tflite::{Options, load};
use pinhole_graph::{Graph, Node, Op};
use pinhole_pack::{PackOptions, Packed, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// Largest difference behind a fully connected layer.
const ALLOWED_STEPS: u8 = 1;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, reference] = &arguments[..] else {
        return Err("usage: tflite_equality FILE.tflite REFERENCE.safetensors".into());
    };
    let content = std::fs::read(reference)?;
    let reference = Reference::parse(&content)?;
    let mut graph = load(file, &Options::default())?;
    // A packed model has few outputs; all tensors are seen while it runs.
    graph.outputs.truncate(1);
    let packed = pack(&graph, &PackOptions::default())?;
    let file = Path::new(file).file_name().unwrap_or_default();
    let mut equal = true;
    for set in kernel::available() {
        let comparison = compare(&graph, &packed, set, &reference)?;
        println!("{} {}: {comparison}", file.display(), set.name());
        equal &= comparison.holds(reference.inputs.len());
    }
    Ok(if equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What LiteRT computed.
struct Reference<'a> {
    inputs: Vec<&'a [u8]>,
    /// SHA-256 of each tensor, for each input.
    digests: BTreeMap<String, Vec<String>>,
    /// Small tensors in full, for each input.
    full: BTreeMap<String, Vec<&'a [u8]>>,
}

impl<'a> Reference<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, Box<dyn Error>> {
        let file = SafeTensors::deserialize(content)?;
        let (_, header) = SafeTensors::read_metadata(content)?;
        let metadata = header.metadata().as_ref();
        let digests = metadata
            .and_then(|metadata| metadata.get("sha256"))
            .ok_or("the reference has no sha256 in its metadata")?;
        let mut reference = Self {
            inputs: Vec::new(),
            digests: serde_json::from_str(digests)?,
            full: BTreeMap::new(),
        };
        for (name, view) in file.iter() {
            let count = view.shape().first().copied().unwrap_or(0).max(1);
            let rows = view
                .data()
                .chunks_exact(view.data().len() / count)
                .collect();
            match name.strip_prefix("output.") {
                Some(name) => {
                    reference.full.insert(name.to_owned(), rows);
                }
                None => reference.inputs = rows,
            }
        }
        Ok(reference)
    }
}

/// How a kernel set does.
#[derive(Default)]
struct Comparison {
    inputs: usize,
    /// Inputs of which every tensor in front of fully connected layers is equal.
    equal: usize,
    /// Names of those tensors.
    exact: BTreeSet<String>,
    /// Names of those that differ.
    different: BTreeSet<String>,
    rounded: BTreeMap<String, Rounded>,
}

/// A tensor that LiteRT rounds otherwise.
struct Rounded {
    numbers: usize,
    different: usize,
    /// Largest difference.
    steps: u8,
    allowed: u8,
}

impl Comparison {
    fn holds(&self, inputs: usize) -> bool {
        inputs > 0
            && self.equal == inputs
            && !self.exact.is_empty()
            && self
                .rounded
                .values()
                .all(|tensor| tensor.steps <= tensor.allowed)
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (equal, inputs, tensors) = (self.equal, self.inputs, self.exact.len());
        write!(
            f,
            "{equal} of {inputs} equal in every bit of {tensors} tensors"
        )?;
        for name in &self.different {
            write!(f, "; {name} differs")?;
        }
        for (name, tensor) in &self.rounded {
            write!(
                f,
                "; {name}: {} of {} differ, by {} at most",
                tensor.different, tensor.numbers, tensor.steps
            )?;
        }
        Ok(())
    }
}

/// Keeps what operators write.
#[derive(Default)]
struct Written(HashMap<usize, Vec<u8>>);

impl Observer for Written {
    fn after_op(&mut self, _op: usize, value: usize, output: &[u8]) {
        self.0.insert(value, output.to_vec());
    }
}

fn compare(
    graph: &Graph,
    packed: &Packed,
    set: &'static dyn Kernels,
    reference: &Reference<'_>,
) -> Result<Comparison, Box<dyn Error>> {
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter =
        Interpreter::new(&model, &mut arena, set).map_err(|error| error.to_string())?;
    let rounded = rounded_otherwise(graph);
    let mut comparison = Comparison::default();
    for (index, input) in reference.inputs.iter().enumerate() {
        interpreter
            .input_bytes_mut(0)
            .map_err(|error| error.to_string())?
            .copy_from_slice(input);
        let mut written = Written::default();
        interpreter.run_observed(&mut written);
        let mut equal = true;
        for node in &graph.nodes {
            let name = &graph.values[node.output].name;
            let value = packed.value_map[node.output];
            let Some(found) = value.and_then(|value| written.0.get(&value)) else {
                continue;
            };
            if rounded.contains(&node.output) {
                let full = reference.full.get(name).map(|rows| rows[index]);
                if let Some(expected) = full {
                    let entry = comparison.rounded.entry(name.clone());
                    let allowed = allowed_steps(graph, node);
                    entry
                        .or_insert_with(|| Rounded::new(allowed))
                        .count(found, expected);
                }
                continue;
            }
            let Some(digests) = reference.digests.get(name) else {
                continue;
            };
            comparison.exact.insert(name.clone());
            if digests[index] != hex(&Sha256::digest(found)) {
                equal = false;
                comparison.different.insert(name.clone());
            }
        }
        comparison.inputs += 1;
        comparison.equal += usize::from(equal);
    }
    Ok(comparison)
}

impl Rounded {
    fn new(allowed: u8) -> Self {
        Self {
            numbers: 0,
            different: 0,
            steps: 0,
            allowed,
        }
    }

    fn count(&mut self, found: &[u8], expected: &[u8]) {
        self.numbers += found.len();
        for (&a, &b) in found.iter().zip(expected) {
            let steps = (a as i8).abs_diff(b as i8);
            self.different += usize::from(steps > 0);
            self.steps = self.steps.max(steps);
        }
    }
}

/// A step of a logit changes a probability, which has 256 steps, by half of itself at most.
fn allowed_steps(graph: &Graph, node: &Node) -> u8 {
    let logits = graph.values[node.inputs[0]].quant.as_ref();
    match (&node.op, logits) {
        (Op::Softmax { .. }, Some(logits)) => ALLOWED_STEPS + (128.0 * logits.scales[0]) as u8,
        _ => ALLOWED_STEPS,
    }
}

/// Values that come from fully connected layers or a softmax.
fn rounded_otherwise(graph: &Graph) -> BTreeSet<usize> {
    let mut rounded = BTreeSet::new();
    for node in &graph.nodes {
        let own = matches!(node.op, Op::Linear { .. } | Op::Softmax { .. });
        if own || node.inputs.iter().any(|input| rounded.contains(input)) {
            rounded.insert(node.output);
        }
    }
    rounded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
