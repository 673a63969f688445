#!/usr/bin/env python3
"""Writes small TFLite files with seeded random weights, and what LiteRT's reference kernels compute for them.

usage: make_tflite.py

Needs ai-edge-litert 2.3, flatbuffers, numpy and safetensors (from PyPI). Beside this file it writes

  tflite_int8.tflite        every operator that import knows in integers; Pinhole rounds the factor of the MEAN
                            "rough" otherwise
  tflite_int8.safetensors   as tests/import/litert_reference.py writes it, for four inputs
  tflite_float.tflite       the same in floats, the first weights stored as halves and bytes
  tflite_float.safetensors  input and output.NAME, f32, for two inputs
  tflite_shared.tflite      150 layers over one buffer of weights: a small file that stands for many constants
  tflite_foreign.tflite     operators that import refuses, behind one that it takes

The files are put together operator by operator from the schema's classes; no converter is involved.
"""

import pathlib
import subprocess
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent
REFERENCE = FOLDER.parent / "import" / "litert_reference.py"
random = np.random.default_rng(7)

NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
}


def options(kind, **fields):
    """Options of an operator: their number in the schema and the object."""
    made = getattr(schema, kind + "T")()
    for name, value in fields.items():
        assert hasattr(made, name), (kind, name)
        setattr(made, name, value)
    return getattr(schema.BuiltinOptions, kind), made


