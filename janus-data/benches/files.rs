//! Reads JSON lines and Parquet: `cargo bench -p janus-data --profile dev --bench files`.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use janus_core::{Message, PairRecord};
use janus_data::{read, write_all, write_records};

fn pairs(rows: usize) -> Vec<PairRecord> {
    let conversation =
        |prompt: &str, answer: &str| vec![Message::user(prompt), Message::assistant(answer.repeat(60))];
    let row = |index| {
        let prompt = format!("Question {index}: {}", "why does the kite fly? ".repeat(20));
        PairRecord {
            main_source: "bench".into(),
            original_source: String::new(),
            system: "You value brevity and care. ".repeat(15),
            chosen: conversation(&prompt, "The wind lifts it. "),
            rejected: conversation(&prompt, "It just does so. "),
            prompt,
        }
    };
    (0..rows).map(row).collect()
}

fn reading(criterion: &mut Criterion) {
    let rows = pairs(1000);
    let folder = tempfile::tempdir().unwrap();
    let [jsonl, gz, parquet] =
        ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"].map(|name| folder.path().join(name));
    write_all(&jsonl, &rows).unwrap();
    write_all(&gz, &rows).unwrap();
    write_records(&parquet, &rows).unwrap();

    let mut group = criterion.benchmark_group("read");
    // All throughputs count bytes of JSON lines, so that they can be compared.
    group.throughput(Throughput::Bytes(std::fs::metadata(&jsonl).unwrap().len()));
    for path in [jsonl, gz, parquet] {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        group.bench_function(name, |bench| {
            bench.iter(|| read::<PairRecord>(&path).unwrap().map(Result::unwrap).count())
        });
    }
}

criterion_group!(benches, reading);
criterion_main!(benches);
