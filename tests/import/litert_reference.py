#!/usr/bin/env python3
"""Writes what LiteRT's reference kernels compute for a quantised TFLite file, for tests/examples/tflite_equality.rs.

usage: litert_reference.py FILE.tflite OUT.safetensors [--pictures FOLDER] [--count N]

Needs ai-edge-litert 2.3, numpy, safetensors and, with --pictures, Pillow (from PyPI).

The kernels are those of the resolver BUILTIN_REF, one thread. Inputs are N pictures (20 unless said otherwise): the
first files of FOLDER in the order of their paths, cut square, resized, taken as (pixel - 127) / 128 and quantised with
the scale of the input; without a folder, seeded noise of 5 x 5 patches.

OUT holds, in bytes as int8 (unsigned ones less 128):
  input           (N, height, width, channels), or whatever the file takes behind its first dimension
  output.NAME     (N, ...) of every tensor of at most 4096 elements, in full
and in its metadata under "sha256", as JSON, for each int8 tensor that the file computes the SHA-256 of its bytes for
each input.
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.numpy import save_file

# Tensors up to this many elements are kept in full.
KEPT_ELEMENTS = 4096
# What the networks of the EfficientNet-Lite family are trained with.
MEAN, DEVIATION = 127.0, 128.0
PATCH = 5
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")


def signed(array):
    """Unsigned bytes less 128; others as they are."""
    return (array ^ 0x80).view(np.int8) if array.dtype == np.uint8 else array


def photographs(folder, count, height, width):
    """The first pictures of a folder as floats about +-1."""
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    if len(paths) < count:
        raise SystemExit(f"{folder}: {len(paths)} pictures, expected {count} at least")
    for path in paths[:count]:
        picture = Image.open(path).convert("RGB")
        side = min(picture.size)
        left, top = ((size - side) // 2 for size in picture.size)
        box = (left, top, left + side, top + side)
        pixels = picture.resize((width, height), Image.Resampling.BICUBIC, box)
        yield (np.asarray(pixels, np.float32) - MEAN) / DEVIATION


def noise(shape, count):
    """Seeded patches of one colour, about +-1, in the shape of an input."""
    random = np.random.default_rng(1)
    for _ in range(count):
        if len(shape) == 4:
            coarse = [1, -(-shape[1] // PATCH), -(-shape[2] // PATCH), shape[3]]
            patches = random.uniform(-1, 1, coarse).repeat(PATCH, 1).repeat(PATCH, 2)
            yield patches[:, : shape[1], : shape[2]]
        else:
            yield random.uniform(-1, 1, shape)


def quantised(real, details):
    """The numbers of an input, as its type has them."""
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    steps = np.round(np.asarray(real, np.float32) / np.float32(scale)) + zero_point
    return steps.clip(limits.min, limits.max).astype(details["dtype"]).reshape(details["shape"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    interpreter = Interpreter(
        str(arguments.model),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    shape = [int(size) for size in source["shape"]]
    reals = noise(shape, arguments.count)
    if arguments.pictures:
        reals = photographs(arguments.pictures, arguments.count, shape[1], shape[2])
    computed = set()
    for operator in interpreter._get_ops_details():
        computed.update(int(index) for index in operator["outputs"])
    inputs, kept, hashes = [], {}, {}
    for real in reals:
        given = quantised(real, source)
        interpreter.set_tensor(source["index"], given)
        interpreter.invoke()
        inputs.append(signed(given)[0])
        for details in interpreter.get_tensor_details():
            if details["index"] not in computed or details["dtype"] not in (np.int8, np.uint8):
                continue
            found, name = signed(interpreter.get_tensor(details["index"])), details["name"]
            hashes.setdefault(name, []).append(hashlib.sha256(found.tobytes()).hexdigest())
            if found.size <= KEPT_ELEMENTS:
                kept.setdefault(f"output.{name}", []).append(found.ravel())
    tensors = {name: np.ascontiguousarray(arrays) for name, arrays in {"input": inputs, **kept}.items()}
    save_file(tensors, arguments.out, {"sha256": json.dumps(hashes)})
    print(f"{arguments.out}: {len(inputs)} inputs, {len(hashes)} tensors, {len(kept)} of them in full")


if __name__ == "__main__":
    main()
