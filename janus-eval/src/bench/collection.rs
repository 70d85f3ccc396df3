//! Size and diversity of a training set: the counts of the paper's Table 1.

use std::collections::BTreeSet;
use std::fmt;

use janus_core::{Dimension, SftRecord};
use serde::Serialize;
use serde_json::{Map, Value};

use super::evaluation::{Evaluation, Numbers, flat, part};
use crate::{Error, Result};

/// Counts over the rows of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct CollectionCounts {
    /// Rows.
    pub rows: usize,
    /// Distinct instructions.
    pub instructions: usize,
    /// Distinct system messages.
    pub system_messages: usize,
    /// Distinct dimensions.
    pub dimensions: usize,
    /// Distinct subdimensions, each within its dimension.
    pub subdimensions: usize,
    /// Distinct preferences: dimension, subdimension, label and description.
    pub preferences: usize,
    /// Rows without a preference set. The counts of dimensions, subdimensions and preferences leave them
    /// out.
    pub without_preferences: usize,
}

/// Counts the rows of files, in any format. The rows are streamed, so they need not fit in memory.
///
/// # Errors
/// [`Error::File`] for a row that cannot be read, [`Error::Empty`] without a row.
///
/// ```
/// use janus_core::SftRecord;
/// use janus_eval::bench::collection;
/// let row = SftRecord {
///     main_source: String::new(), original_source: String::new(), preference_set: None,
///     system: "Be brief.".into(), prompt: "What is tea?".into(), output: "A drink.".into(),
/// };
/// let rows = [Ok(row.clone()), Ok(SftRecord { system: "Be kind.".into(), ..row })];
/// let counts = collection::evaluate(rows)?.numbers;
/// assert_eq!((&counts["rows"], &counts["instructions"], &counts["system_messages"]), (&2.into(), &1.into(), &2.into()));
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn evaluate(rows: impl IntoIterator<Item = janus_data::Result<SftRecord>>) -> Result<Evaluation> {
    let mut counter = Counter::default();
    for row in rows {
        counter.add(&row?);
    }
    let counts = counter.counts();
    if counts.rows == 0 { Err(Error::Empty { what: "a count of rows" }) } else { counts.evaluation() }
}

impl Numbers for CollectionCounts {
    fn numbers(&self) -> Result<Map<String, Value>> {
        flat([part(self)])
    }
}

impl fmt::Display for CollectionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("rows", self.rows),
            ("instructions", self.instructions),
            ("system messages", self.system_messages),
            ("dimensions", self.dimensions),
            ("subdimensions", self.subdimensions),
            ("preferences", self.preferences),
            ("rows without preferences", self.without_preferences),
        ];
        f.write_str(&lines.map(|(name, count)| format!("{name:25} {count:>9}")).join("\n"))
    }
}

/// Counts row by row. It stores a fingerprint of 128 bits instead of each text.
#[derive(Default)]
struct Counter {
    rows: usize,
    without_preferences: usize,
    instructions: BTreeSet<u128>,
    system_messages: BTreeSet<u128>,
    dimensions: BTreeSet<Dimension>,
    subdimensions: BTreeSet<u128>,
    preferences: BTreeSet<u128>,
}

impl Counter {
    fn add(&mut self, row: &SftRecord) {
        self.rows += 1;
        self.instructions.insert(fingerprint(&[&row.prompt]));
        self.system_messages.insert(fingerprint(&[&row.system]));
        let Some(set) = &row.preference_set else {
            self.without_preferences += 1;
            return;
        };
        for preference in set.iter() {
            let dimension = preference.dimension.as_str();
            self.dimensions.insert(preference.dimension);
            self.subdimensions.insert(fingerprint(&[dimension, &preference.subdimension]));
            let parts = [dimension, &preference.subdimension, &preference.name, &preference.description];
            self.preferences.insert(fingerprint(&parts));
        }
    }

    fn counts(self) -> CollectionCounts {
        CollectionCounts {
            rows: self.rows,
            instructions: self.instructions.len(),
            system_messages: self.system_messages.len(),
            dimensions: self.dimensions.len(),
            subdimensions: self.subdimensions.len(),
            preferences: self.preferences.len(),
            without_preferences: self.without_preferences,
        }
    }
}

/// The first 128 bits of BLAKE3 over texts, each preceded by its length so that different lists give
/// different input.
fn fingerprint(texts: &[&str]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}
