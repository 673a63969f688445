#!/usr/bin/env python3
"""Writes torch_zip.pth and torch_legacy.pth: one small state dict in both containers of torch.save.

usage: make_torch_files.py FOLDER

Needs torch. The dict has a transposed view, a parameter, two views of one storage, a scalar integer, halves, and the wrapper of a
training script, which are what real checkpoints bring.
"""

import collections
import pathlib
import sys

import torch

folder = pathlib.Path(sys.argv[1])
shared = torch.arange(12, dtype=torch.float32)
net = torch.nn.Linear(2, 2)
with torch.no_grad():
    net.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    net.bias.copy_(torch.tensor([5.0, 6.0]))
state = collections.OrderedDict(
    transposed=shared.view(3, 4).t(),
    tail=shared[8:],
    parameter=torch.nn.Parameter(torch.tensor([0.5])),
    steps=torch.tensor(7),
    half=torch.tensor([1.5, -2.0], dtype=torch.float16),
    brain=torch.tensor([3.0], dtype=torch.bfloat16),
    empty=torch.zeros(0, 3),
)
state.update({f"fc.{key}": value for key, value in net.state_dict().items()})
checkpoint = {"state_dict": state, "epoch": 3, "loss": 0.25, "name": "tiny", "done": True}
torch.save(checkpoint, folder / "torch_zip.pth")
torch.save(checkpoint, folder / "torch_legacy.pth", _use_new_zipfile_serialization=False)
