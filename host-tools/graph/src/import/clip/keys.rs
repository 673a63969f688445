//! How the libraries of the family spell the keys of their towers.

use crate::import::checkpoint::Checkpoint;

/// Whose keys a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `visual.…`, as OpenAI and open_clip write them; CoCa too.
    OpenClip,
    /// `visual.trunk.…`: SigLIP in open_clip, its image tower from timm.
    OpenClipSiglip,
    /// `visual.trunk.…` with stages of convolutions: MobileCLIP-S in open_clip, its image tower timm's FastViT.
    OpenClipFastVit,
    /// `visual.trunk.…` with a class token: timm's vision transformers in open_clip, among them MobileCLIP-B.
    OpenClipTimm,
    /// `vision_model.…` with a class token.
    HuggingFaceClip,
    /// `vision_model.…` with a head that pools by attention.
    HuggingFaceSiglip,
}

/// Whose keys a checkpoint has, if it is of this family.
pub fn recognises(checkpoint: &Checkpoint) -> Option<Keys> {
    let has = |key: &str| checkpoint.tensors.contains_key(key);
    let all = [
        Keys::OpenClip,
        Keys::OpenClipSiglip,
        Keys::OpenClipTimm,
        Keys::HuggingFaceClip,
        Keys::HuggingFaceSiglip,
    ];
    if has(super::resnet::POSITIONS) {
        return Some(Keys::OpenClip);
    }
    if super::fastvit::STEM.iter().any(|key| has(key)) {
        return Some(Keys::OpenClipFastVit);
    }
    all.into_iter().find(|keys| {
        let names = keys.image();
        let stem = |stem: &str| has(&format!("{stem}.0.conv.weight"));
        let patches = has(&format!("{}.weight", names.patches)) || names.stem.is_some_and(stem);
        has(names.pool.token()) && patches
    })
}

/// Why a checkpoint of this family is not read, where its keys are those of a library that spells them in another way.
pub fn refused(checkpoint: &Checkpoint) -> Option<&'static str> {
    let key = checkpoint.tensors.range(APPLE.to_owned()..).next()?.0;
    key.starts_with(APPLE).then_some(
        "these are the keys of Apple's own MobileCLIP, expected those of open_clip, which reads files of S1, S2 and B and \
         saves them in its own; the text tower of Apple's S0 is in neither",
    )
}

/// In front of the keys of image towers in Apple's repository.
const APPLE: &str = "image_encoder.model.";

/// Keys that every checkpoint of a family has, and what messages call the family.
pub(in crate::import) fn markers() -> Vec<(&'static str, Vec<String>)> {
    let families = [
        (Keys::OpenClip, "OpenAI's CLIP or open_clip"),
        (Keys::OpenClipSiglip, "SigLIP of open_clip"),
        (
            Keys::OpenClipTimm,
            "a vision transformer of timm in open_clip, as MobileCLIP-B",
        ),
        (Keys::HuggingFaceClip, "Hugging Face's CLIP"),
        (Keys::HuggingFaceSiglip, "Hugging Face's SigLIP"),
    ];
    let of = |keys: Keys| {
        let names = keys.image();
        vec![
            format!("{}.weight", names.patches),
            format!("{}.0.{}.weight", names.blocks, names.block.norm1),
            names.positions.to_owned(),
            names.pool.token().to_owned(),
        ]
    };
    let fastvit = super::fastvit::MARKERS.map(str::to_owned).to_vec();
    families
        .into_iter()
        .map(|(keys, name)| (name, of(keys)))
        .chain([("MobileCLIP of open_clip (FastViT)", fastvit)])
        .collect()
}

/// Keys of an image tower.
#[derive(Clone, Copy)]
pub(super) struct ImageNames {
    pub(super) patches: &'static str,
    /// In front of the number of a convolution, where several make the patches.
    pub(super) stem: Option<&'static str>,
    pub(super) positions: &'static str,
    pub(super) norm_before: Option<&'static str>,
    /// In front of the number of a block.
    pub(super) blocks: &'static str,
    pub(super) block: &'static BlockNames,
    pub(super) norm_after: &'static str,
    pub(super) pool: Pool,
}

/// How the tokens of a picture become one.
#[derive(Clone, Copy)]
pub(super) enum Pool {
    /// The row of a learned token, and the key of the projection behind it.
    ClassToken {
        token: &'static str,
        projection: Projection,
    },
    /// A learned query attends to all tokens; an MLP follows.
    Probe(&'static ProbeNames),
}

impl Pool {
    /// The key of what the picture is gathered in.
    fn token(&self) -> &'static str {
        match self {
            Self::ClassToken { token, .. } => token,
            Self::Probe(probe) => probe.query,
        }
    }
}

