#!/usr/bin/env python3
"""Writes CLIP-like checkpoints with seeded random weights, and what their own library computes for them.

usage: make_clip.py FOLDER [NAME...]        all of NAMES below, or those named
       make_clip.py --tiny FILE_PREFIX      the small ones that the tests keep, one file each

Needs open_clip_torch 3.3, transformers 5.24, timm, safetensors, numpy and torch 2.15 (from PyPI).

FOLDER/NAME holds the checkpoint and configuration as the library itself saves them, and `expected.safetensors`:
  image            (pictures, side, side, 3) pixels as the encoder reads them, normalised
  image.embedding  (pictures, width) of length 1
  ids              (texts, tokens) i32 as the encoder reads them, -1 behind the end
  text.embedding   (texts, width) of length 1

Weights have the deviations of the library's own initialisation, but norms whose gains and statistics differ, biases that are
not 0 and factors of branches that are not tiny, as training makes them: what an importer confuses must show. The convolutions
of a FastViT keep the variance of what they are given, for otherwise its embedding is one of biases, whatever the picture.
"""

import functools
import json
import pathlib
import sys

import numpy as np
import open_clip
import timm
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file

PICTURES, TEXTS = 2, 4
# Token ids that begin and end a text.
START, END = 49406, 49407

OPEN_CLIP = {
    "open_clip-ViT-B-32": "ViT-B-32",
    "open_clip-ViT-B-16": "ViT-B-16",
    "open_clip-RN50": "RN50",
    "open_clip-coca_ViT-B-32": "coca_ViT-B-32",
    "open_clip-ViT-B-16-SigLIP": "ViT-B-16-SigLIP",
    "open_clip-MobileCLIP-S1": "MobileCLIP-S1",
    "open_clip-MobileCLIP-S2": "MobileCLIP-S2",
    "open_clip-MobileCLIP-B": "MobileCLIP-B",
    "open_clip-MobileCLIP2-S0": "MobileCLIP2-S0",
    "open_clip-MobileCLIP2-S3": "MobileCLIP2-S3",
}
HUGGING_FACE = ("hf-CLIP-ViT-B-32", "hf-SigLIP-B-16", "hf-TinyCLIP-ViT-8M-16")
# TinyCLIP's sizes; open_clip gives them the keys that it gives every CLIP.
TINY_CLIP = {
    "open_clip-TinyCLIP-ViT-8M-16": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 10, "width": 256, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 3},
        "quick_gelu": True,
    },
}
NAMES = (*OPEN_CLIP, *TINY_CLIP, *HUGGING_FACE)

TINY_VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
TINY_MOBILE = {"timm_pool": "avg", "timm_proj": None, "timm_drop": 0.0, "timm_drop_path": 0.0, "image_size": 64}
TINY_TEXT = {"context_length": 12, "vocab_size": 50, "width": 48, "heads": 4, "layers": 2}
TINY = {
    "vit": {"embed_dim": 24, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT, "quick_gelu": True},
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TINY_TEXT,
    },
    "coca": {
        "embed_dim": 64,
        "vision_cfg": {**TINY_VISION, "attentional_pool": True, "attn_pooler_heads": 8, "output_tokens": True},
        "text_cfg": {**TINY_TEXT, "width": 64, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 12, "vocab_size": 50, "width": 64, "heads": 4, "layers": 1},
    },
    "fastvit": {
        "embed_dim": 24,
        "vision_cfg": {**TINY_MOBILE, "timm_model_name": "fastvit_tiny"},
        "text_cfg": {**TINY_TEXT, "no_causal_mask": True},
    },
    "fastvit_norm": {
        "embed_dim": 24,
        "vision_cfg": {**TINY_MOBILE, "timm_model_name": "fastvit_tiny_norm"},
        "text_cfg": {**TINY_TEXT, "layers": 1, "no_causal_mask": True},
    },
    "vit_stem": {
        "embed_dim": 24,
        "vision_cfg": {**TINY_MOBILE, "timm_pool": "token", "timm_model_name": "vit_tiny_stem", "image_size": 32},
        "text_cfg": TINY_TEXT,
    },
    "vit_timm": {
        "embed_dim": 24,
        "vision_cfg": {**TINY_MOBILE, "timm_pool": "token", "timm_model_name": "vit_tiny_clip", "image_size": 32},
        "text_cfg": {**TINY_TEXT, "no_causal_mask": True},
    },
}


