#!/usr/bin/env python3
"""The default model's image encoder beside ONNX Runtime's int8 on the same network, one thread, in one run.

    pip install torch onnx onnxruntime onnxscript numpy efficientnet_lite_pytorch
    cargo build --release -p pinhole
    python3 tests/peers/host.py --weights $(pinhole data get efficientnet-lite0)/efficientnet-lite0.pth

EfficientNet-Lite0 up to its pooled features with a linear layer to 256, quantised by onnxruntime.quantization (static QDQ,
per channel, u8 and s8 activations) on random pictures: time does not depend on the scales. Engines alternate; the table
gives the median of the rounds, in milliseconds, and the ratio to Pinhole. What is missing is said, and left out.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = 7
RUNS = 12


def pinhole_ms(binary, model):
    out = subprocess.run([binary, "bench", "--model", model, "--runs", str(RUNS), "--json"],
                         check=True, capture_output=True, text=True).stdout
    result = json.loads(out)
    return result["median_us"] / 1000, result["kernels"]


def export(weights, folder):
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=False))

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            self.projection = torch.nn.Linear(1280, 256)

        def forward(self, x):
            return self.projection(self.net.extract_features(x).mean((2, 3)))

    path = os.path.join(folder, "f32.onnx")
    with torch.no_grad():
        torch.onnx.export(Encoder().eval(), (torch.zeros(1, 3, 224, 224),), path, input_names=["x"],
                          opset_version=17, dynamo=False)
    return path


def quantise(path, folder, kind):
    import numpy
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            random = numpy.random.default_rng(0)
            self.items = iter([{"x": random.uniform(-1, 1, (1, 3, 224, 224)).astype("f4")} for _ in range(4)])

        def get_next(self):
            return next(self.items, None)

    prepared, out = os.path.join(folder, "prepared.onnx"), os.path.join(folder, f"{kind}.onnx")
    quant_pre_process(path, prepared)
    activation = q.QuantType.QUInt8 if kind == "u8" else q.QuantType.QInt8
    q.quantize_static(prepared, out, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                      activation_type=activation, weight_type=q.QuantType.QInt8)
    return out


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ort_ms(running):
    import numpy

    x = numpy.zeros((1, 3, 224, 224), "f4")
    for _ in range(3):
        running.run(None, {"x": x})
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        running.run(None, {"x": x})
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default=str(ROOT / "models/lite0/image.phm"))
    parser.add_argument("--pinhole", default=str(ROOT / "target/release/pinhole"))
    args = parser.parse_args()
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            f32 = export(args.weights, folder)
            for kind in ("u8", "s8"):
                engines[f"ONNX Runtime int8 ({kind} activations)"] = session(quantise(f32, folder, kind))
        except ImportError as missing:
            print(f"left out: ONNX Runtime ({missing}); pip install torch onnx onnxruntime efficientnet_lite_pytorch")
        times = {name: [] for name in ["Pinhole", *engines]}
        for _ in range(ROUNDS):
            ms, kernels = pinhole_ms(args.pinhole, args.model)
            times["Pinhole"].append(ms)
            for name, running in engines.items():
                times[name].append(ort_ms(running))
    ours = statistics.median(times["Pinhole"])
    print(f"1 thread, median of {ROUNDS} rounds of {RUNS} runs; Pinhole uses {kernels}")
    for name, samples in times.items():
        median = statistics.median(samples)
        print(f"{name:<40} {median:7.2f} ms   Pinhole / this: {ours / median:.2f}")
    return 0 if engines else 1


if __name__ == "__main__":
    sys.exit(main())
