//! Arguments of the integer operations that transformers add: a residual stream in 16 bits, layer normalisation, attention.
//!
//! The formulas are stated at the structs, in `docs/numerics.md` with their errors, and in [`super::scalar`] to be read.
//! [`super::softmax`] and [`super::row_scale`] hold what is done once a score or once a row, for every kernel set alike.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{DstS8, tile_scratch_bytes};

/// Most keys of one attention: 16383 · 128 · 1024 fits 32 bits.
pub const MAX_KEYS: usize = 1024;
/// Widest head: 128 · 128 · 16384 leaves room for a bias in 30 bits.
pub const MAX_HEAD_WIDTH: usize = 16384;
/// 8-bit inputs of [`AddS16`] and [`RescaleS16`] are shifted left by this, so that both inputs have 16 bits.
pub const BYTE_SHIFT: u32 = 7;

/// Quantised numbers of 8 or 16 bits.
#[derive(Clone, Copy, Debug)]
pub enum SrcS16<'a> {
    /// 8 bits with a zero point.
    I8(&'a [i8]),
    /// 16 bits, zero point 0.
    I16(&'a [i16]),
}

impl SrcS16<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::I8(src) => src.len(),
            Self::I16(src) => src.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sum in 16 bits: with x = (q − zero_point) · 2⁷ for 8-bit inputs and x = q for 16-bit ones,
/// `clamp(((x₀ · multiplier₀ + x₁ · multiplier₁ + 2^(shift − 1)) >> shift) + output_zero_point)`.
#[derive(Debug)]
pub struct AddS16<'a> {
    /// (len)
    pub lhs: SrcS16<'a>,
    /// (len)
    pub rhs: SrcS16<'a>,
    /// Of each input; 0 for 16 bits.
    pub input_zero_point: [i32; 2],
    /// Of each input, in −32767..=32767, so that 2¹⁵ · (both magnitudes) + 2^(shift − 1) fits 32 bits.
    pub multiplier: [i32; 2],
    /// In 1..=30.
    pub shift: u32,
    /// 0 for 16 bits.
    pub output_zero_point: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (len)
    pub dst: DstS8<'a>,
}

/// The same numbers on another scale, 8 or 16 bits on either side: [`AddS16`] with one input.
#[derive(Debug)]
pub struct RescaleS16<'a> {
    /// (len)
    pub src: SrcS16<'a>,
    /// 0 for 16 bits.
    pub input_zero_point: i32,
    /// In 0..=32767.
    pub multiplier: i32,
    /// In 1..=30.
    pub shift: u32,
    /// 0 for 16 bits.
    pub output_zero_point: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (len)
    pub dst: DstS8<'a>,
}

/// Layer normalisation of rows of n: z = (x − mean) / √(variance + ε) with 10 fraction bits in 16 bits, by
/// [`super::row_scale::RowScale`], then `clamp((z · gamma[c] + beta[c]) >> shift)`.
#[derive(Debug)]
pub struct LayerNormS16<'a> {
    /// (n), in −32767..=32767.
    pub gamma: &'a [i16],
    /// (n), below 2³⁰ in magnitude; the zero point of the output and the half for rounding are folded in.
    pub beta: &'a [i32],
    /// ε / scale² · n², at most 2⁶⁰.
    pub epsilon: u64,
    /// In 0..=30.
    pub shift: u32,
    /// (rows, n); a zero point changes nothing.
    pub src: SrcS16<'a>,
    /// (rows, n)
    pub dst: DstS8<'a>,
}

/// How the scores and the sums of one head are scaled. Scores: see [`super::softmax::ScoreScale`]. Outputs: the factor
/// `output_multiplier · 2^(output_shift − 31)` from the scale of the values to that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HeadScale {
    /// In 2¹⁵..2¹⁶.
    pub score_multiplier: i32,
    /// In −15..=15.
    pub score_shift: i32,
    /// 0 or in 2³⁰..2³¹.
    pub output_multiplier: i32,
    /// In −7..=7.
    pub output_shift: i32,
}

/// Rows of `width` columns inside of rows of `stride`: one part of a fused product, or the whole of a plain one.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// (rows, stride)
    pub data: &'a [i8],
    /// Elements from one row to the next.
    pub stride: usize,
    /// First column.
    pub offset: usize,
}

impl<'a> Columns<'a> {
    /// `width` elements of `row` from column `start` of this part.
    pub fn row(&self, row: usize, start: usize, width: usize) -> &'a [i8] {
        &self.data[row * self.stride + self.offset + start..][..width]
    }
}

/// What is added to the scores of every window, shifted left by `bias_shift`.
#[derive(Clone, Copy, Debug)]
pub enum ScoreBias<'a> {
    /// Nothing.
    None,
    /// (num_heads, queries, keys)
    Full(&'a [i16]),
    /// (num_heads, 2 · height − 1, 2 · width − 1): of a query at (y, x) and a key at (y′, x′) of a window of
    /// height · width tokens, row y′ − y + height − 1 and column x′ − x + width − 1.
    Relative {
        /// See above.
        table: &'a [i16],
        /// Rows of a window.
        height: usize,
        /// Columns of a window.
        width: usize,
    },
}

