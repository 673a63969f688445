#!/usr/bin/env python3
"""Pinhole beside other engines on this CPU: the same int8 networks, in one run.

    python3 tests/peers/models.py target/peers            # once; its head says what to install
    cargo build --release -p pinhole
    cargo build --release --manifest-path tests/peers/rust/Cargo.toml
    python3 tests/peers/host.py target/peers
    python3 tests/peers/host.py target/peers --model vit8m16 --threads 1 --json

Every engine is a process of its own that loads its model once and runs 3 inferences to warm up; then the engines take turns,
--rounds times, with --runs inferences each. Of every turn the median is taken, of the turns again. CPU time is that of all
threads of the process, so that other work on the machine disturbs it little; the wall clock is shown beside it, since an
engine with two threads may spend more CPU time to be done earlier. The ratio is Pinhole's time divided by the engine's: below 1,
Pinhole is faster. What is missing is said, and left out. Exit code 1 when nothing but Pinhole ran.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODELS = ["effnet_lite0", "vit8m16", "clip_vitb32"]
WARM_UP = 3
# Name, engine, file.
ENGINES = [
    ("ONNX Runtime, u8 static", "onnxruntime", "u8.onnx"),
    ("ONNX Runtime, s8 static", "onnxruntime", "s8.onnx"),
    ("ONNX Runtime, dynamic", "onnxruntime", "dynamic.onnx"),
    ("OpenVINO, NNCF", "openvino", "openvino.xml"),
    ("OpenVINO, u8 QDQ", "openvino", "u8.onnx"),
    ("LiteRT, static", "litert", "int8.tflite"),
    ("LiteRT, dynamic", "litert", "dynamic.tflite"),
    ("tract, u8 static", "tract", "u8.onnx"),
    ("tract, f32", "tract", "f32.onnx"),
    ("rten, u8 static", "rten", "u8.onnx"),
    ("rten, dynamic", "rten", "dynamic.onnx"),
]


class LeftOut(Exception):
    """An engine that cannot run here."""


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"


class Peer:
    """A process that answers numbers of inferences by their times."""

    def __init__(self, engine, path, threads, rust):
        if not path.is_file():
            raise LeftOut(f"no {path}: tests/peers/models.py makes it")
        if engine in ("tract", "rten"):
            if not rust.is_file():
                raise LeftOut("cargo build --release --manifest-path tests/peers/rust/Cargo.toml")
            if engine == "tract" and threads > 1:
                raise LeftOut("one thread only")
            command = [rust, engine, path, "224", "time"]
        else:
            command = [sys.executable, HERE / "engines.py", engine, path, threads]
        environment = {**os.environ, "RTEN_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)
        self.times(WARM_UP)

    def times(self, count):
        """(CPU, wall) of each of `count` inferences, in ms."""
        try:
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            raise LeftOut(last_line(self.process.communicate()[1]))
        return [tuple(map(float, pair.split(":"))) for pair in line.split()]

    def turn(self, runs):
        times = self.times(runs)
        return tuple(statistics.median(column) for column in zip(*times))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Pinhole:
    """`pinhole bench`, started anew every turn; it warms up itself."""

    def __init__(self, binary, path, threads):
        self.command = [str(binary), "bench", "--model", str(path), "--threads", str(threads), "--json", "--runs"]
        self.turn(1)

    def turn(self, runs):
        try:
            done = subprocess.run([*self.command, str(runs)], capture_output=True, text=True)
        except OSError as error:
            raise LeftOut(f"{error}: cargo build --release -p pinhole") from error
        if done.returncode != 0:
            raise LeftOut(" ".join(done.stderr.split()))
        result = json.loads(done.stdout)
        self.kernels = result["kernels"]
        return result["median_cpu_us"] / 1e3, result["median_us"] / 1e3

    def close(self):
        pass


def start(folder, threads, args):
    """The engines that run here, Pinhole first, and why the others do not."""
    running, left_out = {}, {}
    makers = {"Pinhole": lambda: Pinhole(args.pinhole, folder / "image.phm", threads)}
    for name, engine, file in ENGINES:
        if folder.name == "effnet_lite0" and file.startswith("dynamic"):
            continue
        makers[name] = lambda engine=engine, file=file: Peer(engine, folder / file, threads, args.rust)
    for name, make in makers.items():
        try:
            running[name] = make()
        except LeftOut as reason:
            left_out[name] = str(reason)
    return running, left_out


def compare(folder, threads, args):
    """One table: a row for each engine."""
    running, left_out = start(folder, threads, args)
    turns = {name: [] for name in running}
    for _ in range(args.rounds):
        for name, engine in running.items():
            turns[name].append(engine.turn(args.runs))
    for engine in running.values():
        engine.close()
    medians = {name: [statistics.median(column) for column in zip(*times)] for name, times in turns.items()}
    ours = medians.get("Pinhole")
    rows = [{"engine": name, "cpu_ms": round(cpu, 3), "wall_ms": round(wall, 3),
             "cpu_ratio": round(ours[0] / cpu, 3) if ours else None,
             "wall_ratio": round(ours[1] / wall, 3) if ours else None} for name, (cpu, wall) in medians.items()]
    kernels = running["Pinhole"].kernels if "Pinhole" in running else None
    return {"model": folder.name, "threads": threads, "kernels": kernels, "rounds": args.rounds, "runs": args.runs,
            "rows": rows, "left_out": left_out}


def show(table):
    threads = "1 thread" if table["threads"] == 1 else f"{table['threads']} threads"
    print(f"\n{table['model']}, {threads}, median of {table['rounds']} turns of {table['runs']} runs; "
          f"Pinhole uses {table['kernels']}")
    print(f"{'':<26}{'CPU ms':>9}{'wall ms':>9}{'Pinhole / this: CPU':>21}{'wall':>7}")
    shown = lambda ratio: "-" if ratio is None else f"{ratio:.2f}"
    for row in sorted(table["rows"], key=lambda row: row["cpu_ms"]):
        print(f"{row['engine']:<26}{row['cpu_ms']:>9.2f}{row['wall_ms']:>9.2f}{shown(row['cpu_ratio']):>21}"
              f"{shown(row['wall_ratio']):>7}")
    for name, reason in table["left_out"].items():
        print(f"left out: {name}: {reason}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, help="the folder that models.py filled")
    parser.add_argument("--model", action="append", choices=MODELS, help="one of them; all when left out")
    parser.add_argument("--threads", action="append", type=int, help="1 and 2 when left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--pinhole", type=pathlib.Path, default=ROOT / "target/release/pinhole")
    parser.add_argument("--rust", type=pathlib.Path, default=HERE / "rust/target/release/peer")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for each model and number of threads")
    args = parser.parse_args()
    peers = 0
    for model in args.model or MODELS:
        for threads in args.threads or [1, 2]:
            table = compare(args.models / model, threads, args)
            peers += sum(row["engine"] != "Pinhole" for row in table["rows"])
            print(json.dumps(table), flush=True) if args.json else show(table)
    return 0 if peers else 1


if __name__ == "__main__":
    sys.exit(main())
