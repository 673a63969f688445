//! The default model on real pictures: the same embedding bits from every kernel set of this CPU.

use image::imageops::crop_imm;
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_tests::{embed, file, photographs};

/// Pictures compared.
const PICTURES: usize = 50;
/// Of these, so many by the scalar set too when the test is not optimised: it takes seconds for each.
const SCALAR_PICTURES: usize = if cfg!(debug_assertions) { 10 } else { PICTURES };

/// Fifty pictures: each photograph whole and four overlapping cuts of it.
fn pictures() -> Vec<image::RgbImage> {
    let mut pictures = Vec::new();
    for (_, photograph) in photographs() {
        let (width, height) = photograph.dimensions();
        for (x, y) in [
            (0, 0),
            (width / 3, 0),
            (0, height / 3),
            (width / 3, height / 3),
        ] {
            pictures.push(crop_imm(&photograph, x, y, width * 2 / 3, height * 2 / 3).to_image());
        }
        pictures.push(photograph);
    }
    pictures
}

#[test]
fn every_kernel_set_gives_the_same_bits_on_fifty_pictures() {
    let bytes = file("models/lite0/image.phm");
    let model = Model::load(&bytes).expect("the default model loads");
    let pictures = pictures();
    assert_eq!(pictures.len(), PICTURES);
    let fastest = kernel::detect();
    let expected: Vec<Vec<i8>> = pictures
        .iter()
        .map(|picture| embed(&model, picture, fastest))
        .collect();
    assert!(
        expected.windows(2).any(|pair| pair[0] != pair[1]),
        "different pictures have different embeddings"
    );
    for set in kernel::available() {
        let count = if set.name() == "scalar" {
            SCALAR_PICTURES
        } else {
            PICTURES
        };
        for (index, (picture, expected)) in pictures.iter().zip(&expected).take(count).enumerate() {
            assert_eq!(
                &embed(&model, picture, set),
                expected,
                "{} on picture {index}",
                set.name()
            );
        }
        println!(
            "{}: {count} pictures equal to those of {}",
            set.name(),
            fastest.name()
        );
    }
}

#[test]
fn the_arena_of_the_default_model_is_its_lower_bound() {
    let bytes = file("models/lite0/image.phm");
    let model = Model::load(&bytes).expect("the default model loads");
    let bound = model.header().arena_lower_bound_bytes.get() as usize;
    println!(
        "arena {} bytes, lower bound {bound} bytes",
        model.arena_bytes()
    );
    assert!(
        model.arena_bytes() * 100 <= bound * 105,
        "more than 5 % above the bound"
    );
}
