//! Runs a packed image encoder on an emulated board and on this machine and compares the embeddings, bit for bit.
//!
//! `cargo run --release -p pinhole-device --features logs --example compare -- MODEL [WIDTH HEIGHT] [BOARD]`. Pictures and class
//! embeddings are random, from a fixed seed: what they show does not matter here. An emulator counts instructions; the
//! seconds printed are those of this machine.

use pinhole_device::{Options, ReadyBoard, RgbRows, board, build_firmware};
use pinhole_runtime::bank::{BankSpec, ClassSpec};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::Scalar;
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

const PICTURES: u64 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: compare MODEL [WIDTH HEIGHT] [BOARD]")?;
    let width: u32 = arguments.next().as_deref().unwrap_or("256").parse()?;
    let height: u32 = arguments.next().as_deref().unwrap_or("256").parse()?;
    let name = arguments.next().unwrap_or("qemu-an547".into());
    let file = AlignedBytes::from_slice(&std::fs::read(&path)?);
    let model = Model::load(&file)?;
    let folder = tempfile::tempdir()?;
    let bank = folder.path().join("random.phc");
    std::fs::write(&bank, random_bank(&model)?)?;

    let spec = board(&name)?;
    let firmware = build_firmware(spec)?;
    let options = Options {
        show_log: true,
        ..Options::default()
    };
    let mut board = ReadyBoard::start(spec, &firmware, Some(path.as_ref()), Some(&bank), &options)?;
    println!("{:?}", board.info());
    let mut equal = true;
    for seed in 0..PICTURES {
        let bytes = random_bytes(seed, width as usize * height as usize * 3);
        let picture = RgbRows {
            width,
            height,
            bytes: &bytes,
        };
        let start = Instant::now();
        let found = board.classify(&picture)?.embedding;
        let seconds = start.elapsed().as_secs_f32();
        let same = found == on_the_host(&model, &picture)?;
        let word = if same { "equal" } else { "DIFFERENT" };
        println!("picture {seed}, {width}x{height}: {word} in every bit, {seconds:.1} s");
        equal &= same;
    }
    Ok(equal)
}

/// splitmix64 (Steele, Lea, Flood 2014).
fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..count).map(next).collect()
}

/// A bank of two classes in the embedding space of the model.
fn random_bank(model: &Model<'_>) -> Result<Vec<u8>, Box<dyn Error>> {
    let output = model.outputs().next().ok_or("the model has no output")?;
    let dim = model.value(output).elements();
    let embedding = |seed| -> Vec<f32> {
        let bytes = random_bytes(seed, dim);
        bytes.iter().map(|b| f32::from(*b) - 127.5).collect()
    };
    let (a, b) = (embedding(100), embedding(101));
    let classes = [("a", &a), ("b", &b)].map(|(name, embedding)| ClassSpec { name, embedding });
    let spec = BankSpec {
        embedding_space_id: model.embedding_space(),
        dim: u16::try_from(dim)?,
        classes: &classes,
        logit_scale: 20.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 0,
    };
    let mut bytes = vec![0; spec.bytes_len().map_err(|error| format!("{error:?}"))?];
    spec.write_into(&mut bytes)
        .map_err(|error| format!("{error:?}"))?;
    Ok(bytes)
}

fn on_the_host(model: &Model<'_>, picture: &RgbRows<'_>) -> Result<Vec<i8>, Box<dyn Error>> {
    let geometry = model.geometry().ok_or("the model takes no picture")?;
    let input = model.inputs().next().ok_or("the model has no input")?;
    let input = model.value(input);
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(model, &mut arena, &Scalar)?;
    let (width, height) = (picture.width, picture.height);
    let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, width, height)?];
    let tensor = interpreter.input_s8_mut(0)?;
    let mut sink = S8Sink::new(&Scalar, &geometry, input.scale, input.zero_point, tensor)?;
    let format = PixelFormat::Rgb888;
    let mut rows = Preprocessor::new(&Scalar, &geometry, width, height, format, &mut scratch)?;
    for row in picture.bytes.chunks(width as usize * 3) {
        rows.push_row(row, &mut sink)?;
    }
    rows.finish(&mut sink)?;
    interpreter.run();
    Ok(interpreter.output_s8(0)?.to_vec())
}
