//! Requests that read model and bank: who the device is, pictures, class names, the self-test.

use crate::load::{Loaded, NotReady};
use crate::log::info;
use crate::picture::Picture;
use crate::port::{Arrival, Patient, Port, Waiting};
use embedded_io::{Read, Write};
use heapless::Vec;
use pinhole_protocol::message::cut;
use pinhole_protocol::{
    Begin, Classes, Classified, ErrorCode, Info, MAX_LABEL_BYTES, MAX_NAME_BYTES, MAX_TOP, Reply,
    Request, SelfTest, TopClass,
};
use pinhole_runtime::interpreter::{InputError, Interpreter};
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::preprocess::S8Sink;
use pinhole_runtime::score::{Ranked, ScoreError, Verdict, score_with_zero_point};
use zerocopy::IntoBytes;

use super::Part;

/// A model and a bank, and what serves pictures with them.
pub(super) struct Session<'a> {
    pub(super) board: &'a str,
    pub(super) kernels: &'static dyn Kernels,
    pub(super) loaded: Result<Loaded<'a>, NotReady<'a>>,
    pub(super) arena: &'a mut [u8],
    pub(super) scratch: &'a mut [u32],
    pub(super) port: &'a mut Port,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The line ended.
    EndOfLine,
    /// A request came that is not the session's to answer.
    Unanswered,
    /// There is nothing to classify frames with.
    Blind,
}

/// What comes after a request.
pub(super) enum Next {
    /// Wait for one.
    Wait,
    /// One came and is not answered.
    Answer,
    Leave(Left),
}

impl Session<'_> {
    /// Answers the request that came, and those after it that read.
    pub(super) fn serve<L: Read + Write>(mut self, line: &mut L) -> Result<Left, L::Error> {
        let mut next = Next::Answer;
        loop {
            next = match next {
                Next::Wait if self.port.wait(line)? == Arrival::End => Next::Leave(Left::EndOfLine),
                Next::Wait | Next::Answer => self.answer(line, &mut Patient)?,
                Next::Leave(left) => return Ok(left),
            };
        }
    }

    /// Answers one request while no picture is open.
    pub(super) fn answer<L: Read + Write>(
        &mut self,
        line: &mut L,
        waiting: &mut impl Waiting<L>,
    ) -> Result<Next, L::Error> {
        match self.port.request() {
            Ok(Request::Hello) => self.hello(line)?,
            Ok(Request::Begin(begin)) => return self.picture(line, &begin, waiting),
            Ok(Request::ListClasses { from }) => self.list_classes(line, from)?,
            Ok(Request::SelfTest) => self.self_test(line)?,
            Ok(request) if Part::of(&request) == Part::Read => {
                let reason = &"there is no open picture";
                self.port.fail(line, ErrorCode::NoPicture, 0, reason)?;
            }
            Ok(_) => return Ok(Next::Leave(Left::Unanswered)),
            Err(fault) => self.port.fail(line, ErrorCode::Unknown, 0, &fault)?,
        }
        Ok(Next::Wait)
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
            scratch_capacity_bytes: size_of_val::<[u32]>(self.scratch) as u32,
            embedding_space: loaded.model.embedding_space(),
            dim: loaded.bank.dim() as u32,
            class_count: loaded.bank.class_count() as u32,
        };
        self.port.reply(line, &Reply::Info(info))
    }

    /// The names from `from` on, as many as a reply holds.
    fn list_classes<L: Write>(&mut self, line: &mut L, from: u32) -> Result<(), L::Error> {
        let bank = match &self.loaded {
            Ok(loaded) => &loaded.bank,
            Err(fault) => return self.port.fail(line, fault.code(), 0, fault),
        };
        let names = bank.classes().skip(from as usize);
        let mut listed = Vec::new();
        for class in names {
            if listed.push(cut(class.name, MAX_NAME_BYTES)).is_err() {
                break;
            }
        }
        let classes = Classes {
            total: bank.class_count() as u32,
            written: bank.written_count() as u32,
            from,
            names: listed,
        };
        self.port.reply(line, &Reply::Classes(classes))
    }

    /// Runs the golden input of the model and compares what comes out.
    fn self_test<L: Write>(&mut self, line: &mut L) -> Result<(), L::Error> {
        let loaded = match &self.loaded {
            Ok(loaded) => loaded,
            Err(fault) => return self.port.fail(line, fault.code(), 0, fault),
        };
        match self_test(loaded, self.arena, self.kernels) {
            Ok(result) => self.port.reply(line, &Reply::SelfTested(result)),
            Err(fault) => self.port.fail(line, ErrorCode::Memory, 0, &fault),
        }
    }

    /// Takes the picture that `begin` announced, up to its answer or up to a request that drops it.
    fn picture<L: Read + Write>(
        &mut self,
        line: &mut L,
        begin: &Begin,
        waiting: &mut impl Waiting<L>,
    ) -> Result<Next, L::Error> {
        let port = &mut *self.port;
        let loaded = match &self.loaded {
            Ok(loaded) => loaded,
            Err(fault) => {
                port.fail(line, fault.code(), 0, fault)?;
                return Ok(Next::Wait);
            }
        };
        let mut interpreter = match Interpreter::new(&loaded.model, self.arena, self.kernels) {
            Ok(interpreter) => interpreter,
            Err(fault) => {
                port.fail(line, ErrorCode::Memory, 0, &fault)?;
                return Ok(Next::Wait);
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
                return Ok(Next::Wait);
            }
        };
        port.reply(line, &Reply::Received(0))?;
        if let Some(next) = receive(port, line, waiting, &mut picture, &mut sink)? {
            return Ok(next);
        }
        if let Err(fault) = picture.finish(&mut sink) {
            port.fail(line, ErrorCode::Picture, 0, &fault)?;
            return Ok(Next::Wait);
        }
        interpreter.run();
        answer(port, line, self.kernels, loaded, &interpreter, begin.top)?;
        Ok(Next::Wait)
    }
}

