//! Whole networks on photographs: the same output bits from every kernel set, those of this CPU and of emulated ones.
//!
//! `tests/models/table.sh` leaves the quantised models in `target/models/int8`. Four have to be there: EfficientNet-Lite0,
//! TinyViT-5M, DINOv2 ViT-S/14 and the shape of TinyCLIP ViT-8M/16; of the others, what is not there is named. `./ci.sh models`
//! makes all and runs this. A model that does not fit a board is in the table with its sizes.

use std::path::PathBuf;

use image::RgbImage;
use pinhole_device::cpus;
use pinhole_graph::Graph;
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_tests::whole_models::{Run, Subject, assert_same_bits};
use pinhole_tests::{photographs, root};

/// Models without which the test fails.
const REQUIRED: [&str; 4] = [
    "efficientnet-lite0",
    "tinyvit-5m",
    "dinov2-vits14",
    "tinyclip-vit-8m-16",
];
/// Models that may be missing.
const OTHERS: [&str; 4] = [
    "open-clip-vit-b-32",
    "resnet18",
    "mobilenetv2-035",
    "mobilenetv3-small",
];
/// Photographs compared; one where the scalar set takes minutes for each.
const PICTURES: usize = 3;
/// Kernel sets that this CPU must have, unless `PINHOLE_EXPECT_KERNELS` names others.
const EXPECTED: &str = if cfg!(target_arch = "x86_64") {
    "scalar,x86_64-avx2,x86_64-avx512vnni"
} else {
    "scalar,aarch64-neon,aarch64-dotprod,aarch64-i8mm"
};

/// Every kernel set of every emulated CPU, but for sets that a CPU runs with the code of another one.
const RUNS: [Run; 11] = [
    Run::new("qemu-aarch64:cortex-a53", "scalar", 1),
    Run::new("qemu-aarch64:cortex-a53", "aarch64-neon", PICTURES),
    Run::new("qemu-aarch64:cortex-a76", "aarch64-dotprod", PICTURES),
    Run::new("qemu-aarch64:max", "aarch64-i8mm", PICTURES),
    Run {
        layout: WeightLayout::Aarch64,
        ..Run::new("qemu-aarch64:max", "aarch64-i8mm", PICTURES)
    },
    Run::new("qemu-an386", "scalar", 1),
    Run::new("qemu-an386", "cortex_m-dsp", PICTURES),
    Run::new("qemu-an500", "cortex_m-dsp", PICTURES),
    Run::new("qemu-an547", "scalar", 1),
    Run::new("qemu-an547", "cortex_m-dsp", PICTURES),
    Run::new("qemu-an547", "cortex_m-helium", PICTURES),
];

/// The folder of the quantised models; `PINHOLE_MODELS` may name another, from the root of the repository.
fn folder() -> PathBuf {
    let named = std::env::var_os("PINHOLE_MODELS");
    root().join(named.unwrap_or_else(|| "target/models/int8".into()))
}

/// A quantised graph, packed in both layouts.
fn subject(name: &str) -> Subject {
    let path = folder().join(format!("{name}.phg"));
    let graph = Graph::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let packed = |layout| {
        let options = PackOptions {
            layout,
            ..PackOptions::default()
        };
        let packed = pack(&graph, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        AlignedBytes::from_slice(&packed.bytes)
    };
    Subject {
        name: name.into(),
        generic: packed(WeightLayout::Generic),
        aarch64: packed(WeightLayout::Aarch64),
    }
}

fn subjects() -> Vec<Subject> {
    let is_there = |name: &&str| folder().join(format!("{name}.phg")).is_file();
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|n| !is_there(n)).collect();
    assert!(
        missing.is_empty(),
        "{}: {} missing; tests/models/table.sh makes them",
        folder().display(),
        missing.join(", ")
    );
    for name in OTHERS.iter().filter(|name| !is_there(name)) {
        println!("left out: {name} is not in {}", folder().display());
    }
    let others = OTHERS.into_iter().filter(|name| is_there(name));
    REQUIRED.into_iter().chain(others).map(subject).collect()
}

#[test]
#[ignore = "reads models that tests/models/table.sh makes from public weights, and needs emulators; ./ci.sh models"]
fn every_kernel_set_gives_the_same_bits_for_every_model() {
    let expected = std::env::var("PINHOLE_EXPECT_KERNELS").unwrap_or_else(|_| EXPECTED.into());
    let found: Vec<&str> = kernel::available().map(|set| set.name()).collect();
    assert_eq!(found.join(","), expected, "kernel sets of this CPU");
    for set in cpus().iter().flat_map(|cpu| cpu.kernel_sets) {
        let runs = RUNS.iter().any(|run| run.kernels == *set);
        assert!(runs, "{set} is in no run");
    }
    let subjects = subjects();
    let pictures: Vec<RgbImage> = photographs()
        .into_iter()
        .take(PICTURES)
        .map(|(_, p)| p)
        .collect();
    assert_eq!(pictures.len(), PICTURES);
    assert_same_bits(&subjects, &RUNS, &pictures);
}
