#!/usr/bin/env python3
"""Writes checkpoints of torchvision's MobileNets with seeded random weights, and what torchvision computes for them.

usage: make_torchvision.py FOLDER [NAME...]        all of NAMES below, or those named
       make_torchvision.py --tiny FILE_PREFIX      the small ones that the tests keep, one file each

Needs torchvision 0.29.2, and what make_timm.py beside it needs, timm too; that one says what is written and how weights
are made.
"""

import pathlib
import sys

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import mobilenetv2, mobilenetv3

from make_timm import perturbed, pictures, save_tiny

NAMES = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")
SIDE = 224


def expected(model, image):
    """Features as timm cuts them: V3's with the layer between pooling and the classifier."""
    with torch.no_grad():
        features = model.features(image).mean((2, 3))
        if isinstance(model, mobilenetv3.MobileNetV3):
            features = model.classifier[:2](features)
        logits = model(image)
    return {
        "image": image.permute(0, 2, 3, 1).contiguous(),
        "image.embedding": torch.nn.functional.normalize(features, dim=-1),
        "image.logits": torch.nn.functional.normalize(logits, dim=-1),
    }


def tiny_models():
    model = mobilenetv2.MobileNetV2(num_classes=5, width_mult=0.1)
    channels = model.features[18][0].in_channels
    model.features[18] = mobilenetv2.Conv2dNormActivation(
        channels, 16, kernel_size=1, activation_layer=torch.nn.ReLU6)
    model.classifier[1] = torch.nn.Linear(16, 5)
    yield "mobilenet_v2", model
    for name in ("mobilenet_v3_small", "mobilenet_v3_large"):
        blocks, _ = mobilenetv3._mobilenet_v3_conf(name, width_mult=0.1)
        yield name, mobilenetv3.MobileNetV3(blocks, last_channel=16, num_classes=5)


def main():
    if sys.argv[1:2] == ["--tiny"]:
        for name, model in tiny_models():
            # Weights and pixels that are halves lose nothing when they are stored as such.
            model = perturbed(model, 1).half().float()
            save_tiny(f"{sys.argv[2]}{name}.safetensors", model, expected(model, pictures(64, 2).half().float()))
        return
    for name in sys.argv[2:] or NAMES:
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        model = perturbed(torchvision.models.get_model(name), 1)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
        save_file(expected(model, pictures(SIDE, 2)), folder / "expected.safetensors")
        print(f"{folder}: written", flush=True)


if __name__ == "__main__":
    main()
