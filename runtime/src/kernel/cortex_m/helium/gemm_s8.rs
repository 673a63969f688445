//! Integer matrix product: tiles of three rows by two channels, and of one row by four where fewer rows are left.
//!
//! `vmladava` wants its sum in an even register, of which six are free beside the loop's own: that is the tile. 16 inputs of
//! a channel lie in four groups of a block ([`crate::kernel::packing`]) and are gathered as words; the vector of addresses
//! steps on by itself.

use core::arch::asm;

use super::requantize::{Outputs, write};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS, block_width_s8, packed_bytes_s8};
use crate::kernel::{DstS8, GemmS8, Requantize, scalar};

/// Rows of a tile.
pub(super) const ROWS: usize = 3;
/// Channels whose sums are kept before they are requantised; whole blocks.
const CHUNK: usize = 64;

/// See [`GemmS8`].
pub(super) fn gemm_s8(mut args: GemmS8<'_>) {
    let limits = args.dst.limits();
    let product = Product::new(args.k, args.n, args.weights, args.requantize, limits);
    let Some(product) = product else {
        return scalar::gemm_s8(args);
    };
    product.run(args.lhs, 0, args.rows, &mut args.dst);
}

/// Weights and requantisation of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a> {
    k: usize,
    n: usize,
    weights: &'a [i8],
    requantize: Requantize<'a>,
    outputs: Option<Outputs>,
}

impl<'a> Product<'a> {
    /// `None` for an empty product, and for weights that are not aligned to words.
    pub(super) fn new(
        k: usize,
        n: usize,
        weights: &'a [i8],
        requantize: Requantize<'a>,
        limits: [i32; 2],
    ) -> Option<Self> {
        let sound = k > 0
            && weights.as_ptr().addr().is_multiple_of(4)
            && packed_bytes_s8(n, k).is_some_and(|bytes| bytes <= weights.len());
        sound.then(|| Self {
            k,
            n,
            weights,
            requantize,
            outputs: Outputs::new(&requantize, limits),
        })
    }

    /// Computes rows of `dst` from `row` on, `count` of them; `lhs` is (count, k).
    #[inline]
    pub(super) fn run(&self, lhs: &[i8], row: usize, count: usize, dst: &mut DstS8<'_>) {
        let tiles = count / ROWS;
        for tile in 0..tiles {
            let lhs = &lhs[tile * ROWS * self.k..][..ROWS * self.k];
            self.tile(lhs, dst, row + tile * ROWS);
        }
        for index in tiles * ROWS..count {
            self.row(&lhs[index * self.k..][..self.k], dst, row + index);
        }
    }

    /// Calls `compute` with every block of channels in turn, with its first channel, its width, weights and biases, and
    /// `finish` with each chunk of them.
    #[inline(always)]
    fn for_each_block(
        &self,
        sums: &mut Sums,
        mut compute: impl FnMut(&mut Sums, usize, usize, &[i8], &[i32]),
        mut finish: impl FnMut(&Sums, usize, usize),
    ) {
        let padded = self.k.next_multiple_of(GROUP_INPUTS);
        for chunk in (0..self.n).step_by(CHUNK) {
            let len = (self.n - chunk).min(CHUNK);
            for block in (chunk..chunk + len).step_by(BLOCK_CHANNELS) {
                let width = block_width_s8(self.n, block);
                let weights = &self.weights[block * padded..][..width * padded];
                let bias = &self.requantize.bias[block..];
                // The last block may have channels of zeros beyond the last one.
                let mut whole = [0; BLOCK_CHANNELS];
                let bias = if bias.len() < width {
                    whole[..bias.len()].copy_from_slice(bias);
                    &whole
                } else {
                    bias
                };
                compute(sums, block - chunk, width, weights, &bias[..width]);
            }
            finish(sums, chunk, len);
        }
    }

