#!/usr/bin/env python3
"""Writes lines of mixed text, one JSON string a line: the same bytes on every run.

    make_texts.py OPEN_CLIP_FOLDER COUNT > texts.jsonl

Sources: class names in 93 languages, templates and sentences of PyPI `clip-benchmark` 1.6.2; the source code of
`open_clip_torch` 3.3.0, unpacked in OPEN_CLIP_FOLDER; the rest is generated from a seed. Code points are those that
Python 3.11 knows (Unicode 14), before and after cleaning, since each reference follows a version of Unicode of its own.
"""

import html
import html.entities
import json
import pathlib
import random
import sys
import unicodedata

import clip_benchmark.datasets
import ftfy
from ftfy.chardata import CHARMAP_ENCODINGS

rng = random.Random(20_240_917)
DATA = pathlib.Path(clip_benchmark.datasets.__path__[0])
read = lambda name: json.loads((DATA / name).read_text("utf-8"))
SENTENCES = sorted(
    {
        s
        for group in read("cupl_prompts.json").values()
        for s in (group if isinstance(group, list) else sum(group.values(), []))
    }
)
BABEL = read("babel_imagenet.json")
LANGUAGES = sorted(BABEL)
TEMPLATES = [
    t
    for name in ("en", "ar", "cn", "it")
    for group in sorted(read(f"{name}_zeroshot_classification_templates.json").items())
    for t in (group[1] if isinstance(group[1], list) else [])
]
CODE = [
    line
    for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.py"))
    for line in path.read_text("utf-8").splitlines()
    if line.strip()
]
ENTITIES = sorted(html.entities.html5)
SPECIALS = """
<start_of_text> <end_of_text> <|startoftext|> <|endoftext|> [CLS] [SEP] [MASK] [UNK] [PAD]
</s> <s> <unk> <pad> <bos> <eos> <0x41> ▁ </w> ##s <extra_id_0>
""".split()
BLOCKS = [
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x250, 0x36F),
    (0x370, 0x52F),
    (0x530, 0x6FF),
    (0x700, 0x8FF),
    (0x900, 0xDFF),
    (0xE00, 0x12FF),
]
BLOCKS += [
    (0x1300, 0x1CFF),
    (0x1D00, 0x1FFF),
    (0x2000, 0x2BFF),
    (0x2C00, 0x30FF),
    (0x3100, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xABFF),
]
BLOCKS += [
    (0xAC00, 0xD7FF),
    (0xF900, 0xFFFD),
    (0x10000, 0x10FFF),
    (0x11000, 0x12FFF),
    (0x1D000, 0x1FAFF),
    (0x20000, 0x2A6DF),
    (0xE0000, 0xE01EF),
]


def is_known(c):
    return unicodedata.category(c) not in ("Cn", "Cs")


def known(low, high):
    while True:
        c = chr(rng.randint(low, high))
        if is_known(c):
            return c


def stays_known(text):
    """Whether what the cleaning makes of a text, mojibake above all, is known too."""
    cleaned = html.unescape(html.unescape(ftfy.fix_text(text)))
    return all(map(is_known, text)) and all(map(is_known, cleaned))


def foreign():
    names = BABEL[rng.choice(LANGUAGES)]
    name = rng.choice(names[1])
    return rng.choice(name) if isinstance(name, list) else name


def sentence():
    return rng.choice(SENTENCES)


def prompt():
    template = rng.choice(TEMPLATES)
    return template.replace("{c}", foreign()).replace("{}", foreign())


def words():
    return " ".join(foreign() for _ in range(rng.randint(1, 8)))


def code():
    return rng.choice(CODE)


def entities():
    def entity():
        name = rng.choice(ENTITIES)
        too_large = 0x110000 + rng.randint(0, 99)
        number = rng.choice([rng.randint(0, 300), ord(known(0, 0x10FFFF)), too_large, 10 ** rng.randint(7, 30)])
        forms = [
            f"&{name}",
            f"&{name.rstrip(';')}",
            f"&{name.upper()}",
            f"&amp;{name}",
            f"&#{number};",
            f"&#x{number:x}",
            f"&#X{number:X};",
            "&",
            "&#",
            "&;",
        ]
        return rng.choice(forms)

    parts = [rng.choice([foreign(), sentence()[:20], entity(), entity()]) for _ in range(rng.randint(1, 6))]
    return rng.choice(["", "<b>", ""]) + rng.choice(["", " "]).join(parts) + rng.choice(["", "\n&amp;", "</b>"])


def surrogates(text):
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(map(chr, pairs)).encode("utf-8", "surrogatepass")


def garble(text):
    encoding = rng.choice(CHARMAP_ENCODINGS[:2] * 3 + CHARMAP_ENCODINGS)
    data = surrogates(text) if rng.random() < 0.1 else text.encode()
    if rng.random() < 0.1:
        data = data.replace(b"\xa0", b" ")
    return data.decode(encoding, "replace" if rng.random() < 0.5 else "ignore")


