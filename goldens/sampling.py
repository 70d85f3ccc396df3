"""Filters of the sampler as transformers' logits processors apply them, and learning-rate schedules."""
import json

import torch
import transformers
from transformers import LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper
from transformers import TopKLogitsWarper, TopPLogitsWarper

from decoder import save

ROWS, VOCAB, SEEN = 6, 160, 24
CASES = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"repetition_penalty": 1.15},
    {"repetition_penalty": 0.9},
    {"top_k": 1},
    {"top_k": 12},
    {"top_p": 0.9},
    {"top_p": 0.35, "temperature": 1.4},
    {"min_p": 0.05},
    {"min_p": 0.2, "temperature": 2.0},
    {"top_k": 30, "top_p": 0.8},
    {"repetition_penalty": 1.03, "temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.02},
]
OFF = {"repetition_penalty": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
STEPS = [(0, 1), (0, 7), (3, 10), (5, 5), (6, 40)]


def processors(case):
    """In the order of transformers' `generate`."""
    chain = LogitsProcessorList()
    if case["repetition_penalty"] != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    if case["temperature"] != 1.0:
        chain.append(TemperatureLogitsWarper(case["temperature"]))
    if case["top_k"]:
        chain.append(TopKLogitsWarper(case["top_k"]))
    if case["top_p"] < 1.0:
        chain.append(TopPLogitsWarper(case["top_p"]))
    if case["min_p"] > 0.0:
        chain.append(MinPLogitsWarper(case["min_p"]))
    return chain


def away_from_edges(logits, seen):
    """Whether a change of the logits by rounding changes no filter's choice."""
    generator = torch.Generator().manual_seed(0)
    for case in CASES:
        chain = processors({**OFF, **case})
        kept = torch.isfinite(chain(seen, logits.clone()))
        for _ in range(8):
            moved = logits * (1 + 2e-5 * torch.randn(logits.shape, generator=generator))
            if not torch.equal(torch.isfinite(chain(seen, moved)), kept):
                return False
    return True


def make(folder):
    for seed in range(1000):
        generator = torch.Generator().manual_seed(700 + seed)
        # From a flat distribution to one that is nearly certain; no two logits of a row are equal.
        logits = torch.randn(ROWS, VOCAB, generator=generator) * torch.tensor([0.1, 0.7, 1.5, 2.5, 4.0, 9.0])[:, None]
        seen = torch.randint(0, VOCAB, (ROWS, SEEN), generator=generator)
        # Likely tokens are among those seen, one of them twice.
        seen[:, :3] = logits.topk(3).indices
        seen[:, 3] = seen[:, 0]
        if away_from_edges(logits, seen) and all(row.unique().numel() == VOCAB for row in logits):
            break
    tensors, cases = {"logits": logits, "prev_ids": seen}, []
    for index, case in enumerate(CASES):
        case = {**OFF, **case}
        scores = processors(case)(seen, logits.clone())
        tensors[f"probs_{index}"] = torch.softmax(scores, -1)
        cases.append({"index": index, **case, "kept": torch.isfinite(scores).sum(1).tolist()})
    save(folder / "sampling.safetensors", tensors)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (folder / "sampling.json").write_text('{\n "sampling": [\n' + lines + "\n ]\n}\n")


def schedules(folder):
    """Factors on the peak learning rate in each step of a run, by transformers' get_scheduler."""
    made = {}
    for ours, theirs in SCHEDULES.items():
        for warmup, total in STEPS:
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            schedule = transformers.get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=total)
            factors = []
            for _ in range(total):
                factors.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            made.setdefault(ours, {})[f"warmup{warmup}_total{total}"] = factors
    (folder / "schedules.json").write_text(json.dumps(made, indent=1) + "\n")
