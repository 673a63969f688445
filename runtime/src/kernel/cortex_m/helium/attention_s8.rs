//! Integer attention, three queries at a time: scores and weighted sums are both products of three rows with two columns.
//!
//! Queries and keys are multiplied where they lie. Values are turned once a head, so that a column of them is a row; weights
//! have 14 bits and values are widened as they are read. Scores and weights of a tile share their place.

use core::arch::asm;

use super::Helium;
use crate::kernel::cortex_m::attention::{bias_stretches, is_usual};
use crate::kernel::cortex_m::level::Scale;
use crate::kernel::cortex_m::quotient::row_multiplier;
use crate::kernel::softmax::{EXP2_COEFFICIENTS, ScoreScale};
use crate::kernel::{AttentionS8, Columns, scalar};

/// Queries of a tile.
const ROWS: usize = 3;

/// See [`AttentionS8`].
pub(super) fn attention_s8(mut args: AttentionS8<'_>) {
    if !is_usual(&args) {
        return scalar::attention_s8(args);
    }
    let dst = core::mem::take(&mut args.dst);
    let scratch = core::mem::take(&mut args.scratch);
    let [keys_up, width_up] = [args.keys, args.head_width].map(|len| len.next_multiple_of(16));
    let (values, rest) = scratch.split_at_mut(keys_up * width_up / 4); // bytes (width, keys)
    let (totals, rest) = rest.split_at_mut(keys_up * width_up / 4); // (ROWS, width)
    let scores = &mut rest[..ROWS * keys_up]; // (ROWS, keys), weights of 16 bits in the first halves
    for window in 0..args.windows {
        for head in 0..args.heads.len() {
            turn_values(&args, window, head, values, keys_up);
            for first in (0..args.queries).step_by(ROWS) {
                let tile = Tile {
                    args: &args,
                    window,
                    head,
                    first,
                };
                tile.scores(scores, keys_up);
                let sums = tile.weights(scores, keys_up);
                tile.totals(scores, values, totals, [keys_up, width_up]);
                tile.write(totals, width_up, sums, dst);
            }
        }
    }
}

/// Values of one head, column by column, `keys_up` bytes from one to the next.
fn turn_values(
    args: &AttentionS8<'_>,
    window: usize,
    head: usize,
    values: &mut [i32],
    keys_up: usize,
) {
    assert!(size_of_val(values) >= args.head_width * keys_up && args.keys <= keys_up);
    for key in 0..args.keys {
        let start = head * args.head_width;
        let row = args.v.row(window * args.keys + key, start, args.head_width);
        // SAFETY: Reads the row, and writes a byte for each of its columns, `keys_up` bytes apart, at most (width − 1) · keys_up
        // + keys − 1 from the start, which `values` has (asserted). The loop masks lanes beyond, and does not run for 0. Narrow
        // memory operands take the registers r0 to r7 alone.
        unsafe {
            asm!(
                "mov r2, #0",
                "vidup.u32 q1, r2, #1",
                "vmul.i32 q1, q1, {step}",
                "wlstp.32 lr, lr, 3f",
                "2:",
                "vldrb.u32 q0, [r1], #4",
                "vstrb.32 q0, [{place}, q1]",
                "add {place}, {place}, {step}, lsl #2",
                "letp lr, 2b",
                "3:",
                inout("lr") row.len() => _, inout("r1") row.as_ptr() => _, out("r2") _,
                place = inout(reg) values.as_mut_ptr().cast::<i8>().wrapping_add(key) => _,
                step = in(reg) keys_up,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                options(nostack)
            );
        }
    }
}

/// Three queries of one head, from `first` on; those behind the last query repeat it.
struct Tile<'a> {
    args: &'a AttentionS8<'a>,
    window: usize,
    head: usize,
    first: usize,
}

