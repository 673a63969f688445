//! What can be wrong with what a caller gives to an interpreter.

use crate::model::format::{DType, WeightLayout};
use core::fmt;

/// A refusal of [`super::Interpreter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// The arena is too small.
    ArenaTooSmall {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The arena does not start at a 16-byte boundary.
    ArenaMisaligned,
    /// The kernel set does not read the layout of the model's weights.
    Layout {
        /// Of the model.
        model: WeightLayout,
        /// The set asked for.
        kernels: &'static str,
    },
    /// The number of tokens is out of range.
    Tokens {
        /// Tokens given.
        given: usize,
        /// Most tokens that the model takes; 0 when it takes none.
        max: usize,
    },
    /// The model has no such input or output.
    NoSuchPort {
        /// The index given.
        index: usize,
        /// Inputs or outputs that the model has.
        count: usize,
    },
    /// The input or output has another type.
    WrongType {
        /// The type asked for.
        expected: DType,
        /// The type of the value.
        found: DType,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ArenaTooSmall { needed, given } => {
                write!(f, "the arena has {given} bytes, the model needs {needed}")
            }
            Self::ArenaMisaligned => f.write_str("the arena does not start at a 16-byte boundary"),
            Self::Layout { model, kernels } => {
                write!(
                    f,
                    "the model's weights are laid out for {}, which the kernel set {kernels} does not read; scalar reads \
                     it slowly, every set reads generic",
                    model.name()
                )
            }
            Self::Tokens { given, max: 0 } => {
                write!(f, "{given} tokens for a model without tokens")
            }
            Self::Tokens { given, max } => write!(f, "{given} tokens, expected 1 to {max}"),
            Self::NoSuchPort { index, count } => {
                write!(f, "input or output {index}, the model has {count}")
            }
            Self::WrongType { expected, found } => {
                write!(
                    f,
                    "the value is {}, asked for as {}",
                    found.name(),
                    expected.name()
                )
            }
        }
    }
}

impl core::error::Error for InputError {}
