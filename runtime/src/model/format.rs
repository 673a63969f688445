//! The records of `model.phm`, format version 1, as they lie in the file.
//!
//! Specified in `docs/model-format.md`. This module is layout only: it knows neither which combinations are valid
//! (that is [`super::check`]) nor what an operator computes (that is [`crate::kernel`]). The packer writes these same
//! structs. Every multi-byte field is little-endian; every record may lie at any address, but the file itself starts at
//! a 16-byte boundary so that weights can be read in place.

pub use crate::kernel::packing::WeightLayout;

use zerocopy::little_endian::{F32, I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of every model file.
pub const MAGIC: [u8; 4] = *b"PHM1";
/// The format version that this runtime reads.
pub const VERSION: u16 = 1;
/// Alignment of the file in memory, of the arena, and of every weight and arena offset, in bytes.
pub const ALIGN_BYTES: usize = 16;
/// No value: an unused input slot of an operator.
pub const NO_VALUE: u16 = u16::MAX;
/// Largest number of dimensions of a value.
pub const MAX_RANK: usize = 4;
/// Largest number of inputs of an operator.
pub const MAX_INPUTS: usize = 4;
/// Limits that bound the time of a check over hostile bytes.
pub const MAX_VALUES: usize = 4096;
/// See [`MAX_VALUES`].
pub const MAX_OPS: usize = 2048;

/// Everything but [`Header::crc32`] itself is covered by it, see [`super::checksum()`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`].
    pub version: U16,
    /// A [`WeightLayout`].
    pub weight_layout: u8,
    /// A [`ModelKind`].
    pub model_kind: u8,
    /// Length of the whole file.
    pub file_bytes: U32,
    /// CRC-32/ISO-HDLC of the bytes `[0, 12)` and `[16, file_bytes)`: [`super::checksum()`].
    pub crc32: U32,
    /// Which embedding space the output lies in; all zeros when the model is no half of a dual encoder.
    pub embedding_space: [u8; 16],
    /// Bytes of RAM that a run needs: the peak of the plan, exactly.
    pub arena_bytes: U32,
    /// The largest sum of bytes that are live at once in this order of operators: no plan can need less.
    pub arena_lower_bound_bytes: U32,
    /// Multiply-accumulates of one inference (at `max_tokens` for a text encoder).
    pub macs: U64,
    /// exp of the learned temperature of the dual encoder; 0 when unknown.
    pub logit_scale: F32,
    /// SigLIP's bias; 0 elsewhere.
    pub logit_bias: F32,
    /// Largest value of the dynamic leading dimension; 0 when no value has one.
    pub max_tokens: U32,
    /// Model inputs, indices into the values; [`NO_VALUE`] when unused.
    pub inputs: [U16; 4],
    /// Model outputs, indices into the values; [`NO_VALUE`] when unused.
    pub outputs: [U16; 4],
    /// How a picture becomes the input; all zeros for a text encoder.
    pub geometry: GeometryRecord,
    /// [`ValueRecord`]s.
    pub values: Section,
    /// [`OpRecord`]s, in the order of execution.
    pub ops: Section,
    /// Weights, tables, constants.
    pub data: Section,
    /// A vocabulary, one token a line (text encoders); may be empty.
    pub vocabulary: Section,
    /// One name per value, then one per operator, each ended by a newline; for tools, may be empty.
    pub names: Section,
    /// The input bytes of the self-check or the seed that they are made from, then the output bytes; may be empty.
    pub golden: Section,
    /// Signature; empty in version 1.
    pub signature: Section,
    /// Tokens of padding that a text encoder reads behind each text, counted in `max_tokens`; fewer than it has.
    pub padding_tokens: u8,
    /// Where the input of the self-check comes from: [`super::GOLDEN_STORED`] or [`super::GOLDEN_GENERATED`].
    pub golden_input: u8,
    /// Zeros.
    pub reserved: [u8; 18],
}

