#!/usr/bin/env python3
"""Writes what open_clip's attention pooler and multimodal decoder give, and their gradients.

usage: coca.py FILE              such as host-tools/trainer/tests/golden/coca.safetensors

Needs open_clip_torch 3.3, torch 2.15, safetensors and numpy (from PyPI).

Two cases, `other` where tokens of pictures are of another width than those of texts and `same` where they are not:
  CASE:settings              i32: width, heads, layers, queries, width of a picture's tokens, tokens of the vocabulary
  CASE:pictures              f32 (n, positions, context)
  CASE:texts                 f32 (n, t, width)
  CASE:weight:NAME           f32, as open_clip names it
  CASE:logits                f32 (n, t, vocabulary)
  CASE:gradient:NAME         f32, of the sum over logits times CASE:factors
  CASE:gradient:pictures, CASE:gradient:texts
"""

import sys

import numpy as np
import torch
from open_clip.transformer import AttentionalPooler, LayerNorm, MultimodalTransformer
from safetensors.numpy import save_file

N, POSITIONS, T, WIDTH, HEADS, LAYERS, QUERIES, VOCABULARY = 2, 5, 4, 8, 2, 2, 3, 7


def f32(tensor):
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))


def case(name, context, rng):
    def random(*shape):
        return torch.tensor(rng.standard_normal(shape).astype(np.float32).astype(np.float64))

    pooler = AttentionalPooler(WIDTH, context, n_head=HEADS, n_queries=QUERIES).double()
    norm = LayerNorm(WIDTH).double()
    decoder = MultimodalTransformer(WIDTH, LAYERS, HEADS, context_length=T, output_dim=VOCABULARY).double()
    weights = {f"visual.attn_pool.{key}": value for key, value in pooler.named_parameters()}
    weights |= {f"visual.ln_post.{key}": value for key, value in norm.named_parameters()}
    weights |= {f"text_decoder.{key}": value for key, value in decoder.named_parameters()}
    with torch.no_grad():
        for value in weights.values():
            value.copy_(0.4 * random(*value.shape) + (1.0 if value.ndim == 1 else 0.0))
    pictures, texts = random(N, POSITIONS, context), random(N, T, WIDTH)
    inputs = {"pictures": pictures.requires_grad_(), "texts": texts.requires_grad_()}
    logits = decoder(norm(pooler(pictures)), texts)
    factors = random(*logits.shape)
    (logits * factors).sum().backward()
    out = {
        f"{name}:settings": np.array([WIDTH, HEADS, LAYERS, QUERIES, context, VOCABULARY], np.int32),
        f"{name}:logits": f32(logits),
        f"{name}:factors": f32(factors),
    }
    out |= {f"{name}:{key}": f32(value) for key, value in inputs.items()}
    # open_clip leaves some weights unused, such as its own text projection where there is another.
    used = {key: value for key, value in weights.items() if value.grad is not None}
    out |= {f"{name}:weight:{key}": f32(value) for key, value in used.items()}
    out |= {f"{name}:gradient:{key}": f32(value.grad) for key, value in (used | inputs).items()}
    return out


def main():
    rng = np.random.default_rng(11)
    out = case("other", 6, rng) | case("same", WIDTH, rng)
    save_file(out, sys.argv[1])
    print(f"{len(out)} tensors")


if __name__ == "__main__":
    main()
