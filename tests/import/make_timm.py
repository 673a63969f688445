#!/usr/bin/env python3
"""Writes checkpoints of timm's networks with seeded random weights, and what timm computes for them.

usage: make_timm.py FOLDER [NAME...]        all of NAMES below, or those named
       make_timm.py --tiny FILE_PREFIX      the small ones that the tests keep, one file each

Needs timm 1.0.31, safetensors, numpy and torch 2.15 (from PyPI).

FOLDER/NAME holds `model.safetensors`, `config.json` as timm puts it on the Hugging Face Hub, and `expected.safetensors`:
  image            (pictures, side, side, 3) pixels as the network reads them, normalised
  image.embedding  (pictures, width) features behind pooling, of length 1
  image.logits     (pictures, classes) of the classifier, of length 1

Gains, biases, running statistics and attention biases differ from channel to channel, as training makes them, and each
convolution keeps the variance of what it is given, so that the pictures show in the features.
"""

import json
import pathlib
import sys

import numpy as np
import timm
import torch
from safetensors.torch import save_file

PICTURES = 2
NAMES = (
    "resnet18",
    "resnet50",
    "mobilenetv2_035",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "repvit_m0_9",
    "repvit_m1",
    "tiny_vit_5m_224",
)


def narrowed(model, width=16):
    """A MobileNet whose features are fewer than timm makes them."""
    head = model.conv_head
    model.conv_head = torch.nn.Conv2d(head.in_channels, width, 1, bias=head.bias is not None)
    for name in ("bn2", "norm_head"):
        norm = getattr(model, name, None)
        if hasattr(norm, "running_mean"):
            setattr(model, name, type(norm)(width, act_layer=type(norm.act)))
    model.classifier = torch.nn.Linear(width, model.num_classes)
    return model


def tiny_models():
    from timm.models import efficientnet, mobilenetv3, repvit, resnet, tiny_vit

    few = {"num_classes": 5}
    model = resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), channels=(4, 8, 8, 12), stem_width=4, **few)
    yield "resnet_basic", model, 64
    model = resnet.ResNet(resnet.Bottleneck, (1, 2, 1, 1), channels=(2, 2, 3, 4), stem_width=8, **few)
    yield "resnet_bottleneck", model, 64
    yield "mobilenetv2", narrowed(efficientnet._gen_mobilenet_v2("mobilenetv2_035", 0.1, **few)), 64
    for name in ("mobilenetv3_small_100", "tf_mobilenetv3_small_minimal_100"):
        kwargs = {"bn_eps": 1e-3, "pad_type": "same"} if name.startswith("tf_") else {}
        model = narrowed(mobilenetv3._gen_mobilenet_v3(name, 0.1, **few, **kwargs))
        yield name.removesuffix("_100"), model, 64
    yield "mobilenetv4", narrowed(mobilenetv3._gen_mobilenet_v4("mobilenetv4_conv_small", 0.1, **few)), 64
    for name, legacy in (("repvit", False), ("repvit_legacy", True)):
        sizes = {"embed_dim": (8, 8, 12, 16), "depth": (1, 2, 1, 1)}
        model = repvit.RepVit(**sizes, distillation=not legacy, legacy=legacy, **few)
        yield name, model, 64
    model = tiny_vit.TinyVit(
        embed_dims=(8, 16, 16, 24), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 3), window_sizes=(4, 4, 4, 2), **few)
    yield "tiny_vit", model, 64


def perturbed(model, seed):
    """Weights of a size that keeps variance; gains, biases and running statistics as if trained."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor, deviation):
        return torch.randn(tensor.shape, generator=generator) * deviation

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.copy_(torch.exp(noise(tensor, 0.3)))
            elif name.endswith("running_mean"):
                tensor.copy_(noise(tensor, 0.2))
            elif name.endswith("attention_biases"):
                tensor.copy_(noise(tensor, 1.0))
            elif tensor.dim() >= 2:
                tensor.copy_(noise(tensor, (1.5 / tensor[0].numel()) ** 0.5))
            elif name.endswith("weight"):
                tensor.copy_(torch.exp(noise(tensor, 0.3)))
            else:
                tensor.copy_(noise(tensor, 0.1))
    return model.eval()


def pictures(side, seed):
    generator = np.random.default_rng(seed)
    coarse = generator.standard_normal((PICTURES, 3, 8, 8)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(side, side), mode="bilinear")
    return smooth + torch.from_numpy(generator.standard_normal((PICTURES, 3, side, side)).astype(np.float32)) * 0.3


def expected(model, image):
    with torch.no_grad():
        features = model.forward_head(model.forward_features(image), pre_logits=True)
        logits = model(image)
    return {
        "image": image.permute(0, 2, 3, 1).contiguous(),
        "image.embedding": torch.nn.functional.normalize(features, dim=-1),
        "image.logits": torch.nn.functional.normalize(logits, dim=-1),
    }


def folder_of(folder, name):
    torch.manual_seed(1)
    model = perturbed(timm.create_model(name), 1)
    pictures_of = {key: model.pretrained_cfg[key] for key in ("input_size", "interpolation", "crop_pct", "mean", "std")}
    config = {"architecture": name, "num_classes": model.num_classes, "num_features": model.num_features,
              "pretrained_cfg": pictures_of}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    image = pictures(pictures_of["input_size"][1], 2)
    save_file(expected(model, image), folder / "expected.safetensors")


def tiny(prefix):
    for name, model, side in tiny_models():
        # Weights and pixels that are halves lose nothing when they are stored as such.
        model = perturbed(model, 1).half().float()
        save_tiny(f"{prefix}{name}.safetensors", model, expected(model, pictures(side, 2).half().float()))


def save_tiny(path, model, outputs):
    tensors = {key: value.half().contiguous() if value.is_floating_point() else value
               for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    for key, value in outputs.items():
        tensors[f"expected.{key}"] = value.half() if key == "image" else value
    save_file(tensors, path)


def main():
    if sys.argv[1:2] == ["--tiny"]:
        tiny(sys.argv[2])
        return
    root = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or NAMES:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder_of(folder, name)
        print(f"{folder}: written", flush=True)


if __name__ == "__main__":
    main()
