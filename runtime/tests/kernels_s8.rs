//! The integer kernels: one body over every set that this CPU can run against the scalar set, and the scalar set against
//! plain loops in 64 bits. Sizes 0..=67 and the layers of EfficientNet-Lite0, extremes, guards around everything written.

use pinhole_runtime::kernel::packing::{offset_s8, packed_bytes_s8};
use pinhole_runtime::kernel::requantize::multiply_by_quantized_multiplier;
use pinhole_runtime::kernel::{
    AddS8, ConvS8, DepthwiseConvS8, DstS8, GemmS8, Kernels, MulS8, PoolS8, Requantize, Scalar,
    Window, available, tile_scratch_bytes,
};

/// A small generator, so that a failure names its seed and repeats.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
    fn within(&mut self, range: std::ops::RangeInclusive<i32>) -> i32 {
        let span = i64::from(*range.end()) - i64::from(*range.start()) + 1;
        (i64::from(*range.start()) + (self.next() % span as u64) as i64) as i32
    }
    fn bytes(&mut self, len: usize, fill: Fill) -> Vec<i8> {
        (0..len)
            .map(|_| match fill {
                Fill::Random => self.next() as i8,
                Fill::Constant(value) => value,
                Fill::Extremes => [-128, 127][self.below(2)],
            })
            .collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    Random,
    Constant(i8),
    Extremes,
}

const FILLS: [Fill; 4] = [
    Fill::Random,
    Fill::Constant(-128),
    Fill::Constant(127),
    Fill::Extremes,
];

/// A buffer with guards on both sides; what a kernel gets begins at an odd address.
struct Guarded<T> {
    buffer: Vec<T>,
    guard: T,
    len: usize,
}

const GUARD_LEN: usize = 65;

impl<T: Copy + PartialEq + std::fmt::Debug> Guarded<T> {
    fn new(len: usize, guard: T) -> Self {
        Self {
            buffer: vec![guard; len + 2 * GUARD_LEN],
            guard,
            len,
        }
    }
    fn slice(&mut self) -> &mut [T] {
        &mut self.buffer[GUARD_LEN..GUARD_LEN + self.len]
    }
    fn contents(&self) -> &[T] {
        let (before, rest) = self.buffer.split_at(GUARD_LEN);
        let (contents, after) = rest.split_at(self.len);
        assert!(
            before.iter().all(|value| *value == self.guard),
            "written before the start"
        );
        assert!(
            after.iter().all(|value| *value == self.guard),
            "written beyond the end"
        );
        contents
    }
}

/// How the multipliers and clamps of a layer are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scales {
    /// As a quantiser makes them; ReLU fused when true.
    Usual(bool),
    /// Every legal bias, multiplier and shift.
    Any,
}

const SCALES: [Scales; 3] = [Scales::Usual(true), Scales::Usual(false), Scales::Any];

/// Per-channel arrays of a layer.
struct Channels {
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
    zero_point: i32,
    clamp: [i32; 2],
}

impl Channels {
    fn new(random: &mut Random, n: usize, k: usize, scales: Scales) -> Self {
        let sum_bits = 12 + (k.max(1) as f32).log2() as i32 / 2;
        let mut this = Self {
            bias: vec![0; n],
            multiplier: vec![0; n],
            shift: vec![0; n],
            zero_point: [-128, 127, 0, random.within(-128..=127)][random.below(4)],
            clamp: [-128, 127],
        };
        for channel in 0..n {
            let any = scales == Scales::Any;
            this.bias[channel] = if any {
                random.next() as i32
            } else {
                random.within(-20_000..=20_000)
            };
            this.multiplier[channel] = match random.below(20) {
                0 => 0,
                1 => i32::MAX,
                2 => 1 << 30,
                _ => random.within(1 << 30..=i32::MAX),
            };
            let usual = 6 - sum_bits + random.within(-2..=2);
            this.shift[channel] = (if any {
                random.within(-31..=30)
            } else {
                usual.min(3)
            }) as i8;
        }
        match scales {
            Scales::Usual(true) => this.clamp[0] = this.zero_point,
            Scales::Usual(false) => {}
            Scales::Any => this.clamp = [random.within(-140..=20), random.within(-20..=140)],
        }
        this
    }
    fn requantize(&self) -> Requantize<'_> {
        Requantize {
            bias: &self.bias,
            multiplier: &self.multiplier,
            shift: &self.shift,
            zero_point: self.zero_point,
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
        }
    }
}