    /// Three rows of all channels; `lhs` is (3, k).
    #[inline]
    fn tile(&self, lhs: &[i8], dst: &mut DstS8<'_>, row: usize) {
        let k = self.k;
        let rows = [lhs.as_ptr(), lhs[k..].as_ptr(), lhs[2 * k..3 * k].as_ptr()];
        let compute = |sums: &mut Sums, at: usize, width: usize, weights: &[i8], bias: &[i32]| {
            let (weights, bias, sums) = (weights.as_ptr(), bias.as_ptr(), &mut sums[0][at]);
            // SAFETY: Each row has `k` > 0 inputs, the block `width` channels of `k` inputs rounded up to whole groups, and
            // as many biases; `sums` has `width` places in each of three rows from `at` on, for blocks do not cross chunks.
            unsafe {
                match width {
                    16 => block_3::<256>(rows, weights, k, 8, bias, sums),
                    12 => block_3::<192>(rows, weights, k, 6, bias, sums),
                    8 => block_3::<128>(rows, weights, k, 4, bias, sums),
                    _ => block_3::<64>(rows, weights, k, 2, bias, sums),
                }
            }
        };
        self.for_each_block(&mut [[0; CHUNK]; ROWS], compute, |sums, chunk, len| {
            for (index, sums) in sums.iter().enumerate() {
                let place = (row + index) * self.n + chunk;
                write(
                    &self.requantize,
                    self.outputs,
                    &sums[..len],
                    chunk,
                    dst,
                    place,
                );
            }
        });
    }

    /// One row of all channels; `lhs` is (k).
    #[inline]
    fn row(&self, lhs: &[i8], dst: &mut DstS8<'_>, row: usize) {
        let k = self.k;
        let lhs = lhs[..k].as_ptr();
        let compute = |sums: &mut Sums, at: usize, width: usize, weights: &[i8], bias: &[i32]| {
            let (weights, bias, sums) = (weights.as_ptr(), bias.as_ptr(), &mut sums[0][at]);
            // SAFETY: As in `tile`, with one row.
            unsafe {
                match width {
                    16 => block_1::<256>(lhs, weights, k, 4, bias, sums),
                    12 => block_1::<192>(lhs, weights, k, 3, bias, sums),
                    8 => block_1::<128>(lhs, weights, k, 2, bias, sums),
                    _ => block_1::<64>(lhs, weights, k, 1, bias, sums),
                }
            }
        };
        self.for_each_block(&mut [[0; CHUNK]; ROWS], compute, |sums, chunk, len| {
            let place = row * self.n + chunk;
            write(
                &self.requantize,
                self.outputs,
                &sums[0][..len],
                chunk,
                dst,
                place,
            );
        });
    }
}

/// Of a chunk of channels, biases in them.
type Sums = [[i32; CHUNK]; ROWS];
/// Bytes from one row of [`Sums`] to the next.
const SUMS_ROW: usize = CHUNK * size_of::<i32>();

/// Distance of the groups of a block in each lane, `STEP / 4` bytes.
const fn lanes(step: usize) -> [u32; 4] {
    let group = (step / 4) as u32;
    [0, group, 2 * group, 3 * group]
}