impl Tile<'_> {
    /// Row `index` of the tile in `q` and `dst`.
    fn query(&self, index: usize) -> usize {
        (self.first + index).min(self.args.queries - 1)
    }

    fn row<'a>(&self, columns: &Columns<'a>, row: usize) -> &'a [i8] {
        let width = self.args.head_width;
        columns.row(row, self.head * width, width)
    }

    /// Scores of every key.
    fn scores(&self, scores: &mut [i32], keys_up: usize) {
        let (args, keys) = (self.args, self.args.keys);
        assert!(scores.len() >= ROWS * keys_up && keys <= keys_up);
        let query = |index| self.row(&args.q, self.window * args.queries + self.query(index));
        let key = |key| self.row(&args.k, self.window * keys + key).as_ptr();
        let last = key(keys - 1);
        let mut dots = Dots {
            rows: [query(0), query(1), query(2)].map(|row| row.as_ptr().cast()),
            columns: [key(0), if keys > 1 { key(1) } else { last }].map(<*const i8>::cast),
            len: args.head_width,
            pairs: keys / 2,
            // Columns have moved on by whole vectors.
            next: (2 * args.k.stride).wrapping_sub(args.head_width.next_multiple_of(16)),
            sums: scores.as_mut_ptr(),
            sums_row: keys_up * size_of::<i32>(),
        };
        // SAFETY: Three rows of `len` bytes, and `2 · pairs` ≤ `keys` rows of as many, `stride` apart, the last of which is inside
        // `k` (`last`); `scores` has `keys_up` ≥ `keys` places in each of three rows (asserted).
        unsafe { dots.run_i8() };
        if keys % 2 == 1 {
            dots.columns = [last.cast(); 2];
            dots.pairs = 1;
            dots.sums = scores[keys - 1..].as_mut_ptr();
            // SAFETY: As above; an odd `keys` leaves a place below `keys_up`, which is even.
            unsafe { dots.run_i8() };
        }
        for (index, scores) in scores.chunks_exact_mut(keys_up).enumerate() {
            bias_stretches(args, self.head, self.query(index), |first, biases| {
                for (score, &bias) in scores[first..].iter_mut().zip(biases) {
                    *score = score.wrapping_add(i32::from(bias) << args.bias_shift);
                }
            });
        }
    }

    /// Turns each row of scores into weights of 16 bits at its start; gives their sums.
    fn weights(&self, scores: &mut [i32], keys_up: usize) -> [u32; ROWS] {
        let head = &self.args.heads[self.head];
        let scale = ScoreScale::new(head.score_multiplier, head.score_shift);
        let mut sums = [0; ROWS];
        for (sum, scores) in sums.iter_mut().zip(scores.chunks_exact_mut(keys_up)) {
            *sum = weights(&scale, scores, self.args.keys);
        }
        sums
    }

    /// Weighted sums of the values.
    fn totals(
        &self,
        weights: &[i32],
        values: &[i32],
        totals: &mut [i32],
        [keys_up, width_up]: [usize; 2],
    ) {
        let (keys, width) = (self.args.keys, self.args.head_width);
        assert!(weights.len() >= ROWS * keys_up && size_of_val(values) >= width * keys_up);
        assert!(totals.len() >= ROWS * width_up && keys <= keys_up && width <= width_up);
        let column = |column: usize| values.as_ptr().cast::<u8>().wrapping_add(column * keys_up);
        let mut dots = Dots {
            rows: [0, 1, 2].map(|row| weights[row * keys_up..].as_ptr().cast()),
            columns: [column(0), column(1)],
            len: keys,
            pairs: width / 2,
            next: (2 * keys_up).wrapping_sub(keys.next_multiple_of(8)),
            sums: totals.as_mut_ptr(),
            sums_row: width_up * size_of::<i32>(),
        };
        // SAFETY: Three rows of `len` 16-bit weights and `2 · pairs` ≤ `width` columns of as many bytes, `keys_up` apart;
        // `totals` has `width_up` ≥ `width` places in each of three rows (asserted).
        unsafe { dots.run_i16() };
        if width % 2 == 1 {
            dots.columns = [column(width - 1); 2];
            dots.pairs = 1;
            dots.sums = totals[width - 1..].as_mut_ptr();
            // SAFETY: As above; an odd `width` leaves a place below `width_up`, which is even.
            unsafe { dots.run_i16() };
        }
    }

    /// Requantises the weighted sums.
    fn write(&self, totals: &[i32], width_up: usize, sums: [u32; ROWS], dst: &mut [i8]) {
        let (args, width) = (self.args, self.args.head_width);
        let rows = (args.queries - self.first).min(ROWS);
        for (index, totals) in totals.chunks_exact(width_up).take(rows).enumerate() {
            let (multiplier, shift) = row_multiplier(&args.heads[self.head], sums[index]);
            let row = self.window * args.queries + self.first + index;
            let dst = &mut dst[(row * args.heads.len() + self.head) * width..][..width];
            let factor = [multiplier, shift];
            let scale = Scale::new_i8(factor, args.output_zero_point, [-128, 127]);
            scale.write_i8::<Helium>(&totals[..width], dst);
        }
    }
}

