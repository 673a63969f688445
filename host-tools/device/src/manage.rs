//! What a host asks to change what a device holds: classes, banks and models, and what lies in the slots of its flash.

use crate::link::{Link, received};
use crate::{DeviceError, Kind, SelfTest, SlotStatus, Which};
use crc::{CRC_32_ISO_HDLC, Crc};
use pinhole_protocol::{MAX_EMBEDDING, MAX_NAME_BYTES, NewClass, Reply, Request, SlotPair};
use pinhole_runtime::bank;
use pinhole_runtime::model::format;
use std::io::{Read, Write};

/// Numbers of a device's storage.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardStatistics {
    /// Sectors erased in the life of the device.
    pub erases: u32,
    /// Writes to its flash.
    pub writes: u32,
    /// Classes of the bank.
    pub classes: u32,
    /// Slots for classes that are free.
    pub free_slots: u32,
    /// Slots that hold no sound class and are not free.
    pub damaged_slots: u32,
    /// The reject threshold in the place of the bank's own.
    pub threshold: Option<f32>,
    /// Least counters that signed files need: model, bank.
    pub counters: [u32; 2],
    /// Whether the device takes signed files alone.
    pub has_key: bool,
}

/// The classes of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardClasses {
    /// Names in the order of the bank; each cut at 128 bytes.
    pub names: Vec<String>,
    /// How many of them came with the bank; the others were added on the device.
    pub written: usize,
}

/// The two slots of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsOfKind {
    /// The slot that is run from: 0 for A, 1 for B.
    pub running: Option<u8>,
    /// What is recorded of A and B.
    pub status: [SlotStatus; 2],
    /// Why the device does not run what it ran last, or has nothing to run.
    pub fault: Option<String>,
}

/// An upload that is not in use yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardUpload {
    /// What it is.
    pub kind: Kind,
    /// The slot that it goes to.
    pub slot: u8,
    /// Bytes that are on the device.
    pub received: u32,
    /// Bytes of the whole.
    pub bytes: u32,
}

/// The slots of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSlots {
    /// Of the model.
    pub model: SlotsOfKind,
    /// Of the class bank.
    pub bank: SlotsOfKind,
    /// The open upload, or one that waits.
    pub upload: Option<BoardUpload>,
}

/// What a file is, by its first bytes.
pub fn kind_of(file: &[u8]) -> Option<Kind> {
    match *file.first_chunk()? {
        format::MAGIC => Some(Kind::Model),
        bank::MAGIC => Some(Kind::Bank),
        _ => None,
    }
}

impl<S: Read + Write> Link<S> {
    /// Numbers of the storage.
    ///
    /// # Errors
    /// When the line fails.
    pub fn statistics(&mut self) -> Result<BoardStatistics, DeviceError> {
        let request = Request::Statistics;
        self.ask("statistics", &request, |reply| match reply {
            Reply::Statistics(numbers) => Some(BoardStatistics {
                erases: numbers.erases,
                writes: numbers.writes,
                classes: numbers.classes,
                free_slots: numbers.free_slots,
                damaged_slots: numbers.damaged_slots,
                threshold: numbers.threshold,
                counters: numbers.counters,
                has_key: numbers.has_key,
            }),
            _ => None,
        })
    }

