//! What can go wrong with the storage, each with the number that helps.

use core::fmt;
use pinhole_runtime::bank::{EditError, WriteError};
use pinhole_signing::{Kind, SignatureFault};

use super::layout::LayoutFault;
use crate::load::Fault;

/// Why a slot is not run from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SlotFault {
    /// Nothing that was verified is there.
    Void,
    /// A verified file is there and waits for its activation.
    NotActivated,
    /// The file is damaged, does not suit the board, or belongs to another encoder.
    File(Fault),
    /// The device takes signed files, and this one is not signed by its key.
    Signature(SignatureFault),
    /// The file was signed before the one that the device has or had.
    RolledBack {
        /// Least counter that is taken.
        expected: u32,
        /// Counter of the file.
        found: u32,
    },
    /// The upload has another length than file and signature.
    Length {
        /// Bytes that the file and, where there is one, its signature have.
        expected: u32,
        /// Bytes of the upload.
        found: u32,
    },
    /// A spare slot of a signed bank is not blank.
    SpareSlotNotBlank {
        /// Offset in the file.
        offset: usize,
    },
}

impl fmt::Display for SlotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Void => f.write_str("empty"),
            Self::NotActivated => f.write_str("uploaded and not activated"),
            Self::File(fault) => fault.fmt(f),
            Self::Signature(fault) => fault.fmt(f),
            Self::RolledBack { expected, found } => write!(
                f,
                "signed with counter {found}, this device takes {expected} and above"
            ),
            Self::Length { expected, found } => write!(
                f,
                "{found} bytes came, the file and its signature have {expected}"
            ),
            Self::SpareSlotNotBlank { offset } => write!(
                f,
                "a spare slot of the signed bank is not blank at byte {offset}"
            ),
        }
    }
}

impl core::error::Error for SlotFault {}

/// Why there is no model, or no bank, to run with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoFile {
    /// What is missing.
    pub kind: Kind,
    /// What is wrong with slots A and B.
    pub slots: [SlotFault; 2],
    /// What is wrong with the bank that came with the firmware, where there is one.
    pub factory: Option<SlotFault>,
}

impl NoFile {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            slots: [SlotFault::Void; 2],
            factory: None,
        }
    }
}

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.slots;
        write!(f, "no {}: slot A: {a}; slot B: {b}", self.kind.name())?;
        match &self.factory {
            Some(fault) => write!(f, "; factory bank: {fault}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for NoFile {}

/// Why an operation of the storage failed. Unless it says otherwise, what the device ran with before, it runs with after.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum StorageError<E> {
    /// The driver of the flash.
    Flash(E),
    /// Flash does not keep what is written, or does not erase.
    WornOut {
        /// Where, from the start of the flash.
        offset: u32,
    },
    /// No sector of the journal takes a record.
    StateWornOut,
    /// The partitions do not suit the flash.
    Layout(LayoutFault),
    /// There is no class bank to work on; [`super::Storage::bank`] says why.
    NoBank,
    /// The file does not fit a slot.
    TooLong {
        /// Bytes of a slot.
        limit: u32,
        /// Bytes of the file and its signature.
        found: u32,
    },
    /// No upload is open.
    NoUpload,
    /// An upload holds the slot that a copy of the bank needs.
    UploadOpen,
    /// A chunk does not follow what came, or the upload is not complete.
    Gap {
        /// Bytes that came.
        received: u32,
    },
    /// More bytes came than were announced.
    TooManyBytes {
        /// Bytes that were announced.
        total: u32,
    },
    /// The bytes of an upload are not those that were announced.
    UploadChecksum {
        /// CRC-32 that was announced.
        expected: u32,
        /// CRC-32 of what came.
        found: u32,
    },
    /// What a slot holds is refused.
    Refused {
        /// What it is.
        kind: Kind,
        /// Why.
        fault: SlotFault,
    },
    /// There is no slot of this number.
    NoSuchSlot {
        /// The number asked for; 0 and 1 exist.
        slot: u8,
    },
    /// A class of this name exists.
    ClassExists {
        /// Its index.
        index: usize,
    },
    /// There is no class of this name.
    NoSuchClass,
    /// The class was signed with the bank, and a device signs nothing.
    SignedClass {
        /// Its index.
        index: usize,
    },
    /// The class does not fit the bank.
    Class(WriteError),
    /// The bank cannot be changed so.
    Edit(EditError),
    /// A threshold is not a number.
    NotANumber,
    /// The device has a key already.
    KeyExists,
    /// The device has no key, or one in its firmware that nothing replaces.
    NoKey,
    /// A key, or a request to replace one, is refused.
    Key(SignatureFault),
    /// A request to replace the key was made before the last one.
    OldRequest {
        /// Least counter that is taken.
        expected: u32,
        /// Counter of the request.
        found: u32,
    },
    /// The device has no bank that came with its firmware.
    NoFactoryBank,
}

impl<E: fmt::Debug> fmt::Display for StorageError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "flash: {error:?}"),
            Self::WornOut { offset } => write!(
                f,
                "the flash at {offset:#x} does not keep what is written: it is worn out"
            ),
            Self::StateWornOut => f.write_str("the journal of the state takes no record: its flash is worn out"),
            Self::Layout(fault) => fault.fmt(f),
            Self::NoBank => f.write_str("there is no class bank that could be used: upload one"),
            Self::TooLong { limit, found } => {
                write!(f, "the file has {found} bytes, a slot has {limit}")
            }
            Self::NoUpload => f.write_str("no upload is open: begin one"),
            Self::UploadOpen => f.write_str(
                "an upload of a class bank holds the slot that this change needs: activate or cancel it",
            ),
            Self::Gap { received } => {
                write!(f, "{received} bytes of the upload are here: go on from there")
            }
            Self::TooManyBytes { total } => {
                write!(f, "more bytes than the {total} that were announced")
            }
            Self::UploadChecksum { expected, found } => write!(
                f,
                "the upload has checksum {found:08x}, announced was {expected:08x}: send it again"
            ),
            Self::Refused { kind, fault } => write!(f, "{} refused: {fault}", kind.name()),
            Self::NoSuchSlot { slot } => write!(f, "there is no slot {slot}, expected 0 or 1"),
            Self::ClassExists { index } => {
                write!(f, "a class of this name exists, class {index}: replace it")
            }
            Self::NoSuchClass => f.write_str("there is no class of this name"),
            Self::SignedClass { index } => write!(
                f,
                "class {index} is in the signed part of the bank: upload a signed bank"
            ),
            Self::Class(error) => error.fmt(f),
            Self::Edit(error) => error.fmt(f),
            Self::NotANumber => f.write_str("the threshold is not a number"),
            Self::KeyExists => f.write_str(
                "the device has a key: replace it by a request that the key signed, or erase all",
            ),
            Self::NoKey => f.write_str("the device has no key that could be replaced"),
            Self::Key(fault) => write!(f, "key: {fault}"),
            Self::OldRequest { expected, found } => write!(
                f,
                "the request has counter {found}, this device takes {expected} and above"
            ),
            Self::NoFactoryBank => f.write_str("the firmware came with no class bank"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for StorageError<E> {}