/// The sets to test, printed so that a set that is missing is seen.
fn fast_sets() -> Vec<&'static dyn Kernels> {
    let sets: Vec<_> = available().collect();
    let names: Vec<_> = sets.iter().map(|set| set.name()).collect();
    println!("kernel sets covered: {}", names.join(", "));
    assert_eq!(names[0], "scalar");
    sets.into_iter().skip(1).collect()
}

/// Some of 0..=67: every small size, and sizes around the widths of vectors and blocks.
fn size(random: &mut Random) -> usize {
    const EDGES: [usize; 14] = [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65];
    if random.below(2) == 0 {
        EDGES[random.below(EDGES.len())]
    } else {
        random.below(68)
    }
}

struct Gemm {
    rows: usize,
    k: usize,
    n: usize,
    lhs: Vec<i8>,
    weights: Vec<i8>,
    channels: Channels,
}

impl Gemm {
    fn new(random: &mut Random, dims: [usize; 3], fill: Fill, scales: Scales) -> Self {
        let [rows, k, n] = dims;
        let channels = Channels::new(random, n, k, scales);
        let lhs = random.bytes(rows * k, fill);
        let unpacked = random.bytes(n * k, fill);
        Self {
            rows,
            k,
            n,
            lhs,
            weights: pack(n, k, &unpacked),
            channels,
        }
    }
    fn run(&self, set: &dyn Kernels) -> Vec<i8> {
        let mut dst = Guarded::new(self.rows * self.n, 85);
        let mut scratch = Guarded::new(tile_scratch_bytes(self.k, 1).unwrap(), 170);
        set.gemm_s8(self.args(DstS8::I8(dst.slice()), scratch.slice()));
        scratch.contents();
        dst.contents().to_vec()
    }
    fn run_i16(&self, set: &dyn Kernels) -> Vec<i16> {
        let mut dst = Guarded::new(self.rows * self.n, 0x5555);
        let mut scratch = Guarded::new(tile_scratch_bytes(self.k, 1).unwrap(), 170);
        let mut args = self.args(DstS8::I16(dst.slice()), scratch.slice());
        args.requantize.zero_point = 0;
        args.requantize.clamp_min = -32768;
        args.requantize.clamp_max = 32767;
        set.gemm_s8(args);
        scratch.contents();
        dst.contents().to_vec()
    }
    fn args<'a>(&'a self, dst: DstS8<'a>, scratch: &'a mut [u8]) -> GemmS8<'a> {
        GemmS8 {
            rows: self.rows,
            k: self.k,
            n: self.n,
            lhs: &self.lhs,
            weights: &self.weights,
            requantize: self.channels.requantize(),
            dst,
            scratch,
        }
    }
    fn check(&self, set: &dyn Kernels, what: &str) {
        assert_same(&self.run(set), &self.run(&Scalar), set, what);
        assert_same(&self.run_i16(set), &self.run_i16(&Scalar), set, what);
    }
}

/// Weights (n, k) in the layout of a model file.
fn pack(n: usize, k: usize, unpacked: &[i8]) -> Vec<i8> {
    let mut packed = vec![0; packed_bytes_s8(n, k).unwrap()];
    for channel in 0..n {
        for input in 0..k {
            packed[offset_s8(n, k, channel, input)] = unpacked[channel * k + input];
        }
    }
    packed
}