fn self_test(
    loaded: &Loaded<'_>,
    arena: &mut [u8],
    kernels: &'static dyn Kernels,
) -> Result<SelfTest, InputError> {
    let Some(golden) = loaded.model.golden() else {
        return Ok(SelfTest::NoGolden);
    };
    let expected = golden.output;
    let mut interpreter = Interpreter::new(&loaded.model, arena, kernels)?;
    // `ModelFacts` proved that there is one input and one output, and `Model::load` the length of both.
    let room = interpreter.input_bytes_mut(0)?;
    room.iter_mut()
        .zip(golden.input.bytes())
        .for_each(|(to, from)| *to = from);
    interpreter.run();
    let found = interpreter.output_bytes(0)?;
    let mut pairs = (0..).zip(expected.iter().zip(found));
    Ok(
        match pairs.find(|(_, (expected, found))| expected != found) {
            None => SelfTest::Passed {
                bytes: expected.len() as u32,
            },
            Some((at, (expected, found))) => SelfTest::Failed {
                at,
                expected: *expected,
                found: *found,
            },
        },
    )
}

/// Takes chunks until the picture is complete and its end is announced; `Some` when another request dropped it.
fn receive<L: Read + Write>(
    port: &mut Port,
    line: &mut L,
    waiting: &mut impl Waiting<L>,
    picture: &mut Picture<'_>,
    sink: &mut S8Sink<'_>,
) -> Result<Option<Next>, L::Error> {
    loop {
        match waiting.wait(port, line)? {
            Arrival::Frame => {}
            Arrival::End => return Ok(Some(Next::Leave(Left::EndOfLine))),
            Arrival::Silence => return Ok(Some(Next::Wait)),
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
                    return Ok(Some(Next::Wait));
                }
                port.reply(line, &Reply::Received(picture.received()))?;
            }
            Ok(Request::End) if received < picture.bytes() => {
                let reason = &"the picture is not complete";
                port.fail(line, ErrorCode::Offset, received, reason)?;
            }
            Ok(Request::End) => return Ok(None),
            // Any other request drops the picture.
            Ok(_) => return Ok(Some(Next::Answer)),
            Err(fault) => port.fail(line, ErrorCode::Unknown, received, &fault)?,
        }
    }
}

/// Scores an embedding, and whether it is in no class by the threshold that holds.
pub(super) fn judge(
    kernels: &dyn Kernels,
    loaded: &Loaded<'_>,
    embedding: &[i8],
    ranked: &mut [Ranked],
) -> Result<(Verdict, bool), ScoreError> {
    let zero_point = loaded.output_zero_point;
    let verdict = score_with_zero_point(kernels, &loaded.bank, embedding, zero_point, ranked)?;
    let rejected = match loaded.threshold {
        None => verdict.rejected,
        Some(threshold) => {
            let no_direction = embedding.iter().all(|x| *x == zero_point);
            verdict.energy > threshold || no_direction
        }
    };
    Ok((verdict, rejected))
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
    let ranked = ranked
        .get_mut(..usize::from(top).min(MAX_TOP))
        .unwrap_or_default();
    let (verdict, rejected) = match judge(kernels, loaded, embedding, ranked) {
        Ok(judged) => judged,
        Err(fault) => return port.fail(line, ErrorCode::Bank, 0, &fault),
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
                name: loaded.name(entry.class_index),
            })
            .collect(),
        energy: verdict.energy,
        rejected,
    };
    info!(
        "class {=u32}, cosine {=f32}",
        verdict.best.class_index, verdict.best.cosine
    );
    port.reply(line, &Reply::Classified(classified))
}
