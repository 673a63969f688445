#!/usr/bin/env python3
"""Fills a folder with Python for 64-bit ARM and the engines that PyPI has wheels of for it, to be run by qemu-aarch64.

    python3 tests/peers/arm_python.py target/arm-python

Needs apt-get and dpkg, of Debian or a kin of it, and pip. The packages are those that the system's own sources have for
arm64; they are unpacked, not installed, and apt keeps its lists in the folder, so that the system stays as it is.
`tests/peers/aarch64.py` counts the engines there. About 350 MB.
"""
import argparse
import pathlib
import re
import subprocess
import sys

DEBIAN = ["python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1"]
ENGINES = ["ai-edge-litert==2.3.0", "onnxruntime==1.32.0", "ncnn==1.0.20261020", "mnn==3.6.1"]
# What they import, named one by one: pip would look for the engines' whole dependencies, video decoders among them.
IMPORTS = ["numpy==2.4.6", "flatbuffers", "protobuf", "packaging", "typing_extensions", "backports.strenum", "tqdm",
           "requests", "urllib3", "idna", "certifi", "charset_normalizer", "portalocker"]
# Releases of glibc that the wheels may be built for; Debian 12 has 2.36.
PLATFORMS = ["manylinux2014_aarch64"] + [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)]


def run(command):
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def debian(folder, root):
    """Unpacks the Debian packages, with all that they need, into `root`."""
    apt = folder / "apt"
    (apt / "state/lists/partial").mkdir(parents=True, exist_ok=True)
    (apt / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    settings = {"APT::Architecture": "arm64", "APT::Architectures::": "arm64", "Dir::State": apt / "state",
                "Dir::State::status": apt / "status", "Dir::Cache": apt / "cache", "Debug::NoLocking": 1}
    command = ["apt-get", "-q"] + [f"-o{name}={value}" for name, value in settings.items()]
    run([*command, "update"])
    run([*command, "install", "--yes", "--no-install-recommends", "--download-only", *DEBIAN])
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        run(["dpkg", "-x", package, root])


def wheels(root, python):
    """Unpacks the wheels into `root/site`."""
    version = re.sub("[^0-9.]", "", python.name)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    run([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--only-binary=:all:", *platforms,
         "--implementation", "cp", "--python-version", version, "--target", root / "site", *ENGINES, *IMPORTS])


def interpreter(root):
    """Python's path in `root`, None when it is not there."""
    return next(iter(sorted(root.glob("usr/bin/python3.*[0-9]"))), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    folder = parser.parse_args().out.resolve()
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    debian(folder, root)
    python = interpreter(root)
    if python is None:
        sys.exit(f"no Python in {root}")
    wheels(root, python)
    print(python)


if __name__ == "__main__":
    main()
