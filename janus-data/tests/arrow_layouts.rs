//! Parquet files of other programs: other types of strings and lists, nulls, numeric ids.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array,
    LargeListArray, LargeStringArray, ListArray, ListViewArray, MapArray, RecordBatch, RunArray, StringArray,
    StringViewArray, StructArray, TimestampSecondArray, UnionArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, UnionFields};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use janus_core::{BenchRecord, Message, PairRecord, RewardRecord, Score, SftRecord};
use janus_data::{Error, Problem, read, read_all};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};

struct Written(tempfile::TempDir);

impl Written {
    fn path(&self) -> PathBuf {
        self.0.path().join("rows.parquet")
    }
}

fn write(columns: Vec<(&str, ArrayRef)>) -> Written {
    let written = Written(tempfile::tempdir().unwrap());
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(written.path()).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    written
}

/// The same texts as each of Arrow's types for text.
fn text_types(texts: &[Option<&str>]) -> Vec<ArrayRef> {
    let texts = || texts.iter().copied();
    vec![
        Arc::new(texts().collect::<StringArray>()),
        Arc::new(texts().collect::<LargeStringArray>()),
        Arc::new(texts().collect::<StringViewArray>()),
        Arc::new(texts().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(texts().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>()),
    ]
}

/// pyarrow's newer types of lists and of repeated values were read as the text that Arrow prints.
#[test]
fn list_views_and_runs_are_read_and_unions_and_doubled_columns_refused() {
    let list = |values: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        Arc::new(ListViewArray::new(field, vec![1, 0].into(), vec![2, 1].into(), values, None))
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let runs = |values: ArrayRef| -> ArrayRef {
        Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), &values).unwrap())
    };
    let numbers = runs(Arc::new(Int64Array::from(vec![Some(7), None])));
    let rows = |columns| {
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let file = tempfile::Builder::new().suffix(".arrow").tempfile().unwrap();
        let mut writer = FileWriter::try_new(file.reopen().unwrap(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        read_all::<Map<String, Value>>(file.path()).map_err(|error| error.to_string())
    };
    let read = rows(vec![("list", list(texts.clone()), true), ("runs", numbers, true)]).unwrap();
    assert_eq!(json!(read), json!([{ "list": ["b", "c"], "runs": 7 }, { "list": ["a"] }]));

    let fields = UnionFields::try_new(vec![0], vec![Field::new("text", DataType::Utf8, true)]).unwrap();
    let union = UnionArray::try_new(fields, vec![0, 0, 0].into(), None, vec![texts.clone()]).unwrap();
    let error = rows(vec![("union", Arc::new(union) as ArrayRef, true)]).unwrap_err();
    assert!(error.contains("\"union\"") && error.contains("a union of types is not read"), "{error}");
    let error = rows(vec![("a", texts.clone(), true), ("a", texts, true)]).unwrap_err();
    assert!(error.ends_with("two columns are named \"a\": rename one or leave it out"), "{error}");
}

fn messages(contents: ArrayRef, roles: ArrayRef) -> StructArray {
    StructArray::from(vec![
        (Arc::new(Field::new("content", contents.data_type().clone(), true)), contents),
        (Arc::new(Field::new("role", roles.data_type().clone(), true)), roles),
    ])
}

#[test]
fn every_type_of_text_reads_the_same() {
    for (inputs, chosen) in
        text_types(&[Some("a"), Some("ü\n")]).into_iter().zip(text_types(&[Some("x"), Some("x")]))
    {
        let kind = inputs.data_type().clone();
        let written = write(vec![("input", inputs), ("chosen", chosen.clone()), ("rejected", chosen)]);
        let rows: Vec<RewardRecord> = read_all(written.path()).unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.input.as_str(), row.chosen.as_str())).collect::<Vec<_>>(),
            [("a", "x"), ("ü\n", "x")],
            "{kind}"
        );
    }
}

