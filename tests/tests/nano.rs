//! The model for microcontrollers that is in the tree: what a board must have for it, and its bits on emulated ones.

use pinhole_runtime::model::Model;
use pinhole_tests::file;
use pinhole_tests::whole_models::{Run, Subject, assert_same_bits_everywhere};

const MODEL: &str = "models/nano/image.phm";
/// Bytes of flash and of the arena, and multiply-accumulates of a frame, that it may take.
const MOST: [usize; 3] = [850_000, 256_000, 18_000_000];
/// Photographs compared.
const PICTURES: usize = 3;

#[test]
fn it_takes_what_a_microcontroller_has() {
    let bytes = file(MODEL);
    let model = Model::load(&bytes).expect("it loads");
    let macs: u64 = (0..model.ops().len()).map(|op| model.op_macs(op)).sum();
    let taken = [bytes.len(), model.arena_bytes(), macs as usize];
    let within = taken.iter().zip(MOST).all(|(taken, most)| *taken <= most);
    assert!(within, "{taken:?} of at most {MOST:?}");
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn it_has_the_same_bits_on_cortex_m() {
    let runs = [
        Run::new("qemu-an386", "cortex_m-dsp", 1),
        Run::new("qemu-an500", "cortex_m-dsp", PICTURES),
        Run::new("qemu-an547", "cortex_m-dsp", 1),
        Run::new("qemu-an547", "cortex_m-helium", PICTURES),
    ];
    let subject = Subject {
        name: "nano".into(),
        generic: file(MODEL),
        // Layouts of 64-bit ARM are not run.
        aarch64: file(MODEL),
    };
    assert_same_bits_everywhere(subject, &runs, PICTURES);
}
