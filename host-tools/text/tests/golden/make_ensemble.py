#!/usr/bin/env python3
"""Writes `ensemble.jsonl`: class embeddings computed with numpy and the reference tokenizer.

    pip install tokenizers==0.23.3 numpy
    python3 host-tools/text/tests/golden/make_ensemble.py

The text encoder is a formula, so that the test needs no weights: dimension k of an embedding is the mean of
sin(0.37 id (k + 1)) over the token ids, times the number of tokens, which the normalisation has to take out again.
The mean is open_clip's: normalise each prompt, average over the class, normalise. For each case the file holds the
class names, the SHA-256 of all prompts joined by line ends, and the embeddings of the first eight classes.
"""

import hashlib
import json
import pathlib

import numpy
from make_wordpiece import UNCASED, reference

HERE = pathlib.Path(__file__).parent
MODELS = HERE.parents[3] / "models"
DIMENSIONS = 6
TOKENIZER = reference(UNCASED)


def lines_of(path):
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def prompts_of(line, templates):
    head, *sentences = [part.strip() for part in line.split("|")]
    name, _, others = head.partition(":")
    names = [name.strip()] + [other.strip() for other in others.split(",") if other.strip()]
    return names[0], [template.replace("{}", n) for n in names for template in templates] + sentences


def encode(prompt):
    ids = numpy.array(TOKENIZER.encode(prompt).ids, dtype=numpy.float64)
    k = numpy.arange(1, DIMENSIONS + 1)
    return numpy.sin(0.37 * ids[:, None] * k).sum(axis=0)


def case(class_lines, templates):
    classes = [prompts_of(line, templates) for line in class_lines]
    embeddings = []
    for _, prompts in classes[:8]:
        rows = numpy.stack([encode(prompt) for prompt in prompts])
        mean = (rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        embeddings.append((mean / numpy.linalg.norm(mean)).round(9).tolist())
    every_prompt = "\n".join(prompt for _, prompts in classes for prompt in prompts)
    return {
        "names": [name for name, _ in classes],
        "prompts_sha256": hashlib.sha256(every_prompt.encode()).hexdigest(),
        "embeddings": embeddings,
    }


CASES = [("cifar10", "simple"), ("cifar10", "cifar10"), ("everyday", "imagenet"), ("imagenet", "simple"), ("sentences", "imagenet")]
SENTENCES = [
    "teapot: kettle, 薬缶 | A teapot has a spout: and a lid. | Tea is poured from it.",
    "CAFÉ | a photo of a cafe. | a photo of a café.",
    "photo of a photo",
]
golden = []
for class_list, template_set in CASES:
    class_lines = SENTENCES if class_list == "sentences" else lines_of(MODELS / f"classes/{class_list}.txt")
    templates = lines_of(MODELS / f"templates/{template_set}.txt")
    golden.append({"classes": class_list, "templates": template_set, **case(class_lines, templates)})
golden[-1]["lines"] = SENTENCES
(HERE / "ensemble.jsonl").write_text("\n".join(json.dumps(entry) for entry in golden) + "\n")
