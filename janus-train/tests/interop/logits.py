"""What transformers makes of a checkpoint folder.

usage: logits.py FOLDER, with {"rows": [ids, ...], "conversations": [messages, ...]} on stdin

Prints {"logits": for each row the logits after every token, "rewards": for each row the value head's output at its last
token, if the folder has one, "ids": for each conversation the ids that its tokenizer and chat template give}.
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import load_file

folder = sys.argv[1]
asked = json.load(sys.stdin)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
head_file = os.path.join(folder, "value_head.safetensors")
head = load_file(head_file)["value_head.weight"] if os.path.exists(head_file) else None
answer = {"logits": [], "rewards": [], "ids": []}
with torch.no_grad():
    for ids in asked["rows"]:
        out = model(torch.tensor([ids]), output_hidden_states=True)
        answer["logits"].append(out.logits[0].tolist())
        if head is not None:
            # The last hidden state is the one after the final norm.
            answer["rewards"].append((out.hidden_states[-1][0, -1] @ head[0]).item())
if asked["conversations"]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for messages in asked["conversations"]:
        answers = messages[-1]["role"] == "assistant"
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=not answers, tokenize=True, return_dict=False)
        answer["ids"].append(ids)
json.dump(answer, sys.stdout)
