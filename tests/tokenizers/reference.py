#!/usr/bin/env python3
"""Writes tokenizer files and the ids that the reference libraries give for lines of text.

    reference.py FOLDER BPE_FILE VOCAB_TXT      vocabularies of the real sizes
    reference.py FOLDER BPE_FILE                small ones, to be kept in the tree

FOLDER holds `texts.jsonl`, a JSON string a line. Into it go tokenizer files and for each case `NAME.jsonl`, a list of ids a
line, padded where the reference pads; `cases.json` lists the cases: name, tokenizer file, cleaning, context
length. References: `SimpleTokenizer` of open_clip_torch 3.3.0 as published, `tokenizers`, and `sentencepiece`.
"""

import gzip
import importlib.util
import json
import pathlib
import shutil
import sys
import types

import numpy
import sentencepiece
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

FOLDER, BPE_FILE, *VOCAB_TXT = map(pathlib.Path, sys.argv[1:])
IS_SMALL = not VOCAB_TXT
MERGES = 1000 if IS_SMALL else None
TEXTS = [json.loads(line) for line in (FOLDER / "texts.jsonl").open()]
cases = []


def write_case(name, file, clean, context_length, rows):
    with (FOLDER / f"{name}.jsonl").open("w") as out:
        for row in rows:
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
    cases.append({"name": name, "file": file, "clean": clean, "context_length": context_length})
    print(f"{name}: {len(TEXTS)} lines", flush=True)


def open_clip():
    """The module as published; of torch it needs the three names that make its result, which numpy has too."""
    torch = types.ModuleType("torch")
    torch.long, torch.tensor, torch.Tensor, torch.LongTensor = numpy.int64, numpy.array, numpy.ndarray, numpy.ndarray
    torch.zeros = lambda *shape, dtype: numpy.zeros(shape, dtype)
    sys.modules["torch"] = torch
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", BPE_FILE.parent / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole(tokenizer, context_length, texts=TEXTS):
    """Ids cut to a length, as `tokenizer.json` says when it holds a truncation."""
    tokenizer.enable_truncation(context_length)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def merges_file():
    """CLIP's merges, or the first of them."""
    if not IS_SMALL:
        return shutil.copy(BPE_FILE, FOLDER / "clip_merges.txt.gz")
    file = FOLDER / "clip_merges.txt.gz"
    lines = gzip.open(BPE_FILE, "rt", encoding="utf-8").read().split("\n")[: MERGES + 1]
    file.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return file


def clip_cases(clip, merges):
    for clean in ("lower", "whitespace"):
        tokenizer = clip.SimpleTokenizer(merges, clean=clean)
        rows = (tokenizer([text])[0].tolist() for text in TEXTS)
        write_case(f"open_clip_{clean}", "clip_merges.txt.gz", clean, 77, rows)


