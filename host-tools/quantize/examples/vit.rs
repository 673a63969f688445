//! Quantises a plain vision transformer and compares it with f32, layer by layer: with weights and pictures from a
//! safetensors file, or with random ones in the shape of TinyCLIP's ViT-8M/16.
//!
//!     cargo run --release -p pinhole-quantize --example vit -- [weights.safetensors] [num_heads] [--layers] [--few] [--no-equalize] [--correct-biases] [--out FILE.phm]
//!
//! The file holds timm's names (`blocks.0.attn.qkv.weight` (3·width, width), …, LayerScale folded in), `patch_embed.weight`
//! as (out, kh, kw, in), `cls_token` (1, width), `pos_embed` (tokens, width), and pictures `calibration` and `test`
//! (n, side, side, 3), normalised.

use std::error::Error;

use pinhole_graph::import::Checkpoint;
use pinhole_pack::{PackOptions, pack};
use pinhole_quantize::{Input, Observer, Options, quantize, report::report};

#[path = "../tests/support/vit.rs"]
mod vit;
use vit::{random_weights, vit};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let plain: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let (weights, num_heads) = match plain.first() {
        Some(path) => (
            Checkpoint::load(path)?.tensors.into_iter().collect(),
            plain.get(1).map_or(Ok(6), |heads| heads.parse())?,
        ),
        None => (random_weights(256, 10, 16, 224), 4),
    };
    let graph = vit(&weights, num_heads)?;
    let pictures = |name: &str| -> Result<Vec<Input>, String> {
        let tensor = weights.get(name).ok_or(format!("no {name}"))?;
        let size: usize = tensor.shape[1..].iter().product();
        let data = tensor.as_f32().ok_or(format!("{name} holds integers"))?;
        let most = if flag("--few") { 6 } else { usize::MAX };
        Ok(data
            .chunks_exact(size)
            .take(most)
            .map(|picture| picture.to_vec().into())
            .collect())
    };
    let options = Options {
        observer: if flag("--min-max") {
            Some(Observer::MinMax)
        } else {
            Some(Observer::Mse)
        },
        equalize: !flag("--no-equalize"),
        correct_biases: flag("--correct-biases"),
        ..Options::default()
    };
    let quantized = quantize(&graph, &pictures("calibration")?, &options, &|_| ())?;
    let report = report(
        &quantized.prepared,
        &quantized.quantized,
        &pictures("test")?,
        &|_| (),
    )?;
    if flag("--layers") {
        println!("{}", report.table());
    }
    let packed = pack(&quantized.quantized, &PackOptions::default())?;
    println!(
        "cosine to f32 over {} pictures: mean {:.5}, smallest {:.5}",
        report.inputs, report.output_cosine_mean, report.output_cosine_min
    );
    println!("{:?}", packed.report);
    println!(
        "arena / lower bound: {:.3}",
        packed.report.arena_bytes as f64 / packed.report.arena_lower_bound_bytes as f64
    );
    if let Some(at) = args.iter().position(|arg| arg == "--out") {
        std::fs::write(args.get(at + 1).ok_or("--out wants a file")?, &packed.bytes)?;
    }
    Ok(())
}
