#!/usr/bin/env python3
"""What PyPI's tiktoken, tokenizers and sentencepiece make of texts: for tests/io/tokenizer_agreement_test.cc.

    python3 -m venv /tmp/tokenizer_venv
    /tmp/tokenizer_venv/bin/pip install tiktoken==0.14.0 tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0
    python make_io_tokenizers.py                   write tests/golden/io/tokenizers/: small vocabularies, few texts
    python make_io_tokenizers.py --agree FOLDER    write FOLDER: ten thousand texts each by real vocabularies; then
        BITNET_TOKENIZER_CASES=FOLDER io_test --test-case='*oracles*'
        --vocab FOLDER     gpt-2.gguf, llama-spm.gguf, llama-3.tiktoken; default ../shared/data/vocab
        --text FILE        English; default ../shared/data/shakespeare.txt
        --qwen FILE        qwen.tiktoken (in PyPI's dashscope), optional
        --sentencepiece FILE...   further tokenizer.model files (PyPI's mistral_common has some), optional

A file NAME.cases holds a line `KIND FILE` (KIND: see the test) and one line a text: its bytes in hexadecimal (`-`: none),
the ids, and the bytes that the ids decode to (`=`: the text; `?`: the oracle does not say), separated by `|`.
"""

import argparse
import base64
import inspect
import json
import pathlib
import random
import sys
import unicodedata

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = HERE / "io" / "tokenizers"

_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": _LLAMA3,
    "qwen2": _LLAMA3.replace("{1,3}", ""),
    "qwen35": (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+"),
}

# ---- Texts -------------------------------------------------------------------------------------------------------

# Article 1 of the Universal Declaration of Human Rights, or its beginning.
LANGUAGES = [
    "All human beings are born free and equal in dignity and rights. They're endowed with reason; they'll act, I'D say.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Groß, Öl, Füße.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. L'été, c'est fini ; œuf.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ｶﾞｷﾞ",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "ማንኛውም ሰው ፡ ነጻ ፡ ሆኖ ፡ ይወለዳል።",
    "បុគ្គលទាំងអស់កើតមកមានសេរីភាព",
    "ყველა ადამიანი იბადება თავისუფალი", "Бүх хүн эрх чөлөөтэй", "𐍈𐌰𐌹 𝒜𝓃𝒹 𝟙𝟚𝟛 ①②③ ½ Ⅻ ﬁ ﬀ",
]
EMOJI = ["😀", "😶\u200d🌫️", "👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪", "❤️\u200d🔥", "✅", "#️⃣", "🏴\U000e0067\U000e0062\U000e0065"
         "\U000e006e\U000e0067\U000e007f", "🦙", "🥲"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\v",
          "\f", " " * 17, "\n" * 9, " \n ", "\t\t\t", "\u1680", "\u200b", "\ufeff"]
PIECES = ["'s", "'S", "'ll", "'LL", "'Re", "'ve", "'\u017f", "'d", "'", "''", "don't", "DON'T", "I'M", "<s>", "</s>",
          "<unk>", "<|eot_id|>", "<0x41>", "<|im_end|>", "\u2581", "\u2581\u2581", "http://a.b/c?d=e&f", "foo_bar", "x=1;",
          "{}[]()", "...", "---", "==", "!?", "$9.99", "50%", "a.b", "C++", "1,000,000.00", "\\n", "\"q\"", "e\u0301",
          "\u0301", "a\u0328\u0301", "\u1100\u1161\u11a8", "\u212b", "ﬁ", "Å", "ｱ", "Ａ"]