#[test]
fn every_type_of_list_and_role_reads_the_same() {
    for (contents, roles) in text_types(&[Some("q"), Some("a"), Some("q"), Some("b")])
        .into_iter()
        .zip(text_types(&[Some("user"), Some("assistant"), Some("user"), Some("assistant")]))
    {
        let values: ArrayRef = Arc::new(messages(contents, roles));
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let lists: [ArrayRef; 3] = [
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths([2, 2]), values.clone(), None)),
            Arc::new(LargeListArray::new(
                item.clone(),
                OffsetBuffer::from_lengths([2, 2]),
                values.clone(),
                None,
            )),
            Arc::new(FixedSizeListArray::new(item, 2, values, None)),
        ];
        let text: ArrayRef = Arc::new(StringArray::from(vec!["s", "s"]));
        for list in lists {
            let written = write(vec![
                ("system", text.clone()),
                ("prompt", text.clone()),
                ("chosen", list.clone()),
                ("rejected", list),
            ]);
            let rows: Vec<PairRecord> = read_all(written.path()).unwrap();
            assert_eq!(rows[1].chosen, [Message::user("q"), Message::assistant("b")]);
        }
    }
}

/// In Arrow every row has every field; a field that a row does not have is null.
#[test]
fn nulls_are_absent_fields() {
    let text =
        |texts: &[Option<&str>]| -> ArrayRef { Arc::new(texts.iter().copied().collect::<StringArray>()) };
    let fields = Fields::from(
        ["dimension", "subdimension", "preference", "description"]
            .map(|name| Field::new(name, DataType::Utf8, true))
            .to_vec(),
    );
    let none = ListArray::new_null(Arc::new(Field::new_list_field(DataType::Struct(fields), true)), 2);
    let columns =
        || vec![("system", text(&[Some("s"), Some("s")])), ("prompt", text(&[Some("p"), Some("p")]))];

    let mut all = columns();
    all.extend([
        ("main_source", text(&[Some("m"), None])),
        ("preference_set", Arc::new(none) as ArrayRef),
        ("output", text(&[Some("o"), Some("o")])),
    ]);
    let rows: Vec<SftRecord> = read_all(write(all).path()).unwrap();
    assert_eq!((rows[0].main_source.as_str(), rows[1].main_source.as_str()), ("m", ""));
    assert!(rows.iter().all(|row| row.preference_set.is_none()));

    let mut all = columns();
    all.push(("output", text(&[None, Some("o")])));
    let written = write(all);
    let rows: Vec<_> = read::<SftRecord>(written.path()).unwrap().collect();
    let Err(Error::Row { row: 1, field, problem: Problem::Missing, .. }) = &rows[0] else {
        panic!("{:?}", rows[0])
    };
    assert_eq!(field.as_deref(), Some("output"));
    assert!(rows[1].is_ok(), "reading continues after a broken row");
}

#[test]
fn a_null_in_a_nested_field_is_named() {
    let roles: ArrayRef = Arc::new(StringArray::from(vec![Some("user"), None]));
    let contents: ArrayRef = Arc::new(StringArray::from(vec!["q", "a"]));
    let values: ArrayRef = Arc::new(messages(contents, roles));
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let list: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2]), values, None));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["s"]));
    let written =
        write(vec![("system", text.clone()), ("prompt", text), ("chosen", list.clone()), ("rejected", list)]);
    let error = read_all::<PairRecord>(written.path()).unwrap_err().to_string();
    assert!(error.ends_with("rows.parquet, row 1, field \"chosen[1].role\": missing"), "{error}");
}

