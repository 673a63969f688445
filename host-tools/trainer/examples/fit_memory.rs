//! Peak memory of training an encoder, printed as a table: `cargo run --release -p pinhole-trainer --example
//! fit_memory [-- GRAPH.phg CHUNK]`.
//!
//! Two steps of supervised contrast on random pictures, with batches of 64, 256 and 1,024 in chunks of CHUNK (32): as a
//! recipe trains that does not say otherwise, with a `kept_mib` that all pictures fit, and with `recompute`; without a
//! graph, of a small network of convolutions. Each row is a process of its own, whose largest resident set Linux tells in
//! `/proc/self/status`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use image::RgbImage;
use pinhole_graph::op::{Activation, Unary};
use pinhole_graph::{Graph, ModelKind, Op, PictureGeometry, Tensor, ValueId, pass};
use pinhole_trainer::{TrainOptions, fit};

const BATCHES: [usize; 3] = [64, 256, 1024];
const CLASSES: usize = 4;
/// Names of the ways, and what recipes say of them under `[optimiser]` and `[data]`.
const WAYS: [(&str, &str, &str); 3] = [
    ("default", "", ""),
    ("pictures kept", "", "[data]\nkept_mib = 65536\n"),
    ("recompute", "recompute = true\n", ""),
];
/// Of the small network.
const SIDE: usize = 48;
const CHANNELS: usize = 32;
const BLOCKS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", folder, batch, chunk, way] => {
            measure(folder.as_ref(), batch.parse()?, chunk, way.parse()?)
        }
        [] => table(network()?, "32"),
        [graph, chunk] => table(Graph::load(graph)?, chunk),
        _ => Err("usage: fit_memory [GRAPH.phg CHUNK]".into()),
    }
}

fn table(graph: Graph, chunk: &str) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    graph.save(folder.path().join("graph.phg"))?;
    pictures(folder.path())?;
    println!("batch  way            peak RSS  seconds a step");
    for way in 0..WAYS.len() {
        for batch in BATCHES {
            let status = Command::new(std::env::current_exe()?)
                .arg("measure")
                .arg(folder.path())
                .args([&batch.to_string(), chunk, &way.to_string()])
                .status()?;
            if !status.success() {
                return Err(format!("a batch of {batch}: {status}").into());
            }
        }
    }
    Ok(())
}

/// As many random pictures as the largest batch has, in folders of their classes.
fn pictures(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut state = 1u32;
    for number in 0..BATCHES[BATCHES.len() - 1] {
        let class = folder.join("pictures").join((number % CLASSES).to_string());
        std::fs::create_dir_all(&class)?;
        let picture = RgbImage::from_fn(16, 16, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([24, 16, 8].map(|shift| (state >> shift) as u8))
        });
        picture.save(class.join(format!("{number}.png")))?;
    }
    Ok(())
}

/// Trains two steps, and prints a row of the table.
fn measure(folder: &Path, batch: usize, chunk: &str, way: usize) -> Result<(), Box<dyn Error>> {
    let (name, optimiser, data) = WAYS[way];
    let recipe: PathBuf = folder.join(format!("{batch}-{way}.toml"));
    let text = format!(
        "version = 2\nname = \"memory\"\nseed = 1\n[image]\ngraph = \"graph.phg\"\n\
         [[data.train]]\nkind = \"folder\"\npath = \"pictures\"\nclasses = true\n[loss]\nsup_con = 1.0\n\
         [optimiser]\nsteps = 2\nbatch = {batch}\nchunk = {chunk}\nlearning_rate = 1e-4\n{optimiser}{data}\
         [output]\nfolder = \"out-{batch}-{way}\"\n"
    );
    std::fs::write(&recipe, text)?;
    let start = Instant::now();
    let quiet = TrainOptions {
        quiet: true,
        ..TrainOptions::default()
    };
    fit(&recipe, quiet)?;
    let seconds = start.elapsed().as_secs_f64() / 2.0;
    let peak = peak_mib()?;
    println!("{batch:>5}  {name:<13} {peak:>5} MiB  {seconds:>8.1}");
    Ok(())
}

/// A stem and blocks of a depthwise and a pointwise convolution at full size, the mean over pixels, a linear layer.
fn network() -> Result<Graph, Box<dyn Error>> {
    let mut graph = Graph::empty("small");
    let input = graph.add_value("image", &[1, SIDE, SIDE, 3]);
    graph.inputs = vec![input];
    graph.meta.kind = ModelKind::ImageEncoder;
    graph.meta.geometry = Some(PictureGeometry {
        width: SIDE,
        height: SIDE,
        resize_shorter: SIDE,
        mean: [0.5; 3],
        std: [0.5; 3],
    });
    let mut x = conv(&mut graph, "stem", input, [3, 3, 3], 1);
    for block in 0..BLOCKS {
        let y = conv(
            &mut graph,
            &format!("depthwise.{block}"),
            x,
            [3, 3, 1],
            CHANNELS,
        );
        x = conv(
            &mut graph,
            &format!("pointwise.{block}"),
            y,
            [1, 1, CHANNELS],
            1,
        );
    }
    let x = graph.add_node("mean", Op::GlobalAvgPool, &[x], &[]);
    let flat = graph.add_node("flat", Op::Reshape, &[x], &[1, CHANNELS]);
    let weight = weight(&mut graph, "embedding", &[CHANNELS, CHANNELS]);
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let x = graph.add_node("embedding", linear, &[flat, weight], &[]);
    graph.outputs = vec![graph.add_node("direction", Op::NormalizeEmbedding, &[x], &[])];
    pass::infer_shapes(&mut graph)?;
    Ok(graph)
}

/// A convolution with weights `[CHANNELS, height, width, inputs a group]`, and a hard swish behind it.
fn conv(
    graph: &mut Graph,
    name: &str,
    input: ValueId,
    [height, width, inputs]: [usize; 3],
    groups: usize,
) -> ValueId {
    let weight = weight(graph, name, &[CHANNELS, height, width, inputs]);
    let op = Op::Conv2d {
        stride: [1; 2],
        padding: [height / 2, width / 2, height / 2, width / 2],
        dilation: [1; 2],
        groups,
        activation: Activation::None,
    };
    let x = graph.add_node(name, op, &[input, weight], &[]);
    let swish = Op::Unary {
        function: Unary::HardSwish,
    };
    graph.add_node(format!("{name}.swish"), swish, &[x], &[])
}

/// Numbers in ±√(3 / inputs), without a generator: the fractions of multiples of the golden ratio.
fn weight(graph: &mut Graph, name: &str, shape: &[usize]) -> ValueId {
    let bound = (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
    let number = |index: usize| ((index + 1) as f64 * 0.618_033_988_75).fract() as f32;
    let data = (0..shape.iter().product()).map(|index| bound * (2.0 * number(index) - 1.0));
    graph.add_constant(format!("{name}.weight"), Tensor::f32(shape, data.collect()))
}

/// The largest resident set of this process so far, in MiB.
fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.parse::<u64>()? / 1024)
}
