//! A patched stem: the first layers of a picture network band by band (MCUNetV2, Lin et al. 2021), so that what lies between
//! the picture and the end of the stem never exists as a whole.
//!
//! The stem is a run of operators from the picture on, of which only the last one's output is read behind it. It is unrolled:
//! each band of rows of that output has operators of its own, over just those rows of every value that the band depends on.
//! Rows are cut by `slice`, windows at a cut have no padding there, and the bands are joined where they lie by `concat`
//! (`docs/model-format.md`), which costs nothing. Every output is computed from the same numbers as in the whole, so that
//! integers keep their bits; rows that two bands need are computed twice, which the report counts.

use std::ops::Range;

use pinhole_runtime::model::format::{ALIGN_BYTES, MAX_INPUTS};
use pinhole_runtime::model::op::{ConcatParams, OpKind, SliceParams, WindowRecord};
use zerocopy::{FromBytes, IntoBytes};

use crate::lower::{Lowered, LoweredOp, LoweredValue, Place};
use crate::plan::{lower_bound, ordered_lower_bound};

/// Numbers of bands that are tried when nobody chose one.
const BANDS: [usize; 8] = [2, 3, 4, 5, 6, 8, 12, 16];
/// Of the cuts whose bound is at most twice the lowest in the order of the graph, this many are measured in their best order.
const MEASURED: usize = 24;
/// Among stems whose bound is at most a quarter above the lowest, the one with the fewest multiply-accumulates is taken.
const NEAR: usize = 4;

/// Into how many bands of rows the first layers are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StemPatches {
    /// None: every layer at once.
    #[default]
    Whole,
    /// This many, of the stem whose plan needs the least memory.
    Bands(usize),
    /// As many as lower the memory of the whole network.
    Auto,
}

/// A stem that was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Patched {
    /// Bands of rows; 0 when nothing was cut.
    pub bands: usize,
    /// Operators of the stem before it was cut.
    pub ops: usize,
    /// Multiply-accumulates of rows that more than one band computes.
    pub extra_macs: u64,
}

/// Cuts the stem of a lowered network where that lowers the bound of its memory.
pub fn patch(lowered: &mut Lowered, patches: StemPatches) -> Patched {
    let bands: &[usize] = match &patches {
        StemPatches::Whole => return Patched::default(),
        StemPatches::Bands(bands) => std::slice::from_ref(bands),
        StemPatches::Auto => &BANDS,
    };
    let outline = outline(lowered);
    let whole = lower_bound(&outline);
    let stems = stems(lowered);
    let choices = stems
        .iter()
        .flat_map(|&ops| bands.iter().map(move |&bands| (ops, bands)));
    let mut tried: Vec<(usize, u64, [usize; 2])> = choices
        .filter_map(|(ops, bands)| {
            let cut = cut(&outline, ops, bands)?;
            Some((lower_bound(&cut), macs(&cut), [ops, bands]))
        })
        .filter(|&(bound, ..)| bound < whole)
        .collect();
    let lowest = tried.iter().map(|&(bound, ..)| bound).min().unwrap_or(0);
    tried.retain(|&(bound, ..)| bound <= 2 * lowest);
    tried.sort_by_key(|&(bound, macs, _)| (macs, bound));
    tried.truncate(MEASURED);
    for (bound, _, [ops, bands]) in &mut tried {
        if let Some(cut) = cut(&outline, *ops, *bands) {
            *bound = ordered_lower_bound(&cut);
        }
    }
    let lowest = tried.iter().map(|&(bound, ..)| bound).min().unwrap_or(0);
    let near = tried
        .iter()
        .filter(|&&(bound, ..)| bound <= lowest + lowest / NEAR);
    let best = near.min_by_key(|&&(bound, macs, _)| (macs, bound));
    let Some((macs_cut, [ops, bands], cut)) = best
        .and_then(|&(_, macs, [ops, bands])| Some((macs, [ops, bands], cut(lowered, ops, bands)?)))
    else {
        return Patched::default();
    };
    let extra_macs = macs_cut - macs(lowered);
    *lowered = cut;
    Patched {
        bands,
        ops,
        extra_macs,
    }
}

fn macs(lowered: &Lowered) -> u64 {
    lowered.ops.iter().map(|op| op.macs).sum()
}

