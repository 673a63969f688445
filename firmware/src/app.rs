//! The loop of a device: a request, what it asks for, its reply.

use crate::load::{Fault, Loaded};
use crate::log::{info, warn_display};
use crate::picture::Picture;
use crate::port::{Arrival, Port};
use embedded_io::{Read, Write};
use pinhole_protocol::message::cut;
use pinhole_protocol::{
    Begin, Classified, ErrorCode, Info, MAX_LABEL_BYTES, MAX_NAME_BYTES, MAX_TOP, Reply, Request,
    TopClass,
};
use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::preprocess::S8Sink;
use pinhole_runtime::score::{Ranked, score_with_zero_point};
use zerocopy::IntoBytes;

/// The memory that a board gives to the application.
#[derive(Debug)]
pub struct Memory<'a> {
    /// The model file, read in place; starts at a 16-byte boundary. See [`crate::model_image`].
    pub model: &'a [u8],
    /// The class bank, read in place. See [`crate::bank_image`].
    pub bank: &'a [u8],
    /// For the values of a run; starts at a 16-byte boundary.
    pub arena: &'a mut [u8],
    /// For the preparation of a picture: one row of it, and what the runtime's preprocessing needs.
    pub scratch: &'a mut [u32],
}

/// The application over one model and one bank.
pub struct App<'a> {
    board: &'a str,
    kernels: &'static dyn Kernels,
    loaded: Result<Loaded<'a>, Fault>,
    arena: &'a mut [u8],
    scratch: &'a mut [u32],
    port: Port,
}

/// Why [`App::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The line ended.
    EndOfLine,
    /// The host asked to stop.
    Shutdown,
}

/// What comes after a request.
enum Next {
    Idle,
    Hello,
    Open(Begin),
    Return(Served),
}

impl<'a> App<'a> {
    /// Checks model and bank. A fault is told to whoever asks over the line, so that a board with a bad image is not mute.
    pub fn new(board: &'a str, memory: Memory<'a>, kernels: &'static dyn Kernels) -> Self {
        let loaded = Loaded::load(memory.model, memory.bank, memory.arena.len());
        match &loaded {
            Ok(_loaded) => info!(
                "model of {=usize} bytes, {=usize} classes",
                _loaded.model.bytes().len(),
                _loaded.bank.class_count()
            ),
            Err(fault) => warn_display!("{}", fault),
        }
        Self {
            board,
            kernels,
            loaded,
            arena: memory.arena,
            scratch: memory.scratch,
            port: Port::new(),
        }
    }

    /// Whether there is a sound model with a bank of its own.
    ///
    /// # Errors
    /// The [`Fault`] that every request is answered with.
    pub fn ready(&self) -> Result<(), Fault> {
        self.loaded.map(|_| ())
    }

    /// Serves requests until the line ends or the host asks to stop.
    ///
    /// # Errors
    /// Those of the line.
    pub fn serve<L: Read + Write>(&mut self, line: &mut L) -> Result<Served, L::Error> {
        let mut next = Next::Idle;
        loop {
            next = match next {
                Next::Idle => self.idle(line)?,
                Next::Hello => {
                    self.hello(line)?;
                    Next::Idle
                }
                Next::Open(begin) => self.picture(line, &begin)?,
                Next::Return(served) => return Ok(served),
            };
        }
    }

    /// One request while no picture is open.
    fn idle<L: Read + Write>(&mut self, line: &mut L) -> Result<Next, L::Error> {
        if self.port.wait(line)? == Arrival::End {
            return Ok(Next::Return(Served::EndOfLine));
        }
        match self.port.request() {
            Ok(Request::Hello) => return Ok(Next::Hello),
            Ok(Request::Begin(begin)) => return Ok(Next::Open(begin)),
            Ok(Request::Rows { .. } | Request::End) => {
                let reason = &"there is no open picture";
                self.port.fail(line, ErrorCode::NoPicture, 0, reason)?;
            }
            Ok(Request::Shutdown) => {
                self.port.reply(line, &Reply::Received(0))?;
                return Ok(Next::Return(Served::Shutdown));
            }
            Err(fault) => self.port.fail(line, ErrorCode::Unknown, 0, &fault)?,
        }
        Ok(Next::Idle)
    }

    fn hello<L: Write>(&mut self, line: &mut L) -> Result<(), L::Error> {
        let loaded = match &self.loaded {
            Ok(loaded) => loaded,
            Err(fault) => return self.port.fail(line, fault.code(), 0, fault),
        };
        let header = loaded.model.header();
        let info = Info {
            board: cut(self.board, MAX_LABEL_BYTES),
            kernels: cut(self.kernels.name(), MAX_LABEL_BYTES),
            model_bytes: header.file_bytes.get(),
            model_crc32: header.crc32.get(),
            arena_bytes: header.arena_bytes.get(),
            arena_capacity_bytes: self.arena.len() as u32,
            scratch_capacity_bytes: size_of_val(self.scratch) as u32,
            embedding_space: loaded.model.embedding_space(),
            dim: loaded.bank.dim() as u32,
            class_count: loaded.bank.class_count() as u32,
        };
        self.port.reply(line, &Reply::Info(info))
    }

