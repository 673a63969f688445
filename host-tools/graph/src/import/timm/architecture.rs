//! Networks by the names that timm gives them, and what tensors do not tell of them.

use super::{mobilenet, repvit, resnet, tiny_vit};
use crate::import::checkpoint::Checkpoint;

/// Which importer reads a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stages of residual blocks, `layer1.…`.
    ResNet,
    /// Inverted residuals with ReLU6.
    MobileNetV2,
    /// Inverted residuals with squeeze and excitation.
    MobileNetV3,
    /// Universal inverted residuals, without attention.
    MobileNetV4,
    /// Convolutions with branches.
    RepVit,
    /// Convolutions, then attention in windows.
    TinyVit,
}

/// All of them, in the order in which keys are looked at.
pub(super) const FAMILIES: [Family; 6] = [
    Family::ResNet,
    Family::MobileNetV4,
    Family::MobileNetV3,
    Family::MobileNetV2,
    Family::RepVit,
    Family::TinyVit,
];

impl Family {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet => "ResNet",
            Self::MobileNetV2 => "MobileNetV2",
            Self::MobileNetV3 => "MobileNetV3",
            Self::MobileNetV4 => "MobileNetV4",
            Self::RepVit => "RepViT",
            Self::TinyVit => "TinyViT",
        }
    }

    /// Keys that every checkpoint of the family has.
    pub(super) fn markers(self) -> &'static [&'static str] {
        match self {
            Self::ResNet => resnet::MARKERS,
            Self::MobileNetV2 => mobilenet::V2_MARKERS,
            Self::MobileNetV3 => mobilenet::V3_MARKERS,
            Self::MobileNetV4 => mobilenet::V4_MARKERS,
            Self::RepVit => repvit::MARKERS,
            Self::TinyVit => tiny_vit::MARKERS,
        }
    }

    /// Whether a checkpoint has its keys.
    pub(super) fn has_keys(self, checkpoint: &Checkpoint) -> bool {
        let all = |keys: &[&str]| {
            let mut keys = keys.iter();
            keys.all(|key| checkpoint.tensors.contains_key(*key))
        };
        all(self.markers()) || self == Self::RepVit && all(repvit::FOLDED_MARKERS)
    }

    /// What is in front of the number of a block, by the number of its stage.
    pub(super) fn stage(self, stage: usize) -> String {
        match self {
            Self::ResNet => format!("layer{}", stage + 1),
            Self::MobileNetV2 | Self::MobileNetV3 | Self::MobileNetV4 => format!("blocks.{stage}"),
            Self::RepVit | Self::TinyVit => format!("stages.{stage}.blocks"),
        }
    }

    /// What is in front of the keys of the classifier.
    pub(super) fn classifier(self) -> &'static str {
        match self {
            Self::ResNet => "fc",
            Self::MobileNetV2 | Self::MobileNetV3 | Self::MobileNetV4 => "classifier",
            Self::RepVit => "head",
            Self::TinyVit => "head.fc",
        }
    }

    /// Whether networks of other families have its keys too, so that the number of blocks tells them apart.
    pub(super) fn shares_keys(self) -> bool {
        matches!(self, Self::MobileNetV2 | Self::MobileNetV3)
    }
}

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// timm's.
    pub name: &'static str,
    /// Whose importer.
    pub family: Family,
    /// Of each stage.
    pub blocks: &'static [usize],
    /// Pixels of a picture's side, where no configuration says so.
    pub side: usize,
    /// Trained by TensorFlow: its padding, its ε and its pixels.
    pub tensorflow: bool,
}

const fn network(family: Family, name: &'static str, blocks: &'static [usize]) -> Architecture {
    Architecture {
        name,
        family,
        blocks,
        side: 224,
        tensorflow: false,
    }
}

impl Architecture {
    const fn side(self, side: usize) -> Self {
        Self { side, ..self }
    }

    const fn tensorflow(self) -> Self {
        Self {
            tensorflow: true,
            ..self
        }
    }
}

pub(super) const V2: &[usize] = &[1, 2, 3, 4, 3, 3, 1];
pub(super) const V3_SMALL: &[usize] = &[1, 2, 3, 2, 3, 1];
pub(super) const V3_LARGE: &[usize] = &[1, 2, 3, 4, 2, 3, 1];
const V4_SMALL: &[usize] = &[2, 2, 6, 6, 1];
const TINY_VIT: &[usize] = &[2, 2, 6, 2];

