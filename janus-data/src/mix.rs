//! Mixes several datasets by probability.

use std::str::FromStr;

use janus_core::{PairRecord, stream};
use rand::Rng;
use serde::Serialize;

use crate::sources::{RowContent, Source, UnknownSource};
use crate::{Error, ReadOptions, Result, Row, paths, read_files};

/// Mixed rows, and how many come from each part.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Mixed<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Number of rows from each part.
    pub taken: Vec<usize>,
    /// How often each part was restarted, because it ended before the others.
    pub restarts: Vec<usize>,
}

/// A part of a mix of preference pairs, written as `LAYOUT:PROBABILITY:FILE`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MixPart {
    /// The layout of the rows.
    pub source: Source,
    /// The probability that a row comes from this part.
    pub probability: f64,
    /// A file, or a pattern of several files.
    pub pattern: String,
}

/// The contents of a part, and its share of a mix.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MixedPart {
    /// The part: `LAYOUT:FILE`.
    pub part: String,
    /// The probability that a row comes from this part.
    pub probability: f64,
    /// Number of pairs.
    pub rows: usize,
    /// Number of rows that are not pairs.
    pub left_out: u64,
    /// Number of pairs in the mix, repeated ones included.
    pub taken: usize,
    /// How often the part was restarted.
    pub restarts: usize,
}

impl FromStr for MixPart {
    type Err = MixPartProblem;

    fn from_str(text: &str) -> Result<Self, MixPartProblem> {
        let [layout, probability, pattern] = text.splitn(3, ':').collect::<Vec<_>>()[..] else {
            return Err(MixPartProblem::Form);
        };
        let source = layout.parse().map_err(MixPartProblem::Layout)?;
        let wrong = |_| MixPartProblem::Probability { got: probability.into() };
        Ok(Self { source, probability: probability.parse().map_err(wrong)?, pattern: pattern.into() })
    }
}

impl MixPart {
    /// Reads the parts and mixes them, as [`mix`] does.
    ///
    /// # Errors
    /// Those of reading and of [`mix`].
    pub fn mix(
        parts: &[Self],
        options: &ReadOptions,
        limit: Option<usize>,
        seed: u64,
    ) -> Result<(Vec<PairRecord>, Vec<MixedPart>)> {
        let read = parts.iter().map(|part| part.read(options)).collect::<Result<Vec<_>>>()?;
        let given: Vec<(f64, &[PairRecord])> =
            parts.iter().zip(&read).map(|(part, (rows, _))| (part.probability, &rows[..])).collect();
        let Mixed { rows, taken, restarts } = mix(&given, limit, seed)?;
        let report = |(at, (Self { source, probability, pattern }, (rows, left_out))): (
            usize,
            (&Self, &(Vec<PairRecord>, u64)),
        )| MixedPart {
            part: format!("{source}:{pattern}"),
            probability: *probability,
            rows: rows.len(),
            left_out: *left_out,
            taken: taken[at],
            restarts: restarts[at],
        };
        Ok((rows, parts.iter().zip(&read).enumerate().map(report).collect()))
    }

    /// The pairs, and the number of rows that are not pairs.
    fn read(&self, options: &ReadOptions) -> Result<(Vec<PairRecord>, u64)> {
        let (mut rows, mut left_out) = (Vec::new(), 0);
        for (row, number) in read_files::<Row>(paths(&self.pattern)?, options.clone()).zip(1..) {
            let content =
                self.source.content(&row?).map_err(|error| error.at(self.pattern.as_ref(), number))?;
            let pair = if let RowContent::Comparison(pair) = content { pair.pair() } else { None };
            match pair {
                Some(pair) => rows.push(pair),
                None => left_out += 1,
            }
        }
        Ok((rows, left_out))
    }
}

/// Why a text is not a [`MixPart`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MixPartProblem {
    /// It does not have three parts.
    #[error("expected LAYOUT:PROBABILITY:FILE, such as hh-rlhf:0.72:hh.jsonl")]
    Form,
    /// The layout is unknown.
    #[error(transparent)]
    Layout(UnknownSource),
    /// The probability is not a number.
    #[error("the probability is \"{got}\": expected LAYOUT:PROBABILITY:FILE, such as hh-rlhf:0.72:hh.jsonl")]
    Probability {
        /// The probability as written.
        got: String,
    },
}

/// Why parts cannot be mixed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixProblem {
    /// A probability that is not a positive number.
    #[error("part {part} has the probability {got}: expected a positive number")]
    Probability {
        /// The part, from 1.
        part: usize,
        /// Its probability.
        got: f64,
    },
    /// Nothing to mix.
    #[error("there is no part")]
    NoPart,
    /// Probabilities whose sum is not 1.
    #[error("the probabilities add up to {got}: expected 1")]
    Sum {
        /// Their sum.
        got: f64,
    },
    /// A part without rows.
    #[error("part {part} has no rows")]
    NoRows {
        /// The part, from 1.
        part: usize,
    },
}

