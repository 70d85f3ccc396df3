//! Reads JSON: an array of objects, or an object that maps ids to rows. The file is split into rows while it
//! is read, so that only one row at a time is held in memory.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead};
use std::path::Path;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::ReadOptions;
use super::compressed::{Text, broken};
use super::jsonl::BYTE_ORDER_MARK;
use super::row::Location;
use crate::format::Codec;
use crate::{Error, Problem, Result};

/// A stream of rows.
pub(super) struct Rows {
    bytes: Bytes,
    codec: Codec,
    columns: BTreeMap<String, String>,
    row: u64,
    state: State,
    /// The keys so far, if rows have keys. Only these grow with the size of the file.
    keys: HashSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    /// In the array, or in the object of rows by id. `first` is true before the first row.
    Within {
        keyed: bool,
        first: bool,
    },
    Ended,
}

const EXPECTED: &str = "an array of objects, or an object of objects keyed by id";

/// What is found where a row may begin.
enum Next {
    Row { key: Option<String>, at: At },
    End,
}

/// A failed step: an error of reading, or a problem at a position in the file.
enum Stop {
    Io(io::Error),
    At(At, Problem),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Rows {
    pub(super) fn new(text: Text, codec: Codec, options: &ReadOptions) -> Self {
        let bytes =
            Bytes { text, at: At { line: 1, column: 1 }, value: Vec::new(), limit: options.max_row_bytes };
        Self {
            bytes,
            codec,
            columns: options.columns.clone(),
            row: 0,
            state: State::Start,
            keys: HashSet::new(),
        }
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        if self.state == State::Ended {
            return None;
        }
        match self.begin() {
            Ok(Next::End) => {
                self.state = State::Ended;
                None
            }
            Ok(Next::Row { key, at }) => {
                self.row += 1;
                Some(self.decode(path, key, at))
            }
            Err(stop) => {
                self.state = State::Ended;
                self.row += 1;
                Some(Err(self.error(path, stop)))
            }
        }
    }

    fn error(&self, path: &Path, stop: Stop) -> Error {
        match stop {
            Stop::Io(error) => broken(path, self.codec, self.row - 1)(error),
            Stop::At(at, problem) => self.location(path, at.line).error(None, problem),
        }
    }

    fn location<'a>(&self, path: &'a Path, line: u64) -> Location<'a> {
        Location { path, row: self.row, line: Some(line) }
    }

    /// Moves to the next row and reads its bytes into `self.bytes.value`.
    fn begin(&mut self) -> Result<Next, Stop> {
        let syntax =
            |at, message: &str| Stop::At(at, Problem::Syntax { message: message.into(), column: at.column });
        if self.state == State::Start {
            self.bytes.skip_byte_order_mark()?;
            let opening = self.bytes.peek()?;
            if !matches!(opening, Some(b'[' | b'{')) {
                let got = format!("`{}`", self.bytes.excerpt()?);
                return Err(Stop::At(self.bytes.at, Problem::Mismatch { expected: EXPECTED.into(), got }));
            }
            self.bytes.take()?;
            self.state = State::Within { keyed: opening == Some(b'{'), first: true };
        }
        let State::Within { keyed, first } = self.state else { return Ok(Next::End) };
        let close = if keyed { b'}' } else { b']' };
        match self.bytes.peek()? {
            Some(byte) if byte == close => {
                self.bytes.take()?;
                return match self.bytes.peek()? {
                    None => Ok(Next::End),
                    Some(_) => Err(syntax(self.bytes.at, "trailing characters")),
                };
            }
            Some(b',') if !first => {
                self.bytes.take()?;
            }
            Some(_) if first => {}
            Some(_) => return Err(syntax(self.bytes.at, "expected `,` between rows")),
            None => return Err(syntax(self.bytes.at, "EOF while parsing a list of rows")),
        }
        self.state = State::Within { keyed, first: false };
        let mut key = None;
        if keyed {
            self.bytes.peek()?;
            let at = self.bytes.at;
            self.bytes.take_value()?;
            let text = serde_json::from_slice(&self.bytes.value);
            key = Some(text.map_err(|_| syntax(at, "expected a key in quotes"))?);
            if self.bytes.peek()? != Some(b':') {
                return Err(syntax(self.bytes.at, "expected `:` after the key"));
            }
            self.bytes.take()?;
        }
        self.bytes.peek()?;
        let at = self.bytes.at;
        self.bytes.take_value()?;
        Ok(Next::Row { key, at })
    }

    fn decode<T: DeserializeOwned>(&mut self, path: &Path, key: Option<String>, at: At) -> Result<T> {
        let location = self.location(path, at.line);
        if self.bytes.value.len() > self.bytes.limit {
            self.bytes.value = Vec::new();
            return Err(location.error(None, Problem::TooLong { limit: self.bytes.limit }));
        }
        let text = std::str::from_utf8(&self.bytes.value).map_err(|error| {
            let bad = at.after(&self.bytes.value[..error.valid_up_to()]);
            self.location(path, bad.line).error(None, Problem::Utf8 { column: bad.column })
        })?;
        // Converts a position in the text of the row to a position in the file.
        let syntax = |error: serde_json::Error| {
            let column =
                if error.line() <= 1 { at.column - 1 + error.column().max(1) } else { error.column() };
            let line = at.line + (error.line() as u64).saturating_sub(1);
            let message = super::row::without_position(&error.to_string());
            self.location(path, line).error(None, Problem::Syntax { message, column })
        };
        if key.is_none() && self.columns.is_empty() {
            let row = location.decode(&mut serde_json::Deserializer::from_str(text));
            if row.is_err() {
                serde_json::from_str::<IgnoredAny>(text).map_err(syntax)?;
            }
            return row;
        }
        let mut value: Value = serde_json::from_str(text).map_err(syntax)?;
        if let Some(key) = key {
            if let Value::Object(fields) = &mut value {
                fields.entry("id").or_insert_with(|| key.clone().into());
            }
            if !self.keys.insert(key.clone()) {
                return Err(location.error(None, Problem::DoubledKey(key)));
            }
        }
        location.decode_mapped(value, &self.columns)
    }
}