impl ScoreBias<'_> {
    /// The bias of one pair, not yet shifted.
    pub fn at(&self, head: usize, query: usize, key: usize, [queries, keys]: [usize; 2]) -> i32 {
        match *self {
            Self::None => 0,
            Self::Full(table) => table[(head * queries + query) * keys + key].into(),
            Self::Relative {
                table,
                height,
                width,
            } => {
                let row = key / width + height - 1 - query / width;
                let column = key % width + width - 1 - query % width;
                let (rows, columns) = (2 * height - 1, 2 * width - 1);
                table[(head * rows + row) * columns + column].into()
            }
        }
    }
}

/// Multi-head attention, head by head and window by window: scores `q·k + bias · 2^bias_shift` in int32, weights
/// e = 16383 · 2^(−u) of [`super::softmax`], outputs `requantize(Σ e · v / Σ e) + output_zero_point`.
///
/// q, k and v have zero point 0. A window is a stretch of consecutive rows that sees no other. No more than
/// [`super::TILE_ROWS`] rows of scores exist at once.
#[derive(Debug)]
pub struct AttentionS8<'a> {
    /// Stretches of rows.
    pub windows: usize,
    /// Rows of `q` and `dst` in a window.
    pub queries: usize,
    /// Rows of `k` and `v` in a window, at most [`MAX_KEYS`].
    pub keys: usize,
    /// Columns of one head.
    pub head_width: usize,
    /// (num_heads)
    pub heads: &'a [HeadScale],
    /// See [`ScoreBias`].
    pub bias: ScoreBias<'a>,
    /// In 0..=14.
    pub bias_shift: u32,
    /// The key that the first query of a window sees last, the next query the next; `None` where every query sees all keys.
    pub causal_from: Option<usize>,
    /// (windows · queries, num_heads · head_width)
    pub q: Columns<'a>,
    /// (windows · keys, num_heads · head_width)
    pub k: Columns<'a>,
    /// (windows · keys, num_heads · head_width)
    pub v: Columns<'a>,
    /// Of the output.
    pub output_zero_point: i32,
    /// (windows · queries, num_heads · head_width)
    pub dst: &'a mut [i8],
    /// [`attention_s8_scratch_bytes`] in words.
    pub scratch: &'a mut [i32],
}

impl AttentionS8<'_> {
    /// How many keys of a window its `query` sees: the first ones.
    pub fn seen_keys(&self, query: usize) -> usize {
        let seen = |first: usize| (first + query + 1).min(self.keys);
        self.causal_from.map_or(self.keys, seen)
    }
}

/// Rows of a table for ids, each with a factor of its own:
/// `((q · multiplier[id] + 2^(shift − 1)) >> shift) + output_zero_point`, limited to the type. An id outside reads row 0.
#[derive(Debug)]
pub struct EmbeddingS8<'a> {
    /// Columns.
    pub width: usize,
    /// (vocabulary, width)
    pub table: &'a [i8],
    /// (vocabulary)
    pub multiplier: &'a [u16],
    /// In 1..=30.
    pub shift: u32,
    /// 0 for 16 bits.
    pub output_zero_point: i32,
    /// (tokens)
    pub ids: &'a [i32],
    /// (tokens, width)
    pub dst: DstS8<'a>,
}

/// Scratch of [`AttentionS8`]: keys and values of one head as any set may pack them (both sides rounded up to 16), a word
/// for each key and for each column of a head, and a tile of rows of scores.
pub fn attention_s8_scratch_bytes(keys: usize, head_width: usize) -> Option<usize> {
    let (keys_up, width_up) = (
        keys.checked_next_multiple_of(16)?,
        head_width.checked_next_multiple_of(16)?,
    );
    let packed = keys_up.checked_mul(width_up)?.checked_mul(2)?;
    let sums = keys_up.checked_add(width_up)?.checked_mul(4)?;
    packed
        .checked_add(sums)?
        .checked_add(tile_scratch_bytes(keys, 4)?)
}

/// Softmax of rows, output scale 1/256 and zero point −128.
#[derive(Debug)]
pub struct SoftmaxS8<'a> {
    /// Elements of a row, at most 2¹⁶.
    pub columns: usize,
    /// See [`HeadScale::score_multiplier`].
    pub score_multiplier: i32,
    /// See [`HeadScale::score_shift`].
    pub score_shift: i32,
    /// (rows, columns)
    pub src: &'a [i8],
    /// (rows, columns)
    pub dst: &'a mut [i8],
}

/// Mean over rows, channel by channel: `clamp(requantize(Σ src) + output_zero_point)`.
#[derive(Debug)]
pub struct MeanS16<'a> {
    /// At most 65535.
    pub rows: usize,
    /// Channels.
    pub channels: usize,
    /// Of the sum.
    pub multiplier: i32,
    /// Of the sum, in −31..=0.
    pub shift: i32,
    /// 0 for 16 bits.
    pub output_zero_point: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (rows, channels)
    pub src: &'a [i16],
    /// (channels)
    pub dst: DstS8<'a>,
}
