#!/usr/bin/env python3
"""The model of cost of docs/cuda.md: what a decoded token must move and do on a GPU, and the time that allows.

    docs/cuda_cost.py [--shape 7B] [--context 512]

Nothing here is measured. A kernel takes at least the larger of its bytes at the device's bandwidth and its operations at
the device's rate; beyond that its launch, and the chain of loads and barriers that depend on each other: a latency each.
"""
import argparse
from dataclasses import dataclass

# Public figures: bytes/s, int8 operations/s of the tensor cores (dense), multiprocessors.
DEVICES = {
    "A100 80 GB": (2.039e12, 624e12, 108),
    "H100 SXM": (3.35e12, 1979e12, 132),
    "RTX 4090": (1.008e12, 660e12, 128),
}
LAUNCH = 1.3e-6  # of a kernel in a graph, from the end of the one before to its first instruction
LOAD = 0.6e-6  # a load from memory that another waits for
BARRIER = 0.04e-6  # a barrier of a block, with what a thread does between two

# hidden, FFN, layers, heads, key/value heads, vocabulary; table 2 of the paper: closed gates, zero inputs of down.
SHAPES = {
    "1.3B": (2048, 5460, 24, 32, 32, 32000, 0.612, 0.818),
    "3B": (3200, 8640, 26, 32, 32, 32000, 0.667, 0.856),
    "7B": (4096, 11008, 32, 32, 32, 32000, 0.675, 0.842),
    "2B-4T": (2560, 6912, 30, 20, 5, 128256, 0.667, 0.856),
}


@dataclass
class Kernel:
    name: str
    moved: float  # bytes
    done: float  # int8 multiply-adds, twice: operations
    loads: int  # that wait for each other
    barriers: int
    launches: int = 1

    def floor(self, device):
        bandwidth, rate, _ = DEVICES[device]
        return max(self.moved / bandwidth, self.done / rate)

    def time(self, device):
        return self.floor(device) + self.launches * LAUNCH + self.loads * LOAD + self.barriers * BARRIER


def ternary(shape, context, skips, cache_bits):
    """As this backend launches it: a4.8, or W1.58A8 without what skips."""
    hidden, ffn, _, heads, kv_heads, _, closed, zeros = SHAPES[shape]
    dim = hidden // heads
    kv = kv_heads * dim
    weights = lambda rows, cols: rows * cols / 4  # two bits each
    ops = lambda rows, cols: 2 * rows * cols
    cache = context * (2 * kv * cache_bits / 8 + 2 * kv_heads * 4)  # codes, and a step a head
    kept, is_open, used = (0.5, 1 - closed, 1 - zeros) if skips else (1, 1, 1)
    reads_list = 3 if skips else 2  # a list, what it names, weights
    kernels = [
        Kernel("norm, quantizer", 4 * hidden + hidden, 0, 1, 4),
        Kernel("Q, K, V", weights(hidden + 2 * kv, hidden), ops(hidden + 2 * kv, hidden), 2, 2),
        Kernel("rotate, store", 4 * (hidden + 2 * kv), 0, 2, 1),
        Kernel("scores", cache / 2, ops(context, hidden), 3, 2),
        Kernel("values, merge", cache / 2, ops(context, hidden), 3, 6, 2 if context > 256 else 1),
        Kernel("top-k, INT8" if skips else "INT8", 4 * hidden + hidden, 0, 1, 22 if skips else 3),
        Kernel("O, of the columns kept; add", weights(hidden, hidden * kept), ops(hidden, hidden * kept), reads_list, 2),
        Kernel("norm, quantizer", 4 * hidden + hidden, 0, 1, 4),
        Kernel("gate", weights(ffn, hidden), ops(ffn, hidden), 2, 2),
        Kernel("open gates", 4 * ffn, 0, 1, 11),
        Kernel("up, of open gates", weights(ffn * is_open, hidden), ops(ffn * is_open, hidden), reads_list, 2),
        Kernel("GLU, INT8", 8 * ffn + ffn, 0, 1, 6),
        Kernel("down, of non-zero inputs; add", weights(hidden, ffn * used), ops(hidden, ffn * used), reads_list, 2),
    ]
    return [k for k in kernels if skips or k.name != "open gates"]  # (of all gates nobody reads a list)