/// The network without its weights, to be cut and measured many times.
fn outline(lowered: &Lowered) -> Lowered {
    let value = |value: &LoweredValue| LoweredValue {
        name: String::new(),
        shape: value.shape.clone(),
        place: match value.place {
            Place::Arena => Place::Arena,
            Place::Data(_) => Place::Data(Vec::new()),
        },
        ..*value
    };
    let op = |op: &LoweredOp| LoweredOp {
        name: String::new(),
        inputs: op.inputs.clone(),
        data: Vec::new(),
        params: op.params.clone(),
        ..*op
    };
    Lowered {
        values: lowered.values.iter().map(value).collect(),
        ops: lowered.ops.iter().map(op).collect(),
        inputs: lowered.inputs.clone(),
        outputs: lowered.outputs.clone(),
        value_map: Vec::new(),
    }
}

/// Numbers of operators from the first one on that can be a stem.
fn stems(lowered: &Lowered) -> Vec<usize> {
    let [picture] = lowered.inputs[..] else {
        return Vec::new();
    };
    let mut inside = vec![false; lowered.values.len()];
    inside[picture] = is_picture(&lowered.values[picture]);
    let mut stems = Vec::new();
    for (index, op) in lowered.ops.iter().enumerate() {
        let output = &lowered.values[op.output];
        let follows = op.inputs.iter().all(|&input| inside[input]);
        if !(follows && is_picture(output) && works_by_rows(lowered, op)) {
            break;
        }
        inside[op.output] = true;
        let storage = |value: &usize| lowered.values[*value].storage;
        let rest = &lowered.ops[index + 1..];
        let used_later = |value: usize| {
            let read = rest
                .iter()
                .flat_map(|op| &op.inputs)
                .any(|input| storage(input) == value);
            read || lowered
                .outputs
                .iter()
                .any(|output| storage(output) == value)
        };
        let only_this = (0..inside.len())
            .filter(|&value| inside[value] && value != op.output && value != picture)
            .all(|value| !used_later(value));
        if only_this && index > 0 {
            stems.push(index + 1);
        }
    }
    stems
}

/// (1, height, width, channels) in the arena, bytes of its own.
fn is_picture(value: &LoweredValue) -> bool {
    let own = value.shape.len() == 4 && value.shape[0] == 1 && !value.dynamic;
    own && matches!(value.place, Place::Arena)
}

/// Whether rows of the output depend on neighbouring rows of the inputs alone.
fn works_by_rows(lowered: &Lowered, op: &LoweredOp) -> bool {
    use OpKind as K;
    let output = &lowered.values[op.output];
    let same_rows = |input: &usize| lowered.values[*input].shape[..3] == output.shape[..3];
    match op.kind {
        K::GemmS8 | K::LutS8 | K::LutS16 | K::LutChannelsS8 | K::LutChannelsS16 => {
            op.inputs.iter().all(same_rows)
        }
        K::RescaleS16 | K::Convert => op.inputs.iter().all(same_rows),
        K::GemmF32 | K::UnaryF32 | K::GemmF16 | K::UnaryF16 => op.inputs.iter().all(same_rows),
        K::AddS8 | K::AddS16 | K::BinaryF32 | K::BinaryF16 => {
            let inputs = op.inputs.iter().map(|&input| &lowered.values[input]);
            inputs
                .map(|input| &input.shape)
                .all(|shape| *shape == output.shape)
        }
        _ => window(op).is_some(),
    }
}

/// The window of an operator that has one; it is the first field of its parameters.
fn window(op: &LoweredOp) -> Option<WindowRecord> {
    use OpKind as K;
    match op.kind {
        K::ConvS8
        | K::DepthwiseConvS8
        | K::DepthwiseConvS16
        | K::AvgPoolS8
        | K::MaxPoolS8
        | K::ConvF32
        | K::DepthwiseConvF32
        | K::AvgPoolF32
        | K::MaxPoolF32
        | K::ConvF16
        | K::DepthwiseConvF16
        | K::AvgPoolF16
        | K::MaxPoolF16 => Some(WindowRecord::read_from_prefix(&op.params).ok()?.0),
        _ => None,
    }
}

