//! Runs a loaded model over an arena: one operator after the other, each by one kernel.
//!
//! Nothing is decided here that the file or the kernels could decide: the plan of the arena is the packer's, the loops are
//! the kernels'. What is here is what stands between them: slices of the right type, broadcasting (`broadcast`), moves of
//! elements (`moves`), reductions over dimensions that are not neighbours (`reduce`) and outputs that replace an input
//! (`in_place`).
//!
//! There is no error while running: [`Model::load`] decoded every operator with the same function and proved every length,
//! so that an operator which cannot be run is a fault of this crate. Debug builds stop at it.

mod broadcast;
mod convert;
mod error;
mod float;
mod in_place;
mod moves;
mod reduce;
mod run;
mod transformer;

#[cfg(feature = "std")]
pub use crate::arena::AlignedBytes;
pub use error::InputError;

use crate::arena::{elements, elements_mut, is_aligned};
use crate::kernel::Kernels;
use crate::model::format::DType;
use crate::model::{Model, ValueView};
use core::fmt;
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Sees every operator of a run, for calibration, timing and comparison.
pub trait Observer {
    /// Operator `op` is about to run.
    fn before_op(&mut self, op: usize) {
        let _ = op;
    }
    /// Operator `op` has written `value`; `output` are the bytes of the rows that this run has.
    fn after_op(&mut self, op: usize, value: usize, output: &[u8]);
}

/// Sees nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn after_op(&mut self, _: usize, _: usize, _: &[u8]) {}
}

/// A model, its arena and its kernels, ready to run any number of times.
///
/// A run may overwrite the inputs: write them again before the next one.
pub struct Interpreter<'m, 'a> {
    model: Model<'m>,
    arena: &'a mut [u8],
    kernels: &'a dyn Kernels,
    tokens: usize,
}