def register_tiny():
    """The small relatives of MobileCLIP's image towers, under names that open_clip can ask timm for."""
    from timm.layers import LayerNorm2d
    from timm.models import fastvit, vision_transformer, vision_transformer_hybrid
    from timm.models import register_model

    def register(name, kind, **sizes):
        def make(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
            return kind(**sizes, **kwargs)

        make.__name__ = name
        register_model(make)

    positions = functools.partial(fastvit.RepConditionalPosEnc, spatial_shape=(7, 7))
    register(
        "fastvit_tiny", fastvit.FastVit, layers=(1, 1, 1, 1), embed_dims=(4, 8, 16, 32), mlp_ratios=(2, 2, 2, 2),
        se_downsamples=(False, False, True, True), pos_embs=(None, None, None, positions), lkc_use_act=True,
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
    )
    register(
        "fastvit_tiny_norm", fastvit.FastVit, layers=(2, 1), embed_dims=(16, 32), mlp_ratios=(2, 2), downsamples=(False, True),
        se_downsamples=(False, False), pos_embs=(None, positions), lkc_use_act=True, token_mixers=("repmixer", "attention"),
        norm_layer=functools.partial(LayerNorm2d, eps=1e-5), stem_use_scale_branch=False,
    )

    def patches(**kwargs):
        stem = vision_transformer_hybrid.ConvStem(
            channels=(16, 16, 64), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=torch.nn.GELU,
        )
        return vision_transformer_hybrid.HybridEmbed(backbone=stem, proj=False, **kwargs)

    sizes = {"img_size": 32, "embed_dim": 64, "num_heads": 2}
    register(
        "vit_tiny_stem", vision_transformer.VisionTransformer, depth=2, embed_layer=patches, patch_size=1, no_embed_class=True,
        **sizes,
    )
    register(
        "vit_tiny_clip", vision_transformer.VisionTransformer, depth=1, patch_size=8, pre_norm=True,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-5), **sizes,
    )


