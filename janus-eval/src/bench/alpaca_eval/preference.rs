//! Preferences from the judge's log-probabilities.

use std::collections::BTreeMap;
use std::path::Path;

use janus_core::TopLogprob;
use janus_data::write_all;
use serde::{Deserialize, Serialize};

use super::AlpacaReference;
use crate::judge::read;
use crate::protocol::{JudgedCase, is_swapped};
use crate::run::CaseRun;
use crate::{Error, Result};

/// The preference from the judge's log-probabilities of its first token: the probability of the label of
/// the model's answer, relative to both labels, plus 1. `None` if neither label is among the tokens.
///
/// Only the exact tokens `m` and `M` are labels. A label that is not among the tokens has probability 0.
pub(crate) fn preference(top_logprobs: &BTreeMap<String, f64>, swapped: bool) -> Option<f64> {
    let top: Vec<TopLogprob> =
        top_logprobs.iter().map(|(token, &logprob)| TopLogprob::new(token.clone(), logprob)).collect();
    let for_second = read::preference(&top)?;
    Some(if swapped { 3.0 - for_second } else { for_second })
}

/// One row of an annotation file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlpacaAnnotation {
    /// Position in the list of annotations, from 0; if absent, the row's index in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Index of the instruction in the evaluation set, from 0.
    pub index: usize,
    /// The model's answer.
    pub output: String,
    /// The stored preference: 1 to 2, or 0 for a tie in older files; `None` if the judge has none.
    #[serde(default)]
    pub preference: Option<f64>,
    /// The judge's most likely first tokens and the natural logarithms of their probabilities. If
    /// present, the preference is computed from them, and the stored one is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<BTreeMap<String, f64>>,
}

impl AlpacaAnnotation {
    /// The row of a judged case, at this position in the list.
    fn of(position: usize, judged: &JudgedCase) -> Result<Self> {
        let id = &judged.case.id;
        let index = id
            .parse()
            .map_err(|_| Error::row(position, "id", "the index of an instruction", format!("\"{id}\"")))?;
        let likely = judged.calls.first().map(|call| &call.likely).filter(|likely| !likely.is_empty());
        Ok(Self {
            position: Some(position),
            index,
            output: judged.case.turns.first().map(|turn| turn.model.clone()).unwrap_or_default(),
            preference: judged.values.first().map(|value| value + 1.0),
            top_logprobs: likely
                .map(|likely| likely.iter().map(|top| (top.token.clone(), top.logprob)).collect()),
        })
    }
}

/// Writes the file of annotations of a run that [`AlpacaEval`](crate::protocol::AlpacaEval) judged, in
/// any format of [`write_all`].
///
/// # Errors
/// [`Error::Row`] for a case whose id is not the index of an instruction, as those of
/// [`cases`](super::cases) are; [`Error::File`].
pub fn write(run: &CaseRun, path: impl AsRef<Path>) -> Result<()> {
    let rows = run
        .rows
        .iter()
        .enumerate()
        .map(|(position, row)| AlpacaAnnotation::of(position, row))
        .collect::<Result<Vec<_>>>()?;
    Ok(write_all(path, &rows)?)
}

/// A checked annotation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CheckedAnnotation {
    /// Position in the list of annotations, from 0.
    pub position: usize,
    /// Index of the instruction, from 0.
    pub index: usize,
    /// Length of the model's answer in Unicode code points.
    pub length: usize,
    /// Length of the baseline's answer.
    pub baseline_length: usize,
    /// Whether the two answers are the same text.
    pub same: bool,
    /// 1 (the baseline wins) to 2 (the model wins); `None` if missing.
    pub preference: Option<f64>,
}

/// The preferences of one model, in the order of the instructions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preferences {
    pub(super) rows: Vec<CheckedAnnotation>,
    pub(super) instructions: usize,
}

