//! Whole networks on photographs: the same output bits from every kernel set of this CPU.
//!
//! `tests/models/table.sh` leaves the packed models in `target/models/int8`: EfficientNet-Lite0, TinyViT-5M, DINOv2, the
//! shapes of CLIP's vision transformers. What is not there is named.

use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;
use pinhole_tests::{embed, photographs, root};

/// Models that the test wants to see.
const NAMES: [&str; 5] = [
    "efficientnet-lite0",
    "tinyvit-5m",
    "dinov2-vits14",
    "tinyclip-vit-8m-16",
    "open-clip-vit-b-32",
];
/// Photographs compared; the scalar set takes seconds for each.
const PICTURES: usize = 3;

#[test]
#[ignore = "reads models that tests/models/table.sh makes from public weights"]
fn every_kernel_set_gives_the_same_bits_for_every_model() {
    let photographs = photographs();
    let pictures: Vec<_> = photographs.iter().take(PICTURES).map(|(_, p)| p).collect();
    let mut compared = 0;
    for name in NAMES {
        let path = root().join(format!("target/models/int8/{name}.phm"));
        let Ok(bytes) = std::fs::read(&path) else {
            println!("{name}: left out, {} is not there", path.display());
            continue;
        };
        let bytes = AlignedBytes::from_slice(&bytes);
        let model = Model::load(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        compared += 1;
        let embeddings = |set: &'static dyn Kernels| -> Vec<Vec<i8>> {
            let embed = |picture: &&image::RgbImage| embed(&model, picture, set);
            pictures.iter().map(embed).collect()
        };
        let fastest = kernel::detect();
        let expected = embeddings(fastest);
        assert_ne!(expected[0], expected[1], "{name}: pictures differ");
        for set in kernel::available() {
            assert_eq!(embeddings(set), expected, "{name}: {}", set.name());
            println!("{name}: {} equals {}", set.name(), fastest.name());
        }
    }
    assert!(compared > 0, "no model is there; run tests/models/table.sh");
}
