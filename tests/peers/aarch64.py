#!/usr/bin/env python3
"""Guest instructions of one inference on an emulated ARM CPU: Pinhole and other engines, one thread.

    apt install qemu-user gcc-aarch64-linux-gnu; rustup target add aarch64-unknown-linux-gnu
    python3 tests/peers/models.py target/peers            # once; its head says what to install
    cargo build --release -p pinhole
    python3 tests/peers/aarch64.py target/peers
    python3 tests/peers/aarch64.py target/peers --model vit8m16 --cpu cortex-a76 --json

Pinhole is counted by `pinhole bench --target`, tract and rten by tests/peers/rust, cross-compiled here, under the same
emulator with the same plugin (tests/tcg-count). LiteRT, ONNX Runtime, ncnn and MNN have no build here: their figures were
counted in the same way (QEMU 7.2, blocks between two marks, the second inference) for networks of the same shape, and are
given as they were found. The ratio is Pinhole's count divided by the engine's: below 1, Pinhole executes fewer. What is missing is
said, and left out.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CPUS = {"cortex-a76": "cortex-a76", "max": "max,sve=off,sme=off"}
# What /proc/cpuinfo says there, which engines read and which would be the host's.
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUINFO = {
    "cortex-a76": f"processor\t: 0\nFeatures\t: {FEATURES}\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
    "max": f"processor\t: 0\nFeatures\t: {FEATURES} i8mm bf16\nCPU implementer\t: 0x00\nCPU part\t: 0x051\n",
}
TARGET = "aarch64-unknown-linux-gnu"
# Millions of instructions, counted before: model, CPU, engine.
COUNTED = {
    ("effnet_lite0", "cortex-a76"): {
        "LiteRT, f32": 153.7, "LiteRT, static": 62.8, "ONNX Runtime, f32": 326, "ONNX Runtime, static": 75.2,
        "ncnn, f32": 131.5, "ncnn, fp16": 67.6, "MNN, f32": 140.1, "MNN, fp16": 72.7},
    ("effnet_lite0", "max"): {"LiteRT, static": 55.6, "ONNX Runtime, static": 75.2},
    ("vit8m16", "cortex-a76"): {
        "LiteRT, f32": 636, "LiteRT, static": 668, "LiteRT, dynamic": 288, "ONNX Runtime, f32": 645,
        "ONNX Runtime, static": 337, "ONNX Runtime, dynamic": 323, "ncnn, f32": 629, "ncnn, fp16": 812, "MNN, f32": 545,
        "MNN, fp16": 316},
    ("vit8m16", "max"): {
        "LiteRT, static": 626, "LiteRT, dynamic": 234, "ONNX Runtime, static": 275, "ONNX Runtime, dynamic": 265},
}
# Name, engine, file.
ENGINES = [
    ("tract, f32", "tract", "f32.onnx"),
    ("tract, static", "tract", "u8.onnx"),
    ("tract, dynamic", "tract", "dynamic.onnx"),
    ("rten, f32", "rten", "f32.onnx"),
    ("rten, static", "rten", "u8.onnx"),
    ("rten, dynamic", "rten", "dynamic.onnx"),
]


class LeftOut(Exception):
    """An engine that cannot be counted here."""


def run(command, **settings):
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **settings)
    except OSError as error:
        raise LeftOut(error) from error
    if done.returncode != 0:
        raise LeftOut(" ".join(done.stderr.split()[-40:]))
    return done.stdout


def pinhole(args, model, cpu, file):
    """Millions of instructions, and the kernel set."""
    text = run([args.pinhole, "bench", "--target", f"qemu-aarch64:{cpu}", "--model", model / file, "--json"])
    result = json.loads(text)
    return result["instructions"] / 1e6, result["kernels"]


def build():
    """The programs for the emulator: the plugin, built by `pinhole bench` too, and the engines."""
    run(["cargo", "build", "--release", "--package", "pinhole-tcg-count", "--target-dir", ROOT / "target/emulated"], cwd=ROOT)
    environment = {**os.environ, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER": "aarch64-linux-gnu-gcc",
                   "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS": "-Ctarget-feature=+crt-static",
                   "CC_aarch64_unknown_linux_gnu": "aarch64-linux-gnu-gcc"}
    run(["cargo", "build", "--release", "--target", TARGET], cwd=HERE / "rust", env=environment)
    return ROOT / "target/emulated/release/libtcg_count.so", HERE / "rust/target" / TARGET / "release/peer"


def peer(programs, engine, path, cpu):
    """Millions of instructions."""
    if not path.is_file():
        raise LeftOut(f"no {path}: tests/peers/models.py makes it")
    plugin, program = programs
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        table, cpuinfo = folder / "table.txt", folder / "proc/cpuinfo"
        cpuinfo.parent.mkdir()
        cpuinfo.write_text(CPUINFO[cpu])
        run(["qemu-aarch64", "-L", folder, "-E", "RTEN_NUM_THREADS=1", "-cpu", CPUS[cpu], "-plugin", f"{plugin},out={table}",
             program, engine, path, "224", "count"])
        for line in table.read_text().splitlines():
            words = line.split()
            if words[0] == "1":
                return int(words[2]) / 1e6
    raise LeftOut("it marked nothing")


def compare(args, name, cpu, programs):
    folder = args.models / name
    millions, left_out, kernels = {}, {}, {}
    for layout, file in (("generic", "image.phm"), ("aarch64", "aarch64.phm")):
        try:
            millions[f"Pinhole, {layout} layout"], kernels[layout] = pinhole(args, folder, cpu, file)
        except LeftOut as reason:
            left_out[f"Pinhole, {layout} layout"] = str(reason)
    ours = min(millions.values(), default=None)
    for engine_name, engine, file in ENGINES:
        if name == "effnet_lite0" and file.startswith("dynamic"):
            continue
        try:
            if isinstance(programs, LeftOut):
                raise programs
            millions[engine_name] = peer(programs, engine, folder / file, cpu)
        except LeftOut as reason:
            left_out[engine_name] = str(reason)
    rows = [{"engine": engine, "millions": round(count, 2), "ratio": round(ours / count, 3) if ours else None, "counted": "here"}
            for engine, count in millions.items()]
    rows += [{"engine": engine, "millions": count, "ratio": round(ours / count, 3) if ours else None, "counted": "before"}
             for engine, count in COUNTED.get((name, cpu), {}).items()]
    return {"model": name, "cpu": cpu, "kernels": kernels, "rows": rows, "left_out": left_out}


def show(table):
    print(f"\n{table['model']} on {table['cpu']}, millions of instructions; Pinhole uses {table['kernels']}")
    print(f"{'':<28}{'millions':>10}{'Pinhole / this':>16}  counted")
    for row in sorted(table["rows"], key=lambda row: row["millions"]):
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['engine']:<28}{row['millions']:>10.1f}{ratio:>16}  {row['counted']}")
    for name, reason in table["left_out"].items():
        print(f"left out: {name}: {reason}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, help="the folder that models.py filled")
    parser.add_argument("--model", action="append", choices=["effnet_lite0", "vit8m16", "clip_vitb32"],
                        help="one of them; the first two when left out")
    parser.add_argument("--cpu", action="append", choices=CPUS, help="both when left out")
    parser.add_argument("--pinhole", type=pathlib.Path, default=ROOT / "target/release/pinhole")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for each model and CPU")
    args = parser.parse_args()
    try:
        programs = build()
    except LeftOut as reason:
        programs = reason
    for model in args.model or ["effnet_lite0", "vit8m16"]:
        for cpu in args.cpu or CPUS:
            table = compare(args, model, cpu, programs)
            print(json.dumps(table), flush=True) if args.json else show(table)


if __name__ == "__main__":
    main()
