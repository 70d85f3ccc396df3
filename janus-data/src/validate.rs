//! Validates files of records and reports all problems, not only the first.

mod shape;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use crate::sources::{changes_what_is_learned, is_empty};
use crate::{Error, Problem, ReadOptions, Result, Row};
use shape::{Field, fields};

/// A kind of record, with the schema of the released datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// [`janus_core::SftRecord`].
    Sft,
    /// [`janus_core::PairRecord`].
    Pairs,
    /// [`janus_core::RewardRecord`].
    Reward,
    /// [`janus_core::BenchRecord`].
    Bench,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [RecordKind; 4] =
        [RecordKind::Sft, RecordKind::Pairs, RecordKind::Reward, RecordKind::Bench];

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Sft => "sft",
            RecordKind::Pairs => "pairs",
            RecordKind::Reward => "reward",
            RecordKind::Bench => "bench",
        }
    }

    /// The kind of a row, recognised by its fields, including those of the older releases; `None` if they fit
    /// no kind.
    pub fn of_row(row: &Row) -> Option<RecordKind> {
        let has = |name: &str| row.contains_key(name);
        if has("rubrics") || has("rubric") {
            Some(RecordKind::Bench)
        } else if has("chosen") && has("rejected") {
            Some(if has("input") { RecordKind::Reward } else { RecordKind::Pairs })
        } else if has("output") && (has("prompt") || has("instruction")) {
            Some(RecordKind::Sft)
        } else {
            None
        }
    }
}

impl RecordKind {
    /// The fields of a row that have a value and that records of this kind do not have.
    pub fn other_fields(self, row: &Row) -> impl Iterator<Item = &str> {
        let known = move |name: &str| fields(self).iter().any(|field| field.names.contains(&name));
        row.iter()
            .filter(move |(name, value)| !known(name) && !is_empty(value))
            .map(|(name, _)| name.as_str())
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordKind {
    type Err = UnknownRecordKind;

    fn from_str(name: &str) -> Result<Self, UnknownRecordKind> {
        RecordKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownRecordKind { got: name.into() })
    }
}

/// An unknown name of a kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of record \"{got}\": expected sft, pairs, reward or bench")]
#[non_exhaustive]
pub struct UnknownRecordKind {
    /// The name as written.
    pub got: String,
}

/// One problem of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The row, from 1; 0 for the file as a whole.
    pub row: u64,
    /// The field, with its path through lists and objects; empty for the row as a whole.
    pub field: String,
    /// What was expected.
    pub expected: String,
    /// What was found instead.
    pub got: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.row > 0 {
            write!(f, ", row {}", self.row)?;
        }
        if !self.field.is_empty() {
            write!(f, ", field \"{}\"", self.field)?;
        }
        write!(f, ": expected {}, got {}", self.expected, self.got)
    }
}

/// A file that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckedFile {
    /// The file.
    pub file: PathBuf,
    /// The kind that its rows were checked as; `None` if the first row fits none.
    pub kind: Option<RecordKind>,
    /// Number of rows.
    pub rows: u64,
    /// Number of rows with a problem.
    pub bad_rows: u64,
}

/// The result of [`validate`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Validation {
    /// The files.
    pub files: Vec<CheckedFile>,
    /// Rows of all files.
    pub rows: u64,
    /// Rows with a problem.
    pub bad_rows: u64,
    /// Number of all problems.
    pub problems: u64,
    /// The first problems, up to the limit.
    pub findings: Vec<Finding>,
    /// Number of problems by field, without positions in lists.
    pub by_field: BTreeMap<String, u64>,
}

/// Checks every row of files against a kind of record, or against the kind of each file's first row. Ids must
/// be unique over all files, and all files must have the same kind. Memory is bounded by a batch, the ids and
/// `limit` problems.
///
/// ```
/// use janus_data::{RecordKind, ReadOptions, validate};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("rm.jsonl");
/// std::fs::write(&path, "{\"input\": 3, \"chosen\": \"c\"}\n")?;
/// let found = validate(&[path], Some(RecordKind::Reward), &ReadOptions::default(), 10);
/// assert_eq!((found.findings[0].field.as_str(), found.findings[0].got.as_str()), ("input", "a number"));
/// assert_eq!((found.findings[1].field.as_str(), found.findings[1].got.as_str()), ("rejected", "nothing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn validate(
    paths: &[PathBuf],
    kind: Option<RecordKind>,
    options: &ReadOptions,
    limit: usize,
) -> Validation {
    let mut checker =
        Checker { validation: Validation::default(), ids: HashMap::new(), limit, first_kind: None };
    for (file, path) in paths.iter().enumerate() {
        checker.file(file, path, paths, kind, options);
    }
    checker.validation
}

struct Checker {
    validation: Validation,
    /// File and row of each id.
    ids: HashMap<String, (usize, u64)>,
    limit: usize,
    first_kind: Option<(RecordKind, PathBuf)>,
}

