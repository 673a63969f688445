#!/usr/bin/env python3
"""Compares int8 ONNX files of ONNX Runtime's quantiser, run by ONNX Runtime, with the runtime on the files imported.

    python tests/import/onnx_integers.py [--pictures FOLDER] [--count N] FILE …

Needs numpy, onnx 1.23, onnxruntime 1.32, safetensors and, with --pictures, Pillow (from PyPI).

A FILE is an ONNX file of an image encoder in floats, or a graph (.phg), which is exported first. It is quantised in four ways:
with operators over integers (quantize_static, QuantFormat.QOperator) and a scale for each tensor or for each channel of
weights, as QDQ, and with scales of the moment (quantize_dynamic). Inputs are pictures as in export_peers.py: the first N (8 unless
said otherwise) are compared, the next 16 calibrate. A line for each way:

  least cosine of the outputs, where the output is integers how many of its steps differ and by how many, and the least cosine
  of each engine to the file in floats; the QDQ file with the same scales shows what rounding alone makes of them

Exit code 1 when a cosine is below 0.95 and below what quantising costs each engine.
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
from export_peers import LEAST_COSINE, least_cosine, noise, pictures
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

CALIBRATING = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reader(CalibrationDataReader):
    """Inputs one by one."""

    def __init__(self, name, rows):
        self.feeds = iter([{name: row} for row in rows])

    def get_next(self):
        return next(self.feeds, None)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(command):
    """What fails is a RuntimeError with its message."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


class Comparison:
    """The ways to quantise one file."""

    def __init__(self, arguments, file, folder):
        self.arguments, self.file, self.folder, self.failed = arguments, file, folder, False
        given = folder / "float.onnx"
        if file.suffix == ".phg":
            self.pinhole("export", file, "--float", "--out", given)
        else:
            onnx.save(onnx.load(file), given)
        self.float = folder / "prepared.onnx"
        quant_pre_process(given, self.float, skip_symbolic_shape=True)
        (self.source,) = session(self.float).get_inputs()
        first, *sides = self.source.shape
        self.channels_last = sides[2] == 3
        side = sides[0] if self.channels_last else sides[1]
        shape = [1, side, side, 3]
        total = arguments.count + CALIBRATING
        if arguments.pictures:
            rows = pictures(arguments.pictures, total, shape, {"mean": MEAN, "std": STD})
        else:
            rows = noise(total, shape)
        self.compared, self.calibrating = rows[: arguments.count], rows[arguments.count :]
        self.floats = self.theirs(self.float)
        save_file({"input": np.ascontiguousarray(self.compared)}, folder / "inputs.safetensors")

    def pinhole(self, *arguments):
        run([*self.arguments.pinhole.split(), *map(str, arguments)])

    def feeds(self, rows):
        """One input a row, as the file lays it."""
        rows = rows if self.channels_last else rows.transpose(0, 3, 1, 2)
        return [np.ascontiguousarray(row[None]) for row in rows]

    def static(self, form, per_channel):
        path = self.folder / "static.onnx"
        reader = Reader(self.source.name, self.feeds(self.calibrating))
        quantize_static(
            self.float, path, reader, quant_format=form, per_channel=per_channel,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )
        return path

    def dynamic(self):
        path = self.folder / "dynamic.onnx"
        quantize_dynamic(self.float, path, weight_type=QuantType.QInt8)
        return path

    def theirs(self, path):
        running = session(path)
        outputs = [running.run(None, {self.source.name: row})[0].ravel() for row in self.feeds(self.compared)]
        return np.stack(outputs).astype(np.float64)

    def ours(self, path):
        """The output of the runtime, before it is normalised, and the parameters of it."""
        graph, plain, out = (self.folder / name for name in ("imported.phg", "plain.phg", "ours.safetensors"))
        self.pinhole("import", path, "--out", graph)
        with safe_open(graph, "numpy") as held:
            about = json.loads(held.metadata()["pinhole_graph"])
        last = next(node for node in about["nodes"] if node["output"] == about["outputs"][0])
        if last["op"] == "NormalizeEmbedding":
            about["nodes"].remove(last)
            about["outputs"] = last["inputs"]
        save_file(load_file(graph), plain, {"pinhole_graph": json.dumps(about)})
        command = [*self.arguments.run.split(), str(plain), str(self.folder / "inputs.safetensors"), str(out)]
        run(command)
        output = load_file(out)["output"]
        return output, about["values"][about["outputs"][0]]["quant"]

    def compare(self, way, path):
        operators = sorted({node.op_type for node in onnx.load(path).graph.node if over_integers(node.op_type)})
        theirs = self.theirs(path)
        try:
            output, quant = self.ours(path)
        except RuntimeError as refusal:
            self.failed = True
            return print(f"{self.file.name}, {way}: refused FAILED\n{refusal}", flush=True)
        real = output.astype(np.float64)
        text = ""
        if output.dtype == np.int8:
            real = (real - quant["zero_point"]) * quant["scales"][0]
            steps = np.abs(np.rint((real - theirs) / quant["scales"][0])).astype(int)
            text = f", {np.count_nonzero(steps)} of {steps.size} steps differ, by {steps.max()} at most"
        cosine = least_cosine(real, theirs)
        # Of steps that lose the direction already, no two engines agree.
        lost = [least_cosine(self.floats, quantised) for quantised in (theirs, real)]
        failed = not cosine >= min(LEAST_COSINE, *lost)
        self.failed |= failed
        text += f", beside floats {lost[0]:.6f} there and {lost[1]:.6f} here"
        ending = " FAILED" if failed else ""
        print(f"{self.file.name}, {way}: least cosine {cosine:.6f}{text} ({', '.join(operators)}){ending}", flush=True)

    def every_way(self):
        self.compare("integers", self.static(QuantFormat.QOperator, False))
        self.compare("integers, channels", self.static(QuantFormat.QOperator, True))
        self.compare("QDQ, channels", self.static(QuantFormat.QDQ, True))
        self.compare("dynamic", self.dynamic())


def over_integers(name):
    return name.startswith("QLinear") or "Integer" in name or "Quantize" in name or name == "QGemm"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pinhole", default="cargo run -q --release -p pinhole --")
    command = "cargo run -q --release -p pinhole-tests --features onnx --example export_run --"
    parser.add_argument("--run", default=command)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    failed = False
    for file in arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(arguments, file, pathlib.Path(folder))
            comparison.every_way()
            failed |= comparison.failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
