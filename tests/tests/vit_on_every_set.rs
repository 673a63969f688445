//! A whole int8 vision transformer in the shape of TinyCLIP's ViT-8M/16, with made-up weights: the same embedding bits on
//! emulated CPUs as here. `models.rs` does it with published models, which have to be fetched.
//!
//! Ignored by default, since it needs emulators and targets: `./ci.sh aarch64` runs the first test, `./ci.sh qemu` the second.

#[path = "../../host-tools/quantize/tests/support/vit.rs"]
mod vit;

use pinhole_graph::{ModelKind, PictureGeometry};
use pinhole_pack::{PackOptions, pack};
use pinhole_quantize::{Input, Options, quantize};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_tests::whole_models::{Run, Subject, assert_same_bits_everywhere};

/// Pixels of a side.
const SIDE: usize = 224;
/// Pictures of noise that the ranges come from.
const CALIBRATION: usize = 2;

fn subject() -> Subject {
    let weights = vit::random_weights(256, 10, 16, SIDE);
    let mut graph = vit::vit(&weights, 4).expect("a graph");
    graph.meta.kind = ModelKind::ImageEncoder;
    graph.meta.geometry = Some(PictureGeometry {
        width: SIDE,
        height: SIDE,
        resize_shorter: SIDE,
        mean: [0.481, 0.458, 0.408],
        std: [0.269, 0.261, 0.276],
    });
    let noise = weights["calibration"].as_f32().expect("floats");
    let pictures = noise.chunks_exact(SIDE * SIDE * 3).take(CALIBRATION);
    let pictures: Vec<Input> = pictures.map(|p| p.to_vec().into()).collect();
    let options = Options {
        correct_biases: false,
        ..Options::default()
    };
    let quantized = quantize(&graph, &pictures, &options, &|_| ())
        .expect("it quantises")
        .quantized;
    let packed = |layout| {
        let options = PackOptions {
            layout,
            ..PackOptions::default()
        };
        AlignedBytes::from_slice(&pack(&quantized, &options).expect("it packs").bytes)
    };
    Subject {
        name: "vit-8m-16".into(),
        generic: packed(WeightLayout::Generic),
        aarch64: packed(WeightLayout::Aarch64),
    }
}

#[test]
#[ignore = "needs qemu-user, gcc-aarch64-linux-gnu and the target; ./ci.sh aarch64"]
fn a_vision_transformer_has_the_same_bits_on_64_bit_arm() {
    let mut runs = vec![
        Run::new("qemu-aarch64:cortex-a53", "aarch64-neon", 2),
        Run::new("qemu-aarch64:cortex-a76", "aarch64-dotprod", 2),
        Run::new("qemu-aarch64:max", "aarch64-i8mm", 2),
    ];
    let layout = WeightLayout::Aarch64;
    runs.push(Run { layout, ..runs[2] });
    assert_same_bits_everywhere(subject(), &runs, 2);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn a_vision_transformer_has_the_same_bits_on_cortex_m() {
    let runs = [
        Run::new("qemu-an386", "cortex_m-dsp", 1),
        Run::new("qemu-an500", "cortex_m-dsp", 1),
        Run::new("qemu-an547", "cortex_m-dsp", 1),
        Run::new("qemu-an547", "cortex_m-helium", 1),
    ];
    assert_same_bits_everywhere(subject(), &runs, 2);
}
