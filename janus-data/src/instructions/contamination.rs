//! Finds training texts that overlap with a bench.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use super::minhash::shingles;
use super::normalised;

/// Looks for the texts of a bench in training texts: its instructions in instructions, its system messages in
/// system messages.
///
/// ```
/// use janus_data::instructions::{Contamination, Overlap};
/// let bench = ["Explain why kites need a tail when the wind is strong."];
/// let bench = Contamination::new(&bench);
/// let found = bench.check("Tell me briefly: explain why kites need a tail when the wind is strong. Thanks!").unwrap();
/// assert_eq!(found.bench, 0);
/// assert!(matches!(found.by, Overlap::Sequences { share } if share == 1.0));
/// assert!(bench.check("Explain why kites need wind.").is_none());
/// ```
#[derive(Debug)]
pub struct Contamination {
    exact: HashMap<String, usize>,
    sequences: Index,
    shingles: Index,
    min_share: f64,
    min_jaccard: f64,
}

/// A bench text that was found in another text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Contaminated {
    /// Index of the bench text.
    pub bench: usize,
    /// The kind of overlap.
    pub by: Overlap,
}

/// How two texts overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// Equal except for case and white space.
    Exact,
    /// The texts share sequences of eight words.
    Sequences {
        /// The share of the bench text's sequences that occur in the other text, from 0 to 1.
        share: f64,
    },
    /// The sets of sequences of five words are similar.
    Near {
        /// The Jaccard similarity of the sets, from 0 to 1.
        jaccard: f64,
    },
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("equal"),
            Self::Sequences { share } => write!(f, "{:.0}% of its sequences of eight words", 100.0 * share),
            Self::Near { jaccard } => write!(f, "Jaccard similarity {jaccard:.2}"),
        }
    }
}

/// The overlap of a set of training texts with a bench.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ContaminationReport {
    /// Number of training texts.
    pub train: u64,
    /// Number of bench texts.
    pub bench: usize,
    /// Number of training texts that overlap with a bench text.
    pub contaminated: u64,
    /// Number of bench texts that were found.
    pub bench_found: usize,
    /// The first overlaps, one line each.
    pub examples: Vec<String>,
}

/// Words of a sequence: long enough that two texts do not share it by chance.
const SEQUENCE: usize = 8;
const SHINGLE: usize = 5;

impl Contamination {
    /// Indexes the texts of a bench, with the default thresholds: half of a text's sequences, Jaccard
    /// similarity 0.6.
    pub fn new<S: AsRef<str>>(bench: &[S]) -> Self {
        Self::with_thresholds(bench, 0.5, 0.6)
    }

    /// Indexes the texts of a bench. A bench text is found in another text if that contains at least
    /// `min_share` of its sequences of eight words, or if their Jaccard similarity is at least `min_jaccard`.
    /// Texts with fewer than eight words are only found if the whole texts are equal.
    pub fn with_thresholds<S: AsRef<str>>(bench: &[S], min_share: f64, min_jaccard: f64) -> Self {
        let exact = bench
            .iter()
            .enumerate()
            .rev()
            .map(|(at, text)| (normalised(text.as_ref()), at))
            .filter(|(text, _)| !text.is_empty());
        Self {
            exact: exact.collect(),
            sequences: Index::new(bench, SEQUENCE),
            shingles: Index::new(bench, SHINGLE),
            min_share,
            min_jaccard,
        }
    }

