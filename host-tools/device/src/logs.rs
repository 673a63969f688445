//! The defmt log of a board (<https://defmt.ferrous-systems.com>): indices into strings that only the ELF file holds.

#[cfg(feature = "logs")]
mod decode {
    use defmt_decoder::{DecodeError, Table};
    use std::path::Path;

    /// Turns bytes of a log into lines.
    pub(crate) struct LogReader {
        table: Option<Table>,
        pending: Vec<u8>,
    }

    impl LogReader {
        /// A reader for the log of the firmware in an ELF file; one that is not readable as such gives no lines.
        pub(crate) fn open(firmware: &Path) -> Self {
            let table = std::fs::read(firmware)
                .ok()
                .and_then(|elf| Table::parse(&elf).ok().flatten());
            Self {
                table,
                pending: Vec::new(),
            }
        }

        /// A reader that gives no lines, for a program that logs in another way.
        pub(crate) fn none() -> Self {
            Self {
                table: None,
                pending: Vec::new(),
            }
        }

        /// Takes the next bytes, however they are cut up, and returns the lines that they complete.
        pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
            let Some(table) = &self.table else {
                return Vec::new();
            };
            self.pending.extend_from_slice(bytes);
            let mut decoder = table.new_stream_decoder();
            decoder.received(&self.pending);
            let mut lines = Vec::new();
            loop {
                match decoder.decode() {
                    Ok(frame) => lines.push(frame.display(false).to_string()),
                    Err(DecodeError::Malformed) if table.encoding().can_recover() => {}
                    Err(_) => break,
                }
            }
            // With the rzCOBS encoding a frame ends with a zero.
            if let Some(end) = self.pending.iter().rposition(|byte| *byte == 0) {
                self.pending.drain(..=end);
            }
            lines
        }
    }
}

#[cfg(not(feature = "logs"))]
mod decode {
    use std::path::Path;

    /// Says once that there is a log.
    pub(crate) struct LogReader {
        said: bool,
    }

    impl LogReader {
        pub(crate) fn open(_firmware: &Path) -> Self {
            Self { said: false }
        }

        pub(crate) fn none() -> Self {
            Self { said: true }
        }

        pub(crate) fn take(&mut self, _bytes: &[u8]) -> Vec<String> {
            if std::mem::replace(&mut self.said, true) {
                return Vec::new();
            }
            vec!["the log is not decoded: build with the feature `logs` of pinhole-device".into()]
        }
    }
}

pub(crate) use decode::LogReader;
