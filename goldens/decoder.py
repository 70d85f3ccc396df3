"""Small models of every family, and what they compute: logits, log-probabilities, a greedy continuation."""
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

VOCAB = 160
SIZES = {"vocab_size": VOCAB, "max_position_embeddings": 512, "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2}
LLAMA3_ROPE = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}
FACTORS = [1.0, 1.25, 2.0, 3.5]
LONGROPE = {"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": FACTORS, "long_factor": FACTORS}


def sizes(hidden, inner, layers, heads, kv_heads, head_dim=None):
    """The keys of a config.json that give a model its shape."""
    keys = {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }
    return keys if head_dim is None else {**keys, "head_dim": head_dim}


# One entry a model: the class in transformers, and its config.json in the spelling of 2023 to 2025. `rope_scaling` becomes part of
# `rope_parameters` in config.v5.json. `parts` are the cases that are made beside the forward pass.
TRAINING = ["sft", "sft_packed", "dpo", "orpo", "reward", "lora", "adamw"]
MODELS = {
    "mistral": {
        "class": "Mistral", "parts": TRAINING,
        "config": {
            "model_type": "mistral", **sizes(24, 40, 2, 4, 2, head_dim=8), "rope_theta": 1000000.0, "rms_norm_eps": 1e-5,
            "sliding_window": None, "tie_word_embeddings": False,
        },
    },
    "mistral_window": {
        "class": "Mistral", "parts": TRAINING,
        "config": {
            "model_type": "mistral", **sizes(28, 36, 2, 3, 1, head_dim=12), "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
            "sliding_window": 8, "tie_word_embeddings": True,
        },
    },
    "llama": {
        "class": "Llama", "parts": TRAINING,
        "config": {
            "model_type": "llama", **sizes(24, 44, 2, 3, 3), "rope_theta": 500000.0, "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
    "llama_tied": {
        "class": "Llama", "parts": TRAINING,
        "config": {
            "model_type": "llama", **sizes(32, 40, 2, 4, 1), "rope_theta": 100000.0, "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
    },
    "llama_rope_llama3": {
        "class": "Llama", "parts": ["sft_packed"],
        "config": {
            "model_type": "llama", **sizes(24, 32, 2, 2, 1, head_dim=16), "rope_theta": 10000.0, "rope_scaling": LLAMA3_ROPE,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        },
    },
    "llama_rope_linear": {
        "class": "Llama", "parts": ["sft_packed"],
        "config": {
            "model_type": "llama", **sizes(24, 32, 2, 2, 1, head_dim=16), "rope_theta": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0}, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        },
    },
    "mistral_rope_longrope": {
        "class": "Mistral", "parts": [],
        "config": {
            "model_type": "mistral", **sizes(24, 32, 2, 2, 1, head_dim=8), "rope_theta": 10000.0, "rope_scaling": LONGROPE,
            "rms_norm_eps": 1e-5, "sliding_window": None, "tie_word_embeddings": True,
        },
    },
    # Families that the workspace does not run yet: made with `make.py --waiting`.
    "qwen2_tied": {
        "class": "Qwen2", "parts": TRAINING, "waiting": True,
        "config": {
            "model_type": "qwen2", **sizes(28, 40, 2, 7, 1), "rope_theta": 1000000.0, "rms_norm_eps": 1e-6,
            "use_sliding_window": False, "tie_word_embeddings": True,
        },
    },
    "qwen3": {
        "class": "Qwen3", "parts": TRAINING, "waiting": True,
        "config": {
            "model_type": "qwen3", **sizes(24, 40, 2, 4, 2, head_dim=12), "rope_theta": 1000000.0, "rms_norm_eps": 1e-6,
            "attention_bias": False, "use_sliding_window": False, "tie_word_embeddings": False,
        },
    },
    "gemma3": {
        "class": "Gemma3", "config_class": "Gemma3Text", "parts": TRAINING, "waiting": True,
        "config": {
            "model_type": "gemma3_text", **sizes(24, 36, 3, 4, 1, head_dim=8), "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
            "rms_norm_eps": 1e-6, "sliding_window": 8, "sliding_window_pattern": 3, "query_pre_attn_scalar": 12,
            "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
        },
    },
}


def config_of(entry):
    """The config as transformers 5 holds it."""
    keys = {**SIZES, **entry["config"]}
    theta, scaling = keys.pop("rope_theta"), keys.pop("rope_scaling", None) or {"rope_type": "default"}
    keys["rope_parameters"] = {"rope_theta": theta, **scaling}
    if "rope_local_base_freq" in keys:
        local = {"rope_type": "default", "rope_theta": keys.pop("rope_local_base_freq")}
        keys["rope_parameters"] = {"full_attention": keys["rope_parameters"], "sliding_attention": local}
        pattern = keys.pop("sliding_window_pattern")
        kinds = ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(keys["num_hidden_layers"])]
        keys["layer_types"] = kinds
    keys.pop("model_type")
    family = entry.get("config_class", entry["class"])
    return getattr(transformers, f"{family}Config")(**keys, attn_implementation="eager")


def build(entry, seed):
    """A model with weights of our own choice: logits of size 1 to 5, norms that scale, biases that are not zero. Weights are
    representable in bfloat16, so that they compress and need not be rounded again for a test in that type."""
    model = getattr(transformers, f"{entry['class']}ForCausalLM")(config_of(entry)).float().eval()
    generator = torch.Generator().manual_seed(seed)
    norm = 0.0 if entry["class"].startswith("Gemma") else 1.0
    embedding = 0.35 if entry["config"]["tie_word_embeddings"] else 0.8
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                drawn = norm + 0.2 * drawn
            elif name.endswith("bias"):
                drawn = 0.3 * drawn
            elif "embed_tokens" in name:
                drawn = embedding * drawn
            else:
                drawn = 1.3 * drawn / weight.shape[1] ** 0.5
            weight.copy_(drawn.bfloat16().float())
    return model


def write_model(folder, entry, model, reference):
    """config.json in both spellings, and the weights."""
    old = {"architectures": [type(model).__name__], **SIZES, **entry["config"], "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(old, indent=1) + "\n")
    new = json.loads(model.config.to_json_string(use_diff=True))
    new["architectures"] = [type(model).__name__]
    (folder / "config.v5.json").write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")
    save(folder / "model.safetensors", parameters(model))
    if reference is not None:
        save(folder / "ref_model.safetensors", parameters(reference))


def save(path: Path, tensors):
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in sorted(tensors.items())}, path)


