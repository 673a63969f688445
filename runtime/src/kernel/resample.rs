//! Arguments of the operations that resize a picture, a row at a time ([`crate::preprocess`]).
//!
//! A weight has [`WEIGHT_BITS`] fractional bits, and a sum of weighted samples starts at [`ROUNDING`], in int32 that wraps;
//! [`clip8`] makes a sample of it.

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for the sign and the overshoot of the filter.
pub const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// Half of the last place that survives [`clip8`], so that the shift rounds.
pub const ROUNDING: i32 = 1 << (WEIGHT_BITS - 1);

/// Largest magnitude of a weight, 1.75. The weights of a normalised cubic window stay below 1.6.
pub const MAX_WEIGHT: i32 = 7 << (WEIGHT_BITS - 2);

/// Samples of a pixel: red, green, blue.
pub const CHANNELS: usize = 3;

/// A sum that started at [`ROUNDING`], as a sample.
#[inline(always)]
pub fn clip8(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Horizontal resampling of one row of pixels: each output pixel is the weighted sum of a span of source pixels.
#[derive(Debug)]
pub struct ResampleRowU8<'a> {
    /// (pixels, 3)
    pub src: &'a [u8],
    /// Index in its row of the pixel that `src` begins with.
    pub first: u32,
    /// (columns): first source pixel and number of them, at most `taps`; all of them in `src`.
    pub spans: &'a [[u32; 2]],
    /// Weights of a column, the unused ones among them.
    pub taps: usize,
    /// (columns, taps), within ±[`MAX_WEIGHT`]; of each column those of its span, then zeros.
    pub weights: &'a [i32],
    /// (columns, 3)
    pub dst: &'a mut [u8],
}

impl<'a> ResampleRowU8<'a> {
    /// The resampling of `count` columns from `column` on.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn part(&mut self, column: usize, count: usize) -> ResampleRowU8<'_> {
        ResampleRowU8 {
            src: self.src,
            first: self.first,
            spans: &self.spans[column..][..count],
            taps: self.taps,
            weights: &self.weights[column * self.taps..][..count * self.taps],
            dst: &mut self.dst[column * CHANNELS..][..count * CHANNELS],
        }
    }

    /// Where the span of a column begins in `src`, in bytes, and its pixels.
    #[inline(always)]
    pub(crate) fn span(&self, column: usize) -> (usize, usize) {
        let [start, len] = self.spans[column];
        ((start - self.first) as usize * CHANNELS, len as usize)
    }

    /// The source pixels of a column, (pixels, 3), and their weights.
    #[inline(always)]
    pub(crate) fn column(&self, column: usize) -> (&'a [u8], &'a [i32]) {
        let (start, len) = self.span(column);
        let pixels = &self.src[start..][..len * CHANNELS];
        (pixels, &self.weights[column * self.taps..][..len])
    }
}

/// What `N` neighbouring columns of a [`ResampleRowU8`] are made of, where it can be read in groups of [`Self::GROUP`] pixels
/// and 4 bytes behind the last of them.
#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub(crate) struct ColumnsU8<'a, const N: usize> {
    src: &'a [u8],
    starts: [usize; N],
    len: usize,
    /// (N, taps)
    weights: &'a [i32],
    taps: usize,
}

#[cfg(target_arch = "x86_64")]
impl<'a, const N: usize> ColumnsU8<'a, N> {
    /// Pixels of a group.
    pub(crate) const GROUP: usize = 4;

    /// The columns from `column` on, unless `src` ends too early.
    #[inline(always)]
    pub(crate) fn new(args: &ResampleRowU8<'a>, column: usize) -> Option<Self> {
        let spans: [_; N] = core::array::from_fn(|index| args.span(column + index));
        let (mut last, mut len) = (0, 0);
        for span in spans {
            (last, len) = (last.max(span.0), len.max(span.1));
        }
        let read = len.next_multiple_of(Self::GROUP) * CHANNELS + 4;
        (last + read <= args.src.len() && len <= args.taps).then(|| Self {
            src: args.src,
            starts: spans.map(|span| span.0),
            len,
            weights: &args.weights[column * args.taps..][..N * args.taps],
            taps: args.taps,
        })
    }

    /// The first pixel of each group.
    #[inline(always)]
    pub(crate) fn groups(&self) -> impl Iterator<Item = usize> + use<N> {
        (0..self.len).step_by(Self::GROUP)
    }

    /// The group of a column that begins at pixel `first` of [`Self::groups`]: where its weights are and how many, at least
    /// one; and where its samples are, of which 16 bytes can be read.
    #[inline(always)]
    pub(crate) fn group(&self, column: usize, first: usize) -> (*const i32, usize, *const u8) {
        let weights = self
            .weights
            .as_ptr()
            .wrapping_add(column * self.taps + first);
        let start = self.starts[column] + first * CHANNELS;
        (
            weights,
            self.taps - first,
            self.src.as_ptr().wrapping_add(start),
        )
    }
}

/// Vertical resampling: each output sample is the weighted sum of the samples of some rows at its place.
#[derive(Debug)]
pub struct ResampleColumnsU8<'a> {
    /// (slots, samples): a ring of rows, as long as `dst` each.
    pub ring: &'a [u8],
    /// Slot of the row of the first weight; that of the last slot is followed by that of slot 0.
    pub first: usize,
    /// (rows), within ±[`MAX_WEIGHT`], no more than there are slots.
    pub weights: &'a [i32],
    /// (samples)
    pub dst: &'a mut [u8],
}

impl<'a> ResampleColumnsU8<'a> {
    /// The samples of the row of weight `index`.
    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &'a [u8] {
        let start = (self.first + index) * self.dst.len();
        let start = start.checked_sub(self.ring.len()).unwrap_or(start);
        &self.ring[start..][..self.dst.len()]
    }
}

/// [`ResampleColumnsU8`] over `BLOCK` samples at a time, so that their sums can stay in registers.
#[cfg(any(
    target_arch = "x86_64",
    cortex_m_helium,
    all(target_arch = "aarch64", target_feature = "neon")
))]
#[inline(always)]
pub(crate) fn resample_columns_in_blocks<const BLOCK: usize>(args: ResampleColumnsU8<'_>) {
    let (before, after) = args.ring.split_at(args.first * args.dst.len());
    let len = args.dst.len();
    for (start, dst) in (0..).step_by(BLOCK).zip(args.dst.chunks_mut(BLOCK)) {
        let mut sums = [ROUNDING; BLOCK];
        let rows = after.chunks_exact(len).chain(before.chunks_exact(len));
        for (row, &weight) in rows.zip(args.weights) {
            for (sum, &sample) in sums.iter_mut().zip(&row[start..][..dst.len()]) {
                *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
            }
        }
        for (dst, sum) in dst.iter_mut().zip(sums) {
            *dst = clip8(sum);
        }
    }
}
