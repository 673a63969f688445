#!/usr/bin/env python3
"""Compares class embeddings with those of open_clip's build_zero_shot_classifier, text tower and prompts included.

    pip install open_clip_torch==3.3.0
    pinhole import FOLDER/open_clip_model.safetensors --tower text --tokenizer bpe_simple_vocab_16e6.txt.gz --out text.phg
    cargo run --release -p pinhole-tests --example zero_shot -- text.phg \\
      models/classes/cifar10.txt models/templates/imagenet_simple.txt > embeddings.jsonl
    python3 tests/import/zero_shot_parity.py FOLDER cifar10 imagenet_simple embeddings.jsonl

FOLDER has open_clip_config.json and open_clip_model.safetensors, as make_clip.py writes them or a repository has them. Fails
when a number differs by 1e-5 or more.
"""

import json
import pathlib
import sys
import tempfile

import open_clip
import torch
from safetensors.torch import load_file

MODELS = pathlib.Path(__file__).parents[2] / "models"
LARGEST = 1e-5


def lines_of(path):
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def model_of(folder):
    """The model of a folder, as open_clip builds it from its own configuration."""
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    with tempfile.TemporaryDirectory() as configs:
        (pathlib.Path(configs) / "parity.json").write_text(json.dumps(config))
        open_clip.add_model_config(configs)
        model = open_clip.create_model("parity", pretrained=None).eval()
        tokenizer = open_clip.get_tokenizer("parity")
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model, tokenizer


def main():
    folder, classes, templates, found = sys.argv[1:]
    model, tokenizer = model_of(pathlib.Path(folder))
    names = lines_of(MODELS / f"classes/{classes}.txt")
    prompts = lines_of(MODELS / f"templates/{templates}.txt")
    expected = open_clip.build_zero_shot_classifier(model, tokenizer, names, prompts, device="cpu").T
    rows = [json.loads(line) for line in pathlib.Path(found).read_text().splitlines()]
    difference = (torch.tensor(rows) - expected).abs().max().item()
    print(f"{len(names)} classes, {len(prompts)} templates, {expected.numel()} values, largest difference {difference:.1e}")
    sys.exit(difference >= LARGEST)


if __name__ == "__main__":
    main()