/// Rows of an input of `height` rows that `rows` of the output depend on, and the padding above and below that is left.
fn reach(op: &LoweredOp, rows: &Range<usize>, height: usize) -> (Range<usize>, [u8; 2]) {
    let Some(window) = window(op) else {
        return (rows.clone(), [0; 2]);
    };
    let extent = usize::from(window.dilation[0]) * (usize::from(window.kernel[0]) - 1) + 1;
    let (stride, above) = (
        usize::from(window.stride[0]),
        usize::from(window.padding[0]),
    );
    // Counted from the first row of the padding.
    let (first, end) = (rows.start * stride, (rows.end - 1) * stride + extent);
    let padding = [
        above.saturating_sub(first),
        end.saturating_sub(above + height),
    ];
    let inside = first.saturating_sub(above)..(end - above).min(height);
    // Neither is more than the window had, which is a byte.
    (inside, padding.map(|rows| rows as u8))
}

/// The network with its first `ops` operators in `bands` bands; `None` when its rows do not give that many.
fn cut(lowered: &Lowered, ops: usize, bands: usize) -> Option<Lowered> {
    let (stem, rest) = lowered.ops.split_at_checked(ops)?;
    let end = stem.last()?.output;
    let bounds = boundaries(&lowered.values[end], bands)?;
    let mut cutting = Cutting {
        lowered,
        stem,
        out: Lowered {
            ops: Vec::new(),
            ..lowered.clone()
        },
    };
    let mut joined: Vec<usize> = Vec::new();
    for (band, rows) in bounds.windows(2).enumerate() {
        joined.push(cutting.band(band, rows[0]..rows[1]));
        let last = band + 2 == bounds.len();
        if joined.len() == MAX_INPUTS || last {
            let output = if last {
                end
            } else {
                cutting.part(end, 0..rows[1], "joined")
            };
            cutting.join(&joined, output);
            joined = vec![output];
        }
    }
    let mut out = cutting.out;
    out.ops.extend_from_slice(rest);
    Some(without_unwritten(out))
}

/// First rows of the bands, and the end of the last one; each band but the last has a multiple of 16 bytes.
fn boundaries(value: &LoweredValue, bands: usize) -> Option<Vec<usize>> {
    let height = value.shape[1];
    let row_bytes = value.bytes() / height;
    let unit = (1..=ALIGN_BYTES).find(|rows| (rows * row_bytes).is_multiple_of(ALIGN_BYTES))?;
    let mut bounds: Vec<usize> = (0..bands)
        .map(|band| band * height / bands / unit * unit)
        .collect();
    bounds.push(height);
    bounds.dedup();
    (bands > 1 && bounds.len() == bands + 1).then_some(bounds)
}

/// The unrolled network in the making.
struct Cutting<'a> {
    lowered: &'a Lowered,
    stem: &'a [LoweredOp],
    out: Lowered,
}

