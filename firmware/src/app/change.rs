//! Requests that write to the flash.

use crate::log::warn_display;
use crate::port::Port;
use crate::storage::{Activate, Kind, MappedFlash, Storage, StorageError};
use core::fmt;
use embedded_io::Write;
use pinhole_protocol::{ErrorCode, NewClass, Reply, Request, Which};
use zerocopy::FromBytes;

/// How far the scale of a host may be from the one of the device, relatively, squared.
const SCALE_TOLERANCE: f32 = 2e-3;

/// Why a request was not done.
enum Refusal<E> {
    Storage(StorageError<E>),
    /// The scale that came is not that of the embedding.
    Scale,
}

impl<E> From<StorageError<E>> for Refusal<E> {
    fn from(error: StorageError<E>) -> Self {
        Self::Storage(error)
    }
}

impl<E: fmt::Debug> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Scale => f.write_str("the scale does not make the embedding one of length 1"),
        }
    }
}

impl<E> Refusal<E> {
    fn code(&self) -> ErrorCode {
        let Self::Storage(error) = self else {
            return ErrorCode::Class;
        };
        match error {
            StorageError::Flash(_) | StorageError::WornOut { .. } | StorageError::StateWornOut => {
                ErrorCode::Flash
            }
            StorageError::Gap { .. } => ErrorCode::Offset,
            StorageError::NoBank => ErrorCode::Bank,
            StorageError::NoUpload
            | StorageError::TooManyBytes { .. }
            | StorageError::TooLong { .. }
            | StorageError::UploadChecksum { .. } => ErrorCode::Upload,
            StorageError::ClassExists { .. }
            | StorageError::NoSuchClass
            | StorageError::SignedClass { .. }
            | StorageError::Class(_)
            | StorageError::Edit(_) => ErrorCode::Class,
            _ => ErrorCode::Storage,
        }
    }
}

/// Does what the last request says, and answers it.
pub(super) fn answer<F: MappedFlash, L: Write>(
    port: &mut Port,
    storage: &mut Storage<F>,
    line: &mut L,
) -> Result<(), L::Error> {
    let done = match port.request() {
        Ok(request) => act(storage, &request),
        Err(fault) => return port.fail(line, ErrorCode::Unknown, 0, &fault),
    };
    match done {
        Ok(received) => port.reply(line, &Reply::Received(received)),
        Err(refusal) => {
            warn_display!("{}", refusal);
            let received = storage.upload().map_or(0, |(_, received)| received);
            port.fail(line, refusal.code(), received, &refusal)
        }
    }
}

/// The number that is replied.
fn act<F: MappedFlash>(
    storage: &mut Storage<F>,
    request: &Request<'_>,
) -> Result<u32, Refusal<F::Error>> {
    match *request {
        Request::AddClass(class) => storage.add_class(class.name, embedding(&class)?)?,
        Request::ReplaceClass(class) => storage.replace_class(class.name, embedding(&class)?)?,
        Request::RemoveClass { name } => storage.remove_class(name)?,
        Request::BeginUpload { kind, bytes, crc32 } => {
            return Ok(storage.begin_upload(kind_of(kind), bytes, crc32)?);
        }
        Request::UploadChunk { offset, bytes } => return Ok(storage.write(offset, bytes)?),
        Request::FinishUpload => {
            storage.finish()?;
            return Ok(storage.upload().map_or(0, |(_, received)| received));
        }
        Request::CancelUpload => storage.cancel_upload()?,
        Request::Activate { which } => storage.activate(match which {
            Which::Model => Activate::Model,
            Which::Bank => Activate::Bank,
            Which::Both => Activate::Both,
        })?,
        Request::SelectSlot { kind, slot } => storage.select(kind_of(kind), slot)?,
        Request::SetThreshold { threshold } => storage.set_threshold(threshold)?,
        // `Part` sends no other here.
        _ => {}
    }
    Ok(0)
}

fn kind_of(kind: pinhole_protocol::Kind) -> Kind {
    match kind {
        pinhole_protocol::Kind::Model => Kind::Model,
        pinhole_protocol::Kind::Bank => Kind::Bank,
    }
}

/// The embedding of a class whose scale fits it. One of zeros has no scale, and the bank says so.
fn embedding<'a, E>(class: &NewClass<'a>) -> Result<&'a [i8], Refusal<E>> {
    let embedding = <[i8]>::ref_from_bytes(class.embedding).unwrap_or_default();
    let squares = embedding.iter().map(|x| i64::from(*x) * i64::from(*x));
    let squared_length = squares.sum::<i64>() as f32;
    let off = class.scale * class.scale * squared_length - 1.0;
    let fits = class.scale > 0.0 && (-SCALE_TOLERANCE..=SCALE_TOLERANCE).contains(&off);
    match fits || squared_length == 0.0 {
        true => Ok(embedding),
        false => Err(Refusal::Scale),
    }
}
