//! An append-only file of answers, so that nothing is asked for twice.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::in_field;
use crate::fs::open_locked;
use crate::read::decode;
use crate::{Error, Problem, Result};

/// An append-only file of JSON lines: a header with everything that the answers depend on, then one entry for each answer,
/// an object with its `id`, in the order of arrival. The file is locked while it is open.
///
/// `E` is what is kept of an entry: its line, or what [`Journal::open_as`] reads it as.
///
/// ```
/// use janus_data::Journal;
/// use serde_json::{Map, json};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("answers.partial");
/// let mut journal = Journal::open(&path, &Map::new())?;
/// journal.append("q1", &json!({ "id": "q1", "response": "yes" }))?;
/// drop(journal); // or a kill: a line that was cut in half is dropped on opening
/// assert!(Journal::open(&path, &Map::new())?.get("q1").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Journal<E = String> {
    path: PathBuf,
    file: File,
    read: ReadEntry<E>,
    entries: HashMap<String, E>,
}

/// Reads an entry; an error is the field and what is wrong with it.
type ReadEntry<E> = fn(&str) -> Result<E, (Option<String>, Problem)>;

/// Why a file cannot be opened as a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalProblem {
    /// Another process, or another value of this one, holds it.
    #[error("another run is writing here: wait for it")]
    InUse,
    /// A line that is not a journal entry: the file is something else, or was edited.
    #[error("line {row} is not a journal entry: mend or delete the line, or restart the run, which drops every answer")]
    NotAJournal {
        /// The line, from 1.
        row: usize,
    },
    /// An entry without the answer that it should hold. Skipped in silence, it would be paid for again.
    #[error("line {line}{}: {problem}: mend the line, or delete it to ask for its answer again", in_field(field.as_deref()))]
    Entry {
        /// The line, from 1.
        line: usize,
        /// The field, with its way through lists and objects.
        field: Option<String>,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Answers that were given under other settings.
    #[error("an unfinished run with another {} lies here: repeat its command to finish it, or restart the run", differing.join(", another "))]
    OtherHeader {
        /// The header's entries that differ.
        differing: Vec<String>,
    },
}

impl Journal {
    /// Opens a journal and reads the answers in it. A journal that does not exist, or holds no answer yet, is created, with the folder
    /// that it lies in. A last line that a kill cut in half is dropped.
    ///
    /// # Errors
    /// [`Error::Journal`] if the answers belong to another header, if another process holds the journal, or if the file is
    /// not a journal; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>, header: &Map<String, Value>) -> Result<Self> {
        Self::begin(path.into(), header, false, |line| Ok(line.into()))
    }

    /// Opens a journal without its answers: whatever the file holds is dropped.
    ///
    /// # Errors
    /// [`Error::Journal`] if another process holds the journal; [`Error::Io`].
    pub fn restart(path: impl Into<PathBuf>, header: &Map<String, Value>) -> Result<Self> {
        Self::begin(path.into(), header, true, |line| Ok(line.into()))
    }
}

impl<E> Journal<E> {
    /// [`Journal::open`], with each entry read as an `E`.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`JournalProblem::Entry`] for the first entry that is no `E`.
    pub fn open_as(path: impl Into<PathBuf>, header: &Map<String, Value>) -> Result<Self>
    where
        E: DeserializeOwned,
    {
        Self::begin(path.into(), header, false, |line| decode(&mut serde_json::Deserializer::from_str(line)))
    }

    fn begin(path: PathBuf, header: &Map<String, Value>, restart: bool, read: ReadEntry<E>) -> Result<Self> {
        let io = |doing| Error::io(&path, doing);
        let Some(mut file) = open_locked(&path)? else { return Err(problem(&path, JournalProblem::InUse)) };
        let mut bytes = Vec::new();
        if !restart {
            file.read_to_end(&mut bytes).map_err(io("read the journal"))?;
        }
        let entries = entries(&bytes, header, read).map_err(|found| problem(&path, found))?;
        // Only now that the file is known to be ours, it is cut.
        let kept = if entries.is_empty() { 0 } else { whole_lines(&bytes).len() as u64 };
        file.set_len(kept).map_err(io("cut the journal"))?;
        file.seek(SeekFrom::Start(kept)).map_err(io("read the journal"))?;
        let mut journal = Self { path, file, read, entries };
        if kept == 0 {
            journal.write_line(&Value::Object(header.clone()).to_string())?;
        }
        Ok(journal)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry of an id, if it was answered.
    pub fn get(&self, id: &str) -> Option<&E> {
        self.entries.get(id)
    }

    /// Number of answered ids.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was answered yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the entry of an answer (an object with its `id`).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::Encode`] for one that cannot be read again, which is not written.
    pub fn append(&mut self, id: &str, row: &Value) -> Result<()> {
        let line = row.to_string();
        let entry = (self.read)(&line).map_err(|(field, problem)| Error::Encode {
            path: self.path.clone(),
            row: self.entries.len() as u64 + 1,
            cause: format!("entry {id}{}: {problem}", in_field(field.as_deref())).into(),
        })?;
        self.write_line(&line)?;
        self.entries.insert(id.into(), entry);
        Ok(())
    }

    fn write_line(&mut self, line: &str) -> Result<()> {
        // One write for the line and its end: a kill leaves half a line at the most, and only at the end.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io(&self.path, "write the journal"))
    }

    /// Removes the file, once its answers are stored elsewhere.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io(&self.path, "remove the journal"))
    }
}