def clip_fast_cases(clip, merges):
    """Hugging Face's tokenizer of CLIP, as transformers makes it and as the files of the model hub have it."""
    simple = clip.SimpleTokenizer(merges)
    vocab = dict(simple.encoder)
    vocab["<|startoftext|>"] = vocab.pop("<start_of_text>")
    vocab["<|endoftext|>"] = vocab.pop("<end_of_text>")
    new = transformers.CLIPTokenizer(vocab=vocab, merges=list(simple.bpe_ranks))
    fast = Tokenizer.from_str(new.backend_tokenizer.to_str())
    rows = whole(fast, 77)
    fast.save(str(FOLDER / "clip_new.json"))
    write_case("clip_tokenizer_json", "clip_new.json", "none", None, rows)
    old = Tokenizer(models.BPE(vocab, list(simple.bpe_ranks), unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    old.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    old.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    old.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", vocab["<|endoftext|>"]), ("<|startoftext|>", vocab["<|startoftext|>"]), False, False
    )
    old.add_special_tokens(
        [AddedToken("<|startoftext|>", normalized=True), AddedToken("<|endoftext|>", normalized=False)]
    )
    rows = whole(old, 77)
    old.save(str(FOLDER / "clip_old.json"))
    write_case("clip_tokenizer_json_older", "clip_old.json", "none", None, rows)


def bert_cases(vocab_txt):
    shutil.copy(vocab_txt, FOLDER / "vocab.txt")
    vocab = {token: i for i, token in enumerate(vocab_txt.read_text().splitlines())}
    bert = Tokenizer.from_str(transformers.BertTokenizer(vocab=vocab).backend_tokenizer.to_str())
    rows = whole(bert, 512)
    bert.save(str(FOLDER / "bert.json"))
    write_case("bert_tokenizer_json", "bert.json", "none", None, rows)
    write_case("bert_vocab_txt", "vocab.txt", "none", None, rows)


def train_sentencepiece(name, **settings):
    # A small vocabulary has no room for the characters of all scripts.
    texts = [text for text in TEXTS if text.isascii()] if IS_SMALL else TEXTS[:40000]
    sentences = iter([text.replace("\0", "")[:2000] for text in texts])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_prefix=str(FOLDER / name),
        model_type="unigram",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
        **settings,
    )
    (FOLDER / f"{name}.vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / f"{name}.model"))


def rule_line(line):
    """Code points in hexadecimal, as the trainer reads rules."""
    return "\t".join(" ".join(f"{ord(c):X}" for c in part) for part in line.split("\t")) + "\n"


def library_rows(processor, texts, context_length):
    for ids in processor.encode(texts):
        yield ids[: context_length - 1] + [processor.eos_id()]


def sentencepiece_cases(clip):
    """Vocabularies with the settings of T5's, which SigLIP uses, and with bytes and symbols of the user."""
    settings = dict(vocab_size=32000, character_coverage=0.9995)
    if IS_SMALL:
        # The map of the real ones is a quarter of a megabyte.
        rules = "A\ta\nﬁ\tfi\nﾊﾟ\tパ\nｶ\tカ\n\u3000\t \n\u200b\t\n½\t1/2\ne\u0301\té\n"
        file = FOLDER / "rules.tsv"
        file.write_text("".join(rule_line(line) for line in rules.splitlines()))
        settings = dict(vocab_size=700, character_coverage=0.99, normalization_rule_tsv=str(file))
    siglip = train_sentencepiece("siglip", **settings)
    if IS_SMALL:
        file.unlink()
    write_case("siglip_model", "siglip.model", "none", 64, padded(library_rows(siglip, TEXTS, 64), 64, 1))
    canonical = [clip.canonicalize_text(clip.basic_clean(text)) for text in TEXTS]
    write_case(
        "siglip_model_canonical", "siglip.model", "canonicalize", 64, padded(library_rows(siglip, canonical, 64), 64, 1)
    )
    settings = dict(byte_fallback=True, user_defined_symbols=["<x>", "photo of", "é"], remove_extra_whitespaces=False)
    rule = "identity" if IS_SMALL else "nfkc_cf"
    size = 500 if IS_SMALL else 16000
    other = train_sentencepiece(
        "bytes", vocab_size=size, character_coverage=0.99, normalization_rule_name=rule, **settings
    )
    write_case("bytes_model", "bytes.model", "none", 64, padded(library_rows(other, TEXTS, 64), 64, 1))
    return canonical


def padded(rows, context_length, pad_id):
    for row in rows:
        yield row + [pad_id] * (context_length - len(row))


def t5_cases(canonical):
    """The fast tokenizers that open_clip and transformers make of the same vocabulary."""
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString((FOLDER / "siglip.model").read_bytes())
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    charsmap = proto.normalizer_spec.precompiled_charsmap
    t5 = transformers.T5Tokenizer(vocab=vocab, extra_ids=0, _spm_precompiled_charsmap=charsmap)
    fast = Tokenizer.from_str(t5.backend_tokenizer.to_str())
    rows, canonical_rows = whole(fast, 64), whole(fast, 64, canonical)
    fast.save(str(FOLDER / "t5.json"))
    write_case("t5_tokenizer_json", "t5.json", "none", None, rows)
    write_case("siglip_tokenizer_json", "t5.json", "canonicalize", None, canonical_rows)
    old = Tokenizer(models.Unigram(vocab, unk_id=2, byte_fallback=False))
    collapse = normalizers.Replace(Regex(" {2,}"), " ")
    old.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(False, True), collapse])
    old.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    old.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    strip = dict(lstrip=True, rstrip=True, normalized=False)
    old.add_special_tokens(
        [AddedToken("</s>", **strip), AddedToken("<unk>", **strip), AddedToken("<pad>", normalized=False)]
    )
    # Scores are those of the file, whose decimals the library does not read to the last bit.
    old = Tokenizer.from_str(old.to_str())
    rows = whole(old, 64)
    old.save(str(FOLDER / "t5_old.json"))
    write_case("t5_tokenizer_json_older", "t5_old.json", "none", None, rows)


def gemma_cases():
    """Byte pair encoding over spaces as marks, with bytes for what is unknown: the tokenizer of SigLIP 2.

    Between equally frequent pairs the trainer chooses anew in each run; the ids go with the file that it made.
    """
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    gemma = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    gemma.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=1000 if IS_SMALL else 20000,
        special_tokens=specials + bytes_,
        limit_alphabet=200 if IS_SMALL else 3000,
        max_token_length=24,
        show_progress=False,
    )
    gemma.train_from_iterator([text[:500] for text in TEXTS[:40000]], trainer)
    plain = json.loads(gemma.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if not token["content"].startswith("<0x")]
    gemma = Tokenizer.from_str(json.dumps(plain))
    gemma.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    rows = whole(gemma, 64)
    gemma.save(str(FOLDER / "gemma.json"))
    write_case("gemma_tokenizer_json", "gemma.json", "none", None, rows)


def clean_cases(clip):
    """The cleaned texts themselves, whole, where ids would show only what a context holds."""
    for clean in ("lower", "whitespace", "canonicalize"):
        function = clip.get_clean_fn(clean)
        with (FOLDER / f"clean_{clean}.jsonl").open("w") as out:
            for text in TEXTS:
                out.write(json.dumps(function(text)) + "\n")
        print(f"clean_{clean}: {len(TEXTS)} lines", flush=True)


def main():
    clip = open_clip()
    clean_cases(clip)
    merges = merges_file()
    clip_cases(clip, merges)
    clip_fast_cases(clip, merges)
    if VOCAB_TXT:
        bert_cases(*VOCAB_TXT)
    t5_cases(sentencepiece_cases(clip))
    gemma_cases()
    (FOLDER / "cases.json").write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