def parameters(model):
    """Weights by name; a tied head is the embedding and has no entry."""
    return dict(model.named_parameters())


def positions_of(segments):
    """The position of each token in its document: segments [B, T], -1 where there is padding, whose position is 1."""
    positions = torch.ones_like(segments)
    for row, place in (segments >= 0).nonzero().tolist():
        first = place == 0 or segments[row, place - 1] != segments[row, place]
        positions[row, place] = 0 if first else positions[row, place - 1] + 1
    return positions


def allowed(segments, window=None):
    """[B, T, T]: whether a token attends to another: not later, of its document, and nearer than the window."""
    width = segments.shape[1]
    back = torch.arange(width)[:, None] - torch.arange(width)[None, :]
    seen = (back >= 0) if window is None else (back >= 0) & (back < window)
    same = (segments[:, :, None] == segments[:, None, :]) & (segments[:, :, None] >= 0)
    # A row of padding attends to itself, so that its softmax is a number.
    return (same & seen) | torch.eye(width, dtype=torch.bool)


def run(model, ids, segments, packed=False, **more):
    """The model on rows of documents. Rows of one document go in as transformers has it: attention mask and positions. Packed rows,
    and every row in float64, for which transformers' own mask makes NaN of padding, go in with the mask written out."""
    positions, dtype = positions_of(segments), next(model.parameters()).dtype
    if not packed and dtype == torch.float32:
        return model(input_ids=ids, attention_mask=(segments >= 0).long(), position_ids=positions, use_cache=False, **more)

    def additive(window):
        masked = torch.zeros(allowed(segments).shape, dtype=dtype).masked_fill(~allowed(segments, window), torch.finfo(dtype).min)
        return masked[:, None]

    config = model.config
    window = getattr(config, "sliding_window", None)
    mask = additive(window if "layer_types" not in config.to_dict() else None)
    if "layer_types" in config.to_dict():
        kinds = {"full_attention": additive(None), "sliding_attention": additive(window)}
        mask = {kind: kinds[kind] for kind in set(config.layer_types)}
    return model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, **more)


