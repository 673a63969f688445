#!/usr/bin/env python3
r"""Makes the networks that tests/peers/host.py and tests/peers/aarch64.py compare, in the files of each engine.

    pip install torch onnx onnxscript onnxruntime numpy efficientnet_lite_pytorch nncf openvino litert-torch \
        ai-edge-quantizer mnn pnnx
    cargo build --release -p pinhole
    python3 tests/peers/models.py target/peers

Three image encoders with random weights: time and instructions do not depend on them.

    effnet_lite0   EfficientNet-Lite0 to 256 dimensions, 224 px, 385 M MAC; ours is models/lite0
    vit8m16        the vision transformer of TinyCLIP-8M/16: 224 px, patch 16, width 256, depth 10, 4 heads, 1.8 G MAC
    clip_vitb32    the image tower of open_clip's ViT-B-32: 224 px, patch 32, width 768, depth 12, 12 heads, 4.4 G MAC

Each becomes a folder: f32.onnx; u8.onnx, s8.onnx (static, QDQ, per channel, by onnxruntime.quantization over noise) and
dynamic.onnx for the transformers; openvino.xml (by NNCF); f32.tflite, int8.tflite and, for the transformers,
dynamic.tflite (by ai-edge-quantizer; int8.tflite of EfficientNet-Lite0 is Google's own, from an npm package); f32.mnn;
f32.ncnn.param and .bin (by pnnx); image.phm and aarch64.phm (ours, in two layouts).
A file that is there is kept; one that cannot be made is said, with the reason, and left out.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE = 224
EMBEDDING = {"effnet_lite0": 256, "vit8m16": 512, "clip_vitb32": 512}


def network(name):
    """The network in f32, (1, 3, SIDE, SIDE) to (1, EMBEDDING)."""
    import torch

    torch.manual_seed(7)
    if name == "effnet_lite0":
        return effnet_lite0().eval()
    patch, width, depth, heads = {"vit8m16": (16, 256, 10, 4), "clip_vitb32": (32, 768, 12, 12)}[name]
    return vit(patch, width, depth, heads, EMBEDDING[name]).eval()


def effnet_lite0():
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = EfficientNet.from_name("efficientnet-lite0")
            self.projection = torch.nn.Linear(1280, EMBEDDING["effnet_lite0"])

        def forward(self, x):
            return self.projection(self.net.extract_features(x).mean((2, 3)))

    return Encoder()


def vit(patch, width, depth, heads, embedding):
    """CLIP's vision transformer: norm before the blocks, the class token's embedding out of a projection without bias."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def attention(self, x):
            tokens = x.shape[1]
            qkv = self.qkv(x).reshape(1, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            scores = qkv[0] @ qkv[1].transpose(-2, -1) * (width // heads) ** -0.5
            mixed = scores.softmax(-1) @ qkv[2]
            return self.out(mixed.transpose(1, 2).reshape(1, tokens, width))

        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            tokens = (SIDE // patch) ** 2 + 1
            self.patch_embed = nn.Conv2d(3, width, patch, patch, bias=False)
            self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.pos_embed = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
            self.norm_pre, self.norm_post = nn.LayerNorm(width), nn.LayerNorm(width)
            self.blocks = nn.Sequential(*[Block() for _ in range(depth)])
            self.projection = nn.Linear(width, embedding, bias=False)

        def forward(self, x):
            x = self.patch_embed(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls_token, x], 1) + self.pos_embed
            x = self.blocks(self.norm_pre(x))
            return self.projection(self.norm_post(x[:, 0]))

    return Encoder()


def noise(count):
    import numpy

    random = numpy.random.default_rng(0)
    return [random.uniform(-1, 1, (1, 3, SIDE, SIDE)).astype("f4") for _ in range(count)]


def make_f32(name, folder):
    import torch

    with torch.no_grad():
        torch.onnx.export(network(name), (torch.zeros(1, 3, SIDE, SIDE),), folder / "f32.onnx", input_names=["x"],
                          opset_version=17, dynamo=False)


def prepared(folder):
    """f32.onnx with shapes, folded: what ONNX Runtime's quantiser asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = folder / "prepared.onnx"
    if not path.exists():
        quant_pre_process(str(folder / "f32.onnx"), str(path))
    return path


def make_static(folder, kind):
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.items = iter([{"x": picture} for picture in noise(4)])

        def get_next(self):
            return next(self.items, None)

    activation = q.QuantType.QUInt8 if kind == "u8" else q.QuantType.QInt8
    q.quantize_static(str(prepared(folder)), str(folder / f"{kind}.onnx"), Reader(), quant_format=q.QuantFormat.QDQ,
                      per_channel=True, activation_type=activation, weight_type=q.QuantType.QInt8)


def make_dynamic(folder):
    from onnxruntime import quantization as q

    q.quantize_dynamic(str(prepared(folder)), str(folder / "dynamic.onnx"), per_channel=True,
                       weight_type=q.QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])


def make_openvino(name, folder):
    import nncf
    import openvino

    model = openvino.Core().read_model(folder / "f32.onnx")
    kind = None if name == "effnet_lite0" else nncf.ModelType.TRANSFORMER
    data = nncf.Dataset([{0: picture} for picture in noise(4)])
    openvino.save_model(nncf.quantize(model, data, subset_size=4, model_type=kind), folder / "openvino.xml",
                        compress_to_fp16=False)


def fetch_tflite(folder):
    """Google's quantised EfficientNet-Lite0, with its 1000 classes, from a package that ships it."""
    package = "react-native-npm-ai-sample-lib@0.1.4"
    with tempfile.TemporaryDirectory() as unpacked:
        packed = subprocess.run(["npm", "pack", "--silent", package], cwd=unpacked, check=True, capture_output=True, text=True)
        member = "package/ios/TFLite/efficientnet_lite0.tflite"
        subprocess.run(["tar", "-xzf", packed.stdout.split()[-1], member], cwd=unpacked, check=True)
        shutil.copy(pathlib.Path(unpacked) / member, folder / "int8.tflite")


def make_f32_tflite(name, folder):
    import litert_torch
    import torch

    litert_torch.convert(network(name), (torch.zeros(1, 3, SIDE, SIDE),)).export(str(folder / "f32.tflite"))


def make_tflite(name, folder, kind):
    if name == "effnet_lite0":
        return fetch_tflite(folder)
    from ai_edge_quantizer import quantizer, recipe

    f32 = folder / "f32.tflite"
    if kind == "dynamic":
        quantised = quantizer.Quantizer(str(f32), recipe.dynamic_wi8_afp32()).quantize()
    else:
        making = quantizer.Quantizer(str(f32), recipe.static_wi8_ai8())
        from ai_edge_litert.interpreter import Interpreter
        signatures = Interpreter(str(f32)).get_signature_list()
        signature, ports = next(iter(signatures.items()))
        pictures = [{ports["inputs"][0]: picture} for picture in noise(4)]
        quantised = making.quantize(making.calibrate({signature: pictures}))
    quantised.export_model(str(folder / f"{kind}.tflite"), overwrite=True)


def make_mnn(folder):
    converter = pathlib.Path(sys.executable).with_name("mnnconvert")
    command = [converter, "-f", "ONNX", "--modelFile", folder / "f32.onnx", "--MNNModel", folder / "f32.mnn", "--bizCode",
               "peer"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def make_ncnn(folder):
    """pnnx is a program; its Python module, which is not imported here, would want torch."""
    import importlib.util

    package = pathlib.Path(importlib.util.find_spec("pnnx").origin).parent
    with tempfile.TemporaryDirectory() as made:
        made = pathlib.Path(made)
        shutil.copy(folder / "f32.onnx", made)
        command = [package / "pnnx", "f32.onnx", f"inputshape=[1,3,{SIDE},{SIDE}]", "fp16=0"]
        subprocess.run([str(word) for word in command], check=True, capture_output=True, cwd=made)
        for file in ("f32.ncnn.bin", "f32.ncnn.param"):
            shutil.copy(made / file, folder)


def make_ours(name, folder, pinhole):
    def run(*words):
        done = subprocess.run([pinhole, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())

    source = ROOT / "models/lite0/image.phg" if name == "effnet_lite0" else folder / "f32.onnx"
    calibration = ["--calibrate", ROOT / "models/demo", "--calibration-count", "4", "--no-bias-correction"]
    run("convert", source, *calibration, "--graph", folder / "int8.phg", "--out", folder / "image.phm")
    run("pack", folder / "int8.phg", "--target", "aarch64", "--out", folder / "aarch64.phm")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--model", action="append", choices=EMBEDDING, help="one of them; all when left out")
    parser.add_argument("--pinhole", default=str(ROOT / "target/release/pinhole"))
    args = parser.parse_args()
    for name in args.model or EMBEDDING:
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        steps = {
            "f32.onnx": lambda: make_f32(name, folder),
            "u8.onnx": lambda: make_static(folder, "u8"),
            "s8.onnx": lambda: make_static(folder, "s8"),
            "dynamic.onnx": lambda: make_dynamic(folder),
            "openvino.xml": lambda: make_openvino(name, folder),
            "f32.tflite": lambda: make_f32_tflite(name, folder),
            "int8.tflite": lambda: make_tflite(name, folder, "int8"),
            "dynamic.tflite": lambda: make_tflite(name, folder, "dynamic"),
            "f32.mnn": lambda: make_mnn(folder),
            "f32.ncnn.param": lambda: make_ncnn(folder),
            "image.phm": lambda: make_ours(name, folder, args.pinhole),
        }
        for file, make in steps.items():
            # Weights of convolutions are quantised with their activations, or the network stays in f32.
            if (folder / file).exists() or name == "effnet_lite0" and file.startswith("dynamic"):
                continue
            try:
                make()
                print(f"{name}: {file}", flush=True)
            except Exception as reason:  # Any engine's tools may fail in ways of their own; the others go on.
                print(f"{name}: left out {file}: {type(reason).__name__}: {reason}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
