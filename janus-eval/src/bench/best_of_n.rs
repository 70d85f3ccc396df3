//! What choosing the best of N candidates by a reward model gains.

use serde::{Deserialize, Serialize};

use crate::{Bootstrap, Error, Interval, Result, Sample};

/// The candidates for one prompt, in the order in which they were drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// The prompt's id.
    pub id: String,
    /// The reward model's value of each candidate.
    pub rewards: Vec<f64>,
    /// The judge's score of each candidate; the thing that should rise.
    pub scores: Vec<f64>,
}

/// One point of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Candidates that the reward model chooses from.
    pub n: usize,
    /// Mean score of its choice, with an interval over prompts; none for a single prompt.
    pub score: f64,
    /// The interval of the score.
    pub interval: Option<Interval>,
    /// Mean score of a choice by the judge itself: no reward model can do better.
    pub oracle: f64,
}

/// The expected score of the best of n for each n, over random draws of n from all candidates of a prompt.
///
/// The expectation is exact, with no draw made: of M candidates, ordered by reward, the one of rank i (from 0) is the best
/// of a random n with probability C(M-1-i, n-1) / C(M, n). Among equal rewards the one drawn first is chosen.
///
/// # Errors
/// [`Error::Empty`] without a prompt; [`Error::Row`] for a prompt with another number of scores than rewards, fewer
/// candidates than the largest n, or a value that is no number; [`Error::Setting`] for an n of 0.
///
/// ```
/// use janus_eval::Bootstrap;
/// use janus_eval::bench::best_of_n::{Candidates, curve};
/// let candidates = [Candidates { id: "1".into(), rewards: vec![0.1, 0.9], scores: vec![3.0, 5.0] }];
/// let points = curve(&candidates, &[1, 2], &Bootstrap::default())?;
/// assert_eq!((points[0].score, points[1].score), (4.0, 5.0));
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn curve(prompts: &[Candidates], ns: &[usize], bootstrap: &Bootstrap) -> Result<Vec<CurvePoint>> {
    if prompts.is_empty() {
        return Err(Error::Empty { what: "a best-of-N curve over no prompts" });
    }
    if ns.contains(&0) {
        return Err(Error::Setting { field: "n", got: "0".into(), expected: "1 or more candidates" });
    }
    let most = ns.iter().copied().max().unwrap_or(1);
    for (row, prompt) in prompts.iter().enumerate() {
        if prompt.scores.len() != prompt.rewards.len() {
            return Err(Error::row(row, "scores", format!("{}, one for each reward", prompt.rewards.len()), prompt.scores.len()));
        }
        if prompt.rewards.len() < most {
            return Err(Error::row(row, "rewards", format!("at least {most} candidates"), prompt.rewards.len()));
        }
        for (field, values) in [("rewards", &prompt.rewards), ("scores", &prompt.scores)] {
            if let Some(wrong) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::row(row, field, "a finite number", wrong));
            }
        }
    }
    ns.iter()
        .map(|&n| {
            let expected = |by: fn(&Candidates) -> &[f64]| prompts.iter().map(move |prompt| expected_best(by(prompt), &prompt.scores, n));
            let sample = Sample::of(expected(|prompt| &prompt.rewards))?;
            let interval = match bootstrap.mean(&sample) {
                Err(Error::TooFewUnits { .. }) => None,
                interval => Some(interval?),
            };
            Ok(CurvePoint { n, score: sample.mean(), interval, oracle: Sample::of(expected(|prompt| &prompt.scores))?.mean() })
        })
        .collect()
}

/// The expected score of the best by `by` among a random `n` of all candidates.
fn expected_best(by: &[f64], scores: &[f64], n: usize) -> f64 {
    let m = by.len();
    let mut order: Vec<usize> = (0..m).collect();
    // Stable: the first of equals stays in front.
    order.sort_by(|&a, &b| by[b].total_cmp(&by[a]));
    // C(m-1-i, n-1) / C(m, n): n / m for the best, then a factor for each rank.
    let mut probability = n as f64 / m as f64;
    let mut expected = 0.0;
    for (rank, &candidate) in order.iter().enumerate() {
        expected += probability * scores[candidate];
        let behind = m - 1 - rank;
        if behind < n {
            break;
        }
        probability *= (behind + 1 - n) as f64 / behind as f64;
    }
    expected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every subset of n, one by one.
    fn slow(by: &[f64], scores: &[f64], n: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for subset in 0_u32..1 << by.len() {
            if subset.count_ones() as usize == n {
                let members = (0..by.len()).filter(|i| subset >> i & 1 == 1);
                let best = members.reduce(|best, i| if by[i] > by[best] { i } else { best }).unwrap();
                (sum, count) = (sum + scores[best], count + 1.0);
            }
        }
        sum / count
    }

    #[test]
    fn bad_rows_are_named() {
        let of = |rewards: &[f64], scores: &[f64]| {
            let row = Candidates { id: "x".into(), rewards: rewards.into(), scores: scores.into() };
            curve(&[row], &[2], &Bootstrap::default()).unwrap_err()
        };
        assert!(matches!(of(&[1.0, 2.0], &[1.0]), Error::Row { field: "scores", .. }));
        assert!(matches!(of(&[1.0], &[1.0]), Error::Row { field: "rewards", .. }));
        assert!(matches!(of(&[1.0, f64::NAN], &[1.0, 1.0]), Error::Row { field: "rewards", .. }));
        assert!(curve(&[], &[1], &Bootstrap::default()).is_err());
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_mean_over_all_subsets(
            candidates in proptest::collection::vec((0_u8..4, 1_u8..=5), 1..9),
            n in 1_usize..9,
        ) {
            let n = n.min(candidates.len());
            let by: Vec<f64> = candidates.iter().map(|c| c.0.into()).collect();
            let scores: Vec<f64> = candidates.iter().map(|c| c.1.into()).collect();
            prop_assert!((expected_best(&by, &scores, n) - slow(&by, &scores, n)).abs() < 1e-12);
        }

        #[test]
        fn the_oracle_never_falls(scores in proptest::collection::vec(1.0_f64..5.0, 4..12)) {
            let row = Candidates { id: "x".into(), rewards: scores.clone(), scores };
            let points = curve(&[row], &[1, 2, 3, 4], &Bootstrap::default()).unwrap();
            prop_assert!(points.windows(2).all(|pair| pair[0].oracle <= pair[1].oracle + 1e-12));
            prop_assert!(points.iter().all(|point| (point.score - point.oracle).abs() < 1e-12));
        }
    }
}
