#!/usr/bin/env python3
"""Writes the prompt templates and class lists that are carried over from clip-benchmark (see README.md beside this).

    pip download --no-deps clip-benchmark==1.6.2 && unzip -d clip-benchmark clip_benchmark-1.6.2-*.whl
    python3 models/classes/from_clip_benchmark.py clip-benchmark/clip_benchmark/datasets
"""

import json
import pathlib
import sys

DATASETS = pathlib.Path(sys.argv[1])
MODELS = pathlib.Path(__file__).parents[1]
SOURCE = "# From clip-benchmark 1.6.2 (PyPI), {file}, set `{name}`.\n# MIT, copyright (c) 2022 Mehdi Cherti; {origin}.\n"
TEMPLATE_SETS = {
    "imagenet1k": "imagenet",
    **{name: name for name in ("caltech101", "cars", "cifar10", "cifar100", "country211", "dtd", "eurosat", "fer2013")},
    **{name: name for name in ("fgvc_aircraft", "flowers", "food101", "gtsrb", "mnist", "pets", "resisc45", "stl10")},
    **{name: name for name in ("sun397", "svhn", "voc2007")},
}
# Two names of the 1000 occur twice; the second class of each pair takes another word of its WordNet synset.
IMAGENET_RENAMED = {744: ("missile", "projectile"), 836: ("sunglasses", "sunglass")}


def source(file, name):
    origin = "first published with CLIP, MIT, copyright (c) 2021 OpenAI"
    return SOURCE.format(file=file, name=name, origin=origin)


templates_file = "en_zeroshot_classification_templates.json"
templates = json.loads((DATASETS / templates_file).read_text())
for name, stem in TEMPLATE_SETS.items():
    lines = [template.replace("{c}", "{}") + "\n" for template in templates[name]]
    (MODELS / f"templates/{stem}.txt").write_text(source(templates_file, name) + "".join(lines))

classnames_file = "en_classnames.json"
classnames = json.loads((DATASETS / classnames_file).read_text())["imagenet1k"]
for index, (found, renamed) in IMAGENET_RENAMED.items():
    assert classnames[index] == found
    classnames[index] = renamed
header = source(classnames_file, "imagenet1k") + "# Line order is the order of the 1000 classes."
header += "".join(f" Class {index}, there `{a}` a second time, is `{b}` here." for index, (a, b) in IMAGENET_RENAMED.items())
(MODELS / "classes/imagenet.txt").write_text(header + "\n" + "".join(name + "\n" for name in classnames))
