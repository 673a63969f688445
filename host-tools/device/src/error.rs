//! What can go wrong between the host and a board, each with the next thing to type.

use pinhole_protocol::ErrorCode;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Why a board cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no such board.
    #[error("unknown board {found:?}, expected one of: {}", expected.join(", "))]
    UnknownBoard {
        /// As given.
        found: String,
        /// The names that exist.
        expected: Vec<&'static str>,
    },
    /// This machine lacks something.
    #[error("{what} is missing")]
    Missing {
        /// What is not there.
        what: String,
        /// How to get it.
        get: String,
    },
    /// The sources of the firmware are not where they are looked for.
    #[error("no firmware sources in {}", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))]
    NoSources {
        /// The folders looked at.
        looked: Vec<PathBuf>,
    },
    /// Cargo could not build the firmware.
    #[error("building the programs of {board} failed: {reason}")]
    Build {
        /// The board.
        board: &'static str,
        /// The first error of the compiler, or why Cargo did not start.
        reason: String,
        /// The folder in which to build by hand.
        folder: PathBuf,
    },
    /// A file cannot be read, or not written where it has to be.
    #[error("cannot {access} the {what} {}: {source}", path.display())]
    File {
        /// What was done to it: "read", "write".
        access: &'static str,
        /// Model, bank, firmware or flash.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not fit into its partition, or is longer than the flash that it is to be.
    #[error("the {what} {} has {found} bytes, the board {board} takes {limit}", path.display())]
    TooLarge {
        /// Model, bank or flash.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The board.
        board: &'static str,
        /// Bytes of the partition.
        limit: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A model needs more memory than the board has.
    #[error("the model {} needs an arena of {found} bytes, the board {board} has {limit}", path.display())]
    Arena {
        /// The model.
        path: PathBuf,
        /// The board.
        board: &'static str,
        /// Bytes of the board's arena.
        limit: u32,
        /// Bytes that the model needs.
        found: u32,
    },
    /// The board would not run a file.
    #[error("the {what} {} does not suit {board}: {reason}", path.display())]
    Unsuitable {
        /// Model or class bank.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The board.
        board: &'static str,
        /// What the board's own check says.
        reason: String,
        /// What to type.
        help: &'static str,
    },
    /// A program is built for another place.
    #[error(
        "the program lies at {:#010x} to {:#010x}, the flash for it on {board} at {:#010x} to {:#010x}",
        found.start, found.end, expected.start, expected.end
    )]
    ProgramPlace {
        /// The board.
        board: &'static str,
        /// Addresses of the program.
        found: Range<u64>,
        /// Addresses of the flash.
        expected: Range<u64>,
    },
    /// An image cannot be made.
    #[error("{reason}")]
    Image {
        /// Found and expected.
        reason: String,
        /// What to type.
        help: String,
    },
    /// What was written is not what is there.
    #[error("the flash file {} differs at byte {at:#x} from what was written", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// The first byte that differs.
        at: usize,
    },
    /// A board of another kind than the verb works on.
    #[error("{board} is no emulated board, and this machine cannot run it")]
    NotEmulated {
        /// The board.
        board: &'static str,
    },
    /// Another board runs on the file.
    #[error("the flash file {} is in use by another board", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The emulator could not be started.
    #[error("{emulator} did not start: {reason}")]
    Start {
        /// The program.
        emulator: &'static str,
        /// What it said, or why it could not be run.
        reason: String,
    },
    /// The emulator or the firmware ended.
    #[error("the board stopped: {reason}")]
    Stopped {
        /// Its last words.
        reason: String,
    },
    /// The program on an emulated CPU does not do what it was asked for.
    #[error("{0}")]
    Guest(String),
    /// The board did not answer.
    #[error("the board did not answer to {request} within {} s", after.as_secs())]
    Timeout {
        /// What was asked.
        request: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The line to the board broke.
    #[error("the line to the board broke: {0}")]
    Line(#[source] std::io::Error),
    /// Nobody listens at an address, or a serial port cannot be opened.
    #[error("cannot connect to {port}: {source}")]
    Connect {
        /// As given.
        port: String,
        /// Why.
        source: std::io::Error,
    },
    /// The board speaks another version.
    #[error("the board speaks protocol version {found}, this program version {expected}")]
    Version {
        /// The board's.
        found: u8,
        /// This program's.
        expected: u8,
    },
    /// The board answers something else than what the protocol says.
    #[error("the board answered {request} with {found}")]
    Protocol {
        /// What was asked.
        request: &'static str,
        /// What came.
        found: String,
    },
    /// The board refused.
    #[error("the board refused {request}: {text}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// For programs.
        code: ErrorCode,
        /// The board's words.
        text: String,
    },
    /// Something is too long for the line.
    #[error("the {what} has {found} bytes, at most {limit} go over the line")]
    Unsendable {
        /// Class name, embedding or file.
        what: &'static str,
        /// Most bytes.
        limit: usize,
        /// Bytes given.
        found: usize,
    },
    /// The bytes given are no picture of that size.
    #[error("a picture of {width}x{height} has {expected} bytes of RGB, {found} given")]
    PictureLength {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes needed.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
}

impl DeviceError {
    /// The next thing to do or to type, where one is known.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing { get, .. } => get.clone(),
            Self::NoSources { .. } => {
                "set PINHOLE_FIRMWARE to the folder `firmware` of a checkout".into()
            }
            Self::Build { folder, .. } => {
                format!(
                    "try it by hand: cd {} && cargo build --release",
                    folder.display()
                )
            }
            Self::UnknownBoard { found, expected } => {
                let nearest = crate::nearest(found, expected.iter().copied())?;
                format!("the nearest name is {nearest}; pinhole board list says what each is")
            }
            Self::TooLarge {
                what: "class bank", ..
            } => "embed fewer classes".into(),
            Self::TooLarge {
                what: "flash file", ..
            } => "name another file, or one that is not there yet".into(),
            Self::TooLarge { .. } => {
                "take a smaller model, or a board with more flash: pinhole board list".into()
            }
            Self::Arena { .. } => {
                "pinhole pack --stem-patches auto makes it smaller; pinhole board list says what boards have".into()
            }
            Self::Unsuitable { help, .. } => (*help).into(),
            Self::Image { help, .. } => help.clone(),
            Self::ProgramPlace { board, .. } => {
                format!("name a program that was built in firmware/boards/{board}")
            }
            Self::ReadBack { .. } => "the disk may be full or broken: name a file on another one".into(),
            Self::NotEmulated { board } => {
                format!("name the port of one that runs: --port PORT; pinhole flash --board {board} puts its program there")
            }
            Self::InUse { .. } => "name another file, or end the other board".into(),
            Self::Start { .. } | Self::Stopped { .. } => {
                "--verbose shows the log of the board".into()
            }
            Self::Timeout { .. } => {
                "an emulator on a busy machine can be slow, and --verbose shows its log; a board with a chip needs its program first: docs/boards/chips.md"
                    .into()
            }
            Self::Connect { port, source } => connecting(port, source),
            Self::Version { .. } => "build program and firmware from the same sources".into(),
            Self::Refused { code, .. } => match code {
                ErrorCode::Model => "see what is wrong with it: pinhole inspect MODEL".into(),
                ErrorCode::Bank => {
                    "embed the class names for this model again: pinhole embed --help".into()
                }
                ErrorCode::Memory => {
                    "take a model with a smaller arena: pinhole inspect MODEL".into()
                }
                ErrorCode::Picture => "take a smaller picture".into(),
                ErrorCode::Class => {
                    "pinhole classes list says which there are, pinhole classes add --replace gives one another embedding".into()
                }
                ErrorCode::Locked => {
                    "name the private key that belongs to the board's: --unlock KEY".into()
                }
                ErrorCode::Key => {
                    "pinhole board stats says whether the board has a key; its private key goes to --unlock".into()
                }
                ErrorCode::Upload | ErrorCode::Storage => {
                    "see what lies in the slots: pinhole board slots".into()
                }
                ErrorCode::Live => {
                    "pinhole monitor --help says which modes and settings there are".into()
                }
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// What to do when there is nobody at a port.
fn connecting(port: &str, fault: &std::io::Error) -> String {
    if crate::wire::is_address(port) {
        return format!("start a board there: pinhole-linux --flash board.bin --listen {port}");
    }
    match fault.kind() {
        ErrorKind::PermissionDenied => {
            "serial ports belong to a group: sudo usermod -aG dialout $USER, then log in again"
                .into()
        }
        ErrorKind::ResourceBusy => "end the other program, pinhole monitor perhaps".into(),
        _ => {
            let found = crate::serial_ports();
            let nearest = crate::nearest(port, found.iter().map(String::as_str));
            match nearest {
                Some(nearest) => format!(
                    "of the serial ports here the nearest name is {nearest}; there are {}",
                    found.join(", ")
                ),
                None => "this machine has no serial port: plug the board in; ADDRESS:PORT names a socket".into(),
            }
        }
    }
}

impl From<crate::Missing> for DeviceError {
    fn from(missing: crate::Missing) -> Self {
        Self::Missing {
            what: missing.what,
            get: missing.get,
        }
    }
}
