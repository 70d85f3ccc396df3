//! Columns of Parquet and Arrow files: their names, their types, and how rows fill them.

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use janus_core::{
    BenchRecord, Message, PairRecord, Preference, PreferenceSet, RewardRecord, Rubric, Score, SftRecord,
};

/// A record that can be a row of Parquet or Arrow.
///
/// ```
/// use janus_data::{ArrowRecord, Column, write_records};
///
/// #[derive(serde::Serialize)]
/// struct Note { title: String, text: String }
///
/// impl ArrowRecord for Note {
///     fn columns(_rows: &[Self]) -> Vec<Column<Self>> {
///         vec![Column::text("title", |note| &note.title), Column::text("text", |note| &note.text)]
///     }
/// }
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("notes.parquet");
/// write_records(&path, &[Note { title: "Kite".into(), text: "It flies.".into() }])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ArrowRecord: Sized {
    /// The columns of a file of these rows, in order. A column may depend on `rows` if only some files need
    /// it; types must not depend on `rows`.
    fn columns(rows: &[Self]) -> Vec<Column<Self>>;
}

/// A column of records of type `T`.
pub struct Column<T> {
    pub(super) field: Field,
    pub(super) fill: Fill<T>,
}

type Fill<T> = Box<dyn Fn(&[T]) -> ArrayRef + Send>;

impl<T: 'static> Column<T> {
    /// A column of any Arrow type; `fill` makes an array of that type with one value for each given row.
    pub fn new(field: Field, fill: impl Fn(&[T]) -> ArrayRef + Send + 'static) -> Self {
        Self { field, fill: Box::new(fill) }
    }

    /// A column of text.
    pub fn text(name: &str, get: fn(&T) -> &str) -> Self {
        Self::new(text_field(name), move |rows| texts(rows.iter().map(get)))
    }

    /// A column of nullable text.
    pub fn optional_text(name: &str, get: fn(&T) -> Option<&str>) -> Self {
        Self::new(text_field(name), move |rows| Arc::new(rows.iter().map(get).collect::<LargeStringArray>()))
    }

    /// `list<struct{content, role}>`.
    pub fn messages(name: &str, get: fn(&T) -> &[Message]) -> Self {
        Self::optional_messages(name, move |row| Some(get(row)))
    }

    /// `list<struct{content, role}>`, or null.
    pub fn optional_messages(name: &str, get: impl Fn(&T) -> Option<&[Message]> + Send + 'static) -> Self {
        let fields = Fields::from(vec![text_field("content"), text_field("role")]);
        Self::list(name, fields, move |rows, fields| {
            let messages = || rows.iter().filter_map(&get).flatten();
            let columns = vec![
                texts(messages().map(|m| m.content.as_str())),
                texts(messages().map(|m| m.role.as_str())),
            ];
            list(fields, columns, rows.iter().map(|row| get(row).map(<[Message]>::len)))
        })
    }

    /// `list<struct{dimension, subdimension, preference, description}>`, or null.
    pub fn preferences(name: &str, get: fn(&T) -> Option<&PreferenceSet>) -> Self {
        let fields =
            Fields::from(["dimension", "subdimension", "preference", "description"].map(text_field).to_vec());
        Self::list(name, fields, move |rows, fields| {
            let column =
                |text: fn(&Preference) -> &str| texts(rows.iter().filter_map(get).flatten().map(text));
            let columns = vec![
                column(|p| p.dimension.as_str()),
                column(|p| &p.subdimension),
                column(|p| &p.name),
                column(|p| &p.description),
            ];
            list(fields, columns, rows.iter().map(|row| get(row).map(|set| set.iter().len())))
        })
    }

    /// `list<struct{criteria, score_descriptions: struct{"1", "2", "3", "4", "5"}}>`.
    pub fn rubrics(name: &str, get: fn(&T) -> &[Rubric]) -> Self {
        let anchor_fields: Fields = scores().map(|score| text_field(&score.to_string())).collect();
        let fields = Fields::from(vec![
            text_field("criteria"),
            Field::new("score_descriptions", DataType::Struct(anchor_fields.clone()), true),
        ]);
        Self::list(name, fields, move |rows, fields| {
            let rubrics = || rows.iter().flat_map(get);
            let anchors = scores()
                .map(|score| texts(rubrics().map(|rubric| rubric.score_descriptions.get(score))))
                .collect();
            let anchors = Arc::new(StructArray::new(anchor_fields.clone(), anchors, None));
            let columns: Vec<ArrayRef> =
                vec![texts(rubrics().map(|rubric| rubric.criteria.as_str())), anchors];
            list(fields, columns, rows.iter().map(|row| Some(get(row).len())))
        })
    }

    fn list(name: &str, fields: Fields, fill: impl Fn(&[T], &Fields) -> ArrayRef + Send + 'static) -> Self {
        let item = Field::new_list_field(DataType::Struct(fields.clone()), true);
        Self::new(Field::new_list(name, item, true), move |rows| fill(rows, &fields))
    }
}

