//! A model here against one on an emulated CPU. A board has neither room nor time for the outputs of all layers: it
//! gives a 64-bit hash of each, so that bits are compared and nothing else.

use std::path::Path;

use image::RgbImage;
use pinhole_device::{Cpu, RgbRows, layer_fingerprint, layer_fingerprints};
use pinhole_quantize::diff::{self, MatchedBy, match_layers};
use pinhole_runtime::interpreter::Observer;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::OpKind;
use serde::Serialize;

use super::Args;
use super::layers::{Side, load, named, open, operators, width};
use crate::encoder::{ImageEncoder, LoadedModel};
use crate::failure::{Failure, Outcome};
use crate::output::{json, say};
use crate::verb::bench::emulated::named as cpu_named;

/// Runs both and prints.
pub(super) fn compare(args: &Args, data: &Path, board: &str) -> Outcome {
    let cpu = cpu_named("--board", board)?;
    let set = kernel_set(cpu, args.kernels_b.as_deref())?;
    let path_b = args.b.as_deref().unwrap_or(&args.a);
    let here = open(&args.a, args.kernels_a.as_deref())?;
    // Run elsewhere: this CPU's kernels have no part in it.
    let there = LoadedModel::open(path_b, false, &pinhole_runtime::kernel::Scalar)?.model;
    takes_bytes(path_b, &there)?;
    let pictures = load(data, args.count)?;
    fits(cpu, path_b, &there, &pictures)?;
    let rows: Vec<RgbRows<'_>> = pictures.iter().map(rows_of).collect();
    let found = layer_fingerprints(cpu, there.bytes(), there.ops().len(), set, &rows)?;
    let expected = fingerprints_here(&here, &pictures)?;

    let model = here.loaded.model;
    let matched = match_layers(&model, &there);
    let layers: Vec<Layer> = matched
        .pairs
        .iter()
        .map(|pair| {
            let pictures = expected.iter().zip(&found);
            Layer {
                layer: diff::name(&model, pair.a).to_owned(),
                op_a: kind(&model, pair.a),
                op_b: kind(&there, pair.b),
                differing_pictures: pictures.filter(|(a, b)| a[pair.a] != b[pair.b]).count(),
                output: pair.output.is_some(),
            }
        })
        .collect();
    let report = Report {
        a: Side::new(&args.a, here.loaded.kernels.name(), &model, &matched.only_a),
        b: Side::new(path_b, set, &there, &matched.only_b),
        board: cpu.name,
        pictures: pictures.len(),
        matched_by: matched.by,
        first_difference: layers.iter().position(|layer| layer.differing_pictures > 0),
        layers,
    };
    if args.json {
        json(&report)?;
    } else {
        report.print();
    }
    report.verdict()
}

/// The kernel set of a name on a CPU, or its fastest.
fn kernel_set<'n>(cpu: &Cpu, name: Option<&'n str>) -> Outcome<&'n str> {
    let sets = cpu.kernel_sets;
    let name = name.or(sets.last().copied()).unwrap_or("scalar");
    if sets.contains(&name) {
        return Ok(name);
    }
    Err(Failure::new(format_args!(
        "--kernels-b: found {name}, expected one of {} on {}",
        sets.join(", "),
        cpu.name
    ))
    .help("leave it out for the fastest"))
}

/// The programs for emulated CPUs write pictures as bytes.
fn takes_bytes(path: &Path, model: &Model<'_>) -> Outcome {
    let input = model.inputs().next().map(|input| model.value(input).dtype);
    if input == Some(DType::I8) && model.geometry().is_some() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{}: found no int8 image encoder, expected one: floats have no bits that a board must agree on",
        path.display()
    ))
    .help("quantise it: pinhole quantize GRAPH.phg --calibrate photos/ --out int8.phg"))
}

/// Refuses what the memory of a board does not hold.
fn fits(cpu: &Cpu, path: &Path, model: &Model<'_>, pictures: &[RgbImage]) -> Outcome {
    let picture = pictures.iter().map(|picture| picture.as_raw().len()).max();
    let needed = model.bytes().len() + model.arena_bytes() + picture.unwrap_or(0);
    match cpu.memory_bytes {
        Some(given) if needed > given => Err(Failure::new(format_args!(
            "{}: found {needed} bytes of model, arena and picture, expected at most {given} on {}",
            path.display(),
            cpu.name
        ))
        .help("pinhole diff --board qemu-an547 or qemu-aarch64:max has more memory")),
        _ => Ok(()),
    }
}

fn rows_of(picture: &RgbImage) -> RgbRows<'_> {
    RgbRows {
        width: picture.width(),
        height: picture.height(),
        bytes: picture.as_raw(),
    }
}

/// Hashes the outputs of all layers.
struct Hashes(Vec<u64>);

impl Observer for Hashes {
    fn after_op(&mut self, _op: usize, _value: usize, output: &[u8]) {
        self.0.push(layer_fingerprint(output));
    }
}

/// By picture and operator.
fn fingerprints_here(encoder: &ImageEncoder, pictures: &[RgbImage]) -> Outcome<Vec<Vec<u64>>> {
    let mut session = encoder.session();
    let hashes = pictures.iter().map(|picture| {
        let mut hashes = Hashes(Vec::new());
        session.observe(picture, &mut hashes)?;
        Ok(hashes.0)
    });
    hashes.collect()
}

fn kind(model: &Model<'_>, op: usize) -> &'static str {
    OpKind::from_u16(model.ops()[op].kind.get()).map_or("unknown", OpKind::name)
}

/// What was compared; the order of keys is part of the output.
#[derive(Serialize)]
struct Report<'a> {
    a: Side<'a>,
    b: Side<'a>,
    board: &'a str,
    pictures: usize,
    matched_by: MatchedBy,
    /// Index into `layers`.
    first_difference: Option<usize>,
    layers: Vec<Layer>,
}

/// One layer on all pictures.
#[derive(Serialize)]
struct Layer {
    layer: String,
    op_a: &'static str,
    op_b: &'static str,
    differing_pictures: usize,
    output: bool,
}

impl Report<'_> {
    fn print(&self) {
        self.a.print("A");
        self.b.print(&format!("B  on {}", self.board));
        say!(
            "bits of {} layers on {} pictures, by their 64-bit hashes",
            self.layers.len(),
            self.pictures
        );
        say!();
        let names = self.layers.iter().map(|layer| layer.layer.len());
        let both = |layer: &Layer| operators(layer.op_a, layer.op_b);
        let name = width("layer", names);
        let operator = width(
            "operator",
            self.layers.iter().map(|layer| both(layer).len()),
        );
        say!(
            "{:<name$} {:<operator$} pictures that differ",
            "layer",
            "operator"
        );
        for (index, layer) in self.layers.iter().enumerate() {
            let mark = match self.first_difference {
                Some(first) if first == index => "  first difference",
                _ => "",
            };
            say!(
                "{:<name$} {:<operator$} {}{mark}",
                layer.layer,
                both(layer),
                layer.differing_pictures
            );
        }
        say!();
        self.a.print_only_here("A");
        self.b.print_only_here("B");
    }

    /// Exit code 1 where the bits of a layer differ.
    fn verdict(&self) -> Outcome {
        let Some(first) = self.first_difference else {
            return Ok(());
        };
        let differing = self
            .layers
            .iter()
            .filter(|layer| layer.differing_pictures > 0);
        Err(Failure::check(format_args!(
            "the first layer with other bits on {} is {}; {} of {} have",
            self.board,
            named(&self.layers[first].layer, first),
            differing.count(),
            self.layers.len()
        )))
    }
}