def logprobs_of(logits, ids):
    """[B, T - 1]: log-probability of each token but the first, given those before it."""
    return torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]


def next_in_document(segments):
    """[B, T - 1]: whether a token and the next are real and of one document."""
    return (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)


def documents(lengths, width, draw, left=False):
    """A row for each list of document lengths: ids and segments [B, width]."""
    ids, segments = torch.zeros(len(lengths), width, dtype=torch.long), torch.full((len(lengths), width), -1)
    for row, parts in enumerate(lengths):
        at = width - sum(parts) if left else 0
        for segment, length in enumerate(parts):
            ids[row, at : at + length] = draw(length)
            segments[row, at : at + length] = segment
            at += length
    return ids, segments


def forward_cases(model, double, seed):
    """Logits and log-probabilities: rows padded on the right and the left, a long one, and packed ones."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randint(0, VOCAB, (length,), generator=generator)

    tensors, report, separate = {}, {}, []
    padded = [[12], [7], [1], [10]]
    cases = {"right_pad": documents(padded, 12, draw), "long": documents([[48]], 48, draw)}
    right = cases["right_pad"]
    rows = iter([right[0][row][right[1][row] >= 0] for row in range(4)])
    cases["left_pad"] = documents(padded, 12, lambda _: next(rows), left=True)
    cases["packed"] = documents([[3, 12, 5], [1, 10, 9]], 22, draw)
    for name, (ids, segments) in cases.items():
        packed = name == "packed"
        with torch.no_grad():
            logits, precise = (run(each, ids, segments, packed).logits for each in (model, double))
        real, follows = segments >= 0, next_in_document(segments)
        logprobs = logprobs_of(logits, ids)
        tensors |= {
            f"{name}.input_ids": ids, f"{name}.logits": logits * real[..., None], f"{name}.logprobs": logprobs * follows,
        }
        tensors |= {"packed.segment_ids": segments} if packed else {f"{name}.attention_mask": real.long()}
        if packed:
            for row in range(len(ids)):
                for segment in range(int(segments[row].max()) + 1):
                    here = segments[row] == segment
                    with torch.no_grad():
                        alone = model(input_ids=ids[row][here][None], use_cache=False).logits[0]
                    separate.append((alone - logits[row][here]).abs().max().item())
        report[name] = {"logits_f32_vs_f64": ((logits - precise).abs() * real[..., None]).max().item()}
    left, right = tensors["left_pad.logits"], tensors["right_pad.logits"]
    for row, [length] in enumerate(padded):
        separate.append((left[row, 12 - length :] - right[row, :length]).abs().max().item())
    assert max(separate) < 2e-5, f"a document depends on what is beside it: {separate}"
    return tensors, report


def rope_frequencies(model):
    """Rotary frequencies [head_dim / 2], scaled, in float32."""
    rotary = model.model.rotary_emb
    return {name.removesuffix("inv_freq") + "frequencies": value for name, value in rotary.named_buffers() if name.endswith("inv_freq")}


def greedy_case(model, seed):
    """A continuation by the most likely token, from a prompt on which no choice is close."""
    for attempt in range(1000):
        generator = torch.Generator().manual_seed(seed + attempt)
        prompt = torch.randint(0, VOCAB, (1, 9), generator=generator)
        settings = transformers.GenerationConfig(
            do_sample=False, max_new_tokens=30, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True
        )
        made = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
        best = torch.stack(made.logits, 1).topk(2).values
        if (best[..., 0] - best[..., 1]).min().item() > 5e-3 and made.sequences.unique().numel() > 12:
            return {"greedy.prompt_ids": prompt, "greedy.output_ids": made.sequences}
    raise AssertionError("every prompt has a close choice")