fn assert_same<T: PartialEq + std::fmt::Debug>(
    found: &[T],
    expected: &[T],
    set: &dyn Kernels,
    what: &str,
) {
    if let Some(at) = (0..expected.len()).find(|&at| found[at] != expected[at]) {
        panic!(
            "{}: {what}: [{at}] is {:?}, not {:?}",
            set.name(),
            found[at],
            expected[at]
        );
    }
}

#[test]
fn requantisation_equals_the_golden_values() {
    let golden = include_str!("golden/requantize.txt");
    let mut count = 0;
    for line in golden.lines() {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let &[x, multiplier, shift, expected] = &numbers[..] else {
            panic!("{line}")
        };
        let found = multiply_by_quantized_multiplier(x as i32, multiplier as i32, shift as i32);
        assert_eq!(i64::from(found), expected, "{line}");
        count += 1;
    }
    assert!(count > 500, "{count} golden values");
}

/// Requantisation through every path of every set: sums of exactly the golden values, by a product with k = 1.
#[test]
fn every_set_requantises_golden_values() {
    for set in fast_sets() {
        for line in include_str!("golden/requantize.txt").lines() {
            let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            for clamp_min in [-32768, 0] {
                let mut dst = vec![0i16; 8];
                set.gemm_s8(GemmS8 {
                    rows: 8,
                    k: 1,
                    n: 1,
                    lhs: &[0; 8],
                    weights: &[0; 16],
                    requantize: Requantize {
                        bias: &[numbers[0] as i32],
                        multiplier: &[numbers[1] as i32],
                        shift: &[numbers[2] as i8],
                        zero_point: 0,
                        clamp_min,
                        clamp_max: 32767,
                    },
                    dst: DstS8::I16(&mut dst),
                    scratch: &mut [0; 512],
                });
                let expected = numbers[3].clamp(clamp_min.into(), 32767) as i16;
                assert_eq!(dst, [expected; 8], "{}: {line}", set.name());
            }
        }
    }
}

#[test]
fn scalar_product_equals_a_plain_loop() {
    let mut random = Random::new(1);
    for _ in 0..60 {
        let [rows, k, n] = [size(&mut random), size(&mut random), size(&mut random)];
        let lhs = random.bytes(rows * k, Fill::Random);
        let unpacked = random.bytes(n * k, Fill::Random);
        let channels = Channels::new(&mut random, n, k, Scales::Usual(false));
        let gemm = Gemm {
            rows,
            k,
            n,
            lhs,
            weights: pack(n, k, &unpacked),
            channels,
        };
        let found = gemm.run(&Scalar);
        for row in 0..rows {
            for channel in 0..n {
                let sum: i64 = (0..k)
                    .map(|i| {
                        i64::from(gemm.lhs[row * k + i]) * i64::from(unpacked[channel * k + i])
                    })
                    .sum();
                let expected = plain_requantize(&gemm.channels, channel, sum);
                assert_eq!(
                    i64::from(found[row * n + channel]),
                    expected,
                    "{rows}x{k}x{n}"
                );
            }
        }
    }
}

/// Requantisation by floor divisions of wide integers.
fn plain_requantize(channels: &Channels, channel: usize, sum: i64) -> i64 {
    let shift = i32::from(channels.shift[channel]);
    let sum = i128::from(sum + i64::from(channels.bias[channel])) << shift.max(0);
    let high = (sum * i128::from(channels.multiplier[channel]) + (1 << 30)).div_euclid(1 << 31);
    let unit = 1i128 << (-shift).max(0);
    let magnitude = (2 * high.abs() + unit).div_euclid(2 * unit);
    let rounded = (magnitude * high.signum()) as i64;
    (rounded + i64::from(channels.zero_point))
        .clamp(channels.clamp[0].into(), channels.clamp[1].into())
}

