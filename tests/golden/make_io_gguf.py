#!/usr/bin/env python3
"""GGUF files and blocks for tests/io, made by what shares nothing with the library.

    python3 -m venv /tmp/gguf_venv && /tmp/gguf_venv/bin/pip install gguf==0.19.0 numpy==2.4.6
    /tmp/gguf_venv/bin/python make_io_gguf.py                # write io/gguf_types.gguf and io/gguf_blocks.txt
    /tmp/gguf_venv/bin/python make_io_gguf.py --check        # recompute and compare
    /tmp/gguf_venv/bin/python make_io_gguf.py --read FILE    # a file that the library wrote, read by PyPI's gguf

gguf_types.gguf is written by PyPI's `gguf`, in all tensor types that it writes, and Q6_K, which it only reads (of blocks
of random bytes). For each tensor NAME there is NAME.expected, F32: what gguf makes of it; for some NAME.source, what it was
made of. Metadata: a key of each type.

gguf_blocks.txt has blocks of the types that gguf lacks: for each a line `type rows cols`, the bytes in hexadecimal, the
levels row by row (-, 0, + and 2), and the steps, one for each group of a row, in C99's hexadecimal. The bytes are random
legal ones; the levels come from a transcription, value by value, of the formulas that the formats' own programs decode
by: which value lies where is written down here a second time, as loops over bytes.

--read checks a file of tests/io/gguf_writer_test.cc (BITNET_GGUF_OUT=FILE io_test): each tensor against NAME.expected.
"""
import pathlib
import sys
import tempfile

import numpy as np

import gguf
from gguf import GGMLQuantizationType as T

FOLDER = pathlib.Path(__file__).parent / "io"
rng = np.random.default_rng(20261130)


def half(x):
    return np.float16(x).tobytes()


def f32(x):
    return np.float32(x).tobytes()


# ------------------------------------------------------------------------------------------------ gguf_types.gguf
def metadata(writer):
    writer.add_uint8("t.uint8", 200)
    writer.add_int8("t.int8", -100)
    writer.add_uint16("t.uint16", 60000)
    writer.add_int16("t.int16", -30000)
    writer.add_uint32("t.uint32", 4000000000)
    writer.add_int32("t.int32", -2000000000)
    writer.add_uint64("t.uint64", 2**63 + 5)
    writer.add_int64("t.int64", -(2**62) - 7)
    writer.add_float32("t.float32", 0.1)
    writer.add_float64("t.float64", 0.1)
    writer.add_bool("t.true", True)
    writer.add_bool("t.false", False)
    writer.add_string("t.string", "zwölf \u6f22\u5b57")
    writer.add_array("t.ints", [1, -2, 300000])
    writer.add_array("t.reals", [0.5, -1.25])
    writer.add_array("t.strings", ["a", "bc", "d e f"])
    writer.add_array("t.bools", [True, False, True])
    writer.add_array("t.nested", [[1, 2], [3]])


def add(writer, name, data, qtype):
    writer.add_tensor(name, data, raw_dtype=qtype)
    writer.add_tensor(name + ".expected", gguf.dequantize(data, qtype).astype(np.float32))


