//! Model and bank as they lie in their partitions, checked whenever they are taken up.

use crate::storage::{MappedFlash, NoFile, SlotFault, Storage};
use core::fmt;
use pinhole_protocol::message::cut;
use pinhole_protocol::{ErrorCode, MAX_EMBEDDING, MAX_NAME_BYTES};
use pinhole_runtime::bank::{BankError, ClassBank};
use pinhole_runtime::model::format::{DType, Header, MAGIC, ModelKind};
use pinhole_runtime::model::{LoadError, Model};
use pinhole_runtime::preprocess::InputGeometry;

/// Why a board cannot classify with what it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The model is refused.
    Model(LoadError),
    /// The bank is refused, or belongs to another encoder.
    Bank(BankError),
    /// The model takes no picture.
    NotAPictureEncoder,
    /// The model does not take or give int8.
    ElementType {
        /// The type found.
        found: DType,
    },
    /// The embedding is longer than a reply can hold.
    EmbeddingTooLong {
        /// Most elements.
        limit: usize,
        /// Elements that the model gives.
        found: usize,
    },
    /// Model and bank have embeddings of different lengths.
    Dimension {
        /// Elements that the model gives.
        model: usize,
        /// Elements in the bank.
        bank: usize,
    },
    /// The model needs more RAM than the board has for it.
    Arena {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes that there are.
        given: usize,
    },
}

impl Fault {
    /// As the protocol calls it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Bank(_) | Self::Dimension { .. } => ErrorCode::Bank,
            Self::Arena { .. } => ErrorCode::Memory,
            Self::Model(_)
            | Self::NotAPictureEncoder
            | Self::ElementType { .. }
            | Self::EmbeddingTooLong { .. } => ErrorCode::Model,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Model(fault) => write!(f, "model: {fault}"),
            Self::Bank(fault) => write!(f, "class bank: {fault}"),
            Self::NotAPictureEncoder => {
                f.write_str("the model is no image encoder with one picture and one embedding")
            }
            Self::ElementType { found } => write!(
                f,
                "the model takes or gives {}, expected i8 for both",
                found.name()
            ),
            Self::EmbeddingTooLong { limit, found } => {
                write!(f, "the model gives {found} elements, a reply holds {limit}")
            }
            Self::Dimension { model, bank } => write!(
                f,
                "the model gives {model} elements, the class bank has {bank}"
            ),
            Self::Arena { needed, given } => write!(
                f,
                "the model needs an arena of {needed} bytes, the board has {given}"
            ),
        }
    }
}

impl core::error::Error for Fault {}

/// Why there is nothing to classify with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NotReady<'a> {
    /// No slot holds a sound file.
    Missing(&'a NoFile),
    /// A file is refused.
    Refused(Fault),
}

impl NotReady<'_> {
    /// As the protocol calls it; of several slots, what is wrong with the first that holds something.
    pub fn code(&self) -> ErrorCode {
        let missing = match self {
            Self::Refused(fault) => return fault.code(),
            Self::Missing(missing) => missing,
        };
        let fault = missing.slots.iter().find_map(|slot| match slot {
            SlotFault::File(fault) => Some(fault.code()),
            _ => None,
        });
        fault.unwrap_or(match missing.kind {
            pinhole_signing::Kind::Model => ErrorCode::Model,
            pinhole_signing::Kind::Bank => ErrorCode::Bank,
        })
    }
}

impl fmt::Display for NotReady<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Refused(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for NotReady<'_> {}

/// What a bank has to know of the model that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ModelFacts {
    embedding_space: [u8; 16],
    dim: usize,
}

impl ModelFacts {
    /// Checks a model, and that the board can run it. Takes time proportional to its length.
    pub(crate) fn load(model: &[u8], arena_bytes: usize) -> Result<Self, Fault> {
        Self::of(&Model::load(model).map_err(Fault::Model)?, arena_bytes)
    }