    /// Checks a stream of texts, with at most `limit` examples.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn report<E>(
        &self,
        texts: impl IntoIterator<Item = Result<String, E>>,
        limit: usize,
    ) -> Result<ContaminationReport, E> {
        let mut report =
            ContaminationReport { bench: self.sequences.counts.len(), ..ContaminationReport::default() };
        let mut of_bench = BTreeSet::new();
        for text in texts {
            let text = text?;
            report.train += 1;
            let Some(hit) = self.check(&text) else { continue };
            report.contaminated += 1;
            of_bench.insert(hit.bench);
            if report.examples.len() < limit {
                let excerpt = text.chars().take(100).collect::<String>().replace('\n', " ");
                let (row, bench, by) = (report.train, hit.bench + 1, hit.by);
                report
                    .examples
                    .push(format!("text {row} overlaps with bench text {bench} ({by}): {excerpt}"));
            }
        }
        report.bench_found = of_bench.len();
        Ok(report)
    }

    /// The bench text that overlaps with a text, if there is one; of several, the one with the largest
    /// overlap.
    pub fn check(&self, text: &str) -> Option<Contaminated> {
        if let Some(&bench) = self.exact.get(&normalised(text)) {
            return Some(Contaminated { bench, by: Overlap::Exact });
        }
        let best = |found: Vec<(usize, f64)>| {
            found.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        let share = |common: usize, bench: usize, _: usize| common as f64 / bench as f64;
        if let Some((bench, share)) = best(self.sequences.common(text, share, self.min_share)) {
            return Some(Contaminated { bench, by: Overlap::Sequences { share } });
        }
        let jaccard =
            |common: usize, bench: usize, text: usize| common as f64 / (bench + text - common) as f64;
        best(self.shingles.common(text, jaccard, self.min_jaccard))
            .map(|(bench, jaccard)| Contaminated { bench, by: Overlap::Near { jaccard } })
    }
}

/// An inverted index from sequences of words to texts.
#[derive(Debug)]
struct Index {
    size: usize,
    texts: HashMap<u64, Vec<u32>>,
    /// Distinct sequences of each text.
    counts: Vec<usize>,
}

impl Index {
    fn new<S: AsRef<str>>(bench: &[S], size: usize) -> Self {
        let (mut texts, mut counts): (HashMap<u64, Vec<u32>>, _) =
            (HashMap::new(), Vec::with_capacity(bench.len()));
        for (at, text) in bench.iter().enumerate() {
            let sequences = distinct(text.as_ref(), size);
            counts.push(sequences.len());
            for sequence in sequences {
                texts.entry(sequence).or_default().push(at as u32);
            }
        }
        Self { size, texts, counts }
    }

    /// The bench texts with a similarity of at least `least`, in order. `measure` computes it from the number
    /// of common sequences, of the bench text's and of the text's.
    fn common(
        &self,
        text: &str,
        measure: impl Fn(usize, usize, usize) -> f64,
        least: f64,
    ) -> Vec<(usize, f64)> {
        let sequences = distinct(text, self.size);
        let mut common: HashMap<u32, usize> = HashMap::new();
        for at in sequences.iter().filter_map(|sequence| self.texts.get(sequence)).flatten() {
            *common.entry(*at).or_default() += 1;
        }
        let measured = |(at, common): (u32, usize)| {
            (at as usize, measure(common, self.counts[at as usize], sequences.len()))
        };
        let mut found: Vec<(usize, f64)> =
            common.into_iter().map(measured).filter(|(_, measure)| *measure >= least).collect();
        found.sort_unstable_by_key(|(at, _)| *at);
        found
    }
}

/// The distinct sequences of a text; empty if the text is shorter than one sequence.
fn distinct(text: &str, size: usize) -> Vec<u64> {
    let mut hashes = Vec::new();
    shingles(text, 1, &mut hashes);
    if hashes.len() < size {
        return Vec::new();
    }
    shingles(text, size, &mut hashes);
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_overlap_is_reported_with_its_measure() {
        let bench = [
            "How do I fly a kite?",
            "Write a poem of four lines about the way in which the river turns to ice in winter",
            "Which three cities of Europe should I see in a week by train and why these",
        ];
        let contamination = Contamination::new(&bench);
        let check = |text: &str| contamination.check(text);
        assert_eq!(check("how do I fly  a KITE?"), Some(Contaminated { bench: 0, by: Overlap::Exact }));
        assert_eq!(check("How do I fly a kite in the rain?"), None, "a short text is only found as a whole");
        let Some(Contaminated { bench: 1, by: Overlap::Sequences { share } }) =
            check("Please write a poem of four lines about the way in which the river turns to gold")
        else {
            panic!("not found")
        };
        // The poem has 18 words, 11 sequences; the text ends after the 15th word: 8.
        assert!((share - 8.0 / 11.0).abs() < 1e-9, "{share}");
        let edited = "Which three cities of Europe should I visit in a week by train and why these";
        let strict = Contamination::with_thresholds(&bench, 0.9, 0.4);
        assert!(matches!(strict.check(edited), Some(Contaminated { bench: 2, by: Overlap::Near { .. } })));
        assert_eq!(check("Something else"), None);
        assert_eq!(Contamination::new(&[""]).check(""), None);
    }
}