class Maker:
    """A model while it grows. Tensors are named; `quantised` says whether activations are int8."""

    def __init__(self, quantised):
        self.quantised = quantised
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, "made for tests"
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.model.subgraphs = [self.graph]
        self.graph.name = "main"
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.known = {}

    def tensor(self, name, shape, kind, scales=(), zero_points=(), dimension=0, data=None):
        """Adds a tensor; with `data` a constant."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), TYPES[kind], 0
        if len(scales):
            quant = schema.QuantizationParametersT()
            quant.scale, quant.zeroPoint = [float(scale) for scale in scales], [int(zero) for zero in zero_points]
            quant.quantizedDimension = dimension
            tensor.quantization = quant
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.known[name] = len(self.graph.tensors)
        self.graph.tensors.append(tensor)
        return name

    def activation(self, name, shape, scale=0.05, zero_point=0):
        """A tensor that is computed."""
        if self.quantised:
            return self.tensor(name, shape, "int8", [scale], [zero_point])
        return self.tensor(name, shape, "float32")

    def settings(self, name, values):
        """An int32 constant."""
        return self.tensor(name, np.shape(values), "int32", data=np.asarray(values, np.int32))

    def weights(self, name, shape, dimension, channels, per_channel=True):
        """Weights: int8 with scales, or floats."""
        if not self.quantised:
            return self.tensor(name, shape, "float32", data=random.normal(0, 0.3, shape).astype(np.float32))
        count = channels if per_channel else 1
        scales = random.uniform(0.001, 0.01, count)
        data = random.integers(-127, 128, shape).astype(np.int8)
        return self.tensor(name, shape, "int8", scales, [0] * count, dimension, data)

    def bias(self, name, weights, source, channels):
        """A bias in units of the sum, or floats."""
        if not self.quantised:
            return self.tensor(name, [channels], "float32", data=random.normal(0, 0.3, channels).astype(np.float32))
        scale = self.graph.tensors[self.known[source]].quantization.scale[0]
        units = np.asarray(self.graph.tensors[self.known[weights]].quantization.scale, np.float32) * np.float32(scale)
        data = random.integers(-3000, 3000, channels).astype(np.int32)
        return self.tensor(name, [channels], "int32", units, [0] * len(units), 0, data)

    def constant(self, name, shape, scale, zero_point):
        """An operand that is a constant."""
        if not self.quantised:
            return self.tensor(name, shape, "float32", data=random.normal(0, 1, shape).astype(np.float32))
        data = random.integers(-128, 128, shape).astype(np.int8)
        return self.tensor(name, shape, "int8", [scale], [zero_point], 0, data)

    def operator(self, kind, inputs, output, chosen=None, custom=None):
        """Adds an operator over named tensors; CUSTOM has a name."""
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        code.customCode = custom
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = [self.known[name] for name in inputs], [self.known[output]]
        if chosen:
            operator.builtinOptionsType, operator.builtinOptions = chosen
        self.graph.operators.append(operator)
        return output

    def layer(self, kind, source, name, shape, weight_shape, dimension, chosen, scale, zero_point, per_channel=True):
        """A convolution or a fully connected layer."""
        channels = weight_shape[dimension]
        weights = self.weights(name + "/weights", weight_shape, dimension, channels, per_channel)
        bias = self.bias(name + "/bias", weights, source, channels)
        return self.operator(kind, [source, weights, bias], self.activation(name, shape, scale, zero_point), chosen)

    def write(self, path, inputs, outputs):
        """The finished file."""
        self.graph.inputs, self.graph.outputs = ([self.known[name] for name in names] for names in (inputs, outputs))
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def conv_options(padding, stride=1, activation=NONE, dilation=1):
    sizes = dict(strideH=stride, strideW=stride, dilationHFactor=dilation, dilationWFactor=dilation)
    return options("Conv2DOptions", padding=padding, fusedActivationFunction=activation, **sizes)


def depthwise_options(padding, stride=1, activation=NONE, dilation=1, multiplier=1):
    sizes = dict(strideH=stride, strideW=stride, dilationHFactor=dilation, dilationWFactor=dilation)
    sizes["depthMultiplier"] = multiplier
    return options("DepthwiseConv2DOptions", padding=padding, fusedActivationFunction=activation, **sizes)


def pool_options(padding, size, stride, activation=NONE):
    sizes = dict(filterHeight=size, filterWidth=size, strideH=stride, strideW=stride)
    return options("Pool2DOptions", padding=padding, fusedActivationFunction=activation, **sizes)


def network(maker, source):
    """All operators over a picture (1, 11, 10, 3); returns the outputs."""
    m = maker
    keep = dict(scale=0.05, zero_point=-11)
    strided = conv_options(SAME, 2, RELU6)
    stem = m.layer("CONV_2D", source, "stem", [1, 6, 5, 8], [8, 3, 3, 3], 0, strided, 6 / 255, -128)
    dilated = depthwise_options(SAME, dilation=2)
    depthwise = m.layer("DEPTHWISE_CONV_2D", stem, "depthwise", [1, 6, 5, 8], [1, 3, 3, 8], 3, dilated, **keep)
    pads = m.settings("pad/sizes", [[0, 0], [1, 2], [0, 1], [0, 0]])
    padded = m.operator("PAD", [depthwise, pads], m.activation("padded", [1, 9, 6, 8], **keep), options("PadOptions"))
    inner = conv_options(VALID, activation=RELU)
    valid = m.layer("CONV_2D", padded, "valid", [1, 7, 4, 8], [8, 3, 3, 8], 0, inner, 0.07, -100, False)
    point = m.layer("CONV_2D", depthwise, "point", [1, 6, 5, 8], [8, 1, 1, 8], 0, conv_options(SAME), 0.04, 5)
    added = m.operator(
        "ADD", [point, depthwise], m.activation("added", [1, 6, 5, 8], 0.06, 3),
        options("AddOptions", fusedActivationFunction=RELU),
    )
    row = m.constant("row", [8], 0.02, 4)
    shifted = m.operator("ADD", [added, row], m.activation("shifted", [1, 6, 5, 8], 0.055, -9), options("AddOptions"))
    scaled = m.operator("MUL", [shifted, row], m.activation("scaled", [1, 6, 5, 8], 0.09, -20), options("MulOptions"))
    product = m.operator(
        "MUL", [scaled, point], m.activation("product", [1, 6, 5, 8], 0.11, 10),
        options("MulOptions", fusedActivationFunction=RELU6),
    )
    swish = m.activation("swish", [1, 6, 5, 8], 0.03, -60)
    m.operator("HARD_SWISH", [point], swish, options("HardSwishOptions"))
    gate = m.operator("LOGISTIC", [scaled], m.activation("gate", [1, 6, 5, 8], 1 / 256, -128))
    relu = m.operator("RELU", [scaled], m.activation("relu", [1, 6, 5, 8], 0.043, -128))
    relu6 = m.operator("RELU6", [scaled], m.activation("relu6", [1, 6, 5, 8], 6 / 255, -128))
    largest = m.operator(
        "MAX_POOL_2D", [depthwise], m.activation("largest", [1, 3, 3, 8], **keep), pool_options(SAME, 3, 2, RELU)
    )
    average = m.operator(
        "AVERAGE_POOL_2D", [depthwise], m.activation("average", [1, 3, 3, 8], **keep), pool_options(SAME, 3, 2)
    )
    joined = m.operator(
        "CONCATENATION", [largest, average, largest, average, largest], m.activation("joined", [1, 3, 3, 40], **keep),
        options("ConcatenationOptions", axis=-1),
    )
    turn = m.settings("turn/order", [0, 2, 1, 3])
    turned = m.operator("TRANSPOSE", [point, turn], m.activation("turned", [1, 5, 6, 8], 0.04, 5))
    bounds = [m.settings(f"cut/{name}", values) for name, values in (
        ("begin", [0, 1, -4, 0]), ("end", [1, 6, 5, 3]), ("strides", [1, 2, 1, 1]),
    )]
    cut = m.operator(
        "STRIDED_SLICE", [point, *bounds], m.activation("cut", [3, 4, 3], 0.04, 5),
        options("StridedSliceOptions", beginMask=8, endMask=4, shrinkAxisMask=1),
    )
    axes = m.settings("mean/axes", [1, 2])
    mean = m.operator(
        "MEAN", [point, axes], m.activation("mean", [1, 1, 1, 8], 0.0205, 7), options("ReducerOptions", keepDims=True)
    )
    rough = m.operator(
        "MEAN", [point, axes], m.activation("rough", [1, 1, 1, 8], 0.02, 7), options("ReducerOptions", keepDims=True)
    )
    flat = m.operator("MEAN", [added, axes], m.activation("flat", [1, 8], 0.031, -30), options("ReducerOptions"))
    squeezed = m.operator("SQUEEZE", [mean], m.activation("squeezed", [1, 8], 0.0205, 7), options("SqueezeOptions"))
    tall = m.settings("tall/shape", [1, -1])
    rows = m.operator("RESHAPE", [largest, tall], m.activation("rows", [1, 72], **keep), options("ReshapeOptions"))
    logits = m.layer(
        "FULLY_CONNECTED", rows, "logits", [1, 10], [10, 72], 0, options("FullyConnectedOptions"), 0.09, -5, False
    )
    odds = m.activation("odds", [1, 10], 1 / 256, -128)
    m.operator("SOFTMAX", [logits], odds, options("SoftmaxOptions", beta=1.0))
    return [odds, valid, product, swish, gate, relu, relu6, joined, turned, cut, rough, flat, squeezed]


def int8():
    """The quantised file: pictures in and a rescaled copy out as unsigned bytes."""
    m = Maker(True)
    picture = m.tensor("picture", [1, 11, 10, 3], "uint8", [1 / 128], [127])
    source = m.operator("QUANTIZE", [picture], m.activation("source", [1, 11, 10, 3], 1 / 128, -1))
    outputs = network(m, source)
    finer = m.operator("QUANTIZE", ["point"], m.tensor("finer", [1, 6, 5, 8], "uint8", [0.031], [120]))
    path = FOLDER / "tflite_int8.tflite"
    m.write(path, [picture], [*outputs, finer])
    command = [sys.executable, REFERENCE, path, path.with_suffix(".safetensors"), "--count", "4"]
    subprocess.run(command, check=True)


def floats():
    """The float file; its first weights are halves, its second bytes, as converters store them."""
    m = Maker(False)
    picture = m.activation("picture", [1, 11, 10, 3])
    halves = m.tensor("halves", [3, 1, 1, 3], "float16", data=random.normal(0, 1, (3, 1, 1, 3)).astype(np.float16))
    whole = m.operator("DEQUANTIZE", [halves], m.activation("whole", [3, 1, 1, 3]), options("DequantizeOptions"))
    first = m.operator("CONV_2D", [picture, whole, m.bias("bias", None, None, 3)],
                       m.activation("first", [1, 11, 10, 3]), conv_options(SAME))
    codes = random.integers(-127, 128, (3, 1, 1, 3)).astype(np.int8)
    stored = m.tensor("bytes", [3, 1, 1, 3], "int8", [0.01, 0.02, 0.03], [0] * 3, 0, codes)
    real = m.operator("DEQUANTIZE", [stored], m.activation("real", [3, 1, 1, 3]), options("DequantizeOptions"))
    source = m.operator("CONV_2D", [first, real, m.bias("bias2", None, None, 3)],
                        m.activation("source", [1, 11, 10, 3]), conv_options(SAME))
    outputs = network(m, source)
    path = FOLDER / "tflite_float.tflite"
    m.write(path, [picture], outputs)
    resolver = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    inputs = random.uniform(-1, 1, (2, 11, 10, 3)).astype(np.float32)
    tensors = {"input": inputs}
    for given in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given[None])
        interpreter.invoke()
        for details in interpreter.get_output_details():
            found = interpreter.get_tensor(details["index"]).ravel()
            tensors.setdefault(f"output.{details['name']}", []).append(found)
    tensors = {name: np.ascontiguousarray(arrays) for name, arrays in tensors.items()}
    save_file(tensors, path.with_suffix(".safetensors"))
    print(f"{path.name}: {len(outputs)} outputs")


def foreign():
    """A quantised file with what the graph cannot express."""
    m = Maker(True)
    size, wide = [1, 4, 4, 3], [1, 4, 4, 6]
    source = m.activation("source", size)
    plain = m.operator("RELU", [source], m.activation("plain", size))
    ceil = m.operator("CEIL", [plain], m.activation("ceil", size))
    double = m.layer(
        "DEPTHWISE_CONV_2D", ceil, "double", wide, [1, 3, 3, 6], 3, depthwise_options(SAME, multiplier=2), 0.05, 0
    )
    bounded = m.layer("CONV_2D", double, "bounded", size, [3, 1, 1, 6], 0, conv_options(SAME, activation=2), 0.05, 0)
    tanh = m.operator("TANH", [bounded], m.activation("tanh", size, 1 / 128))
    flex = m.operator("CUSTOM", [tanh], m.activation("erf", size), custom="FlexErf")
    own = m.operator("CUSTOM", [flex], m.activation("own", size), custom="Sharpen")
    m.write(FOLDER / "tflite_foreign.tflite", [source], [own])


def shared():
    """A quantised file whose layers all have the same weights."""
    m = Maker(True)
    source = m.activation("source", [1, 96])
    weights = m.weights("weights", [96, 96], 0, 96, False)
    layers = [m.activation(f"layer{index}", [1, 96]) for index in range(150)]
    for layer in layers:
        m.operator("FULLY_CONNECTED", [source, weights], layer, options("FullyConnectedOptions"))
    m.write(FOLDER / "tflite_shared.tflite", [source], layers)


if __name__ == "__main__":
    int8()
    shared()
    foreign()
    floats()
