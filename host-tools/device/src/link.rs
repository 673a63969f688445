//! The host's side of the protocol over any stream: asks, waits with a timeout, sends again what was damaged.

use crate::{DeviceError, Pushed};
use pinhole_protocol::{
    Begin, Decoder, ErrorCode, FIRST_SEQUENCE, FrameFault, MAX_BODY_BYTES, MAX_CHUNK_BYTES,
    MAX_TOP, NO_SEQUENCE, PROTOCOL_VERSION, PixelLayout, Reply, Request, Status, body, decode,
    encode,
};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// How often a request whose frame was damaged is sent.
const ATTEMPTS: usize = 4;

/// A picture in memory, rows from the top, without padding.
#[derive(Clone, Copy, Debug)]
pub struct RgbRows<'a> {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Red, green, blue; shape (height, width, 3).
    pub bytes: &'a [u8],
}

/// A device and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardInfo {
    /// The board's name.
    pub board: String,
    /// The kernel set that it computes with.
    pub kernels: String,
    /// Length of the model file that it holds.
    pub model_bytes: u32,
    /// CRC-32 in the header of that model.
    pub model_crc32: u32,
    /// RAM that a run of the model takes.
    pub arena_bytes: u32,
    /// RAM that the board has for it.
    pub arena_capacity_bytes: u32,
    /// RAM that the board has for preparing a picture.
    pub scratch_capacity_bytes: u32,
    /// The embedding space of model and bank.
    pub embedding_space: [u8; 16],
    /// Elements of an embedding.
    pub dim: u32,
    /// Classes in the bank.
    pub class_count: u32,
}

/// What a board says about a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardResult {
    /// The int8 embedding; shape (dim).
    pub embedding: Vec<i8>,
    /// The best classes, falling.
    pub top: Vec<BoardClass>,
    /// Energy of the logits.
    pub energy: f32,
    /// In no class.
    pub rejected: bool,
}

/// A class in the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardClass {
    /// Its place in the bank.
    pub class_index: u32,
    /// Its name; cut at 128 bytes.
    pub name: String,
    /// Cosine of picture and class.
    pub cosine: f32,
    /// Softmax over all classes of the bank.
    pub probability: f32,
}

/// A device at the other end of a stream, whose reads time out so that a silent device is noticed.
pub struct Link<S> {
    stream: S,
    decoder: Box<Decoder>,
    /// Bytes read and not yet decoded.
    pending: Vec<u8>,
    timeout: Duration,
    /// Of the last request.
    sequence: u8,
    /// What the device pushed and nobody took yet.
    pushed: VecDeque<Pushed>,
    /// When the device was told last that somebody listens.
    said_alive: Instant,
}

/// Messages that a device pushed and that are kept for whoever takes them; older ones are dropped.
const MOST_PUSHED: usize = 256;
/// How often a device that pushes is told that somebody listens.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

