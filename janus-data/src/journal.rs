//! An append-only file of answers, so that no request is sent twice.

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

/// An append-only file of JSON lines: a header with everything that the answers depend on, then one entry for
/// each answer in the order of arrival, an object with its `id`. The file is locked while it is open.
///
/// `E` is the type of an entry in memory: its line, or the type that [`Journal::open_as`] deserializes.
///
/// ```
/// use janus_data::Journal;
/// use serde_json::{Map, json};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("answers.partial");
/// let mut journal = Journal::open(&path, &Map::new())?;
/// journal.append("q1", &json!({ "id": "q1", "response": "yes" }))?;
/// drop(journal); // or a kill: an incomplete last line is dropped on opening
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

/// Reads an entry; the error is the field and what is wrong with it.
type ReadEntry<E> = fn(&str) -> Result<E, (Option<String>, Problem)>;

/// Why a file cannot be opened as a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalProblem {
    /// Another process, or another `Journal` of this one, has it open.
    #[error("another run is writing to this file: wait for it")]
    InUse,
    /// A line that is not a journal entry: the file is something else, or was edited.
    #[error(
        "line {row} is not a journal entry: fix or delete the line, or restart the run, which drops every answer"
    )]
    NotAJournal {
        /// The line, from 1.
        row: usize,
    },
    /// An entry whose answer cannot be read. If it were skipped silently, the answer would be paid for again.
    #[error("line {line}{}: {problem}: fix the line, or delete it to request its answer again", in_field(field.as_deref()))]
    Entry {
        /// The line, from 1.
        line: usize,
        /// The field, with its path through lists and objects.
        field: Option<String>,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Answers to a run with other settings.
    #[error("this file belongs to an unfinished run with another {}: repeat the command of that run to finish it, or restart the run", differing.join(", another "))]
    OtherHeader {
        /// The header's entries that differ.
        differing: Vec<String>,
    },
}

impl Journal {
    /// Opens a journal and reads the answers in it. A journal that does not exist, or holds no answer yet, is
    /// created, with the folder that it lies in. A last line that a kill cut in half is dropped.
    ///
    /// # Errors
    /// [`Error::Journal`] if the answers belong to another header, if another process holds the journal, or
    /// if the file is not a journal; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>, header: &Map<String, Value>) -> Result<Self> {
        Self::begin(path.into(), header, false, |line| Ok(line.into()))
    }

    /// Opens a journal and drops everything that the file contains.
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
    /// As [`Journal::open`]; [`JournalProblem::Entry`] for the first entry that is not an `E`.
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
        // The file is truncated only now that it is known to be this journal.
        let kept = if entries.is_empty() { 0 } else { complete_lines(&bytes).len() as u64 };
        file.set_len(kept).map_err(io("truncate the journal"))?;
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

    /// The entry of an id, if it has one.
    pub fn get(&self, id: &str) -> Option<&E> {
        self.entries.get(id)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the entry of an answer, an object with its `id`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::Encode`] for an entry that could not be read back,
    /// which is not written.
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
        // One write for the line and its line break, so that a kill leaves at most one incomplete line, at
        // the end.
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(Error::io(&self.path, "write the journal"))
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

/// The part of an entry that the journal itself reads.
#[derive(Deserialize)]
struct EntryId {
    id: String,
}

/// The entries of a journal by their ids.
fn entries<E>(
    bytes: &[u8],
    header: &Map<String, Value>,
    read: ReadEntry<E>,
) -> Result<HashMap<String, E>, JournalProblem> {
    let mut lines = complete_lines(bytes).split_inclusive(|&byte| byte == b'\n').zip(1..);
    let Some((first, _)) = lines.next() else {
        // Interrupted within the header, or not a journal.
        let is_journal = bytes.is_empty() || bytes.starts_with(b"{");
        return if is_journal { Ok(HashMap::new()) } else { Err(JournalProblem::NotAJournal { row: 1 }) };
    };
    let found = serde_json::from_slice(first).map_err(|_| JournalProblem::NotAJournal { row: 1 })?;
    let lines: Vec<(&str, usize, EntryId)> = lines
        .map(|(bytes, line)| {
            let not_an_entry = JournalProblem::NotAJournal { row: line };
            let Ok(text) = std::str::from_utf8(bytes) else { return Err(not_an_entry) };
            let entry_id = serde_json::from_str(text).map_err(|_| not_an_entry)?;
            Ok((text.trim_end(), line, entry_id))
        })
        .collect::<Result<_, _>>()?;
    if !lines.is_empty() {
        check_header(&found, header)?;
    }
    let entry = |(text, line, EntryId { id })| match read(text) {
        Ok(entry) => Ok((id, entry)),
        Err((field, problem)) => Err(JournalProblem::Entry { line, field, problem }),
    };
    lines.into_iter().map(entry).collect()
}

fn complete_lines(bytes: &[u8]) -> &[u8] {
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
    fn entries_are_read_again_and_an_incomplete_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let mut journal = Journal::open(&path, &header(1)).unwrap();
        journal.append("a", &json!({ "id": "a", "response": "ä\n" })).unwrap();
        journal.append("b", &json!({ "id": "b", "response": "" })).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        // Truncated anywhere, the file is a journal of the complete entries, and is continued from there.
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(&path, &header(1)).unwrap();
            let lines = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(
                (journal.get("a").is_some(), journal.get("b").is_some()),
                (lines > 1, lines > 2),
                "{length}"
            );
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
    fn another_header_is_rejected_and_the_difference_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        drop(Journal::open(&path, &header(0)).unwrap());
        // Without an answer, nothing is lost.
        let mut journal = Journal::open(&path, &header(1)).unwrap();
        journal.append("a", &json!({ "id": "a" })).unwrap();
        drop(journal);
        let error = Journal::open(&path, &header(2)).unwrap_err();
        assert!(error.to_string().contains("an unfinished run with another seed:"), "{error}");
        assert!(Journal::open(&path, &header(1)).unwrap().get("a").is_some());
        assert!(Journal::restart(&path, &header(2)).unwrap().get("a").is_none());
    }

    #[test]
    fn a_file_that_is_not_a_journal_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        for notes in ["my notes\n", "my notes", "{\"model\":1}\nnotes\n"] {
            fs::write(&path, notes).unwrap();
            let error = Journal::open(&path, &header(1)).unwrap_err();
            assert!(
                matches!(error, Error::Journal { problem: JournalProblem::NotAJournal { .. }, .. }),
                "{error}"
            );
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
