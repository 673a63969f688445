#!/usr/bin/env python3
"""Compares exported files, run by LiteRT and ONNX Runtime, with the runtime on the graphs that they were exported from.

    python tests/import/export_peers.py [--pictures FOLDER] [--count N] FILE …

Needs ai-edge-litert 2.3, numpy, onnx, onnxruntime 1.32, safetensors and, with --pictures, Pillow (from PyPI); where
tflite-micro is installed (`pip install --pre tflite-micro`), TensorFlow Lite Micro runs the TFLite files too.

A FILE is a graph (.phg) or a quantised TFLite file, which is imported first. Inputs are N pictures (8 unless said
otherwise), the first files of FOLDER in the order of their paths, cut square, resized and normalised as the graph says;
without a folder, seeded noise of 5 x 5 patches. LiteRT runs its reference kernels (BUILTIN_REF). A line for each format:

  tflite          the output of LiteRT beside the runtime's: least cosine, and of int8 the numbers that differ and by
                  how many steps; an embedding is compared by its direction alone
  tflite again    the same with the exported file imported again, by the rules of LiteRT
  tflite source   of a TFLite file: LiteRT on the exported file beside LiteRT on the file itself, in every bit
  tflite micro    the output of TFLite Micro beside LiteRT's: the numbers that differ and by how many steps
  onnx            the output of ONNX Runtime beside the runtime's, as unit vectors: least cosine, largest difference
                  over the largest number
  onnx again      the runtime on the exported file imported again, beside the runtime on the graph

Exit code 1 when `tflite source` differs in a bit or a cosine is below 0.95.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

try:
    from tflite_micro.python.tflite_micro import runtime as tflite_micro
except ImportError:
    tflite_micro = None

LEAST_COSINE = 0.95
PATCH = 5
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")


def pictures(folder, count, shape, geometry):
    """The first pictures of a folder, normalised, (N, height, width, 3)."""
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)[:count]
    if len(paths) < count:
        raise SystemExit(f"{folder}: {len(paths)} pictures, expected {count}")
    found = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        side = min(picture.size)
        left, top = ((size - side) // 2 for size in picture.size)
        box = (left, top, left + side, top + side)
        pixels = picture.resize((shape[2], shape[1]), Image.Resampling.BICUBIC, box)
        channels = np.asarray(pixels, np.float32) / 255
        found.append((channels - np.float32(geometry["mean"])) / np.float32(geometry["std"]))
    return np.stack(found)


def noise(count, shape):
    """Seeded patches of one colour, about +-1."""
    random = np.random.default_rng(1)
    coarse = [count, -(-shape[1] // PATCH), -(-shape[2] // PATCH), shape[3]]
    patches = random.uniform(-1, 1, coarse).repeat(PATCH, 1).repeat(PATCH, 2)
    return patches[:, : shape[1], : shape[2]].astype(np.float32)


def signed(array):
    """Unsigned bytes less 128; others as they are."""
    return (array ^ 0x80).view(np.int8) if array.dtype == np.uint8 else array


def litert(path, ours):
    """Outputs of LiteRT for the inputs that the runtime had, and their zero point."""
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), target = interpreter.get_input_details(), interpreter.get_output_details()[0]
    outputs = []
    for given in ours["input"]:
        given = given.reshape(source["shape"])
        if source["dtype"] == np.uint8:
            given = given.view(np.uint8) ^ 0x80
        interpreter.set_tensor(source["index"], given)
        interpreter.invoke()
        outputs.append(signed(interpreter.get_tensor(target["index"])).ravel())
    _, zero_point = target["quantization"]
    return np.stack(outputs), zero_point - 128 * (target["dtype"] == np.uint8)


def micro(path, ours):
    """Outputs of TFLite Micro for the inputs that the runtime had; what it does not run is a RuntimeError."""
    interpreter = tflite_micro.Interpreter.from_file(str(path))
    source = interpreter.get_input_details(0)
    outputs = []
    for given in ours["input"]:
        interpreter.set_input(given.reshape(source["shape"]), 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).ravel())
    return np.stack(outputs)


def least_cosine(a, b):
    """The least cosine of two rows."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(lengths, 1e-30)).min())