impl Checker {
    fn file(
        &mut self,
        number: usize,
        path: &Path,
        paths: &[PathBuf],
        kind: Option<RecordKind>,
        options: &ReadOptions,
    ) {
        let mut checked = CheckedFile { file: path.into(), kind, rows: 0, bad_rows: 0 };
        let rows = match options.read::<Row>(path) {
            Ok(rows) => rows,
            Err(error) => {
                self.error(path, 0, &error);
                checked.bad_rows += u64::from(matches!(error, Error::Row { .. }));
                self.add(checked);
                return;
            }
        };
        let mut unknown = false;
        for row in rows {
            let before = self.validation.problems;
            let row_number = checked.rows + 1;
            match row {
                Err(error) => {
                    checked.rows += u64::from(matches!(error, Error::Row { .. }));
                    self.error(path, if matches!(error, Error::Row { .. }) { row_number } else { 0 }, &error);
                    if !matches!(error, Error::Row { .. }) {
                        continue;
                    }
                }
                Ok(row) => {
                    checked.rows += 1;
                    if checked.kind.is_none() && !unknown {
                        checked.kind = RecordKind::of_row(&row);
                        unknown = checked.kind.is_none();
                        self.one_kind(path, checked.kind, &row);
                    }
                    if let Some(kind) = checked.kind {
                        self.row(path, row_number, kind, &row);
                    }
                    self.id(number, row_number, paths, &row);
                }
            }
            checked.bad_rows += u64::from(self.validation.problems > before);
        }
        self.add(checked);
    }

    fn add(&mut self, checked: CheckedFile) {
        self.validation.rows += checked.rows;
        self.validation.bad_rows += checked.bad_rows;
        self.validation.files.push(checked);
    }

    fn one_kind(&mut self, path: &Path, kind: Option<RecordKind>, row: &Row) {
        let Some(kind) = kind else {
            let got: Vec<&str> = row.keys().map(String::as_str).collect();
            let got =
                if got.is_empty() { "no field".into() } else { format!("the fields {}", got.join(", ")) };
            self.problem(
                path,
                1,
                "",
                "the fields of an sft, pairs, reward or bench row (or state the kind)",
                &got,
            );
            return;
        };
        match &self.first_kind {
            Some((first, of)) if *first != kind => {
                let expected = format!("rows of one kind in all files ({first}, as {})", of.display());
                self.problem(path, 0, "", &expected, kind.as_str());
            }
            Some(_) => {}
            None => self.first_kind = Some((kind, path.into())),
        }
    }

    fn row(&mut self, path: &Path, row_number: u64, kind: RecordKind, row: &Row) {
        for Field { names, required, shape } in fields(kind) {
            let name =
                names.iter().find(|name| row.get(**name).is_some_and(|value| !value.is_null())).copied();
            match name {
                Some(name) => shape.check(&row[name], name, &mut |field, expected, got| {
                    self.problem(path, row_number, field, expected, got)
                }),
                None if *required => self.problem(path, row_number, names[0], shape.expected(), "nothing"),
                None => {}
            }
        }
        for name in kind.other_fields(row) {
            if changes_what_is_learned(name) || ["messages", "conversations"].contains(&name) {
                let expected = format!("rows of {kind} without this field, which they cannot hold");
                self.problem(path, row_number, name, &expected, "a value");
            }
        }
        shape::rules(kind, row, &mut |field, expected, got| {
            self.problem(path, row_number, field, expected, got)
        });
    }

    fn id(&mut self, file: usize, row_number: u64, paths: &[PathBuf], row: &Row) {
        let id = match row.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return,
        };
        if let Some((first, at)) = self.ids.get(&id) {
            let got = format!("\"{id}\", which is also in row {at} of {}", paths[*first].display());
            self.problem(&paths[file], row_number, "id", "a unique id", &got);
        } else {
            self.ids.insert(id, (file, row_number));
        }
    }

    fn error(&mut self, path: &Path, row: u64, error: &Error) {
        match error {
            Error::Row { field, problem, row, .. } => {
                let field = field.clone().unwrap_or_default();
                let (expected, got) = match problem {
                    Problem::Missing => ("a value".into(), "nothing".into()),
                    Problem::Mismatch { expected, got } => (expected.clone(), got.clone()),
                    Problem::Rule(rule) => ("a valid value".into(), rule.clone()),
                    Problem::Syntax { message, column } => {
                        ("JSON".into(), format!("{message}, at column {column}"))
                    }
                    Problem::Utf8 { column } => {
                        ("UTF-8".into(), format!("an invalid byte at column {column}"))
                    }
                    Problem::DoubledKey(key) => ("each key once".into(), format!("\"{key}\" twice")),
                    Problem::TooLong { limit } => {
                        (format!("a row of at most {limit} bytes"), "a larger row".into())
                    }
                };
                self.problem(path, *row, &field, &expected, &got);
            }
            error => self.problem(path, row, "", "a readable file", &error.to_string()),
        }
    }

    fn problem(&mut self, path: &Path, row: u64, field: &str, expected: &str, got: &str) {
        self.validation.problems += 1;
        let mut of = String::new();
        let mut within = false;
        for character in field.chars() {
            within |= character == '[';
            if !within {
                of.push(character);
            }
            within &= character != ']';
        }
        *self.validation.by_field.entry(of).or_default() += 1;
        if self.validation.findings.len() < self.limit {
            let finding = Finding {
                file: path.into(),
                row,
                field: field.into(),
                expected: expected.into(),
                got: got.into(),
            };
            self.validation.findings.push(finding);
        }
    }
}
