//! What is written is read back, in every format.

mod arbitrary;

use std::fmt::Debug;

use janus_core::{PairRecord, RewardRecord};
use janus_data::{ArrowRecord, read, read_all, write_all, write_parquet};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

fn returns<T: ArrowRecord + Serialize + DeserializeOwned + PartialEq + Debug>(rows: &[T]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rows.json", "rows.jsonl", "rows.json.gz", "rows.jsonl.gz", "ROWS.JSONL"] {
        let path = folder.path().join(name);
        write_all(&path, rows).unwrap();
        prop_assert_eq!(&read_all::<T>(&path).unwrap(), rows, "{}", name);
    }
    let path = folder.path().join("rows.parquet");
    write_parquet(&path, rows).unwrap();
    prop_assert_eq!(&read_all::<T>(&path).unwrap(), rows);
    prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6, "a temporary file is left");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sft(rows in prop::collection::vec(arbitrary::sft(), 0..8)) { returns(&rows)?; }

    #[test]
    fn pairs(rows in prop::collection::vec(arbitrary::pair(), 0..8)) { returns(&rows)?; }

    #[test]
    fn reward(rows in prop::collection::vec(arbitrary::reward(), 0..8)) { returns(&rows)?; }

    #[test]
    fn bench(rows in prop::collection::vec(arbitrary::bench(), 0..8)) { returns(&rows)?; }
}

fn many(rows: usize) -> Vec<RewardRecord> {
    let row = |i| RewardRecord { input: format!("i{i}"), chosen: "c".repeat(i % 7), rejected: String::new() };
    (0..rows).map(row).collect()
}

#[test]
fn parquet_of_several_batches_and_row_groups_keeps_the_order() {
    let path = tempfile::tempdir().unwrap().keep().join("many.parquet");
    let rows = many(5000);
    write_parquet(&path, &rows).unwrap();
    assert_eq!(read_all::<RewardRecord>(&path).unwrap(), rows);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.json.gz", "a.jsonl.gz", "a.jsonl"] {
        let path = folder.path().join(name);
        let bytes = || {
            write_all(&path, &many(100)).unwrap();
            std::fs::read(&path).unwrap()
        };
        assert_eq!(bytes(), bytes());
    }
    let path = folder.path().join("a.parquet");
    let bytes = || {
        write_parquet(&path, &many(100)).unwrap();
        std::fs::read(&path).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn any_file_reads_as_objects() {
    let folder = tempfile::tempdir().unwrap();
    let pair = PairRecord {
        main_source: String::new(),
        original_source: "x".into(),
        system: "s".into(),
        prompt: "p".into(),
        chosen: vec![janus_core::Message::user("p"), janus_core::Message::assistant("good")],
        rejected: vec![],
    };
    let parquet = folder.path().join("pairs.parquet");
    write_parquet(&parquet, &[pair.clone()]).unwrap();
    let jsonl = folder.path().join("pairs.jsonl");
    write_all(&jsonl, &[pair.clone()]).unwrap();
    let Value::Object(expected) = serde_json::to_value(&pair).unwrap() else { panic!("a record is an object") };
    for path in [parquet, jsonl] {
        assert_eq!(read_all::<Map<String, Value>>(&path).unwrap(), [expected.clone()]);
    }
}

#[test]
fn the_key_of_a_row_is_its_id_unless_it_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.json");
    std::fs::write(&path, r#"{"12": {"a": 1}, "7": {"id": "own", "a": 2}}"#).unwrap();
    let rows: Vec<Value> = read_all(&path).unwrap();
    assert_eq!(rows, [serde_json::json!({"a": 1, "id": "12"}), serde_json::json!({"id": "own", "a": 2})]);
}

#[test]
fn blank_lines_a_byte_order_mark_and_carriage_returns_are_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "\u{feff}{\"a\":1}\r\n\r\n  \n{\"a\":2}").unwrap();
    let rows: Vec<Value> = read_all(&path).unwrap();
    assert_eq!(rows, [serde_json::json!({"a": 1}), serde_json::json!({"a": 2})]);
    std::fs::write(&path, "").unwrap();
    assert!(read::<Value>(&path).unwrap().next().is_none());
}
