#!/usr/bin/env python3
"""Kills a training run with SIGKILL at random moments, and holds what the resumed run wrote to the undisturbed run, byte for byte.

    pinhole data get cifar10; pinhole data get mobilenetv2-035
    cargo build --release -p pinhole
    python3 tests/trainer/killed.py target/killed
    python3 tests/trainer/killed.py target/killed --kills 20 --seed 5 --recipe RECIPE

The recipe is killed.toml beside this file, unless `--recipe` names another; its inputs are put into FOLDER/inputs. The run is
made once undisturbed, whose time is taken. Then it is started with `--resume` and killed, over and over, by turns at a moment
drawn between its start and two thirds of that time, and at one drawn between its first step and a third of that time behind it:
while it reads, calibrates, asks the teacher, trains or writes. A run that reaches its end before all the kills is compared and
begun again. All files of the output folder are compared, and the cache of
teachers' embeddings. Exit code 1 when one differs, is missing or is too many.
"""
import argparse
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def inputs(folder, pinhole):
    """What killed.toml names."""
    folder.mkdir(parents=True, exist_ok=True)
    got = lambda name: subprocess.run([pinhole, "data", "get", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    student, cifar10 = pathlib.Path(got("mobilenetv2-035")), got("cifar10")
    model = student / "mobilenet_v2_035_224.onnx"
    subprocess.run([pinhole, "import", model, "--input-size", "96", "--out", folder / "student.phg"], check=True, stdout=subprocess.DEVNULL)
    for name in ("image", "text"):
        shutil.copyfile(ROOT / f"models/lite0/{name}.phm", folder / {"image": "teacher.phm", "text": "text.phm"}[name])
    if not (folder / "cifar10").exists():
        (folder / "cifar10").symlink_to(cifar10)


class Run:
    """A folder of its own for the recipe: its products and the teachers' cache."""

    def __init__(self, folder, arguments):
        self.folder, self.arguments = folder, arguments
        self.begin()

    def begin(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for entry in self.arguments.inputs.iterdir():
            (self.folder / entry.name).symlink_to(entry.resolve())
        shutil.copyfile(self.arguments.recipe, self.folder / "recipe.toml")

    def start(self):
        command = [self.arguments.pinhole, "train", self.folder / "recipe.toml", "--resume"]
        environment = dict(os.environ, RAYON_NUM_THREADS=str(self.arguments.threads))
        with open(self.folder.with_suffix(".log"), "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def products(self):
        """The hash of each file that the run wrote, by its path."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def ends(run, seconds, folder, trains):
    """The exit code of a run that ends within `seconds` of its start, or where `trains` of the first row that it adds to its
    log; None when it has to be killed. It may take as long as it likes when `seconds` is None."""
    row = step_of(folder)
    since = None if trains else time.monotonic()
    while run.poll() is None:
        if since is None and step_of(folder) != row:
            since = time.monotonic()
        if None not in (since, seconds) and time.monotonic() - since >= seconds:
            return None
        time.sleep(0.005)
    return run.returncode


def step_of(folder):
    """The last step that the log of the run has, for the reader."""
    try:
        return (folder / "out/log.csv").read_text().splitlines()[-1].split(",")[0]
    except (OSError, IndexError):
        return "none"


def compare(whole, broken):
    """Prints what differs; how many files do."""
    differ = [name for name in sorted(whole.keys() | broken.keys()) if whole.get(name) != broken.get(name)]
    for name in differ:
        state = "differs" if name in whole and name in broken else "is missing" if name in whole else "is too many"
        print(f"  {name} {state}")
    print(f"{len(whole) - len([name for name in differ if name in whole])} of {len(whole)} files have the bytes of the undisturbed run", flush=True)
    return len(differ)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, help="of the moments; drawn and printed when it is not given")
    parser.add_argument("--recipe", type=pathlib.Path, default=HERE / "killed.toml")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pinhole", type=pathlib.Path, default=ROOT / "target/release/pinhole")
    arguments = parser.parse_args()
    arguments.pinhole, arguments.folder = arguments.pinhole.resolve(), arguments.folder.resolve()
    arguments.inputs = arguments.folder / "inputs"
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    inputs(arguments.inputs, arguments.pinhole)

    whole = Run(arguments.folder / "whole", arguments)
    began = time.monotonic()
    if whole.start().wait() != 0:
        sys.exit(f"the undisturbed run failed: {whole.folder.with_suffix('.log')}")
    took = time.monotonic() - began
    expected = whole.products()
    print(f"undisturbed: {took:.1f} s, {len(expected)} files", flush=True)

    moments, broken, differ, killed = random.Random(seed), Run(arguments.folder / "broken", arguments), 0, 0
    while True:
        trains, last = killed % 2 == 1, killed == arguments.kills
        wait = None if last else moments.uniform(0, (1 if trains else 2) * took / 3)
        run = broken.start()
        code = ends(run, wait, broken.folder, trains)
        if code is None:
            run.kill()
            run.wait()
            killed += 1
            of = "its first step" if trains else "its start"
            print(f"kill {killed}, {wait:.2f} s after {of}, at step {step_of(broken.folder)}", flush=True)
            continue
        if code != 0:
            sys.exit(f"the run that was killed {killed} times does not go on: {broken.folder.with_suffix('.log')}")
        differ += compare(expected, broken.products())
        if killed == arguments.kills:
            break
        broken.begin()
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
