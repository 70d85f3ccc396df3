//! Reads comma-separated values with a header (RFC 4180).

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde::de::value::Error as ValueError;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
};
use serde_json::Value;

use super::ReadOptions;
use super::compressed::{Text, broken};
use super::jsonl::BYTE_ORDER_MARK;
use super::row::Location;
use crate::format::Codec;
use crate::{Error, Problem, Result};

/// A stream of rows.
pub(super) struct Rows {
    reader: Reader<Limited>,
    /// Bytes that the reader may still read for the current row.
    remaining: Arc<AtomicUsize>,
    limit: usize,
    codec: Codec,
    /// Names of the columns; `None` for a hidden one. The index column of a table may have an empty name.
    header: Vec<Option<String>>,
    record: ByteRecord,
    row: u64,
    ended: bool,
}

impl Rows {
    pub(super) fn new(path: &Path, text: Text, codec: Codec, options: &ReadOptions) -> Result<Self> {
        let limit = options.max_row_bytes;
        let remaining = Arc::new(AtomicUsize::new(0));
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Limited { text: Quoted::new(text), remaining: remaining.clone() });
        let mut rows = Self {
            reader,
            remaining,
            limit,
            codec,
            header: Vec::new(),
            record: ByteRecord::new(),
            row: 0,
            ended: false,
        };
        if rows.advance(path)? {
            let location = Location { path, row: 0, line: Some(1) };
            for cell in &rows.record {
                let cell = std::str::from_utf8(cell)
                    .map_err(|_| location.error(None, Problem::Utf8 { column: 1 }))?;
                let field =
                    options.columns.iter().find(|(_, column)| *column == cell).map(|(field, _)| field);
                // A column is hidden if another column is mapped to its name.
                let hidden = field.is_none() && options.columns.contains_key(cell);
                rows.header.push((!hidden).then(|| field.cloned().unwrap_or_else(|| cell.into())));
            }
            if let [Some(only)] = rows.header.as_slice()
                && let Some(other) = [";", "\t", "|"].into_iter().find(|other| only.contains(*other))
            {
                let problem =
                    format!("the header has one cell, which contains {other:?}: separate cells with commas");
                return Err(location.error(None, Problem::Rule(problem)));
            }
            let mut seen = HashSet::new();
            if let Some(twice) =
                rows.header.iter().flatten().find(|name| !name.is_empty() && !seen.insert(*name))
            {
                return Err(location
                    .error(Some(twice.clone()), Problem::Rule("the header names this column twice".into())));
            }
        }
        Ok(rows)
    }

    /// Reads the next record; false at the end.
    fn advance(&mut self, path: &Path) -> Result<bool> {
        self.remaining.store(self.limit + READ_AHEAD, Ordering::Relaxed);
        let read = self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        });
        read.map_err(|error| {
            let location = |line| Location { path, row: self.row + 1, line };
            if error.get_ref().is_some_and(|inner| inner.is::<OverLimit>()) {
                return location(None).error(None, Problem::TooLong { limit: self.limit });
            }
            match error.get_ref().and_then(|inner| inner.downcast_ref::<BadQuote>()) {
                Some(quote) => Error::Quote { path: path.into(), line: quote.line, problem: quote.problem },
                None => broken(path, self.codec, self.row)(error),
            }
        })
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        if self.ended {
            return None;
        }
        match self.advance(path) {
            Ok(true) => {
                self.row += 1;
                Some(self.decode(path))
            }
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                // The end of a row that is too large cannot be found without holding the row.
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, path: &Path) -> Result<T> {
        let line = self.record.position().map(csv::Position::line);
        let location = Location { path, row: self.row, line };
        if self.record.len() != self.header.len() {
            let cells = |count| format!("{count} cells");
            let problem =
                Problem::Mismatch { expected: cells(self.header.len()), got: cells(self.record.len()) };
            return Err(location.error(None, problem));
        }
        let mut cells = Vec::with_capacity(self.header.len());
        for (name, cell) in self.header.iter().zip(&self.record) {
            let utf8 = |error: std::str::Utf8Error| {
                location.error(name.clone(), Problem::Utf8 { column: error.valid_up_to() + 1 })
            };
            let cell = std::str::from_utf8(cell).map_err(utf8)?;
            if let Some(name) = name {
                cells.push((name.as_str(), cell));
            }
        }
        location.decode(Cells { cells: &cells, next: 0 })
    }
}

