//! Every broken file is an error that names the file, the row and the field, and says what to do.

use std::io::Write;
use std::path::{Path, PathBuf};

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use janus_data::{
    Error, Problem, ReadOptions, Skipped, good_rows, read, read_all, write_all, write_file, write_records,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

/// The text of the error without the folder.
fn message<T: DeserializeOwned>(path: &Path) -> String {
    let error = read_all::<T>(path).err().expect("the file is broken").to_string();
    let folder = format!("{}/", path.parent().unwrap().display());
    assert!(error.starts_with(&folder), "the file is not named: {error}");
    error.replace(&folder, "")
}

const GOOD: &str = r#"{"input":"i","chosen":"c","rejected":"r"}"#;

fn bench() -> Value {
    let rubric =
        json!({"criteria": "c", "score_descriptions": {"1": "a", "2": "b", "3": "c", "4": "d", "5": "e"}});
    json!({"source": "s", "system": "s", "prompt": "p", "reference_answer": "r", "rubrics": [rubric, rubric]})
}

#[test]
fn a_missing_field() {
    let path = Folder::new();
    let path = path.file("rm.jsonl", format!("{GOOD}\n\n{{\"input\":\"i\",\"chosen\":\"c\"}}\n"));
    assert_eq!(message::<RewardRecord>(&path), "rm.jsonl, row 2 (line 3), field \"rejected\": missing");
}

#[test]
fn a_wrong_type() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", r#"{"input":3,"chosen":"c","rejected":"r"}"#);
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.jsonl, row 1 (line 1), field \"input\": expected a string, got integer `3`"
    );
    let path = folder.file("rm.json", format!("[{GOOD}, {{\"input\":\"i\",\"chosen\":null}}]"));
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.json, row 2 (line 1), field \"chosen\": expected a string, got null"
    );
    let path =
        folder.file("pairs.jsonl", r#"{"system":"","prompt":"","chosen":[{"role":"robot","content":""}]}"#);
    assert_eq!(
        message::<PairRecord>(&path),
        "pairs.jsonl, row 1 (line 1), field \"chosen[0].role\": expected one of `system`, `user`, `assistant`, got `robot`"
    );
}

#[test]
fn a_wrong_type_in_parquet() {
    let folder = Folder::new();
    let path = folder.path("rm.parquet");
    let row = RewardRecord { history: None, input: "i".into(), chosen: "c".into(), rejected: "r".into() };
    write_records(&path, &[row.clone(), row]).unwrap();
    assert_eq!(message::<SftRecord>(&path), "rm.parquet, row 1, field \"system\": missing");
    assert_eq!(
        message::<std::collections::BTreeMap<String, u32>>(&path),
        "rm.parquet, row 1, field \"input\": expected u32, got string \"i\""
    );
}

#[test]
fn broken_utf8() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", [GOOD.as_bytes(), b"\n{\"input\":\"\xff\"}\n"].concat());
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.jsonl, row 2 (line 2): the byte at column 11 is not UTF-8: convert the file to UTF-8"
    );
    let path = folder.file("rm.json", [b"[\n", GOOD.as_bytes(), b",\n{\"input\":\"\xff\"}]"].concat());
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.json, row 2 (line 3): the byte at column 11 is not UTF-8: convert the file to UTF-8"
    );
}

#[test]
fn broken_json() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", format!("{GOOD}\n{{\"input\":\"i\",,}}\n"));
    let error = message::<RewardRecord>(&path);
    assert!(error.starts_with("rm.jsonl, row 2 (line 2): not JSON at column 14 ("), "{error}");
    let path = folder.file("two.jsonl", format!("{GOOD} {GOOD}\n"));
    let error = message::<RewardRecord>(&path);
    assert!(
        error.starts_with("two.jsonl, row 1 (line 1): not JSON at column 43 (trailing characters"),
        "{error}"
    );
    let path = folder.file("rm.json", format!("[{GOOD},\n{GOOD}"));
    let error = message::<RewardRecord>(&path);
    assert!(
        error.starts_with("rm.json, row 3 (line 2): not JSON at column 42 (EOF while parsing a list of rows"),
        "{error}"
    );
}

