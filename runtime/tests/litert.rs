//! Integer kernels of every set against what LiteRT's reference kernels computed, bit for bit.
//!
//! `tests/golden/make_litert.py` says how the cases were made and how they are stored.

use std::collections::BTreeMap;

use pinhole_runtime::kernel::packing::{WeightLayout, offset_s8, packed_bytes_s8};
use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::kernel::{
    self, AddS8, ConvS8, DepthwiseConvS8, DstS8, GemmS8, Kernels, MeanS8, MulS8, PoolS8,
    Requantize, Window, tile_scratch_bytes,
};
use safetensors::SafeTensors;

/// TFLite's headroom for ADD.
const ADD_LEFT_SHIFT: i32 = 20;
/// Columns of a case.
const COLUMNS: usize = 23;
/// The amplitude that leaves bytes as they are.
const FULL: i32 = 256;

/// The operator of a case, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Conv,
    Depthwise,
    FullyConnected,
    Add,
    AveragePool,
    MaxPool,
    Mul,
    Mean,
}

const OPS: [Op; 8] = [
    Op::Conv,
    Op::Depthwise,
    Op::FullyConnected,
    Op::Add,
    Op::AveragePool,
    Op::MaxPool,
    Op::Mul,
    Op::Mean,
];

/// One operator, its operands and LiteRT's output.
#[derive(Debug)]
struct Case {
    op: Op,
    /// Index of the operator in EfficientNet-Lite0; −1 for a random case.
    layer: i32,
    window: Window,
    in_channels: usize,
    out_channels: usize,
    /// Of the first input, the second and the output.
    zero_points: [i32; 3],
    /// Of the first input, the second and the output.
    scales: [f32; 3],
    /// One, or one per output channel.
    weight_scales: Vec<f32>,
    clamp: [i32; 2],
    input: Vec<i8>,
    /// The second operand, or the weights in TFLite's order.
    second: Vec<i8>,
    bias: Vec<i32>,
    expected: Vec<i8>,
}

/// Bytes of a 32-bit congruential sequence, uniform, or narrowed around `centre`.
fn lcg(seed: i32, count: usize, amplitude: i32, centre: i32) -> Vec<i8> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = (state >> 24) as i32 - 128;
        if amplitude == FULL {
            return byte as i8;
        }
        (centre + ((byte * amplitude) >> 8)).clamp(-128, 127) as i8
    };
    (0..count).map(|_| next()).collect()
}

/// The first `count` elements of what is left.
fn take<T: Copy>(rest: &mut &[T], count: usize) -> Vec<T> {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken.to_vec()
}

/// The elements of the 4-byte tensor `name`.
fn words<T>(file: &SafeTensors<'_>, name: &str, convert: impl Fn([u8; 4]) -> T) -> Vec<T> {
    let data = file.tensor(name).expect(name).data();
    let (words, rest) = data.as_chunks::<4>();
    assert!(rest.is_empty(), "{name} has whole elements");
    words.iter().map(|&word| convert(word)).collect()
}

/// The elements of the int8 tensor `name`.
fn bytes(file: &SafeTensors<'_>, name: &str) -> Vec<i8> {
    let data = file.tensor(name).expect(name).data();
    data.iter().map(|&byte| byte as i8).collect()
}

/// TFLite's `CalculateActivationRangeQuantized`: none, ReLU and ReLU6 have the numbers 0, 1 and 3.
fn clamp(activation: i32, scale: f32, zero_point: i32) -> [i32; 2] {
    let quantize = |real: f32| zero_point + (real / scale).round() as i32;
    match activation {
        0 => [-128, 127],
        1 => [quantize(0.0).max(-128), 127],
        3 => [quantize(0.0).max(-128), quantize(6.0).min(127)],
        _ => panic!("activation {activation} is not in the golden file"),
    }
}

/// Padding before the picture: SAME puts the smaller half there.
fn padding(same: bool, input: usize, output: usize, span: usize, stride: usize) -> usize {
    if !same {
        return 0;
    }
    ((output - 1) * stride + span).saturating_sub(input) / 2
}

fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/golden/litert.safetensors"
    );
    let content = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = SafeTensors::deserialize(&content).expect("the golden file is whole");
    let rows = words(&file, "cases", i32::from_le_bytes);
    let (scales, bias) = (
        words(&file, "scales", f32::from_le_bytes),
        words(&file, "bias", i32::from_le_bytes),
    );
    let (weights, outputs) = (bytes(&file, "weights"), bytes(&file, "outputs"));
    let mut rest = Rest {
        scales: &scales,
        bias: &bias,
        weights: &weights,
        outputs: &outputs,
    };
    let (rows, left) = rows.as_chunks::<COLUMNS>();
    assert!(left.is_empty(), "a case has {COLUMNS} columns");
    let cases = rows.iter().map(|row| case(row, &mut rest)).collect();
    assert!(rest.scales.is_empty() && rest.bias.is_empty());
    assert!(rest.weights.is_empty() && rest.outputs.is_empty());
    cases
}

/// What the cases that were read left of the file's tensors.
struct Rest<'a> {
    scales: &'a [f32],
    bias: &'a [i32],
    weights: &'a [i8],
    outputs: &'a [i8],
}

fn case(row: &[i32; COLUMNS], rest: &mut Rest<'_>) -> Case {
    let size = |column: usize| row[column] as usize;
    let op = OPS[size(0)];
    let same = row[12] == 1;
    let mut window = Window {
        input: [size(2), size(3)],
        output: [size(5), size(6)],
        kernel: [size(8), size(9)],
        stride: [size(10), size(11)],
        padding: [0; 2],
        dilation: [size(13); 2],
    };
    for axis in 0..2 {
        let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        let (input, output) = (window.input[axis], window.output[axis]);
        window.padding[axis] = padding(same, input, output, span, window.stride[axis]);
    }
    let (in_channels, out_channels) = (size(4), size(7));
    let zero_points = [row[14], row[15], row[16]];
    let scales: [f32; 3] = take(&mut rest.scales, 3).try_into().expect("three scales");
    let input_len = size(2) * size(3) * in_channels;
    let taps = window.kernel[0] * window.kernel[1];
    let product = match op {
        Op::Conv | Op::FullyConnected => Some(taps * in_channels * out_channels),
        Op::Depthwise => Some(taps * in_channels),
        _ => None,
    };
    let second_len = product.unwrap_or(size(22));
    let second_centre = if product.is_some() { 0 } else { row[15] };
    Case {
        op,
        layer: row[1],
        window,
        in_channels,
        out_channels,
        zero_points,
        scales,
        weight_scales: match product {
            Some(_) => take(&mut rest.scales, size(22)),
            None => Vec::new(),
        },
        clamp: clamp(row[17], scales[2], row[16]),
        input: lcg(row[18], input_len, row[19], row[14]),
        second: match row[20] {
            0 => take(&mut rest.weights, second_len),
            seed => lcg(seed, second_len, row[21], second_centre),
        },
        bias: take(&mut rest.bias, product.map_or(0, |_| out_channels)),
        expected: take(&mut rest.outputs, size(5) * size(6) * out_channels),
    }
}

impl Case {
    /// Real factors of the output channels, in doubles as TFLite computes them.
    fn factors(&self) -> Vec<f64> {
        let [input, _, output] = self.scales.map(f64::from);
        let weight = |channel: usize| match self.weight_scales[..] {
            [weight] => weight,
            ref weights => weights[channel],
        };
        (0..self.out_channels)
            .map(|channel| input * f64::from(weight(channel)) / output)
            .collect()
    }

    /// Multipliers and shifts of the output channels.
    fn quantized_factors(&self) -> (Vec<i32>, Vec<i8>) {
        self.factors().into_iter().map(quantize_multiplier).unzip()
    }

