"""Makes the reference numbers of this folder with PyTorch, transformers, tokenizers, peft, TRL and gguf; README.md describes them.

usage: make.py [--check] [--waiting] [--only NAME ...]

Without options it writes every file anew, beside itself. --check makes them in a temporary folder instead and compares them with what
is here: numbers to 1e-5 + 1e-5 |x|, everything else exactly. --waiting makes the families too that the workspace does not run yet.
--only makes some of the models, or sampling, schedules, tokenizers, templates, quantized.
"""
import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import torch
from safetensors.torch import load_file

import decoder
import objectives
import quantized
import sampling
import templates
import text

HERE = Path(__file__).resolve().parent
PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "numpy", "peft", "trl", "gguf", "jinja2"]
OTHERS = {
    "sampling": sampling.make, "schedules": sampling.schedules, "tokenizers": text.make, "templates": templates.make,
    "quantized": quantized.make,
}


def make_model(folder, name, entry, seed):
    """Everything of one model."""
    folder = folder / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    parts = entry["parts"]
    model = decoder.build(entry, seed)
    reference = decoder.build(entry, seed + 1)
    decoder.write_model(folder, entry, model, reference if "dpo" in parts else None)
    hidden = entry["config"]["hidden_size"]
    head = torch.randn(1, hidden, generator=torch.Generator().manual_seed(seed + 2)).bfloat16().float() / hidden**0.5
    training = objectives.Training(folder, model, reference, head, seed + 3)
    tensors, forward = decoder.forward_cases(model, training.double, seed + 4)
    tensors |= decoder.rope_frequencies(model)
    tensors |= decoder.greedy_case(model, seed * 1000)
    trained, report = training.make(parts)
    decoder.save(folder / "cases.safetensors", {**tensors, **trained})
    (folder / "cases.json").write_text(json.dumps({"forward": forward, **report}, indent=1) + "\n")


def make(folder, only, waiting):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for at, (name, entry) in enumerate(decoder.MODELS.items()):
        if name in only or not only and (waiting or not entry.get("waiting")):
            print(f"{name} ...", file=sys.stderr, flush=True)
            make_model(folder, name, entry, 10 * (at + 1))
    for name, part in OTHERS.items():
        if not only or name in only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            part(folder)
    versions = {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


def same_json(ours, theirs, where):
    """Where two JSON values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [line for key in ours for line in same_json(ours[key], theirs[key], f"{where}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [line for at, pair in enumerate(zip(ours, theirs)) for line in same_json(*pair, f"{where}[{at}]")]
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return [] if abs(ours - theirs) <= 1e-5 + 1e-5 * abs(theirs) else [f"{where}: {ours}, here {theirs}"]
    return [] if ours == theirs else [f"{where} differs"]


def same_tensors(ours, theirs, where):
    """Where two safetensors files differ."""
    ours, theirs = load_file(ours), load_file(theirs)
    if ours.keys() != theirs.keys():
        return [f"{where} has other tensors"]
    found = []
    for name, tensor in ours.items():
        other = theirs[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            found.append(f"{where} {name} has another shape or type")
        elif not torch.allclose(tensor.double(), other.double(), rtol=1e-5, atol=1e-5):
            found.append(f"{where} {name}: {(tensor.double() - other.double()).abs().max().item()} apart")
    return found


def compare(made, here):
    """Prints what differs between two folders; the number of files that were compared, and of those that differ."""
    files, different = 0, 0
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        name = path.relative_to(made)
        if str(name) == "versions.json":
            continue
        other = here / name
        if not other.is_file():
            found = [f"{name} is not here"]
        elif path.suffix == ".safetensors":
            found = same_tensors(path, other, str(name))
        else:
            found = same_json(json.loads(path.read_text()), json.loads(other.read_text()), str(name))
        files, different = files + 1, different + bool(found)
        print("\n".join(found[:5]) or f"{name}: equal")
    print(f"{files} files made again, {different} of them differ")
    return files, different


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="make them elsewhere and compare with what is here")
    parser.add_argument("--waiting", action="store_true", help="make the families too that the workspace does not run yet")
    parser.add_argument("--only", nargs="+", default=[], choices=[*decoder.MODELS, *OTHERS], metavar="NAME")
    args = parser.parse_args()
    if not args.check:
        if not args.only:
            for old in ("models", "tokenizers"):
                shutil.rmtree(HERE / old, ignore_errors=True)
        return make(HERE, args.only, args.waiting)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), args.only, args.waiting)
        files, different = compare(Path(folder), HERE)
        sys.exit(0 if files and not different else 1)


if __name__ == "__main__":
    main()
