"""Checks Parquet files against pyarrow, in both directions. Not run by `cargo test`.

    python3 -m venv venv && venv/bin/pip install pyarrow
    venv/bin/python janus-data/tests/interop/with_pyarrow.py FOLDER

FOLDER is created. The script writes `sft.jsonl`, `pairs.jsonl`, `reward.jsonl` and `bench.jsonl` there and, with pyarrow, each
as `KIND.TYPES.parquet` with several string and list types. It then runs `cargo run -p janus-data --example convert` to
make `KIND.ours.parquet` from the JSON lines and `KIND.TYPES.jsonl` from pyarrow's files, and checks that

* pyarrow reads `KIND.ours.parquet` with the columns of the released schema, in their order, and casts it to that schema;
* its rows, and those of every `KIND.TYPES.jsonl`, are the rows that were written.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = pa.string()
PREFERENCES = pa.list_(pa.struct([(name, TEXT) for name in ("dimension", "subdimension", "preference", "description")]))
MESSAGES = pa.list_(pa.struct([("content", TEXT), ("role", TEXT)]))
RUBRICS = pa.list_(pa.struct([("criteria", TEXT), ("score_descriptions", pa.struct([(score, TEXT) for score in "12345"]))]))

# The released files' schemas: every field nullable, strings `string`.
RELEASED = {
    "sft": pa.schema([("main_source", TEXT), ("original_source", TEXT), ("preference_set", PREFERENCES), ("system", TEXT), ("prompt", TEXT), ("output", TEXT)]),
    "pairs": pa.schema([("main_source", TEXT), ("original_source", TEXT), ("system", TEXT), ("prompt", TEXT), ("chosen", MESSAGES), ("rejected", MESSAGES)]),
    "reward": pa.schema([("input", TEXT), ("chosen", TEXT), ("rejected", TEXT)]),
    "bench": pa.schema([("source", TEXT), ("preference_set", PREFERENCES), ("system", TEXT), ("prompt", TEXT), ("reference_answer", TEXT), ("rubrics", RUBRICS)]),
}


def preferences(i):
    return [
        {"dimension": d, "subdimension": "sub", "preference": f"p{i}", "description": "é 漢字\n🙂"}
        for d in ("style", "background_knowledge", "informativeness", "harmlessness")
    ]


def rows(kind, count=3000):
    for i in range(count):
        if kind == "sft":
            row = {"main_source": "m", "original_source": "o", "preference_set": preferences(i), "system": f"s{i}", "prompt": "p" * (i % 50), "output": "o"}
            if i % 3 == 0:
                del row["preference_set"]
        elif kind == "pairs":
            talk = lambda answer: [{"role": "user", "content": f"p{i}"}, {"role": "assistant", "content": answer}]
            row = {"main_source": "m", "original_source": "o", "system": "s", "prompt": f"p{i}", "chosen": talk("good"), "rejected": talk("bad")}
        elif kind == "reward":
            row = {"input": f"s\np{i}", "chosen": "good", "rejected": "bad"}
        else:
            rubric = {"criteria": f"c{i}", "score_descriptions": {score: f"anchor {score}" for score in "12345"}}
            row = {"source": "s", "preference_set": preferences(i), "system": "s", "prompt": f"p{i}", "reference_answer": "r", "rubrics": [rubric] * 4}
        yield row


def retype(kind, text, large):
    """The type with every string replaced by `text`, and lists by large lists."""
    if pa.types.is_list(kind):
        item = retype(kind.value_type, text, large)
        return pa.large_list(item) if large else pa.list_(item)
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, retype(field.type, text, large)) for field in kind])
    return text


def convert(kind, source, target):
    command = ["cargo", "run", "--quiet", "-p", "janus-data", "--example", "convert", "--", kind, str(source), str(target)]
    subprocess.run(command, check=True)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    types = {"string": (pa.string(), False), "large": (pa.large_string(), True), "view": (pa.string_view(), False), "dictionary": (pa.dictionary(pa.int32(), pa.string()), False)}
    for kind, schema in RELEASED.items():
        expected = list(rows(kind))
        jsonl = folder / f"{kind}.jsonl"
        jsonl.write_text("".join(json.dumps(row) + "\n" for row in expected))

        ours = folder / f"{kind}.ours.parquet"
        convert(kind, jsonl, ours)
        table = pq.read_table(ours)
        assert table.schema.names == schema.names, table.schema
        assert [without_nulls(row) for row in table.cast(schema).to_pylist()] == expected, kind

        for name, (text, large) in types.items():
            target = pa.schema([(field.name, retype(field.type, text, large)) for field in schema])
            theirs = folder / f"{kind}.{name}.parquet"
            pq.write_table(pa.Table.from_pylist(expected, schema=target), theirs, row_group_size=700)
            back = folder / f"{kind}.{name}.jsonl"
            convert(kind, theirs, back)
            assert [json.loads(line) for line in back.read_text().splitlines()] == expected, (kind, name)
        print(f"{kind}: {len(expected)} rows, {len(types)} type variants agree")


if __name__ == "__main__":
    main()
