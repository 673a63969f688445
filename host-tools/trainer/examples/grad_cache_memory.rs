//! Peak memory of the gradients of CLIP's loss, of whole batches and by chunks (GradCache), printed as a table:
//! `cargo run --release -p pinhole-trainer --example grad_cache_memory`.
//!
//! Two towers of residual layers over rows of patches, with random weights; each row of the table is a process of its
//! own, whose largest resident set Linux tells in `/proc/self/status`.

use std::ops::Range;
use std::process::Command;
use std::time::Instant;

use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Tensor};
use pinhole_trainer::TrainError;
use pinhole_trainer::loss::{Leaf, Tower, clip_loss, grad_cache};

const PATCHES: usize = 64;
const WIDTH: usize = 64;
const LAYERS: usize = 6;
const EMBEDDING: usize = 64;
const CHUNK: usize = 32;
const BATCHES: [usize; 3] = [64, 256, 1024];

/// Residual layers over patches, their mean, a unit row.
struct Encoder {
    device: Device,
    /// Of the pictures, which are drawn when they are asked for: no batch is in memory.
    seed: u64,
    layers: Vec<[Tensor<2>; 2]>,
    projection: Tensor<2>,
}

impl Encoder {
    fn new(seed: u64, device: &Device) -> Self {
        device.seed(seed);
        let weight = |rows: usize, columns: usize| {
            let spread = Distribution::Normal(0.0, (rows as f64).sqrt().recip());
            Tensor::<2>::random([rows, columns], spread, device).require_grad()
        };
        Self {
            device: device.clone(),
            seed,
            layers: (0..LAYERS)
                .map(|_| [weight(WIDTH, 2 * WIDTH), weight(2 * WIDTH, WIDTH)])
                .collect(),
            projection: weight(WIDTH, EMBEDDING),
        }
    }

    /// Unit rows `[range.len(), EMBEDDING]` of the pictures `range`.
    fn encode(&self, range: Range<usize>) -> Result<Tensor<2>, TrainError> {
        let rows = range.len();
        let mut x = Tensor::cat(range.map(|index| self.picture(index)).collect(), 0);
        for [up, down] in &self.layers {
            x = x.clone() + gelu(x.matmul(up.clone())).matmul(down.clone());
        }
        let means = x.reshape([rows, PATCHES, WIDTH]).mean_dim(1);
        let found = means.squeeze_dim::<2>(1).matmul(self.projection.clone());
        Ok(found.clone() / found.square().sum_dim(1).sqrt())
    }

    /// Patches `[PATCHES, WIDTH]` of picture `index`.
    fn picture(&self, index: usize) -> Tensor<2> {
        self.device.seed(self.seed + 1 + index as u64);
        let spread = Distribution::Normal(0.0, 1.0);
        Tensor::random([PATCHES, WIDTH], spread, &self.device)
    }

    fn leaves(&self) -> impl Iterator<Item = &dyn Leaf> {
        let all = self.layers.iter().flatten().chain([&self.projection]);
        all.map(|leaf| leaf as &dyn Leaf)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [way, batch] = &arguments[..] {
        return measure(way == "chunks", batch.parse()?);
    }
    println!("batch  gradients       peak RSS    seconds  loss");
    for batch in BATCHES {
        for way in ["whole", "chunks"] {
            let program = std::env::current_exe()?;
            let output = Command::new(program)
                .args([way, &batch.to_string()])
                .output()?;
            print!("{}", String::from_utf8(output.stdout)?);
            if !output.status.success() {
                println!("{batch:>5}  {way}: {}", output.status);
            }
        }
    }
    Ok(())
}

/// Computes all gradients once, and prints a row of the table.
fn measure(by_chunks: bool, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    let (images, texts) = (
        Encoder::new(1_000_000, &device),
        Encoder::new(2_000_000, &device),
    );
    let scale = Tensor::<2>::full([1, 1], 14.0, &device).require_grad();
    let scale_leaf: &dyn Leaf = &scale;
    let leaves: Vec<&dyn Leaf> = images
        .leaves()
        .chain(texts.leaves())
        .chain([scale_leaf])
        .collect();
    let start = Instant::now();
    let loss = if by_chunks {
        let encoders: [&dyn Fn(Range<usize>) -> _; 2] =
            [&|range| images.encode(range), &|range| texts.encode(range)];
        let towers = encoders.map(|encode| Tower {
            encode,
            rows: batch,
            chunk: CHUNK,
        });
        let loss = |[x, y]: [Tensor<2>; 2]| clip_loss(x, y, scale.clone());
        grad_cache(towers, loss, &leaves)?.loss
    } else {
        let [x, y] = [images.encode(0..batch)?, texts.encode(0..batch)?];
        let loss = clip_loss(x, y, scale.clone())?;
        let gradients = loss.backward();
        let found = leaves.iter().filter_map(|leaf| leaf.gradient(&gradients));
        assert_eq!(found.count(), leaves.len());
        loss.into_scalar::<f32>()
    };
    let seconds = start.elapsed().as_secs_f64();
    let way = if by_chunks {
        format!("chunks of {CHUNK}")
    } else {
        "whole".to_owned()
    };
    let peak = peak_mib()?;
    println!("{batch:>5}  {way:<13} {peak:>6} MiB  {seconds:>8.1}  {loss:.4}");
    Ok(())
}

/// The largest resident set of this process so far, in MiB.
fn peak_mib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.parse::<u64>()? / 1024)
}
