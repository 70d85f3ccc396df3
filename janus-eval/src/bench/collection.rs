//! What a training set holds: the counts of the paper's Table 1.

use std::collections::BTreeSet;

use janus_core::{Dimension, SftRecord};
use serde::{Deserialize, Serialize};

/// Counts over the rows of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionCounts {
    /// Rows.
    pub rows: usize,
    /// Different instructions.
    pub instructions: usize,
    /// Different system messages.
    pub system_messages: usize,
    /// Different dimensions.
    pub dimensions: usize,
    /// Different subdimensions, each within its dimension.
    pub subdimensions: usize,
    /// Different preferences: dimension, subdimension, label and description.
    pub preferences: usize,
    /// Rows that carry no preference set; the last three counts know nothing of them.
    pub without_preferences: usize,
}

/// Counts a collection row by row, so that it need not be in memory: what is remembered of a text is a fingerprint of 128
/// bits.
///
/// ```
/// use janus_core::SftRecord;
/// use janus_eval::bench::collection::Counter;
/// let row = SftRecord {
///     main_source: String::new(), original_source: String::new(), preference_set: None,
///     system: "Be brief.".into(), prompt: "What is tea?".into(), output: "A drink.".into(),
/// };
/// let mut counter = Counter::default();
/// counter.add(&row);
/// counter.add(&SftRecord { system: "Be kind.".into(), ..row });
/// let counts = counter.counts();
/// assert_eq!((counts.rows, counts.instructions, counts.system_messages), (2, 1, 2));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Counter {
    rows: usize,
    without_preferences: usize,
    instructions: BTreeSet<u128>,
    system_messages: BTreeSet<u128>,
    dimensions: BTreeSet<Dimension>,
    subdimensions: BTreeSet<u128>,
    preferences: BTreeSet<u128>,
}

impl Counter {
    /// Adds a row.
    pub fn add(&mut self, row: &SftRecord) {
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

    /// The counts so far.
    pub fn counts(&self) -> CollectionCounts {
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

/// The first 128 bits of BLAKE3 over texts, each with its length in front so that no two lists look alike.
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
