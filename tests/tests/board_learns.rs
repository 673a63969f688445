//! Emulated boards that are taught and updated over the line: a class that is added wins and survives that QEMU is killed, an
//! uploaded model is switched to, and one that is damaged in the flash falls back. Ignored by default since it needs an
//! emulator; `./ci.sh qemu` runs it.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_device::{
    BoardResult, BoardSpec, DeviceError, Kind, Options, ReadyBoard, RgbRows, SelfTest, SlotStatus,
    Which, available, boards_run_here, build_firmware,
};
use pinhole_runtime::bank::{ClassBank, quantise_embedding};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use pinhole_tests::{embed, file, photographs, root};
use pinhole_text::tokenizer::Tokenizer;

const PICTURES: usize = 5;
/// The picture that a class is made of.
const TAUGHT: usize = 1;

/// A board with its flash, which can be started again and again.
struct Subject {
    spec: &'static BoardSpec,
    firmware: PathBuf,
    flash: PathBuf,
}

impl Subject {
    fn start(&self, files: Option<&Path>) -> Result<ReadyBoard, DeviceError> {
        let options = Options {
            flash: Some(self.flash.clone()),
            ..Options::default()
        };
        let paths = files.map(|folder| (folder.join("image.phm"), folder.join("bank.phc")));
        let (model, bank) = paths.unzip();
        let (model, bank) = (model.as_deref(), bank.as_deref());
        ReadyBoard::start(self.spec, &self.firmware, model, bank, &options)
    }

    /// With what is in its flash.
    fn restart(&self) -> ReadyBoard {
        self.start(None).expect("the board starts again")
    }
}

fn classify(board: &mut ReadyBoard, picture: &RgbImage) -> BoardResult {
    let rows = RgbRows {
        width: picture.width(),
        height: picture.height(),
        bytes: picture.as_raw(),
    };
    board.classify(&rows).expect("the board answers")
}

/// The embedding of a text, quantised, and its scale.
fn embed_text(text: &str) -> (f32, Vec<i8>) {
    let bytes = file("models/lite0/text.phm");
    let model = Model::load(&bytes).expect("the text encoder loads");
    let most = model.header().max_tokens.get() as usize - model.padding_tokens();
    let tokenizer = Tokenizer::load_bytes(model.vocabulary()).expect("its vocabulary");
    let tokenizer = tokenizer.with_max_tokens(most).expect("its context");
    let ids = tokenizer.encode(text);
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter =
        Interpreter::new(&model, &mut arena, kernel::detect()).expect("an arena of its size");
    interpreter
        .set_tokens(ids.len() + model.padding_tokens())
        .expect("a text that fits");
    let input = interpreter.input_i32_mut(0).expect("token ids");
    input.fill(tokenizer.pad_id() as i32);
    for (to, id) in input.iter_mut().zip(&ids) {
        *to = *id as i32;
    }
    interpreter.run();
    let embedding = interpreter.output_f32(0).expect("an embedding");
    let mut quantised = vec![0; embedding.len()];
    let scale = quantise_embedding(embedding, &mut quantised).expect("a direction");
    (scale, quantised)
}

/// The scale of an embedding.
fn scale(embedding: &[i8]) -> f32 {
    let squares: i32 = embedding.iter().map(|x| i32::from(*x).pow(2)).sum();
    1.0 / (squares as f32).sqrt()
}

/// The model with a picture as the input of its self-check.
fn with_picture(bytes: &AlignedBytes, picture: &RgbImage) -> AlignedBytes {
    let model = Model::load(bytes).expect("the model loads");
    let geometry = model.geometry().expect("an image encoder");
    let input = model.value(model.inputs().next().expect("an input"));
    let (width, height) = picture.dimensions();
    let words = Preprocessor::scratch_len(&geometry, width, height).expect("a size in range");
    let mut scratch = vec![0; words];
    let format = PixelFormat::Rgb888;
    let kernels = kernel::detect();
    let mut rows = Preprocessor::new(kernels, &geometry, width, height, format, &mut scratch)
        .expect("enough scratch");
    let mut tensor = vec![0; input.elements()];
    let (step, zero_point) = (input.scale, input.zero_point);
    let mut sink =
        S8Sink::new(kernels, &geometry, step, zero_point, &mut tensor).expect("an input");
    for row in picture.as_raw().chunks_exact(width as usize * 3) {
        rows.push_row(row, &mut sink).expect("a row");
    }
    rows.finish(&mut sink).expect("all rows");
    let tensor: Vec<u8> = tensor.iter().map(|x| *x as u8).collect();
    let file = pinhole_pack::with_golden(bytes, Some(&tensor)).expect("a model of integers");
    AlignedBytes::from_slice(&file)
}

