"""Checks Parquet and Arrow files against pyarrow and `datasets`, in both directions. Not run by `cargo test`.

    python3 -m venv venv && venv/bin/pip install pyarrow datasets
    cargo build --workspace --example convert
    venv/bin/python janus-data/tests/interop/with_pyarrow.py FOLDER target/debug/examples/convert

FOLDER is created. The script writes `sft.jsonl`, `pairs.jsonl`, `reward.jsonl` and `bench.jsonl` there and, with pyarrow, each
as `KIND.TYPES.parquet` and `KIND.TYPES.arrow` with several string and list types. It then runs the example to make
`KIND.ours.parquet` and `KIND.ours.arrow` from the JSON lines and `KIND.TYPES.jsonl` from pyarrow's files, and checks that

* pyarrow reads `KIND.ours.*` with the columns of the released schema, in their order, and casts them to that schema;
* `datasets` loads `KIND.ours.*` under the features of the released schema;
* their rows, and those of every file by pyarrow or by `datasets` that the example read, are the rows that were written.
"""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.ipc
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
    subprocess.run([sys.argv[2], kind, str(source), str(target)], check=True)


def write_arrow(table, path, growing):
    # An IPC file cannot hold the growing dictionaries of several batches; a stream, as `datasets` keeps them, can.
    new = pa.ipc.new_stream if growing else pa.ipc.new_file
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)


def read_ours(path):
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    types = {"string": (pa.string(), False), "large": (pa.large_string(), True), "view": (pa.string_view(), False), "dictionary": (pa.dictionary(pa.int32(), pa.string()), False)}
    for kind, schema in RELEASED.items():
        expected = list(rows(kind))
        jsonl = folder / f"{kind}.jsonl"
        jsonl.write_text("".join(json.dumps(row) + "\n" for row in expected))

        features = datasets.Features.from_arrow_schema(schema)
        for layout in ("parquet", "arrow"):
            ours = folder / f"{kind}.ours.{layout}"
            convert(kind, jsonl, ours)
            table = read_ours(ours)
            assert table.schema.names == schema.names, table.schema
            assert [without_nulls(row) for row in table.cast(schema).to_pylist()] == expected, (kind, layout)
            loaded = datasets.load_dataset(layout, data_files=str(ours), split="train", cache_dir=str(folder / "cache")).cast(features)
            assert loaded.column_names == schema.names, (kind, layout, loaded.column_names)
            assert [without_nulls(row) for row in loaded] == expected, (kind, layout)

        for name, (text, large) in types.items():
            # pyarrow cannot yet write string views inside lists.
            nested = pa.string() if name == "view" else text
            target = pa.schema([(field.name, retype(field.type, nested if pa.types.is_nested(field.type) else text, large)) for field in schema])
            table = pa.Table.from_pylist(expected, schema=target)
            pq.write_table(table, folder / f"{kind}.{name}.parquet", row_group_size=700)
            write_arrow(table, folder / f"{kind}.{name}.arrow", growing=name == "dictionary")
            for layout in ("parquet", "arrow"):
                back = folder / f"{kind}.{name}.{layout}.jsonl"
                convert(kind, folder / f"{kind}.{name}.{layout}", back)
                assert [json.loads(line) for line in back.read_text().splitlines()] == expected, (kind, name, layout)

        written = folder / f"{kind}.datasets.parquet"
        complete = [{name: row.get(name) for name in schema.names} for row in expected]
        datasets.Dataset.from_list(complete, features=features).to_parquet(written)
        convert(kind, written, folder / f"{kind}.datasets.jsonl")
        assert [json.loads(line) for line in (folder / f"{kind}.datasets.jsonl").read_text().splitlines()] == expected, kind
        print(f"{kind}: {len(expected)} rows agree: ours in pyarrow and datasets, theirs here in {len(types)} type variants and by datasets")


if __name__ == "__main__":
    main()
