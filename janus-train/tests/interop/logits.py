"""Loads a checkpoint with transformers and prints the log-probabilities of some rows as JSON.

usage: logits.py FOLDER, with rows of ids as a JSON list of lists on stdin
"""
import json
import sys

import torch
import transformers

folder = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
rows = []
for ids in json.load(sys.stdin):
    ids = torch.tensor([ids])
    with torch.no_grad():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    rows.append(logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist())
json.dump(rows, sys.stdout)