    /// Takes the picture that `begin` announced, up to its answer or up to a request that drops it.
    fn picture<L: Read + Write>(&mut self, line: &mut L, begin: &Begin) -> Result<Next, L::Error> {
        let port = &mut self.port;
        let loaded = match &self.loaded {
            Ok(loaded) => loaded,
            Err(fault) => {
                port.fail(line, fault.code(), 0, fault)?;
                return Ok(Next::Idle);
            }
        };
        let mut interpreter = match Interpreter::new(&loaded.model, self.arena, self.kernels) {
            Ok(interpreter) => interpreter,
            Err(fault) => {
                port.fail(line, ErrorCode::Memory, 0, &fault)?;
                return Ok(Next::Idle);
            }
        };
        let input = interpreter.input_s8_mut(0).unwrap_or_default();
        let opened = S8Sink::new(
            self.kernels,
            &loaded.geometry,
            loaded.input_scale,
            loaded.input_zero_point,
            input,
        )
        .and_then(|sink| {
            Ok((
                sink,
                Picture::new(self.kernels, begin, &loaded.geometry, self.scratch)?,
            ))
        });
        let (mut sink, mut picture) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                port.fail(line, ErrorCode::Picture, 0, &fault)?;
                return Ok(Next::Idle);
            }
        };
        port.reply(line, &Reply::Received(0))?;
        if let Some(next) = receive(port, line, &mut picture, &mut sink)? {
            return Ok(next);
        }
        if let Err(fault) = picture.finish(&mut sink) {
            port.fail(line, ErrorCode::Picture, 0, &fault)?;
            return Ok(Next::Idle);
        }
        interpreter.run();
        answer(port, line, self.kernels, loaded, &interpreter, begin.top)?;
        Ok(Next::Idle)
    }
}

/// Takes chunks until the picture is complete and its end is announced; `Some` when another request dropped it.
fn receive<L: Read + Write>(
    port: &mut Port,
    line: &mut L,
    picture: &mut Picture<'_>,
    sink: &mut S8Sink<'_>,
) -> Result<Option<Next>, L::Error> {
    loop {
        if port.wait(line)? == Arrival::End {
            return Ok(Some(Next::Return(Served::EndOfLine)));
        }
        let received = picture.received();
        match port.request() {
            Ok(Request::Rows { offset, .. }) if offset > received => {
                let reason = &"the chunk leaves a gap";
                port.fail(line, ErrorCode::Offset, received, reason)?;
            }
            // What came already came by a reply that was lost.
            Ok(Request::Rows { offset, .. }) if offset < received => {
                port.reply(line, &Reply::Received(received))?;
            }
            Ok(Request::Rows { bytes, .. }) => {
                if let Err(fault) = picture.push(bytes, sink) {
                    port.fail(line, ErrorCode::Picture, received, &fault)?;
                    return Ok(Some(Next::Idle));
                }
                port.reply(line, &Reply::Received(picture.received()))?;
            }
            Ok(Request::End) if received < picture.bytes() => {
                let reason = &"the picture is not complete";
                port.fail(line, ErrorCode::Offset, received, reason)?;
            }
            Ok(Request::End) => return Ok(None),
            Ok(Request::Begin(begin)) => return Ok(Some(Next::Open(begin))),
            Ok(Request::Hello) => return Ok(Some(Next::Hello)),
            Ok(Request::Shutdown) => {
                port.reply(line, &Reply::Received(0))?;
                return Ok(Some(Next::Return(Served::Shutdown)));
            }
            Err(fault) => port.fail(line, ErrorCode::Unknown, received, &fault)?,
        }
    }
}

/// Scores the embedding and replies.
fn answer<L: Write>(
    port: &mut Port,
    line: &mut L,
    kernels: &dyn Kernels,
    loaded: &Loaded<'_>,
    interpreter: &Interpreter<'_, '_>,
    top: u8,
) -> Result<(), L::Error> {
    let embedding = interpreter.output_s8(0).unwrap_or_default();
    let mut ranked = [Ranked::default(); MAX_TOP];
    let wanted = usize::from(top).min(MAX_TOP);
    let ranked = ranked.get_mut(..wanted).unwrap_or_default();
    let scored = score_with_zero_point(
        kernels,
        &loaded.bank,
        embedding,
        loaded.output_zero_point,
        ranked,
    );
    let verdict = match scored {
        Ok(verdict) => verdict,
        Err(fault) => return port.fail(line, ErrorCode::Bank, 0, &fault),
    };
    let name = |index: u32| {
        let class = loaded.bank.class(index as usize);
        class.map_or("", |class| cut(class.name, MAX_NAME_BYTES))
    };
    let classified = Classified {
        embedding: embedding.as_bytes(),
        top: ranked
            .iter()
            .take(verdict.ranked)
            .map(|entry| TopClass {
                class_index: entry.class_index,
                cosine: entry.cosine,
                probability: entry.probability,
                name: name(entry.class_index),
            })
            .collect(),
        energy: verdict.energy,
        rejected: verdict.rejected,
    };
    info!(
        "class {=u32}, cosine {=f32}",
        verdict.best.class_index, verdict.best.cosine
    );
    port.reply(line, &Reply::Classified(classified))
}
