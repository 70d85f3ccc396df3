//! What a training set holds.

use std::fmt;

use janus_core::SftRecord;
use serde_json::{Map, Value};

use super::{Evaluation, flat, part};
use crate::bench::collection::{CollectionCounts, Counter};
use crate::{Error, Result};

/// The counts of a training set.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionResult {
    /// The counts.
    pub counts: CollectionCounts,
}

impl CollectionResult {
    /// Counts the rows of files, in any of their formats.
    ///
    /// # Errors
    /// [`Error::File`] for a row that cannot be read, [`Error::Empty`] without a row.
    pub fn of_rows(rows: impl IntoIterator<Item = janus_data::Result<SftRecord>>) -> Result<Self> {
        let mut counter = Counter::default();
        for row in rows {
            counter.add(&row?);
        }
        let counts = counter.counts();
        if counts.rows == 0 { Err(Error::Empty { what: "a count of rows" }) } else { Ok(Self { counts }) }
    }
}

impl Evaluation for CollectionResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        flat([part(&self.counts)])
    }
}

impl fmt::Display for CollectionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let lines = [
            ("rows", counts.rows),
            ("instructions", counts.instructions),
            ("system messages", counts.system_messages),
            ("dimensions", counts.dimensions),
            ("subdimensions", counts.subdimensions),
            ("preferences", counts.preferences),
            ("rows without preferences", counts.without_preferences),
        ];
        f.write_str(&lines.map(|(name, count)| format!("{name:25} {count:>9}")).join("\n"))
    }
}
