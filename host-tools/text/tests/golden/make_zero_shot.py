#!/usr/bin/env python3
"""Writes `zero_shot.json`: class embeddings by open_clip's own `build_zero_shot_classifier`.

    pip install ftfy==6.3.1 regex==2026.11.19 numpy==2.4.6
    pip install --no-deps --target FOLDER open_clip_torch==3.3.0
    python3 host-tools/text/tests/golden/make_zero_shot.py FOLDER/open_clip

The two modules run as published, over a stand-in for the few names of PyTorch that they use, in f32 as there. The text
encoder is a formula of the token ids; the padding, id 0, adds nothing to it.
"""

import contextlib
import importlib.util
import json
import pathlib
import sys
import types

import numpy

HERE = pathlib.Path(__file__).parent
MODELS = HERE.parents[3] / "models"
OPEN_CLIP = pathlib.Path(sys.argv[1])
DIMENSIONS = 6


class Tensor(numpy.ndarray):
    """An array with PyTorch's names for what the modules do with it."""

    def mean(self, dim):
        return super().mean(axis=dim)

    def norm(self, dim, keepdim):
        return numpy.linalg.norm(self, axis=dim, keepdims=keepdim)

    def to(self, device):
        return self


def stand_in():
    torch = types.ModuleType("torch")
    torch.long, torch.Tensor, torch.LongTensor, torch.device = numpy.int64, Tensor, Tensor, str
    torch.tensor = numpy.array
    torch.zeros = lambda *shape, dtype: numpy.zeros(shape, dtype).view(Tensor)
    torch.cat = lambda tensors, dim: numpy.concatenate(tensors, axis=dim)
    torch.no_grad = contextlib.nullcontext
    torch.nn = types.ModuleType("torch.nn")
    torch.nn.functional = types.ModuleType("torch.nn.functional")
    sys.modules.update({"torch": torch, "torch.nn": torch.nn, "torch.nn.functional": torch.nn.functional})


def module(name):
    spec = importlib.util.spec_from_file_location(name, OPEN_CLIP / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Model:
    def encode_text(self, texts, normalize):
        assert normalize
        k = numpy.arange(1, DIMENSIONS + 1)
        rows = numpy.sin(0.37 * numpy.asarray(texts)[:, :, None] * k).sum(axis=1).astype(numpy.float32)
        return (rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).view(Tensor)


def lines_of(path):
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def main():
    stand_in()
    tokenizer = module("tokenizer").SimpleTokenizer(HERE / "tokenizers/clip_merges.txt.gz")
    build = module("zero_shot_classifier").build_zero_shot_classifier
    cases = []
    for classes in ("cifar10", "imagenet"):
        for templates in ("simple", "imagenet_simple", "imagenet", "cifar10"):
            names = lines_of(MODELS / f"classes/{classes}.txt")[:40]
            weights = build(Model(), tokenizer, names, lines_of(MODELS / f"templates/{templates}.txt"))
            embeddings = [[float(value) for value in row] for row in weights.T]
            cases.append({"names": names, "templates": templates, "embeddings": embeddings})
    (HERE / "zero_shot.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