/// A position in the file: line and column (in bytes), both from 1.
#[derive(Clone, Copy, PartialEq)]
struct At {
    line: u64,
    column: usize,
}

impl At {
    /// The position after some bytes.
    fn after(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.advance(byte);
        }
        self
    }

    fn advance(&mut self, byte: u8) {
        if byte == b'\n' {
            *self = At { line: self.line + 1, column: 1 };
        } else {
            self.column += 1;
        }
    }
}

struct Bytes {
    text: Text,
    at: At,
    /// The bytes of the value that was read last; only the first bytes of a value over the limit.
    value: Vec<u8>,
    limit: usize,
}

impl Bytes {
    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        if self.text.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            self.text.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    /// Skips white space and returns the next byte without consuming it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.text.fill_buf()?.first().copied() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.take()?,
                byte => return Ok(byte),
            }
        }
    }

    /// Consumes one byte.
    fn take(&mut self) -> io::Result<()> {
        if let Some(&byte) = self.text.fill_buf()?.first() {
            self.at.advance(byte);
            self.text.consume(1);
        }
        Ok(())
    }

    /// The beginning of the remaining text, for an error.
    fn excerpt(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.text.fill_buf()?)
            .chars()
            .take(20)
            .collect::<String>()
            .trim_end()
            .into())
    }

    /// Reads one value: up to the end of its quotes or brackets, or up to a byte that cannot belong to a
    /// number or word.
    fn take_value(&mut self) -> Result<(), Stop> {
        self.value.clear();
        let (mut depth, mut quoted, mut escaped, mut started) = (0u64, false, false, false);
        loop {
            let chunk = self.text.fill_buf()?;
            if chunk.is_empty() {
                let message = "EOF while parsing a row";
                return Err(Stop::At(
                    self.at,
                    Problem::Syntax { message: message.into(), column: self.at.column },
                ));
            }
            let mut used = 0;
            let mut done = false;
            for &byte in chunk {
                if quoted {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => {
                            quoted = false;
                            done = depth == 0;
                        }
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' if depth == 0 && started => break,
                        b'"' => quoted = true,
                        b'[' | b'{' if depth == 0 && started => break,
                        b'[' | b'{' => depth += 1,
                        b']' | b'}' if depth > 0 => {
                            depth -= 1;
                            done = depth == 0;
                        }
                        b']' | b'}' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                            done = true;
                            break;
                        }
                        _ => {}
                    }
                }
                started = true;
                used += 1;
                self.at.advance(byte);
                if done {
                    break;
                }
            }
            // One byte more than the limit shows that the value exceeds it.
            let room = (self.limit + 1).saturating_sub(self.value.len());
            self.value.extend_from_slice(&chunk[..used.min(room)]);
            let stopped = used < chunk.len();
            self.text.consume(used);
            if done || stopped {
                return Ok(());
            }
        }
    }
}