/// Products of three rows with columns, two of them at a time.
struct Dots {
    rows: [*const u8; ROWS],
    /// The first two.
    columns: [*const u8; 2],
    /// Elements of a row and of a column, not 0.
    len: usize,
    pairs: usize,
    /// From the end of a column, whole vectors, to the start of the one after the next.
    next: usize,
    /// Of the first row; `sums_row` bytes to the next one.
    sums: *mut i32,
    sums_row: usize,
}

/// 12 instructions for six vectors of products, and 31 for the six sums. Rows and columns are rewound by what their loads
/// moved them on.
macro_rules! dots {
    ($dots:ident, $rewind:expr, $loop:literal, $column_0:literal, $column_1:literal, $load:literal, $step:literal, $mac:literal) => {
        asm!(
            "push {{r6, r7}}",
            "vmov s28, lr",
            "vmov s29, r0",
            "vmov s30, r2",
            "vmov s31, r4",
            "mov r7, r8",
            "2:",
            "vmov lr, s28",
            "mov r0, #0",
            "mov r2, #0",
            "mov r4, #0",
            "mov r6, #0",
            "mov r8, #0",
            "mov r10, #0",
            $loop,
            "3:",
            $column_0,
            $column_1,
            concat!($load, " q2, [r5], #", $step),
            concat!($mac, " r0, q0, q2"),
            concat!($mac, " r2, q1, q2"),
            concat!($load, " q2, [r7], #", $step),
            concat!($mac, " r4, q0, q2"),
            concat!($mac, " r6, q1, q2"),
            concat!($load, " q2, [r9], #", $step),
            concat!($mac, " r8, q0, q2"),
            concat!($mac, " r10, q1, q2"),
            "letp lr, 3b",
            "strd r0, r2, [r11]",
            "vmov r0, s31",
            "add r2, r11, r0",
            "strd r4, r6, [r2]",
            "add r2, r2, r0",
            "strd r8, r10, [r2]",
            "vmov r0, r2, s29, s30",
            "sub r5, r5, r0",
            "sub r7, r7, r0",
            "sub r9, r9, r0",
            "add r1, r1, r2",
            "add r3, r3, r2",
            "add r11, r11, #8",
            "subs r12, r12, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r1") $dots.columns[0] => _, inout("r3") $dots.columns[1] => _,
            inout("r5") $dots.rows[0] => _, inout("r8") $dots.rows[1] => _,
            inout("r9") $dots.rows[2] => _,
            inout("r0") $rewind => _, inout("r2") $dots.next => _, inout("r4") $dots.sums_row => _,
            inout("r11") $dots.sums => _, inout("r12") $dots.pairs => _, inout("lr") $dots.len => _,
            out("r10") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d14") _, out("d15") _,
        )
    };
}

impl Dots {
    /// Rows and columns of bytes.
    ///
    /// # Safety
    /// Each row has `len` > 0 elements, and so has each of `2 · pairs` columns, `next` and the bytes of whole vectors apart;
    /// `sums` has as many places in each of three rows.
    #[inline(never)]
    unsafe fn run_i8(&self) {
        if self.pairs == 0 {
            return;
        }
        // SAFETY: Reads and writes what the caller vouches for; the loop masks lanes beyond `len`. The compiler keeps r6 and r7
        // for itself: they cannot be named as operands, are no operand here, and are restored.
        unsafe {
            dots!(
                self,
                self.len.next_multiple_of(16),
                "dlstp.8 lr, lr",
                "vldrb.u8 q0, [r1], #16",
                "vldrb.u8 q1, [r3], #16",
                "vldrb.u8",
                "16",
                "vmladava.s8"
            );
        }
    }

