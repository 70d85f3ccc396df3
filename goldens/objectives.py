"""Losses with their gradients, and a run of the optimiser.

The losses are written here from the equations that are named, on the log-probabilities of transformers' models, and derived by
torch.autograd. Nothing is taken from the workspace."""
import copy
import math

import peft
import torch
import torch.nn.functional as F
import transformers
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from decoder import VOCAB, documents, logprobs_of, parameters, positions_of, run, save

BETA, SMOOTHING, LAMBDA = 0.3, 0.1, 0.25


class Cases:
    """Inputs of every objective for one seed, shared by the float32 and the float64 model."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)

        def draw(length):
            return torch.randint(0, VOCAB, (length,), generator=generator)

        self.sft_ids, self.sft_segments = documents([[18], [11], [14], [6]], 18, draw)
        self.sft_labels = torch.where(self.sft_segments >= 0, self.sft_ids, -100)
        for row, prompt in enumerate([5, 3, 9, 1]):
            self.sft_labels[row, :prompt] = -100
        # A second turn of the user in the first row.
        self.sft_labels[0, 9:12] = -100
        self.packed(draw)
        self.pairs(draw, generator)
        self.adamw_ids = torch.randint(0, VOCAB, (12, 2, 20), generator=generator)

    def packed(self, draw):
        """Rows as transformers' own collator packs them: it gives labels, positions and cu_seqlens."""
        collator = transformers.DataCollatorWithFlattening(return_flash_attn_kwargs=True)
        rows, self.cu_seqlens = [], []
        for lengths in [[9, 14, 5], [13, 12]]:
            features = []
            for length in lengths:
                ids = draw(length)
                labels = ids.clone()
                labels[: length // 3] = -100
                features.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
            row = collator(features)
            self.cu_seqlens.append(row["cu_seq_lens_q"].long())
            rows.append(row)
        width = max(row["input_ids"].shape[1] for row in rows) + 2
        pad = lambda row, key, filler: F.pad(row[key][0], (0, width - row[key].shape[1]), value=filler)
        self.packed_ids = torch.stack([pad(row, "input_ids", 0) for row in rows])
        self.packed_labels = torch.stack([pad(row, "labels", -100) for row in rows])
        segments = []
        for row, cu_seqlens in zip(rows, self.cu_seqlens):
            segment = torch.repeat_interleave(torch.arange(len(cu_seqlens) - 1), cu_seqlens.diff())
            assert torch.equal(positions_of(segment[None])[0], row["position_ids"][0])
            segments.append(F.pad(segment, (0, width - len(segment)), value=-1))
        self.packed_segments = torch.stack(segments)

    def pairs(self, draw, generator):
        """Chosen rows 0..P, rejected rows P..2P. Every id of the vocabulary stands somewhere before a row's last token, so that every
        weight of either model matters."""
        lengths = [(7, 15, 12), (4, 18, 16), (9, 13, 17), (6, 16, 14), (5, 17, 13), (8, 14, 15)]
        deck = torch.randperm(VOCAB, generator=generator).tolist()
        take = lambda count: torch.tensor([deck.pop() if deck else int(draw(1)) for _ in range(count)])
        rows, masks = {True: [], False: []}, {True: [], False: []}
        for prompt, chosen, rejected in lengths:
            shared = take(prompt)
            for side, length in ((True, chosen), (False, rejected)):
                rows[side].append(torch.cat([shared, take(length - 1), draw(1)]))
                masks[side].append(torch.arange(prompt + length) >= prompt)
        assert not deck
        rows, masks = rows[True] + rows[False], masks[True] + masks[False]
        width = max(map(len, rows))
        stack = lambda tensors, left: torch.stack([F.pad(t, (width - len(t), 0) if left else (0, width - len(t))) for t in tensors])
        self.pair_ids, self.completion = stack(rows, False), stack([mask.long() for mask in masks], False)
        real = [torch.ones(len(row), dtype=torch.long) for row in rows]
        self.pair_mask, self.left_ids, self.left_mask = stack(real, False), stack(rows, True), stack(real, True)

    def tensors(self, parts):
        found = {}
        if "sft" in parts:
            mask = (self.sft_segments >= 0).long()
            found |= {"sft.input_ids": self.sft_ids, "sft.attention_mask": mask, "sft.labels": self.sft_labels}
        if "sft_packed" in parts:
            found |= {
                "sft_packed.input_ids": self.packed_ids, "sft_packed.labels": self.packed_labels,
                "sft_packed.segment_ids": self.packed_segments,
            }
            found |= {f"sft_packed.cu_seqlens_{row}": ends for row, ends in enumerate(self.cu_seqlens)}
        if "dpo" in parts:
            found |= {
                "pairs.input_ids": self.pair_ids, "pairs.attention_mask": self.pair_mask, "pairs.completion_mask": self.completion,
                "rm.input_ids_left": self.left_ids, "rm.attention_mask_left": self.left_mask,
            }
        if "adamw" in parts:
            found["adamw.input_ids"] = self.adamw_ids
        return found


def sft(model, cases, packed=False):
    """transformers' own loss of causal language models: the mean negative log-probability of the labels."""
    if packed:
        return run(model, cases.packed_ids, cases.packed_segments, True, labels=cases.packed_labels).loss
    return run(model, cases.sft_ids, cases.sft_segments, labels=cases.sft_labels).loss


def completion_logprobs(model, cases):
    """[2P] sums of log-probabilities over the completions, [2P] their counts, [2P, T - 1] log-probabilities of all tokens."""
    logprobs = logprobs_of(run(model, cases.pair_ids, cases.pair_mask - 1).logits, cases.pair_ids)
    counted = cases.completion[:, 1:].to(logprobs.dtype)
    return (logprobs * counted).sum(1), counted.sum(1), logprobs


def dpo(model, reference, cases):
    """Rafailov et al., arXiv 2305.18290, equation 7; with label smoothing, Mitchell 2023, "A note on DPO with noisy preferences",
    equation 3."""
    policy, _, _ = completion_logprobs(model, cases)
    with torch.no_grad():
        base, _, _ = completion_logprobs(reference, cases)
    chosen, rejected = (BETA * (policy - base)).chunk(2)
    margin = chosen - rejected
    losses = -F.logsigmoid(margin)
    smoothed = -(1 - SMOOTHING) * F.logsigmoid(margin) - SMOOTHING * F.logsigmoid(-margin)
    values = {"logps": policy, "ref_logps": base, "rewards": torch.cat([chosen, rejected]), "losses": losses}
    numbers = {
        "beta": BETA, "label_smoothing": SMOOTHING, "smoothed_loss_f64": smoothed.mean(), "margin": margin.mean(),
        "accuracy": (margin > 0).double().mean(),
    }
    return losses.mean(), values, numbers


def orpo(model, cases):
    """Hong et al., arXiv 2403.07691, equations 4, 6 and 7, in logarithms: odds(y) = p / (1 - p) of p = exp(mean log-probability).
    The likelihood term is a mean over prompt and completion of the chosen rows, as TRL and the paper's runs have it;
    `nll_response_only` is that over the completion alone."""
    sums, counts, logprobs = completion_logprobs(model, cases)
    chosen, rejected = (sums / counts).chunk(2)
    log_odds = (chosen - torch.log(-torch.expm1(chosen))) - (rejected - torch.log(-torch.expm1(rejected)))
    gain = F.logsigmoid(log_odds)
    half = len(cases.pair_ids) // 2
    real = cases.pair_mask[:half, 1:].to(logprobs.dtype)
    nll = -(logprobs[:half] * real).sum() / real.sum()
    # TRL's function of the two means, which wants a trainer for its constant.
    trainer = type("Trainer", (), {"beta": LAMBDA, "accelerator": type("Cpu", (), {"device": "cpu"})})
    theirs = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0]
    assert torch.allclose(theirs.double(), LAMBDA * gain.double(), atol=1e-5), "TRL computes another odds ratio"
    values = {"chosen_avg_logps": chosen, "rejected_avg_logps": rejected, "log_odds": log_odds, "log_sigmoid_odds": gain}
    numbers = {
        "lambda": LAMBDA, "nll": nll, "log_odds_mean": log_odds.mean(), "or_loss": -LAMBDA * gain.mean(),
        "nll_response_only": -sums[:half].sum() / counts[:half].sum(),
    }
    return nll - LAMBDA * gain.mean(), values, numbers