/// Broken JSON is reported as such even if the reader finds a missing or wrong field first.
#[test]
fn broken_json_after_a_wrong_field() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", r#"{"input":3,"#);
    assert!(message::<RewardRecord>(&path).contains("not JSON"));
}

#[test]
fn json_that_contains_no_rows() {
    let folder = Folder::new();
    let path = folder.file("rm.json", "\"text\"");
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.json, row 1 (line 1): expected an array of objects, or an object of objects keyed by id, got `\"text\"`"
    );
    let path = folder.file("row.json", format!("\n[{GOOD}, 3]"));
    assert_eq!(
        message::<RewardRecord>(&path),
        "row.json, row 2 (line 2): expected struct RewardRecord, got integer `3`"
    );
    let path = folder.file("twice.json", r#"{"1": {}, "1": {}}"#);
    assert_eq!(
        message::<Value>(&path),
        "twice.json, row 2 (line 1): the key \"1\" occurs twice: keep one of the rows"
    );
}

#[test]
fn a_rubric_with_six_scores() {
    let folder = Folder::new();
    let mut row = bench();
    row["rubrics"][1]["score_descriptions"]["6"] = "f".into();
    for name in ["bench.jsonl", "bench.json"] {
        let path = folder.path(name);
        write_all(&path, &[bench(), row.clone()]).unwrap();
        let error = message::<BenchRecord>(&path);
        assert!(error.contains("row 2"), "{error}");
        let end = "field \"rubrics[1].score_descriptions\": a rubric needs the five score descriptions \"1\" to \"5\", \
                   got \"1\", \"2\", \"3\", \"4\", \"5\", \"6\"";
        assert!(error.ends_with(end), "{error}");
    }
}

#[test]
fn a_preference_set_with_two_styles() {
    let folder = Folder::new();
    let style = |name: &str| json!({"dimension": "style", "subdimension": "tone", "preference": name, "description": ""});
    let mut row = bench();
    row["preference_set"] = json!([style("warm"), style("cold")]);
    let path = folder.path("bench.jsonl");
    write_all(&path, &[row]).unwrap();
    let error = message::<BenchRecord>(&path);
    assert!(
        error.starts_with("bench.jsonl, row 1 (line 1), field \"preference_set\": the preference set has two style preferences"),
        "{error}"
    );
}

#[test]
fn a_truncated_gz() {
    let folder = Folder::new();
    let path = folder.path("rm.jsonl.gz");
    let rows: Vec<Value> = (0..5000)
        .map(|i| json!({"input": format!("{i} {}", i * 7919 % 10007), "chosen": "c", "rejected": "r"}))
        .collect();
    write_all(&path, &rows).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let path = folder.file("cut.jsonl.gz", &bytes[..bytes.len() / 2]);
    let mut reader = read::<RewardRecord>(&path).unwrap();
    let read = reader.by_ref().take_while(Result::is_ok).count();
    assert!(0 < read && read < rows.len());
    assert_eq!(reader.by_ref().count(), 0, "a damaged file ends the stream");
    let error = message::<RewardRecord>(&path);
    assert!(
        error.starts_with(&format!("cut.jsonl.gz, after row {read}: the gzip data is truncated or damaged")),
        "{error}"
    );
    let path = folder.file("rm.json.gz", GOOD);
    assert!(matches!(read_all::<Value>(path), Err(Error::Compressed { codec: "gzip", rows: 0, .. })));
}

#[test]
fn a_gz_of_several_members_is_read_to_its_end() {
    let folder = Folder::new();
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let path = folder.file("two.jsonl.gz", [member("{\"a\":1}\n"), member("{\"a\":2}\n")].concat());
    assert_eq!(read_all::<Value>(path).unwrap().len(), 2);
}

#[test]
fn a_truncated_or_invalid_parquet() {
    let folder = Folder::new();
    let path = folder.path("rm.parquet");
    write_records(
        &path,
        &[RewardRecord { history: None, input: "i".into(), chosen: "c".into(), rejected: "r".into() }],
    )
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for (name, bytes) in [
        ("cut.parquet", &bytes[..bytes.len() - 9]),
        ("false.parquet", GOOD.as_bytes()),
        ("empty.parquet", b""),
    ] {
        let error = message::<RewardRecord>(&folder.file(name, bytes));
        assert!(error.starts_with(&format!("{name}: not a complete Parquet file (")), "{error}");
        assert!(error.ends_with("fetch or write the file again"), "{error}");
    }
}