/// Three rows times a block of channels, two of them at a time: 12 instructions for 96 products, and 19 for the six sums.
///
/// # Safety
/// Each row has `k` > 0 bytes; `weights` is aligned to 4 and has `2 · pairs` words of 4 inputs every `STEP / 4` bytes until
/// `k` inputs; `bias` has `2 · pairs` elements, and `sums` as many places in each of the three rows of a [`Sums`].
#[inline(never)]
unsafe fn block_3<const STEP: usize>(
    rows: [*const i8; ROWS],
    weights: *const i8,
    k: usize,
    pairs: usize,
    bias: *const i32,
    sums: *mut i32,
) {
    let lanes = const { &lanes(STEP) };
    // SAFETY: Reads and writes what the caller vouches for: bytes beyond `k` are masked, and a word with a byte before `k` is
    // whole. The addresses begin one step early, because the gather steps on first. The compiler keeps r6 and r7 for itself:
    // they cannot be named as operands, are no operand here, and are restored.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "vmov s28, lr",
            "mov r7, r8",
            "vldrw.u32 q4, [r4]",
            "vadd.i32 q4, q4, r2",
            "vmov.i32 q5, #8",
            "2:",
            "vmov lr, s28",
            "vmov q3, q4",
            "vadd.i32 q4, q4, q5",
            "ldrd r0, r2, [r12], #8",
            "mov r4, r0",
            "mov r6, r2",
            "mov r8, r0",
            "mov r10, r2",
            "dlstp.8 lr, lr",
            "3:",
            "vldrw.u32 q0, [q3, #{step}]!",
            "vldrb.u8 q2, [r1], #16",
            "vmladava.s8 r0, q0, q2",
            "vldrw.u32 q1, [q3, #4]",
            "vmladava.s8 r2, q1, q2",
            "vldrb.u8 q2, [r3], #16",
            "vmladava.s8 r4, q0, q2",
            "vmladava.s8 r6, q1, q2",
            "vldrb.u8 q2, [r5], #16",
            "vmladava.s8 r8, q0, q2",
            "vmladava.s8 r10, q1, q2",
            "letp lr, 3b",
            "subs r9, r9, #1",
            "sub r1, r1, r7",
            "sub r3, r3, r7",
            "sub r5, r5, r7",
            "strd r4, r6, [r11, #{second}]",
            "strd r8, r10, [r11, #{third}]",
            "strd r0, r2, [r11], #8",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r1") rows[0] => _, inout("r3") rows[1] => _, inout("r5") rows[2] => _,
            inout("r2") weights.wrapping_sub(STEP) => _, inout("r4") lanes.as_ptr() => _,
            inout("r8") k.next_multiple_of(16) => _, inout("r9") pairs => _,
            inout("r11") sums => _, inout("r12") bias => _, inout("lr") k => _,
            out("r0") _, out("r10") _,
            step = const STEP, second = const SUMS_ROW, third = const 2 * SUMS_ROW,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d14") _,
        );
    }
}

/// A row times a block of channels, four of them at a time: 10 instructions for 64 products, and 12 for the four sums.
///
/// # Safety
/// As for [`block_3`], with one row and `4 · fours` channels.
#[inline(never)]
unsafe fn block_1<const STEP: usize>(
    row: *const i8,
    weights: *const i8,
    k: usize,
    fours: usize,
    bias: *const i32,
    sums: *mut i32,
) {
    let lanes = const { &lanes(STEP) };
    // SAFETY: As in `block_3`.
    unsafe {
        asm!(
            "vmov s28, lr",
            "vldrw.u32 q4, [r4]",
            "vadd.i32 q4, q4, r2",
            "vmov.i32 q5, #16",
            "2:",
            "vmov lr, s28",
            "vmov q3, q4",
            "vadd.i32 q4, q4, q5",
            "ldrd r0, r2, [r12], #8",
            "ldrd r4, r8, [r12], #8",
            "dlstp.8 lr, lr",
            "3:",
            "vldrb.u8 q2, [r1], #16",
            "vldrw.u32 q0, [q3, #{step}]!",
            "vmladava.s8 r0, q0, q2",
            "vldrw.u32 q1, [q3, #4]",
            "vmladava.s8 r2, q1, q2",
            "vldrw.u32 q0, [q3, #8]",
            "vmladava.s8 r4, q0, q2",
            "vldrw.u32 q1, [q3, #12]",
            "vmladava.s8 r8, q1, q2",
            "letp lr, 3b",
            "subs r9, r9, #1",
            "sub r1, r1, r5",
            "strd r0, r2, [r11], #8",
            "strd r4, r8, [r11], #8",
            "bne 2b",
            inout("r1") row => _, inout("r2") weights.wrapping_sub(STEP) => _,
            inout("r4") lanes.as_ptr() => _, in("r5") k.next_multiple_of(16),
            inout("r9") fours => _, inout("r11") sums => _, inout("r12") bias => _,
            inout("lr") k => _, out("r0") _, out("r8") _,
            step = const STEP,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d14") _,
            options(nostack)
        );
    }
}
