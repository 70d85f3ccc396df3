//! The paper's claims, tested on the scores of the judged models.

use janus_data::mini::SYSTEMS_PER_INSTRUCTION;
use serde_json::{Value, json};

use super::{Diversity, Measurements, ModelScores};
use crate::bench::best_of_n::{Curve, CurvePoint};
use crate::report::Claim;
use crate::score::PairedOutcomes;
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

impl Measurements {
    /// The claims, in the order of the report.
    ///
    /// # Errors
    /// [`Error::Setting`] if a model's scores are missing, or if there are fewer than two numbers of
    /// system messages or of answers; those of the statistics.
    pub(super) fn claims(&self, bootstrap: &Bootstrap) -> Result<Vec<Claim>> {
        let [base, uniform, janus] = ["base", "uniform", "janus"].map(|name| self.scores_of(name));
        let (base, uniform, janus) = (base?, uniform?, janus?);
        let star_dpo = "Janus with one system message for each instruction, then DPO";
        Ok(vec![
            order(base, uniform, janus, bootstrap)?,
            tie_win(uniform, janus, bootstrap)?,
            generalisation(&self.by_diversity()?, bootstrap)?,
            no_tax(&self.plain_uniform, &self.plain_janus, bootstrap)?,
            against_janus("dpo", star_dpo, self.scores_of("janus-dpo")?, janus, bootstrap)?,
            against_janus(
                "orpo",
                "ORPO from the base model",
                self.scores_of("janus-orpo")?,
                janus,
                bootstrap,
            )?,
            reward_accuracy(&self.reward_hits, bootstrap)?,
            best_of_n(&self.best_of_n)?,
        ])
    }
}

fn too_few(field: &'static str, got: usize) -> Error {
    Error::Setting { field, got: got.to_string(), expected: "two or more" }
}

fn interval(interval: &Interval) -> Value {
    json!({ "estimate": interval.estimate, "ci_low": interval.low, "ci_high": interval.high })
}

/// base < uniform < janus.
pub(super) fn order(
    base: &ModelScores,
    uniform: &ModelScores,
    janus: &ModelScores,
    bootstrap: &Bootstrap,
) -> Result<Claim> {
    let steps = [uniform.minus(base, bootstrap)?, janus.minus(uniform, bootstrap)?];
    let total = janus.minus(uniform, bootstrap)?;
    let statement = "On unseen system messages, fine-tuning with one uniform system message scores above the base model, \
                     and fine-tuning with diverse ones above that (mean of four rubrics, 1 to 5; estimate: janus - uniform)";
    let mut claim = Claim::new("order", statement, &total).with_values(json!({
        "base": interval(&base.mean(bootstrap)?),
        "uniform": interval(&uniform.mean(bootstrap)?),
        "janus": interval(&janus.mean(bootstrap)?),
        "uniform - base": interval(&steps[0]),
        "janus - uniform": interval(&steps[1]),
    }));
    claim.holds = Some(steps.iter().all(|step| step.low > 0.0));
    Ok(claim)
}

/// Janus against uniform, by the paper's tie+win rate.
pub(super) fn tie_win(uniform: &ModelScores, janus: &ModelScores, bootstrap: &Bootstrap) -> Result<Claim> {
    let outcomes = PairedOutcomes::of(&[&janus.rows], &[&uniform.rows])?;
    let hits = outcomes.rows.iter().enumerate();
    let hits = hits.map(|(index, row)| {
        (index / SYSTEMS_PER_INSTRUCTION, if row.outcome.is_tie_win() { 100.0 } else { 0.0 })
    });
    let percent = bootstrap.mean(&Sample::clustered(hits)?)?;
    let rates = outcomes.tally.rates()?;
    let statement = "Janus wins against the uniform model, or both are good, on more than half of the judged rows (percent)";
    let claim = Claim::above("tie_win", statement, &percent, 50.0);
    Ok(claim.with_values(json!({
        "win": outcomes.tally.win,
        "both_good": outcomes.tally.both_good,
        "both_bad": outcomes.tally.both_bad,
        "loss": outcomes.tally.loss,
        "tie_win_all": 100.0 * rates.tie_win_all,
        "half_tie_win": 100.0 * rates.win_rate_ties_half,
    })))
}

