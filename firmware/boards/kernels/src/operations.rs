//! The operations without weights that are counted, each over a shape of a small vision transformer, and what happens
//! to a picture before and after the encoder.

use alloc::string::String;
use alloc::vec::Vec;

use pinhole_runtime::bank::{ALIGNMENT, BankSpec, ClassBank, ClassSpec};
use pinhole_runtime::kernel::{
    AddS8, AddS16, AttentionS8, Columns, DepthwiseConvS16, DotRowsS8, DstS8, HeadScale, Kernels,
    LayerNormS16, PoolS8, Requantize, ScoreBias, SoftmaxS8, SrcS16, attention_s8_scratch_bytes,
};
use pinhole_runtime::preprocess::{InputGeometry, PixelFormat, Preprocessor, S8Sink};
use pinhole_runtime::score::{Ranked, score};

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
/// Classes of a bank.
const CLASSES: usize = 1000;
/// A camera's picture.
const CAMERA: [u32; 2] = [320, 240];
/// What the default encoder takes.
const GEOMETRY: InputGeometry = InputGeometry {
    width: 224,
    height: 224,
    resize_shorter: 256,
    mean: [0.5; 3],
    std: [0.5; 3],
};

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
    /// A sequence whose channels have one of four tables.
    LutChannels,
    /// Windows of 3 × 3 over a picture of 16 bits.
    DepthwiseS16,
    /// A sequence of 16 bits to 8, as if it were one embedding.
    Normalize,
    /// A sequence.
    Quantize,
    /// A sequence.
    Dequantize,
    /// A row with all rows of a sequence.
    DotRows,
    /// An embedding against a bank.
    Score,
    /// A camera's picture to the input of an encoder.
    Resize(PixelFormat),
}

/// In the order of the table that the host prints, behind the layers.
pub(crate) const OPERATIONS: [Operation; 16] = [
    Operation::Softmax,
    Operation::LayerNorm,
    Operation::Attention,
    Operation::AddS8,
    Operation::AddS16,
    Operation::AvgPool,
    Operation::Lut,
    Operation::LutChannels,
    Operation::DepthwiseS16,
    Operation::Normalize,
    Operation::Quantize,
    Operation::Dequantize,
    Operation::DotRows,
    Operation::Score,
    Operation::Resize(PixelFormat::Rgb888),
    Operation::Resize(PixelFormat::Rgb565),
];

/// What all of them read and write.
pub(crate) struct Operands {
    src: Vec<i8>,
    other: Vec<i8>,
    words: Vec<i16>,
    beta: Vec<i32>,
    table: [i8; 256],
    tables: Vec<[i8; 256]>, // (4)
    index: Vec<u8>,         // (WIDTH)
    floats: Vec<f32>,
    sums: Vec<i32>,
    bank: ClassBank<'static>,
    picture: Vec<u8>,
    picture_scratch: Vec<u32>,
    tensor: Vec<i8>,
    dst: Vec<i8>,
    wide_dst: Vec<i16>,
    scratch: Vec<i32>,
}