fn problem(path: &Path, problem: JournalProblem) -> Error {
    Error::Journal { path: path.into(), problem }
}

/// What the journal itself reads of an entry.
#[derive(Deserialize)]
struct Answered {
    id: String,
}

/// The entries of a journal by their ids.
fn entries<E>(bytes: &[u8], header: &Map<String, Value>, read: ReadEntry<E>) -> Result<HashMap<String, E>, JournalProblem> {
    let mut lines = whole_lines(bytes).split_inclusive(|&byte| byte == b'\n').zip(1..);
    let Some((first, _)) = lines.next() else {
        // Cut off within the header, or not a journal.
        let ours = bytes.is_empty() || bytes.starts_with(b"{");
        return if ours { Ok(HashMap::new()) } else { Err(JournalProblem::NotAJournal { row: 1 }) };
    };
    let found = serde_json::from_slice(first).map_err(|_| JournalProblem::NotAJournal { row: 1 })?;
    let lines: Vec<(&str, usize, Answered)> = lines
        .map(|(bytes, line)| {
            let not_ours = JournalProblem::NotAJournal { row: line };
            let Ok(text) = std::str::from_utf8(bytes) else { return Err(not_ours) };
            let answered = serde_json::from_str(text).map_err(|_| not_ours)?;
            Ok((text.trim_end(), line, answered))
        })
        .collect::<Result<_, _>>()?;
    if !lines.is_empty() {
        check_header(&found, header)?;
    }
    let entry = |(text, line, Answered { id })| match read(text) {
        Ok(entry) => Ok((id, entry)),
        Err((field, problem)) => Err(JournalProblem::Entry { line, field, problem }),
    };
    lines.into_iter().map(entry).collect()
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1)]
}

fn check_header(found: &Map<String, Value>, expected: &Map<String, Value>) -> Result<(), JournalProblem> {
    let differs = |key: &&String| found.get(*key) != expected.get(*key);
    let missing = found.keys().filter(|key| !expected.contains_key(*key));
    let differing: Vec<String> = expected.keys().filter(differs).chain(missing).cloned().collect();
    if differing.is_empty() { Ok(()) } else { Err(JournalProblem::OtherHeader { differing }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header(seed: u64) -> Map<String, Value> {
        json!({ "model": "m", "seed": seed }).as_object().unwrap().clone()
    }

    #[test]
    fn rows_come_back_and_half_a_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = Journal::open(&path, &header(1)).unwrap();
        journal.append("a", &json!({ "id": "a", "response": "ä\n" })).unwrap();
        journal.append("b", &json!({ "id": "b", "response": "" })).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        // Cut anywhere: what is left is a journal of the whole entries, and continues from there.
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(&path, &header(1)).unwrap();
            let lines = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!((journal.get("a").is_some(), journal.get("b").is_some()), (lines > 1, lines > 2), "{length}");
            for id in ["a", "b"] {
                if journal.get(id).is_none() {
                    let response = if id == "a" { "ä\n" } else { "" };
                    journal.append(id, &json!({ "id": id, "response": response })).unwrap();
                }
            }
            assert_eq!(fs::read(&path).unwrap(), whole, "{length}");
        }
    }

    #[test]
    fn another_header_is_refused_by_the_name_of_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        drop(Journal::open(&path, &header(0)).unwrap());
        // Without an answer in it, nothing is lost.
        let mut journal = Journal::open(&path, &header(1)).unwrap();
        journal.append("a", &json!({ "id": "a" })).unwrap();
        drop(journal);
        let error = Journal::open(&path, &header(2)).unwrap_err();
        assert!(error.to_string().contains("with another seed lies here"), "{error}");
        assert!(Journal::open(&path, &header(1)).unwrap().get("a").is_some());
        assert!(Journal::restart(&path, &header(2)).unwrap().get("a").is_none());
    }

    #[test]
    fn what_is_no_journal_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        for notes in ["my notes\n", "my notes", "{\"model\":1}\nnotes\n"] {
            fs::write(&path, notes).unwrap();
            let error = Journal::open(&path, &header(1)).unwrap_err();
            assert!(matches!(error, Error::Journal { problem: JournalProblem::NotAJournal { .. }, .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), notes);
        }
    }

    #[test]
    fn two_runs_do_not_share_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let first = Journal::open(&path, &header(1)).unwrap();
        assert!(Journal::open(&path, &header(1)).unwrap_err().to_string().contains("another run"));
        drop(first);
        assert!(Journal::open(&path, &header(1)).is_ok());
    }
}