/// The score on unseen system messages rises with the number of distinct ones trained on.
pub(super) fn generalisation(points: &[Diversity<'_>], bootstrap: &Bootstrap) -> Result<Claim> {
    let [first, .., last] = points else {
        return Err(too_few("numbers of different system messages", points.len()));
    };
    let gain = last.scores.minus(first.scores, bootstrap)?;
    let mut means = Vec::with_capacity(points.len());
    for point in points {
        means.push(point.scores.mean(bootstrap)?);
    }
    let falls = means.windows(2).any(|pair| pair[1].estimate < pair[0].estimate - 0.1);
    let values: Vec<Value> = points
        .iter()
        .zip(&means)
        .map(|(point, mean)| json!({ "distinct": point.distinct, "model": point.scores.model, "score": interval(mean) }))
        .collect();
    let statement = format!(
        "With equal optimiser steps, the score on unseen system messages rises with the number of different ones trained on \
         (estimate: {} minus {} of them; no step falls by more than 0.1)",
        last.distinct, first.distinct
    );
    let mut claim = Claim::new("generalisation", statement, &gain).with_values(values);
    claim.holds = Some(gain.estimate >= 1.0 && !falls);
    Ok(claim)
}

/// Training on diverse system messages does not lower the quality of answers under the plain one. Both
/// lists hold the truth score (1 to 5) of each question under the plain system message.
pub(super) fn no_tax(uniform: &[f64], janus: &[f64], bootstrap: &Bootstrap) -> Result<Claim> {
    let tax = bootstrap.mean(&Sample::differences(uniform, janus)?)?;
    let mean = |scores: &[f64]| -> Result<Interval> { bootstrap.mean(&Sample::of(scores.iter().copied())?) };
    let statement = "With the plain system message, janus answers as well as the uniform model \
                     (truth of the answer, 1 to 5; estimate: uniform - janus, holds if at most 0.1)";
    let mut claim = Claim::new("no_tax", statement, &tax)
        .with_values(json!({ "uniform": interval(&mean(uniform)?), "janus": interval(&mean(janus)?) }));
    claim.holds = Some(tax.estimate <= 0.1);
    Ok(claim)
}

/// A model tuned on preference pairs against Janus. No direction is claimed: the paper reports small
/// gains.
pub(super) fn against_janus(
    id: &str,
    what: &str,
    tuned: &ModelScores,
    janus: &ModelScores,
    bootstrap: &Bootstrap,
) -> Result<Claim> {
    let gain = tuned.minus(janus, bootstrap)?;
    let statement =
        format!("{what}, against Janus, on unseen system messages (estimate: difference of the mean scores)");
    Ok(Claim::new(id, statement, &gain).with_values(json!({
        tuned.model.as_str(): interval(&tuned.mean(bootstrap)?),
        janus.model.as_str(): interval(&janus.mean(bootstrap)?),
    })))
}

/// The reward model prefers the response that follows the system message. `hits` holds 1 or 0 for each
/// held-out pair, with the pairs of an instruction adjacent.
pub(super) fn reward_accuracy(hits: &[f64], bootstrap: &Bootstrap) -> Result<Claim> {
    let hits = hits.iter().enumerate().map(|(index, &hit)| (index / SYSTEMS_PER_INSTRUCTION, hit));
    let share = bootstrap.mean(&Sample::clustered(hits)?)?;
    let statement = "The reward model prefers the response that was written for the system message, on held-out pairs \
                     (share of the pairs, holds if at least 0.7)";
    let mut claim = Claim::new("reward_accuracy", statement, &share);
    claim.holds = Some(share.estimate >= 0.7);
    Ok(claim)
}

/// The reward model's choice improves with the number of answers to choose from.
pub(super) fn best_of_n(curve: &Curve) -> Result<Claim> {
    let [first, .., last] = &curve.points[..] else {
        return Err(too_few("numbers of answers to choose from", curve.points.len()));
    };
    let statement = format!(
        "The reward model's choice among {} sampled answers scores above its choice among {} (estimate: difference of the mean scores)",
        last.n, first.n
    );
    let point = |at: &CurvePoint| json!({ "n": at.n, "reward": interval(&at.reward), "oracle": interval(&at.oracle) });
    let values: Vec<Value> = curve.points.iter().map(point).collect();
    Ok(Claim::above("best_of_n", statement, &curve.gain, 0.0).with_values(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::best_of_n::{Candidates, curve};
    use crate::score::ScoredRow;

    fn scores(model: &str, rows: impl IntoIterator<Item = [u8; 4]>) -> ModelScores {
        let rows = rows
            .into_iter()
            .enumerate()
            .map(|(i, row)| ScoredRow::new(format!("r{i}"), "place", row.map(Some)));
        ModelScores { model: model.into(), rows: rows.collect() }
    }

    fn flat(model: &str, score: u8) -> ModelScores {
        scores(
            model,
            (0..30).map(|i| if i % 2 == 0 { [score; 4] } else { [score, score, score, score.max(2) - 1] }),
        )
    }

    #[test]
    fn order_holds_only_if_both_steps_do() {
        let bootstrap = Bootstrap::default();
        let claim = order(&flat("base", 1), &flat("uniform", 2), &flat("janus", 5), &bootstrap).unwrap();
        assert_eq!((claim.holds, claim.n), (Some(true), 30));
        assert!((claim.estimate - 3.0).abs() < 1e-12);
        let claim = order(&flat("base", 2), &flat("uniform", 2), &flat("janus", 5), &bootstrap).unwrap();
        assert_eq!(claim.holds, Some(false));
    }

    #[test]
    fn tie_win_counts_both_good_and_not_both_bad() {
        let bootstrap = Bootstrap::default();
        let claim = tie_win(&flat("uniform", 5), &flat("janus", 5), &bootstrap).unwrap();
        assert_eq!((claim.estimate, claim.holds), (100.0, Some(true)));
        let claim = tie_win(&flat("uniform", 2), &flat("janus", 2), &bootstrap).unwrap();
        assert_eq!((claim.estimate, claim.holds), (0.0, Some(false)));
    }

    #[test]
    fn generalisation_needs_a_gain_and_no_decrease() {
        let bootstrap = Bootstrap::default();
        let of = |levels: [u8; 4]| {
            let all: Vec<ModelScores> = levels.iter().map(|&level| flat(&level.to_string(), level)).collect();
            let points: Vec<_> = all
                .iter()
                .enumerate()
                .map(|(i, scores)| Diversity { distinct: 10usize.pow(i as u32), scores })
                .collect();
            generalisation(&points, &bootstrap).unwrap().holds
        };
        assert_eq!(of([2, 3, 4, 5]), Some(true));
        assert_eq!(of([2, 4, 3, 5]), Some(false));
        assert_eq!(of([4, 4, 4, 4]), Some(false));
    }

    #[test]
    fn no_tax_allows_a_tenth() {
        let bootstrap = Bootstrap::default();
        let holds = |janus: f64| no_tax(&[5.0; 20], &[janus; 20], &bootstrap).unwrap().holds;
        assert_eq!((holds(4.95), holds(4.8), holds(5.0)), (Some(true), Some(false), Some(true)));
    }

    #[test]
    fn no_direction_is_claimed_for_a_model_tuned_on_pairs() {
        let claim = against_janus(
            "dpo",
            "Janus+DPO",
            &flat("janus-dpo", 5),
            &flat("janus", 4),
            &Bootstrap::default(),
        )
        .unwrap();
        assert_eq!((claim.holds, claim.id.as_str()), (None, "dpo"));
        assert!(
            (claim.estimate - 1.0).abs() < 1e-12
                && claim.values["janus-dpo"]["estimate"].as_f64() > Some(4.0)
        );
    }

    #[test]
    fn reward_accuracy_holds_from_seventy_percent() {
        let holds = |right: usize| {
            reward_accuracy(&[vec![1.0; right], vec![0.0; 30 - right]].concat(), &Bootstrap::default())
                .unwrap()
                .holds
        };
        assert_eq!((holds(21), holds(20)), (Some(true), Some(false)));
    }

    #[test]
    fn best_of_n_needs_a_significant_gain() {
        let holds = |levels: [u8; 2]| {
            let row = |i: usize| Candidates {
                id: i.to_string(),
                rewards: vec![0.0, 1.0],
                scores: levels.map(|score| vec![Some(score); 4]).into(),
            };
            let rows: Vec<Candidates> = (0..30).map(row).collect();
            best_of_n(
                &curve(&rows, |row| row / SYSTEMS_PER_INSTRUCTION, &[1, 2], &Bootstrap::default()).unwrap(),
            )
            .unwrap()
            .holds
        };
        assert_eq!((holds([3, 4]), holds([4, 4]), holds([4, 3])), (Some(true), Some(false), Some(false)));
    }
}