/// A stretch of the file.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Section {
    /// From the start of the file; a multiple of [`ALIGN_BYTES`].
    pub offset: U32,
    /// May be 0; then `offset` is 0 too.
    pub bytes: U32,
}

/// Size of the input picture and how its pixels become numbers, see [`crate::preprocess::InputGeometry`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GeometryRecord {
    /// Input width in pixels.
    pub width: U16,
    /// Input height in pixels.
    pub height: U16,
    /// The shorter side is scaled to this before the centre crop.
    pub resize_shorter: U16,
    /// Zero.
    pub reserved: U16,
    /// Of channels in [0, 1].
    pub mean: [F32; 3],
    /// Of channels in [0, 1].
    pub std: [F32; 3],
}

/// What the model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ModelKind {
    /// Any graph.
    Other = 0,
    /// Picture in, embedding out.
    ImageEncoder = 1,
    /// Token ids in, embedding out.
    TextEncoder = 2,
}

impl ModelKind {
    /// The kind of a header byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Other, Self::ImageEncoder, Self::TextEncoder]
            .get(byte as usize)
            .copied()
    }
}

/// Element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DType {
    /// Quantised, with scale and zero point.
    I8 = 1,
    /// Quantised, symmetric.
    I16 = 2,
    /// Token ids.
    I32 = 3,
    /// IEEE half.
    F16 = 4,
    /// IEEE single.
    F32 = 5,
}

impl DType {
    /// The type of a record byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::I8,
            2 => Self::I16,
            3 => Self::I32,
            4 => Self::F16,
            5 => Self::F32,
            _ => return None,
        })
    }
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
    /// As tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// The value's bytes lie in the arena.
pub const PLACE_ARENA: u8 = 0;
/// The value is a constant: `offset` is a file offset inside the data section.
pub const PLACE_DATA: u8 = 1;

/// A tensor: a stretch of the arena or a constant of the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ValueRecord {
    /// A [`DType`].
    pub dtype: u8,
    /// Number of dimensions used, 1..=4.
    pub rank: u8,
    /// [`PLACE_ARENA`] or [`PLACE_DATA`].
    pub place: u8,
    /// 1 when dimension 0 is the number of tokens of this run (`shape[0]` holds the largest), else 0.
    pub dynamic: u8,
    /// Dimensions, outermost first, NHWC for pictures; 1 beyond `rank`.
    pub shape: [U32; 4],
    /// The value that owns the bytes: itself, or the value that this one is a reshape of (same bytes, other shape).
    pub storage: U16,
    /// Zero.
    pub reserved: U16,
    /// Into the arena or the file, a multiple of [`ALIGN_BYTES`].
    pub offset: U32,
    /// real = scale * (quantised - zero_point); 0 for float values.
    pub scale: F32,
    /// See `scale`.
    pub zero_point: I32,
}

/// A stretch of the data section, from the start of the file.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct DataRef {
    /// From the start of the file; a multiple of [`ALIGN_BYTES`]; 0 when absent.
    pub offset: U32,
    /// 0 when absent.
    pub bytes: U32,
}

/// One operator. `params` holds the struct of [`super::op`] that belongs to `kind`, zeros after it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OpRecord {
    /// An [`super::op::OpKind`].
    pub kind: U16,
    /// Zero.
    pub reserved: U16,
    /// Indices into the values; [`NO_VALUE`] when unused.
    pub inputs: [U16; MAX_INPUTS],
    /// Index into the values.
    pub output: U16,
    /// Zero.
    pub reserved2: U16,
    /// Working memory of the kernel inside the arena, live during this operator only.
    pub scratch_offset: U32,
    /// See `scratch_offset`.
    pub scratch_bytes: U32,
    /// Roles by operator: see [`super::op::OpKind`].
    pub data: [DataRef; 4],
    /// See above.
    pub params: [u8; PARAMS_BYTES],
}

/// Room for the parameters of one operator.
pub const PARAMS_BYTES: usize = 48;