/// A stream whose quoted cells end as RFC 4180 says. The parser is lenient: with a quote that is not closed, it
/// would take the rest of the file for one cell.
struct Quoted {
    text: Text,
    state: QuoteState,
    line: u64,
    /// Line in which the last quoted cell begins.
    begins: u64,
    /// Bytes passed on.
    passed: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum QuoteState {
    CellStart,
    Plain,
    Quoted,
    /// After a quote within a quoted cell, which closes it unless another follows.
    AfterQuote,
}

/// A quote that does not open, close or escape.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
struct BadQuote {
    line: u64,
    problem: &'static str,
}

impl Quoted {
    fn new(text: Text) -> Self {
        Self { text, state: QuoteState::CellStart, line: 1, begins: 1, passed: 0 }
    }

    /// Follows a byte; false for a text after a closed quote.
    fn follow(&mut self, byte: u8) -> bool {
        use QuoteState::{AfterQuote, CellStart, Plain, Quoted};
        self.state = match (self.state, byte) {
            (CellStart, b'"') => {
                self.begins = self.line;
                Quoted
            }
            (Quoted, b'"') => AfterQuote,
            (AfterQuote, b'"') | (Quoted, _) => Quoted,
            (_, b',' | b'\n' | b'\r') => CellStart,
            (AfterQuote, _) => return false,
            (CellStart, _) if self.passed < 3 && BYTE_ORDER_MARK.contains(&byte) => CellStart,
            (CellStart | Plain, _) => Plain,
        };
        self.line += u64::from(byte == b'\n');
        self.passed += 1;
        true
    }

    fn bad(&self, problem: &'static str) -> io::Error {
        io::Error::other(BadQuote { line: self.begins, problem })
    }
}

impl Read for Quoted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.text.fill_buf()?;
        let read = text.len().min(buffer.len());
        buffer[..read].copy_from_slice(&text[..read]);
        if read == 0 && self.state == QuoteState::Quoted && !buffer.is_empty() {
            return Err(self.bad("the quoted cell that begins here is not closed"));
        }
        // The rows before a wrong quote are passed on first.
        let good = buffer[..read].iter().position(|byte| !self.follow(*byte)).unwrap_or(read);
        if read > 0 && good == 0 {
            return Err(self.bad(
                "the quoted cell that begins here is followed by text: write a quote within a cell as two",
            ));
        }
        self.text.consume(good);
        Ok(good)
    }
}

/// Bytes that the parser may read ahead of the current row.
const READ_AHEAD: usize = 1 << 16;

/// Fails when a row exceeds the limit.
struct Limited {
    text: Quoted,
    remaining: Arc<AtomicUsize>,
}

#[derive(Debug, thiserror::Error)]
#[error("the row is too large")]
struct OverLimit;

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = self.remaining.load(Ordering::Relaxed);
        if remaining == 0 {
            return Err(io::Error::other(OverLimit));
        }
        let read = self.text.read(buffer)?;
        self.remaining.store(remaining.saturating_sub(read), Ordering::Relaxed);
        Ok(read)
    }
}

/// The cells of a row with the names of their columns.
struct Cells<'a> {
    cells: &'a [(&'a str, &'a str)],
    next: usize,
}

impl<'de> Deserializer<'de> for Cells<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Cells<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        self.cells.get(self.next).map(|(name, _)| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        self.next += 1;
        seed.deserialize(CellText(self.cells[self.next - 1].1))
    }
}

/// The text of a cell, deserialized as the type requires.
#[derive(Clone, Copy)]
struct CellText<'a>(&'a str);

impl CellText<'_> {
    /// Parses a cell that contains a list or an object as JSON.
    fn json(self) -> Result<Value, ValueError> {
        serde_json::from_str(self.0)
            .map_err(|error| ValueError::custom(format!("the cell is not JSON: {error}")))
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.0.trim().parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for CellText<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.json()?.deserialize_seq(visitor).map_err(ValueError::custom)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.json()?.deserialize_map(visitor).map_err(ValueError::custom)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.json()?.deserialize_struct(name, fields, visitor).map_err(ValueError::custom)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.json()?.deserialize_tuple(length, visitor).map_err(ValueError::custom)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    parsed! {
        deserialize_bool visit_bool bool, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple_struct identifier
    }
}