#[test]
fn products_of_all_sizes_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(2);
        for case in 0..700 {
            let dims = [size(&mut random), size(&mut random), size(&mut random)];
            let fill = FILLS[case % FILLS.len()];
            let scales = SCALES[case % SCALES.len()];
            let gemm = Gemm::new(&mut random, dims, fill, scales);
            gemm.check(set, &format!("{dims:?} {fill:?} {scales:?}"));
        }
    }
}

#[test]
fn products_of_real_layers_are_equal() {
    const LAYERS: [[usize; 3]; 10] = [
        [50, 32, 16],
        [50, 16, 96],
        [40, 144, 24],
        [33, 240, 40],
        [49, 112, 672],
        [19, 672, 192],
        [25, 1152, 320],
        [9, 320, 1280],
        [1, 1280, 1000],
        [3, 1280, 256],
    ];
    for set in fast_sets() {
        let mut random = Random::new(3);
        for dims in LAYERS {
            for (fill, scales) in FILLS.into_iter().zip(SCALES.into_iter().cycle()) {
                let gemm = Gemm::new(&mut random, dims, fill, scales);
                gemm.check(set, &format!("{dims:?} {fill:?} {scales:?}"));
            }
        }
    }
}

/// Windows of every kind that a model may hold: padding on each side, steps, gaps, and kernels larger than the picture.
fn window(random: &mut Random) -> Window {
    let kernel = match random.below(4) {
        0 => [3, 3],
        1 => [5, 5],
        _ => [1 + random.below(7), 1 + random.below(7)],
    };
    let dilation = if random.below(4) == 0 {
        [1 + random.below(2), 2]
    } else {
        [1, 1]
    };
    let stride = if random.below(4) == 0 {
        [1 + random.below(3), 1 + random.below(3)]
    } else {
        [1 + random.below(2); 2]
    };
    let mut window = Window {
        input: [1 + random.below(20), 1 + random.below(40)],
        output: [0; 2],
        kernel,
        stride,
        padding: [random.below(kernel[0]), random.below(kernel[1])],
        dilation,
    };
    for axis in 0..2 {
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        let padded = window.input[axis] + window.padding[axis] + random.below(extent);
        window.output[axis] = (padded.max(extent) - extent) / stride[axis] + 1;
    }
    window
}

/// TensorFlow's SAME padding.
fn same_window(side: usize, kernel: usize, stride: usize) -> Window {
    let output = side.div_ceil(stride);
    Window {
        input: [side; 2],
        output: [output; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [((output - 1) * stride + kernel).saturating_sub(side) / 2; 2],
        dilation: [1; 2],
    }
}

fn check_conv(
    set: &dyn Kernels,
    random: &mut Random,
    window: Window,
    [c, n]: [usize; 2],
    case: usize,
) {
    let k = window.kernel[0] * window.kernel[1] * c;
    let fill = FILLS[case % FILLS.len()];
    let scales = SCALES[case % SCALES.len()];
    let src = random.bytes(window.input[0] * window.input[1] * c, fill);
    let unpacked = random.bytes(n * k, fill);
    let weights = pack(n, k, &unpacked);
    let channels = Channels::new(random, n, k, scales);
    let input_zero_point = [-128, 127, -1, 5][random.below(4)];
    let run = |set: &dyn Kernels| {
        let mut dst = Guarded::new(window.output[0] * window.output[1] * n, 85i8);
        let mut scratch = Guarded::new(tile_scratch_bytes(k, 1).unwrap(), 170u8);
        set.conv_s8(ConvS8 {
            window,
            in_channels: c,
            out_channels: n,
            input_zero_point,
            src: &src,
            weights: &weights,
            requantize: channels.requantize(),
            dst: dst.slice(),
            scratch: scratch.slice(),
        });
        scratch.contents();
        dst.contents().to_vec()
    };
    assert_same(
        &run(set),
        &run(&Scalar),
        set,
        &format!("{window:?} {c} {n} {fill:?} {scales:?}"),
    );
}

#[test]
fn convolutions_of_all_windows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(4);
        for case in 0..150 {
            let window = window(&mut random);
            let channels = [1 + random.below(24), 1 + random.below(40)];
            check_conv(set, &mut random, window, channels, case);
        }
        check_conv(set, &mut random, same_window(64, 3, 2), [3, 32], 0);
        check_conv(set, &mut random, same_window(9, 3, 1), [67, 67], 1);
    }
}

