//! Readers on damaged bytes return rows or errors; they never panic and always end. `JANUS_MUTATIONS=N` sets
//! the number of inputs for each reader.

use std::path::Path;

use janus_core::{Message, PairRecord, stream};
use janus_data::{Row, read, write_records};
use rand::Rng;

use crate::quiet::quiet;

/// Inputs for each reader. Those of a decompressor are fewer by default: most of them fail at the same
/// checksum.
fn inputs(default: usize) -> usize {
    std::env::var("JANUS_MUTATIONS")
        .map_or(default, |count| count.parse().expect("JANUS_MUTATIONS is a number"))
}

fn rows() -> Vec<PairRecord> {
    let conversation = |answer: &str| vec![Message::user("Why?\n\"é\""), Message::assistant(answer)];
    let row = |i: usize| PairRecord {
        main_source: "m".into(),
        original_source: String::new(),
        system: format!("s{i}"),
        prompt: "Why?".into(),
        chosen: conversation("Because {[,]} 漢"),
        rejected: conversation("No."),
    };
    (0..3).map(row).collect()
}

/// Changes, removes, repeats or inserts some bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    const BYTES: &[u8] = b"{}[]\",:\\\n\r\t 0-\0\xff\xc3\xef";
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = BYTES[rng.random_range(0..BYTES.len())],
            2 => bytes.insert(at, BYTES[rng.random_range(0..BYTES.len())]),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let end = (at + rng.random_range(1..40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn survives(name: &str, count: usize) {
    // In memory if possible, because every round writes a file.
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    })
    .unwrap();
    let path = folder.path().join(name);
    write_records(&path, &rows()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut rng = stream(0, name);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..count {
        let mut bytes = whole.clone();
        mutate(&mut bytes, &mut rng);
        std::fs::write(&path, &bytes).unwrap();
        // The decoders of Parquet and Arrow panic on some inputs and the reader catches it; their messages
        // are noise here.
        let count = quiet(|| {
            match read::<PairRecord>(&path) {
                Err(_) => bad += 1,
                Ok(reader) => {
                    for row in reader.take(bytes.len() + 2) {
                        if row.is_ok() { good += 1 } else { bad += 1 }
                    }
                }
            }
            read::<Row>(&path).map_or(0, |reader| reader.take(bytes.len() + 2).count())
        });
        assert!(count <= bytes.len() + 1, "a reader that does not end");
    }
    assert!(good > 0 && bad > 0, "{name}: the mutations have no effect ({good} rows, {bad} errors)");
}

#[test]
fn json() {
    survives("rows.json", inputs(100_000));
}

#[test]
fn json_lines() {
    survives("rows.jsonl", inputs(100_000));
}

#[test]
fn csv() {
    survives("rows.csv", inputs(100_000));
}

#[test]
fn parquet() {
    survives("rows.parquet", inputs(100_000));
}

#[test]
fn arrow() {
    survives("rows.arrow", inputs(100_000));
}

#[test]
fn gzip() {
    survives("rows.jsonl.gz", inputs(20_000));
}

#[test]
fn zstd() {
    survives("rows.jsonl.zst", inputs(20_000));
}
