//! Time of the integer kernels in the order in which whole vision transformers call them, beside the most that the CPU's
//! byte dot products could do.
//!
//! `cargo bench -p pinhole-runtime --bench nets`, with the names of nets to time as arguments, or none for all. Every layer
//! has weights of its own, as in a model, so that they come from memory. A row is one kind of layer: the least time that all
//! layers of the kind took in one inference, of many; speeds are in multiply-accumulates.
#![cfg_attr(
    target_arch = "x86_64",
    allow(
        unsafe_code,
        reason = "calls a function with CPU features that were detected"
    )
)]

use std::time::Instant;

use pinhole_runtime::kernel::packing::{WeightLayout, packed_bytes_s8};
use pinhole_runtime::kernel::{
    AddS16, AttentionS8, Columns, ConvS8, DstS8, GemmS8, HeadScale, Kernels, LayerNormS16,
    Requantize, ScoreBias, SrcS16, Window, attention_s8_scratch_bytes, available,
    tile_scratch_bytes,
};

/// Inferences of which the least time counts.
const RUNS: usize = 30;

/// A vision transformer over a square picture with 3 channels and a class token.
struct Vit {
    name: &'static str,
    side: usize,
    patch: usize,
    width: usize,
    depth: usize,
    heads: usize,
    mlp: usize,
}

/// TinyCLIP's ViT-8M/16, and the image encoder of CLIP ViT-B/32.
const VITS: [Vit; 2] = [
    Vit {
        name: "vit8m16",
        side: 224,
        patch: 16,
        width: 256,
        depth: 10,
        heads: 4,
        mlp: 1024,
    },
    Vit {
        name: "vitb32",
        side: 224,
        patch: 32,
        width: 768,
        depth: 12,
        heads: 12,
        mlp: 3072,
    },
];

/// Kinds of layers, in the order of the table.
const KINDS: [&str; 9] = [
    "patch_embed",
    "layer_norm",
    "qkv",
    "attention",
    "projection",
    "add",
    "mlp up",
    "activation",
    "mlp down",
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    for vit in VITS.iter().filter(|vit| chosen(vit.name)) {
        let mut net = Net::new(vit);
        for kernels in sets() {
            let peak = peak_macs_per_second();
            net.measure(vit, kernels, peak);
        }
    }
}

/// Every set but the scalar one, which would take minutes; `PINHOLE_BENCH_SCALAR=1` adds it.
fn sets() -> impl Iterator<Item = &'static dyn Kernels> {
    let scalar = std::env::var_os("PINHOLE_BENCH_SCALAR").is_some();
    available().filter(move |kernels| scalar || kernels.name() != "scalar")
}

/// Bytes that look like activations and weights.
fn bytes(len: usize) -> Vec<i8> {
    (0..len)
        .map(|index| (index * 97 % 251) as u8 as i8)
        .collect()
}

/// A product with weights of its own.
struct Linear {
    k: usize,
    n: usize,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
}

impl Linear {
    fn new(k: usize, n: usize) -> Self {
        Self {
            k,
            n,
            weights: bytes(packed_bytes_s8(n, k).expect("small")),
            bias: vec![1234; n],
            multiplier: vec![1_500_000_000; n],
            shift: vec![-9; n],
        }
    }
    fn requantize(&self, limit: i32) -> Requantize<'_> {
        Requantize {
            bias: &self.bias,
            multiplier: &self.multiplier,
            shift: &self.shift,
            zero_point: 0,
            clamp_min: -limit - 1,
            clamp_max: limit,
        }
    }
    fn run(&self, kernels: &dyn Kernels, lhs: &[i8], dst: DstS8<'_>, scratch: &mut [u8]) {
        let limit = match dst {
            DstS8::I8(_) => 127,
            DstS8::I16(_) => 32767,
        };
        kernels.gemm_s8(GemmS8 {
            rows: lhs.len() / self.k,
            k: self.k,
            n: self.n,
            lhs,
            weights: &self.weights,
            layout: WeightLayout::Generic,
            requantize: self.requantize(limit),
            dst,
            scratch,
        });
    }
}

/// The products of one block.
struct Block {
    qkv: Linear,
    projection: Linear,
    up: Linear,
    down: Linear,
}

/// A net's weights and buffers.
struct Net {
    tokens: usize,
    patch_embed: Linear,
    blocks: Vec<Block>,
    heads: Vec<HeadScale>,
    gamma: Vec<i16>,
    beta: Vec<i32>,
    table: [i8; 256],
    picture: Vec<i8>,
    stream: Vec<i16>,
    branch: Vec<i16>,
    normed: Vec<i8>,
    qkv: Vec<i8>,
    mixed: Vec<i8>,
    hidden: Vec<i8>,
    active: Vec<i8>,
    scratch: Vec<u8>,
    words: Vec<i32>,
}