fn check_depthwise(set: &dyn Kernels, random: &mut Random, window: Window, c: usize, case: usize) {
    let fill = FILLS[case % FILLS.len()];
    let scales = SCALES[case % SCALES.len()];
    let taps = window.kernel[0] * window.kernel[1];
    let src = random.bytes(window.input[0] * window.input[1] * c, fill);
    let weights = random.bytes(taps * c, fill);
    let channels = Channels::new(random, c, taps, scales);
    let input_zero_point = [-128, 127, -1, 5][random.below(4)];
    let run = |set: &dyn Kernels| {
        let mut dst = Guarded::new(window.output[0] * window.output[1] * c, 85i8);
        set.depthwise_conv_s8(DepthwiseConvS8 {
            window,
            channels: c,
            input_zero_point,
            src: &src,
            weights: &weights,
            requantize: channels.requantize(),
            dst: dst.slice(),
        });
        dst.contents().to_vec()
    };
    assert_same(
        &run(set),
        &run(&Scalar),
        set,
        &format!("{window:?} {c} {fill:?} {scales:?}"),
    );
}

#[test]
fn depthwise_convolutions_of_all_windows_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(5);
        for case in 0..400 {
            let window = window(&mut random);
            let channels = if case % 8 == 0 {
                60 + random.below(90)
            } else {
                size(&mut random)
            };
            check_depthwise(set, &mut random, window, channels, case);
        }
    }
}

#[test]
fn depthwise_convolutions_of_real_layers_are_equal() {
    const LAYERS: [(usize, usize, usize, usize); 9] = [
        (56, 32, 3, 1),
        (56, 96, 3, 2),
        (28, 144, 5, 2),
        (28, 240, 5, 1),
        (28, 240, 3, 2),
        (14, 480, 3, 1),
        (14, 672, 5, 2),
        (7, 1152, 5, 1),
        (7, 1152, 3, 1),
    ];
    for set in fast_sets() {
        let mut random = Random::new(6);
        for (case, (side, channels, kernel, stride)) in LAYERS.into_iter().enumerate() {
            check_depthwise(
                set,
                &mut random,
                same_window(side, kernel, stride),
                channels,
                case,
            );
        }
    }
}