impl<'m, 'a> Interpreter<'m, 'a> {
    /// Takes an arena of at least [`Model::arena_bytes`], starting at a 16-byte boundary. What it holds does not matter.
    ///
    /// # Errors
    /// [`InputError::ArenaTooSmall`], [`InputError::ArenaMisaligned`], [`InputError::Layout`].
    pub fn new(
        model: &Model<'m>,
        arena: &'a mut [u8],
        kernels: &'a dyn Kernels,
    ) -> Result<Self, InputError> {
        let layout = model.weight_layout();
        if !kernels.reads(layout) {
            return Err(InputError::Layout {
                model: layout,
                kernels: kernels.name(),
            });
        }
        let (needed, given) = (model.arena_bytes(), arena.len());
        let arena = arena
            .get_mut(..needed)
            .ok_or(InputError::ArenaTooSmall { needed, given })?;
        if !is_aligned(arena) {
            return Err(InputError::ArenaMisaligned);
        }
        Ok(Self {
            model: *model,
            arena,
            kernels,
            tokens: model.max_tokens(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Number of tokens of the next run; the largest when never set. 0 when the model is not dynamic.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Sets the number of tokens of the next run, before the inputs are written.
    ///
    /// # Errors
    /// [`InputError::Tokens`] when it is not in `1..=max_tokens`.
    pub fn set_tokens(&mut self, tokens: usize) -> Result<(), InputError> {
        let max = self.model.max_tokens();
        if tokens == 0 || tokens > max {
            return Err(InputError::Tokens { given: tokens, max });
        }
        self.tokens = tokens;
        Ok(())
    }

    /// Input `index` (0 is the first input of the model), to be written.
    ///
    /// # Errors
    /// [`InputError::NoSuchPort`], [`InputError::WrongType`].
    pub fn input_s8_mut(&mut self, index: usize) -> Result<&mut [i8], InputError> {
        self.input_mut(index, DType::I8)
    }

    /// See [`Self::input_s8_mut`]; token ids, [`Self::tokens`] of them when the input is dynamic.
    ///
    /// # Errors
    /// As [`Self::input_s8_mut`].
    pub fn input_i32_mut(&mut self, index: usize) -> Result<&mut [i32], InputError> {
        self.input_mut(index, DType::I32)
    }

    /// See [`Self::input_s8_mut`].
    ///
    /// # Errors
    /// As [`Self::input_s8_mut`].
    pub fn input_f32_mut(&mut self, index: usize) -> Result<&mut [f32], InputError> {
        self.input_mut(index, DType::F32)
    }

    /// Bytes of input `index`, whatever its type.
    ///
    /// # Errors
    /// [`InputError::NoSuchPort`].
    pub fn input_bytes_mut(&mut self, index: usize) -> Result<&mut [u8], InputError> {
        let value = self.port(self.model.inputs(), index)?;
        Ok(self
            .arena
            .get_mut(value.offset..value.offset + value.bytes)
            .unwrap_or_default())
    }

    /// Output `index` of the last run.
    ///
    /// # Errors
    /// [`InputError::NoSuchPort`], [`InputError::WrongType`].
    pub fn output_s8(&self, index: usize) -> Result<&[i8], InputError> {
        self.output(index, DType::I8)
    }

    /// See [`Self::output_s8`].
    ///
    /// # Errors
    /// As [`Self::output_s8`].
    pub fn output_i16(&self, index: usize) -> Result<&[i16], InputError> {
        self.output(index, DType::I16)
    }

    /// See [`Self::output_s8`].
    ///
    /// # Errors
    /// As [`Self::output_s8`].
    pub fn output_f32(&self, index: usize) -> Result<&[f32], InputError> {
        self.output(index, DType::F32)
    }

    /// Bytes of output `index`, whatever its type.
    ///
    /// # Errors
    /// [`InputError::NoSuchPort`].
    pub fn output_bytes(&self, index: usize) -> Result<&[u8], InputError> {
        let value = self.port(self.model.outputs(), index)?;
        Ok(self
            .arena
            .get(value.offset..value.offset + value.bytes)
            .unwrap_or_default())
    }

    /// Computes the outputs from the inputs.
    pub fn run(&mut self) {
        self.run_observed(&mut Unobserved);
    }

    /// As [`Self::run`]; `observer` sees every operator.
    pub fn run_observed(&mut self, observer: &mut dyn Observer) {
        self.run_part(0..self.model.ops().len(), observer);
    }

    /// As [`Self::run_observed`], the operators `part` alone. The arena has to hold what those before them left in it.
    pub fn run_part(&mut self, part: Range<usize>, observer: &mut dyn Observer) {
        let ops = self.model.ops().iter().enumerate();
        for (index, op) in ops.skip(part.start).take(part.len()) {
            observer.before_op(index);
            let done = run::operator(&self.model, op, self.tokens, self.arena, self.kernels);
            debug_assert!(
                done.is_some(),
                "operator {index} was proved and cannot be run"
            );
            let value = usize::from(op.output.get());
            let live = self.model.value(value).live(self.tokens);
            let output = self.arena.get(live.offset..live.offset + live.bytes);
            observer.after_op(index, value, output.unwrap_or_default());
        }
    }

    fn input_mut<T: FromBytes + IntoBytes>(
        &mut self,
        index: usize,
        dtype: DType,
    ) -> Result<&mut [T], InputError> {
        let value = self.port(self.model.inputs(), index)?;
        expect_type(&value, dtype)?;
        Ok(elements_mut(self.input_bytes_mut(index)?).unwrap_or_default())
    }

    fn output<T: FromBytes + Immutable>(
        &self,
        index: usize,
        dtype: DType,
    ) -> Result<&[T], InputError> {
        let value = self.port(self.model.outputs(), index)?;
        expect_type(&value, dtype)?;
        Ok(elements(self.output_bytes(index)?).unwrap_or_default())
    }

    /// Input or output `index`, with the rows that this run has.
    fn port(
        &self,
        mut ports: impl ExactSizeIterator<Item = usize>,
        index: usize,
    ) -> Result<ValueView, InputError> {
        let count = ports.len();
        let value = ports
            .nth(index)
            .ok_or(InputError::NoSuchPort { index, count })?;
        Ok(self.model.value(value).live(self.tokens))
    }
}

impl fmt::Debug for Interpreter<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interpreter")
            .field("arena_bytes", &self.arena.len())
            .field("kernels", &self.kernels.name())
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

fn expect_type(value: &ValueView, expected: DType) -> Result<(), InputError> {
    let found = value.dtype;
    if found == expected {
        Ok(())
    } else {
        Err(InputError::WrongType { expected, found })
    }
}