/// Flips a bit of a file.
fn damage(path: &Path, at: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("the flash file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("within the file");
    file.read_exact(&mut byte).expect("within the file");
    file.seek(SeekFrom::Start(at)).expect("within the file");
    file.write_all(&[byte[0] ^ 4]).expect("a byte");
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn boards_learn_classes_and_take_models_and_fall_back() {
    let pictures = photographs();
    let bytes = file("models/nano/image.phm");
    let model = Model::load(&bytes).expect("nano loads");
    let expected: Vec<Vec<i8>> = pictures
        .iter()
        .take(PICTURES)
        .map(|(_, picture)| embed(&model, picture, kernel::detect()))
        .collect();
    let forklift = embed_text("a photo of a forklift");
    let update = with_picture(&bytes, &pictures[0].1);
    for spec in boards_run_here() {
        if let Err(missing) = available(spec) {
            panic!("{} is missing; get it: {}", missing.what, missing.get);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let subject = Subject {
            spec,
            firmware: build_firmware(spec).expect("the firmware builds"),
            flash: folder.path().join("flash.bin"),
        };
        let check = |board: &mut ReadyBoard| {
            for ((name, picture), expected) in pictures.iter().zip(&expected) {
                let found = classify(board, picture).embedding;
                assert_eq!(&found, expected, "{name} on {}", spec.name);
            }
        };
        let mut board = subject
            .start(Some(&root().join("models/nano")))
            .expect("the board starts");
        check(&mut board);
        learns(&subject, board, &pictures[TAUGHT].1, &expected, &forklift);
        let mut board = subject.restart();
        takes_a_model(&mut board, &update);
        check(&mut board);
        drop(board);
        falls_back(&subject);
        let mut board = subject.restart();
        check(&mut board);
        let top = &classify(&mut board, &pictures[TAUGHT].1).top[0];
        assert_eq!(top.name, "my own picture");
        drop(board);
        programmed_anew(&subject);
        println!("{}: learnt, updated, fell back", spec.name);
    }
}

/// Adds two classes, ends QEMU without a word to the board, and finds them again.
fn learns(
    subject: &Subject,
    mut board: ReadyBoard,
    picture: &RgbImage,
    expected: &[Vec<i8>],
    (forklift_scale, forklift): &(f32, Vec<i8>),
) {
    let bank = file("models/nano/bank.phc");
    let bank = ClassBank::load(&bank).expect("nano's bank");
    let count = bank.class_count();
    let before = classify(&mut board, picture);
    let own = &expected[TAUGHT];
    board
        .running()
        .ask(|link| {
            // The file of the tree carries its golden embedding.
            let bytes = link.hello()?.dim;
            assert_eq!(link.self_test()?, SelfTest::Passed { bytes });
            link.add_class("forklift", *forklift_scale, forklift)?;
            link.add_class("my own picture", scale(own), own)?;
            let again = link.add_class("forklift", *forklift_scale, forklift);
            let error = again.expect_err("a class of this name").to_string();
            assert!(error.contains("a class of this name exists"), "{error}");
            Ok(())
        })
        .expect("the board takes them");
    let after = classify(&mut board, picture);
    assert_ne!(before.top[0].name, "my own picture");
    assert_eq!(after.top[0].name, "my own picture");
    assert_eq!(after.embedding, before.embedding);
    // `Drop` kills the emulator.
    drop(board);
    let mut board = subject.restart();
    assert_eq!(board.info().class_count as usize, count + 2);
    let found = board.running().ask(|link| link.classes()).expect("names");
    assert_eq!(found.written, count);
    assert_eq!(found.names[count..], ["forklift", "my own picture"]);
    let again = classify(&mut board, picture);
    assert_eq!(again, after, "the same in every bit after a restart");
}

fn takes_a_model(board: &mut ReadyBoard, update: &AlignedBytes) {
    let mut steps = 0;
    let ask = |link: &mut pinhole_device::Link<_>| {
        link.upload(Kind::Model, update, |_| steps += 1)?;
        let slots = link.slots()?;
        assert_eq!(slots.model.running, Some(0));
        assert_eq!(slots.model.status, [SlotStatus::Good, SlotStatus::Ready]);
        link.activate(Which::Model)?;
        let slots = link.slots()?;
        assert_eq!((slots.model.running, slots.model.fault), (Some(1), None));
        let bytes = link.hello()?.dim;
        assert_eq!(link.self_test()?, SelfTest::Passed { bytes });
        Ok(())
    };
    board.running().ask(ask).expect("the board takes the model");
    assert!(steps > 100, "{steps} steps of progress");
}

/// Damages the model that is run from, in the flash.
fn falls_back(subject: &Subject) {
    let slot = subject.spec.layout().models[1].clone();
    damage(&subject.flash, u64::from(slot.start) + 5_000);
    let mut board = subject.restart();
    let slots = board.running().ask(|link| link.slots()).expect("slots");
    assert_eq!(slots.model.running, Some(0), "{}", subject.spec.name);
    let fault = slots.model.fault.expect("it says why");
    assert!(fault.contains("checksum"), "{fault}");
    let tested = board.running().ask(|link| link.self_test());
    let bytes = board.info().dim;
    assert_eq!(tested.expect("an answer"), SelfTest::Passed { bytes });
}

/// What a programmer puts into slots A is run, whatever the board had recorded.
fn programmed_anew(subject: &Subject) {
    let mut board = subject.restart();
    let remove = |link: &mut pinhole_device::Link<_>| link.remove_class("forklift");
    board.running().ask(remove).expect("a copy of the bank");
    let slots = board.running().ask(|link| link.slots()).expect("slots");
    assert_eq!(slots.bank.running, Some(1));
    drop(board);
    let nano = root().join("models/nano");
    let mut board = subject.start(Some(&nano)).expect("it starts");
    let slots = board.running().ask(|link| link.slots()).expect("slots");
    assert_eq!(
        (slots.model.running, slots.bank.running),
        (Some(0), Some(0))
    );
    assert_eq!((slots.model.fault, slots.bank.fault), (None, None));
}