ASSIGNED = [c for c in range(0x20, 0x30000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
IDEOGRAPH_FREE = [c for c in ASSIGNED if not (0x3400 <= c < 0xa000 or 0xac00 <= c < 0xd7a4 or c >= 0x20000)]


def natural(rng, english):
    source = rng.random()
    if source < 0.45:
        at = rng.randrange(len(english))
        return english[at:at + rng.randrange(1, 200)]
    if source < 0.75:
        text = rng.choice(LANGUAGES)
        at = rng.randrange(len(text))
        return text[at:at + rng.randrange(1, 80)]
    source = inspect.getsource(rng.choice([argparse, json, inspect, base64]))
    at = rng.randrange(len(source))
    return source[at:at + rng.randrange(1, 200)]


def generated(rng, english):
    kind = rng.randrange(9)
    if kind == 0:
        return "".join(chr(rng.choice(ASSIGNED)) for _ in range(rng.randrange(1, 20)))
    if kind == 1:
        return "".join(chr(rng.choice(IDEOGRAPH_FREE)) for _ in range(rng.randrange(1, 20)))
    if kind == 2:
        return "".join(rng.choice(EMOJI + [" ", "a"]) for _ in range(rng.randrange(1, 10)))
    if kind == 3:
        digits = rng.choice(["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "0123456789²½Ⅳ"])
        return "".join(rng.choice(digits) for _ in range(rng.randrange(1, 60)))
    if kind == 4:
        return "".join(chr(rng.choice(list(range(32)) + [127, 32, 97, 0x85, 0xad])) for _ in range(rng.randrange(1, 20)))
    if kind == 5:
        return "".join(rng.choice(SPACES) + rng.choice(["", "a", ".", "1", "é"]) for _ in range(rng.randrange(1, 8)))
    if kind == 6:
        parts = PIECES + SPACES + EMOJI + ["a", "B", "7"]
        return "".join(rng.choice(parts) for _ in range(rng.randrange(1, 12)))
    if kind == 7:
        words = [natural(rng, english)[:12] for _ in range(rng.randrange(1, 6))]
        return rng.choice(["", " ", "  "]).join(w + rng.choice(SPACES + [""]) for w in words)
    return rng.choice("a .-=\n😀ab") * rng.randrange(1, 200)


def make_texts(count, seed, english):
    rng = random.Random(seed)
    texts = ["", " ", "  ", "\n", "a", " a", "a "] + LANGUAGES + EMOJI
    while len(texts) < count:
        texts.append(natural(rng, english) if rng.random() < 0.4 else generated(rng, english))
    return [t.encode("utf-8") for t in texts[:count]]


def broken_texts(count, seed, texts):
    """Bytes that are no UTF-8: characters that are cut, bytes that are replaced or thrown in."""
    rng = random.Random(seed)
    broken = []
    while len(broken) < count:
        text = bytearray(rng.choice(texts)[:rng.randrange(1, 60)])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text) + 1)
            text[at:at + rng.randrange(2)] = bytes([rng.choice([rng.randrange(128, 256), 0xc0, 0xed, 0xf4, 0xff])])
        broken.append(bytes(text))
    return broken


# ---- Vocabularies ------------------------------------------------------------------------------------------------

def letters():
    codes = [b for b in range(256) if 0x21 <= b <= 0x7e or (b >= 0xa1 and b != 0xad)]
    table, free = {}, 256
    for b in range(256):
        if b in codes:
            table[b] = chr(b)
        else:
            table[b] = chr(free)
            free += 1
    return table


LETTERS = letters()


def in_letters(token):
    return "".join(LETTERS[b] for b in token)


def read_ranks(path):
    ranks = {}
    for line in path.read_bytes().splitlines():
        if line:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    return ranks


def merges_of_ranks(ranks):
    """The two tokens that each token is merged of last, by the ranks below its own."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 40))
            if ranks.get(parts[best] + parts[best + 1], 1 << 40) >= rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((in_letters(parts[0]), in_letters(parts[1])))
    return merges


def byte_level(vocab, merges, pattern, special, nfc=False, user_defined=(), ignore_merges=False, bos=None):
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    if pattern == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    if user_defined:
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t in user_defined])
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])])
    return tokenizer


def llama2(pieces, metaspace=None):
    """As transformers converts a SentencePiece model: merges of all two pieces that make a piece, by its score."""
    ids = {piece: i for i, (piece, _, _) in enumerate(pieces)}
    merges = []
    for piece, score, kind in pieces:
        if kind != 1:
            continue
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += [(score, pair) for pair in sorted(local, key=lambda p: (ids[p[0]], ids[p[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda m: -m[0])]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace, split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tokenizer


def field(number, payload):
    def varint(n):
        out = b""
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def sentencepiece_proto(pieces, byte_fallback):
    import struct
    proto = b""
    for piece, score, kind in pieces:
        proto += field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + field(3, kind))
    proto += field(2, field(3, 2) + field(35, int(byte_fallback)))
    return proto + field(3, field(1, b"identity") + field(3, 1) + field(4, 0) + field(5, 1))


def processor(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


# ---- Cases -------------------------------------------------------------------------------------------------------

def write_cases(path, kind, file, rows):
    lines = [f"{kind} {file}"]
    for text, ids, decoded in rows:
        back = "?" if decoded is None else "=" if decoded == text else decoded.hex() or "-"
        lines.append(f"{text.hex() or '-'}|{' '.join(map(str, ids))}|{back}")
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(rows)} texts")


def by_tokenizers(tokenizer, texts):
    rows = []
    for text in texts:
        ids = tokenizer.encode(text.decode("utf-8"), add_special_tokens=False).ids
        rows.append((text, ids, tokenizer.decode(ids, skip_special_tokens=False).encode("utf-8")))
    return rows


def by_sentencepiece(model, texts):
    rows = []
    for text in texts:
        ids = model.encode(text)
        decoded = model.decode(ids)
        decoded = decoded if isinstance(decoded, bytes) else decoded.encode("utf-8")
        # Of bytes that are no UTF-8 it gives one U+FFFD each, where we keep the bytes.
        rows.append((text, ids, None if "\ufffd".encode() in decoded else decoded))
    return rows


def train_small(folder, english):
    """Small vocabularies of the kinds that are supported."""
    texts = ([english[at:at + 2000] for at in range(0, 300000, 2000)] + LANGUAGES * 20 + EMOJI * 20 +
             [inspect.getsource(json)] * 3)
    made = {}
    for pattern, nfc in (("gpt2", False), ("llama3", False), ("qwen2", True), ("qwen35", True)):
        tokenizer = byte_level({}, [], pattern, [], nfc)
        trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                      show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        state = json.loads(tokenizer.to_str())["model"]
        merges = [tuple(m) for m in state["merges"]]
        made[pattern] = byte_level(state["vocab"], merges, pattern, ["<|begin|>", "<|eot_id|>"], nfc, ["<think>"],
                                   ignore_merges=pattern == "llama3", bos="<|begin|>" if pattern == "llama3" else None)
        made[pattern].save(str(folder / f"{pattern}.json"), pretty=False)

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(t.split()) for t in texts))
    rules = folder / "rules.tsv"
    # A few of NFKC's: ligatures, full-width and half-width forms, circled digits, a composed accent.
    rules.write_text("FB01\t66 69\nFF21\t41\nFF71\t30A2\nFF76 FF9E\t30AC\n2460\t31\n2461\t32\n65 301\tE9\n"
                     "3000\t20\n9\t20\nA\t20\nA0\t20\nAD\t\n")
    common = dict(input=str(corpus), vocab_size=700, character_coverage=0.98, minloglevel=2, num_threads=1,
                  hard_vocab_limit=False)
    variants = {
        "unigram": dict(model_type="unigram", normalization_rule_tsv=str(rules), user_defined_symbols=["<sep>", "foo bar"],
                        control_symbols=["<ctrl>"]),
        "unigram_bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                              remove_extra_whitespaces=False),
        "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", vocab_size=800,
                    remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "  "]),
        "bpe_unknown": dict(model_type="bpe", normalization_rule_tsv=str(rules), add_dummy_prefix=False),
        "bpe_suffix": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                           treat_whitespace_as_suffix=True, vocab_size=800),
    }
    for name, options in variants.items():
        sentencepiece.SentencePieceTrainer.train(model_prefix=str(folder / name), **{**common, **options})
        (folder / f"{name}.vocab").unlink()
        # What a model was trained by is of no use, and names this machine's folders.
        (folder / f"{name}.model").write_bytes(without_training((folder / f"{name}.model").read_bytes()))
        made[name] = processor(folder / f"{name}.model")
    corpus.unlink()
    rules.unlink()

    bpe = made["bpe"]
    kinds = [2 if bpe.is_unknown(i) else 3 if bpe.is_control(i) else 6 if bpe.is_byte(i) else 1
             for i in range(bpe.get_piece_size())]
    pieces = [(bpe.id_to_piece(i), bpe.get_score(i), kinds[i]) for i in range(bpe.get_piece_size())]
    pieces = [p for p in pieces if p[0] not in ("<sep>", "▁▁", "  ")]
    for name, scheme in (("llama2", None), ("metaspace", "first")):
        made[name] = llama2(pieces, scheme)
        made[name].save(str(folder / f"{name}.json"), pretty=False)
    return made


def fields_of(message):
    """(number, wire type, payload, bytes of the field) of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        begin = at
        tag = varint()
        if tag & 7 == 0:
            payload = varint()
        else:
            size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
            payload = message[at:at + size]
            at += size
        yield tag >> 3, tag & 7, payload, message[begin:at]


def without_training(model):
    """The model without those of its trainer's options that only training needs; and without the rules' text."""
    out = b""
    for number, _, payload, whole in fields_of(model):
        keep = {2: {3, 24, 35, 40, 41, 42, 43, 44, 45, 46, 47, 48}, 3: {1, 2, 3, 4, 5}}.get(number)
        out += whole if keep is None else field(number, b"".join(w for n, _, _, w in fields_of(payload) if n in keep))
    return out


def by_any(oracle, texts, broken):
    if isinstance(oracle, Tokenizer):
        return by_tokenizers(oracle, texts)
    return by_sentencepiece(oracle, texts + broken)


def make_golden(english):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    made = train_small(GOLDEN, english)
    texts = [t for t in make_texts(72, 1, english) if len(t) <= 70] + [b"<think>a<think>", b" <sep>x foo bar  y<sep>"]
    broken = broken_texts(6, 2, texts)
    for name, oracle in made.items():
        kind = "json" if isinstance(oracle, Tokenizer) else "sentencepiece"
        rows = by_any(oracle, texts, broken)
        write_cases(GOLDEN / f"{name}.cases", kind, f"{name}.{'json' if kind == 'json' else 'model'}", rows)


def make_agreement(arguments, english):
    folder = pathlib.Path(arguments.agree)
    folder.mkdir(parents=True, exist_ok=True)
    vocab = pathlib.Path(arguments.vocab)
    texts = make_texts(10000, 3, english)
    broken = broken_texts(1000, 4, texts)

    from gguf import GGUFReader
    reader = GGUFReader(str(vocab / "gpt-2.gguf"))
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    gpt2 = byte_level({t: i for i, t in enumerate(tokens)}, merges, "gpt2", ["<|endoftext|>"])
    write_cases(folder / "gpt-2.cases", "gguf", vocab / "gpt-2.gguf", by_tokenizers(gpt2, texts))
    gpt2.save(str(folder / "gpt-2.json"))
    write_cases(folder / "gpt-2-json.cases", "json", "gpt-2.json", by_tokenizers(gpt2, texts))

    ranked = [("llama-3", "llama3", vocab / "llama-3.tiktoken")]
    if arguments.qwen:
        ranked.append(("qwen", "qwen2", pathlib.Path(arguments.qwen)))
    for name, pattern, path in ranked:
        ranks = read_ranks(path)
        nfc = pattern == "qwen2"
        oracle = tiktoken.Encoding(name, pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})
        rows = []
        for text in texts:
            string = text.decode("utf-8")
            ids = oracle.encode_ordinary(unicodedata.normalize("NFC", string) if nfc else string)
            rows.append((text, ids, oracle.decode_bytes(ids)))
        write_cases(folder / f"{name}.cases", "tiktoken-" + pattern, path.resolve(), rows)
        hf = byte_level({in_letters(t): r for t, r in ranks.items()}, merges_of_ranks(ranks), pattern, ["<|eot_id|>"],
                        nfc, ignore_merges=pattern == "llama3")
        hf.save(str(folder / f"{name}.json"))
        write_cases(folder / f"{name}-json.cases", "json", f"{name}.json", by_tokenizers(hf, texts))

    reader = GGUFReader(str(vocab / "llama-spm.gguf"))
    contents = [reader.fields["tokenizer.ggml." + key].contents() for key in ("tokens", "scores", "token_type")]
    pieces = list(zip(*contents))
    (folder / "llama-spm.model").write_bytes(sentencepiece_proto(pieces, True))
    model = processor(folder / "llama-spm.model")
    rows = by_sentencepiece(model, texts + broken)
    write_cases(folder / "llama-spm.cases", "gguf", vocab / "llama-spm.gguf", rows)
    write_cases(folder / "llama-spm-model.cases", "sentencepiece", "llama-spm.model", rows)
    for name, scheme in (("llama2", None), ("metaspace", "first"), ("metaspace_always", "always")):
        hf = llama2(pieces, scheme)
        hf.save(str(folder / f"llama-spm-{name}.json"))
        write_cases(folder / f"llama-spm-{name}-json.cases", "json", f"llama-spm-{name}.json", by_tokenizers(hf, texts))
    for path in map(pathlib.Path, arguments.sentencepiece or []):
        rows = by_sentencepiece(processor(path), texts + broken)
        write_cases(folder / f"{path.name}.cases", "sentencepiece", path.resolve(), rows)

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(t.split()) for t in english.split("\n")) + "\n" + "\n".join(LANGUAGES * 50))
    for name, options in {
            "unigram": dict(normalization_rule_name="nmt_nfkc", user_defined_symbols=["<sep>", "foo bar"]),
            "unigram_bytes": dict(normalization_rule_name="nfkc_cf", byte_fallback=True),
            "unigram_plain": dict(normalization_rule_name="identity", remove_extra_whitespaces=False),
            "bpe_nfkc": dict(model_type="bpe", normalization_rule_name="nmt_nfkc"),
            "bpe_inner": dict(model_type="bpe", normalization_rule_name="identity", split_by_whitespace=False,
                              byte_fallback=True, remove_extra_whitespaces=False)}.items():
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(folder / name), vocab_size=4000,
                                                 minloglevel=2, hard_vocab_limit=False, **options)
        rows = by_sentencepiece(processor(folder / f"{name}.model"), texts + broken)
        write_cases(folder / f"{name}.cases", "sentencepiece", f"{name}.model", rows)

    small = folder / "small"
    small.mkdir(exist_ok=True)
    for name, oracle in train_small(small, english).items():
        kind = "json" if isinstance(oracle, Tokenizer) else "sentencepiece"
        rows = by_any(oracle, texts, broken)
        write_cases(folder / f"small_{name}.cases", kind, f"small/{name}.{'json' if kind == 'json' else 'model'}", rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agree")
    parser.add_argument("--vocab", default=ROOT.parent / "shared/data/vocab")
    parser.add_argument("--text", default=ROOT.parent / "shared/data/shakespeare.txt")
    parser.add_argument("--qwen")
    parser.add_argument("--sentencepiece", nargs="*")
    arguments = parser.parse_args()
    english = pathlib.Path(arguments.text).read_text(encoding="utf-8")
    if arguments.agree:
        make_agreement(arguments, english)
    else:
        make_golden(english)


sys.exit(main())
