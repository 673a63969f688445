//! What the tests of the integer kernels share: drawn arguments, guarded buffers, and the sets to compare.

use alloc::vec::Vec;

use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::kernel::{Kernels, Requantize, Window, available};

/// A small generator, so that a failure names its seed and repeats.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<i32>) -> i32 {
        let span = i64::from(*range.end()) - i64::from(*range.start()) + 1;
        (i64::from(*range.start()) + (self.next() % span as u64) as i64) as i32
    }
    pub(crate) fn bytes(&mut self, len: usize, fill: Fill) -> Vec<i8> {
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
pub(crate) enum Fill {
    Random,
    Constant(i8),
    Extremes,
}

pub(crate) const FILLS: [Fill; 4] = [
    Fill::Random,
    Fill::Constant(-128),
    Fill::Constant(127),
    Fill::Extremes,
];

/// A buffer with guards on both sides; what a kernel gets begins at an odd address.
pub(crate) struct Guarded<T> {
    buffer: Vec<T>,
    guard: T,
    len: usize,
}

pub(crate) const GUARD_LEN: usize = 65;

impl<T: Copy + PartialEq + std::fmt::Debug> Guarded<T> {
    pub(crate) fn new(len: usize, guard: T) -> Self {
        Self {
            buffer: vec![guard; len + 2 * GUARD_LEN],
            guard,
            len,
        }
    }
    pub(crate) fn slice(&mut self) -> &mut [T] {
        &mut self.buffer[GUARD_LEN..GUARD_LEN + self.len]
    }
    pub(crate) fn contents(&self) -> &[T] {
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
pub(crate) enum Scales {
    /// As a quantiser makes them; ReLU fused when true.
    Usual(bool),
    /// Every legal bias, multiplier and shift.
    Any,
}

pub(crate) const SCALES: [Scales; 3] = [Scales::Usual(true), Scales::Usual(false), Scales::Any];

/// Per-channel arrays of a layer.
pub(crate) struct Channels {
    pub(crate) bias: Vec<i32>,
    pub(crate) multiplier: Vec<i32>,
    pub(crate) shift: Vec<i8>,
    pub(crate) zero_point: i32,
    pub(crate) clamp: [i32; 2],
}

impl Channels {
    pub(crate) fn new(random: &mut Random, n: usize, k: usize, scales: Scales) -> Self {
        let sum_bits = 12 + k.max(1).ilog2() as i32 / 2;
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
            this.shift[channel] = match (any, random.below(16)) {
                (true, _) => random.within(-31..=30) as i8,
                // A channel of almost no spread.
                (false, 0) => 0,
                (false, _) => usual.min(3) as i8,
            };
        }
        match scales {
            Scales::Usual(true) => this.clamp[0] = this.zero_point,
            Scales::Usual(false) => {}
            Scales::Any => this.clamp = [random.within(-140..=20), random.within(-20..=140)],
        }
        this
    }
    pub(crate) fn requantize(&self) -> Requantize<'_> {
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

/// The sets to test, printed so that a set that is missing is seen, and each of them on three threads. Fails when one is
/// missing that `PINHOLE_EXPECT_KERNELS`, names between commas, lists.
pub(crate) fn fast_sets() -> Vec<&'static dyn Kernels> {
    let sets: Vec<_> = available().collect();
    let names: Vec<_> = sets.iter().map(|set| set.name()).collect();
    println!("kernel sets covered: {}", names.join(", "));
    assert_eq!(names[0], "scalar");
    #[cfg(test)]
    if let Ok(expected) = std::env::var("PINHOLE_EXPECT_KERNELS") {
        assert_eq!(names.join(","), expected, "kernel sets of this CPU");
    }
    let sets = sets.into_iter().skip(1);
    #[cfg(test)]
    let sets = sets.chain(on_threads());
    sets.collect()
}

/// Every set on three threads, cutting whatever can be cut.
#[cfg(test)]
fn on_threads() -> impl Iterator<Item = &'static dyn Kernels> {
    use pinhole_runtime::kernel::Threads;
    static SETS: std::sync::OnceLock<Vec<Threads>> = std::sync::OnceLock::new();
    let sets = SETS.get_or_init(|| {
        available()
            .map(|set| Threads::new(set, 3).expect("threads").cutting_everything())
            .collect()
    });
    println!("on {} threads each: {} sets", sets[0].count(), sets.len());
    sets.iter().map(|set| set as &dyn Kernels)
}

/// The layouts that a set reads.
pub(crate) fn layouts(set: &dyn Kernels) -> impl Iterator<Item = WeightLayout> {
    WeightLayout::ALL
        .into_iter()
        .filter(|&layout| set.reads(layout))
}

/// Some of 0..=67: every small size, and sizes around the widths of vectors and blocks.
pub(crate) fn size(random: &mut Random) -> usize {
    const EDGES: [usize; 14] = [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65];
    if random.below(2) == 0 {
        EDGES[random.below(EDGES.len())]
    } else {
        random.below(68)
    }
}

/// Weights (n, k) in a layout of model files.
pub(crate) fn pack(layout: WeightLayout, n: usize, k: usize, unpacked: &[i8]) -> Vec<i8> {
    let mut packed = vec![0; layout.packed_bytes_s8(n, k).unwrap()];
    for channel in 0..n {
        for input in 0..k {
            packed[layout.offset_s8(n, k, channel, input)] = unpacked[channel * k + input];
        }
    }
    packed
}

pub(crate) fn assert_same<T: PartialEq + std::fmt::Debug>(
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

/// Requantisation by floor divisions of wide integers.
pub(crate) fn plain_requantize(channels: &Channels, channel: usize, sum: i64) -> i64 {
    let shift = i32::from(channels.shift[channel]);
    let sum = i128::from(sum + i64::from(channels.bias[channel])) << shift.max(0);
    let high = (sum * i128::from(channels.multiplier[channel]) + (1 << 30)).div_euclid(1 << 31);
    let unit = 1i128 << (-shift).max(0);
    let magnitude = (2 * high.abs() + unit).div_euclid(2 * unit);
    let rounded = (magnitude * high.signum()) as i64;
    (rounded + i64::from(channels.zero_point))
        .clamp(channels.clamp[0].into(), channels.clamp[1].into())
}

/// Windows of every kind that a model may hold: padding on each side, steps, gaps, and kernels larger than the picture.
pub(crate) fn window(random: &mut Random) -> Window {
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
pub(crate) fn same_window(side: usize, kernel: usize, stride: usize) -> Window {
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

/// Numbers of 16 bits.
pub(crate) fn words(random: &mut Random, len: usize, fill: Fill) -> Vec<i16> {
    (0..len)
        .map(|_| match fill {
            Fill::Random => random.next() as i16,
            Fill::Constant(value) => i16::from(value).wrapping_mul(258),
            Fill::Extremes => [i16::MIN, i16::MAX][random.below(2)],
        })
        .collect()
}
