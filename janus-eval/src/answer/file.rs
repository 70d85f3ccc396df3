//! An answer file, and the files that belong to it.

use std::fs;
use std::path::PathBuf;

use janus_data::Journal;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{AnswerStore, Answered, Task};
use crate::bench::Questions;
use crate::{Error, Result};

/// A file of answers with its record: OUTPUT and `OUTPUT.run.json`. During a run the answers are in
/// `OUTPUT.partial`. Those of an API are in `OUTPUT.calls`, which is kept after the run.
///
/// ```
/// use janus_core::SamplingParams;
/// use janus_eval::answer::{AnswerFile, Task};
///
/// # let folder = tempfile::tempdir()?;
/// let file = AnswerFile::new(folder.path().join("answers.jsonl"));
/// let tasks = [Task::new("q1", "Name a bird.", SamplingParams::greedy(64))];
/// let settings = AnswerFile::settings(&tasks)?;
/// file.write_rows(&[r#"{"id":"q1","response":"A wren."}"#])?;
/// file.write_record(serde_json::json!({ "failures": [], "name": null, "settings": settings }))?;
/// assert!(!file.is_unfinished() && file.check(None, &settings).is_ok());
/// let others = AnswerFile::settings(&[Task::new("q1", "Name a fish.", SamplingParams::greedy(64))])?;
/// assert!(file.check(None, &others).unwrap_err().to_string().ends_with("the answers of another run, which differs in rows"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFile {
    path: PathBuf,
}

/// Why a file does not hold the expected answers. The texts follow the words "PATH holds".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFileProblem {
    /// Without a record, the model and the settings of the answers are unknown.
    #[error("answers of unknown origin: its record {} is missing or cannot be read", record.display())]
    NoRecord {
        /// Where the record should be.
        record: PathBuf,
    },
    /// The file was written by a run with other settings.
    #[error("the answers of another run, which differs in {}", differing.join(", "))]
    OtherRun {
        /// The settings that differ.
        differing: Vec<String>,
    },
}

impl AnswerFile {
    /// The file at a path, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// `OUTPUT.run.json`: how the answers were generated.
    pub fn record(&self) -> PathBuf {
        self.with_suffix("run.json")
    }

    /// `OUTPUT.partial`: the rows of an unfinished run.
    pub fn partial(&self) -> PathBuf {
        self.with_suffix("partial")
    }

    /// `OUTPUT.calls`: the journal of the calls to an API.
    pub fn calls(&self) -> PathBuf {
        self.with_suffix("calls")
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// Everything except the model that the answers to these tasks depend on: `sampling` (the distinct
    /// sampling parameters) and `rows` (a fingerprint of the tasks).
    ///
    /// # Errors
    /// [`Error::ReportFile`] for sampling parameters that JSON cannot hold.
    pub fn settings(tasks: &[Task]) -> Result<Map<String, Value>> {
        let json = |error: serde_json::Error| Error::ReportFile { problem: error.to_string() };
        let mut sampling = Vec::new();
        let mut content = Vec::with_capacity(tasks.len());
        for task in tasks {
            let which = sampling.iter().position(|known| *known == &task.sampling).unwrap_or_else(|| {
                sampling.push(&task.sampling);
                sampling.len() - 1
            });
            content.push((&task.id, &task.system, &task.turns, which));
        }
        let rows = blake3::hash(&serde_json::to_vec(&content).map_err(json)?).to_hex().to_string();
        let sampling = if let [one] = &sampling[..] { json!(one) } else { json!(sampling) };
        Ok(Map::from_iter([("sampling".to_string(), sampling), ("rows".to_string(), json!(rows))]))
    }

    fn read_record(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.record()).ok()?).ok()
    }

    /// Whether the record lists rows without an answer, which can be requested again.
    pub fn is_unfinished(&self) -> bool {
        self.read_record()
            .is_some_and(|record| record["failures"].as_array().is_some_and(|failures| !failures.is_empty()))
    }

    /// Checks that the finished file was written with these settings. `name` is the model's name in a
    /// benchmark's rows.
    ///
    /// # Errors
    /// [`Error::AnswerFile`].
    pub fn check(&self, name: Option<&str>, settings: &Map<String, Value>) -> Result<()> {
        let other = |problem| Err(Error::AnswerFile { path: self.path.clone(), problem });
        let Some(record) = self.read_record() else {
            return other(AnswerFileProblem::NoRecord { record: self.record() });
        };
        let differs = |key: &&String| record["settings"].get(key.as_str()) != settings.get(key.as_str());
        let more = record["settings"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| !settings.contains_key(*key));
        let mut differing: Vec<String> = settings.keys().chain(more).filter(differs).cloned().collect();
        if record["name"] != json!(name) {
            differing.push("name".into());
        }
        if differing.is_empty() { Ok(()) } else { other(AnswerFileProblem::OtherRun { differing }) }
    }

    /// Opens the store of a run with these settings, in `OUTPUT.partial`. Use it for a local model; for
    /// a paid API, see [`AnswerStore::calls`]. With `restart`, stored answers are dropped.
    ///
    /// # Errors
    /// [`Error::File`] for the answers of a run with other settings, or a file that cannot be read or
    /// written.
    pub fn open_store(&self, settings: &Map<String, Value>, restart: bool) -> Result<AnswerStore<'static>> {
        let open = if restart { Journal::restart } else { Journal::open };
        Ok(AnswerStore::rows(open(self.partial(), settings)?))
    }

    /// Writes the answers to a benchmark's questions in the benchmark's own format. Questions without an
    /// answer are left out. `model` is the model's name in the rows.
    ///
    /// # Errors
    /// [`Error::Row`] for answers to other questions, [`Error::File`].
    pub fn write_answers(&self, questions: &Questions, model: &str, answered: &Answered) -> Result<()> {
        let answers = answered
            .answers
            .iter()
            .enumerate()
            .filter_map(|(place, answers)| Some((place, answers.as_ref().ok()?)));
        let rows = answers
            .map(|(place, answers)| questions.answer_row(place, model, answers))
            .collect::<Result<Vec<Value>>>()?;
        Ok(janus_data::write_all(&self.path, &rows)?)
    }

    /// Writes the rows, one per line.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_rows<S: AsRef<str>>(&self, rows: &[S]) -> Result<()> {
        let text: String = rows.iter().flat_map(|row| [row.as_ref(), "\n"]).collect();
        Ok(janus_data::write_file(&self.path, text.as_bytes())?)
    }

    /// Writes the record: an object with `failures` (a list of `{id, error}`), `name`, `settings` and
    /// any other fields.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::ReportFile`] for a record that JSON cannot hold.
    pub fn write_record(&self, record: impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| Error::ReportFile { problem: error.to_string() })?;
        Ok(janus_data::write_file(self.record(), format!("{text}\n").as_bytes())?)
    }
}