def types_file(path):
    writer = gguf.GGUFWriter(path, "bitnet-b1.58")
    metadata(writer)
    for qtype in (T.Q8_0, T.Q4_0, T.BF16, T.F16, T.TQ1_0, T.TQ2_0):
        x = rng.standard_normal((3, 64)).astype(np.float32)
        if qtype in (T.TQ1_0, T.TQ2_0):
            x = np.repeat(rng.uniform(0.01, 2, (3, 2)), 256, axis=1) * rng.integers(-1, 2, (3, 512))
            x[1, 256:] = 0  # a block of step 0
        add(writer, qtype.name, gguf.quantize(x.astype(np.float32), qtype), qtype)
        if qtype in (T.Q8_0, T.BF16, T.F16):
            writer.add_tensor(qtype.name + ".source", x)
    one_step = (0.75 * rng.integers(-1, 2, (3, 512))).astype(np.float32)
    one_step[2, :256] = 0
    for qtype in (T.TQ1_0, T.TQ2_0):
        add(writer, qtype.name + ".one_step", gguf.quantize(one_step, qtype), qtype)
    # All bytes are legal in Q6_K; the half must be finite.
    q6 = rng.integers(0, 256, (2, 2, 210), dtype=np.uint8)
    q6[:, :, 208:] = rng.uniform(-1, 1, (2, 2)).astype(np.float16).view(np.uint8).reshape(2, 2, 2)
    add(writer, "Q6_K", q6.reshape(2, 420), T.Q6_K)
    writer.add_tensor("F32", np.array([1.5, -2.25, 1e-38, 3e38], dtype=np.float32))
    writer.add_tensor("F32.three", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ------------------------------------------------------------------------------------------------- gguf_blocks.txt
def trit(byte, multiplier):
    q = (byte * multiplier) & 255
    return (q * 3) >> 8


def encoder_bytes(weights):
    """The bytes that (256 * sum + 242) / 243 gives for digits 0 to 2 of these weights."""
    sums = [0]
    for w in weights:
        sums = [s + w * d for s in sums for d in range(3)]
    return np.array(sorted({(256 * s + 242) // 243 for s in sums}), dtype=np.uint8)


FIVE = encoder_bytes([1, 3, 9, 27, 81])
FOUR_HIGH = encoder_bytes([3, 9, 27, 81])
FOUR_LOW = encoder_bytes([1, 3, 9, 27])


def codes_of_two_bits(shape, codes):
    """Random bytes of four codes each, below `codes`."""
    d = rng.integers(0, codes, (*shape, 4), dtype=np.uint8)
    return d[..., 0] | d[..., 1] << 2 | d[..., 2] << 4 | d[..., 3] << 6


def i2s(layout, rows, cols):
    data = codes_of_two_bits((rows * cols // 4,), 3)
    scale = np.float32(rng.uniform(0.1, 2))
    out = np.zeros((rows, cols), np.int8)
    flat = out.reshape(-1)
    for at, byte in enumerate(data):
        for i in range(4):
            code = (int(byte) >> (6 - 2 * i)) & 3
            if layout == "A":  # byte p of 32 holds values p, 32+p, 64+p, 96+p at shifts 6, 4, 2, 0
                flat[at // 32 * 128 + at % 32 + 32 * i] = code - 1
            elif layout == "B":  # the same of 64 values in 16 bytes
                flat[at // 16 * 64 + at % 16 + 16 * i] = code - 1
            else:  # four rows interleaved
                out[at // cols * 4 + i, at % cols] = code - 1
    return data.tobytes() + f32(scale) + bytes(28), out, [scale]


def iq2_bn(rows, cols):
    data, out, steps = b"", np.zeros((rows, cols), np.int8), []
    for r in range(rows):
        scale = np.float32(rng.uniform(0.1, 2))
        data += f32(scale)
        steps.append(scale)
        for b in range(cols // 64):
            block = codes_of_two_bits((16,), 3)
            data += block.tobytes()
            for j in range(16):
                for l in range(4):
                    out[r, 64 * b + 16 * l + j] = ((int(block[j]) >> (2 * l)) & 3) - 1
    return data, out, steps


def iq2_bn_r4(rows, cols):
    data, out, steps = b"", np.zeros((rows, cols), np.int8), []
    for r in range(0, rows, 4):
        scales = rng.uniform(0.1, 2, 4).astype(np.float32)
        data += scales.tobytes()
        steps += list(scales)
        for b in range(cols // 64):
            block = codes_of_two_bits((64,), 3)
            data += block.tobytes()
            for k in range(4):
                for i in range(4):
                    for l in range(4):
                        byte = int(block[4 * k + i + 16 * l])
                        for n in range(4):
                            out[r + k, 64 * b + 16 * l + i + 4 * n] = ((byte >> (2 * n)) & 3) - 1
    return data, out, steps


def iq1_bn(rows, cols):
    mult = [81, 27, 9, 3, 1]
    data, out, steps = b"", np.zeros((rows, cols), np.int8), []
    for r in range(rows):
        scale = np.float16(rng.uniform(0.1, 2))
        data += half(scale)
        steps.append(scale)
        y = []
        for _ in range(cols // 64):
            ql, extra = rng.choice(FIVE, 12), rng.choice(FOUR_LOW)
            data += ql.tobytes() + bytes([extra])
            for i16 in range(4):
                for k in range(3):
                    y += [trit(int(ql[3 * i16 + k]), mult[j]) for j in range(5)]
                y.append(trit(int(extra), mult[i16]))
        out[r] = np.array(y) - 1
    return data, out, steps


def with_halves(rows, cols, block_values, make):
    """make() -> bytes before the half, bytes after it, codes minus what is subtracted."""
    data, out, steps = b"", np.zeros((rows, cols), np.int8), []
    for r in range(rows):
        for b in range(0, cols, block_values):
            d = np.float16(rng.uniform(0.01, 2))
            before, after, levels = make()
            data += before + half(d) + after
            steps.append(d)
            out[r, b : b + block_values] = levels
    return data, out, steps


def q1_0():
    qs = rng.integers(0, 256, 16, dtype=np.uint8)
    return b"", qs.tobytes(), [2 * ((int(qs[j // 8]) >> (j % 8)) & 1) - 1 for j in range(128)]


def two_bits(values, codes):
    def make():
        qs = codes_of_two_bits((values // 4,), codes)
        return b"", qs.tobytes(), [((int(qs[j // 4]) >> (2 * (j % 4))) & 3) - 1 for j in range(values)]

    return make


def ptq1_0():
    qs, qh = rng.choice(FIVE, 24), rng.choice(FOUR_HIGH, 2)
    levels = []
    for e in range(128):
        if e < 80:
            byte, n = qs[e & 15], e >> 4
        elif e < 120:
            byte, n = qs[16 + ((e - 80) & 7)], (e - 80) >> 3
        else:
            byte, n = qh[(e - 120) & 1], (e - 120) >> 1
        levels.append(trit(int(byte), 3**n) - 1)
    return qs.tobytes() + qh.tobytes(), b"", levels


def blocks_text():
    made = [
        ("I2_S/A", 5, 256, i2s("A", 5, 256)),
        ("I2_S/A", 4, 96, i2s("A", 4, 96)),  # rows that begin within blocks
        ("I2_S/B", 3, 192, i2s("B", 3, 192)),
        ("I2_S/C", 8, 75, i2s("C", 8, 75)),
        ("IQ1_BN", 3, 128, iq1_bn(3, 128)),
        ("IQ2_BN", 3, 128, iq2_bn(3, 128)),
        ("IQ2_BN_R4", 8, 128, iq2_bn_r4(8, 128)),
        ("Q1_0", 2, 256, with_halves(2, 256, 128, q1_0)),
        ("Q2_0", 3, 128, with_halves(3, 128, 64, two_bits(64, 4))),
        ("Q2_0", 3, 128, with_halves(3, 128, 64, two_bits(64, 3))),  # ternary
        ("PQ2_0", 2, 256, with_halves(2, 256, 128, two_bits(128, 4))),
        ("PTQ1_0", 3, 256, with_halves(3, 256, 128, ptq1_0)),
    ]
    lines = ["# make_io_gguf.py: type rows cols; bytes; levels; steps"]
    for name, rows, cols, (data, levels, steps) in made:
        lines += [f"{name} {rows} {cols}", data.hex(), "".join("-0+2"[v + 1] for v in levels.reshape(-1))]
        lines += [" ".join(float(s).hex() for s in steps)]
    return "\n".join(lines) + "\n"


# ----------------------------------------------------------------------------------------------------------- --read
def read(path):
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    checked = 0
    for name, t in tensors.items():
        if name.endswith(".expected"):
            continue
        expected = tensors[name + ".expected"]
        values = gguf.dequantize(t.data, t.tensor_type)
        assert values.shape == expected.data.shape, (name, values.shape, expected.data.shape)
        assert (values == expected.data).all(), name
        print(f"{name}: {t.tensor_type.name}, {values.size} values")
        checked += 1
    assert checked > 0
    with tempfile.NamedTemporaryFile(suffix=".gguf") as ours:
        writer = gguf.GGUFWriter(ours.name, "bitnet-b1.58")
        metadata(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        theirs = gguf.GGUFReader(ours.name)
        for key, field in theirs.fields.items():
            if key.startswith("GGUF."):
                continue
            mine = reader.fields[key]
            assert mine.types == field.types, (key, mine.types, field.types)
            assert mine.contents() == field.contents(), key
            print(f"{key}: {field.contents()}")


def main():
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        types = pathlib.Path(folder) / "types.gguf"
        types_file(types)
        made = {"gguf_types.gguf": types.read_bytes(), "gguf_blocks.txt": blocks_text().encode()}
    for name, data in made.items():
        path = FOLDER / name
        if sys.argv[1:2] == ["--check"]:
            assert path.read_bytes() == data, f"{path} is not what this script makes"
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_bytes(data)
        print(f"{path}: {len(data)} bytes")


main()
