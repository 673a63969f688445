#!/usr/bin/env python3
"""A training step of Pinhole beside PyTorch's, of the same networks, in one run.

    pip install torch torchvision open_clip_torch onnx onnxscript pillow
    cargo build --release -p pinhole
    python3 tests/peers/training.py target/peers-training
    python3 tests/peers/training.py target/peers-training --only vit --threads 1 --json

Two pairs of encoders learn CLIP's loss on random pictures with captions of random words, batch 64, f32, forward, backward and
AdamW:

    vit        96 px, patch 8, width 192, 6 layers; text: width 192, 4 layers, 32 tokens
    mobilenet  MobileNetV2 at 96 px with its batch normalisation folded, and the same text encoder

Pinhole trains them as users do: `pinhole train` on a recipe, with what it takes to decode pictures; from a run of few steps
and one of more, the CPU time of a step. PyTorch's network is open_clip's CLIP, of the MobileNet torchvision's, on tensors that
are there already. Both are processes of their own with as many threads, and take turns; the median of the turns is shown. CPU
time is that of all threads. PyTorch's spin while they wait, and other work on the machine makes them wait: run it alone. The
ratio is Pinhole's time divided by PyTorch's: below 1, Pinhole is faster. Peak memory is the largest resident set.
"""
import argparse
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE, BATCH, WIDTH, WORDS, TOKENS = 96, 64, 192, 4000, 32
# Steps of the short and the long run whose difference is told.
SHORT, LONG = 1, 5
CONFIG = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIDE, "patch_size": 8, "width": WIDTH, "layers": 6, "head_width": 64},
    "text_cfg": {"context_length": TOKENS, "vocab_size": 4096, "width": WIDTH, "heads": 3, "layers": 4},
}
RECIPE = """version = 2
name = "step"
seed = 1
[image]
graph = "{name}.phg"
{embedding}
[text]
new = {{ layers = 4, width = 192, heads = 3, max_tokens = 32 }}
[[data.train]]
kind = "table"
path = "captions.csv"
[data]
threads = {threads}
[loss]
clip = 1.0
[optimiser]
steps = {steps}
batch = {batch}
learning_rate = 1e-4
[output]
folder = "{name}"
log_every = 1000
checkpoint_every = 1000
evaluate_every = 1000
"""


def clip():
    """open_clip's pair, with seeded weights."""
    import open_clip
    import torch

    torch.manual_seed(1)
    return open_clip.CLIP(**CONFIG, output_dict=False)


