//! Finds exact duplicates of texts.

use std::collections::HashMap;

use super::normalised;

/// Which texts repeat an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Duplicates {
    /// For each text the index of the first text that it repeats; `None` for a text to keep.
    pub repeats: Vec<Option<usize>>,
}

impl Duplicates {
    /// Number of texts that repeat another.
    pub fn count(&self) -> usize {
        self.repeats.iter().flatten().count()
    }

    /// Positions of the texts to keep, in order.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        self.repeats.iter().enumerate().filter(|(_, first)| first.is_none()).map(|(at, _)| at)
    }

    /// The first duplicates, as indices of the original and of its copy.
    pub fn examples(&self, limit: usize) -> Vec<(usize, usize)> {
        self.repeats.iter().enumerate().filter_map(|(at, first)| Some(((*first)?, at))).take(limit).collect()
    }
}

/// Finds texts that are equal except for case and white space.
///
/// ```
/// use janus_data::instructions::exact_duplicates;
/// assert_eq!(exact_duplicates(&["Why?", "How?", " why? "]).repeats, [None, None, Some(0)]);
/// ```
pub fn exact_duplicates<S: AsRef<str>>(texts: &[S]) -> Duplicates {
    let mut first: HashMap<[u8; 16], usize> = HashMap::with_capacity(texts.len());
    let repeats = texts.iter().enumerate().map(|(at, text)| {
        // With 128 bits, no two texts of any collection collide by chance.
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(normalised(text.as_ref()).as_bytes()).as_bytes()[..16]);
        let first = *first.entry(key).or_insert(at);
        (first != at).then_some(first)
    });
    Duplicates { repeats: repeats.collect() }
}