/// A rubric's anchors may be a struct, as released, or a map; an id may be a number.
#[test]
fn ids_are_numbers_and_anchors_maps() {
    let anchors = |count: i32| -> ArrayRef {
        let keys: StringArray = (1..=count).map(|score| Some(score.to_string())).collect();
        let texts: StringArray = (1..=count).map(|score| Some(format!("anchor {score}"))).collect();
        let fields = Fields::from(vec![
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", DataType::Utf8, true),
        ]);
        let entries = StructArray::new(fields.clone(), vec![Arc::new(keys), Arc::new(texts)], None);
        let entry = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        Arc::new(MapArray::new(entry, OffsetBuffer::from_lengths([count as usize]), entries, None, false))
    };
    let bench = |count| {
        let anchors = anchors(count);
        let criteria: ArrayRef = Arc::new(StringArray::from(vec!["Is it kind?"]));
        let rubric: ArrayRef = Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("criteria", DataType::Utf8, true)), criteria),
            (Arc::new(Field::new("score_descriptions", anchors.data_type().clone(), true)), anchors),
        ]));
        let item = Arc::new(Field::new_list_field(rubric.data_type().clone(), true));
        let rubrics: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1]), rubric, None));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["t"]));
        let id: ArrayRef = Arc::new(Int64Array::from(vec![41]));
        write(vec![
            ("id", id),
            ("source", text.clone()),
            ("system", text.clone()),
            ("prompt", text.clone()),
            ("reference_answer", text),
            ("rubrics", rubrics),
        ])
    };
    let rows: Vec<BenchRecord> = read_all(bench(5).path()).unwrap();
    assert_eq!(rows[0].id.as_deref(), Some("41"));
    assert_eq!(rows[0].rubrics[0].score_descriptions.get(Score::new(5).unwrap()), "anchor 5");

    let error = read_all::<BenchRecord>(bench(6).path()).unwrap_err().to_string();
    assert!(
        error.contains("row 1, field \"rubrics[0].score_descriptions\": a rubric needs the five"),
        "{error}"
    );
}

#[test]
fn a_file_of_prompts_with_other_columns_reads_as_objects() {
    let lists = ListArray::new(
        Arc::new(Field::new_list_field(DataType::Int64, true)),
        OffsetBuffer::from_lengths([2]),
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Some(NullBuffer::from(vec![true])),
    );
    let written = write(vec![
        ("prompt", Arc::new(StringViewArray::from(vec!["Hi?"])) as ArrayRef),
        ("score", Arc::new(arrow::array::Float32Array::from(vec![0.5])) as ArrayRef),
        ("safe", Arc::new(arrow::array::BooleanArray::from(vec![true])) as ArrayRef),
        ("when", Arc::new(TimestampSecondArray::from(vec![0])) as ArrayRef),
        ("none", arrow::array::new_null_array(&DataType::Utf8, 1)),
        ("ids", Arc::new(lists) as ArrayRef),
    ]);
    let rows: Vec<Map<String, Value>> = read_all(written.path()).unwrap();
    let expected =
        json!({"prompt": "Hi?", "score": 0.5, "safe": true, "when": "1970-01-01T00:00:00", "ids": [1, null]});
    assert_eq!(Value::Object(rows[0].clone()), expected);
}

#[test]
fn every_codec_of_parquet_and_arrow_is_read() {
    let texts: ArrayRef =
        Arc::new(LargeStringArray::from_iter_values((0..500).map(|row| format!("text {}", row % 7))));
    let columns = ["input", "chosen", "rejected"].map(|name| (name, texts.clone()));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, what: &dyn std::fmt::Debug| {
        let rows: Vec<RewardRecord> =
            read_all(folder.path().join(name)).unwrap_or_else(|error| panic!("{what:?}: {error}"));
        assert_eq!((rows.len(), rows[8].input.as_str()), (500, "text 1"), "{what:?}");
    };
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let file = File::create(folder.path().join("rows.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        check("rows.parquet", &codec);
    }
    for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
        let file = File::create(folder.path().join("rows.arrow")).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        check("rows.arrow", &codec);

        // As polars begins a file: with a schema that is no message. The footer has the schema and the
        // places.
        let path = folder.path().join("rows.arrow");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8..16].copy_from_slice(&[4, 0, 0, 0, 0xf2, 0xff, 0xff, 0xff]);
        std::fs::write(&path, &bytes).unwrap();
        check("rows.arrow", &("polars", codec));
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let error = read_all::<RewardRecord>(&path).unwrap_err();
        assert!(matches!(error, Error::Arrow { .. }), "{error}");
    }
}
