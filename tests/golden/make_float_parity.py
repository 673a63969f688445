#!/usr/bin/env python3
"""Writes float_parity.safetensors: what PyTorch computes for EfficientNet-Lite0 to 2 and MiniLM-L6 on fixed inputs.

usage: make_float_parity.py WEIGHTS DEFINITION OUT
  WEIGHTS     folder with efficientnet-liteN/efficientnet-liteN.pth and minilm/model.safetensors (+ vocab.txt)
  DEFINITION  folder that holds the Python package efficientnet_lite_pytorch (PyPI, 0.1.0)
  OUT         the file to write

Needs torch, numpy, safetensors. Pictures are not stored but made from a seed by the linear congruential generator below:
state = state * 6364136223846793005 + 1442695040888963407 (mod 2^64), one byte = state >> 56, in the order height, width,
channel. A picture enters the net as (byte - 127) / 128. Token ids are stored, so that a test needs no tokenizer.
"""

import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file

SEEDS = (1, 2)
# Side of a picture of Lite0, Lite1 and Lite2.
SIDES = (224, 240, 260)
SENTENCES = (
    "a photo of a cat.",
    "a photo of a dog.",
    "an airplane in the sky",
    "the quick brown fox jumps over the lazy dog near the river bank",
    "truck",
    "a close-up photograph of a red-winged blackbird sitting on a fence post in a field of tall grass at dusk",
)


def picture(seed, side):
    state, out = seed, np.empty(side * side * 3, np.uint8)
    for i in range(out.size):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = state >> 56
    return out.reshape(side, side, 3)


def wordpiece(text, ids):
    """Lower-cased ASCII text; enough for the sentences above."""
    spaced = "".join(c if c.isalnum() else f" {c} " for c in text.lower())
    out = [ids["[CLS]"]]
    for word in spaced.split():
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(e for e in range(len(word), start, -1) if prefix + word[start:e] in ids)
            out.append(ids[prefix + word[start:end]])
            start = end
    return out + [ids["[SEP]"]]


def bert(w, ids, heads=12, layers=6, eps=1e-12):
    """The mean of the last hidden states (Devlin et al. 2018), in the dtype of the weights."""
    f = torch.nn.functional
    width = w["embeddings.word_embeddings.weight"].shape[1]
    norm = lambda x, p: f.layer_norm(x, (width,), w[p + ".weight"], w[p + ".bias"], eps)
    linear = lambda x, p: f.linear(x, w[p + ".weight"], w[p + ".bias"])
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(layers):
        p = f"encoder.layer.{i}."
        q, k, v = (
            linear(x, p + "attention.self." + n).view(len(ids), heads, -1).transpose(0, 1) for n in ("query", "key", "value")
        )
        scores = (q @ k.transpose(1, 2) / (width // heads) ** 0.5).softmax(-1)
        y = (scores @ v).transpose(0, 1).reshape(len(ids), width)
        x = norm(linear(y, p + "attention.output.dense") + x, p + "attention.output.LayerNorm")
        y = f.gelu(linear(x, p + "intermediate.dense"))
        x = norm(linear(y, p + "output.dense") + x, p + "output.LayerNorm")
    return x.mean(0)


def main():
    weights, definition, out = map(pathlib.Path, sys.argv[1:4])
    sys.path.insert(0, str(definition))
    from efficientnet_lite_pytorch import EfficientNet

    tensors = {"image.seeds": torch.tensor(SEEDS)}
    with torch.no_grad():
        for variant, side in enumerate(SIDES):
            name = f"efficientnet-lite{variant}"
            net = EfficientNet.from_name(name)
            net.load_state_dict(torch.load(weights / name / f"{name}.pth", map_location="cpu", weights_only=True))
            net.eval()
            x = np.stack([picture(seed, side) for seed in SEEDS]).astype(np.float32)
            x = torch.from_numpy((x - 127) / 128).permute(0, 3, 1, 2)
            features = net.extract_features(x).mean((2, 3))
            tensors["image.features" if variant == 0 else f"{name}.features"] = features
            if variant == 0:
                tensors["image.logits"] = net._fc(features)
        tokens = (weights / "minilm" / "vocab.txt").read_text(encoding="utf-8").splitlines()
        ids = {token: i for i, token in enumerate(tokens)}
        state = load_file(weights / "minilm" / "model.safetensors")
        for i, sentence in enumerate(SENTENCES):
            sequence = wordpiece(sentence, ids)
            tensors[f"text.{i}.ids"] = torch.tensor(sequence, dtype=torch.int32)
            tensors[f"text.{i}.mean"] = bert(state, sequence)
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    sentences = {f"text.{i}": sentence for i, sentence in enumerate(SENTENCES)}
    save_file(tensors, out, metadata=sentences)
    print(f"{out}: {out.stat().st_size} bytes, {len(tensors)} tensors")


main()
