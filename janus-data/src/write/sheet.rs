//! Writes comma-separated values with a header.

use std::path::Path;

use serde_json::Value;

use super::compressed::Compressed;
use super::failed;
use crate::Result;
use crate::fs::AtomicFile;
use crate::read::Row;

/// Rows held in memory before the header is written, which names the fields of all of them.
const HELD: usize = 1024;

/// A CSV file that is being written.
pub(super) struct Sheet {
    out: csv::Writer<Compressed>,
    header: Option<Vec<String>>,
    held: Vec<Row>,
    row: u64,
}

impl Sheet {
    pub(super) fn new(out: Compressed) -> Self {
        Self { out: csv::Writer::from_writer(out), header: None, held: Vec::new(), row: 0 }
    }

    /// Adds a row; lists and objects become JSON, null an empty cell.
    pub(super) fn add(&mut self, path: &Path, row: Value) -> Result<()> {
        let Value::Object(row) = row else {
            return Err(failed(
                path,
                self.row + self.held.len() as u64 + 1,
                "a row of a CSV file must be an object with named fields".into(),
            ));
        };
        self.held.push(row);
        if self.header.is_some() || self.held.len() == HELD { self.flush(path) } else { Ok(()) }
    }

    pub(super) fn finish(mut self, path: &Path) -> Result<AtomicFile> {
        self.flush(path)?;
        let out = self.out.into_inner().map_err(|error| failed(path, self.row, error.into_error().into()))?;
        out.finish().map_err(|error| failed(path, self.row, error.into()))
    }

    fn flush(&mut self, path: &Path) -> Result<()> {
        let error = |row, error: csv::Error| failed(path, row, std::io::Error::from(error).into());
        if self.header.is_none() && !self.held.is_empty() {
            let mut names: Vec<String> = Vec::new();
            for row in &self.held {
                let new: Vec<&String> = row.keys().filter(|name| !names.contains(name)).collect();
                names.extend(new.into_iter().cloned().collect::<Vec<_>>());
            }
            self.out.write_record(&names).map_err(|csv| error(0, csv))?;
            self.header = Some(names);
        }
        let Some(header) = &self.header else { return Ok(()) };
        for row in std::mem::take(&mut self.held) {
            self.row += 1;
            if let Some(name) = row.keys().find(|name| !header.contains(name)) {
                let problem = format!(
                    "the field \"{name}\" is in none of the first {HELD} rows, which determine the header"
                );
                return Err(failed(path, self.row, problem.into()));
            }
            let cell = |name| match row.get(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            self.out.write_record(header.iter().map(cell)).map_err(|csv| error(self.row, csv))?;
        }
        Ok(())
    }
}
