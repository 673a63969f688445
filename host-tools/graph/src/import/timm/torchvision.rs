//! torchvision's own keys of MobileNetV2 and V3, and timm's for the same layers.
//!
//! `torchvision/models/mobilenetv2.py` and `mobilenetv3.py` (<https://github.com/pytorch/vision>) number layers where
//! timm names them, and make V3 with the ε of TensorFlow but zeros on all sides. The layer between pooling and the
//! classifier of V3 is a product there and a convolution of one pixel in timm. The other networks of torchvision are
//! not read here; its ResNet has timm's keys.

use super::architecture::{Family, V2, V3_LARGE, V3_SMALL};
use crate::Tensor;
use crate::import::KeyFaults;
use crate::import::checkpoint::Checkpoint;

/// Keys that every V2 of torchvision has.
const V2_MARKERS: &[&str] = &[
    "features.0.0.weight",
    "features.1.conv.0.0.weight",
    "features.2.conv.2.weight",
];
/// Keys that every V3 of torchvision has.
const V3_MARKERS: &[&str] = &[
    "features.0.0.weight",
    "features.1.block.0.0.weight",
    "classifier.0.weight",
];

/// Keys that every checkpoint of a family has, and what messages call it.
pub(super) const MARKERS: [(&str, Family, &[&str]); 2] = [
    ("torchvision's MobileNetV2", Family::MobileNetV2, V2_MARKERS),
    ("torchvision's MobileNetV3", Family::MobileNetV3, V3_MARKERS),
];

/// The family of a checkpoint with torchvision's keys.
pub(super) fn family(checkpoint: &Checkpoint) -> Option<Family> {
    let has_all = |keys: &[&str]| keys.iter().all(|key| checkpoint.tensors.contains_key(*key));
    let found = MARKERS.into_iter().find(|(_, _, keys)| has_all(keys));
    found.map(|(_, family, _)| family)
}

/// Layers by torchvision's names and by timm's.
pub(super) struct Layers(Vec<[String; 2]>);

impl Layers {
    /// Those of a checkpoint.
    ///
    /// # Errors
    /// With the sentence for it, when there are not as many blocks as in a network of torchvision's.
    pub(super) fn of(checkpoint: &Checkpoint, family: Family) -> Result<Self, String> {
        let part = match family {
            Family::MobileNetV2 => "conv",
            _ => "block",
        };
        let count = counted(checkpoint, "features", 1, &format!("{part}."));
        let known = match family {
            Family::MobileNetV2 => vec![V2],
            _ => vec![
                &V3_SMALL[..V3_SMALL.len() - 1],
                &V3_LARGE[..V3_LARGE.len() - 1],
            ],
        };
        let total = |stages: &[usize]| stages.iter().sum::<usize>();
        let Some(stages) = known.iter().find(|stages| total(stages) == count) else {
            let expected: Vec<String> =
                known.iter().map(|known| total(known).to_string()).collect();
            return Err(format!(
                "no {} of torchvision's: found {count} blocks `features.N.{part}`, expected {}; other networks come as \
                 ONNX: pinhole import model.onnx",
                family.name(),
                expected.join(" or ")
            ));
        };
        let mut layers = Self(Vec::new());
        layers.push("features.0.0", "conv_stem");
        layers.push("features.0.1", "bn1");
        let blocks = stages.iter().enumerate();
        let blocks = blocks.flat_map(|(stage, &count)| (0..count).map(move |block| (stage, block)));
        for (number, (stage, block)) in (1..).zip(blocks) {
            let from = format!("features.{number}.{part}");
            let to = format!("blocks.{stage}.{block}");
            match family {
                Family::MobileNetV2 => layers.push_v2_block(checkpoint, &from, &to),
                _ => layers.push_v3_block(checkpoint, &from, &to),
            }
        }
        layers.push_end(family, count + 1, stages.len());
        Ok(layers)
    }

    /// What is behind the blocks, the first of which is layer `number` of torchvision's and of stage `stage` of timm's
    /// V3.
    fn push_end(&mut self, family: Family, number: usize, stage: usize) {
        let [conv, norm] = [0, 1].map(|part| format!("features.{number}.{part}"));
        if family == Family::MobileNetV2 {
            self.push(&conv, "conv_head");
            self.push(&norm, "bn2");
            self.push("classifier.1", "classifier");
            return;
        }
        self.push(&conv, &format!("blocks.{stage}.0.conv"));
        self.push(&norm, &format!("blocks.{stage}.0.bn1"));
        self.push("classifier.0", "conv_head");
        self.push("classifier.3", "classifier");
    }