def perturbed(model, seed):
    """Gains, biases and running statistics as if trained."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor, deviation):
        return torch.randn(tensor.shape, generator=generator) * deviation

    state = model.state_dict()
    is_fastvit = any(name.endswith("layer_scale.gamma") for name in state)
    with torch.no_grad():
        for name, tensor in state.items():
            if name.endswith("running_var"):
                tensor.copy_(torch.exp(noise(tensor, 0.3)))
            elif name.endswith("running_mean"):
                tensor.copy_(noise(tensor, 0.2))
            elif name.endswith("gamma"):
                tensor.copy_(torch.exp(noise(tensor, 0.3)) * 0.1)
            elif tensor.is_floating_point() and tensor.dim() == 1 and "logit" not in name:
                if name.endswith("weight"):
                    tensor.copy_(torch.exp(noise(tensor, 0.3)))
                else:
                    tensor.copy_(noise(tensor, 0.1))
            elif is_fastvit and name.startswith("visual.") and tensor.dim() >= 2:
                tensor.copy_(noise(tensor, tensor[0].numel() ** -0.5))
            elif tensor.is_floating_point() and tensor.dim() >= 2 and tensor.abs().max() == 0:
                tensor.copy_(noise(tensor, 0.05))
    return model.eval()


def pictures(side, seed):
    generator = np.random.default_rng(seed)
    coarse = generator.standard_normal((PICTURES, 3, 8, 8)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(side, side), mode="bilinear")
    return smooth + torch.from_numpy(generator.standard_normal((PICTURES, 3, side, side)).astype(np.float32)) * 0.3


def texts(context, vocabulary, behind, seed):
    """Ids as the library reads them, and as the encoder does, -1 behind its end. `behind` says what the encoder reads behind a
    text: "nothing", "one" token of padding, or "all" padding up to the context. "words": no token begins or ends a text."""
    generator = np.random.default_rng(seed)
    start, end = (START, END) if vocabulary > END else (vocabulary - 2, vocabulary - 1)
    ids = np.zeros((TEXTS, context), np.int64)
    stored = np.full((TEXTS, context + (behind == "one")), -1, np.int32)
    for row, length in enumerate(np.linspace(3, context, TEXTS).astype(int)):
        if behind == "words":
            ids[row] = 1
            ids[row, :length] = generator.integers(2, vocabulary - 2, length)
            stored[row] = ids[row]
        else:
            inner = generator.integers(1, start, length - 2)
            ids[row, :length] = [start, *inner, end]
            stored[row, :length] = ids[row, :length]
            padding = {"nothing": 0, "one": 1, "all": context - length}[behind]
            stored[row, length:length + padding] = 0
    return torch.from_numpy(ids), torch.from_numpy(stored)


def expected(image, text, embed_image, embed_text):
    ids, stored = text
    with torch.no_grad():
        image_embedding = torch.nn.functional.normalize(embed_image(image), dim=-1)
        text_embedding = torch.nn.functional.normalize(embed_text(ids), dim=-1)
    return {
        "image": image.permute(0, 2, 3, 1).contiguous(),
        "image.embedding": image_embedding.contiguous(),
        "ids": stored,
        "text.embedding": text_embedding.contiguous(),
    }


def from_open_clip(model, config, siglip):
    side = config["vision_cfg"].get("image_size", 224)
    text = config["text_cfg"]
    context = text.get("context_length", 77)
    if siglip:
        behind = "words"
    elif text.get("embed_cls"):
        context, behind = model.text.context_length, "one"
    else:
        behind = "all" if text.get("no_causal_mask") else "nothing"
    ids = texts(context, text.get("vocab_size", 49408), behind, 3)
    return expected(pictures(side, 2), ids, model.encode_image, model.encode_text)


def open_clip_folder(folder, name):
    torch.manual_seed(1)
    if name in TINY_CLIP:
        config, model = TINY_CLIP[name], open_clip.CLIP(**TINY_CLIP[name])
    else:
        config, model = open_clip.get_model_config(name), open_clip.create_model(name)
    model = perturbed(model, 1)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
    pixels = getattr(model.visual, "preprocess_cfg", {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD})
    preprocess = {"mean": list(pixels["mean"]), "std": list(pixels["std"])}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(from_open_clip(model, config, "SigLIP" in name), folder / "expected.safetensors")


def clip_config(name):
    import transformers

    if "TinyCLIP" not in name:
        return transformers.CLIPConfig()
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
    return transformers.CLIPConfig(
        vision_config={**sizes, "num_hidden_layers": 10, "patch_size": 16},
        text_config={**sizes, "num_hidden_layers": 3},
    )


def hugging_face_folder(folder, name):
    import transformers

    torch.manual_seed(1)
    if "SigLIP" in name:
        model = transformers.SiglipModel(transformers.SiglipConfig())
        vision, text = model.config.vision_config, model.config.text_config
    else:
        model = transformers.CLIPModel(clip_config(name))
        vision, text = model.config.vision_config, model.config.text_config
        text.eos_token_id = END
        model.text_model.eos_token_id = END
    model = perturbed(model, 1)
    model.save_pretrained(folder)
    behind = "words" if "SigLIP" in name else "nothing"
    ids = texts(text.max_position_embeddings, text.vocab_size, behind, 3)

    def pooled(output):
        return output if torch.is_tensor(output) else output.pooler_output

    save_file(
        expected(
            pictures(vision.image_size, 2),
            ids,
            lambda x: pooled(model.get_image_features(pixel_values=x)),
            lambda x: pooled(model.get_text_features(input_ids=x)),
        ),
        folder / "expected.safetensors",
    )


def tiny(prefix):
    register_tiny()
    for name, config in TINY.items():
        torch.manual_seed(1)
        kinds = {"coca": open_clip.CoCa, "vit": open_clip.CLIP, "resnet": open_clip.CLIP}
        # Weights that are halves lose nothing when they are stored as such.
        model = perturbed(kinds.get(name, open_clip.CustomTextCLIP)(**config), 1).half().float()
        outputs = from_open_clip(model, config, False)
        save_tiny(f"{prefix}{name}.safetensors", model, outputs)
        if name == "fastvit":
            # As timm folds it, which it does in f32.
            model.visual.trunk = timm.utils.reparameterize_model(model.visual.trunk)
            save_tiny(f"{prefix}{name}_folded.safetensors", model.visual, outputs, "visual.", torch.float32)


def save_tiny(path, model, outputs, prefix="", dtype=torch.float16):
    tensors = {prefix + key: value.to(dtype).contiguous() if value.is_floating_point() else value
               for key, value in model.state_dict().items() if not key.startswith("text_decoder.")}
    for key, value in outputs.items():
        tensors[f"expected.{key}"] = value
    save_file(tensors, path)


def main():
    if sys.argv[1:2] == ["--tiny"]:
        tiny(sys.argv[2])
        return
    root = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or NAMES:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        if name in HUGGING_FACE:
            hugging_face_folder(folder, name)
        else:
            open_clip_folder(folder, OPEN_CLIP.get(name, name))
        print(f"{folder}: written", flush=True)


if __name__ == "__main__":
    main()