impl Cutting<'_> {
    /// The operators of one band; gives its value.
    fn band(&mut self, band: usize, rows: Range<usize>) -> usize {
        let needed = self.needed(rows);
        let whole = |value: usize| 0..self.lowered.values[value].shape[1];
        // For each value of the network, the value that holds the rows of this band, and which these are.
        let mut held: Vec<Option<(usize, Range<usize>)>> = vec![None; self.lowered.values.len()];
        for &picture in &self.lowered.inputs {
            held[picture] = Some((picture, whole(picture)));
        }
        let mut last = 0;
        for op in self.stem {
            let Some(rows) = needed[op.output].clone() else {
                continue;
            };
            let mut part = op.clone();
            part.name = format!("{}.band{band}", op.name);
            let whole_rows = self.lowered.values[op.output].shape[1] as u64;
            part.macs = op.macs / whole_rows * rows.len() as u64;
            for input in &mut part.inputs {
                let (wanted, padding) = reach(op, &rows, self.lowered.values[*input].shape[1]);
                pad_rows(&mut part.params, op, padding);
                if let Some((value, there)) = &held[*input] {
                    *input = self.rows_of(*value, there, &wanted, &part.name);
                }
            }
            part.output = self.part(op.output, rows.clone(), &format!("band{band}"));
            held[op.output] = Some((part.output, rows));
            last = part.output;
            self.out.ops.push(part);
        }
        last
    }

    /// Rows of every value of the stem that a band depends on.
    fn needed(&self, rows: Range<usize>) -> Vec<Option<Range<usize>>> {
        let mut needed: Vec<Option<Range<usize>>> = vec![None; self.lowered.values.len()];
        if let Some(end) = self.stem.last() {
            needed[end.output] = Some(rows);
        }
        for op in self.stem.iter().rev() {
            let Some(rows) = needed[op.output].clone() else {
                continue;
            };
            for &input in &op.inputs {
                let (wanted, _) = reach(op, &rows, self.lowered.values[input].shape[1]);
                let all = needed[input].get_or_insert(wanted.clone());
                *all = all.start.min(wanted.start)..all.end.max(wanted.end);
            }
        }
        needed
    }

    /// A new value for rows of a value of the network.
    fn part(&mut self, whole: usize, rows: Range<usize>, suffix: &str) -> usize {
        let mut value = self.lowered.values[whole].clone();
        value.name = format!("{}.{suffix}", value.name);
        value.shape[1] = rows.len();
        self.push(value)
    }

    fn push(&mut self, mut value: LoweredValue) -> usize {
        value.storage = self.out.values.len();
        self.out.values.push(value);
        self.out.values.len() - 1
    }

    /// The rows `wanted` of a value that holds the rows `there`: itself when these are all.
    fn rows_of(
        &mut self,
        value: usize,
        there: &Range<usize>,
        wanted: &Range<usize>,
        reader: &str,
    ) -> usize {
        if there == wanted {
            return value;
        }
        let mut rows = self.out.values[value].clone();
        rows.name = format!("{reader}.rows");
        rows.shape[1] = wanted.len();
        let output = self.push(rows);
        let params = SliceParams {
            starts: [0, wanted.start - there.start, 0, 0].map(|start| (start as u32).into()),
            steps: [1.into(); 4],
        };
        self.move_op(OpKind::Slice, &[value], output, params.as_bytes());
        output
    }

    /// Joins bands along the height.
    fn join(&mut self, bands: &[usize], output: usize) {
        let params = ConcatParams {
            axis: 1,
            reserved: [0; 3],
        };
        self.move_op(OpKind::Concat, bands, output, params.as_bytes());
    }

    fn move_op(&mut self, kind: OpKind, inputs: &[usize], output: usize, params: &[u8]) {
        self.out.ops.push(LoweredOp {
            name: self.out.values[output].name.clone(),
            kind,
            inputs: inputs.to_vec(),
            output,
            data: Vec::new(),
            params: params.to_vec(),
            scratch_bytes: 0,
            macs: 0,
        });
    }
}

/// Sets the padding above and below in the window of `op`'s parameters.
fn pad_rows(params: &mut [u8], op: &LoweredOp, [above, below]: [u8; 2]) {
    if window(op).is_some()
        && let Ok((window, _)) = WindowRecord::mut_from_prefix(params)
    {
        (window.padding[0], window.padding[2]) = (above, below);
    }
}

/// Drops the values that nobody writes any more.
fn without_unwritten(mut lowered: Lowered) -> Lowered {
    let mut written: Vec<bool> = lowered
        .values
        .iter()
        .map(|value| matches!(value.place, Place::Data(_)))
        .collect();
    lowered
        .inputs
        .iter()
        .for_each(|&input| written[input] = true);
    lowered.ops.iter().for_each(|op| written[op.output] = true);
    let kept: Vec<bool> = lowered
        .values
        .iter()
        .map(|value| written[value.storage])
        .collect();
    let mut index = vec![None; kept.len()];
    let mut next = 0..;
    for (index, _) in index.iter_mut().zip(&kept).filter(|(_, kept)| **kept) {
        *index = next.next();
    }
    let mut kept = kept.iter();
    lowered.values.retain(|_| kept.next() == Some(&true));
    let renumber = |value: &mut usize| *value = index[*value].unwrap_or(*value);
    lowered
        .values
        .iter_mut()
        .for_each(|value| renumber(&mut value.storage));
    for op in &mut lowered.ops {
        op.inputs.iter_mut().for_each(renumber);
        renumber(&mut op.output);
    }
    lowered.inputs.iter_mut().for_each(renumber);
    lowered.outputs.iter_mut().for_each(renumber);
    for value in &mut lowered.value_map {
        *value = value.and_then(|value| index[value]);
    }
    lowered
}
