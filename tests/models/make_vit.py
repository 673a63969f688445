"""Makes ONNX files of the image towers of TinyCLIP ViT-8M/16 and open_clip ViT-B-32, with seeded random weights.

    python tests/models/make_vit.py FOLDER

Needs numpy and onnx (tried with 2.4 and 1.23). The nodes are those that PyTorch's exporter writes for open_clip's
`VisionTransformer` (opset 17): a patch convolution, class token, positions, `ln_pre`, blocks of fused queries, keys and
values with QuickGELU, `ln_post` of the class token, the projection. Weights have the deviations of open_clip's
initialisation, widened so that attention attends and channels differ, as training makes them.
"""

import pathlib
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

# Name: width, layers, heads, patch, dimensions of the embedding.
SHAPES = {
    "tinyclip-vit-8m-16": (256, 10, 4, 16, 512),
    "open-clip-vit-b-32": (768, 12, 12, 32, 512),
}
SIDE = 224


class Tower:
    """Nodes and weights in the making."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, name, *shape, scale):
        return self.constant(name, (self.random.standard_normal(shape) * scale).astype(np.float32))

    def ints(self, *values):
        return self.constant(f"ints_{len(self.initializers)}", np.array(values, dtype=np.int64))

    def number(self, value):
        return self.constant(f"number_{len(self.initializers)}", np.float32(value))

    def add(self, name, op, *inputs, **attributes):
        name = f"/{name}/{op}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_output"], name=name, **attributes))
        return f"{name}_output"

    def linear(self, name, x, out, inner, scale):
        weight = self.weight(f"{name}.weight", inner, out, scale=scale)
        product = self.add(name, "MatMul", x, weight)
        return self.add(name, "Add", self.weight(f"{name}.bias", out, scale=0.1), product)

    def layer_norm(self, name, x, width):
        # Trained gammas are far from equal; some channels stand out.
        gamma = np.exp(self.random.standard_normal(width) * 0.5).astype(np.float32)
        gamma[self.random.integers(0, width, 3)] *= 6
        beta = self.weight(f"{name}.bias", width, scale=0.2)
        return self.add(name, "LayerNormalization", x, self.constant(f"{name}.weight", gamma), beta, axis=-1, epsilon=1e-5)

    def block(self, name, x, width, heads, tokens, layers):
        d = width // heads
        y = self.layer_norm(f"{name}.ln_1", x, width)
        y = self.linear(f"{name}.attn.in_proj", y, 3 * width, width, 1.5 * width**-0.5)
        y = self.add(f"{name}.attn.split", "Reshape", y, self.ints(1, tokens, 3, heads, d))
        y = self.add(f"{name}.attn.turn", "Transpose", y, perm=[2, 0, 3, 1, 4])
        zero, one, two = (self.constant(f"{name}.index_{i}", np.int64(i)) for i in range(3))
        q, k, v = (self.add(f"{name}.attn.{part}", "Gather", y, index, axis=0) for part, index in zip("qkv", (zero, one, two)))
        q = self.add(f"{name}.attn.scale", "Mul", q, self.number(d**-0.5))
        k = self.add(f"{name}.attn.keys", "Transpose", k, perm=[0, 1, 3, 2])
        y = self.add(f"{name}.attn", "Softmax", self.add(f"{name}.attn.scores", "MatMul", q, k), axis=-1)
        y = self.add(f"{name}.attn.merge", "Transpose", self.add(f"{name}.attn.mix", "MatMul", y, v), perm=[0, 2, 1, 3])
        y = self.add(f"{name}.attn.join", "Reshape", y, self.ints(1, tokens, width))
        y = self.linear(f"{name}.attn.out_proj", y, width, width, (2 * layers * width) ** -0.5 * 2)
        x = self.add(f"{name}.sum_1", "Add", x, y)
        y = self.layer_norm(f"{name}.ln_2", x, width)
        y = self.linear(f"{name}.mlp.c_fc", y, 4 * width, width, width**-0.5)
        gate = self.add(f"{name}.mlp.gate", "Sigmoid", self.add(f"{name}.mlp.gelu", "Mul", y, self.number(1.702)))
        y = self.add(f"{name}.mlp.gated", "Mul", y, gate)
        y = self.linear(f"{name}.mlp.c_proj", y, width, 4 * width, (2 * layers * width) ** -0.5)
        return self.add(f"{name}.sum_2", "Add", x, y)


def make(path, seed, width, layers, heads, patch, dimensions):
    tower = Tower(seed)
    rows = SIDE // patch
    tokens = rows * rows + 1
    patches = tower.weight("conv1.weight", width, 3, patch, patch, scale=2 / (patch * 3**0.5))
    x = tower.add("conv1", "Conv", "image", patches, kernel_shape=[patch] * 2, strides=[patch] * 2)
    x = tower.add("flat", "Reshape", x, tower.ints(1, width, -1))
    x = tower.add("tokens", "Transpose", x, perm=[0, 2, 1])
    token = tower.weight("class_embedding", 1, 1, width, scale=0.5)
    x = tower.add("class", "Concat", token, x, axis=1)
    x = tower.add("positions", "Add", x, tower.weight("positional_embedding", tokens, width, scale=0.3))
    x = tower.layer_norm("ln_pre", x, width)
    for index in range(layers):
        x = tower.block(f"resblocks.{index}", x, width, heads, tokens, layers)
    x = tower.add("pool", "Gather", x, tower.constant("first", np.int64(0)), axis=1)
    x = tower.layer_norm("ln_post", x, width)
    x = tower.add("proj", "MatMul", x, tower.weight("proj", width, dimensions, scale=width**-0.5))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    embedding = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", dimensions])
    graph = helper.make_graph(tower.nodes, path.stem, [image], [embedding], tower.initializers)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="make_vit.py")
    path.write_bytes(model.SerializeToString())
    print(path)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, shape) in enumerate(SHAPES.items()):
        path = folder / f"{name}.onnx"
        if not path.exists():
            make(path, seed + 1, *shape)


if __name__ == "__main__":
    main()