/// Seconds and multiply-accumulates of each kind of layer.
#[derive(Clone, Copy, Default)]
struct Spent([(f64, usize); KINDS.len()]);

impl Spent {
    fn time(&mut self, kind: &str, macs: usize, run: impl FnOnce()) {
        let start = Instant::now();
        run();
        let seconds = start.elapsed().as_secs_f64();
        let index = KINDS.iter().position(|&known| known == kind);
        let spent = &mut self.0[index.expect("a kind of the table")];
        spent.0 += seconds;
        spent.1 += macs;
    }
    fn total(&self) -> (f64, usize) {
        self.0
            .iter()
            .fold((0.0, 0), |sum, kind| (sum.0 + kind.0, sum.1 + kind.1))
    }
}

impl Net {
    fn new(vit: &Vit) -> Self {
        let grid = vit.side / vit.patch;
        let tokens = grid * grid + 1;
        let (width, mlp) = (vit.width, vit.mlp);
        let block = || Block {
            qkv: Linear::new(width, 3 * width),
            projection: Linear::new(width, width),
            up: Linear::new(width, mlp),
            down: Linear::new(mlp, width),
        };
        let patch = vit.patch * vit.patch * 3;
        let attention = attention_s8_scratch_bytes(tokens, width / vit.heads).expect("small");
        Self {
            tokens,
            patch_embed: Linear::new(patch, width),
            blocks: (0..vit.depth).map(|_| block()).collect(),
            heads: vec![
                HeadScale {
                    score_multiplier: 40_000,
                    score_shift: 3,
                    output_multiplier: 1 << 30,
                    output_shift: 1,
                };
                vit.heads
            ],
            gamma: vec![20_000; width],
            beta: vec![1 << 18; width],
            table: std::array::from_fn(|index| (index as i32 - 128).max(-20) as i8),
            picture: bytes(vit.side * vit.side * 3),
            stream: bytes(tokens * width)
                .iter()
                .map(|&x| i16::from(x) * 50)
                .collect(),
            branch: vec![0; tokens * width],
            normed: bytes(tokens * width),
            qkv: vec![0; tokens * 3 * width],
            mixed: vec![0; tokens * width],
            hidden: vec![0; tokens * mlp],
            active: vec![0; tokens * mlp],
            scratch: vec![0; tile_scratch_bytes(patch.max(mlp), 1).expect("small")],
            words: vec![0; attention / 4],
        }
    }

    /// Prints the table of one set.
    fn measure(&mut self, vit: &Vit, kernels: &dyn Kernels, peak: f64) {
        let mut least = Spent([(f64::INFINITY, 0); KINDS.len()]);
        let mut least_total = f64::INFINITY;
        for _ in 0..RUNS {
            let spent = self.infer(vit, kernels);
            least_total = least_total.min(spent.total().0);
            for (least, spent) in least.0.iter_mut().zip(spent.0) {
                *least = (least.0.min(spent.0), spent.1);
            }
        }
        println!(
            "{}, {}, {:.1} GMAC/s at most",
            vit.name,
            kernels.name(),
            peak / 1e9
        );
        println!(
            "  {:12} {:>9} {:>7} {:>8} {:>8}",
            "layers", "ms", "share", "GMAC/s", "of peak"
        );
        let sum = least.total();
        let row = |name: &str, (seconds, macs): (f64, usize)| {
            let speed = macs as f64 / seconds;
            println!(
                "  {name:12} {:9.3} {:6.1}% {:8.1} {:7.1}%",
                seconds * 1e3,
                seconds / sum.0 * 100.0,
                speed / 1e9,
                speed / peak * 100.0
            );
        };
        for (name, spent) in KINDS.iter().zip(least.0) {
            row(name, spent);
        }
        row("sum", sum);
        println!("  least inference {:.3} ms of {RUNS}", least_total * 1e3);
    }

    fn infer(&mut self, vit: &Vit, kernels: &dyn Kernels) -> Spent {
        let mut spent = Spent::default();
        self.embed(vit, kernels, &mut spent);
        let blocks = core::mem::take(&mut self.blocks);
        for block in &blocks {
            self.block(vit, block, kernels, &mut spent);
        }
        self.blocks = blocks;
        spent
    }

    fn embed(&mut self, vit: &Vit, kernels: &dyn Kernels, spent: &mut Spent) {
        let grid = vit.side / vit.patch;
        let macs = grid * grid * self.patch_embed.k * self.patch_embed.n;
        spent.time("patch_embed", macs, || {
            kernels.conv_s8(ConvS8 {
                window: Window {
                    input: [vit.side; 2],
                    output: [grid; 2],
                    kernel: [vit.patch; 2],
                    stride: [vit.patch; 2],
                    padding: [0; 2],
                    dilation: [1; 2],
                },
                in_channels: 3,
                out_channels: vit.width,
                input_zero_point: 0,
                src: &self.picture,
                weights: &self.patch_embed.weights,
                layout: WeightLayout::Generic,
                requantize: self.patch_embed.requantize(127),
                dst: DstS8::I8(&mut self.normed[..grid * grid * vit.width]),
                scratch: &mut self.scratch,
            });
        });
    }

