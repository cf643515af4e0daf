#!/usr/bin/env python3
"""Small checkpoints and configurations as PyPI's safetensors and transformers write them, and what is in them.

    python3 -m venv /tmp/hf_venv
    /tmp/hf_venv/bin/pip install numpy==2.4.6 ml_dtypes==0.6.0 safetensors==0.8.0 transformers==5.24.0
    /tmp/hf_venv/bin/python make_io_hf.py            # writes tests/golden/io/hf*

Files are written by safetensors, configurations by transformers' own classes (without torch). The frequencies of rotary
embeddings come from transformers' own functions, run on NumPy in double instead of torch in float. Packing and the
quantization of masters are transcribed from transformers/integrations/bitnet.py.
"""
import ast
import json
import math
import os
import shutil

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import ml_dtypes
import numpy as np
import transformers
from safetensors.numpy import save_file
from transformers import BitNetConfig, BitNetQuantConfig, LlamaConfig, Qwen3Config

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "io")
entries = []


def entry(name, values):
    values = np.asarray(values)
    shape = values.shape or (1,)
    flat = values.reshape(-1)
    text = " ".join(str(int(v)) if np.issubdtype(values.dtype, np.integer) else f"{float(v):.17g}" for v in flat)
    entries.append(f"{name} {' '.join(map(str, shape))}\n{text}\n")


# ---- Rotary frequencies: transformers' functions on NumPy ---------------------------------------------------------

class Array(np.ndarray):
    def to(self, device=None, dtype=None):
        return self.astype(dtype).view(Array) if dtype is not None else self


class Torch:
    float = np.float64
    float32 = np.float64
    int64 = np.int64

    @staticmethod
    def arange(*args, dtype=np.int64):
        return np.arange(*args, dtype=dtype).view(Array)

    where = staticmethod(lambda c, a, b: np.where(c, a, b).view(Array))
    clamp = staticmethod(lambda x, low, high: np.clip(x, low, high).view(Array))


def rope_functions():
    path = os.path.join(os.path.dirname(transformers.__file__), "modeling_rope_utils.py")
    names = {f"_compute_{kind}_parameters": kind for kind in ("linear_scaling_rope", "llama3", "yarn")}
    found = {}
    for node in ast.parse(open(path).read()).body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
            space = {"math": math, "torch": Torch}
            exec(compile(ast.Module([node], []), path, "exec"), space)
            found[names[node.name]] = space[node.name]
    return found["linear_scaling_rope"], found["llama3"], found["yarn"]


LINEAR, LLAMA3, YARN = rope_functions()


def default_rope(config):
    dim = config.head_dim
    return 1.0 / (config.rope_parameters["rope_theta"] ** (np.arange(0, dim, 2) / dim)), 1.0


def write_config(name, config):
    with open(os.path.join(OUT, f"hf_config_{name}.json"), "w") as file:
        file.write(config.to_json_string())


