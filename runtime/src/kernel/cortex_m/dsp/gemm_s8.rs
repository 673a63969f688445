//! Integer matrix product: four rows times a channel, or a row times four channels where fewer rows are left.

use core::arch::asm;

use super::requantize::{Channel, Outputs};
use super::widen::Wide;
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS, block_width_s8, packed_bytes_s8};
use crate::kernel::{DstS8, GemmS8, Requantize, scalar};

/// Rows of a tile.
pub(super) const ROWS: usize = 4;

/// See [`GemmS8`].
pub(super) fn gemm_s8(mut args: GemmS8<'_>) {
    let product = Product::new(args.k, args.n, args.weights, args.requantize);
    let (Some(product), Some(scratch)) = (product, aligned(args.scratch, args.k)) else {
        return scalar::gemm_s8(args);
    };
    let (k, lhs) = (args.k, args.lhs);
    product.run(args.rows, scratch, &mut args.dst, |wide, row, index| {
        wide.put(index, 0, &lhs[row * k..][..k]);
    });
}

/// Scratch in words, if one wide row fits in it.
pub(super) fn aligned(scratch: &mut [u8], k: usize) -> Option<&mut [u32]> {
    // SAFETY: Every four bytes are a `u32`.
    let (_, words, _) = unsafe { scratch.align_to_mut::<u32>() };
    (words.len() >= k.div_ceil(GROUP_INPUTS) * 2).then_some(words)
}

/// Weights and requantisation of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a> {
    groups: usize,
    n: usize,
    weights: &'a [i8],
    requantize: Requantize<'a>,
    /// Of 8-bit outputs in the range that the fast requantisation covers.
    outputs: Option<Outputs>,
}

impl<'a> Product<'a> {
    /// `None` for an empty product, and for weights that are not aligned to words.
    pub(super) fn new(
        k: usize,
        n: usize,
        weights: &'a [i8],
        requantize: Requantize<'a>,
    ) -> Option<Self> {
        let sound = k > 0
            && weights.as_ptr().addr().is_multiple_of(4)
            && packed_bytes_s8(n, k).is_some_and(|bytes| bytes <= weights.len());
        sound.then(|| Self {
            groups: k.div_ceil(GROUP_INPUTS),
            n,
            weights,
            requantize,
            outputs: Outputs::new(&requantize, k),
        })
    }