#[test]
fn a_truncated_zst_or_arrow() {
    let folder = Folder::new();
    let row = |i: usize| RewardRecord {
        history: None,
        input: format!("{i} {}", i * 7919 % 10007),
        chosen: "c".into(),
        rejected: "r".into(),
    };
    let rows: Vec<RewardRecord> = (0..5000).map(row).collect();
    for (name, kept, sentence) in [
        ("rm.jsonl.zst", 2, "the zstd data is truncated or damaged ("),
        ("rm.arrow", 2, "not a complete Arrow file ("),
        ("rm.arrow.gz", 2, "the gzip data is truncated or damaged ("),
        ("rm.parquet.zst", 2, "the zstd data is truncated or damaged ("),
    ] {
        let path = folder.path(name);
        write_records(&path, &rows).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let error = message::<RewardRecord>(&folder.file(name, &bytes[..bytes.len() / kept]));
        assert!(error.contains(sentence), "{error}");
        assert!(error.ends_with("fetch or write the file again"), "{error}");
    }
    // Cut after the last batch: every row is there, but the file is not complete.
    let path = folder.path("rm.arrow");
    write_records(&path, &rows).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let path = folder.file("rm.arrow", &bytes[..bytes.len() - 1]);
    let read: Vec<_> = read::<RewardRecord>(&path).unwrap().collect();
    assert_eq!(read.iter().filter(|row| row.is_ok()).count(), 5000);
    assert!(matches!(read.last(), Some(Err(Error::Arrow { rows: 5000, .. }))));
}

/// It neither ends the run nor fills the memory, and the next row is read.
#[test]
fn a_line_of_a_hundred_megabytes() {
    let folder = Folder::new();
    let long = format!(r#"{{"input":"{}","chosen":"c","rejected":"r"}}"#, "x".repeat(100 << 20));
    for (name, text) in
        [("rm.jsonl", format!("{GOOD}\n{long}\n{GOOD}\n")), ("rm.json", format!("[{GOOD},{long},{GOOD}]"))]
    {
        let path = folder.file(name, text);
        let rows: Vec<_> = read::<RewardRecord>(&path).unwrap().collect();
        assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "{name}");
        let Err(Error::Row { row: 2, problem: Problem::TooLong { limit }, .. }) = &rows[1] else {
            panic!("{:?}", rows[1].as_ref().err())
        };
        assert_eq!(*limit, 64 << 20);
        let mut options = ReadOptions::default();
        options.max_row_bytes = 101 << 20;
        assert!(options.read::<RewardRecord>(&path).unwrap().all(|row| row.is_ok()), "a caller may allow it");
    }
    // A quote that is never closed makes the rest of a CSV file one row.
    let path = folder.file("rm.csv", format!("input,chosen,rejected\na,b,c\n\"{}", "x\n".repeat(50 << 20)));
    let rows: Vec<_> = read::<RewardRecord>(&path).unwrap().collect();
    assert!(matches!(&rows[..], [Ok(_), Err(Error::Row { row: 2, problem: Problem::TooLong { .. }, .. })]));
}

#[test]
fn nul_bytes_and_broken_csv() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", b"{\"input\":\"a\0b\",\"chosen\":\"c\",\"rejected\":\"r\"}\n");
    let error = message::<RewardRecord>(&path);
    assert!(
        error.starts_with("rm.jsonl, row 1 (line 1): not JSON at column 11 (control character"),
        "{error}"
    );
    let path = folder.file("nul.jsonl", [0; 100]);
    assert!(message::<RewardRecord>(&path).contains("not JSON at column 1"));
    let path = folder.file("nul.csv", b"input,chosen,rejected\na\0b,c,r\n");
    assert_eq!(read_all::<RewardRecord>(path).unwrap()[0].input, "a\0b", "a cell may contain any text");

    let path = folder.file("rm.csv", "input,chosen,rejected\na,b\n");
    assert_eq!(message::<RewardRecord>(&path), "rm.csv, row 1 (line 2): expected 3 cells, got 2 cells");
    let path = folder.file("rm.csv", b"input,chosen,rejected\na,\xff,c\n");
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.csv, row 1 (line 2), field \"chosen\": the byte at column 1 is not UTF-8: convert the file to UTF-8"
    );
    let path = folder.file("rm.csv", "input,chosen,chosen\na,b,c\n");
    assert_eq!(
        message::<RewardRecord>(&path),
        "rm.csv, row 0 (line 1), field \"chosen\": the header names this column twice"
    );
    let path = folder.file("pairs.csv", "system,prompt,chosen,rejected\ns,p,hello,[]\n");
    let error = message::<PairRecord>(&path);
    assert!(
        error.starts_with("pairs.csv, row 1 (line 2), field \"chosen\": the cell is not JSON: "),
        "{error}"
    );
}

