#!/usr/bin/env python3
"""Compares tables of static embeddings with model2vec: embeddings of mixed texts, in f32, run by the runtime.

    python tests/import/model2vec_parity.py [--pinhole COMMAND] [--run COMMAND] [--cupl FILE] FOLDER

FOLDER is what `pinhole data get potion-base-8m` names. Needs model2vec (tried with 0.10.0). Two tables are compared:
that of FOLDER, and one that shares 1000 of its rows between all tokens, each with a random weight of its own, without
a length of 1 and for texts of 24 tokens. The texts are the 300 of the tokenizer tests and some at the limits: empty
ones, unknown ones, long ones. Prints the largest difference of a number from the library's over the largest of the
library's numbers; exit code 1 above 1e-6. With --cupl FILE, which is cupl_prompts.json of `pinhole data get
clip-benchmark`, the table is quantised too, calibrated with 128 of those sentences, and cosines on the texts are
printed.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from model2vec import StaticModel
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ROOT / "host-tools/text/tests/golden/tokenizers/texts.jsonl"
LARGEST_DIFFERENCE = 1e-6
ROWS = 1000
CALIBRATION = 128
LIMITS = ["", "   ", "\U0001f9ff\U0001f9ff", "[UNK] [UNK]", "[PAD] a [CLS] photo [SEP]", "cat " * 600,
          "\U0001f9ff " * 600 + "cat", "a" + " " * 4000 + "cat", "antidisestablishmentarianism " * 300, "x" * 101]


def shared(folder, target):
    """The table in `folder`, with shared rows and weights."""
    generator = np.random.default_rng(1)
    rows = load_file(folder / "model.safetensors")["embeddings"]
    tensors = {
        "embeddings": rows[generator.choice(len(rows), ROWS, replace=False)],
        "mapping": generator.integers(0, ROWS, len(rows)),
        "weights": generator.uniform(0.1, 2, len(rows)).astype(np.float32),
    }
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps({"normalize": False, "max_length": 24}))
    shutil.copy(folder / "tokenizer.json", target)
    return target


def sentences(path):
    """Some of CuPL's."""
    groups = json.loads(path.read_text("utf-8")).values()
    whole = {line for group in groups for line in (group if isinstance(group, list) else sum(group.values(), []))}
    return [line.replace("\n", " ") for line in random.Random(1).sample(sorted(whole), CALIBRATION)]


def embeddings(run, graph, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([*run, graph], input=lines, text=True, check=True, capture_output=True, cwd=ROOT)
    return np.array([json.loads(line) for line in done.stdout.splitlines()])


def cosines(a, b):
    """Of the rows that are not zeros."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1)[lengths > 0] / lengths[lengths > 0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pinhole", default="cargo run -q --release -p pinhole --")
    parser.add_argument("--run", default="cargo run -q --release -p pinhole-tests --example text_run --")
    parser.add_argument("--cupl", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    pinhole, run = arguments.pinhole.split(), arguments.run.split()
    texts = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()] + LIMITS
    failed = False
    with tempfile.TemporaryDirectory() as made:
        tables = {"as it is": arguments.folder, "shared rows": shared(arguments.folder, pathlib.Path(made))}
        for name, folder in tables.items():
            graph = f"{made}/table.phg"
            command = [*pinhole, "import", folder, "--out", graph]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            ours = embeddings(run, graph, texts)
            theirs = StaticModel.from_pretrained(folder).encode(texts).astype(np.float64)
            difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
            zeros = np.count_nonzero(~theirs.any(axis=1))
            print(f"{name}: {len(texts)} texts, {zeros} of them zeros, largest difference {difference:.1e}, "
                  f"least cosine {cosines(ours, theirs).min():.9f}", flush=True)
            # NaN fails too.
            failed |= not difference <= LARGEST_DIFFERENCE
            if arguments.cupl and name == "as it is":
                lines = pathlib.Path(made) / "lines.txt"
                lines.write_text("\n".join(sentences(arguments.cupl)))
                int8 = f"{made}/int8.phg"
                command = [*pinhole, "quantize", graph, "--calibrate", f"texts:{lines}", "--out", int8]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
                found = cosines(embeddings(run, int8, texts), theirs)
                print(f"in int8: mean cosine {found.mean():.5f}, least {found.min():.5f}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
