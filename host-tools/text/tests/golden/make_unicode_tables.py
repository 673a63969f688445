#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.rs: the character classes of the reference BERT tokenizer.

The reference (PyPI `tokenizers`) carries the classes of Unicode 8, older than those of this language's newest
libraries, so they are asked of it, one code point at a time, rather than taken from a newer standard.

    pip install tokenizers==0.23.3
    python3 host-tools/text/tests/golden/make_unicode_tables.py
"""

import pathlib

from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

OFF = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
clean = BertNormalizer(**{**OFF, "clean_text": True})
cjk = BertNormalizer(**{**OFF, "handle_chinese_chars": True})
accents = BertNormalizer(**{**OFF, "strip_accents": True})
nfd, punctuation = NFD(), BertPreTokenizer()


def is_dropped(c):
    return clean.normalize_str(f"a{c}b") == "ab"


def is_cjk(c):
    return cjk.normalize_str(f"a{c}b") == f"a {c} b"


def is_accent(c):
    return nfd.normalize_str(c) == c and accents.normalize_str(c) == ""


def is_punctuation(c):
    return [word for word, _ in punctuation.pre_tokenize_str(f"a{c}b")] == ["a", c, "b"]


def ranges(belongs):
    found = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or not belongs(chr(code)):
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(name, summary, belongs):
    found = ranges(belongs)
    lines = [f"/// {summary}", "#[rustfmt::skip]", f"pub(super) const {name}: [(u32, u32); {len(found)}] = ["]
    for at in range(0, len(found), 5):
        lines.append("    " + " ".join(f"(0x{a:04x}, 0x{b:04x})," for a, b in found[at : at + 5]))
    return "\n".join(lines + ["];", ""])


PARTS = [
    """//! Character classes of the reference BERT tokenizer, as inclusive ranges of code points in ascending order.
//!
//! Written by `tests/golden/make_unicode_tables.py`, which asks the reference about each code point
//! (Unicode Standard, chapter 4, general categories C, Mn and P as of version 8). Not edited by hand.
""",
    table("DROPPED", "Control, format and private-use characters, NUL and U+FFFD: `clean_text` removes them.", is_dropped),
    table("CJK", "Ideographs: `handle_chinese_chars` sets a space on both sides.", is_cjk),
    table("ACCENTS", "Nonspacing marks that canonical decomposition leaves: `strip_accents` removes them.", is_accent),
    table("PUNCTUATION", "Each of these is a word of its own.", is_punctuation),
]
out = pathlib.Path(__file__).parents[2] / "src/tokenizer/unicode_tables.rs"
out.write_text("\n".join(PARTS))
