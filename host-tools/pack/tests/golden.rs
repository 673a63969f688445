//! Golden embeddings of packed models: what is written, what is kept, and which damage they find.

use pinhole_pack::{GoldenFault, with_golden, without_golden};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::{Model, checksum, format};
use std::path::PathBuf;

/// Bits of weights and tables that are flipped, one at a time.
const FLIPS: usize = 200;

fn model(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join("models").join(name).join("image.phm")).expect("a committed model")
}

fn output(model: &Model<'_>, input: &[u8]) -> Vec<u8> {
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter =
        Interpreter::new(model, &mut arena, kernel::detect()).expect("room for a run");
    interpreter
        .input_bytes_mut(0)
        .expect("an input")
        .copy_from_slice(input);
    interpreter.run();
    interpreter.output_bytes(0).expect("an output").to_vec()
}

/// Whether the model gives what its self-check says.
fn passes(model: &Model<'_>) -> bool {
    let golden = model.golden().expect("a self-check");
    let input: Vec<u8> = golden.input.bytes().collect();
    output(model, &input) == golden.output
}

#[test]
fn the_committed_models_carry_the_golden_embedding_that_pack_writes() {
    for name in ["lite0", "nano"] {
        let file = model(name);
        assert!(passes(
            &Model::load(&AlignedBytes::from_slice(&file)).expect("sound")
        ));
        let plain = without_golden(&file).expect("sound");
        assert_eq!(with_golden(&plain, None).expect("integers"), file, "{name}");
        // Nothing but the section and the header says that it is there.
        let body = size_of::<format::Header>()..plain.len();
        assert_eq!(plain[body.clone()], file[body]);
    }
}

#[test]
fn a_stored_input_is_kept_and_compared() {
    let file = model("nano");
    let input: Vec<u8> = (0..96 * 96 * 3).map(|i| (i * 31 % 251) as u8).collect();
    let stored = with_golden(&file, Some(&input)).expect("integers");
    let bytes = AlignedBytes::from_slice(&stored);
    let model = Model::load(&bytes).expect("sound");
    assert!(passes(&model));
    let golden = model.golden().expect("a self-check");
    assert!(golden.input.bytes().eq(input.iter().copied()));
    assert!(matches!(
        with_golden(&file, Some(&input[1..])),
        Err(GoldenFault::Length { expected, found }) if expected == found + 1
    ));
    assert!(matches!(
        with_golden(&file[..400], None),
        Err(GoldenFault::Load(_))
    ));
}

/// The damage that a checksum does not see: a bit of a weight or a table in a file whose checksum was mended, as a device
/// with a faulty flash, bus or kernel would compute it.
#[test]
fn a_generated_input_finds_as_many_flipped_bits_as_a_picture() {
    let file = model("nano");
    // Smooth, as pictures are.
    let picture: Vec<u8> = (0..96 * 96)
        .flat_map(|at| [at / 96 * 2, at % 96 * 2, 255 - at / 48].map(|byte| byte as u8 ^ 0x80))
        .collect();
    let both = [
        ("generated", with_golden(&file, None).expect("integers")),
        (
            "a picture",
            with_golden(&file, Some(&picture)).expect("integers"),
        ),
    ];
    let found = both.map(|(what, file)| {
        let header = *Model::load(&AlignedBytes::from_slice(&file))
            .expect("sound")
            .header();
        let data = header.data.offset.get() as usize;
        let mut state = 7_u64;
        let (mut loaded, mut found) = (0, 0);
        while loaded < FLIPS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let place = data + (state >> 33) as usize % header.data.bytes.get() as usize;
            let mut file = AlignedBytes::from_slice(&file);
            file[place] ^= 1 << (state >> 30 & 7);
            let crc = checksum(&file);
            file[12..16].copy_from_slice(&crc.to_le_bytes());
            // Padding, multipliers and biases have limits that the loader keeps.
            let Ok(model) = Model::load(&file) else {
                continue;
            };
            loaded += 1;
            found += usize::from(!passes(&model));
        }
        println!("{what}: {found} of {FLIPS} flipped bits found");
        found
    });
    // What is not found, the last bits of small weights, is rounded away before the embedding.
    assert!(
        found[0] * 2 > FLIPS && found[0] * 10 >= found[1] * 9,
        "{found:?}"
    );
}
