//! Which known architecture a checkpoint of an unknown one comes nearest to.

use super::{Checkpoint, bert, clip, efficientnet_lite, timm};

/// A family, and what a checkpoint lacks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// As messages call it.
    pub family: &'static str,
    /// Keys that every checkpoint of the family has and this one lacks.
    pub missing: Vec<String>,
}

/// The family of whose keys a checkpoint has the largest share; none when it has no key of any.
pub fn nearest(checkpoint: &Checkpoint) -> Option<Nearest> {
    let owned = |keys: [&str; 3]| keys.map(str::to_owned).to_vec();
    let mut families = vec![
        ("EfficientNet-Lite", owned(efficientnet_lite::MARKERS)),
        ("BERT", owned(bert::MARKERS)),
    ];
    families.extend(clip::markers());
    families.extend(timm::markers());
    let lacks = |keys: &[String]| -> Vec<String> {
        let absent = |key: &&String| !checkpoint.tensors.contains_key(*key);
        keys.iter().filter(absent).cloned().collect()
    };
    families
        .into_iter()
        .map(|(family, keys)| {
            let missing = lacks(&keys);
            (
                missing.len() as f64 / keys.len() as f64,
                Nearest { family, missing },
            )
        })
        .filter(|(share, _)| *share < 1.0)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, nearest)| nearest)
}
