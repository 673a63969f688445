//! Two packed models side by side, layer by layer, on the same inputs: where they part, and by how much.
//!
//! A layer is an operator's output. Layers are matched by the names that a packed model keeps of its graph
//! ([`match_layers`]), so that an f32 model meets an int8 one whose nodes were lowered to other operators; where a file
//! has no names, by order, family of operator and shape. [`Comparison`] takes the bytes that both models computed, run
//! by run, and sums up.
//!
//! Not here: pictures, and graphs as structures (`pinhole_graph::compare`).

mod matching;

use pinhole_runtime::interpreter::Observer;
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::model::{Model, ValueView};
use serde::Serialize;

use crate::report::cosine;
pub use matching::{Matched, MatchedBy, Pair, match_layers};

/// When a layer counts as different.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Every number is the same.
    Bits,
    /// What `docs/numerics.md` leaves open between kernel sets: integers the same, f32 above 80 dB, or 40 dB in a model with f16.
    Numerics,
    /// The cosine is at least this on every input.
    Cosine(f64),
    /// Signal over difference is at least this, in dB.
    Sqnr(f64),
    /// No number differs by more than this.
    MaxAbs(f64),
}

/// Cosine below which a layer of another type differs, where nobody says otherwise.
const LEAST_COSINE: f64 = 0.98;
/// Signal over difference of f32 kernels in dB.
const F32_DB: f64 = 80.0;
/// Of floats in a model with f16 kernels.
const F16_DB: f64 = 40.0;

/// One layer over all inputs.
#[derive(Clone, Debug, Serialize)]
pub struct LayerDifference {
    /// Name of the node, of the value for an output of the model; empty in files without names.
    pub layer: String,
    /// What computes it in the first model.
    pub op_a: &'static str,
    /// What computes it in the second.
    pub op_b: &'static str,
    /// Of the first model's output.
    pub shape: Vec<usize>,
    /// 10·log₁₀(Σa² / Σ(a − b)²); `None` where nothing differs. Of directions for an embedding that was scaled.
    pub sqnr_db: Option<f64>,
    /// The smallest over the inputs; over all inputs together where channels have free factors.
    pub cosine: f64,
    /// Largest difference of two numbers, factors of channels or not.
    pub max_abs: f64,
    /// Share of the numbers that differ, factors of channels or not.
    pub differing: f64,
    /// Whether it differs by more than the tolerance.
    pub beyond: bool,
    /// Whether it is an output of the model.
    pub output: bool,
}

/// Sums over inputs.
#[derive(Clone, Debug)]
struct Sums {
    signal: f64,
    noise: f64,
    cosine: f64,
    max_abs: f64,
    differing: usize,
    elements: usize,
    /// By channel, the last dimension: Σa², Σab, Σb².
    channels: Vec<[f64; 3]>,
}

impl Sums {
    const NONE: Self = Self {
        signal: 0.0,
        noise: 0.0,
        cosine: 1.0,
        max_abs: 0.0,
        differing: 0,
        elements: 0,
        channels: Vec::new(),
    };

    /// What is left of Σ(a − b)² when each channel of b is multiplied by the positive factor that suits it best.
    fn noise_beside_factors(&self) -> f64 {
        let left = self.channels.iter().map(|&[aa, ab, bb]| {
            let explained = if ab > 0.0 { ab * ab / bb } else { 0.0 };
            // Rounding of sums that nearly cancel.
            let rest = aa - explained;
            if rest <= aa * 1e-12 { 0.0 } else { rest }
        });
        left.sum()
    }
}

/// Two models and what was seen of them.
#[derive(Debug)]
pub struct Comparison<'m> {
    a: Model<'m>,
    b: Model<'m>,
    matched: Matched,
    sums: Vec<Sums>,
    channel_factors: bool,
}

/// Outputs of the first model's layers in one run: an observer of it.
#[derive(Debug)]
pub struct Kept {
    /// By operator; whether it is kept.
    wanted: Vec<bool>,
    outputs: Vec<Vec<u8>>,
}

impl Observer for Kept {
    fn after_op(&mut self, op: usize, _value: usize, output: &[u8]) {
        if self.wanted.get(op).copied().unwrap_or_default() {
            self.outputs[op] = output.to_vec();
        }
    }
}

/// Compares a run of the second model with one of the first: an observer of it.
#[derive(Debug)]
pub struct Against<'c, 'm> {
    comparison: &'c mut Comparison<'m>,
    kept: Kept,
}

