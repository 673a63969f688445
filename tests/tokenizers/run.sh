#!/usr/bin/env bash
# Compares tokenizers and text cleaning with the reference libraries on lines of mixed text, 100000 unless told otherwise.
# `tests/tokenizers/run.sh [COUNT]` works in target/tokenizers, and fails when a line differs.
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-100000}
work=$PWD/${CARGO_TARGET_DIR:-target}/tokenizers
python=$work/venv/bin/python

mkdir -p "$work"
[ -x "$python" ] || python3 -m venv "$work/venv"
"$python" -m pip install --quiet numpy==2.4.6 tokenizers==0.23.3 transformers==5.24.0 sentencepiece==0.2.3 ftfy==6.3.1 \
  regex==2026.11.19 protobuf==7.36.2
# These two would bring PyTorch, of which nothing here is needed.
"$python" -m pip install --quiet --no-deps clip-benchmark==1.6.2
"$python" -m pip install --quiet --no-deps --target "$work/openclip" --upgrade open_clip_torch==3.3.0

"$python" tests/tokenizers/make_texts.py "$work/openclip/open_clip" "$count" >"$work/texts.jsonl"
"$python" tests/tokenizers/reference.py "$work" "$work/openclip/open_clip/bpe_simple_vocab_16e6.txt.gz" \
  host-tools/text/tests/golden/vocab.txt
PINHOLE_TOKENIZERS=$work cargo test --release -p pinhole-text --test parity -- --ignored --nocapture
