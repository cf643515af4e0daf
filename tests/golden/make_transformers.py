#!/usr/bin/env python3
"""Small BitNet checkpoints as transformers reads them, and the logits that transformers' own classes give.

    python3 -m venv /tmp/transformers_venv     # torch brings 5 GB with it
    /tmp/transformers_venv/bin/pip install torch==2.15.0 transformers==5.24.0 accelerate==1.15.0 numpy==2.4.6 \
        safetensors==0.8.0
    /tmp/transformers_venv/bin/python make_transformers.py           # writes tests/golden/transformers/

Each folder has config.json and model.safetensors, laid out as released models are, and expected.safetensors (see
transformers/README.md). Weights are random. The logits come from AutoModelForCausalLM.from_pretrained(folder), on the
CPU, in float32, with eager attention, without a cache: the classes are transformers' (BitLinear, AutoBitLinear).

Worked around: transformers/integrations/bitnet.py decorates its functions with torch.compile, which would call a C++
compiler and may fuse operations; TORCHDYNAMO_DISABLE=1 runs the same functions as they are written (compiled, they were
within 5e-6 of these). Of a packed model from_pretrained leaves reals in the file's type, whatever dtype= says;
Module.float makes them float32. accelerate must be installed for transformers to load a BitNet model; nothing of it
runs.

Prompts are chosen with the float64 model of check_transformers.py, such that no rounding in float32 decides what comes
out: of many, the one whose quantized inputs keep the farthest from ties, and of whose continuation the two best logits
keep apart; and transformers must say the same as float64 both at once and token by token with its cache.
"""
import json
import os
import shutil
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitNetConfig, LlamaConfig, Qwen3Config
from transformers.integrations import bitnet as integration
from transformers.utils import logging
from transformers.utils.quantization_config import BitNetQuantConfig

from check_transformers import ROOT, Model

logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
STEPS = 32
LENGTHS = (1, 2, 17, 200)
POSITIONS = (1, 50, 100, 150, 200)


# ---- The models -----------------------------------------------------------------------------------------------------

