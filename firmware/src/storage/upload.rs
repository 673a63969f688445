//! A file that comes piece by piece into the slot that is not run from.
//!
//! Sectors are erased as the upload reaches them. Every sixteenth of a file, a record says how much is there for certain, so
//! that a restart goes on from that sector and never programs a place twice.

use crc::Digest;
use pinhole_signing::Kind;

use super::flash::{MappedFlash, PAGE_BYTES};
use super::journal::CRC;
use super::state::SlotStatus;
use super::{Storage, StorageError, Upload, refused};

/// A restart loses at most this part of a file, or one erase sector.
const RECORDS_PER_UPLOAD: u32 = 16;

impl<F: MappedFlash> Storage<F> {
    /// Opens an upload of a file of `total_bytes`, its signature included, whose CRC-32/ISO-HDLC is `crc32`, and returns how
    /// many of its bytes are here already: those of an upload of the same file that was interrupted. Another open upload is
    /// dropped, and so is what the slot held.
    ///
    /// # Errors
    /// When the slot is too small.
    pub fn begin_upload(
        &mut self,
        kind: Kind,
        total_bytes: u32,
        crc32: u32,
    ) -> Result<u32, StorageError<F::Error>> {
        let slot = self.spare_slot(kind);
        let limit = self.layout.slot(kind, slot).len() as u32;
        if total_bytes > limit {
            return Err(StorageError::TooLong {
                limit,
                found: total_bytes,
            });
        }
        if let Some(open) = self.state.upload
            && (open.kind, open.slot, open.total_bytes, open.crc32)
                == (kind, slot, total_bytes, crc32)
        {
            return Ok(self.received);
        }
        let mut next = self.settled();
        next.pair_mut(kind).set(slot, SlotStatus::Void);
        if kind == Kind::Bank {
            next.thresholds[usize::from(slot)] = None;
        }
        next.upload = Some(Upload {
            kind,
            slot,
            total_bytes,
            crc32,
            kept_bytes: 0,
        });
        self.append(next)?;
        self.forget_received();
        Ok(0)
    }

    /// The open upload, and how many of its bytes are here.
    pub fn upload(&self) -> Option<(Upload, u32)> {
        self.state.upload.map(|upload| (upload, self.received))
    }

    /// Takes the next bytes of the upload, which begin at `offset`, and returns how many are here now. Bytes that came
    /// before are skipped.
    ///
    /// # Errors
    /// [`StorageError::Gap`] when bytes between are missing. When the flash fails, what is here shrinks to the sector before,
    /// and the upload can go on from there.
    pub fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, StorageError<F::Error>> {
        let upload = self.state.upload.ok_or(StorageError::NoUpload)?;
        let received = self.received;
        let known = received
            .checked_sub(offset)
            .ok_or(StorageError::Gap { received })?;
        let mut rest = bytes.get(known as usize..).unwrap_or_default();
        if rest.len() > (upload.total_bytes - received) as usize {
            let total = upload.total_bytes;
            return Err(StorageError::TooManyBytes { total });
        }
        while !rest.is_empty() {
            let room = self.page.get_mut(self.page_len..).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.page_len += now.len();
            self.received += now.len() as u32;
            rest = later;
            if self.page_len == PAGE_BYTES || self.received == upload.total_bytes {
                self.write_page()?;
            }
        }
        Ok(self.received)
    }

    /// Programs the collected page; what it does not fill is blank.
    fn write_page(&mut self) -> Result<(), StorageError<F::Error>> {
        let upload = self.state.upload.ok_or(StorageError::NoUpload)?;
        let sector = F::ERASE_SIZE as u32;
        let at = self.received - self.page_len as u32;
        let start = self.layout.slot(upload.kind, upload.slot).start;
        let written = self.write_page_at(&upload, start, at);
        self.page = [0xff; PAGE_BYTES];
        self.page_len = 0;
        if written.is_err() {
            self.received = at - at % sector;
        }
        written
    }

