//! Boots each emulated board on a small model and compares it with the host, bit for bit. Run by `./ci.sh qemu`.
//!
//! Skipped, and loudly so, where the emulator or the Rust target is missing; with `CI=true` that is a failure.

#[path = "../../../runtime/tests/common/mod.rs"]
mod common;

use common::bank::six_classes;
use common::{Aligned, Random, samples};
use pinhole_device::{
    BoardResult, BoardSpec, DeviceError, Options, ReadyBoard, RgbRows, available, build_firmware,
    emulated_boards,
};
use pinhole_runtime::bank::ClassBank;
use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::{Kernels, Scalar};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::Header;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use pinhole_runtime::score::{Ranked, score};
use std::path::PathBuf;

const DIM: usize = 10;

/// The boards that this machine can run, with their firmware.
fn boards_here() -> Vec<(&'static BoardSpec, PathBuf)> {
    let mut here = Vec::new();
    for board in emulated_boards() {
        match available(board) {
            Ok(()) => here.push((board, build_firmware(board).expect("the firmware builds"))),
            Err(missing) => {
                let (what, get) = (missing.what, missing.get);
                let ci = std::env::var("CI");
                assert_ne!(ci.as_deref(), Ok("true"), "{what} is missing: {get}");
                let name = board.name;
                eprintln!("SKIPPED {name}: {what} is missing. To get it: {get}");
            }
        }
    }
    here
}

/// A folder with a model and a bank for it.
struct Files {
    folder: tempfile::TempDir,
    model: Aligned,
    bank: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            // Commas separate QEMU's options.
            folder: tempfile::Builder::new().prefix("a,b").tempdir().unwrap(),
            model: samples::image_s8().build(),
            bank: six_classes([7; 16], DIM, -12.0),
        };
        files.write("model", &files.model);
        files.write("bank", &files.bank);
        files
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What the runtime of this machine says about a picture.
fn on_the_host(files: &Files, picture: &RgbRows<'_>) -> BoardResult {
    let model = Model::load(&files.model).unwrap();
    let bank = ClassBank::load(&files.bank).unwrap();
    let geometry = model.geometry().unwrap();
    let input = model.value(model.inputs().next().unwrap());
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let kernels: &'static dyn Kernels = &Scalar;
    let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
    let (width, height) = (picture.width, picture.height);
    let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, width, height).unwrap()];
    let tensor = interpreter.input_s8_mut(0).unwrap();
    let mut sink = S8Sink::new(kernels, &geometry, input.scale, input.zero_point, tensor).unwrap();
    let format = PixelFormat::Rgb888;
    let mut preprocessor =
        Preprocessor::new(kernels, &geometry, width, height, format, &mut scratch).unwrap();
    for row in picture.bytes.chunks(width as usize * 3) {
        preprocessor.push_row(row, &mut sink).unwrap();
    }
    preprocessor.finish(&mut sink).unwrap();
    interpreter.run();
    let embedding = interpreter.output_s8(0).unwrap().to_vec();
    let mut top = [Ranked::default(); 5];
    let verdict = score(kernels, &bank, &embedding, &mut top).unwrap();
    BoardResult {
        embedding,
        top: top
            .iter()
            .map(|entry| pinhole_device::BoardClass {
                class_index: entry.class_index,
                name: bank.class(entry.class_index as usize).unwrap().name.into(),
                cosine: entry.cosine,
                probability: entry.probability,
            })
            .collect(),
        energy: verdict.energy,
        rejected: verdict.rejected,
    }
}

fn start(
    (board, firmware): &(&BoardSpec, PathBuf),
    files: &Files,
    model: &str,
    bank: &str,
) -> Result<ReadyBoard, DeviceError> {
    let options = Options {
        show_log: true,
        ..Options::default()
    };
    let (model, bank) = (files.path(model), files.path(bank));
    ReadyBoard::start(board, firmware, Some(&model), Some(&bank), &options)
}

#[test]
fn every_board_computes_what_the_host_computes_for_pictures_of_many_sizes() {
    let files = Files::new();
    for here in boards_here() {
        let mut board = start(&here, &files, "model", "bank").unwrap();
        let name = here.0.name;
        let info = board.info();
        let told = (info.board.as_str(), info.dim, info.class_count);
        assert_eq!(told, (name, 10, 6));
        assert_eq!(info.model_bytes as usize, files.model.len());
        assert_eq!(info.arena_capacity_bytes, here.0.arena_bytes);
        println!("{name}: kernels {}", info.kernels);
        let mut random = Random(11);
        // The last one has rows longer than a chunk, and all are received without recompiling or restarting anything.
        for (width, height) in [(6, 6), (1, 1), (40, 23), (23, 40), (701, 11)] {
            let bytes = random.bytes(width as usize * height as usize * 3);
            let picture = RgbRows {
                width,
                height,
                bytes: &bytes,
            };
            let found = board.classify(&picture).unwrap();
            let expected = on_the_host(&files, &picture);
            assert_eq!(found, expected, "{width}x{height} on {name}");
        }
    }
}

