#!/usr/bin/env python3
"""Recomputes tests/golden/transformers/ in float64 and compares it with the stored logits of transformers.

    python3 -m venv /tmp/check_venv && /tmp/check_venv/bin/pip install numpy==2.4.6
    /tmp/check_venv/bin/python check_transformers.py            # compare; fails beyond the tolerances
    /tmp/check_venv/bin/python check_transformers.py --faults   # ... and say what wrong definitions would do

Written from the definitions in transformers/README.md, with NumPy alone: it shares nothing with transformers, torch or
the C++ code. A fault is the name of a wrong definition; Model(folder, fault) has it.
"""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "transformers")

TOLERANCE = 1e-4


# ---- Files ----------------------------------------------------------------------------------------------------------

def read_safetensors(path):
    """Tensors by name: reals in float64, integers as they are."""
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + size + begin:8 + size + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif entry["dtype"] in ("F16", "F32"):
            values = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]).astype(np.float64)
        else:
            values = np.frombuffer(raw, {"U8": "u1", "I32": "<i4"}[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


# ---- Definitions ----------------------------------------------------------------------------------------------------

def half_away(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def distance_to_tie(x):
    return np.abs(np.abs(x - np.floor(x)) - 0.5)


def rope_frequencies(config, fault):
    """Angles a position of the pairs of a head, and the factor of cosines and sines."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = rope.get("rope_theta", config.get("rope_theta"))
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    pairs = np.arange(dim // 2)
    f = base ** (-2.0 * pairs / dim)
    kind = "default" if fault == "rope-unscaled" else rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return f, 1.0
    slow = f / rope["factor"]
    if kind == "linear":
        return slow, 1.0
    original = rope["original_max_position_embeddings"]
    turns = original * f / (2 * np.pi)
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        kept = np.clip((turns - low) / (high - low), 0, 1)
        return kept * f + (1 - kept) * slow, 1.0
    assert kind == "yarn", kind
    pair_of = lambda t: dim * np.log(original / (t * 2 * np.pi)) / (2 * np.log(base))
    low = max(np.floor(pair_of(rope.get("beta_fast") or 32)), 0)
    high = min(np.ceil(pair_of(rope.get("beta_slow") or 1)), dim - 1)
    kept = 1 - np.clip((pairs - low) / (high - low), 0, 1)
    factor = 1.0 if fault == "yarn-attention-factor-1" else 0.1 * np.log(rope["factor"]) + 1
    return kept * f + (1 - kept) * slow, factor


class Model:
    def __init__(self, folder, fault=""):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = config = json.load(file)
        self.fault = fault
        self.tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.eps = 0.0 if fault == "rms-eps-0" else config["rms_norm_eps"]
        self.frequencies, self.rope_factor = rope_frequencies(config, fault)
        self.weight_margin = 0.5  # the least distance of a master to a tie, in steps
        self.matrices = {}
        for layer in range(config["num_hidden_layers"]):
            for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
                name = f"model.layers.{layer}.{name}"
                self.matrices[name] = self.matrix(name)
        head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
        self.head = self.tensors[head + ".weight"]
        if fault == "head-ternary":
            self.head = self.absmean(self.head)
        if fault == "head-float16":
            self.head = self.head.astype(np.float16).astype(np.float64)
        assert ("lm_head.weight" in self.tensors) == (not config["tie_word_embeddings"])

    def absmean(self, masters):
        """Levels -1, 0, 1 times the mean magnitude."""
        mean = max(np.abs(masters).mean(), 1e-5)
        if self.fault == "absmean-of-rows":
            mean = np.abs(masters).mean(1, keepdims=True)
        self.weight_margin = min(self.weight_margin, np.abs(np.abs(masters / mean) - 0.5).min())
        if self.fault == "masters-unquantized":
            return masters
        return np.clip(np.round(masters / mean), -1, 1) * mean

    def matrix(self, name):
        weight, scale = self.tensors[name + ".weight"], self.tensors.get(name + ".weight_scale")
        quantization = self.config["quantization_config"]
        assert quantization["quant_method"] == "bitnet"
        if quantization.get("quantization_mode") == "online":
            return self.absmean(weight)
        if self.fault == "adjacent-rows":
            levels = np.stack([weight >> 2 * i & 3 for i in range(4)], 1).reshape(-1, weight.shape[1])
        else:
            levels = np.concatenate([weight >> 2 * i & 3 for i in range(4)])
        assert levels.max() == 2 and scale.shape == (1,)
        divides = quantization.get("linear_class", "bitlinear") == "bitlinear"
        if self.fault == "other-scale":
            divides = not divides
        return (levels.astype(np.float64) - 1) * (1 / scale[0] if divides else scale[0])

    def quantize(self, x):
        """What a projection reads: a step a token."""
        if self.fault == "inputs-unquantized":
            return x
        floor = 0.0 if self.fault == "no-clamp-of-absmax" else 1e-5
        top = 128.0 if self.fault == "top-128" else 127.0
        axis = None if self.fault == "one-step-for-all-tokens" else -1
        scale = top / np.maximum(np.abs(x).max(axis=axis, keepdims=True), max(floor, 1e-300))
        scaled = x * scale
        if x.ndim == 2:
            self.token_margins = np.minimum(self.token_margins, distance_to_tie(scaled).min(-1))
        rounded = half_away(scaled) if self.fault == "half-away-from-zero" else np.round(scaled)
        return np.clip(rounded, -128, 127) / scale

    def project(self, name, quantized):
        return quantized @ self.matrices[name].T

    def norm(self, name, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.tensors[name + ".weight"]

    def rotate(self, x):
        """x: [tokens, heads, head_dim]."""
        angles = np.arange(len(x))[:, None, None] * self.frequencies
        c, s = np.cos(angles) * self.rope_factor, np.sin(angles) * self.rope_factor
        if self.fault == "rope-adjacent-pairs":
            a, b = x[..., 0::2], x[..., 1::2]
            return np.stack([a * c - b * s, b * c + a * s], -1).reshape(x.shape)
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * c - b * s, b * c + a * s], -1)

    def attention(self, prefix, x):
        tokens, d = len(x), self.head_dim
        x = self.quantize(x)
        q, k, v = (self.project(prefix + name, x).reshape(tokens, -1, d) for name in ("q_proj", "k_proj", "v_proj"))
        head_norms = self.config["model_type"] == "qwen3" and self.fault != "no-head-norms"
        late = self.fault == "head-norms-after-rope"
        if head_norms and not late:
            q, k = self.norm(prefix + "q_norm", q), self.norm(prefix + "k_norm", k)
        q, k = self.rotate(q), self.rotate(k)
        if head_norms and late:
            q, k = self.norm(prefix + "q_norm", q), self.norm(prefix + "k_norm", k)
        if self.fault == "heads-int8":
            q, k, v = self.quantize(q), self.quantize(k), self.quantize(v)
        of = np.arange(self.heads) // (self.heads // self.kv_heads)
        if self.fault == "kv-heads-interleaved":
            of = np.arange(self.heads) % self.kv_heads
        scores = np.einsum("thd,shd->hts", q, k[:, of]) / np.sqrt(d)
        scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        y = np.einsum("hts,shd->thd", p / p.sum(-1, keepdims=True), v[:, of]).reshape(tokens, -1)
        if self.sub_norms():
            y = self.norm(prefix + "attn_sub_norm", y)
        return self.project(prefix + "o_proj", self.quantize(y))

    def sub_norms(self):
        return self.config["model_type"] == "bitnet" and self.fault != "no-sub-norms"

    def ffn(self, prefix, x):
        x = self.quantize(x)
        gate, up = self.project(prefix + "gate_proj", x), self.project(prefix + "up_proj", x)
        if self.fault == "gate-and-up-swapped":
            gate, up = up, gate
        if self.config["hidden_act"] == "relu2":
            y = np.maximum(gate, 0) ** (1 if self.fault == "relu-not-squared" else 2) * up
        else:
            y = gate / (1 + np.exp(-gate)) * up
        if self.sub_norms():
            y = self.norm(prefix + "ffn_sub_norm", y)
        return self.project(prefix + "down_proj", self.quantize(y))

    def forward(self, tokens):
        """Logits after each token; token_margins: per token, the least distance of a quantized input to a tie."""
        self.token_margins = np.full(len(tokens), 0.5)
        x = self.tensors["model.embed_tokens.weight"][tokens]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(prefix + "self_attn.", self.norm(prefix + "input_layernorm", x))
            x = x + self.ffn(prefix + "mlp.", self.norm(prefix + "post_attention_layernorm", x))
        x = self.norm("model.norm", x)
        if self.fault == "head-input-quantized":
            x = self.quantize(x)
        return x @ self.head.T

    def greedy(self, tokens, steps):
        """The continuation, and at each step the gap between the two best logits."""
        tokens, gaps = list(tokens), []
        for _ in range(steps):
            logits = self.forward(tokens)[-1]
            best = np.sort(logits)[-2:]
            gaps.append(best[1] - best[0])
            tokens.append(int(np.argmax(logits)))
        return np.array(tokens[-steps:]), np.array(gaps)


# The last two are no faults: approximations that the library offers.
FAULTS = ["other-scale", "adjacent-rows", "absmean-of-rows", "masters-unquantized", "inputs-unquantized", "top-128",
          "one-step-for-all-tokens", "half-away-from-zero", "no-clamp-of-absmax", "head-ternary",
          "head-input-quantized", "rms-eps-0", "no-sub-norms", "no-head-norms", "head-norms-after-rope",
          "relu-not-squared", "gate-and-up-swapped", "kv-heads-interleaved", "rope-adjacent-pairs", "rope-unscaled",
          "yarn-attention-factor-1", "head-float16", "heads-int8"]


# ---- Comparison -----------------------------------------------------------------------------------------------------

def compare(folder, fault=""):
    """Largest differences of logits: after the short prompts, and after tokens of the long one; of gaps; whether the
    continuation is the same. And the model, and the least margin of the 17 tokens with their continuation."""
    model = Model(folder, fault)
    expected = read_safetensors(os.path.join(folder, "expected.safetensors"))
    short = max(np.abs(model.forward(expected[f"prompt.{n}"])[-1] - expected[f"logits.{n}"]).max() for n in (1, 2, 17))
    logits = model.forward(expected["prompt.200"])
    margin_of_200 = model.token_margins.min()
    long = np.abs(logits[expected["positions.200"] - 1] - expected["logits.200"]).max(-1)
    tokens, gaps = model.greedy(expected["prompt.17"], len(expected["greedy.17"]))
    same = bool((tokens == expected["greedy.17"]).all())
    gap = np.abs(gaps - expected["gaps.17"]).max() if same else np.inf
    return dict(short=short, long=long, gap=gap, same=same, margin=model.token_margins.min(),
                margin_of_200=margin_of_200, weight_margin=model.weight_margin, spread=expected["logits.17"].std(),
                least_gap=expected["gaps.17"].min(), distinct=len(set(expected["greedy.17"])))


def main():
    failed = False
    names = sorted(os.listdir(ROOT))
    names = [name for name in names if os.path.isdir(os.path.join(ROOT, name))]
    for name in names:
        r = compare(os.path.join(ROOT, name))
        bad = not (r["same"] and r["short"] < TOLERANCE and r["gap"] < TOLERANCE and r["long"].max() < TOLERANCE)
        failed |= bad
        print(f"{name}: {'FAILED' if bad else 'ok'}\n"
              f"  logits: spread {r['spread']:.3g}; largest difference after 1, 2, 17 tokens {r['short']:.2g}, after "
              f"1, 50, 100, 150, 200 of 200 {' '.join(f'{x:.2g}' for x in r['long'])}\n"
              f"  continuation: {'the same' if r['same'] else 'ANOTHER'}, {r['distinct']} distinct tokens; gaps differ "
              f"by {r['gap']:.2g}, the least is {r['least_gap']:.3g}\n"
              f"  least distance to a tie: inputs {r['margin']:.2g} (200 tokens: {r['margin_of_200']:.2g}), masters "
              f"{r['weight_margin']:.2g}")
    if "--faults" in sys.argv[1:]:
        print("\nLargest difference of a logit after 1, 2 or 17 tokens, by a wrong definition (=: no difference)")
        print(" " * 24 + " ".join(f"{name[:14]:>14}" for name in names))
        for fault in FAULTS:
            cells = []
            for name in names:
                folder = os.path.join(ROOT, name)
                expected = read_safetensors(os.path.join(folder, "expected.safetensors"))
                right, wrong = Model(folder), Model(folder, fault)
                difference = max(np.abs(right.forward(expected[f"prompt.{n}"])[-1] -
                                        wrong.forward(expected[f"prompt.{n}"])[-1]).max() for n in (1, 2, 17))
                cells.append("=" if difference == 0 else f"{difference:.2g}")
            print(f"{fault:24}" + " ".join(f"{cell:>14}" for cell in cells))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
