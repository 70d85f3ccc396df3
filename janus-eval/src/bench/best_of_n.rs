//! How much the score improves if a reward model chooses the best of N candidates.

mod candidates;

use serde::{Deserialize, Serialize};

pub use candidates::{candidates, prefers_chosen};

use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// The candidates for one prompt, in the order in which they were drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// The prompt's id.
    pub id: String,
    /// The reward model's value of each candidate.
    pub rewards: Vec<f64>,
    /// The judge's scores of each candidate, one for each rubric, as in a
    /// [`ScoredRow`](crate::score::ScoredRow). Their mean is the candidate's score.
    pub scores: Vec<Vec<Option<u8>>>,
}

/// One point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of candidates to choose from.
    pub n: usize,
    /// Mean score of the reward model's choice.
    pub reward: Interval,
    /// Mean score if the judge itself chooses, an upper bound for any reward model.
    pub oracle: Interval,
}

/// The score of the reward model's choice by the number of candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// A point for each n, in the order of the argument `ns`.
    pub points: Vec<CurvePoint>,
    /// Mean over prompts of the score at the last n minus the score at the first.
    pub gain: Interval,
}

/// The expected score of the best of n for each n, over random subsets of n of a prompt's candidates. A
/// candidate's score is the mean of its rubrics.
///
/// The expectation is exact, without sampling: of M candidates, ordered by reward, the one of rank i
/// (from 0) is the best of a random n with probability C(M-1-i, n-1) / C(M, n). Among equal rewards the
/// earlier candidate is chosen.
///
/// `cluster` returns the cluster of the prompt at an index; intervals resample clusters. If all prompts
/// are independent, each is its own cluster: `|row| row`.
///
/// # Errors
/// [`Error::Empty`] without an n; [`Error::Row`] for a prompt whose numbers of scores and rewards
/// differ, with fewer candidates than the largest n, with a candidate without a score or with a score
/// outside 1 to 5, or with a reward that is NaN or infinite; [`Error::Setting`] for an n of 0;
/// [`Error::TooFewUnits`] for fewer than two clusters.
///
/// ```
/// use janus_eval::stats::Bootstrap;
/// use janus_eval::bench::best_of_n::{Candidates, curve};
/// let prompt = |id: &str, rewards: [f64; 2]| Candidates {
///     id: id.into(),
///     rewards: rewards.into(),
///     scores: vec![vec![Some(3), Some(3)], vec![Some(5), Some(5)]],
/// };
/// let prompts = [prompt("1", [0.1, 0.9]), prompt("2", [0.4, 0.6]), prompt("3", [0.8, 0.7])];
/// let curve = curve(&prompts, |row| row, &[1, 2], &Bootstrap::default())?;
/// assert_eq!(curve.points[0].reward.estimate, 4.0);
/// assert_eq!(curve.points[1].oracle.estimate, 5.0);
/// assert!((curve.gain.estimate - 1.0 / 3.0).abs() < 1e-12); // two right choices of three
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn curve(
    prompts: &[Candidates],
    cluster: impl Fn(usize) -> usize,
    ns: &[usize],
    bootstrap: &Bootstrap,
) -> Result<Curve> {
    let (Some(&first), Some(&last)) = (ns.first(), ns.last()) else {
        return Err(Error::Empty { what: "a best-of-N curve without an N" });
    };
    if ns.contains(&0) {
        return Err(Error::Setting { field: "n", got: "0".into(), expected: "1 or more candidates" });
    }
    let most = ns.iter().copied().max().unwrap_or(1);
    let means = prompts
        .iter()
        .enumerate()
        .map(|(row, prompt)| checked_means(row, prompt, most))
        .collect::<Result<Vec<_>>>()?;
    let interval = |value: &dyn Fn(&Candidates, &[f64]) -> f64| {
        let values = prompts
            .iter()
            .zip(&means)
            .enumerate()
            .map(|(row, (prompt, means))| (cluster(row), value(prompt, means)));
        bootstrap.mean(&Sample::clustered(values)?)
    };
    let reward =
        |n: usize| move |prompt: &Candidates, means: &[f64]| expected_best(&prompt.rewards, means, n);
    let point = |&n: &usize| {
        Ok(CurvePoint {
            n,
            reward: interval(&reward(n))?,
            oracle: interval(&|_: &Candidates, means: &[f64]| expected_best(means, means, n))?,
        })
    };
    let points = ns.iter().map(point).collect::<Result<_>>()?;
    let gain = interval(&|prompt: &Candidates, means: &[f64]| {
        reward(last)(prompt, means) - reward(first)(prompt, means)
    })?;
    Ok(Curve { points, gain })
}

