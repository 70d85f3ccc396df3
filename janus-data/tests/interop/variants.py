"""Reads the files that pyarrow, polars and pandas write, in every codec and type of text. Not run by `cargo test`.

    python3 -m venv venv && venv/bin/pip install pyarrow polars pandas
    cargo build -p xtask
    venv/bin/python janus-data/tests/interop/variants.py FOLDER target/debug/janus

FOLDER is created. The same fifty rows are written in each way, converted to JSON lines by the program, and compared. Prints each file that
differs, and exits with 1 if one does.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

FOLDER, PROGRAM = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
FIELDS = ["main_source", "original_source", "system", "prompt", "output"]
ROWS = [
    {"main_source": "m", "original_source": "o", "system": f"s{i} é 漢字\n🙂", "prompt": "p" * (i % 7) + "x", "output": f'o{i}, "quoted"'}
    for i in range(50)
]
TEXTS = {"string": pa.string(), "large": pa.large_string(), "view": pa.string_view(), "binary": pa.binary(), "dictionary": None}


def table(kind):
    columns = {field: pa.array([row[field] for row in ROWS]) for field in FIELDS}
    if kind == "dictionary":
        return pa.table({field: column.dictionary_encode() for field, column in columns.items()})
    return pa.table(columns).cast(pa.schema([(field, TEXTS[kind]) for field in FIELDS]))


def write():
    """Writes every variant, and yields its name."""
    for kind in TEXTS:
        rows = table(kind)
        for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
            for version in ["1.0", "2.0"]:
                name = f"pyarrow.{kind}.{codec}.{version}.parquet"
                pyarrow.parquet.write_table(rows, FOLDER / name, compression=codec, data_page_version=version)
                yield name
        for codec in [None, "lz4", "zstd"]:
            for layout, new in [("file", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)]:
                name = f"pyarrow.{kind}.{codec}.{layout}.arrow"
                with new(FOLDER / name, rows.schema, options=pyarrow.ipc.IpcWriteOptions(compression=codec)) as writer:
                    writer.write_table(rows, max_chunksize=17)
                yield name
    frame = polars.DataFrame(ROWS)
    categorical = frame.with_columns(polars.col("main_source").cast(polars.Categorical))
    for codec in ["uncompressed", "snappy", "gzip", "brotli", "lz4", "zstd"]:
        for kind, rows in [("text", frame), ("categorical", categorical)]:
            rows.write_parquet(FOLDER / f"polars.{kind}.{codec}.parquet", compression=codec)
            yield f"polars.{kind}.{codec}.parquet"
    for codec in ["uncompressed", "lz4", "zstd"]:
        frame.write_ipc(FOLDER / f"polars.{codec}.arrow", compression=codec)
        yield f"polars.{codec}.arrow"
        frame.write_ipc_stream(FOLDER / f"polars.{codec}.stream.arrow", compression=codec)
        yield f"polars.{codec}.stream.arrow"
    frame.write_csv(FOLDER / "polars.csv")
    frame.write_ndjson(FOLDER / "polars.jsonl")
    frame.write_json(FOLDER / "polars.json")
    pyarrow.csv.write_csv(table("string"), FOLDER / "pyarrow.csv")
    rows = pandas.DataFrame(ROWS)
    rows.to_json(FOLDER / "pandas.json", orient="records")
    rows.to_json(FOLDER / "pandas.lines.json", orient="records", lines=True)
    rows.to_csv(FOLDER / "pandas.index.csv")
    rows.to_csv(FOLDER / "pandas.csv.gz", index=False)
    yield from ["polars.csv", "polars.jsonl", "polars.json", "pyarrow.csv"]
    yield from ["pandas.json", "pandas.lines.json", "pandas.index.csv", "pandas.csv.gz"]


FOLDER.mkdir(parents=True, exist_ok=True)
files, differing = 0, 0
for name in write():
    files += 1
    command = [PROGRAM, "data", "convert", "--from", "sft", "--to", "sft", "--out", FOLDER / "read.jsonl", FOLDER / name]
    done = subprocess.run(command, capture_output=True, text=True)
    read = [] if done.returncode else [json.loads(line) for line in (FOLDER / "read.jsonl").read_text().splitlines()]
    if [{field: row.get(field, "") for field in FIELDS} for row in read] != ROWS:
        differing += 1
        print("differs:", name, done.stderr.strip())
print(f"{files} files, {differing} differ")
sys.exit(differing > 0)