    fn push(&mut self, from: &str, to: &str) {
        self.0.push([from, to].map(str::to_owned));
    }

    fn push_v2_block(&mut self, checkpoint: &Checkpoint, from: &str, to: &str) {
        let widens = has_any(checkpoint, &format!("{from}.1.0."));
        let names: &[[&str; 2]] = match widens {
            true => &[
                ["0.0", "conv_pw"],
                ["0.1", "bn1"],
                ["1.0", "conv_dw"],
                ["1.1", "bn2"],
                ["2", "conv_pwl"],
                ["3", "bn3"],
            ],
            false => &[
                ["0.0", "conv_dw"],
                ["0.1", "bn1"],
                ["1", "conv_pw"],
                ["2", "bn2"],
            ],
        };
        for [number, name] in names {
            self.push(&format!("{from}.{number}"), &format!("{to}.{name}"));
        }
    }

    /// Convolutions with their normalisation, squeeze and excitation among them where a block has it.
    fn push_v3_block(&mut self, checkpoint: &Checkpoint, from: &str, to: &str) {
        let count = counted(checkpoint, from, 0, "");
        let squeezes = |part: &usize| has_any(checkpoint, &format!("{from}.{part}.fc1."));
        let squeeze = (0..count).find(squeezes);
        let convolutions: Vec<usize> = (0..count).filter(|&part| Some(part) != squeeze).collect();
        let names = match convolutions.len() {
            2 => &["conv_dw", "conv_pw"][..],
            _ => &["conv_pw", "conv_dw", "conv_pwl"],
        };
        for (index, (part, name)) in convolutions.iter().zip(names).enumerate() {
            self.push(&format!("{from}.{part}.0"), &format!("{to}.{name}"));
            self.push(
                &format!("{from}.{part}.1"),
                &format!("{to}.bn{}", index + 1),
            );
        }
        if let Some(part) = squeeze {
            self.push(
                &format!("{from}.{part}.fc1"),
                &format!("{to}.se.conv_reduce"),
            );
            self.push(
                &format!("{from}.{part}.fc2"),
                &format!("{to}.se.conv_expand"),
            );
        }
    }

    /// The checkpoint with timm's keys; keys of no layer stay.
    pub(super) fn renamed(&self, checkpoint: &Checkpoint) -> Checkpoint {
        let tensors = checkpoint.tensors.iter().map(|(key, tensor)| {
            let tensor = match key.as_str() {
                "classifier.0.weight" => as_convolution(tensor),
                _ => tensor.clone(),
            };
            (self.other(key, [0, 1]), tensor)
        });
        Checkpoint {
            tensors: tensors.collect(),
            path: checkpoint.path.clone(),
            sha256: checkpoint.sha256.clone(),
        }
    }

    /// Faults by the keys that the file has.
    pub(super) fn named_back(&self, mut faults: KeyFaults) -> KeyFaults {
        let keys = faults.missing.iter_mut().chain(&mut faults.unexpected);
        for key in keys.chain(faults.misshapen.iter_mut().map(|(key, ..)| key)) {
            *key = self.other(key, [1, 0]);
        }
        faults
    }

    /// A key of one side as the other has it.
    fn other(&self, key: &str, [from, to]: [usize; 2]) -> String {
        let renamed = self.0.iter().find_map(|names| {
            let parameter = key.strip_prefix(&names[from])?.strip_prefix('.')?;
            // A layer whose name begins another's has none of its keys.
            (!parameter.contains('.')).then(|| format!("{}.{parameter}", names[to]))
        });
        renamed.unwrap_or_else(|| key.to_owned())
    }
}

/// How many numbers in a row, from `first` on, keys have between `prefix` and `part`.
fn counted(checkpoint: &Checkpoint, prefix: &str, first: usize, part: &str) -> usize {
    (first..)
        .take_while(|number| has_any(checkpoint, &format!("{prefix}.{number}.{part}")))
        .count()
}

/// Whether a key begins so.
fn has_any(checkpoint: &Checkpoint, prefix: &str) -> bool {
    let next = checkpoint.tensors.range(prefix.to_owned()..).next();
    next.is_some_and(|(key, _)| key.starts_with(prefix))
}

/// A product (n, k) as a convolution of one pixel (n, k, 1, 1).
fn as_convolution(product: &Tensor) -> Tensor {
    let mut convolution = product.clone();
    if convolution.shape.len() == 2 {
        convolution.shape.extend([1, 1]);
    }
    convolution
}
