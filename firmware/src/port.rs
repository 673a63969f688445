//! One end of the line: requests out of bytes, replies into bytes.

use crate::log::warn_display;
use embedded_io::{Read, ReadReady, Write};
use pinhole_protocol::{
    BoundedText, Decoder, ErrorCode, Failure, FrameFault, MAX_BODY_BYTES, MessageFault,
    NO_SEQUENCE, Reply, Request, Status, body, decode, encode,
};

/// Bytes read from the line at once.
const READ_BYTES: usize = 256;

/// Buffers of a line.
#[derive(Debug)]
pub(crate) struct Port {
    decoder: Decoder,
    body: [u8; MAX_BODY_BYTES],
    bytes: [u8; READ_BYTES],
    /// The part of `bytes` that is not decoded yet.
    pending: core::ops::Range<usize>,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A frame, see [`Port::request`].
    Frame,
    /// The line ended.
    End,
    /// Nothing, and the time for it is over.
    Silence,
}

/// How the next frame is waited for.
pub(crate) trait Waiting<L: Read + Write> {
    /// Waits for the next whole frame.
    fn wait(&mut self, port: &mut Port, line: &mut L) -> Result<Arrival, L::Error>;
}

/// Until it comes.
pub(crate) struct Patient;

impl<L: Read + Write> Waiting<L> for Patient {
    fn wait(&mut self, port: &mut Port, line: &mut L) -> Result<Arrival, L::Error> {
        port.wait(line)
    }
}

impl Port {
    pub(crate) const fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            body: [0; MAX_BODY_BYTES],
            bytes: [0; READ_BYTES],
            pending: 0..0,
        }
    }

    /// Waits for the next whole frame; answers damaged ones.
    pub(crate) fn wait<L: Read + Write>(&mut self, line: &mut L) -> Result<Arrival, L::Error> {
        loop {
            if self.decode(line)? {
                return Ok(Arrival::Frame);
            }
            match line.read(&mut self.bytes)? {
                0 => return Ok(Arrival::End),
                count => self.pending = 0..count,
            }
        }
    }

    /// As [`Port::wait`], and [`Arrival::Silence`] when nothing more is there for now.
    pub(crate) fn poll<L: Read + ReadReady + Write>(
        &mut self,
        line: &mut L,
    ) -> Result<Arrival, L::Error> {
        loop {
            if self.decode(line)? {
                return Ok(Arrival::Frame);
            }
            if !line.read_ready()? {
                return Ok(Arrival::Silence);
            }
            match line.read(&mut self.bytes)? {
                0 => return Ok(Arrival::End),
                count => self.pending = 0..count,
            }
        }
    }

    /// Decodes what was read, up to the end of a frame, and answers damaged ones; whether there is a whole one.
    fn decode<L: Write>(&mut self, line: &mut L) -> Result<bool, L::Error> {
        loop {
            let pending = self.bytes.get(self.pending.clone()).unwrap_or_default();
            let (taken, status) = self.decoder.take(pending);
            self.pending.start += taken;
            match status {
                Status::Complete => return Ok(true),
                Status::Refused(fault) => {
                    warn_display!("{}", fault);
                    let code = match fault {
                        FrameFault::Version { .. } => ErrorCode::Version,
                        _ => ErrorCode::Damaged,
                    };
                    self.fail(line, code, 0, &fault)?;
                }
                Status::Incomplete => return Ok(false),
            }
        }
    }

    /// The request of the last frame.
    pub(crate) fn request(&self) -> Result<Request<'_>, MessageFault> {
        decode(self.decoder.body())
    }

    /// Answers the last frame.
    pub(crate) fn reply<L: Write>(
        &mut self,
        line: &mut L,
        reply: &Reply<'_>,
    ) -> Result<(), L::Error> {
        self.send(line, self.decoder.sequence(), reply)
    }

    /// Tells what answers no request.
    pub(crate) fn push<L: Write>(
        &mut self,
        line: &mut L,
        reply: &Reply<'_>,
    ) -> Result<(), L::Error> {
        self.send(line, NO_SEQUENCE, reply)
    }

    fn send<L: Write>(
        &mut self,
        line: &mut L,
        sequence: u8,
        reply: &Reply<'_>,
    ) -> Result<(), L::Error> {
        // Every reply keeps to the limits of the protocol: names are cut, and `Loaded` bounds the embedding.
        let body = body(reply, &mut self.body).unwrap_or_default();
        // The zero in front ends what noise there may be on the line.
        line.write_all(&[0])?;
        encode(sequence, body, |part| line.write_all(part))?;
        line.flush()
    }

    /// Answers the last frame by a failure.
    pub(crate) fn fail<L: Write>(
        &mut self,
        line: &mut L,
        code: ErrorCode,
        received: u32,
        reason: &dyn core::fmt::Display,
    ) -> Result<(), L::Error> {
        let failure = Failure {
            code,
            received,
            text: BoundedText::of(reason),
        };
        self.reply(line, &Reply::Failed(failure))
    }
}
