//! The loop of a device: a request, what it asks for, its reply.
//!
//! Requests that only read are served over a [`Loaded`] model and bank, which lie in the flash and are borrowed from the
//! storage. One that writes ends that loan: the write happens, and the next request that needs them loads them anew. With a
//! camera ([`App::serve_live`]) frames are taken between requests, over the same loan.

mod change;
mod frame;
mod gate;
mod live;
mod read;
mod report;

use crate::load::{Loaded, NotReady};
use crate::log::{info, warn_display};
use crate::port::{Arrival, Port};
use crate::stats::paint;
use crate::storage::{Kind, MappedFlash, Storage};
use embedded_io::{Read, Write};
use gate::Gate;
pub use gate::NonceSource;
use pinhole_protocol::{ErrorCode, Reply, Request};
use pinhole_runtime::kernel::Kernels;
use read::{Left, Session};
use zerocopy::FromBytes;

/// The memory that a board gives to the application, beside its flash.
#[derive(Debug)]
pub struct Memory<'a> {
    /// For the values of a run; starts at a 16-byte boundary.
    pub arena: &'a mut [u8],
    /// For the preparation of a picture: one row of it, and what the runtime's preprocessing needs.
    pub scratch: &'a mut [u32],
}

/// The application over the models and banks of a storage.
pub struct App<'a, F> {
    board: &'a str,
    kernels: &'static dyn Kernels,
    storage: Storage<F>,
    memory: Memory<'a>,
    port: Port,
    gate: Gate<'a>,
}

/// Why [`App::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The line ended.
    EndOfLine,
    /// The host asked to stop.
    Shutdown,
    /// The host asked to start again, and has its answer. A board that cannot may serve on.
    Reboot,
}

/// Which part of the application answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// [`read`]: it needs model and bank.
    Read,
    /// [`report`]: it needs the storage as it is.
    Report,
    /// [`change`]: it writes.
    Change,
    /// [`live`]: it is for the camera and what is made of its frames.
    Live,
    /// [`gate`]: keys and who may write.
    Key,
    Shutdown,
    Reboot,
}

impl Part {
    fn of(request: &Request<'_>) -> Self {
        match request {
            Request::Hello
            | Request::Begin(_)
            | Request::Rows { .. }
            | Request::End
            | Request::ListClasses { .. }
            | Request::SelfTest => Self::Read,
            Request::Statistics | Request::Slots => Self::Report,
            Request::AddClass(_)
            | Request::RemoveClass { .. }
            | Request::ReplaceClass(_)
            | Request::BeginUpload { .. }
            | Request::UploadChunk { .. }
            | Request::FinishUpload
            | Request::CancelUpload
            | Request::Activate { .. }
            | Request::SelectSlot { .. }
            | Request::SetThreshold { .. } => Self::Change,
            Request::SetMode { .. }
            | Request::SetSmoothing(_)
            | Request::SetReports(_)
            | Request::SetLog { .. }
            | Request::LiveStatus
            | Request::OperatorTimes { .. } => Self::Live,
            Request::Challenge
            | Request::Authenticate { .. }
            | Request::Provision { .. }
            | Request::ReplaceKey { .. } => Self::Key,
            Request::Shutdown => Self::Shutdown,
            Request::Reboot => Self::Reboot,
        }
    }
}

impl<'a, F: MappedFlash> App<'a, F> {
    /// Logs what the storage found, and paints the arena. A fault is told to whoever asks over the line, so that a board with a bad image is not
    /// mute, and takes another one.
    pub fn new(
        board: &'a str,
        storage: Storage<F>,
        memory: Memory<'a>,
        kernels: &'static dyn Kernels,
    ) -> Self {
        for kind in [Kind::Model, Kind::Bank] {
            match (report::file(&storage, kind), storage.fallback(kind)) {
                (Err(missing), _) => warn_display!("{}", missing),
                (Ok(_), Some(fault)) => warn_display!("fell back: {}", fault),
                (Ok(_file), None) => info!("{=str} of {=usize} bytes", kind.name(), _file.len()),
            }
        }
        paint(arena_words(memory.arena));
        Self {
            board,
            kernels,
            storage,
            memory,
            port: Port::new(),
            gate: Gate::default(),
        }
    }

    /// Where nonces come from. Without a source a device with a key takes no change over a line.
    #[must_use]
    pub fn with_nonces(mut self, source: &'a mut dyn NonceSource) -> Self {
        self.gate = Gate::new(source);
        self
    }

    /// Whether there is a sound model with a bank of its own.
    ///
    /// # Errors
    /// What every request that needs them is answered with.
    pub fn ready(&self) -> Result<(), NotReady<'_>> {
        Loaded::of(&self.storage, self.memory.arena.len()).map(drop)
    }

    /// The storage, for another start.
    pub fn into_storage(self) -> Storage<F> {
        self.storage
    }

    /// Serves requests until the line ends or the host asks to stop or to start again, of a board without a camera. Whoever was
    /// let in has to show the key again on the next line.
    ///
    /// # Errors
    /// Those of the line.
    pub fn serve<L: Read + Write>(&mut self, line: &mut L) -> Result<Served, L::Error> {
        self.gate.close();
        // A request that came and is not answered yet.
        let mut pending = false;
        loop {
            if !pending && self.port.wait(line)? == Arrival::End {
                return Ok(Served::EndOfLine);
            }
            pending = false;
            match self.port.request().map(|request| Part::of(&request)) {
                Ok(Part::Read) => match self.session().serve(line)? {
                    Left::EndOfLine => return Ok(Served::EndOfLine),
                    Left::Unanswered => pending = true,
                    Left::Blind => {}
                },
                Ok(Part::Live) => {
                    let reason = &"this board has no camera";
                    self.port.fail(line, ErrorCode::Live, 0, reason)?;
                }
                Ok(Part::Report) => report::answer(&mut self.port, &self.storage, line)?,
                Ok(Part::Change) if !self.gate.is_open(&self.storage) => {
                    let fault = &gate::Fault::Locked::<F::Error>;
                    self.port.fail(line, ErrorCode::Locked, 0, fault)?;
                }
                Ok(Part::Change) => change::answer(&mut self.port, &mut self.storage, line)?,
                Ok(Part::Key) => {
                    gate::answer(&mut self.gate, &mut self.port, &mut self.storage, line)?;
                }
                Ok(Part::Reboot) => {
                    self.port.reply(line, &Reply::Received(0))?;
                    return Ok(Served::Reboot);
                }
                Ok(Part::Shutdown) => {
                    self.port.reply(line, &Reply::Received(0))?;
                    return Ok(Served::Shutdown);
                }
                Err(fault) => self.port.fail(line, ErrorCode::Unknown, 0, &fault)?,
            }
        }
    }

    fn session(&mut self) -> Session<'_> {
        Session {
            board: self.board,
            kernels: self.kernels,
            loaded: Loaded::of(&self.storage, self.memory.arena.len()),
            arena: self.memory.arena,
            scratch: self.memory.scratch,
            port: &mut self.port,
        }
    }
}

/// The whole words of an arena, which starts at a 16-byte boundary.
fn arena_words(arena: &mut [u8]) -> &mut [u32] {
    let words = arena.len() / size_of::<u32>();
    <[u32]>::mut_from_prefix_with_elems(arena, words).map_or(&mut [], |(words, _)| words)
}
