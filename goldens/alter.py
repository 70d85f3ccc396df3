"""Alters one number in each file of a copy of this folder, and shows that a test of the workspace fails for each.

usage: alter.py [--seed N] [FILE ...]

Builds the tests once, then runs them on a copy named by JANUS_GOLDENS: first unaltered, when all must pass, then for each file with one
number of it changed, chosen by the seed. smollm2.json is left out where the model is not there. Exit code 1 if an altered file passes.
"""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
# The tests that read the numbers, by package: files of tests/, and names of unit tests. Those that find most come first.
TESTS = [
    ("janus-train", ["golden"], []), ("janus-data", ["tokenizer"], []),
    ("janus-infer", ["goldens", "jinja"], ["gguf_package", "tokenizers_library"]), ("xtask", ["smollm2"], []),
]
# The real model, which the tests of xtask need.
MODEL = list(HERE.parent.glob("models/smollm2*"))


def programs():
    """The test programs with what of them is run, built if they are not."""
    found = []
    for package, files, unit in TESTS:
        if package == "xtask" and not MODEL:
            continue
        command = ["cargo", "test", "--no-run", "--message-format=json", "-p", package, "--tests"]
        built = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, check=True)
        messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith(b"{")]
        for made in [m for m in messages if m.get("executable") and m["profile"]["test"]]:
            name, kind = made["target"]["name"], made["target"]["kind"]
            # One program of all files, or a program for each.
            filters = [f"{file}::" for file in files] if name == "tests" else []
            if "test" in kind and (filters or name in files):
                found.append((package, made["executable"], filters))
            elif "lib" in kind and unit:
                found.append((package, made["executable"], unit))
    return found


def failing(programs, goldens):
    """The first test that fails on these goldens."""
    for package, path, filters in programs:
        environment = {**os.environ, "JANUS_GOLDENS": str(goldens)}
        # The tests of the real model are ignored unless they are asked for.
        command = [path, "--include-ignored", *filters]
        ran = subprocess.run(command, cwd=HERE.parent / package, env=environment, capture_output=True, text=True)
        assert "running 0 tests" not in ran.stdout, f"{path} has no such tests"
        if ran.returncode:
            names = re.findall(r"^test (\S+) \.\.\. FAILED", ran.stdout, re.M)
            return f"{package} {', '.join(names) or ran.stderr[:200]}"
    return None


def alter_tensor(path, chance):
    """Changes one number of a safetensors file."""
    tensors = load_file(path)
    name = chance.choice(sorted(tensors))
    tensor = tensors[name]
    flat = tensor.flatten()
    at = chance.randrange(flat.numel())
    before = flat[at].item()
    if tensor.dtype.is_floating_point:
        flat[at] = before + 0.02 + 0.02 * abs(before)
    else:
        flat[at] = (before + 1) % 256 if tensor.dtype == torch.uint8 else before + 1
    tensors[name] = flat.reshape(tensor.shape)
    save_file(tensors, path)
    return f"{name}[{at}] {before} -> {flat[at].item()}"


def numbers(value, path=()):
    """The way to each number of a JSON value."""
    if isinstance(value, dict):
        for key in value:
            yield from numbers(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from numbers(value[at], (*path, at))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


# What transformers writes into a config and no model's numbers depend on.
IDLE = {"attention_dropout", "pad_token_id", "pretraining_tp", "_sliding_window_pattern"}


def alter_json(path, chance):
    """Changes one number of a JSON file."""
    whole = json.loads(path.read_text())
    way = chance.choice([way for way in numbers(whole) if way[-1] not in IDLE])
    parent = whole
    for key in way[:-1]:
        parent = parent[key]
    before = parent[way[-1]]
    parent[way[-1]] = before + 1 if isinstance(before, int) else before + 0.02 + 0.02 * abs(before)
    path.write_text(json.dumps(whole))
    return f"{'.'.join(map(str, way))} {before} -> {parent[way[-1]]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("files", nargs="*", metavar="FILE", help="alter only these, by their paths in this folder")
    args = parser.parse_args()
    files = sorted(path.relative_to(HERE) for path in HERE.rglob("*") if path.suffix in (".json", ".safetensors"))
    # Versions are a note; the real model is not always there.
    absent = ["versions.json"] + ([] if MODEL else ["smollm2.json"])
    files = [path for path in files if (str(path) in args.files if args.files else str(path) not in absent)]
    tests = programs()
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "goldens"
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        assert failing(tests, copy) is None, failing(tests, copy)
        print("unaltered: every test passes", flush=True)
        for file in files:
            chance = random.Random(f"{args.seed} {file}")
            altered = (alter_tensor if file.suffix == ".safetensors" else alter_json)(copy / file, chance)
            found = failing(tests, copy)
            print(f"{file}: {altered}: {found or 'NOTHING FAILS'}", flush=True)
            unnoticed += [] if found else [str(file)]
            shutil.copy(HERE / file, copy / file)
    print(f"{len(files)} files altered, {len(files) - len(unnoticed)} noticed")
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
