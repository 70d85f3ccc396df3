//! Rows that are written are read back, in every format.

use std::fmt::Debug;

use janus_core::{BenchRecord, PairRecord, RewardRecord};
use janus_data::{
    ArrowRecord, Error, ReadOptions, Writer, paths, read, read_all, read_files, write_all, write_records,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::arbitrary;

const NAMES: [&str; 16] = [
    "rows.json",
    "rows.jsonl",
    "rows.csv",
    "rows.parquet",
    "rows.arrow",
    "rows.json.gz",
    "rows.jsonl.gz",
    "rows.csv.gz",
    "rows.parquet.gz",
    "rows.arrow.gz",
    "rows.json.zst",
    "rows.jsonl.zst",
    "rows.csv.zst",
    "rows.parquet.zst",
    "rows.arrow.zst",
    "ROWS.JSONL",
];

trait Record: ArrowRecord + Serialize + DeserializeOwned + PartialEq + Debug + Clone + Send + 'static {}
impl<T: ArrowRecord + Serialize + DeserializeOwned + PartialEq + Debug + Clone + Send + 'static> Record
    for T
{
}

fn returns<T: Record>(rows: &[T]) -> Result<(), TestCaseError> {
    returns_as(rows, rows)
}

/// `in_csv`: the rows as they are read back from CSV.
fn returns_as<T: Record>(rows: &[T], in_csv: &[T]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let expected = if name.contains("csv") { in_csv } else { rows };
        let path = folder.path().join(name);
        write_records(&path, rows).unwrap();
        prop_assert_eq!(&read_all::<T>(&path).unwrap(), expected, "{}", name);

        let mut writer = Writer::create(&path).unwrap();
        for row in rows {
            writer.write(row.clone()).unwrap();
        }
        writer.finish().unwrap();
        prop_assert_eq!(&read_all::<T>(&path).unwrap(), expected, "{} row by row", name);
    }
    prop_assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        NAMES.len(),
        "a temporary file is left"
    );
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
    fn bench(rows in prop::collection::vec(arbitrary::bench(), 0..8)) {
        // A cell cannot distinguish an empty id from `None`.
        let mut in_csv = rows.clone();
        in_csv.iter_mut().for_each(|row| row.id = row.id.take().filter(|id| !id.is_empty()));
        returns_as(&rows, &in_csv)?;
    }
}

fn many(rows: usize) -> Vec<RewardRecord> {
    let row = |i| RewardRecord {
        history: None,
        input: format!("i{i}"),
        chosen: "c".repeat(i % 7),
        rejected: String::new(),
    };
    (0..rows).map(row).collect()
}

#[test]
fn several_batches_and_row_groups_keep_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let rows = many(5000);
    for name in ["many.parquet", "many.arrow.zst", "many.csv"] {
        let path = folder.path().join(name);
        write_records(&path, &rows).unwrap();
        assert_eq!(read_all::<RewardRecord>(&path).unwrap(), rows, "{name}");
        let mut writer = Writer::create(&path).unwrap();
        rows.iter().for_each(|row| writer.write(row.clone()).unwrap());
        assert_eq!(writer.rows(), 5000);
        writer.finish().unwrap();
        assert_eq!(read_all::<RewardRecord>(&path).unwrap(), rows, "{name} row by row");
    }
}

