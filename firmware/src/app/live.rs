//! The loop of a device with a camera: requests first, then a frame when one is due.

use super::read::{Left, Next, Session};
use super::{App, Part, Served, arena_words, change, gate, report};
use crate::live::{Due, Live};
use crate::log;
use crate::port::{Arrival, Port, Waiting};
use crate::stats::arena_high_water_bytes;
use crate::storage::MappedFlash;
use core::fmt;
use embedded_io::{Read, ReadReady, Write};
use pinhole_protocol::{BoundedText, ErrorCode, LogLevel, LogLine, MemoryMark, Reply, Request};

/// How long the next chunk of a picture or of an upload keeps frames from their turn.
const CHUNK_MS: u64 = 2000;

/// Waits for a host as long as frames and the watchdog can.
pub(super) struct Impatient<'l, 'a>(pub(super) &'l mut Live<'a>);

impl<L: Read + ReadReady + Write> Waiting<L> for Impatient<'_, '_> {
    fn wait(&mut self, port: &mut Port, line: &mut L) -> Result<Arrival, L::Error> {
        let live = &mut *self.0;
        if !live.is_impatient() {
            return port.wait(line);
        }
        let start = live.now_ms();
        loop {
            let arrival = port.poll(line)?;
            if arrival != Arrival::Silence || live.now_ms() - start >= CHUNK_MS {
                return Ok(arrival);
            }
            live.clock.pause();
        }
    }
}

/// What ended a wait.
enum Woken {
    Arrival(Arrival),
    Frame,
}

/// Waits for a request or until a frame is due.
fn sleep<L: Read + ReadReady + Write>(
    port: &mut Port,
    line: &mut L,
    live: &mut Live<'_>,
) -> Result<Woken, L::Error> {
    loop {
        match port.poll(line)? {
            Arrival::Silence => {}
            arrival => return Ok(Woken::Arrival(arrival)),
        }
        match live.next() {
            Due::Frame(action) => {
                live.action = action;
                return Ok(Woken::Frame);
            }
            Due::Later => live.clock.pause(),
            Due::Request => return port.wait(line).map(Woken::Arrival),
        }
    }
}

/// Logs a line, and pushes it where the host wants that.
pub(super) fn tell<L: Write>(
    port: &mut Port,
    line: &mut L,
    live: &Live<'_>,
    level: LogLevel,
    text: fmt::Arguments<'_>,
) -> Result<(), L::Error> {
    if !log::is_on(level) {
        return Ok(());
    }
    let text = BoundedText::of(&text);
    log::line(level, &text);
    match live.reports.log {
        true => port.push(line, &Reply::Log(LogLine { level, text })),
        false => Ok(()),
    }
}