    /// The bias with the zero point of the input folded in.
    fn folded_bias(&self, weight: impl Fn(usize, usize) -> i8, k: usize) -> Vec<i32> {
        let sum = |channel| -> i32 { (0..k).map(|i| i32::from(weight(channel, i))).sum() };
        (0..self.out_channels)
            .map(|channel| self.bias[channel] - self.zero_points[0] * sum(channel))
            .collect()
    }

    /// Output of a convolution, depthwise convolution or fully connected layer, the last also of a convolution `as_gemm`.
    fn product(&self, set: &dyn Kernels, as_gemm: bool, dst: &mut [i8]) {
        let channels = self.out_channels;
        let k = self.second.len() / channels;
        let weight = |channel: usize, input: usize| match self.op {
            Op::Depthwise => self.second[input * channels + channel],
            _ => self.second[channel * k + input],
        };
        let bias = self.folded_bias(weight, k);
        let (multiplier, shift): (Vec<i32>, Vec<i8>) = self.quantized_factors();
        let requantize = Requantize {
            bias: &bias,
            multiplier: &multiplier,
            shift: &shift,
            zero_point: self.zero_points[2],
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
        };
        let input_zero_point = self.zero_points[0] as i8;
        let mut packed = vec![0; packed_bytes_s8(channels, k).expect("small")];
        let mut scratch = vec![0; tile_scratch_bytes(k, 1).expect("small")];
        for (channel, input) in (0..channels).flat_map(|c| (0..k).map(move |i| (c, i))) {
            packed[offset_s8(channels, k, channel, input)] = weight(channel, input);
        }
        match self.op {
            Op::Conv if !as_gemm => set.conv_s8(ConvS8 {
                window: self.window,
                in_channels: self.in_channels,
                out_channels: channels,
                input_zero_point,
                src: &self.input,
                weights: &packed,
                layout: WeightLayout::Generic,
                requantize,
                dst: DstS8::I8(dst),
                scratch: &mut scratch,
            }),
            Op::Depthwise => set.depthwise_conv_s8(DepthwiseConvS8 {
                window: self.window,
                channels,
                input_zero_point,
                src: &self.input,
                weights: &self.second,
                requantize,
                dst,
            }),
            _ => set.gemm_s8(GemmS8 {
                rows: self.window.output[0] * self.window.output[1],
                k,
                n: channels,
                lhs: &self.input,
                weights: &packed,
                layout: WeightLayout::Generic,
                requantize,
                dst: DstS8::I8(dst),
                scratch: &mut scratch,
            }),
        }
    }

    /// TFLite's ADD: its largest scale is doubled as a float, which is exact; the rest is in doubles.
    fn add(&self, set: &dyn Kernels, dst: &mut [i8]) {
        let [first, second, output] = self.scales;
        let twice_largest = f64::from(2.0 * first.max(second));
        let inputs = [first, second].map(|s| quantize_multiplier(f64::from(s) / twice_largest));
        let (output_multiplier, output_shift) = quantize_multiplier(
            twice_largest / (f64::from(1 << ADD_LEFT_SHIFT) * f64::from(output)),
        );
        set.add_s8(AddS8 {
            lhs: &self.input,
            rhs: &self.second,
            input_offset: [-self.zero_points[0], -self.zero_points[1]],
            left_shift: ADD_LEFT_SHIFT,
            input_multiplier: inputs.map(|(multiplier, _)| multiplier),
            input_shift: inputs.map(|(_, shift)| shift.into()),
            output_multiplier,
            output_shift: output_shift.into(),
            output_offset: self.zero_points[2],
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
            dst,
        });
    }

    /// TFLite's MUL: the factor is computed in floats.
    fn mul(&self, set: &dyn Kernels, dst: &mut [i8]) {
        let [first, second, output] = self.scales;
        let (multiplier, shift) = quantize_multiplier(f64::from(first * second / output));
        set.mul_s8(MulS8 {
            lhs: &self.input,
            rhs: &self.second,
            input_offset: [-self.zero_points[0], -self.zero_points[1]],
            multiplier,
            shift: shift.into(),
            output_offset: self.zero_points[2],
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
            dst,
        });
    }

