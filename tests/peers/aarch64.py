#!/usr/bin/env python3
"""Guest instructions of one inference on an emulated ARM CPU: Pinhole and other engines, one thread.

    apt install qemu-user gcc-aarch64-linux-gnu; rustup target add aarch64-unknown-linux-gnu
    python3 tests/peers/models.py target/peers            # once; its head says what to install
    cargo build --release -p pinhole
    python3 tests/peers/arm_python.py target/arm-python   # once: Python and the engines for the emulator
    python3 tests/peers/aarch64.py target/peers
    python3 tests/peers/aarch64.py target/peers --model vit8m16 --cpu cortex-a76 --json

Pinhole is counted by `pinhole bench --target`, tract and rten by tests/peers/rust, cross-compiled here, LiteRT, ONNX
Runtime, ncnn and MNN by tests/peers/engines.py in an emulated Python, all under the same emulator with the same plugin
(tests/tcg-count): the instructions of the second inference between two marks. The ratio is Pinhole's count divided by
the engine's: below 1, Pinhole executes fewer. What is missing is said, and left out. Exit code 1 when nothing but
Pinhole was counted.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from arm_python import interpreter

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CPUS = {"cortex-a76": "cortex-a76", "max": "max,sve=off,sme=off"}
# What /proc/cpuinfo says there, which engines read and which would be the host's. LiteRT and ONNX Runtime break off over a
# CPU that nobody makes: the one with everything says that it is a Neoverse N2.
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUINFO = {
    "cortex-a76": f"processor\t: 0\nFeatures\t: {FEATURES}\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
    "max": f"processor\t: 0\nFeatures\t: {FEATURES} i8mm bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd49\n",
}
TARGET = "aarch64-unknown-linux-gnu"
# Name, engine, file, numbers that it computes with where the file leaves that open.
ENGINES = [
    ("LiteRT, f32", "litert", "f32.tflite", "f32"),
    ("LiteRT, static", "litert", "int8.tflite", "f32"),
    ("LiteRT, dynamic", "litert", "dynamic.tflite", "f32"),
    ("ONNX Runtime, f32", "onnxruntime", "f32.onnx", "f32"),
    ("ONNX Runtime, u8 static", "onnxruntime", "u8.onnx", "f32"),
    ("ONNX Runtime, s8 static", "onnxruntime", "s8.onnx", "f32"),
    ("ONNX Runtime, dynamic", "onnxruntime", "dynamic.onnx", "f32"),
    ("ncnn, f32", "ncnn", "f32.ncnn.param", "f32"),
    ("ncnn, fp16", "ncnn", "f32.ncnn.param", "fp16"),
    ("MNN, f32", "mnn", "f32.mnn", "f32"),
    ("MNN, fp16", "mnn", "f32.mnn", "fp16"),
    ("tract, f32", "tract", "f32.onnx", "f32"),
    ("tract, static", "tract", "u8.onnx", "f32"),
    ("tract, dynamic", "tract", "dynamic.onnx", "f32"),
    ("rten, f32", "rten", "f32.onnx", "f32"),
    ("rten, static", "rten", "u8.onnx", "f32"),
    ("rten, dynamic", "rten", "dynamic.onnx", "f32"),
]
RUST = ("tract", "rten")
# What an engine may take under the emulator, in seconds.
TIMEOUT = 1800


class LeftOut(Exception):
    """An engine that cannot be counted here."""


def run(command, **settings):
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **settings)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOut(str(error)) from error
    if done.returncode != 0:
        raise LeftOut(" ".join(done.stderr.split()[-40:]).lstrip("× "))
    return done.stdout


def pinhole(args, model, cpu, file):
    """Millions of instructions, and the kernel set."""
    text = run([args.pinhole, "bench", "--target", f"qemu-aarch64:{cpu}", "--model", model / file, "--json"])
    result = json.loads(text)
    return result["instructions"] / 1e6, result["kernels"]


def build_counter():
    """The plugin; `pinhole bench` builds it too."""
    folder = ROOT / "target/emulated"
    run(["cargo", "build", "--release", "--package", "pinhole-tcg-count", "--target-dir", folder], cwd=ROOT)
    return folder / "release/libtcg_count.so"


def build_rust():
    """tract and rten for the emulator."""
    environment = {**os.environ, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER": "aarch64-linux-gnu-gcc",
                   "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS": "-Ctarget-feature=+crt-static",
                   "CC_aarch64_unknown_linux_gnu": "aarch64-linux-gnu-gcc"}
    run(["cargo", "build", "--release", "--target", TARGET], cwd=HERE / "rust", env=environment)
    return HERE / "rust/target" / TARGET / "release/peer"


class Programs:
    """What runs under the emulator; each is made or looked for once, and says why when it is not there."""

    def __init__(self, arm_python):
        self.arm_python = arm_python.resolve()
        self.made = {}

    def once(self, name, make):
        if name not in self.made:
            try:
                self.made[name] = make()
            except LeftOut as reason:
                self.made[name] = reason
        if isinstance(self.made[name], LeftOut):
            raise self.made[name]
        return self.made[name]

    def counter(self):
        return self.once("counter", build_counter)

    def rust(self):
        return self.once("rust", build_rust)

    def python(self):
        found = interpreter(self.arm_python / "root")
        if found is None:
            raise LeftOut(f"no Python in {self.arm_python}: tests/peers/arm_python.py fills it")
        return found


def sysroot(folder, cpu, root):
    """A folder where the emulator looks first: `root`, when there is one, with the processors of `cpu`."""
    for entry in root.iterdir() if root else ():
        (folder / entry.name).symlink_to(entry)
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(CPUINFO[cpu])


def peer(programs, engine, path, cpu, numbers):
    """Millions of instructions."""
    if not path.is_file():
        raise LeftOut(f"no {path}: tests/peers/models.py makes it")
    path = path.resolve()
    if engine in RUST:
        root, settings, command = None, ["-E", "RTEN_NUM_THREADS=1"], [programs.rust(), engine, path, "224", "count"]
    else:
        python = programs.python()
        root = programs.arm_python / "root"
        settings = ["-E", f"PYTHONPATH={root / 'site'}", "-E", "OMP_NUM_THREADS=1"]
        command = [python, HERE / "engines.py", engine, path, "1", numbers, "count"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        table = folder / "table.txt"
        (folder / "root").mkdir()
        sysroot(folder / "root", cpu, root)
        run(["qemu-aarch64", "-L", folder / "root", *settings, "-cpu", CPUS[cpu], "-plugin",
             f"{programs.counter()},out={table}", *command], timeout=TIMEOUT)
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
    for engine_name, engine, file, numbers in ENGINES:
        if name == "effnet_lite0" and file.startswith("dynamic"):
            continue
        try:
            millions[engine_name] = peer(programs, engine, folder / file, cpu, numbers)
        except LeftOut as reason:
            left_out[engine_name] = str(reason)
    rows = [{"engine": engine, "millions": round(count, 2), "ratio": round(ours / count, 3) if ours else None}
            for engine, count in millions.items()]
    return {"model": name, "cpu": cpu, "kernels": kernels, "rows": rows, "left_out": left_out}


def show(table):
    print(f"\n{table['model']} on {table['cpu']}, millions of instructions; Pinhole uses {table['kernels']}")
    print(f"{'':<28}{'millions':>10}{'Pinhole / this':>16}")
    for row in sorted(table["rows"], key=lambda row: row["millions"]):
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['engine']:<28}{row['millions']:>10.1f}{ratio:>16}", flush=True)
    for name, reason in table["left_out"].items():
        print(f"left out: {name}: {reason}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, help="the folder that models.py filled")
    parser.add_argument("--model", action="append", choices=["effnet_lite0", "vit8m16", "clip_vitb32"],
                        help="one of them; the first two when left out")
    parser.add_argument("--cpu", action="append", choices=CPUS, help="both when left out")
    parser.add_argument("--pinhole", type=pathlib.Path, default=ROOT / "target/release/pinhole")
    parser.add_argument("--python", type=pathlib.Path, default=ROOT / "target/arm-python",
                        help="the folder that arm_python.py filled")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for each model and CPU")
    args = parser.parse_args()
    programs = Programs(args.python)
    peers = 0
    for model in args.model or ["effnet_lite0", "vit8m16"]:
        for cpu in args.cpu or CPUS:
            table = compare(args, model, cpu, programs)
            peers += sum(not row["engine"].startswith("Pinhole") for row in table["rows"])
            print(json.dumps(table), flush=True) if args.json else show(table)
    return 0 if peers else 1


if __name__ == "__main__":
    sys.exit(main())