#[test]
fn scalar_windows_equal_plain_loops() {
    let mut random = Random::new(7);
    for _ in 0..40 {
        let window = window(&mut random);
        let [c, n] = [1 + random.below(5), 1 + random.below(5)];
        let taps = window.kernel[0] * window.kernel[1];
        let src = random.bytes(window.input[0] * window.input[1] * c, Fill::Random);
        let zero_point = random.within(-128..=127) as i8;
        let unpacked = random.bytes(n * taps * c, Fill::Random);
        let depthwise = random.bytes(taps * c, Fill::Random);
        let channels = Channels::new(&mut random, n.max(c), taps * c, Scales::Usual(false));
        let [oh, ow] = window.output;
        let mut conv = vec![0i8; oh * ow * n];
        Scalar.conv_s8(ConvS8 {
            window,
            in_channels: c,
            out_channels: n,
            input_zero_point: zero_point,
            src: &src,
            weights: &pack(n, taps * c, &unpacked),
            requantize: channels.requantize(),
            dst: &mut conv,
            scratch: &mut [],
        });
        let mut dw = vec![0i8; oh * ow * c];
        Scalar.depthwise_conv_s8(DepthwiseConvS8 {
            window,
            channels: c,
            input_zero_point: zero_point,
            src: &src,
            weights: &depthwise,
            requantize: channels.requantize(),
            dst: &mut dw,
        });
        // The padded picture, written out.
        let read = |y: i64, x: i64, channel: usize| -> i64 {
            let inside = (0..window.input[0] as i64).contains(&y)
                && (0..window.input[1] as i64).contains(&x);
            let at = || (y as usize * window.input[1] + x as usize) * c + channel;
            i64::from(if inside { src[at()] } else { zero_point })
        };
        for position in 0..oh * ow {
            let tap = |tap: usize, channel: usize| {
                let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
                let y = position / ow * window.stride[0] + ky * window.dilation[0];
                let x = position % ow * window.stride[1] + kx * window.dilation[1];
                let [top, left] = window.padding;
                read(y as i64 - top as i64, x as i64 - left as i64, channel)
            };
            for out in 0..n {
                let sum = (0..taps * c)
                    .map(|i| tap(i / c, i % c) * i64::from(unpacked[out * taps * c + i]))
                    .sum();
                let expected = plain_requantize(&channels, out, sum);
                assert_eq!(i64::from(conv[position * n + out]), expected, "{window:?}");
            }
            for channel in 0..c {
                let sum = (0..taps)
                    .map(|t| tap(t, channel) * i64::from(depthwise[t * c + channel]))
                    .sum();
                let expected = plain_requantize(&channels, channel, sum);
                assert_eq!(
                    i64::from(dw[position * c + channel]),
                    expected,
                    "{window:?}"
                );
            }
        }
    }
}

#[test]
fn pooling_is_equal_and_rounds_like_tflite() {
    for set in fast_sets() {
        let mut random = Random::new(8);
        for case in 0..200 {
            let mut window = window(&mut random);
            window.dilation = [1, 1];
            let c = size(&mut random);
            let src = random.bytes(window.input[0] * window.input[1] * c, FILLS[case % 4]);
            let run = |set: &dyn Kernels, largest: bool| {
                let mut dst = Guarded::new(window.output[0] * window.output[1] * c, 85i8);
                let args = PoolS8 {
                    window,
                    channels: c,
                    clamp_min: if case % 3 == 0 { -20 } else { -128 },
                    clamp_max: if case % 5 == 0 { 90 } else { 127 },
                    src: &src,
                    dst: dst.slice(),
                };
                if largest {
                    set.max_pool_s8(args)
                } else {
                    set.avg_pool_s8(args)
                }
                dst.contents().to_vec()
            };
            for largest in [false, true] {
                let what = format!("{window:?} {c} largest {largest}");
                assert_same(&run(set, largest), &run(&Scalar, largest), set, &what);
            }
        }
    }
}

#[test]
fn global_average_of_a_picture_is_equal() {
    for set in fast_sets() {
        let mut random = Random::new(9);
        for (side, c, fill) in [(7, 1280, Fill::Random), (65, 70, Fill::Constant(-128))] {
            let window = Window {
                kernel: [side; 2],
                padding: [0; 2],
                ..same_window(side, 1, side)
            };
            let src = random.bytes(side * side * c, fill);
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(c, 85i8);
                let dst_slice = dst.slice();
                let (clamp_min, clamp_max) = (-128, 127);
                set.avg_pool_s8(PoolS8 {
                    window,
                    channels: c,
                    clamp_min,
                    clamp_max,
                    src: &src,
                    dst: dst_slice,
                });
                dst.contents().to_vec()
            };
            let expected: Vec<i8> = (0..c)
                .map(|channel| {
                    let sum: i64 = src[channel..]
                        .iter()
                        .step_by(c)
                        .map(|&v| i64::from(v))
                        .sum();
                    (sum as f64 / (side * side) as f64).round() as i8
                })
                .collect();
            assert_same(&run(&Scalar), &expected, &Scalar, "mean");
            assert_same(&run(set), &expected, set, "mean");
        }
    }
}

