//! Reads JSON lines.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ReadOptions;
use super::compressed::{Text, broken};
use super::row::Location;
use crate::format::Codec;
use crate::{Problem, Result};

/// A stream of lines.
pub(super) struct Lines {
    text: Text,
    codec: Codec,
    columns: BTreeMap<String, String>,
    limit: usize,
    line: u64,
    row: u64,
    ended: bool,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(text: Text, codec: Codec, options: &ReadOptions) -> Self {
        let (columns, limit) = (options.columns.clone(), options.max_row_bytes);
        Self { text, codec, columns, limit, line: 0, row: 0, ended: false, buffer: Vec::new() }
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        while !self.ended {
            self.buffer.clear();
            match (&mut self.text).take(self.limit as u64 + 1).read_until(b'\n', &mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    self.line += 1;
                    let location = Location { path, row: self.row + 1, line: Some(self.line) };
                    if read > self.limit && !self.buffer.ends_with(b"\n") {
                        self.row += 1;
                        self.buffer = Vec::new();
                        if let Err(error) = self.text.skip_until(b'\n') {
                            self.ended = true;
                            return Some(Err(broken(path, self.codec, self.row)(error)));
                        }
                        return Some(Err(location.error(None, Problem::TooLong { limit: self.limit })));
                    }
                    let line = self
                        .buffer
                        .strip_prefix(if self.line == 1 { BYTE_ORDER_MARK } else { &[] })
                        .unwrap_or(&self.buffer);
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    self.row += 1;
                    return Some(parse(line, &location, &self.columns));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(broken(path, self.codec, self.row)(error)));
                }
            }
        }
        None
    }
}

/// The byte order mark that some editors write at the start of UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn parse<T: DeserializeOwned>(
    line: &[u8],
    location: &Location<'_>,
    columns: &BTreeMap<String, String>,
) -> Result<T> {
    let text = std::str::from_utf8(line)
        .map_err(|error| location.error(None, Problem::Utf8 { column: error.valid_up_to() + 1 }))?;
    // Distinguishes a line that is not JSON from JSON that does not have the requested type.
    let syntax = |error: serde_json::Error| {
        location.error(None, Problem::Syntax { message: error.to_string(), column: error.column() })
    };
    if !columns.is_empty() {
        return location.decode_mapped(serde_json::from_str(text).map_err(syntax)?, columns);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let row = location.decode(&mut json);
    if row.is_err() {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(syntax)?;
        return row;
    }
    json.end().map_err(syntax)?;
    row
}

/// Whether the stream of a `.json` file is really JSON Lines. It is if its first line is a complete
/// object and either another value follows, or some value of that object is not itself an object, so
/// that it cannot be a map from id to row. Also returns the stream, rewound to its start.
pub(super) fn has_lines(mut text: Text, limit: usize) -> io::Result<(bool, Text)> {
    let buffer = text.fill_buf()?;
    if buffer.strip_prefix(BYTE_ORDER_MARK).unwrap_or(buffer).trim_ascii_start().first() != Some(&b'{') {
        return Ok((false, text));
    }
    let mut start = Vec::new();
    while start.len() <= limit
        && start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start).trim_ascii().is_empty()
    {
        let room = (limit - start.len()) as u64 + 1;
        if (&mut text).take(room).read_until(b'\n', &mut start)? == 0 {
            break;
        }
    }
    let first = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start);
    let first: Option<Map<String, Value>> =
        if start.len() <= limit { serde_json::from_slice(first).ok() } else { None };
    let lines = match first {
        None => false,
        Some(row) => follows(&mut text, &mut start)? || !row.values().all(Value::is_object),
    };
    Ok((lines, Box::new(io::Cursor::new(start).chain(text))))
}

/// Whether anything but white space follows. The white space goes to `start`.
fn follows(text: &mut Text, start: &mut Vec<u8>) -> io::Result<bool> {
    while let Some(&byte) = text.fill_buf()?.first() {
        if !byte.is_ascii_whitespace() {
            return Ok(true);
        }
        start.push(byte);
        text.consume(1);
    }
    Ok(false)
}
