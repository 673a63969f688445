//! A device with a flash and a line in memory.

use crate::chip::Chip;
use crate::common::{Aligned, Random, samples};
use embedded_io::{ErrorType, Read, Write};
use pinhole_firmware::storage::{Layout, Options, Storage};
use pinhole_firmware::{App, Memory, NonceSource, Served, model_image};
use pinhole_protocol::message::Message;
use pinhole_protocol::*;
use pinhole_runtime::bank::{BankSpec, ClassSpec};
use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::{Kernels, Scalar};
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use std::convert::Infallible;

pub(crate) const DIM: usize = 10;
pub(crate) const SCRATCH_WORDS: usize = 6000;

const SECTOR: usize = 4096;
/// Sectors of each partition.
const STATE: u32 = 2;
pub(crate) const MODEL_SECTORS: u32 = 8;
const BANK_SECTORS: u32 = 4;

pub(crate) type Flash = Chip<4, SECTOR>;

/// The partitions, in sectors.
pub(crate) fn layout() -> Layout {
    let mut at = 0;
    let mut take = |sectors: u32| {
        let start = at;
        at += sectors * SECTOR as u32;
        start..at
    };
    Layout {
        state: take(STATE),
        models: [take(MODEL_SECTORS), take(MODEL_SECTORS)],
        banks: [take(BANK_SECTORS), take(BANK_SECTORS)],
        factory_bank: None,
    }
}

/// What the host sent, and what the device answers. Reads come in pieces of odd sizes.
pub(crate) struct Line {
    incoming: Vec<u8>,
    read: usize,
    outgoing: Vec<u8>,
}

impl ErrorType for Line {
    type Error = Infallible;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let rest = &self.incoming[self.read..];
        let count = rest.len().min(buffer.len()).min(1 + self.read % 97);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

pub(crate) fn frame(request: &Request<'_>) -> Vec<u8> {
    frame_of(5, body(request, &mut [0; MAX_BODY_BYTES]).unwrap())
}

pub(crate) fn frame_of(sequence: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::<()>(sequence, body, |part| {
        frame.extend_from_slice(part);
        Ok(())
    })
    .unwrap();
    frame
}

pub(crate) fn bank() -> Vec<u8> {
    let mut random = Random(3);
    let embeddings: Vec<Vec<f32>> = (0..4).map(|_| random.floats(DIM)).collect();
    let names = ["cat", "dog", "kite", "ship"];
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(&embeddings)
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let spec = BankSpec {
        embedding_space_id: [7; 16],
        dim: DIM as u16,
        classes: &classes,
        logit_scale: 10.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 2,
    };
    let mut bytes = vec![0; spec.bytes_len().unwrap()];
    spec.write_into(&mut bytes).unwrap();
    bytes
}

/// Nonces that the tests know: all bytes are the number of the nonce.
pub(crate) struct Nonces {
    pub(crate) next: u8,
    /// How many there are.
    pub(crate) left: usize,
    /// Added after each.
    pub(crate) step: u8,
}

impl NonceSource for Nonces {
    fn nonce(&mut self) -> Option<[u8; NONCE_BYTES]> {
        self.left = self.left.checked_sub(1)?;
        let nonce = [self.next; NONCE_BYTES];
        self.next += self.step;
        Some(nonce)
    }
}

/// A board: files that lie in slots A of its flash when it is new, and its memory.
pub(crate) struct Board {
    pub(crate) model: Aligned,
    pub(crate) bank: Vec<u8>,
    pub(crate) arena: Aligned,
    scratch: Vec<u32>,
    /// From the first start on.
    pub(crate) flash: Option<Flash>,
    pub(crate) nonces: Nonces,
}

impl Board {
    pub(crate) fn new() -> Self {
        let model = samples::image_s8().build();
        let arena_bytes = Model::load(&model).unwrap().arena_bytes();
        Self {
            model,
            bank: bank(),
            arena: Aligned::zeroed(arena_bytes),
            scratch: vec![0xdead_beef; SCRATCH_WORDS],
            flash: None,
            nonces: Nonces {
                next: 1,
                left: usize::MAX,
                step: 1,
            },
        }
    }

    fn new_flash(&self) -> Flash {
        let layout = layout();
        let end = layout.banks[1].end as usize;
        let mut flash = Flash::new(end / SECTOR, 1);
        for (range, file) in [
            (&layout.models[0], &self.model[..]),
            (&layout.banks[0], &self.bank),
        ] {
            assert!(file.len() <= range.len());
            flash.bytes[range.start as usize..][..file.len()].copy_from_slice(file);
        }
        flash
    }