    /// Computes all rows; `fill(wide, row, index)` widens a row to place `index` of a tile.
    #[inline]
    pub(super) fn run(
        &self,
        rows: usize,
        scratch: &mut [u32],
        dst: &mut DstS8<'_>,
        mut fill: impl FnMut(&mut Wide<'_>, usize, usize),
    ) {
        let mut row = 0;
        while row < rows {
            let tile_words = self.groups * 2 * ROWS;
            if rows - row >= ROWS && scratch.len() >= tile_words {
                let mut wide = Wide {
                    words: &mut scratch[..tile_words],
                    rows: ROWS,
                };
                for index in 0..ROWS {
                    fill(&mut wide, row + index, index);
                }
                self.tile(wide.words, dst, row);
                row += ROWS;
            } else {
                let mut wide = Wide {
                    words: &mut scratch[..self.groups * 2],
                    rows: 1,
                };
                fill(&mut wide, row, 0);
                self.row(wide.words, dst, row);
                row += 1;
            }
        }
    }

    /// Four rows of all channels.
    #[inline]
    fn tile(&self, wide: &[u32], dst: &mut DstS8<'_>, row: usize) {
        assert!(wide.len() >= self.groups * 2 * ROWS);
        for block in (0..self.n).step_by(BLOCK_CHANNELS) {
            let width = block_width_s8(self.n, block);
            let weights = &self.weights[block * self.groups * GROUP_INPUTS..]
                [..width * self.groups * GROUP_INPUTS];
            for channel in block..self.n.min(block + BLOCK_CHANNELS) {
                let weights = &weights[(channel - block) * GROUP_INPUTS..];
                let bias = self.requantize.bias[channel];
                let (groups, from) = (self.groups, weights.as_ptr());
                // SAFETY: `wide` has `groups` times 8 words (asserted), and the block of weights a word of this channel
                // in each of its `groups` groups of `width` words: it was sliced to that length.
                let sums = unsafe {
                    match width {
                        16 => dot_4x1::<64>(wide.as_ptr(), from, groups, bias),
                        12 => dot_4x1::<48>(wide.as_ptr(), from, groups, bias),
                        8 => dot_4x1::<32>(wide.as_ptr(), from, groups, bias),
                        _ => dot_4x1::<16>(wide.as_ptr(), from, groups, bias),
                    }
                };
                self.write_column(sums, dst, row, channel);
            }
        }
    }

    /// One row of all channels.
    #[inline]
    fn row(&self, wide: &[u32], dst: &mut DstS8<'_>, row: usize) {
        assert!(wide.len() >= self.groups * 2);
        for block in (0..self.n).step_by(BLOCK_CHANNELS) {
            let width = block_width_s8(self.n, block);
            let weights = &self.weights[block * self.groups * GROUP_INPUTS..]
                [..width * self.groups * GROUP_INPUTS];
            for channel in (block..self.n.min(block + BLOCK_CHANNELS)).step_by(4) {
                let weights = &weights[(channel - block) * GROUP_INPUTS..];
                // SAFETY: `wide` has `groups` times 2 words (asserted), and the block of weights 4 words from this channel
                // on in each of its `groups` groups of `width` words, a multiple of 4; they are aligned (`Self::new`).
                let sums = unsafe {
                    dot_1x4(
                        wide.as_ptr(),
                        weights.as_ptr(),
                        self.groups,
                        width * GROUP_INPUTS,
                    )
                };
                for (index, sum) in sums.into_iter().enumerate().take(self.n - channel) {
                    self.write(sum, dst, row, channel + index);
                }
            }
        }
    }

    /// Outputs of a channel in four rows; the bias is in the sums.
    #[inline(always)]
    fn write_column(&self, sums: [i32; ROWS], dst: &mut DstS8<'_>, row: usize, channel: usize) {
        if let (DstS8::I8(dst), Some(outputs)) = (&mut *dst, self.outputs) {
            let factor = Channel::new(&self.requantize, channel);
            let column = &mut dst[row * self.n + channel..][..(ROWS - 1) * self.n + 1];
            let column = column.as_mut_ptr();
            for (index, sum) in sums.into_iter().enumerate() {
                let output = outputs.apply(factor, sum);
                // SAFETY: The column was sliced to (ROWS − 1) · n + 1 bytes, and `index` is below `ROWS`.
                unsafe { *column.add(index * self.n) = output };
            }
        } else {
            let bias = self.requantize.bias[channel];
            for (index, sum) in sums.into_iter().enumerate() {
                self.write(sum.wrapping_sub(bias), dst, row + index, channel);
            }
        }
    }

    /// One output; the bias is not in the sum.
    #[inline(always)]
    fn write(&self, sum: i32, dst: &mut DstS8<'_>, row: usize, channel: usize) {
        let place = row * self.n + channel;
        match (dst, self.outputs) {
            (DstS8::I8(dst), Some(outputs)) => {
                let sum = sum.wrapping_add(self.requantize.bias[channel]);
                dst[place] = outputs.apply(Channel::new(&self.requantize, channel), sum);
            }
            (DstS8::I8(dst), None) => {
                dst[place] = self.requantize.apply(channel, sum).clamp(-128, 127) as i8;
            }
            (DstS8::I16(dst), _) => {
                dst[place] = self.requantize.apply(channel, sum).clamp(-32768, 32767) as i16;
            }
        }
    }
}

/// One group of 4 inputs: the weights of a channel, then two rows at a time.
macro_rules! group_4x1 {
    () => {
        "ldr r11, [r9], #{step}
        ldmia r8!, {{r4, r5, r6, r7}}
        sxtb16 r12, r11, ror #8
        sxtb16 r11, r11
        smlad r0, r11, r4, r0
        smlad r1, r11, r6, r1
        smlad r0, r12, r5, r0
        smlad r1, r12, r7, r1
        ldmia r8!, {{r4, r5, r6, r7}}
        smlad r2, r11, r4, r2
        smlad r3, r11, r6, r3
        smlad r2, r12, r5, r2
        smlad r3, r12, r7, r3"
    };
}

/// Four rows times a channel whose words are `STEP` bytes apart: 26 instructions and 2 of the loop for 32 products.
///
/// # Safety
/// `groups` is not 0; `wide` points to `groups` times 8 words, `weights` to `groups` words, each `STEP` bytes after the other.
#[inline(always)]
pub(super) unsafe fn dot_4x1<const STEP: usize>(
    wide: *const u32,
    weights: *const i8,
    groups: usize,
    bias: i32,
) -> [i32; ROWS] {
    let [mut a, mut b, mut c, mut d] = [bias; ROWS];
    // SAFETY: Reads what the caller vouches for. The compiler keeps r6 and r7 for
    // itself: they cannot be named as operands, are no operand here, and are restored.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            // An odd number of groups begins with the second half of a turn.
            "lsrs r10, r10, #1",
            "bcc 2f",
            "add r10, r10, #1",
            "b 3f",
            "2:",
            group_4x1!(),
            "3:",
            group_4x1!(),
            "subs r10, r10, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") a, inout("r1") b, inout("r2") c, inout("r3") d,
            inout("r8") wide => _, inout("r9") weights => _, inout("r10") groups => _,
            out("r4") _, out("r5") _, out("r11") _, out("r12") _,
            step = const STEP,
            options(readonly)
        );
    }
    [a, b, c, d]
}

