//! The model for microcontrollers that is in the tree: what a board must have for it, and its bits on emulated ones.

use image::RgbImage;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::model::Model;
use pinhole_tests::whole_models::{
    Cell, Run, Subject, differ, emulated, faults, on_this_cpu, print,
};
use pinhole_tests::{file, photographs};

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
    // No run has weights in the other layout.
    assert!(runs.iter().all(|run| run.layout == WeightLayout::Generic));
    let subjects = [Subject {
        name: "nano".into(),
        generic: file(MODEL),
        aarch64: file(MODEL),
    }];
    let photographs = photographs().into_iter().map(|(_, picture)| picture);
    let pictures: Vec<RgbImage> = photographs.take(PICTURES).collect();
    let mut rows = on_this_cpu(&subjects, &pictures);
    assert!(differ(&rows[0]), "photographs have embeddings of their own");
    rows.extend(emulated(&runs, &subjects, &pictures));
    print(&subjects, &rows);
    let faults = faults(&subjects, &rows);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let all_ran = rows.iter().all(|row| matches!(row.cells[0], Cell::Ran(_)));
    assert!(all_ran, "it fits every board");
}
