//! Time of the integer kernels on the layer shapes of EfficientNet-Lite0, for every set that this CPU can run.
//!
//! `cargo bench -p pinhole-runtime`; throughput is in multiply-accumulates, so Gelem/s reads as GMAC/s. The first column of
//! a name says how often the network has this layer.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinhole_runtime::kernel::packing::{WeightLayout, packed_bytes_s8};
use pinhole_runtime::kernel::{
    ConvS8, DepthwiseConvS8, DstS8, GemmS8, Kernels, Requantize, Window, available,
    tile_scratch_bytes,
};

/// (count, rows, inputs, outputs) of the products, the 1×1 convolutions among them.
const PRODUCTS: [(usize, usize, usize, usize); 21] = [
    (1, 112 * 112, 32, 16),
    (1, 112 * 112, 16, 96),
    (1, 56 * 56, 96, 24),
    (2, 56 * 56, 24, 144),
    (1, 56 * 56, 144, 24),
    (1, 28 * 28, 144, 40),
    (2, 28 * 28, 40, 240),
    (1, 28 * 28, 240, 40),
    (1, 14 * 14, 240, 80),
    (3, 14 * 14, 80, 480),
    (2, 14 * 14, 480, 80),
    (1, 14 * 14, 480, 112),
    (3, 14 * 14, 112, 672),
    (2, 14 * 14, 672, 112),
    (1, 7 * 7, 672, 192),
    (4, 7 * 7, 192, 1152),
    (3, 7 * 7, 1152, 192),
    (1, 7 * 7, 1152, 320),
    (1, 7 * 7, 320, 1280),
    (1, 1, 1280, 1000),
    (1, 1, 1280, 256),
];

/// (count, input side, channels, kernel, stride) of the depthwise convolutions.
const DEPTHWISE: [(usize, usize, usize, usize, usize); 12] = [
    (1, 112, 32, 3, 1),
    (1, 112, 96, 3, 2),
    (1, 56, 144, 3, 1),
    (1, 56, 144, 5, 2),
    (1, 28, 240, 5, 1),
    (1, 28, 240, 3, 2),
    (2, 14, 480, 3, 1),
    (1, 14, 480, 5, 1),
    (2, 14, 672, 5, 1),
    (1, 14, 672, 5, 2),
    (3, 7, 1152, 5, 1),
    (1, 7, 1152, 3, 1),
];

/// Bytes that look like activations and weights.
fn bytes(len: usize) -> Vec<i8> {
    (0..len)
        .map(|index| (index * 97 % 251) as u8 as i8)
        .collect()
}

/// Per-channel arrays of a layer with a fused ReLU6.
struct Channels {
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
}

impl Channels {
    fn new(n: usize) -> Self {
        Self {
            bias: vec![1234; n],
            multiplier: vec![1_500_000_000; n],
            shift: vec![-9; n],
        }
    }
    fn requantize(&self) -> Requantize<'_> {
        Requantize {
            bias: &self.bias,
            multiplier: &self.multiplier,
            shift: &self.shift,
            zero_point: -128,
            clamp_min: -128,
            clamp_max: 127,
        }
    }
}

fn gemm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm_s8");
    for (count, rows, k, n) in PRODUCTS {
        let lhs = bytes(rows * k);
        let weights = bytes(packed_bytes_s8(n, k).expect("small"));
        let channels = Channels::new(n);
        let mut dst = vec![0; rows * n];
        let mut scratch = vec![0; tile_scratch_bytes(k, 1).expect("small")];
        group.throughput(Throughput::Elements((rows * k * n) as u64));
        for kernels in sets() {
            let name = format!("{count}x {rows}x{k}x{n}");
            group.bench_function(BenchmarkId::new(kernels.name(), name), |bencher| {
                bencher.iter(|| {
                    kernels.gemm_s8(GemmS8 {
                        rows,
                        k,
                        n,
                        lhs: &lhs,
                        weights: &weights,
                        layout: WeightLayout::Generic,
                        requantize: channels.requantize(),
                        dst: DstS8::I8(&mut dst),
                        scratch: &mut scratch,
                    })
                })
            });
        }
    }
}

fn depthwise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("depthwise_conv_s8");
    for (count, side, channels, kernel, stride) in DEPTHWISE {
        let window = same_window(side, kernel, stride);
        let src = bytes(side * side * channels);
        let weights = bytes(kernel * kernel * channels);
        let arrays = Channels::new(channels);
        let mut dst = vec![0; window.output[0] * window.output[1] * channels];
        group.throughput(Throughput::Elements((dst.len() * kernel * kernel) as u64));
        for kernels in sets() {
            let name = format!("{count}x {side}x{side}x{channels} {kernel}x{kernel}/{stride}");
            group.bench_function(BenchmarkId::new(kernels.name(), name), |bencher| {
                bencher.iter(|| {
                    kernels.depthwise_conv_s8(DepthwiseConvS8 {
                        window,
                        channels,
                        input_zero_point: -128,
                        src: &src,
                        weights: &weights,
                        requantize: arrays.requantize(),
                        dst: &mut dst,
                    })
                })
            });
        }
    }
}

fn conv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conv_s8");
    let window = same_window(224, 3, 2);
    let (k, n) = (27, 32);
    let src = bytes(224 * 224 * 3);
    let weights = bytes(packed_bytes_s8(n, k).expect("small"));
    let channels = Channels::new(n);
    let mut dst = vec![0; 112 * 112 * n];
    let mut scratch = vec![0; tile_scratch_bytes(k, 1).expect("small")];
    group.throughput(Throughput::Elements((dst.len() * k) as u64));
    for kernels in sets() {
        group.bench_function(
            BenchmarkId::new(kernels.name(), "1x 224x224x3 3x3/2 to 32"),
            |bencher| {
                bencher.iter(|| {
                    kernels.conv_s8(ConvS8 {
                        window,
                        in_channels: 3,
                        out_channels: n,
                        input_zero_point: -1,
                        src: &src,
                        weights: &weights,
                        layout: WeightLayout::Generic,
                        requantize: channels.requantize(),
                        dst: DstS8::I8(&mut dst),
                        scratch: &mut scratch,
                    })
                })
            },
        );
    }
}

/// TensorFlow's SAME padding.
fn same_window(side: usize, kernel: usize, stride: usize) -> Window {
    let output = side.div_ceil(stride);
    let padding = ((output - 1) * stride + kernel).saturating_sub(side) / 2;
    Window {
        input: [side; 2],
        output: [output; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
    }
}

/// Every set but the scalar one, which would take minutes; `PINHOLE_BENCH_SCALAR=1` adds it.
fn sets() -> impl Iterator<Item = &'static dyn Kernels> {
    let scalar = std::env::var_os("PINHOLE_BENCH_SCALAR").is_some();
    available().filter(move |kernels| scalar || kernels.name() != "scalar")
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(300));
    targets = gemm, depthwise, conv
}
criterion_main!(benches);