#[test]
fn sums_and_products_of_tensors_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(10);
        for case in 0..600 {
            let len = if case % 10 == 0 {
                200 + random.below(300)
            } else {
                size(&mut random)
            };
            let any = case % 4 == 3;
            let fill = FILLS[case / 4 % 4];
            let lhs = random.bytes(len, fill);
            let rhs = random.bytes(len, fill);
            let factor = |random: &mut Random| random.within(1 << 30..=i32::MAX);
            let offset = |random: &mut Random| {
                if any {
                    random.next() as i32
                } else {
                    random.within(-127..=128)
                }
            };
            let left_shift = if any { random.within(0..=31) } else { 20 };
            let input_offset = [offset(&mut random), offset(&mut random)];
            let output_offset = if any {
                random.next() as i32
            } else {
                random.within(-128..=127)
            };
            let input_multiplier = [factor(&mut random), factor(&mut random)];
            let output_multiplier = factor(&mut random);
            let input_shift = [random.within(-31..=0), random.within(-9..=0)];
            let output_shift = if any {
                random.within(-31..=30)
            } else {
                random.within(-22..=-15)
            };
            let clamp = [random.within(-140..=0), random.within(0..=140)];
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.add_s8(AddS8 {
                    lhs: &lhs,
                    rhs: &rhs,
                    input_offset,
                    left_shift,
                    input_multiplier,
                    input_shift,
                    output_multiplier,
                    output_shift,
                    output_offset,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let what = format!("add case {case}, {len} elements");
            assert_same(&run(set), &run(&Scalar), set, &what);

            let divisors: Vec<usize> = (1..=len).filter(|d| len % d == 0).collect();
            let period = if divisors.is_empty() {
                0
            } else {
                divisors[random.below(divisors.len())]
            };
            let shift = if any {
                random.within(-31..=30)
            } else {
                random.within(-12..=1)
            };
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.mul_s8(MulS8 {
                    lhs: &lhs,
                    rhs: &rhs[..period],
                    input_offset,
                    multiplier: output_multiplier,
                    shift,
                    output_offset,
                    clamp_min: clamp[0],
                    clamp_max: clamp[1],
                    dst: dst.slice(),
                });
                dst.contents().to_vec()
            };
            let what = format!("mul case {case}, {len} elements, period {period}, shift {shift}");
            assert_same(&run(set), &run(&Scalar), set, &what);
        }
    }
}

/// ADD against the real numbers that it stands for: at most one step off.
#[test]
fn scalar_add_is_the_sum_of_real_numbers() {
    use pinhole_runtime::kernel::requantize::quantize_multiplier;
    let scales = [0.05f64, 0.031, 0.07];
    let zero_points = [-3, 17, 5];
    let twice = 2.0 * scales[0].max(scales[1]);
    let (lhs_multiplier, lhs_shift) = quantize_multiplier(scales[0] / twice);
    let (rhs_multiplier, rhs_shift) = quantize_multiplier(scales[1] / twice);
    let (output_multiplier, output_shift) =
        quantize_multiplier(twice / (f64::from(1 << 20) * scales[2]));
    let lhs: Vec<i8> = (0..=65535u32).map(|i| (i >> 8) as u8 as i8).collect();
    let rhs: Vec<i8> = (0..=65535u32).map(|i| i as u8 as i8).collect();
    let mut dst = vec![0i8; lhs.len()];
    Scalar.add_s8(AddS8 {
        lhs: &lhs,
        rhs: &rhs,
        input_offset: [-zero_points[0], -zero_points[1]],
        left_shift: 20,
        input_multiplier: [lhs_multiplier, rhs_multiplier],
        input_shift: [lhs_shift.into(), rhs_shift.into()],
        output_multiplier,
        output_shift: output_shift.into(),
        output_offset: zero_points[2],
        clamp_min: -128,
        clamp_max: 127,
        dst: &mut dst,
    });
    for ((&lhs, &rhs), &found) in lhs.iter().zip(&rhs).zip(&dst) {
        let real = scales[0] * f64::from(i32::from(lhs) - zero_points[0])
            + scales[1] * f64::from(i32::from(rhs) - zero_points[1]);
        let expected = (real / scales[2] + f64::from(zero_points[2])).clamp(-128.0, 127.0);
        assert!(
            (expected - f64::from(found)).abs() <= 0.501,
            "{lhs} + {rhs}: {found}, {expected}"
        );
    }
}

