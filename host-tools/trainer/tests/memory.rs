//! GradCache holds one chunk's graph at a time, whatever the batch, and distances by blocks one block of differences.
//! The only test of its process: it reads the peak of its memory.

#![cfg(target_os = "linux")]

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};
use pinhole_trainer::TrainError;
use pinhole_trainer::loss::{Leaf, Score, Tower, blockwise, clip_loss, grad_cache};

const WIDTH: usize = 256;
const PATCHES: usize = 64;
const LAYERS: usize = 8;
const CHUNK: usize = 8;

/// The largest resident set of this process so far, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// The peak after the gradients of `batch` rows, of which each has `LAYERS` activations of `PATCHES` by `WIDTH`.
fn peak_after(batch: usize) -> u64 {
    let device = Device::flex().autodiff();
    let gains = Tensor::<2>::full([LAYERS, WIDTH], 0.9, &device).require_grad();
    let encode = |range: Range<usize>| -> Result<Tensor<2>, TrainError> {
        let rows = Tensor::arange(range.start as i64..range.end as i64, &device).float();
        let mut x = rows
            .reshape([range.len(), 1, 1])
            .expand([range.len(), PATCHES, WIDTH]);
        for layer in 0..LAYERS {
            x = (x * gains.clone().narrow(0, layer, 1).unsqueeze_dim::<3>(0)).sin();
        }
        Ok(x.mean_dim(1).squeeze_dim::<2>(1))
    };
    let tower = || Tower {
        encode: &encode,
        rows: batch,
        chunk: CHUNK,
    };
    let leaves: [&dyn Leaf; 1] = [&gains];
    let loss = |[a, b]: [Tensor<2>; 2]| clip_loss(a, b, Tensor::full([1, 1], 0.1, &device));
    let found = grad_cache([tower(), tower()], loss, &leaves).unwrap();
    assert!(found.gradients[0].is_some());
    peak_mib()
}

/// The peak after the gradients of a loss of the L1 distances of all pairs of `batch` rows of `WIDTH`.
fn peak_after_distances(batch: usize) -> u64 {
    let rows = Tensor::<1, Int>::arange(0..(batch * WIDTH) as i64, &Device::flex().autodiff());
    let x = rows.float().sin().reshape([batch, WIDTH]).require_grad();
    let mean = |scores: Tensor<2>, []: [Tensor<2>; 0]| Ok(scores.mean());
    let loss = blockwise(x.clone(), x.clone(), &Score::L1, [], mean).unwrap();
    assert!(x.grad(&loss.backward()).is_some());
    peak_mib()
}

#[test]
fn a_large_batch_needs_little_more_memory_than_a_small_one() {
    let few = peak_after_distances(64);
    let many = peak_after_distances(512);
    let of_all_differences = (512 * 512 * WIDTH * 4 / (1 << 20)) as u64;
    let grown = many - few;
    let message = format!("{few} MiB, then {many}; all differences take {of_all_differences}");
    assert!(grown < of_all_differences / 4, "{message}");
    let few = peak_after(2 * CHUNK);
    let many = peak_after(64 * CHUNK);
    let of_all_activations = (64 * CHUNK * LAYERS * PATCHES * WIDTH * 4 / (1 << 20)) as u64;
    let grown = many - few;
    let message =
        format!("{few} MiB, then {many}; one activation a layer takes {of_all_activations}");
    assert!(grown < of_all_activations / 8, "{message}");
}
