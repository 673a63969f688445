//! A packed model, read in place: [`Model::load`] checks everything once, in bounded time, over any bytes; after it,
//! accessors are infallible and a run cannot fail on the model's account.
//!
//! [`mod@format`] and [`op`] are the records as they lie in the file, specified in `docs/model-format.md`. `check` proves
//! header, sections and values; `step` decodes one operator and proves that every slice which its kernel gets has the
//! stated length; `plan` proves that no operator overwrites what is still needed, and `in_place` says which ones may write
//! over what they read. The interpreter decodes with the same `step`, so that what was proved is what is run.

mod check;
mod checksum;
mod error;
pub mod format;
mod golden;
pub(crate) mod in_place;
pub mod op;
mod op_fault;
mod plan;
pub(crate) mod step;

pub use checksum::checksum;
pub use error::{HeaderField, LoadError, SectionFault, SectionName, ValueFault};
pub use golden::{GOLDEN_GENERATED, GOLDEN_STORED, Golden, GoldenInput};
pub use in_place::{Inputs, joined_at, stage_bytes};
pub use op_fault::{OUTPUT, OpFault};
pub use plan::Totals;

use crate::preprocess::InputGeometry;
use format::{
    DType, GeometryRecord, Header, ModelKind, NO_VALUE, OpRecord, PLACE_DATA, Section, ValueRecord,
    WeightLayout,
};
use step::Step;

/// A model whose bytes were proved sound. Costs no memory beside the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Exactly the file.
    bytes: &'a [u8],
    header: &'a Header,
    values: &'a [ValueRecord],
    ops: &'a [OpRecord],
}

/// What the header of a file must say about its operators, for whoever writes one: checks everything that [`Model::load`]
/// checks but the checksum and these numbers themselves. [`Header::arena_bytes`] must be large enough, as `u32::MAX` is.
///
/// # Errors
/// As [`Model::load`].
pub fn measure(file: &[u8]) -> Result<Totals, LoadError> {
    check::measure(file)
}

/// A value, decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueView {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; 1 beyond `rank`. Dimension 0 of a dynamic value is `max_tokens`.
    pub shape: [usize; 4],
    /// Number of dimensions used, 1..=4.
    pub rank: usize,
    /// Bytes of all elements.
    pub bytes: usize,
    /// real = scale * (quantised - zero_point); 0 for float values.
    pub scale: f32,
    /// See `scale`.
    pub zero_point: i32,
    /// Dimension 0 is the number of tokens of a run.
    pub dynamic: bool,
    /// The value is a part of the file.
    pub constant: bool,
    /// The value that owns the bytes.
    pub storage: usize,
    /// Into the file for a constant, else into the arena.
    pub offset: usize,
}

impl ValueView {
    /// The dimensions in use.
    pub fn dims(&self) -> &[usize] {
        self.shape.get(..self.rank).unwrap_or(&self.shape)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes / self.dtype.bytes()
    }

    /// The value in a run of `tokens`: a dynamic one has that many rows.
    pub fn live(mut self, tokens: usize) -> Self {
        if self.dynamic && tokens < self.shape[0] {
            self.bytes = self.bytes / self.shape[0] * tokens;
            self.shape[0] = tokens;
        }
        self
    }

    /// Size of the last dimension.
    pub(crate) fn last(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }
}

impl<'a> Model<'a> {
    /// Checks a model file and borrows it. The file may be followed by other bytes, as in a flash partition.
    ///
    /// Time is bounded by the length and by the limits of [`mod@format`]: O(bytes + ops · (ops + values)).
    ///
    /// # Errors
    /// Every fault of a file is a [`LoadError`]; the first one found is returned.
    pub fn load(bytes: &'a [u8]) -> Result<Self, LoadError> {
        check::load(bytes)
    }