#[test]
fn tables_dots_and_conversions_are_equal() {
    for set in fast_sets() {
        let mut random = Random::new(11);
        let table: [i8; 256] = std::array::from_fn(|_| random.next() as i8);
        for case in 0..400 {
            let len = if case % 10 == 0 {
                200 + random.below(2000)
            } else {
                size(&mut random)
            };
            let fill = FILLS[case % 4];
            let [lhs, rhs] = [random.bytes(len, fill), random.bytes(len, fill)];
            assert_eq!(
                set.dot_s8(&lhs, &rhs),
                Scalar.dot_s8(&lhs, &rhs),
                "{}",
                set.name()
            );

            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.lut_s8(&table, &lhs, dst.slice());
                dst.contents().to_vec()
            };
            assert_same(&run(set), &run(&Scalar), set, "lut");

            let scale = [0.037f32, 1.0, 0.5, 1e-30, 3e30][case % 5];
            let zero_point = [0, -128, 127, random.within(-128..=127)][case % 4];
            let floats: Vec<f32> = (0..len).map(|_| float(&mut random, scale)).collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.quantize_f32(&floats, scale, zero_point, dst.slice());
                dst.contents().to_vec()
            };
            let found = run(set);
            for (index, (&found, &expected)) in found.iter().zip(&run(&Scalar)).enumerate() {
                let what = floats[index];
                assert_eq!(
                    found,
                    expected,
                    "{}: {what:e} / {scale:e} + {zero_point}",
                    set.name()
                );
            }

            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85.0f32);
                set.dequantize_s8(&lhs, scale, zero_point, dst.slice());
                dst.contents()
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>()
            };
            assert_same(&run(set), &run(&Scalar), set, "dequantize");

            let wide: Vec<i16> = (0..len)
                .map(|_| random.next() as i16 >> random.below(16))
                .collect();
            let run = |set: &dyn Kernels| {
                let mut dst = Guarded::new(len, 85i8);
                set.normalize_s16(&wide, dst.slice());
                dst.contents().to_vec()
            };
            assert_same(&run(set), &run(&Scalar), set, "normalize");
        }
    }
}

/// Halves and their neighbours, huge ones, infinities, NaN, and ordinary numbers.
fn float(random: &mut Random, scale: f32) -> f32 {
    let half = (random.within(-140..=140) as f32 + 0.5) * scale;
    match random.below(8) {
        0 => half,
        1 => half.next_up(),
        2 => half.next_down(),
        3 => [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            1e30,
            -1e30,
        ][random.below(6)],
        _ => random.within(-30_000..=30_000) as f32 / 100.0 * scale,
    }
}

#[test]
fn scalar_conversions_are_what_they_say() {
    let mut bytes = [0i8; 9];
    let floats = [
        0.5,
        -0.5,
        1.5,
        -1.5,
        0.49,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1000.0,
    ];
    Scalar.quantize_f32(&floats, 1.0, 3, &mut bytes);
    assert_eq!(bytes, [4, 2, 5, 1, 3, 3, 127, -128, 127]);
    let mut normal = [0i8; 4];
    Scalar.normalize_s16(&[-32768, 32767, 129, -130], &mut normal);
    // 129 · 127 / 32768 is 0.49997, 130 · 127 / 32768 is 0.504.
    assert_eq!(normal, [-127, 127, 0, -1]);
    Scalar.normalize_s16(&[0; 4], &mut normal);
    assert_eq!(normal, [0; 4]);
}