    /// Checks that the board can run a model.
    fn of(model: &Model<'_>, arena_bytes: usize) -> Result<Self, Fault> {
        let ports = (model.inputs().len(), model.outputs().len());
        let (Some(_), ModelKind::ImageEncoder, (1, 1)) = (model.geometry(), model.kind(), ports)
        else {
            return Err(Fault::NotAPictureEncoder);
        };
        for port in model.inputs().chain(model.outputs()) {
            let found = model.value(port).dtype;
            if found != DType::I8 {
                return Err(Fault::ElementType { found });
            }
        }
        let (needed, given) = (model.arena_bytes(), arena_bytes);
        if needed > given {
            return Err(Fault::Arena { needed, given });
        }
        let output = model.outputs().next();
        let dim = output.map_or(0, |output| model.value(output).elements());
        if dim > MAX_EMBEDDING {
            return Err(Fault::EmbeddingTooLong {
                limit: MAX_EMBEDDING,
                found: dim,
            });
        }
        Ok(Self {
            embedding_space: model.embedding_space(),
            dim,
        })
    }

    /// Refuses a bank that belongs to another model.
    pub(crate) fn check_bank(&self, bank: &ClassBank<'_>) -> Result<(), Fault> {
        bank.check_space(&self.embedding_space)
            .map_err(Fault::Bank)?;
        if bank.dim() != self.dim {
            return Err(Fault::Dimension {
                model: self.dim,
                bank: bank.dim(),
            });
        }
        Ok(())
    }
}

/// A model and a bank that belong together, and what a picture needs to know of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded<'a> {
    pub(crate) model: Model<'a>,
    pub(crate) bank: ClassBank<'a>,
    pub(crate) geometry: InputGeometry,
    pub(crate) input_scale: f32,
    pub(crate) input_zero_point: i32,
    pub(crate) output_zero_point: i8,
    /// Takes the place of the bank's reject threshold.
    pub(crate) threshold: Option<f32>,
}

impl<'a> Loaded<'a> {
    /// What a storage runs with. Takes time proportional to the length of both files.
    pub(crate) fn of<F: MappedFlash>(
        storage: &'a Storage<F>,
        arena_bytes: usize,
    ) -> Result<Self, NotReady<'a>> {
        let model = storage.model().map_err(NotReady::Missing)?;
        let bank = storage.bank().map_err(NotReady::Missing)?;
        let loaded = Self::load(model, bank, arena_bytes).map_err(NotReady::Refused)?;
        let threshold = storage.threshold();
        Ok(Self {
            threshold,
            ..loaded
        })
    }

    /// The name of a class, cut to what a reply holds.
    pub(crate) fn name(&self, class_index: u32) -> &'a str {
        let class = self.bank.class(class_index as usize);
        class.map_or("", |class| cut(class.name, MAX_NAME_BYTES))
    }

    /// Checks both files, that they belong together, and that the arena suffices. Takes time proportional to their length.
    fn load(model: &'a [u8], bank: &'a [u8], arena_bytes: usize) -> Result<Self, Fault> {
        let model = Model::load(model).map_err(Fault::Model)?;
        let facts = ModelFacts::of(&model, arena_bytes)?;
        let ports = (model.inputs().next(), model.outputs().next());
        let (Some(geometry), (Some(input), Some(output))) = (model.geometry(), ports) else {
            return Err(Fault::NotAPictureEncoder);
        };
        let (input, output) = (model.value(input), model.value(output));
        let bank = ClassBank::load_in_flash(bank).map_err(Fault::Bank)?;
        facts.check_bank(&bank)?;
        Ok(Self {
            model,
            bank,
            geometry,
            input_scale: input.scale,
            input_zero_point: input.zero_point,
            // `Model::load` proved that it fits the type.
            output_zero_point: output.zero_point as i8,
            threshold: None,
        })
    }
}

/// The model in a partition: as many bytes as its header says.
///
/// What is no model is returned whole, so that [`Model::load`] says why.
pub fn model_image(partition: &[u8]) -> &[u8] {
    const LENGTH: usize = core::mem::offset_of!(Header, file_bytes);
    let is_model = partition.starts_with(&MAGIC);
    let length = partition
        .get(LENGTH..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|length| u32::from_le_bytes(*length) as usize);
    length
        .filter(|_| is_model)
        .and_then(|length| partition.get(..length))
        .unwrap_or(partition)
}

/// The bank in a partition: as many bytes as its header says.
///
/// What is no bank is returned whole, so that [`ClassBank::load`] says why.
pub fn bank_image(partition: &[u8]) -> &[u8] {
    ClassBank::file_bytes(partition)
        .ok()
        .and_then(|length| partition.get(..length))
        .unwrap_or(partition)
}
