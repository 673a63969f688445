"""Golden values of TFLite's double-rounding requantisation, from Python's unbounded integers.

Writes requantize.txt: x, multiplier, shift, result. Only cases in which TFLite's C++ does not overflow.
    python3 make_requantize.py > requantize.txt
"""

import random
from fractions import Fraction
from math import floor


def half_up(value):
    return floor(value + Fraction(1, 2))


def half_away(value):
    return half_up(value) if value >= 0 else -half_up(-value)


def requantize(x, multiplier, shift):
    high = half_up(Fraction(x * 2 ** max(shift, 0) * multiplier, 2**31))
    high = min(high, 2**31 - 1)
    return half_away(Fraction(high, 2 ** max(-shift, 0)))


random.seed(1)
edges = [0, 1, -1, 2, -2, 127, -128, 2**30, -(2**30), 2**31 - 1, -(2**31), 2**31 - 2, 1 - 2**31]
multipliers = [0, 2**30, 2**30 + 1, 2**31 - 1, 1518500250]
cases = [(x, m, s) for x in edges for m in multipliers for s in (-31, -30, -17, -8, -2, -1, 0)]
for _ in range(600):
    x = random.getrandbits(random.randint(1, 31)) * random.choice((1, -1))
    s = random.randint(-31, 30)
    cases.append((x, random.randint(2**30, 2**31 - 1), s))
# Products that end exactly on a half, on both sides of zero.
for s in range(-12, 0):
    for odd in (1, 3, 5, 77, -1, -3, -5, -77):
        cases.append((odd * 2**-s, 2**30, s))
for x, m, s in cases:
    if -(2**31) <= x * 2 ** max(s, 0) < 2**31:
        print(x, m, s, requantize(x, m, s))
