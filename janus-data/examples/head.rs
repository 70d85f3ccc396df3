//! Prints the first rows of a file of any layout: `cargo run -p janus-data --example head -- FILE [ROWS]`.
//!
//! A row that cannot be read is reported with its position; reading continues with the next row.

use std::io::Write;

use janus_data::read;
use serde_json::{Map, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a .json, .jsonl (either also .gz) or .parquet file")?;
    let rows = arguments.next().map_or(Ok(3), |rows| rows.parse())?;
    let mut out = std::io::stdout().lock();
    for row in read::<Map<String, Value>>(&path)?.take(rows) {
        match row {
            Ok(row) => writeln!(out, "{}", serde_json::to_string_pretty(&row)?)?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}