    pub(crate) fn app(&mut self) -> App<'_, Flash> {
        let kernels: &'static dyn Kernels = &Scalar;
        let flash = self.flash.take().unwrap_or_else(|| self.new_flash());
        let options = Options {
            key: None,
            arena_bytes: self.arena.len(),
        };
        let storage = Storage::open(flash, layout(), options).unwrap();
        let memory = Memory {
            arena: &mut self.arena,
            scratch: &mut self.scratch,
        };
        App::new("test", storage, memory, kernels).with_nonces(&mut self.nonces)
    }

    /// Starts the board; the bodies of all its answers to `incoming`.
    pub(crate) fn answers(&mut self, incoming: Vec<u8>) -> (Served, Vec<Vec<u8>>) {
        let app = self.app();
        let ((served, flash), bodies) = served(app, incoming);
        self.flash = Some(flash);
        (served, bodies)
    }
}

/// Serves a line: why that ended, the flash, and the bodies of all answers.
pub(crate) fn served(app: App<'_, Flash>, incoming: Vec<u8>) -> ((Served, Flash), Vec<Vec<u8>>) {
    let (ended, numbered) = served_numbered(app, incoming);
    (ended, numbered.into_iter().map(|(_, body)| body).collect())
}

/// A sequence number and a body.
pub(crate) type Answer = (u8, Vec<u8>);

/// As [`served`], each body behind its sequence number.
pub(crate) fn served_numbered(
    mut app: App<'_, Flash>,
    incoming: Vec<u8>,
) -> ((Served, Flash), Vec<Answer>) {
    let mut line = Line {
        incoming,
        read: 0,
        outgoing: Vec::new(),
    };
    let Ok(served) = app.serve(&mut line);
    let flash = app.into_storage().into_flash();
    let mut decoder = Decoder::new();
    let mut bodies = Vec::new();
    let mut rest = &line.outgoing[..];
    while !rest.is_empty() {
        let (taken, status) = decoder.take(rest);
        rest = &rest[taken..];
        assert_eq!(status, Status::Complete);
        bodies.push((decoder.sequence(), decoder.body().to_vec()));
    }
    ((served, flash), bodies)
}

pub(crate) fn reply(body: &[u8]) -> Reply<'_> {
    let reply: Reply<'_> = decode(body).unwrap();
    reply.check().unwrap();
    reply
}

pub(crate) fn failed(body: &[u8]) -> (ErrorCode, u32, String) {
    match reply(body) {
        Reply::Failed(failure) => (failure.code, failure.received, failure.text.as_str().into()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn begin(width: u32, height: u32) -> Request<'static> {
    Request::Begin(Begin {
        width,
        height,
        layout: PixelLayout::Rgb888,
        top: 2,
    })
}

/// The frames that send a picture in chunks of `chunk` bytes.
pub(crate) fn picture(width: u32, height: u32, bytes: &[u8], chunk: usize) -> Vec<u8> {
    let mut frames = frame(&begin(width, height));
    let mut offset = 0;
    for bytes in bytes.chunks(chunk) {
        frames.extend(frame(&Request::Rows { offset, bytes }));
        offset += bytes.len() as u32;
    }
    frames.extend(frame(&Request::End));
    frames
}

pub(crate) fn embedding_on_the_host(
    board: &Board,
    width: u32,
    height: u32,
    bytes: &[u8],
) -> Vec<u8> {
    let model = Model::load(model_image(&board.model)).unwrap();
    let geometry = model.geometry().unwrap();
    let input = model.value(model.inputs().next().unwrap());
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, width, height).unwrap()];
    let tensor = interpreter.input_s8_mut(0).unwrap();
    let mut sink = S8Sink::new(&Scalar, &geometry, input.scale, input.zero_point, tensor).unwrap();
    let format = PixelFormat::Rgb888;
    let mut rows =
        Preprocessor::new(&Scalar, &geometry, width, height, format, &mut scratch).unwrap();
    for row in bytes.chunks(width as usize * 3) {
        rows.push_row(row, &mut sink).unwrap();
    }
    rows.finish(&mut sink).unwrap();
    interpreter.run();
    interpreter.output_bytes(0).unwrap().to_vec()
}
