//! Evaluations of the held-out rows: metrics, the best model so far, and early stopping.

use std::collections::BTreeMap;
use std::path::Path;

use janus_data::write_file;
use serde::{Deserialize, Serialize};

use crate::config::{EarlyStop, KeepBest};
use crate::error::{AtPath, FileProblem};
use crate::{Error, Result};

/// Loss and metrics over the held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Optimiser steps taken before the evaluation.
    pub step: u64,
    /// The loss: a mean over all rows, as in training.
    pub loss: f64,
    /// Metrics of the objective: `accuracy`, `margin`.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
}

impl Evaluation {
    /// The loss, or the metric with this name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        if name == "loss" { Some(self.loss) } else { self.metrics.get(name).copied() }
    }
}

/// The evaluations of a run, one line each in `evaluations.jsonl`.
#[derive(Default)]
pub(crate) struct Evaluations {
    all: Vec<Evaluation>,
}

impl Evaluations {
    /// Reads the evaluations up to step `steps` that are on the run's evaluation schedule (`is_due`).
    /// Later ones were made after the checkpoint that the run resumes from, and unscheduled ones were
    /// made when an observer stopped the run; both are dropped.
    pub(crate) fn open(path: &Path, steps: u64, is_due: impl Fn(u64) -> bool) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.at(path)?,
        };
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let read = |line: &str| serde_json::from_str::<Evaluation>(line);
        let all = whole.map(read).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(FileProblem::json(path))?;
        Ok(Self {
            all: all
                .into_iter()
                .filter(|evaluation| evaluation.step <= steps && is_due(evaluation.step))
                .collect(),
        })
    }

    /// Adds an evaluation, replaces one of the same step, and writes the file. True if nothing was
    /// replaced.
    pub(crate) fn add(&mut self, path: &Path, evaluation: Evaluation) -> Result<bool> {
        let before = self.all.len();
        self.all.retain(|earlier| earlier.step < evaluation.step);
        let new = self.all.len() == before;
        self.all.push(evaluation);
        let mut text = String::new();
        for evaluation in &self.all {
            let line = serde_json::to_string(evaluation);
            text.push_str(&line.map_err(FileProblem::json(path))?);
            text.push('\n');
        }
        write_file(path, text.as_bytes())?;
        Ok(new)
    }

    pub(crate) fn all(&self) -> &[Evaluation] {
        &self.all
    }

    /// The number of evaluations after the best one (the earliest of equally good ones); `None` without
    /// evaluations.
    fn since_best(&self, rule: &KeepBest) -> Result<Option<usize>> {
        let mut best: Option<(usize, f64)> = None;
        for (i, evaluation) in self.all.iter().enumerate() {
            let Some(value) = evaluation.metric(&rule.metric) else {
                let known = std::iter::once("loss").chain(evaluation.metrics.keys().map(String::as_str));
                return Err(Error::UnknownMetric {
                    got: rule.metric.clone(),
                    known: known.map(str::to_string).collect(),
                });
            };
            let better = |best: f64| if rule.higher_is_better { value > best } else { value < best };
            if best.is_none_or(|(_, best)| better(best)) {
                best = Some((i, value));
            }
        }
        Ok(best.map(|(i, _)| self.all.len() - 1 - i))
    }

    /// Whether the newest evaluation is the best so far.
    pub(crate) fn is_best(&self, rule: &KeepBest) -> Result<bool> {
        Ok(self.since_best(rule)? == Some(0))
    }

    /// Whether the run ends: there was no new best value for `patience` evaluations.
    pub(crate) fn at_end(&self, rule: Option<&EarlyStop>) -> Result<bool> {
        let Some(rule) = rule else { return Ok(false) };
        Ok(self.since_best(&rule.best())?.is_some_and(|since| since >= rule.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(higher_is_better: bool) -> EarlyStop {
        EarlyStop { metric: "accuracy".into(), higher_is_better, patience: 2 }
    }

    #[test]
    fn the_run_ends_after_patience_evaluations_without_a_new_best() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluations.jsonl");
        let mut evaluations = Evaluations::default();
        let mut ends = Vec::new();
        for (step, accuracy) in [(1, 0.5), (2, 0.7), (3, 0.7), (4, 0.6)] {
            let metrics = BTreeMap::from([("accuracy".to_string(), accuracy)]);
            evaluations.add(&path, Evaluation { step, loss: 1.0, metrics }).unwrap();
            ends.push((
                evaluations.is_best(&rule(true).best()).unwrap(),
                evaluations.at_end(Some(&rule(true))).unwrap(),
            ));
        }
        assert_eq!(ends, [(true, false), (true, false), (false, false), (false, true)]);
        assert!(evaluations.at_end(Some(&rule(false))).unwrap(), "the lowest came first");
        let cut = Evaluations::open(&path, 2, |_| true).unwrap();
        assert_eq!(cut.all().len(), 2);
        assert!(!cut.at_end(Some(&rule(true))).unwrap());
        assert_eq!(Evaluations::open(&path, 4, |step| step % 2 == 0).unwrap().all().len(), 2);
        let error = cut
            .is_best(&KeepBest { metric: "accurcy".into(), higher_is_better: true })
            .unwrap_err()
            .to_string();
        assert!(error.contains("accurcy") && error.contains("loss, accuracy"), "{error}");
    }
}
