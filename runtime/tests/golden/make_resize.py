"""Writes golden pictures for runtime/tests/resize.rs: Pillow's bicubic resize, torchvision's size rule and centre crop.

Pillow resizes horizontally first. From Pillow 13 on it starts with the vertical pass where the height shrinks much more
than the width, which changes some samples of pictures about twice as high as wide. The encoders were trained before that,
and one order for all pictures is simpler to stream, so the two passes are asked for one by one here; up to Pillow 12 this is what
one call gives.

    python make_resize.py resize.bin                    the committed cases
    python make_resize.py more.bin 300 SEED        300 random cases; read with PINHOLE_RESIZE_GOLDEN=more.bin

Record: six little-endian u16 (pattern, source width, source height, resize_shorter, width, height), then
height * width * 3 bytes. The source picture is made from the pattern by both sides. Needs numpy, Pillow, torchvision;
the committed file was made with Pillow 13.0.0 and torchvision 0.29.2.
"""

import random
import struct
import sys

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop
from torchvision.transforms.functional import _compute_resized_output_size

NOISE, GRADIENT, CHECKER = range(3)

# (pattern, source width, source height, resize_shorter, width, height)
CASES = [
    (NOISE, 64, 48, 24, 24, 24),
    (NOISE, 640, 480, 32, 28, 28),
    (NOISE, 320, 240, 36, 32, 24),
    (NOISE, 32, 32, 64, 48, 48),
    (NOISE, 31, 17, 24, 21, 23),
    (NOISE, 17, 31, 23, 22, 21),
    (NOISE, 24, 24, 24, 24, 24),
    (NOISE, 27, 24, 24, 24, 24),
    (NOISE, 1, 40, 16, 16, 16),
    (NOISE, 40, 1, 16, 16, 16),
    (NOISE, 1, 1, 8, 8, 8),
    (NOISE, 2, 2, 9, 8, 8),
    (NOISE, 3, 200, 3, 3, 3),
    (NOISE, 1000, 777, 9, 8, 8),
    (NOISE, 50, 182, 14, 26, 15),
    (NOISE, 182, 50, 14, 26, 15),
    (NOISE, 10, 12, 6, 16, 12),
    (GRADIENT, 100, 75, 40, 36, 36),
    (GRADIENT, 9, 14, 32, 28, 28),
    (CHECKER, 90, 70, 33, 32, 32),
    (CHECKER, 30, 40, 41, 40, 40),
]


def source(pattern, width, height):
    count = width * height * 3
    if pattern == NOISE:
        # The state after n steps of x -> a x + c, all at once: x_n = a^n x_0 + c (1 + a + ... + a^(n-1)) mod 2^32.
        a = np.full(count, 1664525, np.uint32)
        powers = np.cumprod(a, dtype=np.uint32)
        sums = np.cumsum(np.concatenate([[np.uint32(1)], powers[:-1]]), dtype=np.uint32)
        seed = np.uint32((width * 65536 + height) % 2**32)
        flat = ((powers * seed + sums * np.uint32(1013904223)) >> np.uint32(24)).astype(np.uint8)
        return flat.reshape(height, width, 3)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    if pattern == GRADIENT:
        return ((x * (c + 1) + y * 2 + c * 40) % 256).astype(np.uint8)
    return np.where((x // 3 + y // 3 + c) % 2 == 0, 255, 0).astype(np.uint8)


def random_case(rng):
    side = rng.choice([8, 40, 300, 900])
    return (
        rng.randrange(3),
        rng.randint(1, side),
        rng.randint(1, side),
        rng.randint(1, 64),
        rng.randint(1, 64),
        rng.randint(1, 64),
    )


def main():
    cases = CASES
    if len(sys.argv) > 2:
        rng = random.Random(int(sys.argv[3]))
        cases = [random_case(rng) for _ in range(int(sys.argv[2]))]
    with open(sys.argv[1], "wb") as out:
        for case in cases:
            pattern, source_width, source_height, shorter, width, height = case
            picture = Image.fromarray(source(pattern, source_width, source_height))
            # (height, width)
            resized = _compute_resized_output_size((source_height, source_width), [shorter])
            picture = picture.resize((resized[1], source_height), Image.BICUBIC)
            picture = picture.resize((resized[1], resized[0]), Image.BICUBIC)
            picture = CenterCrop((height, width))(picture)
            out.write(struct.pack("<6H", *case) + np.asarray(picture).tobytes())


main()
