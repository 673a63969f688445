//! Float kernels of every set at the shapes of MiniLM-L6 and EfficientNet-Lite0, one thread.
//!
//! `cargo bench -p pinhole-runtime --features std --bench float`; throughput is multiply-accumulates; a name has the storage of the
//! weights of an f32 operation, or `halves` for the operation over halves; and `minilm` is the
//! sequence of kernels of the whole encoder at 16 tokens, without its embedding table.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use pinhole_runtime::kernel::{
    AttentionF32, DepthwiseConvF16, DepthwiseConvF32, GemmF16, GemmF32, Kernels, WeightsF32,
    Window, attention_scratch_bytes, available, tile_scratch_bytes,
};
use pinhole_runtime::model::op::{BinaryKind, UnaryKind};

const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
const STORAGES: [&str; 3] = ["f32", "f16", "i8"];

/// Numbers in [−0.5, 0.5) without a pattern that a kernel could profit from.
fn numbers(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// Packed weights of an (n, k) matrix in one storage; their order does not matter to time.
struct Weights {
    f32s: Vec<f32>,
    f16s: Vec<f16>,
    i8s: Vec<i8>,
    scales: Vec<f32>,
    storage: &'static str,
    k: usize,
    n: usize,
}

impl Weights {
    fn new(storage: &'static str, k: usize, n: usize) -> Self {
        let f32s = numbers(k * n);
        let f16s = f32s.iter().map(|&x| f16::from_f32(x)).collect();
        let i8s = f32s.iter().map(|&x| (x * 254.0) as i8).collect();
        Self {
            f32s,
            f16s,
            i8s,
            scales: vec![1.0 / 254.0; n],
            storage,
            k,
            n,
        }
    }

    fn multiply(&self, kernels: &dyn Kernels, rows: usize, lhs: &[f32], dst: &mut [f32]) {
        let weights = match self.storage {
            "f32" => WeightsF32::F32(&self.f32s),
            "f16" => WeightsF32::F16(&self.f16s),
            _ => WeightsF32::I8 {
                data: &self.i8s,
                scales: &self.scales,
            },
        };
        let (k, n) = (self.k, self.n);
        kernels.gemm_f32(GemmF32 {
            rows,
            k,
            n,
            lhs,
            weights,
            bias: &self.scales,
            clamp: UNLIMITED,
            dst,
            scratch: &mut [],
        });
    }
}

/// The nearest halves.
fn halves(numbers: &[f32]) -> Vec<f16> {
    numbers.iter().map(|&x| f16::from_f32(x)).collect()
}

impl Weights {
    /// [`Weights::multiply`] over halves.
    fn multiply_halves(
        &self,
        kernels: &dyn Kernels,
        lhs: &[f16],
        dst: &mut [f16],
        scratch: &mut [f32],
    ) {
        let (k, n) = (self.k, self.n);
        kernels.gemm_f16(GemmF16 {
            rows: lhs.len() / k,
            k,
            n,
            lhs,
            weights: &self.f16s,
            bias: &self.scales,
            clamp: UNLIMITED,
            dst,
            scratch,
        });
    }
}

/// The accelerated sets: the scalar one is a definition, and would take minutes.
fn accelerated() -> impl Iterator<Item = &'static dyn Kernels> {
    available().filter(|kernels| kernels.name() != "scalar")
}

fn gemm(c: &mut Criterion) {
    let shapes = [
        [16, 384, 384],
        [16, 384, 1536],
        [16, 1536, 384],
        [1, 1280, 1000],
        [12544, 32, 16],
        [3136, 24, 144],
        [784, 240, 40],
        [196, 480, 80],
        [49, 1152, 192],
        [49, 320, 1280],
    ];
    let mut group = c.benchmark_group("gemm");
    for [rows, k, n] in shapes {
        let (lhs, mut dst) = (numbers(rows * k), vec![0.0; rows * n]);
        group.throughput(Throughput::Elements((rows * k * n) as u64));
        for storage in STORAGES {
            let weights = Weights::new(storage, k, n);
            for kernels in accelerated() {
                group.bench_function(
                    format!("{}/{storage}/{rows}x{k}x{n}", kernels.name()),
                    |bencher| {
                        bencher.iter(|| weights.multiply(kernels, rows, black_box(&lhs), &mut dst));
                    },
                );
            }
        }
        let weights = Weights::new("f16", k, n);
        let (lhs, mut dst) = (halves(&lhs), vec![f16::ZERO; rows * n]);
        let mut scratch = vec![0.0; tile_scratch_bytes(k, 4).expect("small") / 4];
        for kernels in accelerated() {
            let name = format!("{}/halves/{rows}x{k}x{n}", kernels.name());
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    weights.multiply_halves(kernels, black_box(&lhs), &mut dst, &mut scratch);
                });
            });
        }
    }
}

