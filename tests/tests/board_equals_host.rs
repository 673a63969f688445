//! Photographs on the emulated boards: the embedding bits of the host. Ignored by default since it needs an emulator;
//! `./ci.sh qemu` runs it.

use std::path::Path;

use pinhole_device::{
    BoardSpec, Options, ReadyBoard, RgbRows, available, boards_run_here, build_firmware, cpu,
    layer_fingerprint, layer_fingerprints,
};
use pinhole_runtime::interpreter::Observer;
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_tests::{embed, embed_observed, file, photographs, root};

/// The default model, and one that fits a microcontroller.
const MODELS: [&str; 2] = ["lite0", "nano"];

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn three_photographs_have_the_same_embedding_on_every_board() {
    for spec in boards_run_here() {
        if let Err(missing) = available(spec) {
            panic!("{} is missing; get it: {}", missing.what, missing.get);
        }
        let firmware = build_firmware(spec).expect("the firmware builds");
        for model in MODELS {
            photographs_are_equal(spec, &firmware, model);
        }
    }
}

fn photographs_are_equal(spec: &BoardSpec, firmware: &Path, model: &str) {
    let folder = format!("models/{model}");
    let bytes = file(&format!("{folder}/image.phm"));
    let loaded = Model::load(&bytes).expect("the model loads");
    let folder = root().join(folder);
    let (model_path, bank_path) = (folder.join("image.phm"), folder.join("bank.phc"));
    let options = Options::default();
    let mut board = ReadyBoard::start(
        spec,
        firmware,
        Some(&model_path),
        Some(&bank_path),
        &options,
    )
    .expect("the board starts");
    for (name, picture) in photographs().iter().take(3) {
        let rows = RgbRows {
            width: picture.width(),
            height: picture.height(),
            bytes: picture.as_raw(),
        };
        let result = board.classify(&rows).expect("the board answers");
        let expected = embed(&loaded, picture, kernel::detect());
        assert_eq!(result.embedding, expected, "{name} on {}", spec.name);
        println!(
            "{name}, {model} on {} by {}: {} bytes equal, label {}",
            spec.name,
            board.info().kernels,
            result.embedding.len(),
            result.top[0].name
        );
    }
}

/// Hashes what each operator writes.
struct Hashes(Vec<u64>);

impl Observer for Hashes {
    fn after_op(&mut self, _op: usize, _value: usize, output: &[u8]) {
        self.0.push(layer_fingerprint(output));
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv8m target; ./ci.sh qemu"]
fn every_layer_has_the_same_bits_on_an_emulated_cortex_m55() {
    let cpu = cpu("qemu-an547").expect("a known CPU");
    let bytes = file("models/lite0/image.phm");
    let model = Model::load(&bytes).expect("the default model loads");
    let (name, picture) = photographs().swap_remove(0);
    let mut expected = Hashes(Vec::new());
    embed_observed(&model, &picture, kernel::detect(), &mut expected);
    let rows = RgbRows {
        width: picture.width(),
        height: picture.height(),
        bytes: picture.as_raw(),
    };
    let ops = model.ops().len();
    for set in cpu.kernel_sets {
        let found = layer_fingerprints(cpu, &bytes, ops, set, &[rows]).expect("it runs");
        assert_eq!(found, [expected.0.clone()], "{name} by {set}");
        println!("{name} by {set}: {ops} layers equal");
    }
    let wrong = layer_fingerprints(cpu, &bytes, ops + 1, "scalar", &[rows]);
    assert!(wrong.is_err(), "a layer that is missing is noticed");
}