impl Operands {
    /// Random ones.
    pub(crate) fn new() -> Self {
        let mut random = Random::new(2);
        let len = TOKENS * WIDTH;
        let [width, height] = CAMERA;
        let picture_scratch =
            Preprocessor::scratch_len(&GEOMETRY, width, height).expect("a small picture");
        let scratch = attention_s8_scratch_bytes(TOKENS, WIDTH / HEADS).expect("a small shape");
        Self {
            src: random.bytes(len, Fill::Random),
            other: random.bytes(len, Fill::Random),
            words: (0..len).map(|_| random.next() as i16 >> 2).collect(),
            beta: (0..WIDTH).map(|_| random.within(-9999..=9999)).collect(),
            table: core::array::from_fn(|_| random.next() as i8),
            tables: (0..4)
                .map(|_| core::array::from_fn(|_| random.next() as i8))
                .collect(),
            index: (0..WIDTH).map(|_| random.below(4) as u8).collect(),
            floats: (0..len)
                .map(|_| random.within(-9999..=9999) as f32)
                .collect(),
            sums: vec![0; TOKENS],
            bank: bank(&mut random),
            picture: vec![77; (CAMERA[0] * CAMERA[1] * 3) as usize],
            picture_scratch: vec![0; picture_scratch],
            tensor: vec![0; 224 * 224 * 3],
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
            Operation::LutChannels => {
                set.lut_channels_s8(&self.tables, &self.index, src, &mut self.dst);
            }
            Operation::DepthwiseS16 => self.depthwise_conv_s16(set),
            Operation::Normalize => set.normalize_s16(&self.words, &mut self.dst),
            Operation::Quantize => set.quantize_f32(&self.floats, 70.0, 3, &mut self.dst),
            Operation::Dequantize => set.dequantize_s8(src, 0.03, 3, &mut self.floats),
            Operation::DotRows => set.dot_rows_s8(DotRowsS8 {
                lhs: &other[..WIDTH],
                rows: src,
                stride: WIDTH,
                dst: &mut self.sums,
            }),
            Operation::Score => self.score(set),
            Operation::Resize(format) => self.resize(format, set),
        }
    }

    fn depthwise_conv_s16(&mut self, set: &dyn Kernels) {
        let requantize = Requantize {
            bias: &self.beta[..CHANNELS],
            multiplier: &[1 << 30; CHANNELS],
            shift: &[-7; CHANNELS],
            zero_point: 0,
            clamp_min: -32_768,
            clamp_max: 32_767,
        };
        set.depthwise_conv_s16(DepthwiseConvS16 {
            window: same_window(SIDE, 3, 1),
            channels: CHANNELS,
            src: &self.words[..SIDE * SIDE * CHANNELS],
            weights: &self.other[..9 * CHANNELS],
            requantize,
            dst: DstS8::I16(&mut self.wide_dst[..SIDE * SIDE * CHANNELS]),
        });
    }

    fn score(&self, set: &dyn Kernels) {
        let mut top = [Ranked::default(); 5];
        score(set, &self.bank, &self.src[..WIDTH], &mut top).expect("an embedding of the bank");
    }

    fn resize(&mut self, format: PixelFormat, set: &dyn Kernels) {
        let [width, height] = CAMERA;
        let mut sink = S8Sink::new(set, &GEOMETRY, 0.02, -3, &mut self.tensor)
            .expect("a tensor of the geometry");
        let scratch = &mut self.picture_scratch;
        let mut preprocessor = Preprocessor::new(set, &GEOMETRY, width, height, format, scratch)
            .expect("enough scratch");
        let row_bytes = width as usize * format.bytes_per_pixel();
        for row in self.picture.chunks(row_bytes).take(height as usize) {
            preprocessor.push_row(row, &mut sink).expect("a whole row");
        }
        preprocessor.finish(&mut sink).expect("all rows");
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
            causal_from: None,
            q: columns(&self.src),
            k: columns(&self.src),
            v: columns(&self.other),
            output_zero_point: 0,
            dst: &mut self.dst,
            scratch: &mut self.scratch,
        });
    }
}

/// A bank of random directions, which is never freed.
fn bank(random: &mut Random) -> ClassBank<'static> {
    let names: Vec<String> = (0..CLASSES).map(|index| format!("class {index}")).collect();
    let numbers: Vec<f32> = (0..CLASSES * WIDTH)
        .map(|_| random.within(-127..=127) as f32)
        .collect();
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(numbers.chunks(WIDTH))
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let spec = BankSpec {
        embedding_space_id: [7; 16],
        dim: WIDTH as u16,
        classes: &classes,
        logit_scale: 100.0,
        logit_bias: 0.0,
        temperature: 0.25,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 0,
    };
    let len = spec.bytes_len().expect("a small bank");
    let bytes = vec![0; len + ALIGNMENT].leak();
    let skip = bytes.as_ptr().align_offset(ALIGNMENT);
    let bytes = &mut bytes[skip..][..len];
    spec.write_into(bytes).expect("a sound bank");
    ClassBank::load(bytes).expect("a sound bank")
}