#[test]
fn every_board_names_what_is_wrong_with_its_images_and_pictures() {
    let files = Files::new();
    let mut damaged = files.model.to_vec();
    damaged[200] ^= 1;
    files.write("damaged", &damaged);
    files.write("other", &six_classes([8; 16], DIM, -12.0));
    files.write("empty", &[]);
    for here in boards_here() {
        for (model, bank, words) in [
            (
                "damaged",
                "bank",
                "refused hello: no model: slot A: model: checksum",
            ),
            (
                "empty",
                "bank",
                "refused hello: no model: slot A: model: not a model file",
            ),
            (
                "model",
                "other",
                "refused hello: no class bank: slot A: class bank: ",
            ),
            (
                "model",
                "model",
                "refused hello: no class bank: slot A: class bank: ",
            ),
            ("none", "bank", "cannot read the model"),
        ] {
            let error = start(&here, &files, model, bank).err().expect("a refusal");
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut board = start(&here, &files, "model", "bank").unwrap();
        let bytes = vec![0; 65_535 * 3 * 3];
        let wide = RgbRows {
            width: 65_535 * 3,
            height: 1,
            bytes: &bytes[..65_535 * 9],
        };
        let error = board.classify(&wide).unwrap_err();
        let words = "each side must be within";
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.help().is_some());
        // It goes on after a refusal.
        let small = RgbRows {
            width: 2,
            height: 2,
            bytes: &[200; 12],
        };
        assert_eq!(board.classify(&small).unwrap(), on_the_host(&files, &small));
    }
}

#[test]
fn what_does_not_fit_is_told_before_a_board_starts() {
    let files = Files::new();
    for board in emulated_boards() {
        let layout = board.layout();
        // No firmware is built for it, and none is there.
        let nothing = (board, files.path("model"));
        files.write("long", &vec![0; layout.models[0].len() + 1]);
        files.write("long-bank", &vec![0; layout.banks[0].len() + 1]);
        let mut hungry = files.model.to_vec();
        let arena = std::mem::offset_of!(Header, arena_bytes);
        hungry[arena..arena + 4].copy_from_slice(&(board.arena_bytes + 1).to_le_bytes());
        files.write("hungry", &hungry);
        let refused = |model, bank| {
            let error = start(&nothing, &files, model, bank).err();
            let error = error.expect("a refusal");
            assert!(error.help().is_some(), "{error}");
            error.to_string()
        };
        let words = refused("long", "bank");
        let most = format!("the board {} takes {}", board.name, layout.models[0].len());
        assert!(words.contains(&most), "{words}");
        let words = refused("model", "long-bank");
        assert!(words.contains("the class bank"), "{words}");
        let words = refused("hungry", "bank");
        let arena = format!("the board {} has {}", board.name, board.arena_bytes);
        assert!(words.contains(&arena), "{words}");
    }
}

#[test]
fn the_model_of_one_run_is_in_the_flash_file_of_the_next() {
    let files = Files::new();
    let picture = RgbRows {
        width: 2,
        height: 2,
        bytes: &[90; 12],
    };
    let expected = on_the_host(&files, &picture);
    for (board, firmware) in boards_here() {
        // The path goes through the command lines of the emulator and of the firmware: it has a comma and spaces.
        let flash = files.path(&format!("the flash  of {}", board.name));
        let options = Options {
            flash: Some(flash.clone()),
            ..Options::default()
        };
        let run = |model: Option<&str>, bank: Option<&str>| {
            let [model, bank] = [model, bank].map(|name| name.map(|name| files.path(name)));
            let (model, bank) = (model.as_deref(), bank.as_deref());
            ReadyBoard::start(board, &firmware, model, bank, &options)
        };
        let error = run(Some("model"), None).err().expect("no bank yet");
        assert!(error.to_string().contains("class bank"), "{error}");
        let mut first = run(None, Some("bank")).expect("the model is there already");
        assert_eq!(first.classify(&picture).unwrap(), expected);
        let error = run(None, None).err().expect("two boards on one flash");
        assert!(matches!(error, DeviceError::InUse { .. }), "{error}");
        drop(first);
        let mut second = run(None, None).expect("both are there");
        assert_eq!(second.classify(&picture).unwrap(), expected);
        drop(second);
        let bytes = std::fs::read(&flash).unwrap();
        assert_eq!(bytes.len(), board.flash_bytes as usize);
        std::fs::write(&flash, [bytes.as_slice(), &[0]].concat()).unwrap();
        let error = run(None, None).err().expect("it is too long");
        assert!(error.to_string().contains("the flash file"), "{error}");
    }
}
