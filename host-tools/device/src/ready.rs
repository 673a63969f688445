//! A board that is ready for pictures: one started with a model and a bank in its flash, or one that runs already.

use crate::{BoardInfo, BoardResult, BoardSpec, DeviceError, RgbRows, RunningBoard};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What boards with chips set, see `docs/boards/chips.md`.
pub const BAUD: u32 = 921_600;

/// How to run a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Write the board's log to standard error as it comes.
    pub show_log: bool,
    /// The file in which the board's flash is kept, made when it is not there. A temporary one when left out.
    pub flash: Option<PathBuf>,
    /// Bits a second of a serial port, as the firmware sets them.
    pub baud: u32,
    /// Emulated time goes with the instructions, as many nanoseconds as are executed, and not with the time of this machine.
    pub counts_instructions: bool,
    /// More arguments for the program of a board that is a process: its camera, see `pinhole-linux --help`.
    pub arguments: Vec<String>,
    /// What runs the program of a board that is a process: words in front of it, as `qemu-aarch64`.
    pub runner: Vec<String>,
}

impl Default for Options {
    /// Three minutes, for an emulator on a busy machine.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(180),
            show_log: false,
            flash: None,
            baud: BAUD,
            counts_instructions: false,
            arguments: Vec::new(),
            runner: Vec::new(),
        }
    }
}

/// A running board with a sound model and bank. Dropping it ends the emulator.
pub struct ReadyBoard {
    board: RunningBoard,
    info: BoardInfo,
}

impl ReadyBoard {
    /// Starts the firmware with a model and a bank in their partitions of the flash, and waits until it answers. What is
    /// `None` stays as it is in the flash.
    ///
    /// # Errors
    /// Before anything is started: when the emulator or a file is missing, a file is too large, or the model needs a larger
    /// arena than the board has. Then when the board refuses the model or the bank.
    pub fn start(
        board: &BoardSpec,
        firmware: &Path,
        model: Option<&Path>,
        bank: Option<&Path>,
        options: &Options,
    ) -> Result<Self, DeviceError> {
        Self::ready(RunningBoard::start(board, firmware, model, bank, options)?)
    }

    /// A board that runs already, see [`RunningBoard::connect`].
    ///
    /// # Errors
    /// When it does not answer, or has no sound model and bank.
    pub fn connect(port: &str, options: &Options) -> Result<Self, DeviceError> {
        Self::ready(RunningBoard::connect(port, options)?)
    }

    fn ready(mut board: RunningBoard) -> Result<Self, DeviceError> {
        let info = board.ask(|link| link.hello())?;
        Ok(Self { board, info })
    }

    /// What the board said when it was started.
    pub fn info(&self) -> &BoardInfo {
        &self.info
    }

    /// The board, to change what it holds. [`ReadyBoard::info`] stays what it was.
    pub fn running(&mut self) -> &mut RunningBoard {
        &mut self.board
    }

    /// Sends a picture and returns what the board says about it, with its five best classes.
    ///
    /// # Errors
    /// When the board refuses the picture, stops or does not answer.
    pub fn classify(&mut self, picture: &RgbRows<'_>) -> Result<BoardResult, DeviceError> {
        self.classify_top(picture, 5)
    }

    /// As [`ReadyBoard::classify`] with the `top` best classes, at most 8.
    ///
    /// # Errors
    /// As [`ReadyBoard::classify`].
    pub fn classify_top(
        &mut self,
        picture: &RgbRows<'_>,
        top: usize,
    ) -> Result<BoardResult, DeviceError> {
        self.board.ask(|link| link.classify(picture, top))
    }
}
