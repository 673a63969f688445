//! Boots the emulated board on a small model and compares it with the host, bit for bit. Run by `./ci.sh qemu`.
//!
//! Skipped, and loudly so, where the emulator or the Rust target is missing; with `CI=true` that is a failure.

#[path = "../../../runtime/tests/common/mod.rs"]
mod common;

use common::{Aligned, Random, samples};
use pinhole_device::{
    BoardResult, BoardSpec, DeviceError, EmulatedBoard, Options, RgbRows, available, board,
    build_firmware,
};
use pinhole_runtime::bank::{BankSpec, ClassBank, ClassSpec};
use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::{Kernels, Scalar};
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use pinhole_runtime::score::{Ranked, score};
use std::path::PathBuf;

const DIM: usize = 10;

/// The board and its firmware; `None` where this machine cannot run it.
fn board_or_skip() -> Option<(&'static BoardSpec, PathBuf)> {
    let board = board("qemu-an547").expect("the board exists");
    if let Err(missing) = available(board) {
        let (what, get) = (missing.what, missing.get);
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{what} is missing: {get}"
        );
        eprintln!("SKIPPED: {what} is missing, so no board was tested. To get it: {get}");
        return None;
    }
    Some((board, build_firmware(board).expect("the firmware builds")))
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
            bank: bank([7; 16]),
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

fn bank(embedding_space_id: [u8; 16]) -> Vec<u8> {
    let mut random = Random(9);
    let embeddings: Vec<Vec<f32>> = (0..6).map(|_| random.floats(DIM)).collect();
    let names: Vec<String> = (0..6).map(|index| format!("class {index}")).collect();
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(&embeddings)
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let spec = BankSpec {
        embedding_space_id,
        dim: DIM as u16,
        classes: &classes,
        logit_scale: 20.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: -12.0,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 2,
    };
    let mut bytes = vec![0; spec.bytes_len().unwrap()];
    spec.write_into(&mut bytes).unwrap();
    bytes
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

fn start(files: &Files, model: &str, bank: &str) -> Option<Result<EmulatedBoard, DeviceError>> {
    let (board, firmware) = board_or_skip()?;
    let options = Options {
        show_log: true,
        ..Options::default()
    };
    let (model, bank) = (files.path(model), files.path(bank));
    Some(EmulatedBoard::start(
        board, &firmware, &model, &bank, &options,
    ))
}

#[test]
fn the_board_computes_what_the_host_computes_for_pictures_of_many_sizes() {
    let files = Files::new();
    let Some(started) = start(&files, "model", "bank") else {
        return;
    };
    let mut board = started.unwrap();
    let info = board.info();
    assert_eq!(
        (info.board.as_str(), info.dim, info.class_count),
        ("qemu-an547", 10, 6)
    );
    assert_eq!(info.model_bytes as usize, files.model.len());
    assert!(info.arena_bytes <= info.arena_capacity_bytes);
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
        assert_eq!(found, on_the_host(&files, &picture), "{width}x{height}");
    }
}

#[test]
fn the_board_names_what_is_wrong_with_its_images_and_pictures() {
    let files = Files::new();
    let mut damaged = files.model.to_vec();
    damaged[200] ^= 1;
    files.write("damaged", &damaged);
    files.write("other", &bank([8; 16]));
    files.write("empty", &[]);
    for (model, bank, words) in [
        ("damaged", "bank", "refused hello: model: checksum"),
        ("empty", "bank", "refused hello: model: not a model file"),
        ("model", "other", "refused hello: class bank: "),
        ("model", "model", "refused hello: class bank: "),
        ("none", "bank", "cannot read the model"),
    ] {
        let Some(started) = start(&files, model, bank) else {
            return;
        };
        let error = started.err().expect("it is refused");
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut board = start(&files, "model", "bank").unwrap().unwrap();
    let bytes = vec![0; 65_535 * 3 * 3];
    let wide = RgbRows {
        width: 65_535 * 3,
        height: 1,
        bytes: &bytes[..65_535 * 9],
    };
    let error = board.classify(&wide).unwrap_err();
    assert!(
        error.to_string().contains("each side must be within"),
        "{error}"
    );
    assert!(error.help().is_some());
    // It goes on after a refusal.
    let small = RgbRows {
        width: 2,
        height: 2,
        bytes: &[200; 12],
    };
    assert_eq!(board.classify(&small).unwrap(), on_the_host(&files, &small));
}
