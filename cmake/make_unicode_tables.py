#!/usr/bin/env python3
"""Writes include/bitnet/io/unicode_tables.h from the Unicode Character Database as Debian ships it (package unicode-data).

    apt-get install unicode-data
    python3 cmake/make_unicode_tables.py [FOLDER]        FOLDER: /usr/share/unicode unless given
    python3 cmake/make_unicode_tables.py --check [FOLDER]  compares with the committed file

The header is committed: building needs neither this script nor the package.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE.parent / "include/bitnet/io/unicode_tables.h"
CODES = 0x110000
# Of a general category, only its first letter is of use to tokenizers.
CLASSES = {"C": "kOther", "L": "kLetter", "M": "kMark", "N": "kNumber", "P": "kPunctuation", "S": "kSymbol",
           "Z": "kSeparator"}
ORDER = "CLMNPSZ"


def fields(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            yield [field.strip() for field in line.split(";")]


def code_range(text):
    first, _, last = text.partition("..")
    return int(first, 16), int(last or first, 16)


def read_data(folder):
    category = ["C"] * CODES
    combining = [0] * CODES
    decomposition = {}
    first = None
    for f in fields(folder / "UnicodeData.txt"):
        code = int(f[0], 16)
        if f[1].endswith(", First>"):
            first = code
            continue
        begin = code if first is None else first
        first = None
        for c in range(begin, code + 1):
            category[c] = f[2][0]
            combining[c] = int(f[3])
        if f[5] and not f[5].startswith("<"):
            decomposition[code] = [int(c, 16) for c in f[5].split()]
    return category, combining, decomposition


def property_codes(path, name):
    codes = set()
    for f in fields(path):
        if f[1] == name:
            begin, end = code_range(f[0])
            codes.update(range(begin, end + 1))
    return codes


def runs(values, skip=None):
    """[first, last, value] of each run of equal values but `skip`."""
    begin = 0
    for c in range(1, len(values) + 1):
        if c == len(values) or values[c] != values[begin]:
            if values[begin] != skip:
                yield begin, c - 1, values[begin]
            begin = c


def array(declaration, items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 118:
            lines.append(line)
            line = "   "
        line += " " + item + ","
    lines.append(line)
    return f"inline constexpr {declaration}[] = {{\n" + "\n".join(lines) + "\n};\n"


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    folder = pathlib.Path(arguments[0] if arguments else "/usr/share/unicode")
    version = (folder / "PropList.txt").read_text(encoding="utf-8").splitlines()[0]
    version = version.removeprefix("# PropList-").removesuffix(".txt")

    category, combining, decomposition = read_data(folder)
    spaces = property_codes(folder / "PropList.txt", "White_Space")
    excluded = property_codes(folder / "DerivedNormalizationProps.txt", "Full_Composition_Exclusion")

    # A class in the lowest three bits, the first code of its run above them: sorted, and one number a run.
    classes = [(first << 3) | ORDER.index(value) for first, _, value in runs(category)]
    pairs = sorted((d[0], d[1], c) for c, d in decomposition.items() if len(d) == 2 and c not in excluded)
    space_runs = list(runs([c in spaces for c in range(CODES)], skip=False))

    text = f"""// Facts of Unicode {version}: classes of code points, White_Space, canonical decompositions and compositions.
//
// Written by cmake/make_unicode_tables.py; do not edit. What reads these tables is in io/unicode.h and
// io/unicode_nfc.h.
// clang-format off
#ifndef BITNET_IO_UNICODE_TABLES_H_
#define BITNET_IO_UNICODE_TABLES_H_

#include <cstdint>

namespace bitnet::detail {{

inline constexpr char kUnicodeVersion[] = "{version}";

// Runs of code points of one class: the run's first code in the bits from 3 on, the class (CharClass) below them.
"""
    text += array("uint32_t kClassRuns", [f"0x{v:x}" for v in classes])
    text += "\n// White_Space: the first and the last code of each run, one after the other.\n"
    text += array("uint32_t kWhitespaceRuns",
                  [f"0x{v:x}" for first, last, _ in space_runs for v in (first, last)])
    text += "\n// Canonical combining classes other than 0: the run's first and last code, the class.\n"
    text += "struct CombiningRun {\n  uint32_t first, last;\n  uint8_t combining;\n};\n"
    text += array("CombiningRun kCombiningRuns",
                  [f"{{0x{first:x}, 0x{last:x}, {value}}}" for first, last, value in runs(combining, skip=0)])
    text += """
// Canonical decompositions, one step, sorted by the code (Hangul, which is arithmetic, is not here): second is 0 where
// there is one code alone.
struct CanonicalDecomposition {
  uint32_t code, first, second;
};
"""
    text += array("CanonicalDecomposition kDecompositions",
                  [f"{{0x{c:x}, 0x{d[0]:x}, 0x{(d + [0])[1]:x}}}" for c, d in sorted(decomposition.items())])
    text += "\n// Canonical compositions, sorted by first and second.\n"
    text += "struct CanonicalComposition {\n  uint32_t first, second, code;\n};\n"
    text += array("CanonicalComposition kCompositions", [f"{{0x{a:x}, 0x{b:x}, 0x{c:x}}}" for a, b, c in pairs])
    text += """
}  // namespace bitnet::detail

#endif  // BITNET_IO_UNICODE_TABLES_H_
// clang-format on
"""
    if "--check" in sys.argv:
        if OUTPUT.read_text(encoding="utf-8") != text:
            sys.exit(f"{OUTPUT} is not what {folder} (Unicode {version}) gives")
        return
    OUTPUT.write_text(text, encoding="utf-8")
    print(f"{OUTPUT}: {len(text)} bytes, {len(classes)} runs of classes, {len(decomposition)} decompositions, "
          f"{len(pairs)} compositions; Unicode {version}")


main()