/// Keys of a product without activation.
#[derive(Clone, Copy)]
pub(super) enum Projection {
    /// A matrix (k, n).
    Matrix(&'static str),
    /// `….weight` (n, k), and `….bias` where there is one.
    Linear(&'static str),
}

/// Keys of pooling by attention.
pub(super) struct ProbeNames {
    /// (1, 1, width)
    pub(super) query: &'static str,
    pub(super) heads: Heads,
    pub(super) mixed: &'static str,
    pub(super) norm: &'static str,
    pub(super) wide: &'static str,
    pub(super) narrow: &'static str,
}

/// Keys of queries, keys and values.
#[derive(Clone, Copy)]
pub(super) enum Heads {
    /// One matrix under two keys, weight and bias.
    InProjection([&'static str; 2]),
    /// One matrix under `….weight` and `….bias`.
    Fused(&'static str),
    /// Three matrices.
    Apart([&'static str; 3]),
    /// Queries, and keys with values in one matrix.
    Two([&'static str; 2]),
}

/// Keys inside a block.
pub(super) struct BlockNames {
    pub(super) norm1: &'static str,
    pub(super) heads: Heads,
    /// The product behind the heads.
    pub(super) mixed: &'static str,
    pub(super) norm2: &'static str,
    pub(super) wide: &'static str,
    pub(super) narrow: &'static str,
}

const OPEN_CLIP: BlockNames = BlockNames {
    norm1: "ln_1",
    heads: Heads::InProjection(["attn.in_proj_weight", "attn.in_proj_bias"]),
    mixed: "attn.out_proj",
    norm2: "ln_2",
    wide: "mlp.c_fc",
    narrow: "mlp.c_proj",
};

const HUGGING_FACE: BlockNames = BlockNames {
    norm1: "layer_norm1",
    heads: Heads::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    mixed: "self_attn.out_proj",
    norm2: "layer_norm2",
    wide: "mlp.fc1",
    narrow: "mlp.fc2",
};

const TIMM: BlockNames = BlockNames {
    norm1: "norm1",
    heads: Heads::Fused("attn.qkv"),
    mixed: "attn.proj",
    norm2: "norm2",
    wide: "mlp.fc1",
    narrow: "mlp.fc2",
};

const HUGGING_FACE_PROBE: ProbeNames = ProbeNames {
    query: "vision_model.head.probe",
    heads: Heads::InProjection([
        "vision_model.head.attention.in_proj_weight",
        "vision_model.head.attention.in_proj_bias",
    ]),
    mixed: "vision_model.head.attention.out_proj",
    norm: "vision_model.head.layernorm",
    wide: "vision_model.head.mlp.fc1",
    narrow: "vision_model.head.mlp.fc2",
};

const TIMM_PROBE: ProbeNames = ProbeNames {
    query: "visual.trunk.attn_pool.latent",
    heads: Heads::Two(["visual.trunk.attn_pool.q", "visual.trunk.attn_pool.kv"]),
    mixed: "visual.trunk.attn_pool.proj",
    norm: "visual.trunk.attn_pool.norm",
    wide: "visual.trunk.attn_pool.mlp.fc1",
    narrow: "visual.trunk.attn_pool.mlp.fc2",
};

impl Keys {
    /// Zhai et al.'s: other activations, no class token, no mask in the text tower.
    pub(super) fn is_siglip(self) -> bool {
        matches!(self, Self::OpenClipSiglip | Self::HuggingFaceSiglip)
    }

    /// Whether open_clip wrote them.
    fn is_open_clip(self) -> bool {
        !matches!(self, Self::HuggingFaceClip | Self::HuggingFaceSiglip)
    }

    pub(super) fn image(self) -> ImageNames {
        match self {
            Self::OpenClip => ImageNames {
                patches: "visual.conv1",
                stem: None,
                positions: "visual.positional_embedding",
                norm_before: Some("visual.ln_pre"),
                blocks: "visual.transformer.resblocks",
                block: &OPEN_CLIP,
                norm_after: "visual.ln_post",
                pool: Pool::ClassToken {
                    token: "visual.class_embedding",
                    projection: Projection::Matrix("visual.proj"),
                },
            },
            // A FastViT has none of these; what is of its text tower and what of neither is as in the others.
            Self::OpenClipTimm | Self::OpenClipFastVit => ImageNames {
                patches: "visual.trunk.patch_embed.proj",
                stem: Some("visual.trunk.patch_embed.backbone"),
                positions: "visual.trunk.pos_embed",
                norm_before: Some("visual.trunk.norm_pre"),
                blocks: "visual.trunk.blocks",
                block: &TIMM,
                norm_after: "visual.trunk.norm",
                pool: Pool::ClassToken {
                    token: "visual.trunk.cls_token",
                    projection: Projection::Linear("visual.trunk.head"),
                },
            },
            Self::OpenClipSiglip => ImageNames {
                patches: "visual.trunk.patch_embed.proj",
                stem: None,
                positions: "visual.trunk.pos_embed",
                norm_before: None,
                blocks: "visual.trunk.blocks",
                block: &TIMM,
                norm_after: "visual.trunk.norm",
                pool: Pool::Probe(&TIMM_PROBE),
            },
            Self::HuggingFaceClip | Self::HuggingFaceSiglip => ImageNames {
                patches: "vision_model.embeddings.patch_embedding",
                stem: None,
                positions: "vision_model.embeddings.position_embedding.weight",
                // The key's spelling is that of the library.
                norm_before: (self == Self::HuggingFaceClip).then_some("vision_model.pre_layrnorm"),
                blocks: "vision_model.encoder.layers",
                block: &HUGGING_FACE,
                norm_after: "vision_model.post_layernorm",
                pool: if self == Self::HuggingFaceClip {
                    Pool::ClassToken {
                        token: "vision_model.embeddings.class_embedding",
                        projection: Projection::Linear("visual_projection"),
                    }
                } else {
                    Pool::Probe(&HUGGING_FACE_PROBE)
                },
            },
        }
    }

    /// Keys of the text tower; `apart` where open_clip keeps them under a prefix of their own.
    pub(super) fn text(self, apart: bool) -> TextNames {
        let open_clip = |tokens, positions, blocks, norm_after, projection| TextNames {
            tokens,
            positions,
            blocks,
            block: &OPEN_CLIP,
            norm_after,
            projection,
        };
        match (self.is_open_clip(), apart) {
            (true, false) => open_clip(
                "token_embedding.weight",
                "positional_embedding",
                "transformer.resblocks",
                "ln_final",
                "text_projection",
            ),
            (true, true) => open_clip(
                "text.token_embedding.weight",
                "text.positional_embedding",
                "text.transformer.resblocks",
                "text.ln_final",
                "text.text_projection",
            ),
            (false, _) => TextNames {
                tokens: "text_model.embeddings.token_embedding.weight",
                positions: "text_model.embeddings.position_embedding.weight",
                blocks: "text_model.encoder.layers",
                block: &HUGGING_FACE,
                norm_after: "text_model.final_layer_norm",
                projection: if self == Self::HuggingFaceClip {
                    "text_projection"
                } else {
                    "text_model.head"
                },
            },
        }
    }

    /// Whether a key belongs to an image tower, a text tower or neither; what is in neither is bookkeeping of training.
    pub(super) fn side(self, key: &str) -> Side {
        let image = if self.is_open_clip() {
            ["visual.", "visual."]
        } else {
            ["vision_model.", "visual_projection."]
        };
        const TEXT: [&str; 7] = [
            "text",
            "transformer.",
            "token_embedding.",
            "positional_embedding",
            "ln_final.",
            "attn_mask",
            "text_model.",
        ];
        const NEITHER: [&str; 5] = [
            "logit_scale",
            "logit_bias",
            "input_resolution",
            "context_length",
            "vocab_size",
        ];
        if key.ends_with("position_ids") || NEITHER.contains(&key) {
            Side::Neither
        } else if image.iter().any(|prefix| key.starts_with(prefix)) {
            Side::Image
        } else if key.starts_with("text_decoder.") {
            Side::Decoder
        } else if TEXT.iter().any(|prefix| key.starts_with(prefix)) {
            Side::Text
        } else {
            Side::Unknown
        }
    }
}

/// What a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Image,
    Text,
    /// The captioning decoder of CoCa, which embeddings do not need.
    Decoder,
    Neither,
    Unknown,
}

impl Side {
    /// Whether an importer of `wanted` may leave the key alone.
    pub(super) fn may_stay(self, wanted: Self) -> bool {
        self != wanted && self != Self::Unknown
    }
}

/// Keys of a text tower.
#[derive(Clone, Copy)]
pub(super) struct TextNames {
    pub(super) tokens: &'static str,
    pub(super) positions: &'static str,
    pub(super) blocks: &'static str,
    pub(super) block: &'static BlockNames,
    pub(super) norm_after: &'static str,
    /// The key itself for a matrix (k, n), `….weight` and `….bias` for a linear layer.
    pub(super) projection: &'static str,
}