# A released model's own words, with other sizes: BitNet b1.58 2B-4T and its bf16 sibling.
def released_bitnet(mode, **sizes):
    return {"architectures": ["BitNetForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "relu2",
            "initializer_range": 0.02, "max_position_embeddings": 512, "model_type": "bitnet", "rms_norm_eps": 1e-05,
            "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rope_theta": 500000.0,
            "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
            "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                    "quantization_mode": mode}, **sizes}


# Llama 3's with BitNet layers, as they were released: rope_scaling beside rope_theta.
def released_llama(**more):
    return {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 1, "eos_token_id": [2, 3], "hidden_act": "silu", "initializer_range": 0.02,
            "max_position_embeddings": 512, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 4,
            "num_hidden_layers": 2, "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "use_cache": True, **more}


# As transformers writes them today.
def saved(config, architecture, dtype):
    config.architectures = [architecture]
    config.dtype = dtype
    return json.loads(config.to_json_string())


SIZES = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
ONLINE = BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online").to_dict()
OFFLINE = BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="offline").to_dict()


def models():
    """name: config, type of the reals, type of weight_scale."""
    return {
        "bitnet_online": (released_bitnet("online", vocab_size=192, hidden_size=64, intermediate_size=96), BF16, None),
        "bitnet_offline": (released_bitnet("offline", vocab_size=160, hidden_size=128, intermediate_size=192),
                           BF16, BF16),
        "llama_bitlinear_llama3": (released_llama(
            vocab_size=256, hidden_size=64, intermediate_size=172, rope_theta=10000.0, tie_word_embeddings=False,
            torch_dtype="bfloat16", head_dim=16,
            rope_scaling={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                          "original_max_position_embeddings": 128, "rope_type": "llama3"},
            quantization_config={"quant_method": "bitnet", "linear_class": "bitlinear",
                                 "modules_to_not_convert": None}), BF16, BF16),
        "qwen3_offline": (saved(Qwen3Config(
            **SIZES, vocab_size=144, hidden_size=64, intermediate_size=160, head_dim=32, bos_token_id=1,
            eos_token_id=2, quantization_config=OFFLINE, tie_word_embeddings=False,
            rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"}), "Qwen3ForCausalLM", "float32"),
            F32, F32),
        "llama_online_yarn": (saved(LlamaConfig(
            **SIZES, vocab_size=176, hidden_size=64, intermediate_size=96, tie_word_embeddings=True,
            quantization_config=ONLINE,
            rope_parameters={"rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0,
                             "original_max_position_embeddings": 128}), "LlamaForCausalLM", "float16"), F16, None),
        "llama_online_linear": (saved(LlamaConfig(
            **SIZES, vocab_size=128, hidden_size=64, intermediate_size=100, tie_word_embeddings=False,
            quantization_config=ONLINE,
            rope_parameters={"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.5}),
            "LlamaForCausalLM", "bfloat16"), BF16, None),
    }


# Deviations of the projections' masters, times the root of their width: scores of attention are spread, and what the
# blocks add is larger than what they add it to.
SPREADS = {"q_proj": 2.0, "k_proj": 2.2, "v_proj": 1.7, "o_proj": 3.0, "gate_proj": 1.5, "up_proj": 1.8,
           "down_proj": 2.5}


def write_model(folder, config, reals, scales, random):
    """Names and shapes are those of the class without quantization."""
    with open(os.path.join(folder, "config.json"), "w") as file:
        file.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    class_of = {"bitnet": BitNetConfig, "llama": LlamaConfig, "qwen3": Qwen3Config}[config["model_type"]]
    shapes = AutoModelForCausalLM.from_config(class_of(**plain)).state_dict()
    tied = config["tie_word_embeddings"]
    normal = lambda shape, deviation: torch.from_numpy(random.normal(0, deviation, tuple(shape)).astype(np.float32))
    tensors = {}
    for name, like in shapes.items():
        kind = name.split(".")[-2]
        if name == "lm_head.weight" and tied:
            continue
        if kind in SPREADS:
            weight = normal(like.shape, SPREADS[kind] / like.shape[1] ** 0.5)
            if scales is None:
                tensors[name] = weight.to(reals)
                continue
            # A scale by which the masters were multiplied, or divided.
            scale = 1.0 / weight.abs().mean()
            levels = (weight * scale).round().clamp(-1, 1)
            tensors[name] = integration.pack_weights(levels)
            divides = config["quantization_config"]["linear_class"] == "bitlinear"
            tensors[name + "_scale"] = (scale if divides else 1.0 / scale).reshape(1).to(scales)
        elif name == "model.embed_tokens.weight":
            tensors[name] = normal(like.shape, 0.02).to(reals)  # so small that the first norm's epsilon counts
        elif name == "lm_head.weight":
            tensors[name] = normal(like.shape, 0.5).to(reals)
        elif name == "model.norm.weight" and tied:
            # Of any sign: else the best token after a token would be that token.
            tensors[name] = normal(like.shape, 30.0).to(reals)
        elif kind in ("q_norm", "k_norm"):
            tensors[name] = (1.2 + normal(like.shape, 0.4)).to(reals)
        else:
            assert "norm" in kind, name
            tensors[name] = (1 + normal(like.shape, 0.3)).to(reals)
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})


# ---- What transformers computes -------------------------------------------------------------------------------------

def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[key], (key, info[key])
    torch.nn.Module.float(model).eval()  # model.float() refuses: it believes dtype= was heeded
    config = model.config
    assert config._attn_implementation == "eager" and {p.dtype for p in model.parameters()} == {torch.float32}
    wanted = {"autobitlinear": integration.AutoBitLinear, "bitlinear": integration.BitLinear}
    wanted = wanted[config.quantization_config.linear_class]
    for name, module in model.named_modules():
        if name.endswith("_proj"):
            assert type(module) is wanted, (name, type(module))
    assert type(model.lm_head) is torch.nn.Linear
    return model


@torch.no_grad()
def logits(model, tokens):
    return model(input_ids=torch.tensor(np.asarray(tokens)[None]), use_cache=False).logits[0].float().numpy()


@torch.no_grad()
def greedy(model, tokens, steps):
    tokens, gaps = [int(t) for t in tokens], []
    for _ in range(steps):
        last = logits(model, tokens)[-1]
        second, best = np.sort(last)[-2:]
        gaps.append(best - second)
        tokens.append(int(last.argmax()))
    return np.array(tokens[-steps:]), np.array(gaps)


@torch.no_grad()
def logits_by_cache(model, tokens):
    """Token by token, with transformers' cache: other sums, other roundings."""
    cache, rows = None, []
    for token in tokens:
        out = model(input_ids=torch.tensor([[int(token)]]), cache=cache, use_cache=True)
        cache = out.cache
        rows.append(out.logits[0, 0].numpy())
    return np.stack(rows)


def choose_prompts(reference, model, vocab, random):
    """Tokens by length."""
    draw = lambda n: random.integers(4, vocab, n)

    def first_beyond_doubt(candidates):
        for merit, tokens in sorted(candidates, reverse=True)[:20]:
            exact = reference.forward(list(tokens))
            others = logits(model, tokens), logits_by_cache(model, tokens)
            difference = max(np.abs(exact - other).max() for other in others)
            if difference < 1e-4:
                return np.array(tokens)
        raise SystemExit("no prompt of which float32 and float64 say the same: choose another seed")

    prompts, candidates = {}, []
    for _ in range(CANDIDATES):
        tokens = draw(17)
        reference.forward(tokens)
        if reference.token_margins.min() < 5e-5:
            continue
        continuation, gaps = reference.greedy(tokens, STEPS)
        merit = min(reference.token_margins.min() / 4e-5, gaps.min() / 0.2, len(set(continuation)) / 12)
        candidates.append((merit, tuple(tokens)))
    prompts[17] = first_beyond_doubt(candidates)
    for n, tries in ((1, 20), (2, 20), (200, CANDIDATES)):
        candidates = []
        for _ in range(tries):
            tokens = draw(n)
            reference.forward(tokens)
            candidates.append((reference.token_margins.min(), tuple(tokens)))
        prompts[n] = first_beyond_doubt(candidates)
    return prompts


CANDIDATES = 600


def write_expected(folder, model, prompts):
    tensors = {"positions.200": torch.tensor(POSITIONS, dtype=torch.int32)}
    for n in LENGTHS:
        assert len(prompts[n]) == n
        tensors[f"prompt.{n}"] = torch.tensor(prompts[n], dtype=torch.int32)
        all_of = logits(model, prompts[n])
        rows = all_of[[p - 1 for p in POSITIONS]] if n == 200 else all_of[-1]
        tensors[f"logits.{n}"] = torch.from_numpy(np.ascontiguousarray(rows))
    continuation, gaps = greedy(model, prompts[17], STEPS)
    tensors["greedy.17"] = torch.tensor(continuation, dtype=torch.int32)
    tensors["gaps.17"] = torch.tensor(gaps, dtype=torch.float32)
    save_file(tensors, os.path.join(folder, "expected.safetensors"))
    # transformers' own loop, with its cache, says the same.
    own = model.generate(torch.tensor(prompts[17][None]), attention_mask=torch.ones(1, 17, dtype=torch.long),
                         max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False, eos_token_id=None,
                         pad_token_id=0)[0, 17:].numpy()
    assert (own == continuation).all(), (own, continuation)


# ---- What transformers' quantizers do at the edges, beside what models show -----------------------------------------

def check_quantizers():
    def of_inputs(x):
        x = torch.tensor([x], dtype=torch.float32)
        y = integration.ActQuant.apply(x)[0]
        layer = integration.BitLinear(4, 4, False, dtype=torch.float32)
        codes, scale = layer.activation_quant(x)
        assert torch.allclose(codes[0] / scale[0], y, rtol=1e-6, atol=0), "both classes quantize inputs alike"
        return codes[0].tolist(), float(scale)

    assert of_inputs([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5])[0] == [127, 0, 2, 2, 0, -2, -2], "half to even"
    assert of_inputs([-127.0, 3.0])[0] == [-127, 3], "-128 does not occur"
    assert of_inputs([1e-6, 0.0]) == ([13, 0], float(np.float32(127) / np.float32(1e-5))), "absmax is 1e-5 at least"
    assert of_inputs([0.0, 0.0])[0] == [0, 0]
    weights = lambda w: integration.WeightQuant.apply(torch.tensor(w, dtype=torch.float32)).tolist()
    assert weights([0.5, 1.5, 1.0, -0.5, -1.5]) == [0.0, 1.0, 1.0, -0.0, -1.0], "half to even"
    tiny = weights([1e-6, -1e-6, 4e-6, 6e-6])
    assert tiny[:3] == [0.0, -0.0, 0.0] and abs(tiny[3] - 1e-5) < 1e-11, "the mean is 1e-5 at least"
    # Of bf16 masters the step is rounded to bf16 where the model runs in bf16, not where it runs in float32.
    masters = torch.tensor([[0.3, -0.37, 0.05, 0.1]])
    mean = float(masters.bfloat16().float().abs().mean())
    in_bf16 = float(integration.WeightQuant.apply(masters.bfloat16()).abs().max())
    in_f32 = float(integration.WeightQuant.apply(masters.bfloat16().float()).abs().max())
    assert abs(in_f32 - mean) < 1e-7 and in_bf16 == float(torch.tensor(mean).bfloat16()) != in_f32


def check_features(folder, config, expected):
    """The logits depend on what the configuration says: transformers itself with something else said."""
    changes = {}
    quantization = config["quantization_config"]
    if quantization.get("quantization_mode") != "online":
        other = "autobitlinear" if quantization["linear_class"] == "bitlinear" else "bitlinear"
        changes["the other scale"] = dict(config, quantization_config=dict(
            quantization, linear_class=other, quantization_mode="offline"))
    for key in ("rope_scaling", "rope_parameters"):
        if config.get(key, {}).get("rope_type", "default") != "default":
            theta = config[key].get("rope_theta", config.get("rope_theta"))
            without = {k: v for k, v in config.items() if k not in ("rope_scaling", "rope_parameters", "rope_theta")}
            changes["unscaled angles"] = dict(without, rope_theta=theta)
    changes["silu for relu2, or the reverse"] = dict(
        config, hidden_act="silu" if config["hidden_act"] == "relu2" else "relu2")
    changes["rms_norm_eps 0.01"] = dict(config, rms_norm_eps=0.01)
    for what, changed in changes.items():
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(changed, file)
        got = logits(load(folder), expected["prompt.200"].numpy())[[p - 1 for p in POSITIONS]]
        difference = np.abs(got - expected["logits.200"].numpy()).max()
        print(f"  {what}: logits change by up to {difference:.3g}")
        assert difference > 0.05, what
    with open(os.path.join(folder, "config.json"), "w") as file:
        file.write(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    from safetensors.torch import load_file
    check_quantizers()
    for i, (name, (config, reals, scales)) in enumerate(models().items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = os.path.join(ROOT, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        random = np.random.default_rng([2026, i])
        write_model(folder, config, reals, scales, random)
        model, reference = load(folder), Model(folder)
        assert reference.weight_margin > 1e-6, f"a master is at a tie ({reference.weight_margin}): choose another seed"
        prompts = choose_prompts(reference, model, config["vocab_size"], random)
        write_expected(folder, model, prompts)
        print(name, {f: os.path.getsize(os.path.join(folder, f)) for f in sorted(os.listdir(folder))}, flush=True)
        check_features(folder, config, load_file(os.path.join(folder, "expected.safetensors")))


if __name__ == "__main__":
    main()