/// Checks the prompt at index `row` and returns the mean score of each candidate.
fn checked_means(row: usize, prompt: &Candidates, most: usize) -> Result<Vec<f64>> {
    if prompt.scores.len() != prompt.rewards.len() {
        return Err(Error::row(
            row,
            "scores",
            format!("{}, one for each reward", prompt.rewards.len()),
            prompt.scores.len(),
        ));
    }
    if prompt.rewards.len() < most {
        return Err(Error::row(row, "rewards", format!("at least {most} candidates"), prompt.rewards.len()));
    }
    if let Some(wrong) = prompt.rewards.iter().find(|reward| !reward.is_finite()) {
        return Err(Error::row(row, "rewards", "a finite number", wrong));
    }
    let mean = |scores: &Vec<Option<u8>>| {
        let there: Vec<u8> = scores.iter().flatten().copied().collect();
        if there.is_empty() || there.iter().any(|score| !(1..=5).contains(score)) {
            return Err(Error::row(
                row,
                "scores",
                "at least one score of 1 to 5 for each candidate",
                format!("{scores:?}"),
            ));
        }
        Ok(there.iter().map(|&score| f64::from(score)).sum::<f64>() / there.len() as f64)
    };
    prompt.scores.iter().map(mean).collect()
}

/// The expected score of the candidate with the highest value in `by` among `n` random candidates.
fn expected_best(by: &[f64], scores: &[f64], n: usize) -> f64 {
    let m = by.len();
    let mut order: Vec<usize> = (0..m).collect();
    // The sort is stable: of equal candidates the first stays in front.
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

    /// [`expected_best`] by enumeration of all subsets of `n`.
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

    /// A prompt whose candidates have one rubric.
    fn prompt(rewards: &[f64], scores: &[u8]) -> Candidates {
        Candidates {
            id: "x".into(),
            rewards: rewards.into(),
            scores: scores.iter().map(|&score| vec![Some(score)]).collect(),
        }
    }

    fn alone(row: usize) -> usize {
        row
    }

    #[test]
    fn bad_rows_are_named() {
        let of = |rewards: &[f64], scores: &[u8]| {
            let rows = [prompt(&[1.0, 2.0], &[1, 2]), prompt(rewards, scores)];
            curve(&rows, alone, &[2], &Bootstrap::default()).unwrap_err()
        };
        assert!(matches!(of(&[1.0, 2.0], &[1]), Error::Row { row: 2, field: "scores", .. }));
        assert!(matches!(of(&[1.0, 2.0], &[1, 6]), Error::Row { row: 2, field: "scores", .. }));
        assert!(matches!(of(&[1.0], &[1]), Error::Row { row: 2, field: "rewards", .. }));
        assert!(matches!(of(&[1.0, f64::NAN], &[1, 1]), Error::Row { row: 2, field: "rewards", .. }));
        let two = [prompt(&[1.0], &[1]), prompt(&[1.0], &[1])];
        assert!(matches!(curve(&two, alone, &[], &Bootstrap::default()), Err(Error::Empty { .. })));
        assert!(matches!(
            curve(&two, alone, &[0], &Bootstrap::default()),
            Err(Error::Setting { field: "n", .. })
        ));
        assert!(matches!(
            curve(&two, |_| 0, &[1], &Bootstrap::default()),
            Err(Error::TooFewUnits { got: 1 })
        ));
        assert!(matches!(
            curve(&[], alone, &[1], &Bootstrap::default()),
            Err(Error::Empty { .. } | Error::TooFewUnits { .. })
        ));
    }

    #[test]
    fn a_candidates_score_is_the_mean_of_its_rubrics_and_the_gain_is_paired() {
        let rows: Vec<Candidates> = (0..6)
            .map(|row| Candidates {
                id: row.to_string(),
                rewards: vec![0.0, 1.0],
                scores: vec![
                    vec![Some(2), Some(4), None],
                    vec![Some(5), Some(5), Some(4 + u8::from(row % 2 == 0))],
                ],
            })
            .collect();
        let curve = curve(&rows, |row| row / 2, &[1, 2], &Bootstrap::default()).unwrap();
        let (best, other) = ((5.0 + 14.0 / 3.0) / 2.0, 3.0);
        assert!(
            (curve.points[1].reward.estimate - best).abs() < 1e-12
                && (curve.gain.estimate - (best - other) / 2.0).abs() < 1e-12
        );
        assert!(curve.gain.low > 0.0 && curve.gain.n == 6);
        assert_eq!(curve.points[1].reward, curve.points[1].oracle);
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
        fn the_oracle_does_not_fall_with_n(scores in proptest::collection::vec(1_u8..=5, 4..12)) {
            let rewards: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            let rows = [prompt(&rewards, &scores), prompt(&rewards, &scores)];
            let points = curve(&rows, alone, &[1, 2, 3, 4], &Bootstrap::default()).unwrap().points;
            prop_assert!(points.windows(2).all(|pair| pair[0].oracle.estimate <= pair[1].oracle.estimate + 1e-12));
            prop_assert!(points.iter().all(|point| (point.reward.estimate - point.oracle.estimate).abs() < 1e-12));
        }
    }
}