fn scores() -> impl Iterator<Item = Score> {
    (1..=5).filter_map(|score| Score::new(score).ok())
}

/// A nullable text field, like all fields of the released files.
fn text_field(name: &str) -> Field {
    Field::new(name, DataType::LargeUtf8, true)
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(LargeStringArray::from_iter_values(texts))
}

/// Makes an array of lists of structs from the columns of the structs, concatenated over all rows, and the
/// length of each row's list.
fn list(
    fields: &Fields,
    columns: Vec<ArrayRef>,
    lengths: impl Iterator<Item = Option<usize>> + Clone,
) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields.clone()), true));
    let offsets = OffsetBuffer::from_lengths(lengths.clone().map(Option::unwrap_or_default));
    let nulls = NullBuffer::from_iter(lengths.map(|length| length.is_some()));
    Arc::new(ListArray::new(
        item,
        offsets,
        Arc::new(StructArray::new(fields.clone(), columns, None)),
        Some(nulls),
    ))
}

impl ArrowRecord for SftRecord {
    fn columns(_rows: &[Self]) -> Vec<Column<Self>> {
        vec![
            Column::text("main_source", |row| &row.main_source),
            Column::text("original_source", |row| &row.original_source),
            Column::preferences("preference_set", |row| row.preference_set.as_ref()),
            Column::text("system", |row| &row.system),
            Column::text("prompt", |row| &row.prompt),
            Column::text("output", |row| &row.output),
        ]
    }
}

impl ArrowRecord for PairRecord {
    fn columns(_rows: &[Self]) -> Vec<Column<Self>> {
        vec![
            Column::text("main_source", |row| &row.main_source),
            Column::text("original_source", |row| &row.original_source),
            Column::text("system", |row| &row.system),
            Column::text("prompt", |row| &row.prompt),
            Column::messages("chosen", |row| &row.chosen),
            Column::messages("rejected", |row| &row.rejected),
        ]
    }
}

impl ArrowRecord for RewardRecord {
    /// The released file has no histories. If a row has one, the column of histories comes first.
    fn columns(rows: &[Self]) -> Vec<Column<Self>> {
        let mut columns = Vec::new();
        if rows.iter().any(|row| row.history.is_some()) {
            columns.push(Column::optional_messages("history", |row: &Self| row.history.as_deref()));
        }
        columns.extend([
            Column::text("input", |row: &Self| &row.input),
            Column::text("chosen", |row| &row.chosen),
            Column::text("rejected", |row| &row.rejected),
        ]);
        columns
    }
}

impl ArrowRecord for BenchRecord {
    /// The released file has no ids. If a row has one, the column of ids comes first.
    fn columns(rows: &[Self]) -> Vec<Column<Self>> {
        let mut columns = Vec::new();
        if rows.iter().any(|row| row.id.is_some()) {
            columns.push(Column::optional_text("id", |row: &Self| row.id.as_deref()));
        }
        columns.extend([
            Column::text("source", |row: &Self| &row.source),
            Column::preferences("preference_set", |row| row.preference_set.as_ref()),
            Column::text("system", |row| &row.system),
            Column::text("prompt", |row| &row.prompt),
            Column::text("reference_answer", |row| &row.reference_answer),
            Column::rubrics("rubrics", |row| &row.rubrics),
        ]);
        columns
    }
}
