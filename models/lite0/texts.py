#!/usr/bin/env python3
"""Writes texts.tsv and groups.tsv, the training texts of the default model.

    pip download --no-deps clip-benchmark==1.6.2 timm   # both unpacked with unzip
    apt-get download wordnet-base                        # WordNet 3.0, unpacked with dpkg-deb -x
    python3 texts.py CLIP_BENCHMARK_DIR TIMM_DIR WORDNET_DIR OUT_DIR

Classes are the 1000 of ImageNet. The groups after them are WordNet nouns: those above the classes (`dog` has 118 classes
below it), and, marked as related, those that are pictured in ImageNet-22k and stand beside the classes without having one
below them (`deer`: its classes are those of its nearest ancestor that has any, the ruminants). No group is chosen for any
evaluation set. Standard library only; the same inputs give the same bytes.
"""

import json
import random
import re
import sys
from collections import defaultdict
from pathlib import Path

TEMPLATES = [
    "a photo of a {}.",
    "{}",
    "a blurry photo of the {}.",
    "a low resolution photo of a small {}.",
]
CUPL_SENTENCES = 10  # of each class, drawn at random
MOST_CLASSES = 160  # of a group: beyond that a word says too little
MOST_RELATED_CLASSES = 40


def read_wordnet(path):
    """Nouns by ImageNet id: lemmas, ids of the nouns above, and the definition."""
    nouns = {}
    for line in open(path, encoding="utf-8"):
        if line.startswith("  "):
            continue  # the licence
        head, _, gloss = line.partition("|")
        words = head.split()
        count = int(words[3], 16)
        lemmas = [words[4 + 2 * i].replace("_", " ") for i in range(count)]
        at = 4 + 2 * count
        pointers = [words[at + 1 + 4 * i :][:2] for i in range(int(words[at]))]
        parents = ["n" + offset for symbol, offset in pointers if symbol in ("@", "@i")]
        nouns["n" + words[0]] = (lemmas, parents, gloss.strip().split('; "')[0])
    return nouns


def classes_below(nouns, wnids):
    """For each noun, the set of classes at or below it."""
    children = defaultdict(list)
    for noun, (_, parents, _) in nouns.items():
        for parent in parents:
            children[parent].append(noun)
    index = {wnid: i for i, wnid in enumerate(wnids)}
    below = {}

    def visit(noun):
        if noun not in below:
            below[noun] = {index[noun]} if noun in index else set()
            for child in children[noun]:
                below[noun] |= visit(child)
        return below[noun]

    sys.setrecursionlimit(10_000)
    for noun in nouns:
        visit(noun)
    return below


def nearest_with_classes(noun, nouns, below):
    """The nearest nouns at or above `noun` that have classes, and how many steps up they are."""
    level, seen, steps = [noun], set(), 0
    while level:
        hits = [x for x in level if below[x]]
        if hits:
            return hits, steps
        level = [parent for x in level for parent in nouns[x][1] if parent not in seen]
        seen |= set(level)
        steps += 1
    return [], steps


def main(clip_benchmark, timm, wordnet, out):
    datasets = Path(clip_benchmark, "clip_benchmark/datasets")
    info = Path(timm, "timm/data/_info")
    names = json.load(open(datasets / "en_classnames.json"))["imagenet1k"]
    cupl = json.load(open(datasets / "cupl_prompts.json"))["imagenet1k"]
    wnids = (info / "imagenet_synsets.txt").read_text().split()
    pictured = set((info / "imagenet22k_ms_synsets.txt").read_text().split())
    nouns = read_wordnet(Path(wordnet, "usr/share/wordnet/data.noun"))
    below = classes_below(nouns, wnids)
    draw = random.Random(7)

    groups, texts = [], []
    for index, (name, wnid) in enumerate(zip(names, wnids)):
        lemmas, _, gloss = nouns[wnid]
        groups.append((name, 0, [index]))
        texts += [(index, template.format(name)) for template in TEMPLATES]
        texts += [(index, f"a photo of a {lemma}.") for lemma in lemmas[:2]]
        texts.append((index, f"{lemmas[0]}: {gloss}"))
        if name in cupl:
            sentences = cupl[name]
            texts += [(index, s) for s in draw.sample(sentences, min(CUPL_SENTENCES, len(sentences)))]

    known = set(wnids)
    for noun, (lemmas, _, gloss) in nouns.items():
        if noun in known or not (below[noun] or noun in pictured):
            continue
        hits, steps = nearest_with_classes(noun, nouns, below)
        members = sorted(set().union(*(below[hit] for hit in hits)))
        if not members or len(members) > (MOST_RELATED_CLASSES if steps else MOST_CLASSES):
            continue
        group = len(groups)
        groups.append((lemmas[0], int(steps > 0), members))
        if steps:
            texts.append((group, f"a photo of a {lemmas[0]}."))
            continue
        for lemma in lemmas[:4]:
            texts += [(group, f"a photo of a {lemma}."), (group, lemma), (group, f"a blurry photo of the {lemma}.")]
        texts.append((group, f"{lemmas[0]}: {gloss}"))

    one_line = lambda text: re.sub(r"\s+", " ", text).strip()
    with open(Path(out, "groups.tsv"), "w", encoding="utf-8") as file:
        for name, related, members in groups:
            file.write(f"{one_line(name)}\t{related}\t{' '.join(map(str, members))}\n")
    with open(Path(out, "texts.tsv"), "w", encoding="utf-8") as file:
        for group, text in texts:
            file.write(f"{group}\t{one_line(text)}\n")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
