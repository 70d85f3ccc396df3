//! Reads, cleans and samples instructions, and finds overlap with a bench. Each step reports how many it
//! dropped, with examples.

mod clean;
mod contamination;
mod dedup;
mod filter;
mod minhash;
mod recall;
mod sample;

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::read::good_rows;
use crate::{Error, Problem, ReadOptions, Result, Skipped};

pub use clean::{Cleaned, Cleaning, Dropped, DroppedExample};
pub use contamination::{Contaminated, Contamination, ContaminationReport, Overlap};
pub use dedup::{Duplicates, exact_duplicates};
pub use filter::{Filter, Unfit};
pub use minhash::NearDuplicates;
pub(crate) use minhash::is_word;
pub use recall::{Planted, Recall};
pub use sample::stratified;

/// An instruction and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// The id; in files without ids, the number of the row, from 1.
    #[serde(default, deserialize_with = "id")]
    pub id: String,
    /// Its text.
    #[serde(alias = "instruction")]
    pub prompt: String,
    /// The collection that it was taken from.
    #[serde(default)]
    pub main_source: String,
    /// Where that collection took it from.
    #[serde(default, alias = "source")]
    pub original_source: String,
}

/// Deserializes an id that is a string or a whole number.
fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an id: a string or a whole number")]
    enum Id {
        Text(String),
        Number(i64),
    }
    Ok(match Option::<Id>::deserialize(deserializer)? {
        Some(Id::Text(text)) => text,
        Some(Id::Number(number)) => number.to_string(),
        None => String::new(),
    })
}

/// Reads instructions: rows with `prompt` or `instruction`, and optionally `id`, `main_source` and
/// `original_source`. Rows that cannot be read are skipped and counted in `skipped`; without it, the first
/// one is an error.
///
/// # Errors
/// Those of [`read()`](crate::read()); [`Error::Row`] for an id that occurs twice.
pub fn read_instructions(
    path: &Path,
    options: &ReadOptions,
    limit: Option<usize>,
    skipped: Option<&mut Skipped>,
) -> Result<Vec<Instruction>> {
    let rows = options.read::<Instruction>(path)?;
    let rows: Box<dyn Iterator<Item = Result<Instruction>>> = match skipped {
        Some(skipped) => Box::new(good_rows(rows, skipped)),
        None => Box::new(rows),
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut instructions = Vec::new();
    for row in rows.take(limit.unwrap_or(usize::MAX)) {
        let mut row = row?;
        let number = instructions.len() + 1;
        if row.id.is_empty() {
            row.id = number.to_string();
        }
        if let Some(first) = seen.insert(row.id.clone(), number) {
            let problem = Problem::Rule(format!(
                "the id \"{}\" is also the id of row {first}: give each row its own id, or no row an id",
                row.id
            ));
            return Err(Error::Row {
                path: path.into(),
                row: number as u64,
                line: None,
                field: Some("id".into()),
                problem,
            });
        }
        instructions.push(row);
    }
    Ok(instructions)
}

/// A text in lower case with its white space collapsed. Two copies of an instruction have the same normalised
/// text.
pub fn normalised(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.chars().flat_map(char::to_lowercase));
    }
    folded
}
