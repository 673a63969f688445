"""Compares exported ONNX files, run by ONNX Runtime, with the runtime (f32) on one fixed input.

    python tests/import/onnx_export.py [--pinhole COMMAND] GRAPH.phg …

Needs numpy, onnx and onnxruntime (tried with 2.4, 1.23 and 1.32). Prints the cosine, the largest difference relative to the largest
output, and the transposes of the exported file; exit code 1 below a cosine of 0.99999. The last token id is the largest of the
vocabulary, which ends a text for CLIP.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden"))
from onnx_parity import feeds  # noqa: E402

LEAST_COSINE = 0.99999


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pinhole", default="cargo run -q --release -p pinhole --")
    run = "cargo run -q --release -p pinhole-tests --features onnx --example onnx_run --"
    parser.add_argument("--run", default=run)
    parser.add_argument("graphs", nargs="+")
    arguments = parser.parse_args()
    failed = False
    for graph in arguments.graphs:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/exported.onnx"
            command = [*arguments.pinhole.split(), "export", graph, "--out", path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            ours = json.loads(subprocess.run([*arguments.run.split(), graph], check=True, capture_output=True).stdout)
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            # The number of tokens that the graph was packed for.
            shape = ours["input_shape"]
            theirs = session.run(None, feeds(session, shape, shape[0], ours["ids"]))[0].ravel().astype(np.float64)
        found = np.array(ours["output"])
        cosine = float(found @ theirs / np.linalg.norm(found) / np.linalg.norm(theirs))
        difference = float(np.abs(found - theirs).max() / np.abs(theirs).max())
        transposes = sum(node.op_type == "Transpose" for node in model.graph.node)
        print(f"{graph}: cosine {cosine:.9f}, difference {difference:.2e}, {transposes} transposes")
        # NaN fails too.
        failed |= not cosine >= LEAST_COSINE
    sys.exit(failed)


if __name__ == "__main__":
    main()
