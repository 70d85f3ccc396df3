//! Variants of a model side by side: one, two or three system messages for each instruction; other base models; the
//! system message shown or not, in training and in test.

use serde::{Deserialize, Serialize};

use crate::score::same_rows;
use crate::{Bootstrap, Error, Interval, Result, Sample, ScoreMean, ScoredRow, pool, summarise};

/// A variant and its scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// What is varied, and how: `system messages` is `3`, `training` is `without`.
    pub axes: Vec<(String, String)>,
    /// Its scored runs, each over the same rows.
    pub runs: Vec<Vec<ScoredRow>>,
}

impl Variant {
    /// A variant of one axis.
    pub fn new(axis: impl Into<String>, value: impl Into<String>, runs: Vec<Vec<ScoredRow>>) -> Self {
        Self { axes: vec![(axis.into(), value.into())], runs }
    }

    /// A cell of the grid training by test: whether the system message was shown in each.
    pub fn system_message(in_training: bool, in_test: bool, runs: Vec<Vec<ScoredRow>>) -> Self {
        let shown = |shown: bool| if shown { "with" } else { "without" }.to_string();
        Self { axes: vec![("training".into(), shown(in_training)), ("test".into(), shown(in_test))], runs }
    }
}

/// A variant's place in the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantScore {
    /// What is varied, and how.
    pub axes: Vec<(String, String)>,
    /// Its mean score.
    pub score: ScoreMean,
    /// Its row means less the reference's on the rows that both have, with an interval over instructions; none for the
    /// reference itself, and for fewer than two instructions.
    pub difference: Option<Interval>,
}

/// Compares variants with the one at `reference`, row by row. `instruction` names what rows are not independent within:
/// usually the prompt, which the system messages of an instruction share.
///
/// # Errors
/// [`Error::Setting`] for a reference that is not there; [`Error::RowMismatch`] for variants of other rows;
/// [`Error::Lengths`] for another number of instructions than rows; those of [`summarise`].
pub fn compare(variants: &[Variant], reference: usize, instruction: &[&str], bootstrap: &Bootstrap) -> Result<Vec<VariantScore>> {
    let base = variants.get(reference).ok_or_else(|| Error::Setting {
        field: "reference",
        got: reference.to_string(),
        expected: "the position of a variant",
    })?;
    let base = pool(&base.runs)?;
    if instruction.len() != base.len() {
        return Err(Error::Lengths { left: base.len(), right: instruction.len() });
    }
    let mut scores = Vec::with_capacity(variants.len());
    for (place, variant) in variants.iter().enumerate() {
        let rows = pool(&variant.runs)?;
        same_rows(base.iter().map(|row| row.id.as_str()), rows.iter().map(|row| row.id.as_str()))?;
        let differences = base.iter().zip(&rows).zip(instruction);
        let differences: Vec<(&str, f64)> =
            differences.filter_map(|((base, row), instruction)| Some((*instruction, row.mean()? - base.mean()?))).collect();
        let difference = if place == reference || differences.is_empty() {
            None
        } else {
            match bootstrap.mean(&Sample::clustered(differences)?) {
                Err(Error::TooFewUnits { .. }) => None,
                interval => Some(interval?),
            }
        };
        scores.push(VariantScore { axes: variant.axes.clone(), score: summarise(&variant.runs)?.overall, difference });
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(scores: &[u8]) -> Vec<Vec<ScoredRow>> {
        vec![scores.iter().enumerate().map(|(i, &score)| ScoredRow::new(i.to_string(), "s", [(score > 0).then_some(score)])).collect()]
    }

    #[test]
    fn differences_are_paired() {
        let variants = [
            Variant::new("system messages", "1", runs(&[3, 4, 2, 3])),
            Variant::new("system messages", "3", runs(&[4, 5, 3, 0])),
            Variant::system_message(true, false, runs(&[1, 1, 1, 1])),
        ];
        let scores = compare(&variants, 0, &["p", "p", "q", "r"], &Bootstrap::default()).unwrap();
        assert_eq!((scores[0].score.mean, scores[0].difference), (3.0, None));
        let gain = scores[1].difference.unwrap();
        assert_eq!((gain.estimate, gain.low, gain.high, gain.n), (1.0, 1.0, 1.0, 3), "every row that both have gains one");
        assert_eq!(scores[1].score.missing, 1);
        assert_eq!(scores[2].axes, [("training".into(), "with".into()), ("test".into(), "without".into())]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let variants = [Variant::new("base", "a", runs(&[3, 4])), Variant::new("base", "b", runs(&[3]))];
        assert!(matches!(compare(&variants, 2, &["p", "q"], &Bootstrap::default()), Err(Error::Setting { .. })));
        assert!(matches!(compare(&variants, 0, &["p"], &Bootstrap::default()), Err(Error::Lengths { .. })));
        assert!(matches!(compare(&variants, 0, &["p", "q"], &Bootstrap::default()), Err(Error::RowMismatch { .. })));
    }
}
