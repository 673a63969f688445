//! What the storage says of itself.

use crate::port::Port;
use crate::storage::{self, Kind, MappedFlash, NoFile, Storage};
use embedded_io::Write;
use pinhole_protocol::{
    BoundedText, Reply, Request, SlotPair, SlotStatus, Slots, Statistics, Upload,
};

/// Answers [`Request::Statistics`] and [`Request::Slots`].
pub(super) fn answer<F: MappedFlash, L: Write>(
    port: &mut Port,
    storage: &Storage<F>,
    line: &mut L,
) -> Result<(), L::Error> {
    match port.request() {
        Ok(Request::Statistics) => port.reply(line, &Reply::Statistics(statistics(storage))),
        _ => port.reply(line, &Reply::Slots(slots(storage))),
    }
}

/// The file that is run from.
pub(super) fn file<F: MappedFlash>(storage: &Storage<F>, kind: Kind) -> Result<&[u8], &NoFile> {
    match kind {
        Kind::Model => storage.model(),
        Kind::Bank => storage.bank(),
    }
}

fn statistics<F: MappedFlash>(storage: &Storage<F>) -> Statistics {
    let numbers = storage.statistics();
    Statistics {
        erases: numbers.erases,
        writes: numbers.writes,
        classes: numbers.classes as u32,
        free_slots: numbers.free_slots as u32,
        damaged_slots: numbers.damaged_slots as u32,
        threshold: storage.threshold(),
        counters: [Kind::Model, Kind::Bank].map(|kind| storage.counter(kind)),
        has_key: storage.key().is_some(),
    }
}

fn slots<F: MappedFlash>(storage: &Storage<F>) -> Slots {
    let upload = storage.upload().map(|(upload, received)| Upload {
        kind: match upload.kind {
            Kind::Model => pinhole_protocol::Kind::Model,
            Kind::Bank => pinhole_protocol::Kind::Bank,
        },
        slot: upload.slot,
        received,
        bytes: upload.total_bytes,
    });
    Slots {
        model: pair(storage, Kind::Model),
        bank: pair(storage, Kind::Bank),
        upload,
    }
}

fn pair<F: MappedFlash>(storage: &Storage<F>, kind: Kind) -> SlotPair {
    let slots = storage.slots(kind);
    let fault = match (file(storage, kind), storage.fallback(kind)) {
        (Err(missing), _) => BoundedText::of(missing),
        (Ok(_), Some(fault)) => BoundedText::of(fault),
        (Ok(_), None) => BoundedText::of(&""),
    };
    SlotPair {
        running: slots.running,
        status: slots.status.map(|status| match status {
            storage::SlotStatus::Void => SlotStatus::Void,
            storage::SlotStatus::Good => SlotStatus::Good,
            storage::SlotStatus::Ready => SlotStatus::Ready,
        }),
        fault,
    }
}
