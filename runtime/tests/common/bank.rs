//! A class bank for tests of whole boards.

use super::Random;
use pinhole_runtime::bank::{BankSpec, ClassSpec};

/// Six classes, `class 0` to `class 5`, with room for two more.
pub fn six_classes(embedding_space_id: [u8; 16], dim: usize, reject_threshold: f32) -> Vec<u8> {
    let mut random = Random(9);
    let embeddings: Vec<Vec<f32>> = (0..6).map(|_| random.floats(dim)).collect();
    let names: Vec<String> = (0..6).map(|index| format!("class {index}")).collect();
    let classes: Vec<ClassSpec<'_>> = names
        .iter()
        .zip(&embeddings)
        .map(|(name, embedding)| ClassSpec { name, embedding })
        .collect();
    let spec = BankSpec {
        embedding_space_id,
        dim: dim as u16,
        classes: &classes,
        logit_scale: 20.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold,
        templates: "{}",
        page_bytes: 0,
        spare_slots: 2,
    };
    let mut bytes = vec![0; spec.bytes_len().unwrap()];
    spec.write_into(&mut bytes).unwrap();
    bytes
}
