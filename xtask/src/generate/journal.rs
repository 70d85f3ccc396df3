//! The journal of a generation: answers as they come, so that none is asked for twice.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::command::{Blame as _, CommandError};

/// An append-only file of JSON lines: a header that says what the answers depend on, then one row for
/// each answer, in the order in which they came. Locked for as long as this value lives.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    rows: HashMap<String, String>,
}

impl Journal {
    /// Opens a journal and reads the answers in it. It is begun if it does not exist, holds no answer
    /// yet, or is to `start_again`. A last line that a kill cut in half is dropped.
    ///
    /// # Errors
    /// Bad input if the journal's answers were given under another header (the message names the entries
    /// that differ), if another process holds it, or if it is not a journal.
    pub fn open(path: PathBuf, header: &Map<String, Value>, start_again: bool) -> Result<Self, CommandError> {
        let io = |error: std::io::Error| CommandError::bad_input(format!("{}: {error}", path.display()));
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CommandError::bad_input(format!("{}: another run is writing here: wait for it", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut bytes = Vec::new();
        if !start_again {
            file.read_to_end(&mut bytes).map_err(io)?;
        }
        let rows = read(&path, &bytes, header)?;
        // Only now that the file is known to be ours, it is cut.
        let kept = if rows.is_empty() { 0 } else { whole_lines(&bytes).len() as u64 };
        file.set_len(kept).map_err(io)?;
        file.seek(SeekFrom::Start(kept)).map_err(io)?;
        let mut journal = Self { path, file, rows };
        if kept == 0 {
            journal.write_line(&Value::Object(header.clone()).to_string())?;
        }
        Ok(journal)
    }

    /// The row of an id, if it was answered.
    pub fn get(&self, id: &str) -> Option<&str> {
        self.rows.get(id).map(String::as_str)
    }

    /// Adds an answered row (an object with its `id`).
    ///
    /// # Errors
    /// A failure if it cannot be written.
    pub fn append(&mut self, id: &str, row: &Value) -> Result<(), CommandError> {
        let line = row.to_string();
        self.write_line(&line)?;
        self.rows.insert(id.into(), line);
        Ok(())
    }

    fn write_line(&mut self, line: &str) -> Result<(), CommandError> {
        // One write for the line and its end: a kill leaves half a line at the most, and only at the end.
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| CommandError::failure(format!("{}: {error}", self.path.display())))
    }

    /// Removes the file: what was in it stands elsewhere.
    ///
    /// # Errors
    /// A failure if it cannot be removed.
    pub fn remove(self) -> Result<(), CommandError> {
        fs::remove_file(&self.path).failure()
    }
}

/// What the journal itself reads of an answer's row.
#[derive(Deserialize)]
struct Answered {
    id: String,
}

/// The lines of a journal by their ids, unparsed: an answer is copied, never written anew.
fn read(path: &Path, bytes: &[u8], header: &Map<String, Value>) -> Result<HashMap<String, String>, CommandError> {
    let mut lines = whole_lines(bytes).split_inclusive(|&byte| byte == b'\n').enumerate();
    let Some((_, first)) = lines.next() else {
        // Cut off within the header, or not ours at all.
        let ours = bytes.is_empty() || bytes.starts_with(b"{");
        return if ours { Ok(HashMap::new()) } else { Err(no_journal(path, 1)) };
    };
    let found = serde_json::from_slice(first).map_err(|_| no_journal(path, 1))?;
    let mut rows = HashMap::new();
    for (index, line) in lines {
        let line = std::str::from_utf8(line).unwrap_or_default().trim_end();
        let Answered { id } = serde_json::from_str(line).map_err(|_| no_journal(path, index + 1))?;
        rows.insert(id, line.into());
    }
    if !rows.is_empty() {
        check_header(path, &found, header)?;
    }
    Ok(rows)
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1)]
}

fn no_journal(path: &Path, row: usize) -> CommandError {
    let problem = "this is no row of a journal: delete the file, or pass --force, to start again";
    CommandError::bad_input(format!("{}, row {row}: {problem}", path.display()))
}

fn check_header(path: &Path, found: &Map<String, Value>, expected: &Map<String, Value>) -> Result<(), CommandError> {
    let differs = |key: &&String| found.get(*key) != expected.get(*key);
    let missing = found.keys().filter(|key| !expected.contains_key(*key));
    let differing: Vec<&str> = expected.keys().filter(differs).chain(missing).map(String::as_str).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(CommandError::bad_input(format!(
        "{}: an unfinished run with another {} lies here: repeat its command to finish it, or pass --force to start again",
        path.display(),
        differing.join(", another ")
    )))
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
        let mut journal = Journal::open(path.clone(), &header(1), false).unwrap();
        journal.append("a", &json!({ "id": "a", "response": "ä\n" })).unwrap();
        journal.append("b", &json!({ "id": "b", "response": "" })).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        // Cut anywhere: what is left is a journal of the rows that are whole, and goes on from there.
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(path.clone(), &header(1), false).unwrap();
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
        drop(Journal::open(path.clone(), &header(0), false).unwrap());
        // Without an answer in it, nothing is lost.
        let mut journal = Journal::open(path.clone(), &header(1), false).unwrap();
        journal.append("a", &json!({ "id": "a" })).unwrap();
        drop(journal);
        let error = Journal::open(path.clone(), &header(2), false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("with another seed lies here") && error.to_string().contains("--force"), "{error}");
        assert!(Journal::open(path.clone(), &header(1), false).unwrap().get("a").is_some());
        assert!(Journal::open(path, &header(2), true).unwrap().get("a").is_none());
    }

    #[test]
    fn what_is_no_journal_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        for notes in ["my notes\n", "my notes", "{\"model\":1}\nnotes\n"] {
            fs::write(&path, notes).unwrap();
            assert_eq!(Journal::open(path.clone(), &header(1), false).unwrap_err().exit_code(), 2);
            assert_eq!(fs::read_to_string(&path).unwrap(), notes);
        }
    }

    #[test]
    fn two_runs_do_not_share_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path().join("j"), &header(1), false).unwrap();
        assert!(Journal::open(folder.path().join("j"), &header(1), false).unwrap_err().to_string().contains("another run"));
        drop(first);
    }
}