    /// All class names.
    ///
    /// # Errors
    /// When the line fails, or the device has no sound model and bank.
    pub fn classes(&mut self) -> Result<BoardClasses, DeviceError> {
        let mut classes = BoardClasses {
            names: Vec::new(),
            written: 0,
        };
        loop {
            let from = classes.names.len() as u32;
            let request = Request::ListClasses { from };
            let take = |reply: &Reply<'_>| match reply {
                Reply::Classes(page) if page.from == from => {
                    let names: Vec<String> = page.names.iter().map(|&name| name.into()).collect();
                    Some((page.total, page.written, names))
                }
                _ => None,
            };
            let (total, written, names) = self.ask("list", &request, take)?;
            let last = names.is_empty();
            classes.written = written as usize;
            classes.names.extend(names);
            if classes.names.len() as u32 >= total {
                return Ok(classes);
            }
            if last {
                return Err(DeviceError::Protocol {
                    request: "list",
                    found: format!("{from} of {total} class names"),
                });
            }
        }
    }

    /// Adds a class: its int8 embedding, shape (dim), and the scale that makes it one of length 1.
    ///
    /// # Errors
    /// When the line fails, or the device refuses the class.
    pub fn add_class(
        &mut self,
        name: &str,
        scale: f32,
        embedding: &[i8],
    ) -> Result<(), DeviceError> {
        let bytes = class_bytes(name, embedding)?;
        let class = NewClass {
            name,
            scale,
            embedding: &bytes,
        };
        self.order("add", &Request::AddClass(class))
    }

    /// Gives a class another embedding, as [`Link::add_class`].
    ///
    /// # Errors
    /// As [`Link::add_class`].
    pub fn replace_class(
        &mut self,
        name: &str,
        scale: f32,
        embedding: &[i8],
    ) -> Result<(), DeviceError> {
        let bytes = class_bytes(name, embedding)?;
        let class = NewClass {
            name,
            scale,
            embedding: &bytes,
        };
        self.order("replace", &Request::ReplaceClass(class))
    }

    /// Takes a class away.
    ///
    /// # Errors
    /// When the line fails, or the device refuses.
    pub fn remove_class(&mut self, name: &str) -> Result<(), DeviceError> {
        class_bytes(name, &[])?;
        self.order("remove", &Request::RemoveClass { name })
    }

    /// Sends a file into the slot that is not run from and has it verified there; what of it is on the device already is not
    /// sent again. `done` hears how many bytes the device has. It is taken into use by [`Link::activate`].
    ///
    /// # Errors
    /// When the line fails, or the device refuses the file.
    pub fn upload(
        &mut self,
        kind: Kind,
        file: &[u8],
        mut done: impl FnMut(u32),
    ) -> Result<(), DeviceError> {
        let bytes = u32::try_from(file.len()).map_err(|_| DeviceError::Unsendable {
            what: "file",
            limit: u32::MAX as usize,
            found: file.len(),
        })?;
        let crc32 = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(file);
        let begin = Request::BeginUpload { kind, bytes, crc32 };
        let here = self.ask("upload", &begin, received)?;
        if here > bytes {
            return Err(DeviceError::Protocol {
                request: "upload",
                found: format!("{here} bytes of a file of {bytes}"),
            });
        }
        done(here);
        let chunk = |offset, bytes| Request::UploadChunk { offset, bytes };
        self.send_all("upload", file, here, chunk, done)?;
        self.ask("finish", &Request::FinishUpload, received)
            .map(drop)
    }

    /// Drops the upload, verified or not.
    ///
    /// # Errors
    /// When the line fails, or there is none.
    pub fn cancel_upload(&mut self) -> Result<(), DeviceError> {
        self.order("cancel", &Request::CancelUpload)
    }

    /// Takes verified uploads into use.
    ///
    /// # Errors
    /// When the line fails, there is no such upload, or model and bank would not belong together.
    pub fn activate(&mut self, which: Which) -> Result<(), DeviceError> {
        self.order("activate", &Request::Activate { which })
    }

    /// Runs from the other slot: 0 for A, 1 for B.
    ///
    /// # Errors
    /// When the line fails, or the slot holds nothing to run.
    pub fn select(&mut self, kind: Kind, slot: u8) -> Result<(), DeviceError> {
        self.order("select", &Request::SelectSlot { kind, slot })
    }

    /// What the slots hold.
    ///
    /// # Errors
    /// When the line fails.
    pub fn slots(&mut self) -> Result<BoardSlots, DeviceError> {
        self.ask("slots", &Request::Slots, |reply| match reply {
            Reply::Slots(slots) => Some(BoardSlots {
                model: slots_of(&slots.model),
                bank: slots_of(&slots.bank),
                upload: slots.upload.map(|upload| BoardUpload {
                    kind: upload.kind,
                    slot: upload.slot,
                    received: upload.received,
                    bytes: upload.bytes,
                }),
            }),
            _ => None,
        })
    }

    /// Sets the energy above which a picture is in no class, or goes back to that of the bank.
    ///
    /// # Errors
    /// When the line fails, there is no bank, or it is not a number.
    pub fn set_threshold(&mut self, threshold: Option<f32>) -> Result<(), DeviceError> {
        self.order("threshold", &Request::SetThreshold { threshold })
    }

    /// Runs the golden input of the model, where it has one.
    ///
    /// # Errors
    /// When the line fails, or the device has no sound model and bank.
    pub fn self_test(&mut self) -> Result<SelfTest, DeviceError> {
        self.ask("self-test", &Request::SelfTest, |reply| match reply {
            Reply::SelfTested(result) => Some(*result),
            _ => None,
        })
    }

    /// A request that has only to be done.
    pub(crate) fn order(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
    ) -> Result<(), DeviceError> {
        self.ask(name, request, received).map(drop)
    }
}

fn slots_of(pair: &SlotPair) -> SlotsOfKind {
    SlotsOfKind {
        running: pair.running,
        status: pair.status,
        fault: (!pair.fault.is_empty()).then(|| pair.fault.as_str().into()),
    }
}

/// The bytes of an embedding, when it and the name go into one request.
fn class_bytes(name: &str, embedding: &[i8]) -> Result<Vec<u8>, DeviceError> {
    for (what, limit, found) in [
        ("class name", MAX_NAME_BYTES, name.len()),
        ("embedding", MAX_EMBEDDING, embedding.len()),
    ] {
        if found > limit {
            return Err(DeviceError::Unsendable { what, limit, found });
        }
    }
    Ok(embedding.iter().map(|x| *x as u8).collect())
}