impl<F: MappedFlash> App<'_, F> {
    /// Serves requests and takes frames of a camera until the line ends or the host asks to stop or to start again. Whoever was let
    /// in has to show the key again on the next line.
    ///
    /// A request is answered as soon as the frame that is being taken is finished. While chunks of a picture or of an upload
    /// follow each other within two seconds, no frames are taken.
    ///
    /// # Errors
    /// Those of the line. What fails at the camera, the model or the bank is counted, told and survived.
    pub fn serve_live<L: Read + ReadReady + Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
    ) -> Result<Served, L::Error> {
        self.gate.close();
        let mut pending = false;
        loop {
            if !pending {
                pending = match self.next_request(line, live)? {
                    Woken::Arrival(Arrival::End) => return Ok(Served::EndOfLine),
                    Woken::Arrival(Arrival::Frame) => true,
                    Woken::Arrival(Arrival::Silence) => continue,
                    Woken::Frame => false,
                };
            }
            let part = match (pending, self.port.request()) {
                (false, _) => Part::Read,
                (true, Ok(request)) => Part::of(&request),
                (true, Err(fault)) => {
                    self.port.fail(line, ErrorCode::Unknown, 0, &fault)?;
                    pending = false;
                    continue;
                }
            };
            let answer = core::mem::take(&mut pending);
            match part {
                Part::Read | Part::Live => match self.session().serve_live(line, live, answer)? {
                    Left::EndOfLine => return Ok(Served::EndOfLine),
                    Left::Unanswered => pending = true,
                    Left::Blind => self.go_blind(line, live)?,
                },
                Part::Report => report::answer(&mut self.port, &self.storage, line)?,
                Part::Change if !self.gate.is_open(&self.storage) => {
                    let fault = &gate::Fault::Locked::<F::Error>;
                    self.port.fail(line, ErrorCode::Locked, 0, fault)?;
                }
                Part::Key => {
                    gate::answer(&mut self.gate, &mut self.port, &mut self.storage, line)?;
                }
                Part::Reboot => {
                    self.port.reply(line, &Reply::Received(0))?;
                    return Ok(Served::Reboot);
                }
                Part::Change => {
                    change::answer(&mut self.port, &mut self.storage, line)?;
                    live.changed();
                }
                Part::Shutdown => {
                    self.port.reply(line, &Reply::Received(0))?;
                    return Ok(Served::Shutdown);
                }
            }
        }
    }

    /// While an upload comes in, the next chunk has time to come: to check the model anew for a frame in between would take longer
    /// than the chunk.
    fn next_request<L: Read + ReadReady + Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
    ) -> Result<Woken, L::Error> {
        let upload = self.storage.upload();
        if upload.is_some_and(|(upload, received)| received < upload.total_bytes) {
            let arrival = Impatient(live).wait(&mut self.port, line)?;
            if arrival != Arrival::Silence {
                return Ok(Woken::Arrival(arrival));
            }
        }
        sleep(&mut self.port, line, live)
    }

    /// Model or bank are refused: frames wait until something changes, and the board stays on the line.
    fn go_blind<L: Write>(&mut self, line: &mut L, live: &mut Live<'_>) -> Result<(), L::Error> {
        if !live.go_blind() {
            return Ok(());
        }
        let Session { loaded, port, .. } = self.session();
        match loaded {
            Err(fault) => tell(port, line, live, LogLevel::Error, format_args!("{fault}")),
            Ok(_) => Ok(()),
        }
    }
}

impl Session<'_> {
    /// Answers the request that came, when one did, and those after it that read; takes the frames that are due between them.
    pub(super) fn serve_live<L: Read + ReadReady + Write>(
        mut self,
        line: &mut L,
        live: &mut Live<'_>,
        answer: bool,
    ) -> Result<Left, L::Error> {
        let mut next = match answer {
            true => Next::Answer,
            false => self.frame(line, live)?,
        };
        loop {
            next = match next {
                Next::Leave(left) => return Ok(left),
                Next::Answer => self.answer_live(line, live)?,
                Next::Wait => match sleep(self.port, line, live)? {
                    Woken::Arrival(Arrival::End) => Next::Leave(Left::EndOfLine),
                    Woken::Arrival(Arrival::Frame) => Next::Answer,
                    Woken::Arrival(Arrival::Silence) => Next::Wait,
                    Woken::Frame => self.frame(line, live)?,
                },
            };
        }
    }

    fn answer_live<L: Read + ReadReady + Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
    ) -> Result<Next, L::Error> {
        let done = match self.port.request() {
            Ok(Request::SetMode { mode }) => live.set_mode(mode),
            Ok(Request::SetSmoothing(smoothing)) => live.set_smoothing(smoothing),
            Ok(Request::SetReports(reports)) => {
                live.set_reports(reports);
                Ok(())
            }
            Ok(Request::SetLog { level }) => {
                log::set_level(level);
                Ok(())
            }
            Ok(Request::LiveStatus) => {
                let arena = MemoryMark {
                    used: arena_high_water_bytes(arena_words(self.arena)) as u32,
                    bytes: self.arena.len() as u32,
                };
                let status = live.status(arena);
                self.port.reply(line, &Reply::LiveStatus(status))?;
                return Ok(Next::Wait);
            }
            Ok(Request::OperatorTimes { from }) => {
                self.time_operators(line, live, from)?;
                return Ok(Next::Wait);
            }
            _ => return self.answer(line, &mut Impatient(live)),
        };
        match done {
            Ok(()) => self.port.reply(line, &Reply::Received(0))?,
            Err(refused) => self.port.fail(line, ErrorCode::Live, 0, &refused)?,
        }
        Ok(Next::Wait)
    }
}