fn depthwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("depthwise_conv");
    for (input, kernel, stride, channels) in [
        (112, 3, 1, 32),
        (112, 3, 2, 96),
        (28, 5, 1, 240),
        (14, 5, 1, 672),
    ] {
        let output = usize::div_ceil(input, stride);
        let window = Window {
            input: [input; 2],
            output: [output; 2],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            dilation: [1; 2],
        };
        let (src, weights) = (
            numbers(input * input * channels),
            numbers(kernel * kernel * channels),
        );
        let bias = numbers(channels);
        let mut dst = vec![0.0; output * output * channels];
        group.throughput(Throughput::Elements((dst.len() * kernel * kernel) as u64));
        for kernels in accelerated() {
            let name = format!(
                "{}/{input}x{input}x{channels}k{kernel}s{stride}",
                kernels.name()
            );
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    kernels.depthwise_conv_f32(DepthwiseConvF32 {
                        window,
                        channels,
                        src: black_box(&src),
                        weights: &weights,
                        bias: &bias,
                        clamp: [0.0, 6.0],
                        dst: &mut dst,
                    });
                });
            });
        }
        let [src, weights, mut dst] = [&src, &weights, &dst].map(|numbers| halves(numbers));
        for kernels in accelerated() {
            let name = format!(
                "{}/halves/{input}x{input}x{channels}k{kernel}s{stride}",
                kernels.name()
            );
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    kernels.depthwise_conv_f16(DepthwiseConvF16 {
                        window,
                        channels,
                        src: black_box(&src),
                        weights: &weights,
                        bias: &bias,
                        clamp: [0.0, 6.0],
                        dst: &mut dst,
                    });
                });
            });
        }
    }
}

/// The layers of a BERT encoder of width 384 with 12 heads and 1536 hidden units.
struct Encoder {
    /// q, k, v and the output of attention; (384, 384)
    square: [Weights; 4],
    up: Weights,
    down: Weights,
    gamma: Vec<f32>,
}

impl Encoder {
    const WIDTH: usize = 384;

    fn new(storage: &'static str) -> Self {
        Self {
            square: [(); 4].map(|()| Weights::new(storage, Self::WIDTH, Self::WIDTH)),
            up: Weights::new(storage, Self::WIDTH, 4 * Self::WIDTH),
            down: Weights::new(storage, 4 * Self::WIDTH, Self::WIDTH),
            gamma: vec![1.0; Self::WIDTH],
        }
    }

    fn layer(
        &self,
        kernels: &dyn Kernels,
        tokens: usize,
        x: &mut [f32],
        buffers: &mut [Vec<f32>; 6],
    ) {
        let [q, k, v, y, hidden, scratch] = buffers;
        let [query, key, value, output] = &self.square;
        query.multiply(kernels, tokens, x, q);
        key.multiply(kernels, tokens, x, k);
        value.multiply(kernels, tokens, x, v);
        let (width, num_heads, scale) = (Self::WIDTH, 12, 0.176_776_7);
        kernels.attention_f32(AttentionF32 {
            queries: tokens,
            keys: tokens,
            width,
            num_heads,
            scale,
            causal: false,
            q,
            k,
            v,
            dst: y,
            scratch,
        });
        output.multiply(kernels, tokens, y, q);
        kernels.binary_f32(BinaryKind::Add, x, q, k);
        kernels.layer_norm_f32(1e-12, &self.gamma, &self.gamma, k, x);
        let (before, after) = hidden.split_at_mut(tokens * 4 * width);
        self.up.multiply(kernels, tokens, x, before);
        kernels.unary_f32(UnaryKind::Gelu, [0.0; 2], before, after);
        self.down.multiply(kernels, tokens, after, q);
        kernels.binary_f32(BinaryKind::Add, x, q, k);
        kernels.layer_norm_f32(1e-12, &self.gamma, &self.gamma, k, x);
    }
}

fn minilm(c: &mut Criterion) {
    let mut group = c.benchmark_group("minilm");
    for (storage, tokens) in [("f32", 16), ("f16", 16), ("i8", 16), ("i8", 128)] {
        let layers = [(); 6].map(|()| Encoder::new(storage));
        let len = tokens * Encoder::WIDTH;
        let scratch = attention_scratch_bytes(tokens).unwrap_or_default() / 4;
        let mut buffers = [len, len, len, len, 8 * len, scratch].map(|len| vec![0.0; len]);
        let mut x = numbers(len);
        for kernels in accelerated() {
            group.bench_function(
                format!("{}/{storage}/{tokens}", kernels.name()),
                |bencher| {
                    bencher.iter(|| {
                        layers
                            .iter()
                            .for_each(|layer| layer.layer(kernels, tokens, &mut x, &mut buffers))
                    });
                },
            );
        }
    }
}

criterion_group! {
    name = float;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = gemm, depthwise, minilm
}
criterion_main!(float);