impl Preferences {
    /// Checks annotations against the evaluation set and extracts their preferences.
    ///
    /// # Errors
    /// [`Error::Empty`] without a row; [`Error::Row`] for an index that is not in the evaluation set or
    /// occurs twice, for a preference outside 1..=2 (and not 0), and for a log-probability above 0 or
    /// NaN.
    pub(crate) fn new(annotations: &[AlpacaAnnotation], reference: &AlpacaReference) -> Result<Self> {
        if annotations.is_empty() {
            return Err(Error::Empty { what: "a win rate without annotations" });
        }
        let instructions = &reference.instructions;
        let mut first = vec![None; instructions.len()];
        let mut rows = Vec::with_capacity(annotations.len());
        for (row, annotation) in annotations.iter().enumerate() {
            let Some(instruction) = instructions.get(annotation.index) else {
                let expected =
                    format!("an instruction of the evaluation set, 0 to {}", instructions.len() - 1);
                return Err(Error::row(row, "index", expected, annotation.index));
            };
            if let Some(first) = first[annotation.index].replace(row) {
                return Err(Error::row(
                    row,
                    "index",
                    "each instruction once",
                    format!("{}, as in row {}", annotation.index, first + 1),
                ));
            }
            let same = annotation.output == instruction.baseline;
            rows.push(CheckedAnnotation {
                position: annotation.position.unwrap_or(row),
                index: annotation.index,
                length: annotation.output.chars().count(),
                baseline_length: instruction.baseline_length,
                same,
                preference: checked(row, annotation, same, &instruction.instruction)?,
            });
        }
        // Sorted, so that the order of the rows changes neither the digits of a sum nor the folds.
        rows.sort_by_key(|row| row.index);
        Ok(Self { rows, instructions: instructions.len() })
    }

    /// The preferences that are not missing, as wins of 0 to 1.
    pub(super) fn wins(&self) -> impl Iterator<Item = f64> + '_ {
        self.rows.iter().filter_map(|row| row.preference).map(|preference| preference - 1.0)
    }

    /// Instructions without a preference: those of rows without one, and those without a row.
    pub(crate) fn missing(&self) -> usize {
        self.instructions - self.wins().count()
    }
}

fn checked(row: usize, annotation: &AlpacaAnnotation, same: bool, instruction: &str) -> Result<Option<f64>> {
    if let Some(tokens) = &annotation.top_logprobs {
        if let Some((token, logprob)) =
            tokens.iter().find(|(_, logprob)| logprob.is_nan() || **logprob > 1e-6)
        {
            return Err(Error::row(
                row,
                "top_logprobs",
                "log-probabilities of at most 0",
                format!("{logprob} for {token:?}"),
            ));
        }
        return Ok(preference(tokens, is_swapped(instruction)));
    }
    match annotation.preference {
        Some(0.0) => Ok(Some(1.5)),
        Some(stored) if (1.0..=2.0).contains(&stored) => Ok(Some(stored)),
        Some(stored) => Err(Error::row(row, "preference", "1 to 2, or 0 for a tie", stored)),
        // Equal answers are a tie; the judge is not called for them.
        None => Ok(same.then_some(1.5)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|&(token, logprob)| (token.into(), logprob)).collect()
    }

    #[test]
    fn only_the_exact_labels_count() {
        assert_eq!(preference(&tokens(&[(" M", -0.1), ("The", -3.0)]), false), None);
        assert_eq!(preference(&tokens(&[("m", -0.1), ("The", -3.0)]), false), Some(1.0));
        assert_eq!(preference(&tokens(&[("m", -0.1), ("The", -3.0)]), true), Some(2.0));
        assert_eq!(preference(&tokens(&[("M", -800.0)]), false), Some(2.0));
        assert_eq!(preference(&tokens(&[("M", -900.0), ("m", -900.0)]), false), Some(1.5));
    }

    /// Annotations store a judge's labels without the space that its tokens may begin with.
    #[test]
    fn a_preference_is_the_share_of_the_models_label() {
        let (m, other) = (0.6_f64.ln(), 0.2_f64.ln());
        assert!(
            (preference(&tokens(&[("m", m), ("M", other)]), false).unwrap() - (2.0 - 0.6 / 0.8)).abs()
                < 1e-12
        );
    }

    proptest! {
        #[test]
        fn swapping_the_order_mirrors_the_preference(a in -30.0_f64..0.0, b in -30.0_f64..0.0) {
            let tokens = tokens(&[("m", a), ("M", b)]);
            let (plain, swapped) = (preference(&tokens, false).unwrap(), preference(&tokens, true).unwrap());
            prop_assert!((plain + swapped - 3.0).abs() < 1e-12 && (1.0..=2.0).contains(&plain));
        }

        #[test]
        fn the_order_is_a_function_of_the_instruction(text in "\\PC{0,40}") {
            prop_assert_eq!(is_swapped(&text), is_swapped(&text));
        }
    }
}
