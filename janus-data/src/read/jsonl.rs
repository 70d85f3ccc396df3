//! JSON lines.

use std::io::BufRead;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::row::Place;
use super::{Text, broken};
use crate::{Problem, Result};

/// A stream of lines.
pub(super) struct Lines {
    text: Text,
    gz: bool,
    line: u64,
    row: u64,
    ended: bool,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(text: Text, gz: bool) -> Self {
        Self { text, gz, line: 0, row: 0, ended: false, buffer: Vec::new() }
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        while !self.ended {
            self.buffer.clear();
            match self.text.read_until(b'\n', &mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(_) => {
                    self.line += 1;
                    let line = self.buffer.strip_prefix(if self.line == 1 { BYTE_ORDER_MARK } else { &[] }).unwrap_or(&self.buffer);
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    self.row += 1;
                    return Some(parse(line, &Place { path, row: self.row, line: Some(self.line) }));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(broken(path, self.gz, self.row)(error)));
                }
            }
        }
        None
    }
}

/// What some editors put at the start of UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn parse<T: DeserializeOwned>(line: &[u8], place: &Place<'_>) -> Result<T> {
    let text = std::str::from_utf8(line).map_err(|error| place.error(None, Problem::Utf8 { column: error.valid_up_to() + 1 }))?;
    // A line that is not JSON is told apart from JSON that is not the row that was asked for.
    let syntax = |error: serde_json::Error| place.error(None, Problem::Syntax { message: error.to_string(), column: error.column() });
    let mut json = serde_json::Deserializer::from_str(text);
    let row = place.decode(&mut json);
    if row.is_err() {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(syntax)?;
        return row;
    }
    json.end().map_err(syntax)?;
    row
}