def mobilenet():
    """torchvision's MobileNetV2 up to its pooled features, each normalisation folded into the convolution before it."""
    import torch
    import torchvision
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    torch.manual_seed(1)
    network = torchvision.models.mobilenet_v2().eval()

    def fold(module):
        before = None
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(getattr(module, before), child))
                setattr(module, name, torch.nn.Identity())
            else:
                fold(child)
            before = name

    fold(network)
    return torch.nn.Sequential(network.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def prepare(folder, pinhole):
    """Pictures with captions, and the graphs that Pinhole trains, where they are not there yet."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "mobilenet.phg").is_file():
        return
    chance = random.Random(1)
    lines = ["path,caption"]
    for index in range(BATCH * LONG):
        pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        words = " ".join(f"{chance.choice('bdfgklmnprstvz')}{chance.randrange(WORDS)}" for _ in range(TOKENS - 2))
        lines.append(f"{index}.png,{words}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    checkpoint = folder / "clip"
    checkpoint.mkdir(exist_ok=True)
    save_file(clip().state_dict(), checkpoint / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (checkpoint / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}))
    image = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(mobilenet(), (image,), folder / "mobilenet.onnx", opset_version=18, dynamo=False,
                      input_names=["image"], output_names=["embedding"])
    for source, graph in ((checkpoint, "vit"), (folder / "mobilenet.onnx", "mobilenet")):
        subprocess.run([pinhole, "import", source, "--out", folder / f"{graph}.phg"], check=True, stdout=subprocess.DEVNULL)


def children(command, environment=None):
    """CPU seconds of a command, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr.strip()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def of_pinhole(folder, name, threads, pinhole):
    """CPU seconds of a step, and the peak in MB."""
    seconds, peaks = [], []
    for steps in (SHORT, LONG):
        embedding = f"embedding = {WIDTH}" if name == "mobilenet" else ""
        recipe = folder / f"{name}-{steps}.toml"
        recipe.write_text(RECIPE.format(name=name, embedding=embedding, threads=threads, steps=steps, batch=BATCH))
        measured = [sys.executable, "-c", "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
                    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"]
        command = [*measured, pinhole, "train", recipe, "--inputs", folder, "--output", folder / f"{name}-{steps}", "--json"]
        taken, printed = children(command, {"RAYON_NUM_THREADS": str(threads)})
        seconds.append(taken)
        peaks.append(int(printed.split()[-1]) / 1024)
    return (seconds[1] - seconds[0]) / (LONG - SHORT), max(peaks)


def of_pytorch(folder, name, threads):
    command = [sys.executable, __file__, folder, "--only", name, "--threads", threads, "--worker"]
    _, printed = children(command, {"OMP_NUM_THREADS": str(threads)})
    seconds, peak = printed.split()
    return float(seconds), float(peak)


def worker(name, threads):
    """PyTorch's own process: prints CPU seconds of a step and its peak in MB."""
    import torch
    from open_clip.loss import ClipLoss

    torch.set_num_threads(threads)
    pair = clip()
    image = mobilenet() if name == "mobilenet" else None
    head = torch.nn.Linear(1280, WIDTH) if image else None
    parameters = [p for n, p in pair.named_parameters() if image is None or not n.startswith("visual.")]
    for more in filter(None, (image, head)):
        parameters += more.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    loss = ClipLoss()
    pictures = torch.randn(BATCH, 3, SIDE, SIDE)
    ids = torch.randint(1, 4000, (BATCH, TOKENS))
    ids[:, -1] = 4095

    def step():
        optimiser.zero_grad()
        if image is None:
            pictures_, texts, scale = pair(pictures, ids)
        else:
            pictures_ = torch.nn.functional.normalize(head(image(pictures)), dim=-1)
            texts, scale = pair.encode_text(ids, normalize=True), pair.logit_scale.exp()
        loss(pictures_, texts, scale).backward()
        optimiser.step()

    def used():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    step()
    before = used()
    for _ in range(LONG - SHORT):
        step()
    print((used() - before) / (LONG - SHORT), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--only", choices=["vit", "mobilenet"])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--pinhole", default=ROOT / "target/release/pinhole")
    options.add_argument("--json", action="store_true")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.worker:
        return worker(options.only, options.threads)
    prepare(options.folder, options.pinhole)
    rows = []
    for name in [options.only] if options.only else ["vit", "mobilenet"]:
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(of_pinhole(options.folder, name, options.threads, options.pinhole))
            theirs.append(of_pytorch(options.folder, name, options.threads))
        (seconds, peak), (torch_seconds, torch_peak) = (tuple(map(statistics.median, zip(*of))) for of in (ours, theirs))
        rows.append({"network": name, "threads": options.threads, "pinhole_cpu_s": seconds, "pytorch_cpu_s": torch_seconds,
                     "ratio": seconds / torch_seconds, "pinhole_peak_mb": peak, "pytorch_peak_mb": torch_peak})
    if options.json:
        return print(json.dumps(rows))
    print("| Network | Pinhole, CPU s a step | PyTorch | ratio | peak, MB: Pinhole | PyTorch |\n|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(f"| {row['network']} | {row['pinhole_cpu_s']:.2f} | {row['pytorch_cpu_s']:.2f} | {row['ratio']:.2f} "
              f"| {row['pinhole_peak_mb']:.0f} | {row['pytorch_peak_mb']:.0f} |")


if __name__ == "__main__":
    main()
