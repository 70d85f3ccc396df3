"""Logits of a small Llama under each rope scaling, by transformers, for tests/rope_scaling.rs.

usage: rope_scaling.py > rope_scaling.json (made with torch 2.15.0, transformers 5.24.0)

Weight i of tensor t (in the order of ModelConfig::tensors, norms are 1) is ((7 i + 13 t) mod 31 - 15) / 64; token i of
the text is (i i + 3 i) mod 32. `logits` are the first eight after token 11 and after the last.
"""
import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
FACTORS = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 8.0]
LONGROPE = {"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": FACTORS, "long_factor": FACTORS}
SCALINGS = {"none": {"rope_type": "default"}, "linear": {"rope_type": "linear", "factor": 4.0}, "llama3": LLAMA3, "longrope": LONGROPE}
SIZES = {
    "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "tie_word_embeddings": False,
}
ORDER = [
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
]

names = ["model.embed_tokens.weight"]
names += [f"model.layers.{layer}.{tail}.weight" for layer in range(SIZES["num_hidden_layers"]) for tail in ORDER]
names += ["model.norm.weight", "lm_head.weight"]
ids = torch.tensor([[(i * i + 3 * i) % 32 for i in range(48)]])
cases = {}
for name, scaling in SCALINGS.items():
    config = LlamaConfig(**SIZES, rope_parameters={"rope_theta": 10000.0, **scaling})
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(names)
    with torch.no_grad():
        for at, tensor in enumerate(names):
            weight = parameters[tensor]
            values = (torch.arange(weight.numel()) * 7 + at * 13) % 31 - 15
            weight.copy_((values / 64).reshape(weight.shape) if weight.dim() == 2 else torch.ones_like(weight))
        logits = model(ids).logits[0]
    cases[name] = {
        "rope_parameters": {"rope_theta": 10000.0, **scaling},
        "frequencies": model.model.rotary_emb.inv_freq.tolist(),
        "logits": [logits[11, :8].tolist(), logits[-1, :8].tolist()],
    }
lines = [f'  "{name}": {json.dumps(case)}' for name, case in cases.items()]
config = json.dumps({"model_type": "llama", **SIZES})
print(f'{{\n "config": {config},\n "cases": {{\n' + ",\n".join(lines) + "\n }\n}")
