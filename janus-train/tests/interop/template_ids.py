"""The ids that the tokenizers and chat templates of some folders give in transformers.

usage: template_ids.py, with {"folders": [path, ...], "conversations": [messages, ...]} on stdin

Prints, for each folder, the ids of each conversation; one that ends with the user gets the generation prompt.
"""
import json
import sys

import transformers

asked = json.load(sys.stdin)


def ids(tokenizer, messages):
    prompt = messages[-1]["role"] != "assistant"
    return tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=True, return_dict=False)


tokenizers = [transformers.AutoTokenizer.from_pretrained(folder) for folder in asked["folders"]]
json.dump([[ids(tokenizer, messages) for messages in asked["conversations"]] for tokenizer in tokenizers], sys.stdout)
