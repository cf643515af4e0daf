#!/usr/bin/env python3
"""Whether PyPI's transformers makes the oracles' ids by the tokenizers that this library writes into folders.

    python3 -m venv /tmp/tokenizer_venv
    /tmp/tokenizer_venv/bin/pip install transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf
    BITNET_TOKENIZERS_WRITTEN=/tmp/written BITNET_TOKENIZER_CASES=FOLDER io_test --test-case='*oracles*'
    /tmp/tokenizer_venv/bin/python check_written_tokenizers.py /tmp/written FOLDER

FOLDER holds files NAME.cases (make_io_tokenizers.py; without BITNET_TOKENIZER_CASES those of io/tokenizers), and
/tmp/written the folders NAME. Texts that hold a special token are left out where the oracle, as SentencePiece does, takes
it for text.
"""
import pathlib
import sys

from transformers import AutoTokenizer


def main():
    written, cases = map(pathlib.Path, sys.argv[1:])
    wrong = 0
    for path in sorted(cases.glob("*.cases")):
        if not (written / path.stem).is_dir():
            print(f"{path.stem}: nothing is written")
            continue
        tokenizer = AutoTokenizer.from_pretrained(written / path.stem)
        special = [token for token in tokenizer.all_special_tokens + list(tokenizer.get_added_vocab()) if token]
        head, *lines = path.read_text().splitlines()
        texts = left_out = other = 0
        for line in lines:
            text, ids = line.split("|")[:2]
            try:
                text = bytes.fromhex("" if text == "-" else text).decode()
            except UnicodeDecodeError:  # Python's tokenizers take none such
                left_out += 1
                continue
            if not head.startswith("json ") and any(token in text for token in special):
                left_out += 1
                continue
            texts += 1
            got = tokenizer.encode(text, add_special_tokens=False)
            if got != [int(number) for number in ids.replace(",", " ").split()]:
                other += 1
                if other <= 3:
                    print(f"{path.stem}: {text!r}: {got}; expected {ids}")
        print(f"{path.stem}: other ids for {other} of {texts} texts; {left_out} left out")
        wrong += other
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
