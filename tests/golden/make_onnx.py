"""Makes the small ONNX files of `host-tools/graph/tests/onnx` and what ONNX Runtime computes with them.

    python tests/golden/make_onnx.py [NAME …]

Needs numpy, onnx, onnxruntime, safetensors and torch (tried with 2.4, 1.23, 1.32, 0.8, 2.15). Inputs are the fixed
sequence of `onnx_parity.lcg`, pictures in the order (1, H, W, C). With names, only those are made again.
"""

import pathlib
import sys

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_parity import feeds
from safetensors.numpy import load_file, save_file

FOLDER = pathlib.Path(__file__).parents[2] / "host-tools/graph/tests/onnx"
TOKENS = 6
random = np.random.default_rng(7)


class Net:
    """Nodes and initializers in the making."""

    def __init__(self, name, opset=17):
        self.name, self.opset = name, opset
        self.nodes, self.initializers = [], []

    def weight(self, *shape, scale=None):
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        scale = scale or (2.0 / max(fan, 1)) ** 0.5
        return self.constant((random.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values):
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value):
        return self.constant(np.float32(value))

    def add(self, op, *inputs, outputs=1, domain="", **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        names = [f"{name}:{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def save(self, inputs, output):
        infos = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, self.name, infos, [out], self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == "com.microsoft" for node in self.nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="make_onnx.py")
        path = FOLDER / f"{self.name}.onnx"
        path.write_bytes(model.SerializeToString())
        return path


def conv_net():
    """What MobileNetV3 and EfficientNet are made of: convolutions of all kinds, squeeze and excitation, pooling."""
    net = Net("conv_net")
    x = net.add("Conv", "image", net.weight(8, 3, 3, 3), net.weight(8), strides=[2, 2], pads=[0, 1, 2, 1])
    parameters = [net.weight(8, scale=0.3) for _ in range(3)]
    variance = net.constant(random.uniform(0.5, 2, 8).astype(np.float32))
    x = net.add("BatchNormalization", x, *parameters, variance, epsilon=1e-3)
    x = net.add("HardSwish", x)
    y = net.add("Conv", x, net.weight(8, 1, 3, 3), group=8, pads=[2, 2, 2, 2], dilations=[2, 2])
    y = net.add("Clip", y, net.scalar(0), net.scalar(6))
    s = net.add("GlobalAveragePool", y)
    s = net.add("Relu", net.add("Conv", s, net.weight(4, 8, 1, 1), net.weight(4)))
    s = net.add("HardSigmoid", net.add("Conv", s, net.weight(8, 4, 1, 1)), alpha=1 / 6, beta=0.5)
    y = net.add("Mul", s, y)
    x = net.add("Add", x, net.add("Conv", y, net.weight(8, 8, 1, 1)))
    a = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    b = net.add("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    c = net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, auto_pad="SAME_UPPER")
    x = net.add("Concat", a, b, c, axis=1)
    x = net.add("Mul", x, net.weight(24, 1, 1))
    x = net.add("Pad", x, net.ints(0, 0, 1, 0, 0, 0, 0, 2), net.scalar(0.5))
    x = net.add("Conv", x, net.weight(6, 24, 3, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    x = net.add("LeakyRelu", x, alpha=0.1)
    x = net.add("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = net.add("Gemm", x, net.weight(5, 6), net.weight(5), transB=1, alpha=0.5, beta=2.0)
    return net.save([("image", TensorProto.FLOAT, ["batch", 3, 17, 15])], net.add("Softmax", x, axis=-1))


def flatten_net():
    """Flatten of a picture that is larger than one pixel: the order of elements is that of the file."""
    net = Net("flatten_net", opset=9)
    x = net.add("Conv", "image", net.weight(4, 3, 3, 3), net.weight(4), strides=[2, 2])
    x = net.add("Relu", x)
    x = net.add("Flatten", x)
    x = net.add("MatMul", x, net.weight(4 * 3 * 4, 7))
    x = net.add("Add", x, net.weight(7))
    return net.save([("image", TensorProto.FLOAT, [1, 3, 7, 9])], net.add("Sigmoid", x))


def nhwc_net():
    """As tf2onnx writes it: a picture (1, H, W, C), normalised in the graph, transposed for the convolutions and back."""
    net = Net("nhwc_net", opset=15)
    x = net.add("Sub", net.add("Mul", "image", net.scalar(2)), net.scalar(1))
    x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    x = net.add("Conv", x, net.weight(6, 3, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    x = net.add("Clip", x, net.scalar(0), net.scalar(6))
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    x = net.add("Add", x, net.weight(6))
    x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    x = net.add("AveragePool", x, kernel_shape=[4, 4])
    x = net.add("Squeeze", x, net.ints(2, 3))
    return net.save([("image", TensorProto.FLOAT, ["N", 8, 8, 3])], x)


def decomposed():
    """Layer normalisation, GELU in both forms, SiLU and hard-swish spelled out in small operators."""
    net = Net("decomposed")
    x = "x"
    mean = net.add("ReduceMean", x, axes=[-1])
    centred = net.add("Sub", x, mean)
    squares = net.add("Pow", centred, net.scalar(2))
    variance = net.add("ReduceMean", squares, axes=[-1])
    deviation = net.add("Sqrt", net.add("Add", variance, net.scalar(1e-5)))
    x = net.add("Add", net.add("Mul", net.add("Div", centred, deviation), net.weight(16)), net.weight(16))
    x = net.add("Add", net.weight(12), net.add("MatMul", x, net.weight(16, 12)))
    erf = net.add("Erf", net.add("Div", x, net.scalar(2**0.5)))
    x = net.add("Mul", net.add("Mul", x, net.add("Add", erf, net.scalar(1))), net.scalar(0.5))
    x = net.add("MatMul", x, net.weight(12, 12))
    cube = net.add("Mul", net.add("Pow", x, net.scalar(3)), net.scalar(0.044715))
    inner = net.add("Mul", net.add("Add", x, cube), net.scalar((2 / np.pi) ** 0.5))
    tanh = net.add("Add", net.add("Tanh", inner), net.scalar(1))
    x = net.add("Mul", net.add("Mul", x, net.scalar(0.5)), tanh)
    x = net.add("MatMul", x, net.weight(12, 12))
    x = net.add("Mul", x, net.add("Sigmoid", x))
    gate = net.add("Clip", net.add("Add", x, net.scalar(3)), net.scalar(0), net.scalar(6))
    x = net.add("Div", net.add("Mul", x, gate), net.scalar(6))
    return net.save([("x", TensorProto.FLOAT, ["batch", 5, 16])], x)


def shape_net():
    """Shapes computed by nodes, splits, cuts, gathers, and operands of fewer dimensions."""
    net = Net("shape_net", opset=13)
    parts = net.add("Split", "x", net.ints(3, 5), axis=2, outputs=2)
    right = net.add("Slice", parts[1], net.ints(0, 1), net.ints(2**31, -1), net.ints(1, 2), net.ints(2, 1))
    shape = net.add("Shape", right)
    count = net.add("Gather", shape, net.constant(np.int64(1)), axis=0)
    wanted = net.add("Concat", net.add("Unsqueeze", count, net.ints(0)), net.ints(-1), axis=0)
    right = net.add("Reshape", right, wanted)
    left = net.add("Transpose", parts[0], perm=[2, 0, 1])
    left = net.add("Squeeze", net.add("Gather", left, net.ints(0, 2), axis=0), net.ints(1))
    left = net.add("Slice", left, net.ints(0), net.ints(3), net.ints(1))
    product = net.add("MatMul", left, right)
    zeros = net.add("ConstantOfShape", net.add("Shape", product))
    same = net.add("Equal", zeros, net.scalar(0))
    chosen = net.add("Where", same, product, zeros)
    norm = net.add("ReduceL2", chosen, axes=[1], keepdims=1)
    x = net.add("Div", chosen, norm)
    x = net.add("Max", x, net.add("Neg", net.add("Expand", net.weight(1, 3), net.ints(2, 3))))
    x = net.add("Identity", net.add("ReduceSum", net.add("Unsqueeze", x, net.ints(0, 3)), net.ints(3), keepdims=0))
    return net.save([("x", TensorProto.FLOAT, ["batch", 6, 8])], x)


class Attention(torch.nn.Module):
    """Self-attention as timm and transformers spell it, pre-norm, with a GELU block."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.fc1, self.fc2 = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)
        self.heads = heads

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)
        x = x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm2(x))))


class Vit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = torch.nn.Conv2d(3, 16, 4, 4)
        self.cls_token = torch.nn.Parameter(torch.randn(1, 1, 16))
        self.positions = torch.nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = torch.nn.ModuleList(Attention(16, 2) for _ in range(2))
        self.norm = torch.nn.LayerNorm(16)

    def forward(self, image):
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class BertLayer(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(width, width) for _ in range(3))
        self.dense, self.norm1 = torch.nn.Linear(width, width), torch.nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
        self.norm2 = torch.nn.LayerNorm(width, eps=1e-12)
        self.heads = heads

    def forward(self, x, mask):
        def split(y):
            return y.view(*y.shape[:2], self.heads, -1).permute(0, 2, 1, 3)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask
        y = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(self.dense(y.view(*y.shape[:2], -1)) + x)
        return self.norm2(self.down(torch.nn.functional.gelu(self.up(x))) + x)


class Bert(torch.nn.Module):
    """BERT with the mean over all tokens that the mask keeps, as sentence-transformers exports it."""

    def __init__(self, width=32, heads=4, vocabulary=1000):
        super().__init__()
        self.words = torch.nn.Embedding(vocabulary, width)
        self.positions, self.types = torch.nn.Embedding(24, width), torch.nn.Embedding(2, width)
        self.norm = torch.nn.LayerNorm(width, eps=1e-12)
        self.layers = torch.nn.ModuleList(BertLayer(width, heads) for _ in range(2))

    def forward(self, input_ids, attention_mask, token_type_ids):
        places = torch.arange(input_ids.shape[1]).unsqueeze(0)
        x = self.norm(self.words(input_ids) + self.types(token_type_ids) + self.positions(places))
        mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, mask)
        kept = attention_mask.unsqueeze(-1).expand(x.shape).float()
        return (x * kept).sum(1) / torch.clamp(kept.sum(1), min=1e-9)


def export(name, model, inputs, names, axes, opset):
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(
        model.eval(), inputs, str(path), input_names=names, output_names=["embedding"], dynamic_axes=axes,
        opset_version=opset, dynamo=False,
    )
    return path


def vit():
    torch.manual_seed(1)
    return export("vit", Vit(), torch.randn(1, 3, 16, 16), ["image"], {"image": {0: "batch"}}, 16)


def bert():
    torch.manual_seed(2)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ones = torch.ones(1, TOKENS, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "sequence"} for name in names}
    return export("bert", Bert(), (ones, ones, 0 * ones), names, axes, 17)


class Integers(Net):
    """Nodes over integers: activations in unsigned bytes, weights in signed ones. `x` is (name, scale, zero point)."""

    def __init__(self, name, seed):
        super().__init__(name)
        self.random = np.random.default_rng(seed)

    def step(self, scale, zero):
        return self.scalar(scale), self.constant(np.uint8(zero))

    def bytes(self, *shape):
        return self.constant(self.random.integers(-127, 128, shape).astype(np.int8))

    def weights(self, *shape, channels=None):
        """Integers, and a scale for each of `channels` or one."""
        count = channels or 1
        scales = (self.random.uniform(0.5, 1, count) / 127 / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        zeros = np.zeros(count, np.int8)
        if channels is None:
            scales, zeros = scales[0], zeros[0]
        return self.bytes(*shape), self.constant(scales), self.constant(zeros)

    def biases(self, count):
        return self.constant(self.random.integers(-2000, 2000, count).astype(np.int32))

    def of_microsoft(self, op, *inputs, **attributes):
        return self.add(op, *inputs, domain="com.microsoft", **attributes)


def integers():
    """What onnxruntime.quantization writes with QuantFormat.QOperator."""
    net = Integers("integers", 11)
    a, b, c, d = net.step(0.02, 120), net.step(0.03, 110), net.step(0.02, 128), net.step(1 / 256, 0)
    x = net.add("QuantizeLinear", "image", *a)
    x = net.add("QLinearConv", x, *a, *net.weights(8, 3, 3, 3, channels=8), *b, net.biases(8), pads=[1, 1, 1, 1])
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = net.add("QLinearConv", x, *b, *net.weights(8, 1, 3, 3, channels=8), *a, group=8, pads=[1, 1, 1, 1])
    y = net.of_microsoft("QLinearLeakyRelu", y, *a, *a, alpha=0.1)
    s = net.of_microsoft("QLinearGlobalAveragePool", y, *a, *c, channels_last=0)
    s = net.of_microsoft("QLinearSigmoid", s, *c, *d)
    y = net.of_microsoft("QLinearMul", y, *a, s, *d, *a)
    x = net.of_microsoft("QLinearAdd", x, *b, y, *a, *b)
    y = net.of_microsoft("QLinearAveragePool", x, *b, *a, kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.of_microsoft("QLinearConcat", *b, x, *b, y, *a, axis=1)
    x = net.add("Reshape", x, net.ints(1, 16 * 4 * 4))
    x = net.of_microsoft("QGemm", x, *b, *net.weights(12, 256, channels=12), net.biases(12), *a, transB=1)
    x = net.add("QLinearMatMul", x, *a, *net.weights(12, 6), *c)
    x = net.of_microsoft("QLinearSoftmax", x, *c, *d, axis=-1, opset=17)
    x = net.add("DequantizeLinear", x, *d)
    return net.save([("image", TensorProto.FLOAT, ["batch", 3, 16, 16])], x)


def dynamic():
    """What onnxruntime.quantization.quantize_dynamic writes of a text encoder, and ONNX Runtime fuses it into."""
    net = Integers("dynamic", 12)
    table, scale, zero = net.weights(1000, 16)
    x = net.add("DequantizeLinear", net.add("Gather", table, "input_ids"), scale, zero)
    x = net.add("LayerNormalization", x, net.weight(16), net.weight(16))
    q, unit, zero = net.add("DynamicQuantizeLinear", x, outputs=3)
    for channels in (None, 16):
        weight, scale, offset = net.weights(16, 16, channels=channels)
        sums = net.add("Cast", net.add("MatMulInteger", q, weight, zero, offset), to=TensorProto.FLOAT)
        y = net.add("Add", net.add("Mul", sums, net.add("Mul", unit, scale)), net.weight(16))
        x = net.add("Add", x, y)
    weight, scale, offset = net.weights(16, 16)
    x = net.add("Add", x, net.of_microsoft("MatMulIntegerToFloat", q, weight, unit, scale, zero, offset, net.weight(16)))
    weight, scale, offset = net.weights(16, 8)
    x = net.of_microsoft("DynamicQuantizeMatMul", x, weight, scale, offset)
    x = net.add("ReduceMean", x, axes=[1], keepdims=0)
    return net.save([("input_ids", TensorProto.INT64, ["batch", "sequence"])], x)


def dynamic_picture():
    """A convolution with scales of the moment."""
    net = Integers("dynamic_picture", 13)
    q, unit, zero = net.add("DynamicQuantizeLinear", "image", outputs=3)
    weight, scale, offset = net.weights(6, 3, 3, 3)
    sums = net.add("ConvInteger", q, weight, zero, offset, strides=[2, 2], pads=[1, 1, 1, 1])
    sums = net.add("Cast", sums, to=TensorProto.FLOAT)
    x = net.add("Mul", sums, net.add("Mul", unit, scale))
    x = net.add("Relu", net.add("Add", x, net.weight(1, 6, 1, 1)))
    return net.save([("image", TensorProto.FLOAT, ["batch", 3, 8, 8])], net.add("GlobalAveragePool", x))


def refused():
    """Nodes that cannot be expressed, beside some that can: the error lists the former, all of them."""
    net = Net("refused")
    x = net.add("Relu", "x")
    scale, zero = net.scalar(0.1), net.constant(np.uint8(3))
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", x, scale, zero), scale, zero)
    q = net.add("DynamicQuantizeLinear", x, outputs=3)
    product = net.add("MatMulInteger", q[0], net.constant(np.ones((4, 4), dtype=np.uint8)), q[2])
    sums = net.add("Cast", product, to=TensorProto.FLOAT)
    x = net.add("Relu", sums)
    branch = helper.make_graph(
        [helper.make_node("Identity", [x], ["taken"])], "branch", [],
        [helper.make_tensor_value_info("taken", TensorProto.FLOAT, None)],
    )
    x = net.add("If", net.constant(np.bool_(True)), then_branch=branch, else_branch=branch)
    x = net.add("Einsum", x, x, equation="ij,ij->ij")
    x = net.add("FusedThing", x, domain="com.example")
    net.save([("x", TensorProto.FLOAT, [1, 4])], x)


def outside():
    """Weights in a file outside the folder of the model."""
    net = Net("outside")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in [("location", "../make_nothing.bin"), ("offset", "0"), ("length", "16")]:
        tensor.external_data.add(key=key, value=value)
    net.initializers.append(tensor)
    net.save([("x", TensorProto.FLOAT, [1, 2])], net.add("MatMul", "x", "w"))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    shapes = {
        conv_net: [1, 17, 15, 3], flatten_net: [1, 7, 9, 3], nhwc_net: [1, 8, 8, 3], decomposed: [1, 5, 16],
        shape_net: [1, 6, 8], vit: [1, 16, 16, 3], bert: [TOKENS],
        integers: [1, 16, 16, 3], dynamic: [TOKENS], dynamic_picture: [1, 8, 8, 3],
    }
    wanted = sys.argv[1:]
    held = FOLDER / "expected.safetensors"
    expected = load_file(held) if wanted else {}
    for make, shape in shapes.items():
        if wanted and make.__name__ not in wanted:
            continue
        path = make()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        output = session.run(None, feeds(session, shape, TOKENS))[0]
        print(path.name, path.stat().st_size, output.shape)
        expected[make.__name__] = output
    save_file(expected, held)
    refused()
    outside()


if __name__ == "__main__":
    main()