    fn block(&mut self, vit: &Vit, block: &Block, kernels: &dyn Kernels, spent: &mut Spent) {
        let (tokens, width) = (self.tokens, vit.width);
        let linear = |linear: &Linear| tokens * linear.k * linear.n;
        self.layer_norm(kernels, spent);
        spent.time("qkv", linear(&block.qkv), || {
            let dst = DstS8::I8(&mut self.qkv);
            block.qkv.run(kernels, &self.normed, dst, &mut self.scratch);
        });
        spent.time("attention", 2 * tokens * tokens * width, || {
            let part = |part: usize| Columns {
                data: &self.qkv,
                stride: 3 * width,
                offset: part * width,
            };
            kernels.attention_s8(AttentionS8 {
                windows: 1,
                queries: tokens,
                keys: tokens,
                head_width: width / vit.heads,
                heads: &self.heads,
                bias: ScoreBias::None,
                bias_shift: 0,
                causal_from: None,
                q: part(0),
                k: part(1),
                v: part(2),
                output_zero_point: 0,
                dst: &mut self.mixed,
                scratch: &mut self.words,
            });
        });
        spent.time("projection", linear(&block.projection), || {
            let dst = DstS8::I16(&mut self.branch);
            block
                .projection
                .run(kernels, &self.mixed, dst, &mut self.scratch);
        });
        self.add(kernels, spent);
        self.layer_norm(kernels, spent);
        spent.time("mlp up", linear(&block.up), || {
            let dst = DstS8::I8(&mut self.hidden);
            block.up.run(kernels, &self.normed, dst, &mut self.scratch);
        });
        spent.time("activation", 0, || {
            kernels.lut_s8(&self.table, &self.hidden, &mut self.active);
        });
        spent.time("mlp down", linear(&block.down), || {
            let dst = DstS8::I16(&mut self.branch);
            block
                .down
                .run(kernels, &self.active, dst, &mut self.scratch);
        });
        self.add(kernels, spent);
    }

    fn layer_norm(&mut self, kernels: &dyn Kernels, spent: &mut Spent) {
        spent.time("layer_norm", 0, || {
            kernels.layer_norm_s16(LayerNormS16 {
                gamma: &self.gamma,
                beta: &self.beta,
                epsilon: 1000,
                shift: 19,
                src: SrcS16::I16(&self.stream),
                dst: DstS8::I8(&mut self.normed),
            });
        });
    }

    /// The branch onto the stream, which keeps its range.
    fn add(&mut self, kernels: &dyn Kernels, spent: &mut Spent) {
        let lhs = core::mem::take(&mut self.branch);
        let rhs = self.stream.clone();
        spent.time("add", 0, || {
            kernels.add_s16(AddS16 {
                lhs: SrcS16::I16(&lhs),
                rhs: SrcS16::I16(&rhs),
                input_zero_point: [0; 2],
                multiplier: [8192; 2],
                shift: 14,
                output_zero_point: 0,
                clamp_min: -32768,
                clamp_max: 32767,
                dst: DstS8::I16(&mut self.stream),
            });
        });
        self.branch = lhs;
    }
}

/// What independent dot products of bytes in registers reach; of 16-bit pairs where the CPU has no dot products of bytes.
#[cfg(target_arch = "x86_64")]
fn peak_macs_per_second() -> f64 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    const STEPS: usize = 100_000;

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn dot_products(seed: i32) -> i32 {
        let values = _mm512_set1_epi32(seed);
        let mut sums = [_mm512_setzero_si512(); 16];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, values, values);
            }
        }
        sums.into_iter()
            .map(|sum| _mm512_reduce_add_epi32(sum))
            .fold(0, i32::wrapping_add)
    }

    #[target_feature(enable = "avx2")]
    fn pairs(seed: i32) -> i32 {
        let values = _mm256_set1_epi32(seed);
        let mut sums = [_mm256_setzero_si256(); 12];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(values, *sum));
            }
        }
        sums.into_iter()
            .map(|sum| _mm256_extract_epi32::<0>(sum))
            .fold(0, i32::wrapping_add)
    }

    let macs = |per_step: usize, run: &dyn Fn()| {
        let least = (0..20)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        (per_step * STEPS) as f64 / least
    };
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        macs(16 * 64, &|| {
            // SAFETY: the CPU has the features.
            black_box(unsafe { dot_products(black_box(3)) });
        })
    } else if is_x86_feature_detected!("avx2") {
        macs(12 * 16, &|| {
            // SAFETY: the CPU has the feature.
            black_box(unsafe { pairs(black_box(3)) });
        })
    } else {
        f64::NAN
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn peak_macs_per_second() -> f64 {
    f64::NAN
}
