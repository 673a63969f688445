#!/usr/bin/env bash
# What int8 costs every model that is present: see table.py. `PYTHON` chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -x target/release/pinhole ] || cargo build --release -q -p pinhole
exec "${PYTHON:-python3}" tests/models/table.py "$@"