impl Observer for Against<'_, '_> {
    fn after_op(&mut self, op: usize, _value: usize, output: &[u8]) {
        let comparison = &mut *self.comparison;
        let pairs = comparison.matched.pairs.iter().zip(&mut comparison.sums);
        for (pair, sums) in pairs.filter(|(pair, _)| pair.b == op) {
            let (a, b) = (value(&comparison.a, pair.a), value(&comparison.b, pair.b));
            let direction = [(&comparison.a, pair.a), (&comparison.b, pair.b)]
                .into_iter()
                .any(|(model, op)| kind(model, op) == Some(OpKind::NormalizeS16));
            add(
                sums,
                (&a, &self.kept.outputs[pair.a]),
                (&b, output),
                direction,
            );
        }
    }
}

impl<'m> Comparison<'m> {
    /// Matches the layers of two models.
    pub fn new(a: Model<'m>, b: Model<'m>) -> Self {
        let matched = match_layers(&a, &b);
        let sums = vec![Sums::NONE; matched.pairs.len()];
        Self {
            a,
            b,
            matched,
            sums,
            channel_factors: false,
        }
    }

    /// Compares up to a positive factor of each channel, which equalisation before int8 puts there.
    pub fn allow_channel_factors(&mut self) {
        self.channel_factors = true;
    }

    /// Layers that come at least 6 dB nearer when their channels may have factors: those of an equalised model.
    pub fn scaled_layers(&self) -> usize {
        let gains = |sums: &&Sums| sums.noise > 4.0 * sums.noise_beside_factors();
        self.sums.iter().filter(gains).count()
    }

    /// Which layers are compared.
    pub fn matched(&self) -> &Matched {
        &self.matched
    }

    /// An observer for a run of the first model.
    pub fn keep(&self) -> Kept {
        let mut wanted = vec![false; self.a.ops().len()];
        self.matched
            .pairs
            .iter()
            .for_each(|pair| wanted[pair.a] = true);
        Kept {
            outputs: vec![Vec::new(); wanted.len()],
            wanted,
        }
    }

    /// An observer for the run of the second model over the same input.
    pub fn against(&mut self, kept: Kept) -> Against<'_, 'm> {
        Against {
            comparison: self,
            kept,
        }
    }

    /// Whether all matched layers have the same type, scale and zero point in both models.
    pub fn is_same_precision(&self) -> bool {
        self.matched.pairs.iter().all(|pair| {
            let (a, b) = (value(&self.a, pair.a), value(&self.b, pair.b));
            same_numbers(&a, &b)
        })
    }

    /// What counts as different where nobody says: bits between models of the same types and scales, but for floats of
    /// two kernel sets; else, and up to factors of channels, a cosine of 0.98.
    pub fn usual_tolerance(&self, same_kernels: bool) -> Tolerance {
        let is_float = |pair: &Pair| !is_integer(value(&self.a, pair.a).dtype);
        if self.channel_factors {
            return Tolerance::Cosine(LEAST_COSINE);
        }
        match (self.is_same_precision(), same_kernels) {
            (true, true) => Tolerance::Bits,
            (true, false) if !self.matched.pairs.iter().any(is_float) => Tolerance::Bits,
            (true, false) => Tolerance::Numerics,
            (false, _) => Tolerance::Cosine(LEAST_COSINE),
        }
    }

    /// Whether anything is computed in halves; what is converted from them is f32 and as exact as they are.
    fn has_halves(&self) -> bool {
        let ops = |model: &Model<'_>| {
            (0..model.ops().len()).any(|op| value(model, op).dtype == DType::F16)
        };
        ops(&self.a) || ops(&self.b)
    }

    /// All layers that were compared, in the order of the first model.
    pub fn layers(&self, tolerance: Tolerance) -> Vec<LayerDifference> {
        let pairs = self.matched.pairs.iter().zip(&self.sums);
        pairs
            .map(|(pair, sums)| self.layer(pair, sums, tolerance))
            .collect()
    }

    /// That of the layer in the first model, or of the second where the first has none.
    fn name(&self, pair: &Pair) -> &'m str {
        let output = pair.output.and_then(|index| {
            let value = self.a.outputs().nth(index)?;
            self.a.value_name(value)
        });
        let names = [
            output.unwrap_or_default(),
            name(&self.a, pair.a),
            name(&self.b, pair.b),
        ];
        names
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default()
    }

    fn layer(&self, pair: &Pair, sums: &Sums, tolerance: Tolerance) -> LayerDifference {
        let (a, b) = (value(&self.a, pair.a), value(&self.b, pair.b));
        let (noise, cosine) = match self.channel_factors {
            true => {
                let noise = sums.noise_beside_factors();
                let explained = 1.0 - noise / sums.signal.max(f64::MIN_POSITIVE);
                (noise, explained.max(0.0).sqrt())
            }
            false => (sums.noise, sums.cosine),
        };
        let sqnr_db =
            (noise != 0.0).then(|| 10.0 * (sums.signal.max(f64::MIN_POSITIVE) / noise).log10());
        let reaches = |least: f64| sqnr_db.is_none_or(|db| db >= least);
        let shapes_agree = sums.elements > 0;
        let within = shapes_agree
            && match tolerance {
                Tolerance::Bits => sums.differing == 0,
                Tolerance::Numerics if is_integer(a.dtype) && is_integer(b.dtype) => {
                    sums.differing == 0
                }
                Tolerance::Numerics if self.has_halves() => reaches(F16_DB),
                Tolerance::Numerics => reaches(F32_DB),
                Tolerance::Cosine(least) => cosine >= least,
                Tolerance::Sqnr(least) => reaches(least),
                Tolerance::MaxAbs(most) => sums.max_abs <= most,
            };
        LayerDifference {
            layer: self.name(pair).to_owned(),
            op_a: kind(&self.a, pair.a).map_or("unknown", OpKind::name),
            op_b: kind(&self.b, pair.b).map_or("unknown", OpKind::name),
            shape: a.dims().to_vec(),
            sqnr_db,
            cosine,
            max_abs: sums.max_abs,
            differing: sums.differing as f64 / sums.elements.max(1) as f64,
            beyond: !within,
            output: pair.output.is_some(),
        }
    }
}