/// A row times four channels whose groups of four words are `step` bytes apart.
///
/// # Safety
/// `groups` is not 0; `wide` points to `groups` times 2 words, `weights` to `groups` times 4 aligned words, `step` bytes from
/// one four to the next.
#[inline(always)]
unsafe fn dot_1x4(wide: *const u32, weights: *const i8, groups: usize, step: usize) -> [i32; 4] {
    let [mut a, mut b, mut c, mut d] = [0i32; 4];
    // SAFETY: Reads what the caller vouches for. The compiler keeps r6 and r7 for
    // itself: they cannot be named as operands, are no operand here, and are restored.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "2:",
            "ldm r9, {{r4, r5, r6, r7}}",
            "add r9, r9, r11",
            "sxtb16 lr, r4",
            "ldr r12, [r8], #4",
            "smlad r0, lr, r12, r0",
            "sxtb16 lr, r5",
            "smlad r1, lr, r12, r1",
            "sxtb16 lr, r6",
            "smlad r2, lr, r12, r2",
            "sxtb16 lr, r7",
            "smlad r3, lr, r12, r3",
            "ldr r12, [r8], #4",
            "sxtb16 lr, r4, ror #8",
            "smlad r0, lr, r12, r0",
            "sxtb16 lr, r5, ror #8",
            "smlad r1, lr, r12, r1",
            "sxtb16 lr, r6, ror #8",
            "smlad r2, lr, r12, r2",
            "sxtb16 lr, r7, ror #8",
            "smlad r3, lr, r12, r3",
            "subs r10, r10, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") a, inout("r1") b, inout("r2") c, inout("r3") d,
            inout("r8") wide => _, inout("r9") weights => _, inout("r10") groups => _,
            in("r11") step, out("r4") _, out("r5") _, out("r12") _, out("lr") _,
            options(readonly)
        );
    }
    [a, b, c, d]
}
