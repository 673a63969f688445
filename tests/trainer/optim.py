#!/usr/bin/env python3
"""Writes steps of PyTorch's AdamW with clipped gradients, rates by layer and a moving average of parameters.

usage: optim.py FILE             such as host-tools/trainer/tests/golden/optim.safetensors

Needs torch 2.15, timm 1.0, safetensors and numpy (from PyPI).

Three layers of two parameters each and a head, in double precision; for every STEP from 0 and PARAMETER from 0:
  settings                        f32: learning rate, decay of weights, decay of rates, limit of the norm, decay of the average
  layers                          i32: the layer of each parameter
  rates                           f32: the share of the learning rate of each layer, as timm computes it
  PARAMETER:start                 f32
  STEP:PARAMETER:gradient         f32, before clipping
  STEP:norm                       f32, of all gradients
  STEP:PARAMETER:value, :average  f32, after the step
"""

import sys

import numpy as np
import timm.optim
import torch
from safetensors.numpy import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

RATE, WEIGHT_DECAY, LAYER_DECAY, LIMIT, EMA_DECAY = 0.01, 0.1, 0.65, 1.5, 0.9
WIDTHS, STEPS = (3, 4, 5, 2, 3), 6


class Network(torch.nn.Module):
    """Layers as timm groups them: an embedding, blocks, a head."""

    def __init__(self):
        super().__init__()
        pairs = list(zip(WIDTHS, WIDTHS[1:]))
        self.embed = torch.nn.Linear(*pairs[0])
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairs[1:-1])
        self.head = torch.nn.Linear(*pairs[-1])

    def group_matcher(self, coarse=False):
        return {"stem": r"^embed", "blocks": [(r"^blocks\.(\d+)", None), (r"^head", None)]}


def f32(x):
    return x.detach().numpy().astype(np.float32)


def main():
    rng = np.random.default_rng(21)
    network = Network().double()
    parameters = list(network.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.tensor(rng.standard_normal(parameter.shape).astype(np.float32)))
    groups = timm.optim.param_groups_layer_decay(network, WEIGHT_DECAY, layer_decay=LAYER_DECAY)
    layer_of, scale_of = {}, {}
    for group in groups:
        for parameter in group["params"]:
            scale_of[id(parameter)] = group["lr_scale"]
    scales = sorted(set(scale_of.values()))
    for parameter in parameters:
        layer_of[id(parameter)] = scales.index(scale_of[id(parameter)])
    # The rule of timm for biases, no decay, is the caller's here: all decay alike.
    optimiser = torch.optim.AdamW(
        [{"params": [p], "lr": RATE * scale_of[id(p)], "weight_decay": WEIGHT_DECAY} for p in parameters]
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    average.update_parameters(network)
    out = {
        "settings": np.array([RATE, WEIGHT_DECAY, LAYER_DECAY, LIMIT, EMA_DECAY], np.float32),
        "layers": np.array([layer_of[id(p)] for p in parameters], np.int32),
        "rates": np.array(scales, np.float32),
    }
    out |= {f"{index}:start": f32(p).ravel() for index, p in enumerate(parameters)}
    for step in range(STEPS):
        # Every other norm is below the limit.
        size = 0.05 if step % 2 else 1.0
        for index, parameter in enumerate(parameters):
            gradient = (size * rng.standard_normal(parameter.shape)).astype(np.float32)
            parameter.grad = torch.tensor(gradient, dtype=torch.float64)
            out[f"{step}:{index}:gradient"] = gradient.ravel()
        norm = torch.nn.utils.clip_grad_norm_(parameters, LIMIT)
        optimiser.step()
        average.update_parameters(network)
        out[f"{step}:norm"] = np.array([norm.item()], np.float32)
        for index, (value, mean) in enumerate(zip(parameters, average.module.parameters())):
            out[f"{step}:{index}:value"] = f32(value).ravel()
            out[f"{step}:{index}:average"] = f32(mean).ravel()
    save_file(out, sys.argv[1])
    print(f"{STEPS} steps of {len(parameters)} parameters, rates {scales}")


if __name__ == "__main__":
    main()