    fn write_page_at(
        &mut self,
        upload: &Upload,
        start: u32,
        at: u32,
    ) -> Result<(), StorageError<F::Error>> {
        let sector = F::ERASE_SIZE as u32;
        if at.is_multiple_of(sector) {
            let part = upload.total_bytes.div_ceil(RECORDS_PER_UPLOAD);
            if at - upload.kept_bytes.min(at) >= part.next_multiple_of(sector) {
                let mut next = self.state;
                next.upload = Some(Upload {
                    kept_bytes: at,
                    ..*upload
                });
                self.append(next)?;
            }
            self.device.erase(start + at)?;
        }
        let page = self.page;
        self.device.program(start + at, &page)?;
        let end = at + self.page_len as u32;
        if end == upload.total_bytes {
            let len = self.layout.slot(upload.kind, upload.slot).len();
            self.device.end_file(start, end as usize, len)?;
        }
        Ok(())
    }

    /// Verifies the whole upload: its checksum, the file, that the board can run it, on a device with a key its signature
    /// and counter, and that a bank belongs to the model that the device runs or to a verified upload of one. It is then
    /// ready for [`Storage::activate`], also after a restart.
    ///
    /// # Errors
    /// [`StorageError::Gap`] when bytes are missing. Every other fault of the file drops the upload.
    pub fn finish(&mut self) -> Result<(), StorageError<F::Error>> {
        let upload = self.state.upload.ok_or(StorageError::NoUpload)?;
        if self.state.pair(upload.kind).status(upload.slot) == SlotStatus::Ready {
            return Ok(());
        }
        if self.received < upload.total_bytes {
            return Err(StorageError::Gap {
                received: self.received,
            });
        }
        let mut next = self.settled();
        let verified = self.verify(&upload);
        match verified {
            Ok(()) => {
                next.pair_mut(upload.kind)
                    .set(upload.slot, SlotStatus::Ready);
                next.upload = Some(Upload {
                    kept_bytes: upload.total_bytes,
                    ..upload
                });
            }
            Err(_) => next.upload = None,
        }
        let recorded = self.append(next);
        if verified.is_err() && recorded.is_ok() {
            self.forget_received();
        }
        verified.and(recorded)
    }

    fn verify(&self, upload: &Upload) -> Result<(), StorageError<F::Error>> {
        let start = self.layout.slot(upload.kind, upload.slot).start;
        let mut digest: Digest<'_, u32, crc::Table<1>> = CRC.digest();
        digest.update(self.device.bytes(start, upload.total_bytes as usize));
        let found = digest.finalize();
        if found != upload.crc32 {
            return Err(StorageError::UploadChecksum {
                expected: upload.crc32,
                found,
            });
        }
        let checker = self.strict_checker();
        let found = match upload.kind {
            Kind::Model => checker.model(upload.slot).map(|(found, _)| found),
            Kind::Bank => checker
                .bank(upload.slot, self.running.facts())
                .or_else(|fault| {
                    let ready = self.ready_slot(Kind::Model).ok_or(fault)?;
                    let (_, facts) = checker.model(ready)?;
                    checker.bank(upload.slot, Some(&facts))
                }),
        };
        found
            .and_then(|found| checker.upload(&self.state, &found, upload.kind, upload.total_bytes))
            .map_err(refused::<F>(upload.kind))
    }

    /// Drops the open upload, verified or not.
    ///
    /// # Errors
    /// [`StorageError::NoUpload`], or those of the journal.
    pub fn cancel_upload(&mut self) -> Result<(), StorageError<F::Error>> {
        let upload = self.state.upload.ok_or(StorageError::NoUpload)?;
        let mut next = self.settled();
        next.pair_mut(upload.kind)
            .set(upload.slot, SlotStatus::Void);
        next.upload = None;
        self.append(next)?;
        self.forget_received();
        Ok(())
    }

    pub(super) fn forget_received(&mut self) {
        self.page = [0xff; PAGE_BYTES];
        self.page_len = 0;
        self.received = 0;
    }
}