    /// TFLite's MEAN over height and width: the multiplier of the scales is shifted up and divided by the pixels.
    fn mean(&self, set: &dyn Kernels, dst: &mut [i8]) {
        let pixels = self.window.input[0] * self.window.input[1];
        let [input, _, output] = self.scales;
        let (multiplier, shift) = quantize_multiplier(f64::from(input) / f64::from(output));
        let raised = (pixels.ilog2() as i32).min(31 + i32::from(shift));
        let multiplier = ((i64::from(multiplier) << raised) / pixels as i64) as i32;
        set.mean_s8(MeanS8 {
            pixels,
            channels: self.in_channels,
            input_zero_point: self.zero_points[0],
            multiplier,
            shift: i32::from(shift) - raised,
            output_zero_point: self.zero_points[2],
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
            src: &self.input,
            dst,
        });
    }

    /// A convolution that is a plain matrix product over the pixels.
    fn is_pointwise(&self) -> bool {
        let Window { kernel, stride, .. } = self.window;
        self.op == Op::Conv && kernel == [1, 1] && stride == [1, 1]
    }

    /// LiteRT's rule for FULLY_CONNECTED, which rounds the real product of the sum and the factor once: before the zero
    /// point and the clamp, and unrounded.
    fn rounded_once(&self) -> Vec<f64> {
        let (n, k) = (self.out_channels, self.in_channels);
        let factors = self.factors();
        let output = |(row, channel): (usize, usize)| {
            let inputs = &self.input[row * k..][..k];
            let weights = &self.second[channel * k..][..k];
            let products = inputs.iter().zip(weights).map(|(&input, &weight)| {
                (i32::from(input) - self.zero_points[0]) * i32::from(weight)
            });
            f64::from(products.sum::<i32>() + self.bias[channel]) * factors[channel]
        };
        (0..self.window.input[0])
            .flat_map(|row| (0..n).map(move |channel| (row, channel)))
            .map(output)
            .collect()
    }

    fn pool<'a>(&'a self, dst: &'a mut [i8]) -> PoolS8<'a> {
        PoolS8 {
            window: self.window,
            channels: self.in_channels,
            clamp_min: self.clamp[0],
            clamp_max: self.clamp[1],
            src: &self.input,
            dst,
        }
    }

    /// What `set` computes.
    fn run(&self, set: &dyn Kernels) -> Vec<i8> {
        let mut dst = vec![0; self.expected.len()];
        match self.op {
            Op::Conv | Op::Depthwise | Op::FullyConnected => self.product(set, false, &mut dst),
            Op::Add => self.add(set, &mut dst),
            Op::Mul => self.mul(set, &mut dst),
            Op::Mean => self.mean(set, &mut dst),
            Op::AveragePool => set.avg_pool_s8(self.pool(&mut dst)),
            Op::MaxPool => set.max_pool_s8(self.pool(&mut dst)),
        }
        dst
    }
}

/// Of one operator in one set.
#[derive(Clone, Copy, Default)]
struct Tally {
    cases: usize,
    exact: usize,
    outputs: usize,
    different: usize,
    largest: i32,
}

impl Tally {
    fn count(&mut self, actual: &[i8], expected: &[i8]) {
        let differences = actual
            .iter()
            .zip(expected)
            .map(|(&actual, &expected)| (i32::from(actual) - i32::from(expected)).abs());
        let different = differences.clone().filter(|&difference| difference > 0);
        self.cases += 1;
        self.exact += usize::from(actual == expected);
        self.outputs += expected.len();
        self.different += different.count();
        self.largest = differences.fold(self.largest, i32::max);
    }
}