/// Mixes parts. Each row comes from a part that is drawn with its probability; the rows of a part keep their
/// order. A part that ends is restarted, until every part has ended once or there are `limit` rows. The
/// reference mixes the second stage of the reward model like this: HH-RLHF 0.72, OASST1 0.14, WebGPT 0.14,
/// the first 66,000 rows (paper, section 8).
///
/// ```
/// let mixed = janus_data::mix(&[(0.75, &["a", "b", "c"]), (0.25, &["x"])], Some(3), 0)?;
/// assert_eq!(mixed.rows.len(), 3);
/// assert_eq!(mixed.taken.iter().sum::<usize>(), 3);
/// # Ok::<(), janus_data::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mix`] for a part without rows, or probabilities that are not positive numbers with sum 1.
pub fn mix<T: Clone>(parts: &[(f64, &[T])], limit: Option<usize>, seed: u64) -> Result<Mixed<T>> {
    let sum: f64 = parts.iter().map(|(probability, _)| probability).sum();
    if let Some(part) =
        parts.iter().position(|(probability, _)| !(*probability > 0.0 && probability.is_finite()))
    {
        return Err(Error::Mix(MixProblem::Probability { part: part + 1, got: parts[part].0 }));
    }
    if parts.is_empty() {
        return Err(Error::Mix(MixProblem::NoPart));
    }
    if (sum - 1.0).abs() > 1e-6 {
        return Err(Error::Mix(MixProblem::Sum { got: sum }));
    }
    if let Some(part) = parts.iter().position(|(_, rows)| rows.is_empty()) {
        return Err(Error::Mix(MixProblem::NoRows { part: part + 1 }));
    }
    let mut rng = stream(seed, "mix");
    let mut mixed = Mixed { rows: Vec::new(), taken: vec![0; parts.len()], restarts: vec![0; parts.len()] };
    let ended = |taken: &[usize]| taken.iter().zip(parts).all(|(taken, (_, rows))| *taken >= rows.len());
    while mixed.rows.len() < limit.unwrap_or(usize::MAX) && !ended(&mixed.taken) {
        let mut draw = rng.random::<f64>() * sum;
        let part = parts.iter().position(|(probability, _)| {
            draw -= probability;
            draw < 0.0
        });
        // Rounding may make the probabilities add up to slightly less than the draw.
        let part = part.unwrap_or(parts.len() - 1);
        let rows = parts[part].1;
        mixed.rows.push(rows[mixed.taken[part] % rows.len()].clone());
        mixed.taken[part] += 1;
    }
    for (restarts, (taken, (_, rows))) in mixed.restarts.iter_mut().zip(mixed.taken.iter().zip(parts)) {
        *restarts = taken.saturating_sub(1) / rows.len();
    }
    Ok(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_parsed() {
        let part: MixPart = "hh-rlhf:0.72:C:/hh.jsonl".parse().unwrap();
        assert_eq!(
            (part.source.to_string().as_str(), part.probability, part.pattern.as_str()),
            ("hh-rlhf", 0.72, "C:/hh.jsonl")
        );
        for (text, expected) in [
            ("hh-rlhf:0.72", "LAYOUT:PROBABILITY:FILE"),
            ("hh-rlhf:x:f", "LAYOUT:"),
            ("hh:1:f", "unknown source \"hh\""),
        ] {
            let error = text.parse::<MixPart>().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn probabilities_are_kept_and_no_row_of_a_part_is_lost() {
        let parts: Vec<Vec<(usize, usize)>> = [7200, 1400, 1000]
            .iter()
            .enumerate()
            .map(|(part, rows)| (0..*rows).map(|row| (part, row)).collect())
            .collect();
        let given: Vec<(f64, &[(usize, usize)])> =
            [0.72, 0.14, 0.14].into_iter().zip(parts.iter().map(Vec::as_slice)).collect();
        let mixed = mix(&given, None, 3).unwrap();
        let total = mixed.rows.len() as f64;
        assert!((mixed.taken[0] as f64 / total - 0.72).abs() < 0.02, "{:?}", mixed.taken);
        for (part, rows) in parts.iter().enumerate() {
            let found: Vec<_> = mixed.rows.iter().filter(|row| row.0 == part).collect();
            assert!(
                found.iter().zip(rows.iter().cycle()).all(|(found, row)| **found == *row),
                "in the part's order"
            );
            assert!(found.len() >= rows.len());
            assert_eq!(mixed.restarts[part], (found.len() - 1) / rows.len());
        }
        assert_eq!(mix(&given, None, 3).unwrap(), mixed);
        assert_ne!(mix(&given, None, 4).unwrap(), mixed);
        assert_eq!(mix(&given, Some(100), 3).unwrap().rows, mixed.rows[..100]);
    }

    #[test]
    fn parts_that_cannot_be_mixed_are_named() {
        for (parts, part) in [
            (vec![], "there is no part"),
            (vec![(0.5, &[1][..])], "add up to 0.5"),
            (vec![(1.0, &[1][..]), (0.0, &[1][..])], "part 2 has the probability 0"),
            (vec![(0.5, &[1][..]), (0.5, &[][..])], "part 2 has no rows"),
            (vec![(f64::NAN, &[1][..])], "part 1"),
        ] {
            let error = mix(&parts, None, 0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
