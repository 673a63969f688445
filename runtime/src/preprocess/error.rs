//! What can be wrong with a picture, its geometry or the buffers given for it.

/// A refusal of [`super::Preprocessor`] or of a sink; nothing was written past the named row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InputError {
    /// The geometry of the model has a side of zero.
    EmptyGeometry {
        /// Model input width.
        width: u16,
        /// Model input height.
        height: u16,
        /// Length that the shorter side is resized to.
        resize_shorter: u16,
    },
    /// The mean is not finite, or the standard deviation is not finite and above zero.
    BadNormalisation {
        /// 0 red, 1 green, 2 blue.
        channel: u8,
    },
    /// The scale of the input tensor is not finite and above zero.
    BadScale {
        /// The scale found.
        scale: f32,
    },
    /// The zero point of the input tensor does not fit i8.
    BadZeroPoint {
        /// The zero point found.
        zero_point: i32,
    },
    /// The picture has a side of zero, or one longer than [`super::MAX_SOURCE_SIDE`].
    SourceSize {
        /// Picture width found.
        width: u32,
        /// Picture height found.
        height: u32,
    },
    /// Pixels of this format share samples, and the width cuts such a group.
    WidthMultiple {
        /// Pixels of a group.
        multiple: u32,
        /// Picture width found.
        found: u32,
    },
    /// The scratch is too short.
    ScratchTooSmall {
        /// Words that this picture needs; `u64` so that it is true on a 32-bit machine too.
        needed: u64,
        /// Words given.
        given: usize,
    },
    /// A row of pixels has the wrong length.
    RowLength {
        /// Bytes that a row of this picture has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A row was pushed after the last one.
    TooManyRows {
        /// Rows that the picture has.
        expected: u32,
    },
    /// The picture ended early.
    RowsMissing {
        /// Rows that the picture has.
        expected: u32,
        /// Rows pushed.
        found: u32,
    },
    /// The destination tensor has the wrong length.
    TensorLength {
        /// Elements of (height, width, 3).
        expected: usize,
        /// Elements given.
        found: usize,
    },
}

impl core::fmt::Display for InputError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::EmptyGeometry {
                width,
                height,
                resize_shorter,
            } => write!(
                f,
                "model input {width}x{height} with the shorter side resized to {resize_shorter} has a side of zero"
            ),
            Self::BadNormalisation { channel } => {
                write!(
                    f,
                    "mean or standard deviation of channel {channel} is out of range"
                )
            }
            Self::BadScale { scale } => {
                write!(f, "input scale {scale} is not finite and above zero")
            }
            Self::BadZeroPoint { zero_point } => {
                write!(f, "input zero point {zero_point} is not within -128..=127")
            }
            Self::SourceSize { width, height } => write!(
                f,
                "picture of {width}x{height}; each side must be within 1..={}",
                super::MAX_SOURCE_SIDE
            ),
            Self::WidthMultiple { multiple, found } => write!(
                f,
                "picture width {found}; pixels of this format come in groups of {multiple}, the width must be a multiple of that"
            ),
            Self::ScratchTooSmall { needed, given } => {
                write!(f, "picture scratch needs {needed} words, {given} given")
            }
            Self::RowLength { expected, found } => {
                write!(
                    f,
                    "a row of this picture has {expected} bytes, {found} given"
                )
            }
            Self::TooManyRows { expected } => write!(f, "a row after the last of {expected}"),
            Self::RowsMissing { expected, found } => {
                write!(f, "the picture has {expected} rows, {found} given")
            }
            Self::TensorLength { expected, found } => {
                write!(f, "input tensor has {expected} elements, {found} given")
            }
        }
    }
}

impl core::error::Error for InputError {}