    /// Rows of 16 bits, columns of bytes.
    ///
    /// # Safety
    /// As for [`Self::run_i8`].
    #[inline(never)]
    unsafe fn run_i16(&self) {
        if self.pairs == 0 {
            return;
        }
        // SAFETY: As in `run_i8`.
        unsafe {
            dots!(
                self,
                2 * self.len.next_multiple_of(8),
                "dlstp.16 lr, lr",
                "vldrb.s16 q0, [r1], #8",
                "vldrb.s16 q1, [r3], #8",
                "vldrh.u16",
                "16",
                "vmladava.s16"
            );
        }
    }
}

/// Turns `keys` scores into weights of 16 bits at the start of their own place, and gives their sum:
/// [`crate::kernel::softmax`] on eight lanes, even and odd scores apart until they have 16 bits.
///
/// The mask of the last vector is in a register that the compiler is not told of, hence never inlined: a call may change it.
#[inline(never)]
fn weights(scale: &ScoreScale, scores: &mut [i32], keys: usize) -> u32 {
    let vectors = keys.div_ceil(8);
    assert!(keys > 0 && scores.len() >= 8 * vectors);
    let largest = scores[..keys].iter().copied().fold(i32::MIN, i32::max);
    let [c0, c1, _, c3] = EXP2_COEFFICIENTS;
    let mut sum = 0;
    // SAFETY: Reads and writes whole vectors of `scores`, which has them (asserted); what is written ends before what is read
    // next.
    unsafe {
        asm!(
            "vdup.32 q3, r8",
            "vdup.32 q4, r9",
            "vdup.16 q5, r10",
            "vdup.16 q6, r11",
            "vdup.16 q7, r5",
            "movw r5, #{c2}",
            "dls lr, lr",
            "2:",
            "vld20.32 {{q0, q1}}, [r0]",
            "vld21.32 {{q0, q1}}, [r0]!",
            "vsub.i32 q0, q3, q0",
            "vsub.i32 q1, q3, q1",
            "vmin.s32 q0, q0, q4",
            "vmin.s32 q1, q1, q4",
            "vshl.u32 q0, r2",
            "vshl.u32 q1, r2",
            "vqmovnb.u32 q0, q0",
            "vqmovnt.u32 q0, q1",
            "vmulh.u16 q0, q0, q5",
            // The fraction with 15 bits, the whole halvings as a shift to the right.
            "vshl.i16 q1, q0, #5",
            "vshr.u16 q1, q1, #1",
            "vshr.u16 q0, q0, #11",
            "vneg.s16 q0, q0",
            "vqrdmulh.s16 q2, q1, r3",
            "vneg.s16 q2, q2",
            "vadd.i16 q2, q2, r5",
            "vqrdmulh.s16 q2, q2, q1",
            "vsub.i16 q2, q7, q2",
            "vqrdmulh.s16 q2, q2, q1",
            "vsub.i16 q2, q6, q2",
            "vshl.s16 q2, q2, q0",
            "vrshr.s16 q2, q2, #1",
            "vctp.16 r12",
            "vpst",
            "vaddvat.u16 r4, q2",
            "vstrh.16 q2, [r1], #16",
            "sub r12, r12, #8",
            "le lr, 2b",
            inout("r0") scores.as_ptr() => _, inout("r1") scores.as_mut_ptr() => _,
            in("r2") scale.left as i32 - scale.right as i32, in("r3") i32::from(c3),
            inout("r4") sum, inout("r5") i32::from(c1) => _,
            in("r8") largest, in("r9") scale.limit, in("r10") scale.multiplier,
            in("r11") i32::from(c0), inout("r12") keys => _, inout("lr") vectors => _,
            c2 = const EXP2_COEFFICIENTS[2],
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(nostack)
        );
    }
    sum
}