/// Columns are fixed when the first rows are written; a field that comes later must not be lost silently.
#[test]
fn a_field_that_comes_too_late_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let rubric = |id| BenchRecord {
        id,
        source: "s".into(),
        preference_set: None,
        system: "s".into(),
        prompt: "p".into(),
        reference_answer: "r".into(),
        rubrics: vec![],
    };
    for name in ["late.parquet", "late.csv"] {
        let mut writer = Writer::create(folder.path().join(name)).unwrap();
        (0..1024).for_each(|_| writer.write(rubric(None)).unwrap());
        let failed = (0..1024).try_for_each(|i| writer.write(rubric(Some(i.to_string()))));
        let error = failed.and_then(|()| writer.finish()).unwrap_err();
        assert!(matches!(&error, Error::Encode { row: 1025, .. }), "{error}");
        assert!(error.to_string().contains("\"id\""), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no partial file stays");
}

#[test]
fn a_pattern_gives_sorted_files_and_no_match_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rows) in [("b.jsonl.gz", 2), ("a.parquet", 3), ("c.txt", 0)] {
        let path = folder.path().join(name);
        if rows > 0 { write_records(&path, &many(rows)).unwrap() } else { std::fs::write(&path, "").unwrap() }
    }
    let pattern = |end: &str| format!("{}/{end}", folder.path().display());
    let found = paths(&pattern("[ab].*")).unwrap();
    let rows: Vec<RewardRecord> =
        read_files(found.clone(), ReadOptions::default()).collect::<Result<_, _>>().unwrap();
    assert_eq!(rows, [many(3), many(2)].concat());
    assert!(found[0].ends_with("a.parquet"));
    assert!(paths(&pattern("*.csv")).unwrap_err().to_string().ends_with("*.csv: no file matches"));
    assert!(matches!(paths("a[").unwrap_err(), Error::Pattern { .. }));
    assert_eq!(paths("plain.jsonl").unwrap(), [std::path::PathBuf::from("plain.jsonl")]);

    // The files after one that cannot be opened are still read.
    let rows: Vec<_> =
        read_files::<RewardRecord>(paths(&pattern("*")).unwrap(), ReadOptions::default()).collect();
    assert_eq!((rows.len(), rows.iter().filter(|row| row.is_err()).count()), (6, 1));
}

#[test]
fn columns_are_mapped_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let row = || RewardRecord { history: None, input: "i".into(), chosen: "c".into(), rejected: "r".into() };
    for name in ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.arrow"] {
        let path = folder.path().join(name);
        write_records(&path, &[row()]).unwrap();
        // The original `rejected` is hidden by the column that is mapped to its name.
        let options = ReadOptions::default().column("prompt", "input").column("rejected", "chosen");
        let read: Map<String, Value> = options.read(&path).unwrap().next().unwrap().unwrap();
        assert_eq!(Value::from(read), serde_json::json!({"prompt": "i", "rejected": "c"}), "{name}");
    }
    let path = folder.path().join("nested.json");
    std::fs::write(&path, r#"{"7": {"instances": [{"input": "deep"}], "chosen": "c", "rejected": "r"}}"#)
        .unwrap();
    let options = ReadOptions::default().column("input", "/instances/0/input");
    assert_eq!(options.read::<RewardRecord>(&path).unwrap().next().unwrap().unwrap().input, "deep");
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let path = folder.path().join(name);
        let bytes = || {
            write_records(&path, &many(100)).unwrap();
            std::fs::read(&path).unwrap()
        };
        assert_eq!(bytes(), bytes(), "{name}");
    }
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
    write_records(&parquet, std::slice::from_ref(&pair)).unwrap();
    let jsonl = folder.path().join("pairs.jsonl");
    write_all(&jsonl, std::slice::from_ref(&pair)).unwrap();
    let Value::Object(expected) = serde_json::to_value(&pair).unwrap() else {
        panic!("a record is an object")
    };
    for path in [parquet, jsonl] {
        assert_eq!(
            read_all::<Map<String, Value>>(&path).unwrap().as_slice(),
            std::slice::from_ref(&expected)
        );
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
fn empty_lines_a_byte_order_mark_and_carriage_returns_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "\u{feff}{\"a\":1}\r\n\r\n  \n{\"a\":2}").unwrap();
    let rows: Vec<Value> = read_all(&path).unwrap();
    assert_eq!(rows, [serde_json::json!({"a": 1}), serde_json::json!({"a": 2})]);
    std::fs::write(&path, "").unwrap();
    assert!(read::<Value>(&path).unwrap().next().is_none());
}

#[test]
fn a_table_may_begin_with_a_byte_order_mark_and_an_index_without_a_name() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Row {
        #[serde(rename = "")]
        index: u32,
        score: f64,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.csv");
    std::fs::write(&path, b"\xef\xbb\xbf,score,more\n7,1.5,\"x,y\"\r\n8,2,\"\n\"\n").unwrap();
    assert_eq!(read_all::<Row>(&path).unwrap(), [Row { index: 7, score: 1.5 }, Row { index: 8, score: 2.0 }]);
}
