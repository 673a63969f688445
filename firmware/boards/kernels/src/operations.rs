//! The operations without weights that are counted, each over a shape of a small vision transformer.

use alloc::vec::Vec;

use pinhole_runtime::kernel::{
    AddS8, AddS16, AttentionS8, Columns, DstS8, HeadScale, Kernels, LayerNormS16, PoolS8,
    ScoreBias, SoftmaxS8, SrcS16, attention_s8_scratch_bytes,
};

use crate::support::{Fill, Random, same_window};

/// Rows of a sequence.
const TOKENS: usize = 50;
/// Columns of a sequence.
const WIDTH: usize = 256;
/// Heads of an attention.
const HEADS: usize = 4;
/// Pixels and channels of a picture: no larger than a sequence.
const SIDE: usize = 14;
const CHANNELS: usize = 64;

/// An operation.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    /// TOKENS rows of as many columns.
    Softmax,
    /// A sequence of 16 bits to 8.
    LayerNorm,
    /// A sequence.
    Attention,
    /// Two sequences of 8 bits.
    AddS8,
    /// A sequence of 16 bits and one of 8.
    AddS16,
    /// Windows of 3 × 3 over a picture.
    AvgPool,
    /// A sequence.
    Lut,
}

/// In the order of the table that the host prints, behind the layers.
pub(crate) const OPERATIONS: [Operation; 7] = [
    Operation::Softmax,
    Operation::LayerNorm,
    Operation::Attention,
    Operation::AddS8,
    Operation::AddS16,
    Operation::AvgPool,
    Operation::Lut,
];

/// What all of them read and write.
pub(crate) struct Operands {
    src: Vec<i8>,
    other: Vec<i8>,
    words: Vec<i16>,
    beta: Vec<i32>,
    table: [i8; 256],
    dst: Vec<i8>,
    wide_dst: Vec<i16>,
    scratch: Vec<i32>,
}

impl Operands {
    /// Random ones.
    pub(crate) fn new() -> Self {
        let mut random = Random::new(2);
        let len = TOKENS * WIDTH;
        let scratch = attention_s8_scratch_bytes(TOKENS, WIDTH / HEADS).expect("a small shape");
        Self {
            src: random.bytes(len, Fill::Random),
            other: random.bytes(len, Fill::Random),
            words: (0..len).map(|_| random.next() as i16 >> 2).collect(),
            beta: (0..WIDTH).map(|_| random.within(-9999..=9999)).collect(),
            table: core::array::from_fn(|_| random.next() as i8),
            dst: vec![0; len],
            wide_dst: vec![0; len],
            scratch: vec![0; scratch / 4],
        }
    }

    /// Computes the operation once.
    pub(crate) fn run(&mut self, operation: Operation, set: &dyn Kernels) {
        let [src, other] = [&self.src[..], &self.other[..]];
        match operation {
            Operation::Softmax => set.softmax_s8(SoftmaxS8 {
                columns: TOKENS,
                score_multiplier: 40_000,
                score_shift: -8,
                src: &src[..TOKENS * TOKENS],
                dst: &mut self.dst[..TOKENS * TOKENS],
            }),
            Operation::LayerNorm => set.layer_norm_s16(LayerNormS16 {
                gamma: &self.words[..WIDTH],
                beta: &self.beta,
                epsilon: 65_536,
                shift: 15,
                src: SrcS16::I16(&self.words),
                dst: DstS8::I8(&mut self.dst),
            }),
            Operation::Attention => self.attention(set),
            Operation::AddS8 => set.add_s8(AddS8 {
                lhs: src,
                rhs: other,
                input_offset: [3, -7],
                left_shift: 20,
                input_multiplier: [1 << 30, 1_518_500_250],
                input_shift: [0, -1],
                output_multiplier: 1_717_986_918,
                output_shift: -19,
                output_offset: 5,
                clamp_min: -128,
                clamp_max: 127,
                dst: &mut self.dst,
            }),
            Operation::AddS16 => set.add_s16(AddS16 {
                lhs: SrcS16::I16(&self.words),
                rhs: SrcS16::I8(other),
                input_zero_point: [0, 4],
                multiplier: [16_000, 9_000],
                shift: 14,
                output_zero_point: 0,
                clamp_min: -32_768,
                clamp_max: 32_767,
                dst: DstS8::I16(&mut self.wide_dst),
            }),
            Operation::AvgPool => set.avg_pool_s8(PoolS8 {
                window: same_window(SIDE, 3, 1),
                channels: CHANNELS,
                clamp_min: -128,
                clamp_max: 127,
                src: &src[..SIDE * SIDE * CHANNELS],
                dst: &mut self.dst[..SIDE * SIDE * CHANNELS],
            }),
            Operation::Lut => set.lut_s8(&self.table, src, &mut self.dst),
        }
    }

    /// With queries and keys that are the same, for what they hold does not change the count.
    fn attention(&mut self, set: &dyn Kernels) {
        let head = HeadScale {
            score_multiplier: 40_000,
            score_shift: 1,
            output_multiplier: 1 << 30,
            output_shift: 1,
        };
        let columns = |data| Columns {
            data,
            stride: WIDTH,
            offset: 0,
        };
        set.attention_s8(AttentionS8 {
            windows: 1,
            queries: TOKENS,
            keys: TOKENS,
            head_width: WIDTH / HEADS,
            heads: &[head; HEADS],
            bias: ScoreBias::None,
            bias_shift: 0,
            q: columns(&self.src),
            k: columns(&self.src),
            v: columns(&self.other),
            output_zero_point: 0,
            dst: &mut self.dst,
            scratch: &mut self.scratch,
        });
    }
}