/// The name of operator `op`, or of what it writes.
pub fn name<'m>(model: &Model<'m>, op: usize) -> &'m str {
    let output = usize::from(model.ops()[op].output.get());
    let names = [model.op_name(op), model.value_name(output)];
    names
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

fn kind(model: &Model<'_>, op: usize) -> Option<OpKind> {
    OpKind::from_u16(model.ops()[op].kind.get())
}

/// What operator `op` writes.
fn value(model: &Model<'_>, op: usize) -> ValueView {
    model.value(usize::from(model.ops()[op].output.get()))
}

fn is_integer(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::I16 | DType::I32)
}

/// Whether equal bytes mean equal numbers.
fn same_numbers(a: &ValueView, b: &ValueView) -> bool {
    (a.dtype, a.scale, a.zero_point) == (b.dtype, b.scale, b.zero_point)
}

/// The numbers that bytes of a value stand for.
fn reals(view: &ValueView, bytes: &[u8]) -> Vec<f32> {
    let real = |quantised: i32| view.scale * (quantised - view.zero_point) as f32;
    let pairs = || bytes.as_chunks().0.iter().copied();
    match view.dtype {
        DType::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        DType::F16 => pairs()
            .map(|b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        DType::I8 => bytes.iter().map(|&b| real(i32::from(b as i8))).collect(),
        DType::I16 => pairs()
            .map(|b| real(i32::from(i16::from_le_bytes(b))))
            .collect(),
        DType::I32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b) as f32)
            .collect(),
    }
}

/// Adds one run's output of a layer; nothing where the models give it different lengths. `direction`: lengths are free.
fn add(
    sums: &mut Sums,
    (view_a, bytes_a): (&ValueView, &[u8]),
    (view_b, bytes_b): (&ValueView, &[u8]),
    direction: bool,
) {
    let (a, b) = (reals(view_a, bytes_a), reals(view_b, bytes_b));
    if a.len() != b.len() || a.is_empty() {
        return;
    }
    sums.elements += a.len();
    if same_numbers(view_a, view_b) {
        let width = view_a.dtype.bytes();
        let elements = bytes_a.chunks_exact(width).zip(bytes_b.chunks_exact(width));
        sums.differing += elements.filter(|(a, b)| a != b).count();
    } else {
        sums.differing += a.iter().zip(&b).filter(|(a, b)| a != b).count();
    }
    let factor = if direction {
        nearest_factor(&a, &b)
    } else {
        1.0
    };
    for (&x, &y) in a.iter().zip(&b) {
        let difference = f64::from(x) - factor * f64::from(y);
        sums.signal += f64::from(x).powi(2);
        // Equal infinities do not differ.
        if x.to_bits() != y.to_bits() || direction {
            sums.noise += difference.powi(2);
            sums.max_abs = nan_max(sums.max_abs, difference.abs());
        }
    }
    sums.cosine = -nan_max(-sums.cosine, -cosine(&a, &b));
    let channels = view_a.dims().last().copied().unwrap_or(1).max(1);
    sums.channels.resize(channels, [0.0; 3]);
    for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
        for (sums, (&a, &b)) in sums.channels.iter_mut().zip(a.iter().zip(b)) {
            let (a, b) = (f64::from(a), factor * f64::from(b));
            *sums = [sums[0] + a * a, sums[1] + a * b, sums[2] + b * b];
        }
    }
}

/// NaN is larger than any number.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The factor that brings `b` nearest to `a`.
fn nearest_factor(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a
        .iter()
        .zip(b)
        .map(|(&x, &y)| f64::from(x) * f64::from(y))
        .sum();
    let length: f64 = b.iter().map(|&y| f64::from(y).powi(2)).sum();
    if length > 0.0 { dot / length } else { 1.0 }
}

#[cfg(test)]
mod tests;
