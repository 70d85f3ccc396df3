"""What transformers makes of SmolLM2-135M-Instruct from its GGUF file, which `cargo xtask fetch smollm2` gets.

usage: smollm2.py models/smollm2-135m-instruct-q4_1.gguf

Writes smollm2.json beside itself, in a few minutes: ids of texts, the most likely tokens after prompts and their greedy
continuations, and the mean negative log-probability of a text. The weights are those of the file, in float32.
"""
import json
import os
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from text import TEXTS

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPTS = [
    "What is the capital of France?",
    "Name three animals that live in the sea.",
    "Why is the sky blue? Answer in one sentence.",
    "Translate into Spanish: Good morning, how are you?",
    "Write a function in Python that adds two numbers.",
    "What is 12 times 12?",
    "List the days of the week.",
    "Explain to a child what a kite is.",
    "Give me a recipe for pancakes.",
    "Who wrote Romeo and Juliet?",
    "Write a short poem about the wind.",
    "What do bees make?",
]
TEXT = (
    "The harbour lies open to the north, and when the wind turns the old boats pull at their ropes. In the morning the sailors look "
    "at the flags before they look at the sea. A kite rises above the last house, held by a child who has never seen a storm. By noon "
    "the air is warm, the flags hang still, and nobody in the town remembers what the weather was like the day before."
)
TOKENS, NEAREST = 32, 10


def tokenizer_of(path):
    """The tokenizer in the file. transformers reads its vocabulary and merges from there, and takes GPT-2's way to split words for every
    file; SmolLM2's own tokenizer.json, and llama.cpp for a file that says `smollm`, make each digit a word of its own first."""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    return tokenizer


def continuation(model, tokenizer, prompt):
    """The ids of a chat, the likeliest tokens after it, and a greedy answer with how far each choice was from the next."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    made = {"prompt": text, "ids": ids, "top": [], "greedy": [], "gaps": []}
    out = model(torch.tensor([ids]), use_cache=True)
    for _ in range(TOKENS):
        best = out.logits[0, -1].topk(NEAREST)
        made["top"] = made["top"] or [[int(id), round(float(logit), 5)] for id, logit in zip(best.indices, best.values)]
        made["greedy"].append(int(best.indices[0]))
        made["gaps"].append(round(float(best.values[0] - best.values[1]), 5))
        if made["greedy"][-1] == tokenizer.eos_token_id:
            break
        out = model(best.indices[:1][None], past_key_values=out.past_key_values, use_cache=True)
    return made


def main(path):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = tokenizer_of(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids_of = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        ids = ids_of(TEXT)
        nll = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
        made = {
            "strings": [{"text": text, "ids": ids_of(text)} for text in TEXTS],
            "perplexity": {"text": TEXT, "ids": ids, "mean_nll": nll},
            "cases": [continuation(model, tokenizer, prompt) for prompt in PROMPTS],
        }
    rows = lambda key: ",\n".join("  " + json.dumps(row) for row in made[key])
    text = f'{{\n "perplexity": {json.dumps(made["perplexity"])},\n "strings": [\n{rows("strings")}\n ],\n "cases": [\n{rows("cases")}\n ]\n}}\n'
    (Path(__file__).resolve().parent / "smollm2.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
