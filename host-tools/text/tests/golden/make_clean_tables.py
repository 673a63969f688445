#!/usr/bin/env python3
"""Writes the tables of the text cleaning: src/clean/tables.rs and src/clean/html_entities.txt.

The character classes of mojibake are asked of PyPI `ftfy`, one code point at a time; the single-byte encodings and the
entities of HTML 5 are those of Python.

    pip install ftfy==6.3.1
    python3 host-tools/text/tests/golden/make_clean_tables.py
"""

import html.entities
import pathlib
import re

from ftfy.badness import MOJIBAKE_CATEGORIES
from ftfy.chardata import CHARMAP_ENCODINGS, UTF8_CLUES

SRC = pathlib.Path(__file__).parents[2] / "src/clean"


def class_ranges(body):
    """The members of a character class, as the body of one in the syntax of the Rust crate `regex`."""
    belongs = re.compile(f"[{body}]").match
    found = []
    for code in range(0x10000):
        if 0xD800 <= code < 0xE000 or not belongs(chr(code)):
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    one = r"\u{{{:x}}}".format
    return "".join(one(a) if a == b else f"{one(a)}-{one(b)}" for a, b in found)


def wrapped(ranges, width=96):
    parts, line = [], ""
    for part in re.findall(r"\\u\{[0-9a-f]+\}(?:-\\u\{[0-9a-f]+\})?", ranges):
        if len(line) + len(part) > width:
            parts.append(line)
            line = ""
        line += part
    return "\\\n    ".join(parts + [line])


def class_constant(name, body):
    return f'pub(super) const {name.upper()}: &str = "\\\n    {wrapped(class_ranges(body))}";\n'


def charmap(encoding):
    name = encoding.removeprefix("sloppy-")
    is_sloppy = encoding != name
    codes = [ord(bytes([byte]).decode(encoding)) for byte in range(0x80, 0x100)]
    rows = [", ".join(f"0x{code:04x}" for code in codes[at : at + 16]) for at in range(0, 128, 16)]
    table = "".join(f"            {row},\n" for row in rows)
    return (
        f'    Charmap {{\n        name: "{name}",\n        is_sloppy: {str(is_sloppy).lower()},\n'
        f"        upper: [\n{table}        ],\n    }},\n"
    )


head = """//! Encodings and character classes that mojibake is known by.
//!
//! Written by `tests/golden/make_clean_tables.py` from PyPI `ftfy` 6.3.1 (Robyn Speer, Apache-2.0) and Python's codecs.
//! Not edited by hand.

use super::charmap::Charmap;

"""
parts = [head]
for name, body in MOJIBAKE_CATEGORIES.items():
    parts.append(class_constant(name, body))
for name, body in UTF8_CLUES.items():
    parts.append(class_constant(name, body))
charmaps = "".join(charmap(encoding) for encoding in CHARMAP_ENCODINGS)
parts.append(
    "\n/// In the order in which they are tried.\n#[rustfmt::skip]\n"
    f"pub(super) const CHARMAPS: [Charmap; {len(CHARMAP_ENCODINGS)}] = [\n{charmaps}];\n"
)
(SRC / "tables.rs").write_text("".join(parts))
entities = sorted(html.entities.html5.items())
(SRC / "html_entities.txt").write_text(
    "".join(f"{name}\t{' '.join(f'{ord(c):x}' for c in chars)}\n" for name, chars in entities)
)
