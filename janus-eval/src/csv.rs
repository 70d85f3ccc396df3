//! Rows of a CSV file with a header.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::Result;
use crate::files::{read_bytes, rule};

/// Reads the rows of a CSV file as a type whose fields are the header's names. A byte-order mark in front is passed
/// over.
///
/// # Errors
/// [`crate::Error::File`], which names file, row (from 1, the header not counted), line and field.
pub(crate) fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = read_bytes(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::Reader::from_reader(bytes);
    let headers = reader.headers().map_err(|error| wrong(path, 0, None, &error))?.clone();
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| wrong(path, index, None, &error))?;
        rows.push(record.deserialize(Some(&headers)).map_err(|error| wrong(path, index, Some(&headers), &error))?);
    }
    Ok(rows)
}

fn wrong(path: &Path, index: usize, headers: Option<&csv::StringRecord>, error: &csv::Error) -> crate::Error {
    let (field, message) = match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let field = err.field().and_then(|at| headers?.get(at as usize)).map(String::from);
            (field, err.kind().to_string())
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (None, format!("expected {expected_len} fields, got {len}")),
        csv::ErrorKind::Utf8 { err, .. } => (None, format!("not UTF-8 in field {}", err.field() + 1)),
        _ => (None, error.to_string()),
    };
    rule(path, index as u64 + 1, error.position().map(csv::Position::line), field, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Row {
        #[serde(rename = "")]
        name: String,
        score: f64,
    }

    fn read(text: &[u8]) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        read_csv(&path)
    }

    #[test]
    fn a_byte_order_mark_and_quotes_are_read() {
        let row = |name: &str, score| Row { name: name.into(), score };
        assert_eq!(read(b"\xef\xbb\xbf,score,more\n\"a,b\",1.5,x\r\nc,2,\"y\n\"\n").unwrap(), [row("a,b", 1.5), row("c", 2.0)]);
        assert_eq!(read(b",score\n").unwrap(), []);
    }

    #[test]
    fn an_error_names_row_and_field() {
        for (text, part) in [
            (&b",score\na,1\nb,x\n"[..], "rows.csv, row 2 (line 3), field \"score\": "),
            (b",score\na\n", "rows.csv, row 1 (line 2): expected 2 fields, got 1"),
            (b",score\na,1\n\xff,1\n", "rows.csv, row 2"),
            (b"name,score\na,1\n", "rows.csv, row 1"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
    }
}
