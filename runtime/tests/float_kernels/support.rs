//! Random numbers that are the same on every run, guarded buffers, packed weights.

use alloc::string::String;
use alloc::vec::Vec;

use half::f16;
use pinhole_runtime::kernel::{WeightsF32, packing};

/// 2⁻²⁴, half the distance from 1 to the next f32: the largest relative error of one operation.
pub(crate) const UNIT: f64 = 1.0 / 16_777_216.0;

/// Numbers of SplitMix64 (Steele et al., 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..=last.
    pub(crate) fn up_to(&mut self, last: usize) -> usize {
        (self.bits() % (last as u64 + 1)) as usize
    }

    /// In [−1, 1).
    pub(crate) fn number(&mut self) -> f32 {
        ((self.bits() >> 40) as f32 / 8_388_608.0) - 1.0
    }

    pub(crate) fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.number()).collect()
    }
}

const GUARD: usize = 32;
const GUARD_BITS: u32 = 0x7fc0_dead;

/// Runs `write` on a buffer of `len` between guards, checks the guards, returns what was written.
pub(crate) fn guarded(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut buffer = vec![f32::from_bits(GUARD_BITS); len + 2 * GUARD];
    write(&mut buffer[GUARD..GUARD + len]);
    let guards = buffer[..GUARD].iter().chain(&buffer[GUARD + len..]);
    assert!(
        guards.into_iter().all(|x| x.to_bits() == GUARD_BITS),
        "wrote outside dst"
    );
    buffer[GUARD..GUARD + len].to_vec()
}

/// `xs` in units of 2⁻²⁴, which numbers of [`Random`], three times such numbers and halves below 1 are whole multiples
/// of.
///
/// # Panics
/// When one is not.
pub(crate) fn whole(xs: &[f32]) -> Vec<i32> {
    let unit = |&x: &f32| {
        let units = x * 16_777_216.0;
        let whole = units as i32;
        assert!(whole as f32 == units, "{x} is no multiple of 2⁻²⁴");
        whole
    };
    xs.iter().map(unit).collect()
}

/// Constant weights in one storage, packed, and exactly the numbers that the kernel multiplies: `whole` times `units`.
pub(crate) struct Weights {
    data: Data,
    /// (n, k)
    pub(crate) whole: Vec<i32>,
    /// (n), 2⁻²⁴ or the scales.
    pub(crate) units: Vec<f64>,
}

enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8(Vec<i8>, Vec<f32>),
}

pub(crate) const STORAGES: [&str; 3] = ["f32", "f16", "i8"];

impl Weights {
    /// Random weights of an (n, k) matrix.
    pub(crate) fn random(random: &mut Random, storage: &str, n: usize, k: usize) -> Self {
        let matrix = random.numbers(n * k);
        let scales: Vec<f32> = (0..n)
            .map(|_| 0.001 + random.number().abs() / 100.0)
            .collect();
        let halves: Vec<f16> = matrix.iter().map(|&x| f16::from_f32(x)).collect();
        let bytes: Vec<i8> = matrix.iter().map(|&x| (x * 128.0) as i8).collect();
        match storage {
            "f32" => Self {
                data: Data::F32(packed(&matrix, n, k)),
                whole: whole(&matrix),
                units: vec![UNIT; n],
            },
            "f16" => Self {
                data: Data::F16(packed(&halves, n, k)),
                whole: whole(&halves.iter().map(|x| x.to_f32()).collect::<Vec<_>>()),
                units: vec![UNIT; n],
            },
            _ => Self {
                units: scales.iter().copied().map(f64::from).collect(),
                data: Data::I8(packed(&bytes, n, k), scales),
                whole: bytes.into_iter().map(i32::from).collect(),
            },
        }
    }

    pub(crate) fn as_args(&self) -> WeightsF32<'_> {
        match &self.data {
            Data::F32(data) => WeightsF32::F32(data),
            Data::F16(data) => WeightsF32::F16(data),
            Data::I8(data, scales) => WeightsF32::I8 { data, scales },
        }
    }
}

/// An (n, k) matrix in the layout of the kernels.
fn packed<T: Copy + Default>(matrix: &[T], n: usize, k: usize) -> Vec<T> {
    let mut packed = vec![T::default(); n * k];
    for channel in 0..n {
        for input in 0..k {
            packed[packing::offset_float(n, k, channel, input)] = matrix[channel * k + input];
        }
    }
    packed
}

/// A sum in f64 beside the sum of magnitudes, which is what its error in f32 is measured by.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) magnitude: f64,
    pub(crate) terms: usize,
}

impl Sum {
    pub(crate) fn add(&mut self, x: f64) {
        self.value += x;
        self.magnitude += x.abs();
        self.terms += 1;
    }

    /// Adds the products of whole multiples of two numbers whose product is `unit`. Their sum is exact, and cheaper on
    /// a CPU that computes f64 in software.
    pub(crate) fn add_products(&mut self, lhs: &[i32], rhs: &[i32], unit: f64) {
        let (mut value, mut magnitude) = (0, 0);
        for (&x, &y) in lhs.iter().zip(rhs) {
            let product = i64::from(x) * i64::from(y);
            value += product;
            magnitude += product.abs();
        }
        self.value += value as f64 * unit;
        self.magnitude += magnitude as f64 * unit;
        self.terms += lhs.len();
    }

    /// Error of `x` in units of 2⁻²⁴ · Σ|terms|; holds for every order of addition when at most `terms + 4`.
    pub(crate) fn error(&self, x: f32, clamp: [f32; 2]) -> f64 {
        let value = self.value.clamp(f64::from(clamp[0]), f64::from(clamp[1]));
        (f64::from(x) - value).abs() / (UNIT * self.magnitude.max(1e-30))
    }

    /// Panics when `x` is outside the stated tolerance.
    pub(crate) fn check(&self, x: f32, clamp: [f32; 2], what: impl FnOnce() -> String) {
        let error = self.error(x, clamp);
        assert!(
            error <= (self.terms + 4) as f64,
            "{}: found {x}, expected {}",
            what(),
            self.value
        );
    }
}