class Comparison:
    """The exports of one graph."""

    def __init__(self, arguments, file, folder):
        self.arguments, self.file, self.folder = arguments, file, folder
        self.graph, self.failed = file, False
        if file.suffix == ".tflite":
            self.graph = folder / "imported.phg"
            self.pinhole("import", file, "--out", self.graph)
        with safe_open(self.graph, "numpy") as file:
            about = json.loads(file.metadata()["pinhole_graph"])
        self.values, self.nodes = about["values"], about["nodes"]
        self.geometry = about["meta"]["geometry"]
        self.source, self.target = (about["values"][about[role][0]] for role in ("inputs", "outputs"))
        operators = [node["op"] for node in about["nodes"] if node["output"] == about["outputs"][0]]
        # Of an embedding the direction counts, whatever its length.
        self.embedding = operators == ["NormalizeEmbedding"]
        save_file({"input": self.inputs()}, folder / "inputs.safetensors")
        self.ours = self.run(self.graph)

    def pinhole(self, *arguments):
        command = [*self.arguments.pinhole.split(), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def inputs(self):
        shape, count = self.source["shape"], self.arguments.count
        if self.arguments.pictures:
            return pictures(self.arguments.pictures, count, shape, self.geometry)
        return noise(count, shape)

    def run(self, file):
        """What the runtime makes of a file: input and output."""
        out = self.folder / "ours.safetensors"
        command = [*self.arguments.run.split(), str(file), str(self.folder / "inputs.safetensors"), str(out)]
        subprocess.run(command, check=True)
        return load_file(out)

    def say(self, what, text, holds=True):
        self.failed |= not holds
        print(f"{self.file.name}, {what}: {text}{'' if holds else ' FAILED'}", flush=True)

    def beside(self, what, ours, theirs, zero_point):
        """The outputs of LiteRT beside those of the runtime."""
        alike = not (self.embedding and ours is self.ours)
        reals = [array.astype(np.float64) - zero_point * (array.dtype == np.int8) for array in (ours["output"], theirs)]
        if not alike:
            reals[0] = ours["output"].astype(np.float64)
        cosine = least_cosine(*reals)
        text = f"least cosine {cosine:.6f}"
        if alike and ours["output"].dtype == theirs.dtype == np.int8:
            steps = np.abs(ours["output"].astype(int) - theirs)
            text += f", {np.count_nonzero(steps)} of {steps.size} numbers differ, by {steps.max()} at most"
        self.say(what, text, cosine >= LEAST_COSINE)

    def tflite(self):
        path = self.folder / "exported.tflite"
        try:
            self.pinhole("export", self.graph, "--out", path)
        except RuntimeError as refusal:
            found = str(refusal).splitlines()
            return self.say("tflite", "refused, " + next((line.strip(" ×") for line in found if line.strip()), ""))
        theirs, zero_point = litert(path, self.ours)
        self.beside("tflite", self.ours, theirs, zero_point)
        self.beside("tflite again", self.run(path), theirs, zero_point)
        self.tflite_micro(path, theirs)
        if self.file.suffix == ".tflite":
            source, *_ = litert(self.file, self.ours)
            different = int(np.count_nonzero(source != theirs))
            self.say("tflite source", f"{different} of {source.size} numbers differ", different == 0)

    def tflite_micro(self, path, theirs):
        if tflite_micro is None:
            return self.say("tflite micro", "not compared, tflite-micro is not installed")
        try:
            outputs = micro(path, self.ours)
        except (RuntimeError, ValueError) as refusal:
            return self.say("tflite micro", f"refused, {' '.join(str(refusal).split())}")
        cosine = least_cosine(outputs, theirs)
        different = np.abs(outputs.astype(np.float64) - theirs)
        text = f"{np.count_nonzero(different)} of {different.size} numbers differ, by {different.max():g} at most"
        self.say("tflite micro", text, cosine >= LEAST_COSINE)

    def alias(self):
        """The parameters of an output that is another value in another shape."""
        names = {self.values[node["output"]]["name"]: self.values[node["inputs"][0]] for node in self.nodes}
        return names[self.target["name"]]["quant"]

    def onnx(self):
        path = self.folder / "exported.onnx"
        self.pinhole("export", self.graph, "--out", path)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        given = load_file(self.folder / "inputs.safetensors")["input"]
        theirs = [session.run(None, {source.name: row.reshape(source.shape)})[0].ravel() for row in given]
        theirs, ours = np.stack(theirs).astype(np.float64), self.ours["output"].astype(np.float64)
        if self.ours["output"].dtype == np.int8:
            quant = self.target["quant"] or self.alias()
            ours = (ours - quant["zero_point"]) * quant["scales"][0]
        cosine = least_cosine(ours, theirs)
        lengths = [np.linalg.norm(array, axis=1, keepdims=True) for array in (ours, theirs)]
        units = [array / length for array, length in zip((ours, theirs), lengths)]
        difference = np.abs(units[0] - units[1]).max() / np.abs(units[1]).max()
        self.say("onnx", f"least cosine {cosine:.6f}, difference {difference:.1e}", cosine >= LEAST_COSINE)
        again = self.run(path)["output"]
        same = np.array_equal(again, self.ours["output"])
        cosine = least_cosine(again, ours)
        self.say("onnx again", "equal in every bit" if same else f"least cosine {cosine:.6f}", cosine >= LEAST_COSINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pinhole", default="cargo run -q --release -p pinhole --")
    run = "cargo run -q --release -p pinhole-tests --features onnx --example export_run --"
    parser.add_argument("--run", default=run)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    failed = False
    for file in arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(arguments, file, pathlib.Path(folder))
            comparison.tflite()
            comparison.onnx()
            failed |= comparison.failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