/// Every network that has a name here.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    network(Family::ResNet, "resnet18", &[2, 2, 2, 2]),
    network(Family::ResNet, "resnet26", &[2, 2, 2, 2]),
    network(Family::ResNet, "resnet34", &[3, 4, 6, 3]),
    network(Family::ResNet, "resnet50", &[3, 4, 6, 3]),
    network(Family::ResNet, "resnet101", &[3, 4, 23, 3]),
    network(Family::ResNet, "resnet152", &[3, 8, 36, 3]),
    network(Family::ResNet, "wide_resnet50_2", &[3, 4, 6, 3]),
    network(Family::ResNet, "wide_resnet101_2", &[3, 4, 23, 3]),
    network(Family::MobileNetV2, "mobilenetv2_035", V2),
    network(Family::MobileNetV2, "mobilenetv2_050", V2),
    network(Family::MobileNetV2, "mobilenetv2_075", V2),
    network(Family::MobileNetV2, "mobilenetv2_100", V2),
    network(Family::MobileNetV2, "mobilenetv2_140", V2),
    network(
        Family::MobileNetV2,
        "mobilenetv2_110d",
        &[1, 3, 4, 5, 4, 4, 1],
    ),
    network(
        Family::MobileNetV2,
        "mobilenetv2_120d",
        &[1, 3, 5, 6, 5, 5, 1],
    ),
    network(Family::MobileNetV3, "mobilenetv3_small_050", V3_SMALL),
    network(Family::MobileNetV3, "mobilenetv3_small_075", V3_SMALL),
    network(Family::MobileNetV3, "mobilenetv3_small_100", V3_SMALL),
    network(Family::MobileNetV3, "mobilenetv3_large_075", V3_LARGE),
    network(Family::MobileNetV3, "mobilenetv3_large_100", V3_LARGE),
    network(Family::MobileNetV3, "tf_mobilenetv3_small_075", V3_SMALL).tensorflow(),
    network(Family::MobileNetV3, "tf_mobilenetv3_small_100", V3_SMALL).tensorflow(),
    network(
        Family::MobileNetV3,
        "tf_mobilenetv3_small_minimal_100",
        V3_SMALL,
    )
    .tensorflow(),
    network(Family::MobileNetV3, "tf_mobilenetv3_large_075", V3_LARGE).tensorflow(),
    network(Family::MobileNetV3, "tf_mobilenetv3_large_100", V3_LARGE).tensorflow(),
    network(
        Family::MobileNetV3,
        "tf_mobilenetv3_large_minimal_100",
        V3_LARGE,
    )
    .tensorflow(),
    network(Family::MobileNetV4, "mobilenetv4_conv_small", V4_SMALL),
    network(Family::MobileNetV4, "mobilenetv4_conv_small_035", V4_SMALL),
    network(Family::MobileNetV4, "mobilenetv4_conv_small_050", V4_SMALL),
    network(
        Family::MobileNetV4,
        "mobilenetv4_conv_medium",
        &[1, 2, 8, 11, 1],
    )
    .side(256),
    network(
        Family::MobileNetV4,
        "mobilenetv4_conv_large",
        &[1, 2, 11, 13, 1],
    )
    .side(384),
    network(Family::RepVit, "repvit_m0_9", &[2, 2, 14, 2]),
    network(Family::RepVit, "repvit_m1", &[2, 2, 14, 2]),
    network(Family::RepVit, "repvit_m1_0", &[2, 2, 14, 2]),
    network(Family::RepVit, "repvit_m1_1", &[2, 2, 12, 2]),
    network(Family::RepVit, "repvit_m1_5", &[4, 4, 24, 4]),
    network(Family::RepVit, "repvit_m2", &[2, 2, 12, 2]),
    network(Family::RepVit, "repvit_m2_3", &[6, 6, 34, 2]),
    network(Family::RepVit, "repvit_m3", &[4, 4, 18, 2]),
    network(Family::TinyVit, "tiny_vit_5m_224", TINY_VIT),
    network(Family::TinyVit, "tiny_vit_11m_224", TINY_VIT),
    network(Family::TinyVit, "tiny_vit_21m_224", TINY_VIT),
    network(Family::TinyVit, "tiny_vit_21m_384", TINY_VIT).side(384),
    network(Family::TinyVit, "tiny_vit_21m_512", TINY_VIT).side(512),
];

/// How many names a message offers for one that is not known.
const NEAREST_NAMES: usize = 3;

/// The network of a name; a tag behind a full stop, as in `resnet18.a1_in1k`, does not matter.
///
/// # Errors
/// With the sentence for it, when none has that name.
pub(super) fn named(name: &str) -> Result<&'static Architecture, String> {
    let plain = name.split('.').next().unwrap_or(name);
    let mut known = ARCHITECTURES.iter();
    known.find(|known| known.name == plain).ok_or_else(|| {
        let mut known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        // Names of a family begin alike and differ in length: edits of all of it would prefer short ones of another family.
        let bare = |name: &str| name.replace('_', "");
        let wanted = bare(plain);
        known.sort_by_cached_key(|known| {
            let start: String = bare(known).chars().take(wanted.chars().count()).collect();
            let edits = strsim::levenshtein(&wanted, &start);
            (edits, strsim::levenshtein(plain, known))
        });
        format!(
            "no architecture is called {plain}; the nearest names are {}",
            known[..NEAREST_NAMES].join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_with_its_tag() {
        assert_eq!(named("resnet18.a1_in1k").unwrap().name, "resnet18");
        assert!(named("tf_mobilenetv3_small_100").unwrap().tensorflow);
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let told = named("mobilenet_v3_small").unwrap_err();
        assert!(told.contains("mobilenetv3_small_100"), "{told}");
        let told = named("mobilenetv3_rw").unwrap_err();
        assert!(told.contains("mobilenetv3_"), "{told}");
        assert!(!told.contains("mobilenetv2_"), "{told}");
        let told = named("resnet51").unwrap_err();
        assert!(
            told.contains("resnet50") || told.contains("resnet101"),
            "{told}"
        );
    }
}