def reward(model, head, cases):
    """The Bradley-Terry loss of reward models (Ouyang et al., arXiv 2203.02155, equation 1, two answers): the reward is the value head's
    product with the hidden state, after the final norm, of the last token."""

    def rewards(ids, mask):
        out = run(model, ids, mask - 1, output_hidden_states=True)
        values = out.hidden_states[-1] @ head[0]
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return values.gather(1, last[:, None])[:, 0]

    values = rewards(cases.left_ids, cases.left_mask)
    right = rewards(cases.pair_ids, cases.pair_mask)
    assert (values - right).abs().max() < 1e-4, "padding changes a reward"
    chosen, rejected = values.chunk(2)
    losses = -F.logsigmoid(chosen - rejected)
    numbers = {"accuracy": (chosen > rejected).double().mean()}
    return losses.mean(), {"chosen_rewards": chosen, "rejected_rewards": rejected, "losses": losses}, numbers


def gradients(loss, weights):
    """Gradients by name; weights that the loss does not depend on have none."""
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: gradient for (name, _), gradient in zip(weights.items(), found) if gradient is not None}


def norm(grads):
    return math.sqrt(sum((grad.double() ** 2).sum().item() for grad in grads.values()))


def number(value):
    return value.item() if isinstance(value, torch.Tensor) else value