def bfloat16(shape, context):
    """As few launches as libraries of products allow."""
    hidden, ffn, _, heads, kv_heads, _, _, _ = SHAPES[shape]
    kv = kv_heads * (hidden // heads)
    weights = lambda rows, cols: 2 * rows * cols
    return [
        Kernel("norm", 4 * hidden, 0, 1, 4),
        Kernel("Q, K, V", weights(hidden + 2 * kv, hidden), 0, 2, 2),
        Kernel("rotate, store", 4 * (hidden + 2 * kv), 0, 2, 1),
        Kernel("attention", context * 2 * kv * 2, 0, 3, 6, 2),
        Kernel("O", weights(hidden, hidden), 0, 2, 2),
        Kernel("norm", 4 * hidden, 0, 1, 4),
        Kernel("gate, up", weights(2 * ffn, hidden), 0, 2, 2),
        Kernel("GLU", 8 * ffn, 0, 1, 1),
        Kernel("down", weights(hidden, ffn), 0, 2, 2),
    ]


def token_time(kernels, shape, device, head_bits):
    hidden, _, layers, _, _, vocab, _, _ = SHAPES[shape]
    head = Kernel("head", vocab * hidden * head_bits / 8, 0, 2, 2, 3)
    return layers * sum(k.time(device) for k in kernels) + head.time(device)


def resident(shape, context, weight_bits, head_bits, head_bytes):
    """Bytes of weights, of embedding and head, and of the cache; head_bytes: of a key or a value of a head."""
    hidden, ffn, layers, heads, kv_heads, vocab, _, _ = SHAPES[shape]
    kv = kv_heads * (hidden // heads)
    weights = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn) * weight_bits / 8
    return weights, 2 * vocab * hidden * head_bits / 8, context * layers * 2 * kv_heads * head_bytes


def print_resident(shape, context):
    hidden, _, _, heads, _, _, _, _ = SHAPES[shape]
    dim = hidden // heads
    codes = 3 * dim / 8 + 4  # and a step
    baseline = resident(shape, context, 16, 16, 2 * dim)
    print(f"\nBytes of the {shape} shape with {context} tokens in the cache, MB:\n")
    print("| | weights | embedding, head | cache | all | bfloat16 over it |")
    print("|---|---|---|---|---|---|")
    for name, parts in [("bfloat16", baseline), ("a4.8, 2 bits a weight", resident(shape, context, 2, 4, codes)),
                        ("a4.8, if five weights were a byte", resident(shape, context, 1.6, 4, codes))]:
        print(f"| {name} | " + " | ".join(f"{p / 1e6:.0f}" for p in parts) +
              f" | {sum(parts) / 1e6:.0f} | {sum(baseline) / sum(parts):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="7B", choices=SHAPES)
    parser.add_argument("--context", type=int, default=512)
    args = parser.parse_args()
    kernels = ternary(args.shape, args.context, True, 3)
    layers = SHAPES[args.shape][2]

    print(f"A layer of the {args.shape} shape, a4.8, one token after {args.context}:\n")
    print("| kernel | KB | million operations | launches | loads in a chain | barriers | " +
          " | ".join(f"{d}: us" for d in DEVICES) + " |")
    print("|---|" + "---|" * (5 + len(DEVICES)))
    for k in kernels:
        print(f"| {k.name} | {k.moved / 1e3:.0f} | {k.done / 1e6:.1f} | {k.launches} | {k.loads} | {k.barriers} | " +
              " | ".join(f"{k.time(d) * 1e6:.1f} ({k.floor(d) * 1e6:.1f})" for d in DEVICES) + " |")
    print(f"| **layer** | {sum(k.moved for k in kernels) / 1e3:.0f} | {sum(k.done for k in kernels) / 1e6:.1f} | "
          f"{sum(k.launches for k in kernels)} | {sum(k.loads for k in kernels)} | {sum(k.barriers for k in kernels)} | " +
          " | ".join(f"{sum(k.time(d) for k in kernels) * 1e6:.1f} ({sum(k.floor(d) for k in kernels) * 1e6:.1f})"
                     for d in DEVICES) + " |")
    print(f"\nA token of all {layers} layers and the head (INT4; bfloat16's is bfloat16; W1.58A8 has an 8-bit cache), "
          "tokens/s:\n")
    print("| device | bfloat16 | W1.58A8 | a4.8 | over bfloat16 | over W1.58A8 | of bytes alone, over bfloat16 |")
    print("|---|---|---|---|---|---|---|")
    for d in DEVICES:
        bf16 = token_time(bfloat16(args.shape, args.context), args.shape, d, 16)
        b158 = token_time(ternary(args.shape, args.context, False, 8), args.shape, d, 4)
        ours = token_time(kernels, args.shape, d, 4)
        floor = lambda ks, bits: (layers * sum(k.floor(d) for k in ks) +
                                  SHAPES[args.shape][5] * SHAPES[args.shape][0] * bits / 8 / DEVICES[d][0])
        ratio = floor(bfloat16(args.shape, args.context), 16) / floor(kernels, 4)
        print(f"| {d} | {1 / bf16:.0f} | {1 / b158:.0f} | {1 / ours:.0f} | {bf16 / ours:.1f} | {b158 / ours:.2f} | "
              f"{ratio:.1f} |")
    print_resident(args.shape, 4096)


if __name__ == "__main__":
    main()
