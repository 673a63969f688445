//! What a host says to change what a device holds: classes, class banks and models in the slots of its flash
//! (`docs/storage.md`), and what the device says of them.

use crate::{MAX_EMBEDDING, MAX_LISTED, MAX_NAME_BYTES, MAX_TEXT_BYTES, NONCE_BYTES};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::message::{MessageFault, at_most};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A packed image encoder.
    Model,
    /// A class bank.
    Bank,
}

/// Which verified uploads are taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The model.
    Model,
    /// The class bank.
    Bank,
    /// Both, at once.
    Both,
}

/// A class and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewClass<'a> {
    /// At most [`MAX_NAME_BYTES`].
    pub name: &'a str,
    /// Makes the embedding a vector of length 1. The device computes its own, and refuses one that does not fit.
    pub scale: f32,
    /// The int8 embedding as bytes, shape (dim); at most [`MAX_EMBEDDING`].
    pub embedding: &'a [u8],
}

impl NewClass<'_> {
    pub(crate) fn check(&self) -> Result<(), MessageFault> {
        at_most("name", self.name.len(), MAX_NAME_BYTES)?;
        at_most("embedding", self.embedding.len(), MAX_EMBEDDING)
    }
}

/// Numbers of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Sectors erased in the life of the device.
    pub erases: u32,
    /// Writes to the flash.
    pub writes: u32,
    /// Classes of the bank.
    pub classes: u32,
    /// Slots for classes that are free.
    pub free_slots: u32,
    /// Slots that a power cut or worn flash spoilt; the next copy of the bank frees them.
    pub damaged_slots: u32,
    /// The reject threshold that was set and takes the place of the bank's own.
    pub threshold: Option<f32>,
    /// Least counters that signed files need: model, bank.
    pub counters: [u32; 2],
    /// Whether the device has a key and takes signed files alone.
    pub has_key: bool,
}

/// A page of the class names of a bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classes<'a> {
    /// Classes of the bank.
    pub total: u32,
    /// How many of them the writer of the bank put in; the others were added on the device.
    pub written: u32,
    /// The index of the first name.
    pub from: u32,
    /// Names from there on, each cut to [`MAX_NAME_BYTES`]; none behind the last class.
    #[serde(borrow)]
    pub names: Vec<&'a str, MAX_LISTED>,
}

impl Classes<'_> {
    pub(crate) fn check(&self) -> Result<(), MessageFault> {
        let mut names = self.names.iter();
        names.try_for_each(|name| at_most("name", name.len(), MAX_NAME_BYTES))
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotStatus {
    /// Nothing that was verified.
    Void,
    /// Something to run or to fall back to.
    Good,
    /// A verified upload that waits for its activation.
    Ready,
}

/// The two slots of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPair {
    /// The slot that is run from: 0 for A, 1 for B; none when neither is, or when the bank is that of the firmware.
    pub running: Option<u8>,
    /// What was recorded of A and B.
    pub status: [SlotStatus; 2],
    /// Why the device does not run what it ran last, or has nothing to run; empty when it does.
    pub fault: String<MAX_TEXT_BYTES>,
}

/// The slots of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Of the model.
    pub model: SlotPair,
    /// Of the class bank.
    pub bank: SlotPair,
    /// The open upload, or one that waits for its activation.
    pub upload: Option<Upload>,
}

/// An upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// What it is.
    pub kind: Kind,
    /// The slot that it goes to.
    pub slot: u8,
    /// Bytes that are here.
    pub received: u32,
    /// Bytes of the whole.
    pub bytes: u32,
}

/// What came of a self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelfTest {
    /// The model has no section `golden`. It was read whole and its checksum fits.
    NoGolden,
    /// The golden input gave the golden embedding.
    Passed {
        /// Bytes compared.
        bytes: u32,
    },
    /// It gave another one.
    Failed {
        /// The first byte that differs.
        at: u32,
        /// The golden byte.
        expected: u8,
        /// The byte computed.
        found: u8,
    },
}

/// What whoever wants to change a device has to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Challenges since the device started, this one included.
    pub session: u32,
    /// Good for one answer.
    pub nonce: [u8; NONCE_BYTES],
    /// Least counter of a request to replace the key.
    pub key_counter: u32,
}
