//! Time of what happens to one frame of a camera, for every set that this CPU can run: the resize into the input tensor, the
//! default image encoder, and the scores of a class bank.
//!
//! `cargo bench -p pinhole-runtime --bench frame`. A number is the least CPU time of many runs, in microseconds; the sets
//! take turns, so that a slow moment of the machine meets all of them. Behind it stands the share of the encoder's time with
//! the same set. The scalar encoder, which takes long, is left out, and the scalar columns have no shares.

use std::hint::black_box;

use pinhole_runtime::bank::{BankSpec, ClassBank, ClassSpec};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{InputGeometry, PixelFormat, Preprocessor, S8Sink};
use pinhole_runtime::score::{Ranked, score};
use rustix::time::{ClockId, clock_gettime};

/// Runs of which the least time counts.
const RUNS: usize = 40;

/// Cameras: width, height, format.
const CAMERAS: [(&str, u32, u32, PixelFormat); 4] = [
    ("resize 1280×720 RGB888", 1280, 720, PixelFormat::Rgb888),
    ("resize 640×480 RGB888", 640, 480, PixelFormat::Rgb888),
    ("resize 320×240 RGB565", 320, 240, PixelFormat::Rgb565),
    ("resize 160×120 Grey8", 160, 120, PixelFormat::Grey8),
];

/// Classes and dimension of the bank.
const CLASSES: usize = 1000;
const DIM: usize = 256;

fn main() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/lite0/image.phm");
    let file = std::fs::read(path).expect("the default model");
    let file = AlignedBytes::from_slice(&file);
    let model = Model::load(&file).expect("a sound model");
    let geometry = model.geometry().expect("an image encoder");
    let sets: Vec<_> = available().collect();
    print!("{:<32}", "microseconds");
    sets.iter().for_each(|set| print!("{:>26}", set.name()));
    println!();

    let encoder = least(&sets, RUNS / 4, |set| match set.name() {
        "scalar" => f64::NAN,
        _ => encode(&model, set),
    });
    print_row("encoder", &encoder, &encoder);
    for (name, width, height, format) in CAMERAS {
        let row: Vec<u8> = noise(width as usize * format.bytes_per_pixel());
        let times = least(&sets, RUNS, |set| {
            resize(&geometry, [width, height], format, &row, set)
        });
        print_row(name, &times, &encoder);
    }
    let bank = bank();
    let bank = ClassBank::load(&bank).expect("a sound bank");
    let embedding: Vec<i8> = noise(DIM).into_iter().map(|byte| byte as i8).collect();
    let times = least(&sets, 10 * RUNS, |set| rank(&bank, &embedding, set));
    print_row("score 1000 classes × 256, top 5", &times, &encoder);
}

/// The least time of each set, in microseconds.
fn least(
    sets: &[&'static dyn Kernels],
    runs: usize,
    mut run: impl FnMut(&'static dyn Kernels) -> f64,
) -> Vec<f64> {
    let mut least = vec![f64::NAN; sets.len()];
    for _ in 0..runs {
        for (least, set) in least.iter_mut().zip(sets) {
            *least = run(*set).min(*least);
        }
    }
    least
}

fn print_row(name: &str, times: &[f64], encoder: &[f64]) {
    print!("{name:<32}");
    for (time, encoder) in times.iter().zip(encoder) {
        match (time.is_nan(), encoder.is_nan()) {
            (true, _) => print!("{:>26}", "-"),
            (_, true) => print!("{time:>26.1}"),
            _ => print!("{time:>16.1} ({:>5.2} %)", 100.0 * time / encoder),
        }
    }
    println!();
}

/// CPU time of the thread, which other work on the machine does not add to.
fn microseconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    };
    let start = now();
    work();
    now() - start
}

fn encode(model: &Model<'_>, kernels: &'static dyn Kernels) -> f64 {
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(model, &mut arena, kernels).expect("a whole arena");
    interpreter.input_s8_mut(0).expect("an int8 input").fill(3);
    microseconds(|| interpreter.run())
}

/// A whole picture, each of whose rows is `row`, with the weights of its columns.
fn resize(
    geometry: &InputGeometry,
    [width, height]: [u32; 2],
    format: PixelFormat,
    row: &[u8],
    kernels: &'static dyn Kernels,
) -> f64 {
    let words = Preprocessor::scratch_len(geometry, width, height).expect("a size in range");
    let mut scratch = vec![0; words];
    let mut tensor = vec![0; usize::from(geometry.width) * usize::from(geometry.height) * 3];
    microseconds(|| {
        let mut sink =
            S8Sink::new(kernels, geometry, 0.02, -3, &mut tensor).expect("a whole tensor");
        let preprocessor =
            Preprocessor::new(kernels, geometry, width, height, format, &mut scratch);
        let mut preprocessor = preprocessor.expect("enough scratch");
        for _ in 0..height {
            preprocessor
                .push_row(black_box(row), &mut sink)
                .expect("a whole row");
        }
        preprocessor.finish(&mut sink).expect("all rows");
    })
}

fn rank(bank: &ClassBank<'_>, embedding: &[i8], kernels: &'static dyn Kernels) -> f64 {
    let mut top = [Ranked::default(); 5];
    microseconds(|| {
        black_box(
            score(kernels, bank, black_box(embedding), &mut top).expect("an embedding of the bank"),
        );
    })
}

/// A bank of random directions.
fn bank() -> AlignedBytes {
    let names: Vec<String> = (0..CLASSES).map(|index| format!("class {index}")).collect();
    let numbers: Vec<f32> = noise(CLASSES * DIM)
        .into_iter()
        .map(|byte| f32::from(byte) - 127.5)
        .collect();
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(numbers.chunks(DIM))
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let spec = BankSpec {
        embedding_space_id: [7; 16],
        dim: DIM as u16,
        classes: &classes,
        logit_scale: 100.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 0,
    };
    let mut bytes = AlignedBytes::zeroed(spec.bytes_len().expect("a small bank"));
    spec.write_into(&mut bytes).expect("a sound bank");
    bytes
}

/// Random bytes, the same ones every time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