class Training:
    """All training cases of one model, each in float32 and in float64."""

    def __init__(self, folder, model, reference, head, seed):
        self.folder, self.model, self.reference, self.head = folder, model, reference, head.requires_grad_()
        self.cases = Cases(seed)
        self.double, self.double_reference = copy.deepcopy(model).double(), copy.deepcopy(reference).double()
        self.double_head = head.detach().double().requires_grad_()
        self.seed = seed

    def make(self, parts):
        """Writes the gradients; returns tensors and numbers for the files of the cases."""
        tensors, report = self.cases.tensors(parts), {}
        if "sft" in parts:
            report["sft"] = self.step("sft", lambda model, *_: (sft(model, self.cases), {}, {}), tensors)
            report["sft"]["n_tokens"] = int((self.cases.sft_labels[:, 1:] != -100).sum())
        if "sft_packed" in parts:
            report["sft_packed"] = self.step("sft_packed", lambda model, *_: (sft(model, self.cases, True), {}, {}), tensors)
            report["sft_packed"]["n_tokens"] = int((self.cases.packed_labels[:, 1:] != -100).sum())
        if "dpo" in parts:
            report["dpo"] = self.step("dpo", lambda model, reference, _: dpo(model, reference, self.cases), tensors)
            for name in ["logps", "ref_logps", "rewards"]:
                chosen, rejected = tensors.pop(f"dpo.{name}").chunk(2)
                base = name.removeprefix("ref_")
                prefix = "ref_" if name != base else ""
                tensors |= {f"dpo.{prefix}chosen_{base}": chosen, f"dpo.{prefix}rejected_{base}": rejected}
        if "orpo" in parts:
            report["orpo"] = self.step("orpo", lambda model, *_: orpo(model, self.cases), tensors)
        if "reward" in parts:
            save(self.folder / "value_head.safetensors", {"value_head.weight": self.head})
            report["reward"] = self.step("reward", lambda model, _, head: reward(model, head, self.cases), tensors, "rm", True)
        if "lora" in parts:
            report["lora"] = self.lora(tensors)
        if "adamw" in parts:
            report["adamw"] = self.adamw()
        return tensors, report

    def step(self, case, loss_of, tensors, prefix=None, with_head=False):
        """One loss and its gradients."""
        made = []
        for model, reference, head in (
            (self.model, self.reference, self.head), (self.double, self.double_reference, self.double_head)
        ):
            loss, values, numbers = loss_of(model, reference, head)
            weights = {**parameters(model), "value_head.weight": head} if with_head else parameters(model)
            made.append((loss, values, numbers, gradients(loss, weights)))
        (_, values, _, grads), (loss, _, numbers, precise) = made
        save(self.folder / f"grads_{case}.safetensors", grads)
        tensors |= {f"{prefix or case}.{name}": value.detach() for name, value in values.items()}
        apart = max((grads[name] - precise[name]).abs().max().item() for name in grads)
        return {
            "loss_f64": loss.item(), "grad_norm": norm(precise), "grad_f32_vs_f64_max_abs": apart,
            **{name: number(value) for name, value in numbers.items()},
        }

    def lora(self, tensors):
        """peft's updates of every projection (Hu et al., arXiv 2106.09685): the loss on the rows of `sft`, gradients of A and B, and
        logits of the row `long`'s model with the updates added to the weights."""
        rank, alpha = 3, 4.5
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0)
        grads, losses, updates = [], [], {}
        for base in (self.model, self.double):
            adapted = peft.get_peft_model(copy.deepcopy(base), config).eval()
            generator = torch.Generator().manual_seed(self.seed + 5)
            weights = {}
            for name, weight in sorted(adapted.named_parameters()):
                if "lora_" in name:
                    drawn = (torch.randn(weight.shape, generator=generator) * 0.5 / weight.shape[1] ** 0.5).bfloat16()
                    with torch.no_grad():
                        weight.copy_(drawn)
                    weights[name.removeprefix("base_model.model.").replace(".default", "")] = weight
            loss = sft(adapted, self.cases)
            grads.append(gradients(loss, weights))
            losses.append(loss.item())
            if base is self.model:
                updates = {name: weight.detach().clone() for name, weight in weights.items()}
                with torch.no_grad():
                    logits = run(adapted, self.cases.sft_ids, self.cases.sft_segments).logits
                    merged = run(adapted.merge_and_unload(), self.cases.sft_ids, self.cases.sft_segments).logits
                assert (logits - merged).abs().max() < 5e-5
                tensors["lora.logprobs"] = logprobs_of(logits, self.cases.sft_ids) * (self.cases.sft_segments[:, 1:] >= 0)
        save(self.folder / "lora.safetensors", updates)
        save(self.folder / "grads_lora.safetensors", grads[0])
        apart = max((grads[0][name] - grads[1][name]).abs().max().item() for name in updates)
        return {
            "rank": rank, "alpha": alpha, "loss_f64": losses[1], "grad_norm": norm(grads[1]), "grad_f32_vs_f64_max_abs": apart,
        }

    def adamw(self):
        """Loshchilov & Hutter, arXiv 1711.05101, as torch.optim.AdamW has it, with the clipping of torch.nn.utils and transformers'
        cosine. Weights of two dimensions decay."""
        settings = {
            "lr": 2e-3, "betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.1, "clip": 1.0, "warmup": 4,
            "total": len(self.cases.adamw_ids),
        }
        logs, finals = [], []
        for base in (self.model, self.double):
            model = copy.deepcopy(base)
            weights = parameters(model)
            groups = [
                {"params": [w for w in weights.values() if w.dim() == 2], "weight_decay": settings["weight_decay"]},
                {"params": [w for w in weights.values() if w.dim() != 2], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW(groups, lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"], foreach=False)
            schedule = transformers.get_cosine_schedule_with_warmup(optimizer, settings["warmup"], settings["total"])
            log = []
            for ids in self.cases.adamw_ids:
                optimizer.zero_grad()
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
                loss.backward()
                total = torch.nn.utils.clip_grad_norm_(weights.values(), settings["clip"])
                log.append({"loss": loss.item(), "lr": schedule.get_last_lr()[0], "grad_norm": total.item()})
                optimizer.step()
                schedule.step()
            logs.append(log)
            finals.append({name: weight.detach() for name, weight in weights.items()})
        save(self.folder / "adamw_final.safetensors", finals[0])
        apart = max((finals[0][name] - finals[1][name]).abs().max().item() for name in finals[0])
        losses = [step["loss"] for step in logs[1]]
        return {**settings, "steps": logs[0], "losses_f64": losses, "final_param_f32_vs_f64_max_abs": apart}