#[test]
fn bad_rows_can_be_skipped_but_damage_cannot() {
    let folder = Folder::new();
    let path = folder.file("rm.jsonl", [GOOD, "{", GOOD, "3"].join("\n"));
    let mut skipped = Skipped::default();
    assert_eq!(good_rows(read::<RewardRecord>(&path).unwrap(), &mut skipped).map(Result::unwrap).count(), 2);
    assert_eq!((skipped.rows, skipped.first.len()), (2, 2));
    let path = folder.file("rm.jsonl.gz", "no gzip");
    let mut skipped = Skipped::default();
    assert!(good_rows(read::<RewardRecord>(&path).unwrap(), &mut skipped).any(|row| row.is_err()));
    assert_eq!(skipped.rows, 0);
}

#[test]
fn a_missing_file_and_an_unknown_extension() {
    let folder = Folder::new();
    let error = message::<Value>(&folder.path("none.jsonl"));
    assert!(error.starts_with("none.jsonl: cannot open the file: "), "{error}");
    assert_eq!(
        message::<Value>(&folder.file("rows.txt", "a,b")),
        "rows.txt: unknown file type, expected one of .json, .jsonl, .csv, .parquet, .arrow, one of these followed by .gz or .zst"
    );
    let error = write_all(folder.path("rows.parquet"), &[bench()]).unwrap_err().to_string();
    assert!(
        error.ends_with("expected one of .json, .jsonl, .csv, one of these followed by .gz or .zst"),
        "{error}"
    );
}

#[test]
fn reading_continues_after_a_broken_row() {
    let folder = Folder::new();
    let lines = [GOOD, "{", r#"{"input":"i"}"#, GOOD].join("\n");
    let json = format!("[{GOOD}, 3, {{}}, {GOOD}]");
    for path in [folder.file("rm.jsonl", lines), folder.file("rm.json", json)] {
        let rows: Vec<_> = read::<RewardRecord>(path).unwrap().collect();
        assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        assert!(matches!(&rows[2], Err(Error::Row { row: 3, problem: Problem::Missing, .. })));
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_temporary() {
    let folder = Folder::new();
    let path = folder.file("rows.jsonl", "old");
    // JSON keys cannot be lists: the second row fails after the first was written.
    let rows = [std::collections::BTreeMap::new(), [(vec![1], 2)].into()];
    let error = write_all(&path, &rows).unwrap_err();
    assert!(matches!(error, Error::Encode { row: 2, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1);

    // A folder has the name of the file, so the rename fails.
    std::fs::create_dir(folder.path("taken.jsonl")).unwrap();
    assert!(matches!(write_file(folder.path("taken.jsonl"), b"new"), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 2);
    // A file has the name of the folder.
    assert!(matches!(write_file(path.join("rows.jsonl"), b"new"), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
}

/// Whichever byte of a file is damaged, the result is rows or an error, never a panic.
#[test]
fn a_damaged_byte_never_panics() {
    let folder = Folder::new();
    let path = folder.path("rm.parquet");
    let row = |i: usize| RewardRecord {
        history: None,
        input: format!("i{i}"),
        chosen: "c".repeat(i),
        rejected: "r".into(),
    };
    write_records(&path, &(0..5).map(row).collect::<Vec<_>>()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let path = folder.file("damaged.parquet", bytes);
            if let Ok(reader) = read::<RewardRecord>(path) {
                assert!(reader.count() <= 6);
            }
        }
    }
}
