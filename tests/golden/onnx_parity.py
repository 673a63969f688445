"""Compares ONNX files run through the runtime (f32) with ONNX Runtime on one fixed input.

    python tests/golden/onnx_parity.py [--tokens N] FILE.onnx …

Needs numpy and onnxruntime. Prints one line a file: cosine, largest difference, nodes and transposes of the graph.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
import onnxruntime


def lcg(count):
    """The generator of the tests: the 24 upper bits of Knuth's MMIX generator from state 1."""
    state, out = 1, np.empty(count, dtype=np.int64)
    for index in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[index] = state >> 40
    return out


def feeds(session, input_shape, tokens, ids=None):
    """Inputs of the file: pictures are made NHWC and turned to what the file wants; token ids are given or of the generator."""
    fed = {}
    for wanted in session.get_inputs():
        name, shape = wanted.name, [d if isinstance(d, int) else None for d in wanted.shape]
        if "float" in wanted.type:
            values = (lcg(int(np.prod(input_shape))) / 2**23 - 1).astype(np.float32).reshape(input_shape)
            if len(input_shape) == 4 and shape[3] != input_shape[3]:
                values = values.transpose(0, 3, 1, 2)
            fed[name] = np.ascontiguousarray(values)
        elif "mask" in name:
            fed[name] = np.ones((1, tokens), dtype=np.int64)
        elif "type" in name:
            fed[name] = np.zeros((1, tokens), dtype=np.int64)
        else:
            given = ids or lcg(tokens) % 1000
            fed[name] = np.asarray(given, dtype=np.int64).reshape(1, tokens)
    return fed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=16)
    run = "cargo run -q --release -p pinhole-tests --features onnx --example onnx_run --"
    parser.add_argument("--run", default=run)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    failed = False
    for path in arguments.files:
        command = [*arguments.run.split(), path, str(arguments.tokens)]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        theirs = session.run(None, feeds(session, ours["input_shape"], arguments.tokens, ours["ids"]))[0]
        if theirs.ndim == 4 and list(theirs.shape) != ours["output_shape"]:
            theirs = theirs.transpose(0, 2, 3, 1)
        a, b = np.array(ours["output"], dtype=np.float64), theirs.astype(np.float64).ravel()
        cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        # NaN fails too.
        failed |= not cosine >= 0.99999
        print(
            f"{path}: cosine {cosine:.9f}, largest difference {np.abs(a - b).max():.3g} of {np.abs(b).max():.3g}, "
            f"{ours['nodes']} nodes, {ours['transposes']} transposes"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