def mojibake():
    text = rng.choice([foreign, words, prompt, emoji, random_code_points, quoted])()[:200]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        start = rng.randint(0, len(text)) if rng.random() < 0.3 else 0
        text = text[:start] + garble(text[start:])
    if rng.random() < 0.2:
        text = text.replace(rng.choice(["\x81", "\x8d", "\x9d", "\xa0"]), rng.choice(["\ufffd", " ", "?"]))
    return text + rng.choice(["", " " + foreign(), " à la carte", " “x”"])


def quoted():
    return (
        rng.choice("“‘«„") + foreign() + rng.choice("”’»“") + rng.choice(["…", " – ", " — ", "™", "®", " °C", "€", "½"])
    )


def emoji():
    pictures = "".join(
        known(0x1F300, 0x1FAFF) + rng.choice(["", "\u200d", "\ufe0f", chr(0x1F3FB + rng.randint(0, 4))])
        for _ in range(rng.randint(1, 5))
    )
    flags = "".join(chr(0x1F1E6 + rng.randint(0, 25)) for _ in range(2))
    return rng.choice(
        [pictures, foreign() + " " + pictures, flags + pictures, pictures + sentence()[:30], "👩‍👩‍👧‍👦" + flags]
    )


def random_code_points():
    low, high = rng.choice(BLOCKS)
    text = "".join(known(low, high) + rng.choice(["", "", "", " "]) for _ in range(rng.randint(1, 24)))
    return text if rng.random() < 0.7 else text + random_code_points()


def combining():
    marks = lambda: "".join(known(0x300, 0x36F) for _ in range(rng.randint(0, 4)))
    text = "".join(c + marks() for c in foreign())
    return rng.choice([text, unicodedata.normalize("NFD", words()), unicodedata.normalize("NFKC", words())])


def controls():
    escape = lambda: rng.choice(
        [
            "\x1b[0m",
            "\x1b[36;44m",
            "\x1b[1;3",
            "\r",
            "\r\n",
            "\u2028",
            "\u2029",
            "\x85",
            "\x00",
            "\ufeff",
            "\u200b",
            "\u202e",
            "\ufffc",
        ]
    )
    parts = [rng.choice([foreign(), escape(), chr(rng.randint(0, 0x9F)), escape()]) for _ in range(rng.randint(1, 10))]
    return "".join(parts)


def width():
    text = "".join(
        known(0xFF01, 0xFFEE) if rng.random() < 0.5 else rng.choice("ﬁﬂﬀﬃﬆĲĳŉǱǲǅǉ\u3000 aA")
        for _ in range(rng.randint(1, 20))
    )
    return text + foreign()


def long_line():
    unit = rng.choice([sentence, words, random_code_points, code])
    joiner = rng.choice(["", " ", "  ", "\n"])
    text = joiner.join(unit() for _ in range(rng.randint(50, 200)))
    return text if rng.random() < 0.8 else text[:1].strip() * 5000


def blank():
    return "".join(rng.choice(" \t\n\r\x0b\x0c\x1c\x1f\xa0\u2003\u3000\u200b") for _ in range(rng.randint(0, 5)))


def specials():
    parts = [
        rng.choice([foreign(), rng.choice(SPECIALS), rng.choice(SPECIALS).upper(), "_", "'s", "'ſ", "  "])
        for _ in range(rng.randint(1, 8))
    ]
    return rng.choice(["", " "]).join(parts)


def marks():
    number = lambda: rng.choice(
        [
            str(rng.randint(0, 10**6)),
            f"{rng.random():.5f}",
            f"1,{rng.randint(0, 999)}",
            known(0x2150, 0x2189),
            known(0x660, 0x669),
        ]
    )
    words = [
        "don't",
        "it's",
        "they'll",
        "I'd",
        "we've",
        "I'M",
        "http://example.org/a?b=c&d=e#f",
        "user@example.org",
        "C++",
        "a_b-c.d",
        "…",
        "--",
        "'''",
        '"',
        "$",
        "€",
        "ΑΣ",
        "ΑΣ'",
        "İ",
        "ß",
        "ǅ",
    ]
    return rng.choice(["", " "]).join(
        rng.choice([number(), rng.choice(words), foreign()]) for _ in range(rng.randint(1, 10))
    )


KINDS = [
    (sentence, 14),
    (prompt, 12),
    (words, 12),
    (code, 8),
    (entities, 8),
    (mojibake, 14),
    (emoji, 5),
    (random_code_points, 8),
]
KINDS += [(combining, 4), (controls, 4), (width, 2), (long_line, 1), (blank, 1), (specials, 3), (marks, 4)]


def main():
    kinds, weights = zip(*KINDS)
    for kind in rng.choices(kinds, weights, k=int(sys.argv[2])):
        text = kind()
        while not stays_known(text):
            text = kind()
        print(json.dumps(text))


if __name__ == "__main__":
    main()