def configs():
    sizes = dict(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
                 num_key_value_heads=2)
    llama = dict(sizes, head_dim=64, max_position_embeddings=131072, architectures=["LlamaForCausalLM"])
    write_config("bitnet", BitNetConfig(
        **sizes, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=90, eos_token_id=[91, 95],
        architectures=["BitNetForCausalLM"], dtype="bfloat16",
        quantization_config=BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="offline").to_dict()))
    write_config("bitnet_online", BitNetConfig(
        **sizes, max_position_embeddings=512, bos_token_id=90, eos_token_id=91, architectures=["BitNetForCausalLM"],
        quantization_config=BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online").to_dict()))
    write_config("llama_packed", LlamaConfig(
        **llama, rope_theta=500000.0,
        quantization_config=BitNetQuantConfig(modules_to_not_convert=["lm_head"]).to_dict()))

    ropes = [
        ("default", LlamaConfig, default_rope, None),
        ("linear", LlamaConfig, LINEAR, {"rope_type": "linear", "factor": 2.5}),
        ("llama3", LlamaConfig, LLAMA3, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                         "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
        ("yarn", Qwen3Config, YARN, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
        ("yarn_all", Qwen3Config, YARN, {"rope_type": "yarn", "factor": 40.0, "beta_fast": 24.0, "beta_slow": 2.0,
                                         "original_max_position_embeddings": 4096, "mscale": 0.707,
                                         "mscale_all_dim": 1.3, "truncate": False}),
        ("yarn_slow", LlamaConfig, YARN, {"rope_type": "yarn", "factor": 4.0, "beta_slow": 0.1,
                                          "original_max_position_embeddings": 32768}),
        ("yarn_slower", LlamaConfig, YARN, {"rope_type": "yarn", "factor": 4.0, "beta_slow": 1e-6,
                                            "original_max_position_embeddings": 32768}),
        ("yarn_attention", LlamaConfig, YARN, {"rope_type": "yarn", "factor": 16.0, "attention_factor": 1.25,
                                               "original_max_position_embeddings": 8192}),
    ]
    for name, kind, function, scaling in ropes:
        for base in (10000.0, 500000.0):
            arguments = dict(llama, rope_parameters=dict(scaling or {"rope_type": "default"}, rope_theta=base))
            if kind is Qwen3Config:
                arguments["architectures"] = ["Qwen3ForCausalLM"]
            config = kind(**arguments)
            if base == 500000.0:
                write_config(f"rope_{name}", config)
            frequencies, attention = function(config)
            entry(f"rope/{name}/{int(base)}/frequencies", np.asarray(frequencies, dtype=np.float64))
            entry(f"rope/{name}/{int(base)}/attention", np.float64(attention))


# ---- Weights ------------------------------------------------------------------------------------------------------

def pack(trits):
    """transformers.integrations.bitnet.pack_weights, for a multiple of four rows."""
    quarter = trits.shape[0] // 4
    packed = np.zeros((quarter,) + trits.shape[1:], np.uint8)
    for i in range(4):
        packed |= (trits[i * quarter:(i + 1) * quarter] + 1).astype(np.uint8) << (2 * i)
    return packed


def quantize(weight):
    """WeightQuant.forward; refuses weights nearer to a tie than floats tell."""
    mean = max(np.abs(weight.astype(np.float64)).mean(), 1e-5)
    scaled = weight.astype(np.float64) / mean
    assert np.abs(np.abs(scaled) - 0.5).min() > 2e-6, "choose another seed"
    return np.clip(np.round(scaled), -1, 1).astype(np.int64), mean


# Sizes of the checkpoints: hidden and ffn are multiples of 4, and not of 5 or 8.
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB = 12, 28, 2, 3, 1, 23
SIZES = dict(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
             num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=64)
KV = KV_HEADS * HIDDEN // HEADS
PROJECTIONS = [("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KV, HIDDEN), ("self_attn.v_proj", KV, HIDDEN),
               ("self_attn.o_proj", HIDDEN, HIDDEN), ("mlp.gate_proj", FFN, HIDDEN), ("mlp.up_proj", FFN, HIDDEN),
               ("mlp.down_proj", HIDDEN, FFN)]
GAINS = [("input_layernorm", HIDDEN), ("self_attn.attn_sub_norm", HIDDEN), ("post_attention_layernorm", HIDDEN),
         ("mlp.ffn_sub_norm", FFN)]


def checkpoint(folder, config, packed, seed, tied, shards):
    random = np.random.default_rng(seed)
    bf16 = lambda x: np.asarray(x, np.float32).astype(ml_dtypes.bfloat16)
    tensors = {"model.embed_tokens.weight": bf16(random.normal(size=(VOCAB, HIDDEN))),
               "model.norm.weight": bf16(1 + 0.1 * random.normal(size=HIDDEN))}
    if not tied:
        tensors["lm_head.weight"] = bf16(random.normal(size=(VOCAB, HIDDEN)))
    name = os.path.basename(folder)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for gain, width in GAINS:
            tensors[prefix + gain + ".weight"] = bf16(1 + 0.1 * random.normal(size=width))
        for projection, rows, cols in PROJECTIONS:
            masters = bf16(0.05 * random.normal(size=(rows, cols)))
            trits, step = quantize(masters)
            entry(f"{name}/{prefix}{projection}/levels", trits)
            if packed:
                scale = bf16([step]) if packed == "autobitlinear" else bf16([1.0 / step])
                tensors[prefix + projection + ".weight"] = pack(trits)
                tensors[prefix + projection + ".weight_scale"] = scale
                scale = float(scale[0])
                step = scale if packed == "autobitlinear" else 1.0 / scale
            else:
                tensors[prefix + projection + ".weight"] = masters
            entry(f"{name}/{prefix}{projection}/step", np.float64(step))
    for tensor in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.1.mlp.ffn_sub_norm.weight"):
        entry(f"{name}/{tensor}", tensors[tensor].astype(np.float32))

    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w") as file:
        file.write(config.to_json_string())
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        return
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {key: value for i, (key, value) in enumerate(tensors.items()) if i % shards == shard}
        save_file(part, os.path.join(folder, file), {"format": "pt"})
        weight_map.update({key: file for key in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        total = sum(value.nbytes for value in tensors.values())
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=1)


def checkpoints():
    quantization = lambda **arguments: BitNetQuantConfig(**arguments).to_dict()
    bitnet = lambda **arguments: BitNetConfig(**SIZES, bos_token_id=1, eos_token_id=2,
                                              architectures=["BitNetForCausalLM"], dtype="bfloat16", **arguments)
    checkpoint(os.path.join(OUT, "hf_packed"),
               bitnet(tie_word_embeddings=True, quantization_config=quantization(linear_class="autobitlinear")),
               "autobitlinear", seed=1, tied=True, shards=1)
    checkpoint(os.path.join(OUT, "hf_packed_dividing"), bitnet(quantization_config=quantization()),
               "bitlinear", seed=2, tied=False, shards=1)
    checkpoint(os.path.join(OUT, "hf_masters"),
               bitnet(quantization_config=quantization(linear_class="autobitlinear", quantization_mode="online")),
               None, seed=3, tied=False, shards=3)


# Every type that NumPy and ml_dtypes have, with shapes of all kinds.
def types():
    f8 = ml_dtypes.float8_e4m3fn
    tensors = {
        "bool": np.array([True, False, True]), "u8": np.arange(5, dtype=np.uint8), "i8": np.arange(-2, 2, dtype=np.int8),
        "i16": np.arange(-3, 3, dtype=np.int16).reshape(2, 3), "u16": np.array([65535], np.uint16),
        "f16": np.array([0.5, -2.0, 65504.0], np.float16), "bf16": np.array([1.5, -3.0], ml_dtypes.bfloat16),
        "i32": np.array(7, np.int32), "u32": np.array([[4294967295]], np.uint32),
        "f32": np.array([[0.25, -1.0, 3.5]], np.float32), "f64": np.array([math.pi]), "i64": np.array([-1], np.int64),
        "u64": np.array([2**64 - 1], np.uint64), "c64": np.array([1 + 2j], np.complex64),
        "f8": np.array([1.0, -0.5], f8), "empty": np.zeros((0, 4), np.float32), "name \"\\ \u00e9": np.zeros(1, np.uint8),
    }
    save_file(tensors, os.path.join(OUT, "hf_types.safetensors"), {"format": "np"})


os.makedirs(OUT, exist_ok=True)
types()
configs()
checkpoints()
with open(os.path.join(OUT, "hf.txt"), "w") as file:
    file.write("# Written by make_io_hf.py.\n" + "".join(entries))