impl<S: Read + Write> Link<S> {
    /// A link over `stream`, whose `read` must return `WouldBlock` or `TimedOut` now and then when nothing comes.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            decoder: Box::new(Decoder::new()),
            pending: Vec::new(),
            timeout,
            sequence: NO_SEQUENCE,
            pushed: VecDeque::new(),
            said_alive: Instant::now(),
        }
    }

    /// Waits for replies as long as `timeout` from now on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The next message that the device pushed, waited for as long as `patience`; what it pushes is set by
    /// [`Link::set_reports`].
    ///
    /// # Errors
    /// When the line fails.
    pub fn next_pushed(&mut self, patience: Duration) -> Result<Option<Pushed>, DeviceError> {
        let start = Instant::now();
        loop {
            if let Some(pushed) = self.pushed.pop_front() {
                return Ok(Some(pushed));
            }
            match self.take_frame()? {
                // A late reply: nobody waits for it any more.
                true => _ = self.keep_pushed(),
                false if start.elapsed() >= patience => return Ok(None),
                false => self.read()?,
            }
        }
    }

    /// Keeps the frame that came last when it is a pushed message.
    fn keep_pushed(&mut self) -> bool {
        let pushed = match decode::<Reply<'_>>(self.decoder.body()) {
            Ok(reply) if self.decoder.sequence() == NO_SEQUENCE => Pushed::of(&reply),
            _ => None,
        };
        let Some(pushed) = pushed else {
            return false;
        };
        if self.pushed.len() == MOST_PUSHED {
            self.pushed.pop_front();
        }
        self.pushed.push_back(pushed);
        true
    }

    /// Asks the device what it is.
    ///
    /// # Errors
    /// When the line fails, or the device has no sound model and bank.
    pub fn hello(&mut self) -> Result<BoardInfo, DeviceError> {
        self.ask("hello", &Request::Hello, |reply| match reply {
            Reply::Info(info) => Some(BoardInfo {
                board: info.board.into(),
                kernels: info.kernels.into(),
                model_bytes: info.model_bytes,
                model_crc32: info.model_crc32,
                arena_bytes: info.arena_bytes,
                arena_capacity_bytes: info.arena_capacity_bytes,
                scratch_capacity_bytes: info.scratch_capacity_bytes,
                embedding_space: info.embedding_space,
                dim: info.dim,
                class_count: info.class_count,
            }),
            _ => None,
        })
    }

    /// Sends a picture and returns what the device says about it, with its `top` best classes (at most 8).
    ///
    /// # Errors
    /// When the line fails, or the device refuses the picture.
    pub fn classify(
        &mut self,
        picture: &RgbRows<'_>,
        top: usize,
    ) -> Result<BoardResult, DeviceError> {
        let expected = u64::from(picture.width) * u64::from(picture.height) * 3;
        if picture.bytes.len() as u64 != expected || expected > u64::from(u32::MAX) {
            return Err(DeviceError::PictureLength {
                width: picture.width,
                height: picture.height,
                expected,
                found: picture.bytes.len() as u64,
            });
        }
        let begin = Request::Begin(Begin {
            width: picture.width,
            height: picture.height,
            layout: PixelLayout::Rgb888,
            top: top.min(MAX_TOP) as u8,
        });
        let received = self.ask("begin", &begin, received)?;
        let rows = |offset, bytes| Request::Rows { offset, bytes };
        self.send_all("rows", picture.bytes, received, rows, |_| ())?;
        self.ask("end", &Request::End, |reply| match reply {
            Reply::Classified(classified) => Some(BoardResult {
                embedding: classified.embedding.iter().map(|b| *b as i8).collect(),
                top: classified
                    .top
                    .iter()
                    .map(|class| BoardClass {
                        class_index: class.class_index,
                        name: class.name.into(),
                        cosine: class.cosine,
                        probability: class.probability,
                    })
                    .collect(),
                energy: classified.energy,
                rejected: classified.rejected,
            }),
            _ => None,
        })
    }

    /// Sends what the device does not have yet, in chunks; `done` hears how many bytes it has.
    pub(crate) fn send_all<'a>(
        &mut self,
        name: &'static str,
        bytes: &'a [u8],
        mut received: u32,
        chunk: impl Fn(u32, &'a [u8]) -> Request<'a>,
        mut done: impl FnMut(u32),
    ) -> Result<(), DeviceError> {
        while (received as usize) < bytes.len() {
            let rest = &bytes[received as usize..];
            let chunk = chunk(received, &rest[..rest.len().min(MAX_CHUNK_BYTES)]);
            let now = self.ask(name, &chunk, self::received)?;
            if now <= received || now as usize > bytes.len() {
                return Err(DeviceError::Protocol {
                    request: name,
                    found: format!("{now} bytes received after {received}"),
                });
            }
            received = now;
            done(received);
        }
        Ok(())
    }

    /// Asks the device to stop serving.
    ///
    /// # Errors
    /// When the line fails.
    pub fn shut_down(&mut self) -> Result<(), DeviceError> {
        self.ask("shutdown", &Request::Shutdown, received).map(drop)
    }

    /// Sends a request and takes its reply; sends it again when it was damaged on the way.
    pub(crate) fn ask<T>(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
        take: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let mut attempt = 1;
        loop {
            self.send(name, request)?;
            self.receive(name)?;
            let found = match decode::<Reply<'_>>(self.decoder.body()) {
                Ok(Reply::Failed(failure))
                    if failure.code == ErrorCode::Damaged && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    continue;
                }
                Ok(Reply::Failed(failure)) => {
                    return Err(DeviceError::Refused {
                        request: name,
                        code: failure.code,
                        text: failure.text.as_str().into(),
                    });
                }
                Ok(reply) => match take(&reply) {
                    Some(taken) => return Ok(taken),
                    None => kind(&reply).into(),
                },
                Err(fault) => fault.to_string(),
            };
            return Err(DeviceError::Protocol {
                request: name,
                found,
            });
        }
    }

    fn send(&mut self, name: &'static str, request: &Request<'_>) -> Result<(), DeviceError> {
        let mut room = [0; MAX_BODY_BYTES];
        let body = body(request, &mut room).map_err(|fault| DeviceError::Protocol {
            request: name,
            found: fault.to_string(),
        })?;
        self.sequence = self.sequence.checked_add(1).unwrap_or(FIRST_SEQUENCE);
        // The zero in front ends what noise there may be on the line.
        let mut frame = vec![0];
        let Ok(()) = encode::<Infallible>(self.sequence, body, |part| {
            frame.extend_from_slice(part);
            Ok(())
        });
        self.stream
            .write_all(&frame)
            .and_then(|()| self.stream.flush())
            .map_err(DeviceError::Line)
    }

    /// Waits for the reply to the last request. Skips damaged frames, which are noise of a device that starts, and late
    /// replies to earlier requests; keeps what is pushed meanwhile.
    fn receive(&mut self, name: &'static str) -> Result<(), DeviceError> {
        let start = Instant::now();
        loop {
            if self.take_frame()? {
                let sequence = self.decoder.sequence();
                let is_for_us = [self.sequence, NO_SEQUENCE].contains(&sequence);
                if is_for_us && !self.keep_pushed() {
                    return Ok(());
                }
                continue;
            }
            if start.elapsed() > self.timeout {
                return Err(DeviceError::Timeout {
                    request: name,
                    after: self.timeout,
                });
            }
            self.read()?;
        }
    }

    /// Decodes what was read up to the end of a sound frame; whether there is one.
    fn take_frame(&mut self) -> Result<bool, DeviceError> {
        loop {
            let (taken, status) = self.decoder.take(&self.pending);
            self.pending.drain(..taken);
            match status {
                Status::Complete => return Ok(true),
                Status::Refused(FrameFault::Version { found }) => {
                    return Err(DeviceError::Version {
                        found,
                        expected: PROTOCOL_VERSION,
                    });
                }
                Status::Refused(_) => {}
                Status::Incomplete => return Ok(false),
            }
        }
    }

    /// Reads what comes, or nothing when nothing does.
    fn read(&mut self) -> Result<(), DeviceError> {
        if self.said_alive.elapsed() >= ALIVE_EVERY {
            self.said_alive = Instant::now();
            self.stream.flush().map_err(DeviceError::Line)?;
        }
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(DeviceError::Line(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.pending.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if is_pause(&error) => Ok(()),
            Err(error) => Err(DeviceError::Line(error)),
        }
    }
}

pub(crate) fn received(reply: &Reply<'_>) -> Option<u32> {
    match *reply {
        Reply::Received(count) => Some(count),
        _ => None,
    }
}

/// What a reply is, for a message.
fn kind(reply: &Reply<'_>) -> &'static str {
    match reply {
        Reply::Info(_) => "information",
        Reply::Received(_) => "a number of bytes",
        Reply::Classified(_) => "a classification",
        Reply::Failed(_) => "a failure",
        Reply::Statistics(_) => "statistics",
        Reply::Classes(_) => "class names",
        Reply::Slots(_) => "slots",
        Reply::SelfTested(_) => "a self-test",
        Reply::Challenge(_) => "a challenge",
        Reply::LiveStatus(_) => "counters of frames",
        Reply::OperatorTimes(_) => "times of operators",
        Reply::Live(_) | Reply::Preview(_) | Reply::Log(_) => "what nobody asked for",
    }
}

/// Nothing came yet; the two names of a read that timed out, by system.
fn is_pause(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