/// Compares the cases that `choose` picks and prints one line per set and operator.
fn compare(
    what: &str,
    cases: &[Case],
    choose: impl Fn(&Case) -> bool,
    run: impl Fn(&Case, &dyn Kernels) -> Vec<i8>,
) -> BTreeMap<(&'static str, Op), Tally> {
    let mut tallies = BTreeMap::<_, Tally>::new();
    for set in kernel::available() {
        for case in cases.iter().filter(|case| choose(case)) {
            let tally = tallies.entry((set.name(), case.op)).or_default();
            tally.count(&run(case, set), &case.expected);
        }
    }
    for ((set, op), tally) in &tallies {
        println!(
            "{what}, {set} {op:?}: {} of {} cases exact; {} of {} outputs differ, by {} at most",
            tally.exact, tally.cases, tally.different, tally.outputs, tally.largest
        );
    }
    tallies
}

/// Asserts that all outputs are LiteRT's. Fully connected layers have their own test.
fn assert_exact(tallies: BTreeMap<(&'static str, Op), Tally>) {
    for ((set, op), tally) in tallies {
        assert!(tally.cases > 0, "{set} {op:?}");
        assert_eq!(tally.exact, tally.cases, "{set} {op:?}");
    }
}

#[test]
fn random_shapes_equal_litert_in_every_set() {
    let choose = |case: &Case| case.layer < 0 && case.op != Op::FullyConnected;
    let tallies = compare("random", &cases(), choose, Case::run);
    let operators = tallies.len() / kernel::available().count();
    assert_eq!(operators, OPS.len() - 1, "every operator has cases");
    assert_exact(tallies);
}

#[test]
fn layers_of_efficientnet_lite0_equal_litert_in_every_set() {
    let cases = cases();
    let layers = cases.iter().filter(|case| case.layer >= 0).count();
    assert_eq!(layers, 60, "all but quantisation, reshaping and softmax");
    assert_exact(compare(
        "EfficientNet-Lite0",
        &cases,
        |case| case.layer >= 0,
        Case::run,
    ));
}

#[test]
fn matrix_products_equal_litert_pointwise_convolutions() {
    let as_gemm = |case: &Case, set: &dyn Kernels| {
        let mut dst = vec![0; case.expected.len()];
        case.product(set, true, &mut dst);
        dst
    };
    assert_exact(compare("gemm_s8", &cases(), Case::is_pointwise, as_gemm));
}

#[test]
fn fully_connected_differs_from_litert_only_where_two_roundings_do() {
    let mut cases = cases();
    cases.retain(|case| case.op == Op::FullyConnected);
    let mut by_shift = BTreeMap::<_, usize>::new();
    for case in &cases {
        let (_, shifts) = case.quantized_factors();
        let zero_point = case.zero_points[2];
        let clamp = |output: i32| output.clamp(case.clamp[0], case.clamp[1]) as i8;
        let sums = case.rounded_once();
        let rule: Vec<i8> = sums
            .iter()
            .map(|sum| clamp(sum.round() as i32 + zero_point))
            .collect();
        assert_eq!(rule, case.expected, "LiteRT rounds once");
        for set in kernel::available() {
            for (index, &actual) in case.run(set).iter().enumerate() {
                let (sum, expected) = (sums[index], case.expected[index]);
                if actual == expected {
                    continue;
                }
                // The first rounding moves the result by half of its unit, the multiplier of 31 bits by 2^-31 of it.
                let shift = i32::from(shifts[index % case.out_channels]);
                let first = if shift < 0 {
                    0.5f64.powi(1 - shift)
                } else {
                    0.0
                };
                *by_shift.entry((set.name(), shift)).or_default() += 1;
                let reach = first + sum.abs() * 0.5f64.powi(31);
                let from_tie = ((sum - sum.floor()) - 0.5).abs();
                assert!(
                    from_tie <= reach,
                    "{}: {sum} with shift {shift}",
                    set.name()
                );
                assert_eq!(
                    i32::from(actual).abs_diff(expected.into()),
                    1,
                    "{}",
                    set.name()
                );
            }
        }
    }
    println!("differences by set and shift: {by_shift:?}");
    let tallies = compare("FULLY_CONNECTED", &cases, |_| true, Case::run);
    assert!(tallies.values().all(|tally| tally.largest <= 1));
}