    /// The header.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The records of the values.
    pub fn values(&self) -> &'a [ValueRecord] {
        self.values
    }

    /// The records of the operators, in the order of execution.
    pub fn ops(&self) -> &'a [OpRecord] {
        self.ops
    }

    /// The bytes of the file, without what follows it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the model is for.
    pub fn kind(&self) -> ModelKind {
        ModelKind::from_u8(self.header.model_kind).unwrap_or(ModelKind::Other)
    }

    /// How the weights of integer products lie.
    pub fn weight_layout(&self) -> WeightLayout {
        WeightLayout::from_u8(self.header.weight_layout).unwrap_or(WeightLayout::Generic)
    }

    /// Bytes of RAM that a run needs.
    pub fn arena_bytes(&self) -> usize {
        self.header.arena_bytes.get() as usize
    }

    /// Which embedding space the output lies in.
    pub fn embedding_space(&self) -> [u8; 16] {
        self.header.embedding_space
    }

    /// Largest number of tokens of a run; 0 when no value is dynamic.
    pub fn max_tokens(&self) -> usize {
        self.header.max_tokens.get() as usize
    }

    /// Tokens of padding that a text encoder reads behind each text, counted in [`Model::max_tokens`].
    pub fn padding_tokens(&self) -> usize {
        self.header.padding_tokens.into()
    }

    /// How a picture becomes the input; `None` when the input is no picture.
    pub fn geometry(&self) -> Option<InputGeometry> {
        let GeometryRecord {
            width,
            height,
            resize_shorter,
            mean,
            std,
            ..
        } = self.header.geometry;
        (width.get() != 0).then(|| InputGeometry {
            width: width.get(),
            height: height.get(),
            resize_shorter: resize_shorter.get(),
            mean: mean.map(|m| m.get()),
            std: std.map(|s| s.get()),
        })
    }

    /// Indices of the values that are the inputs.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = usize> + Clone + use<'a> {
        used(&self.header.inputs)
    }

    /// Indices of the values that are the outputs.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = usize> + Clone + use<'a> {
        used(&self.header.outputs)
    }

    /// The value `index`.
    ///
    /// # Panics
    /// When there is no such value: `index` is at least `values().len()`. Indices that the model holds are proved.
    pub fn value(&self, index: usize) -> ValueView {
        view(&self.values[index])
    }

    /// Bytes of a constant; `None` for a value in the arena or an index out of range.
    pub fn constant(&self, index: usize) -> Option<&'a [u8]> {
        let value = view(self.values.get(index)?);
        if !value.constant {
            return None;
        }
        self.bytes
            .get(value.offset..value.offset.checked_add(value.bytes)?)
    }

    /// The vocabulary, one token a line; empty when the model has none.
    pub fn vocabulary(&self) -> &'a [u8] {
        self.section(self.header.vocabulary)
    }

    /// Name of a value, when the file has names.
    pub fn value_name(&self, index: usize) -> Option<&'a str> {
        (index < self.values.len())
            .then(|| self.name(index))
            .flatten()
    }

    /// Name of an operator, when the file has names.
    pub fn op_name(&self, index: usize) -> Option<&'a str> {
        (index < self.ops.len())
            .then(|| self.name(self.values.len() + index))
            .flatten()
    }

    /// Multiply-accumulates of operator `op` at `max_tokens`; 0 when there is no such operator.
    pub fn op_macs(&self, op: usize) -> u64 {
        let step = self
            .ops
            .get(op)
            .and_then(|op| Step::decode(self, op, self.max_tokens()).ok());
        step.map_or(0, |step| step.macs())
    }

    fn section(&self, section: Section) -> &'a [u8] {
        let (offset, bytes) = (section.offset.get() as usize, section.bytes.get() as usize);
        offset
            .checked_add(bytes)
            .and_then(|end| self.bytes.get(offset..end))
            .unwrap_or(&[])
    }

    fn name(&self, line: usize) -> Option<&'a str> {
        let names = core::str::from_utf8(self.section(self.header.names)).ok()?;
        names.split_terminator('\n').nth(line)
    }
}

/// The slots in use; `check` proved that they come first.
fn used(
    slots: &[zerocopy::little_endian::U16; 4],
) -> impl ExactSizeIterator<Item = usize> + Clone + use<'_> {
    let count = slots
        .iter()
        .take_while(|slot| slot.get() != NO_VALUE)
        .count();
    slots[..count].iter().map(|slot| slot.get() as usize)
}

/// Decodes a record that `check` proved, or is about to prove the rest of.
fn view(record: &ValueRecord) -> ValueView {
    let dtype = DType::from_u8(record.dtype).unwrap_or(DType::I8);
    let shape = record.shape.map(|dimension| dimension.get() as usize);
    ValueView {
        dtype,
        shape,
        rank: record.rank as usize,
        bytes: shape.iter().fold(dtype.bytes(), |bytes, &dimension| {
            bytes.saturating_mul(dimension)
        }),
        scale: record.scale.get(),
        zero_point: record.zero_point.get(),
        dynamic: record.dynamic != 0,
        constant: record.place == PLACE_DATA,
        storage: record.storage.get() as usize,
        offset: record.offset.get() as usize,
    }
}
