//! Feature files, well formed and not.

use super::Features;
use crate::fixture::{Fixture, write_tensors};
use safetensors::Dtype;

#[test]
fn well_formed_files_are_read() {
    let fixture = Fixture::new();
    let features = Features::load(&fixture.inputs(), fixture.folder()).unwrap();
    assert_eq!(
        (
            features.classes(),
            features.members[features.classes()].len()
        ),
        (6, 3)
    );
    assert_eq!(features.pictures.columns, features.prototypes.columns);
}

#[test]
fn pictures_of_another_width_are_refused_with_both_widths() {
    let fixture = Fixture::new();
    write_tensors(
        &fixture.folder().join("pictures.safetensors"),
        &[("features", Dtype::F32, &[2, 3], &[0; 24])],
    );
    let message = Features::load(&fixture.inputs(), fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("[2, 3]") && message.contains("[rows, 8]"),
        "{message}"
    );
}

#[test]
fn a_teacher_of_other_pictures_is_refused_with_both_counts() {
    let fixture = Fixture::new();
    write_tensors(
        &fixture.folder().join("teacher.safetensors"),
        &[
            ("features", Dtype::F32, &[2, 3], &[0; 24]),
            ("weight", Dtype::F32, &[6, 3], &[0; 72]),
            ("bias", Dtype::F32, &[6], &[0; 24]),
        ],
    );
    let message = Features::load(&fixture.inputs(), fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(message.contains("has 2 rows, expected 20"), "{message}");
}

#[test]
fn a_neighbourhood_of_other_pictures_is_refused_with_both_counts() {
    let fixture = Fixture::new();
    let mut inputs = fixture.inputs();
    inputs.neighbourhood = Some("neighbourhood.safetensors".into());
    let path = fixture.folder().join("neighbourhood.safetensors");
    write_tensors(&path, &[("features", Dtype::F32, &[20, 3], &[0; 240])]);
    let features = Features::load(&inputs, fixture.folder()).unwrap();
    assert_eq!(features.neighbourhood.unwrap().columns, 3);
    write_tensors(&path, &[("features", Dtype::F32, &[2, 3], &[0; 24])]);
    let message = Features::load(&inputs, fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(message.contains("has 2 rows, expected 20"), "{message}");
}

#[test]
fn photos_that_are_no_whole_sharpnesses_are_refused_with_both_counts() {
    let fixture = Fixture::new();
    let one: Vec<u8> = (0..24).flat_map(|_| (1f32 / 6.0).to_le_bytes()).collect();
    write_tensors(
        &fixture.folder().join("photos.safetensors"),
        &[
            ("features", Dtype::F32, &[6, 8], &[0; 192]),
            ("posteriors", Dtype::F32, &[4, 6], &one),
        ],
    );
    let message = Features::load(&fixture.inputs(), fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("6 rows, expected a multiple of the 4"),
        "{message}"
    );
}

#[test]
fn a_missing_tensor_is_named_with_those_found() {
    let fixture = Fixture::new();
    write_tensors(
        &fixture.folder().join("pictures.safetensors"),
        &[("feature", Dtype::F32, &[1, 8], &[0; 32])],
    );
    let message = Features::load(&fixture.inputs(), fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("no tensor `features`, found `feature`"),
        "{message}"
    );
}

#[test]
fn a_feature_that_is_not_finite_is_refused() {
    let fixture = Fixture::new();
    let mut bytes = vec![0u8; 32];
    bytes[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
    write_tensors(
        &fixture.folder().join("pictures.safetensors"),
        &[("features", Dtype::F32, &[1, 8], &bytes)],
    );
    let message = Features::load(&fixture.inputs(), fixture.folder())
        .unwrap_err()
        .to_string();
    assert!(message.contains("inf at element 1"), "{message}");
}

#[test]
fn every_prefix_of_the_texts_is_refused_without_a_panic() {
    let fixture = Fixture::new();
    let path = fixture.folder().join("texts.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(
            Features::load(&fixture.inputs(), fixture.folder()).is_err(),
            "{len} bytes were accepted"
        );
    }
}

#[test]
fn flipping_a_byte_of_the_texts_never_panics() {
    let fixture = Fixture::new();
    let path = fixture.folder().join("texts.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        let _ = Features::load(&fixture.inputs(), fixture.folder());
    }
}
