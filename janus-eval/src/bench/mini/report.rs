//! The report of a run on Mini.

use janus_core::Dimension;
use janus_data::mini::{SYSTEMS_PER_INSTRUCTION, Split};

use super::{Diversity, Measurements, ModelScores};
use crate::Result;
use crate::bench::best_of_n::CurvePoint;
use crate::report::{BarChart, BarGroup, Cell, Figure, Line, LineChart, Point, Report, Section, Table};
use crate::score::summarise;
use crate::stats::{Bootstrap, Interval, Sample};

/// The run that was measured.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The name of its profile, which sets sizes and settings.
    pub profile: &'a str,
    /// Its seed.
    pub seed: u64,
    /// The split that was judged.
    pub split: Split,
    /// The bootstrap settings of all intervals.
    pub bootstrap: &'a Bootstrap,
}

impl Measurements {
    /// The report: the claims, scores by instruction family and dimension, curves, and sample answers.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if a model's scores are missing, or if there are fewer
    /// than two numbers of system messages or of answers; those of the statistics.
    pub fn report(&self, setup: &Setup<'_>) -> Result<Report> {
        let Setup { profile, seed, split, bootstrap } = *setup;
        let mut report = Report::new(format!("Janus on Multifaceted Mini: profile {profile}, seed {seed}"));
        report.claims = self.claims(bootstrap)?;
        let rows = self.scores.first().map_or(0, |scores| scores.rows.len());
        let what = format!(
            "Each model answered {rows} rows of the {} split: {} questions under {SYSTEMS_PER_INSTRUCTION} system messages each. \
         No preference combination, paraphrase of a preference, sentence template or question wording of that split occurs in \
         training. Every answer is scored from 1 to 5 for each of its four preferences by a rule-based grader; a score is at most the \
         truth score of the answer.",
            split.as_str(),
            rows / SYSTEMS_PER_INSTRUCTION
        );
        let level = 100.0 * bootstrap.level;
        let how = format!(
            "Intervals: {level:.0}% bootstrap over questions, {} resamples; the rows of a question are resampled together.",
            bootstrap.resamples
        );
        report.sections = vec![
            Section::new("Claims")
                .paragraph(what)
                .paragraph(how)
                .claims(report.claims.iter().map(|claim| claim.id.clone())),
            Section::new("Unseen system messages")
                .figure(self.generalisation(bootstrap)?)
                .table(self.by_source(bootstrap)?)
                .figure(self.by_dimension(bootstrap)?),
            Section::new("The best of many answers").figure(self.best_of_n_figure()),
            Section::new("Answers").examples(self.examples.clone()),
        ];
        Ok(report)
    }

    /// The central figure: score on unseen system messages by the number of distinct ones trained on.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if a model's scores are missing; those of the
    /// statistics.
    pub fn generalisation(&self, bootstrap: &Bootstrap) -> Result<Figure> {
        let point = |point: &Diversity<'_>| {
            Ok(Point { x: point.distinct as f64, y: point.scores.mean(bootstrap)?.into() })
        };
        let points = self.by_diversity()?.iter().map(point).collect::<Result<_>>()?;
        let chart = LineChart {
            x_label: "different system messages trained on".into(),
            y_label: "mean score, 1 to 5".into(),
            log_x: true,
            y_range: Some([1.0, 5.0]),
            lines: vec![Line { name: "janus".into(), points }],
        };
        Ok(Figure::lines(
            "Score on unseen system messages by the number of different ones trained on",
            "Equal optimiser steps, equal questions; only the number of different system messages differs.",
            chart,
        ))
    }

    /// Score of the best answer by the number of sampled answers.
    fn best_of_n_figure(&self) -> Figure {
        let line = |name: &str, of: fn(&CurvePoint) -> Interval| {
            let point = |at: &CurvePoint| Point { x: at.n as f64, y: of(at).into() };
            Line { name: name.into(), points: self.best_of_n.points.iter().map(point).collect() }
        };
        let chart = LineChart {
            x_label: "sampled answers to choose from".into(),
            y_label: "mean score, 1 to 5".into(),
            log_x: true,
            y_range: Some([1.0, 5.0]),
            lines: vec![line("reward model", |at| at.reward), line("oracle", |at| at.oracle)],
        };
        Figure::lines(
            "Score of the best of N sampled answers of janus-star",
            "Chosen by the reward model, and, as an upper bound, by the score itself; the mean over all choices of N among the sampled.",
            chart,
        )
    }

    fn by_source(&self, bootstrap: &Bootstrap) -> Result<Table> {
        let summaries =
            self.scores.iter().map(|scores| summarise(&[&scores.rows])).collect::<Result<Vec<_>, _>>()?;
        let sources = summaries
            .first()
            .map(|summary| summary.sources.iter().map(|s| s.source.clone()).collect::<Vec<_>>())
            .unwrap_or_default();
        let columns = ["model".to_string()].into_iter().chain(sources).chain(["all".into(), "n".into()]);
        let mut table =
            Table::new("Mean score over the four rubrics, 1 to 5, by instruction family", columns);
        for (scores, summary) in self.scores.iter().zip(&summaries) {
            let mut cells = vec![Cell::from(scores.model.clone())];
            cells.extend(
                summary
                    .sources
                    .iter()
                    .map(|s| s.score.as_ref().map_or(Cell::Empty, |score| Cell::number(score.mean, 2))),
            );
            cells.push(Cell::interval(scores.mean(bootstrap)?, 2));
            cells.push(Cell::Count(summary.overall.n));
            table = table.row(cells);
        }
        Ok(table)
    }

    fn by_dimension(&self, bootstrap: &Bootstrap) -> Result<Figure> {
        let shown: Vec<&ModelScores> = ["base", "uniform", "janus"]
            .iter()
            .filter_map(|name| self.scores.iter().find(|scores| scores.model == *name))
            .collect();
        let mean = |scores: &ModelScores, dimension: usize| -> Result<Interval> {
            let values = scores.rows.iter().enumerate().filter_map(|(row, scored)| {
                let score = scored.scores.get(dimension).copied().flatten()?;
                Some((row / SYSTEMS_PER_INSTRUCTION, f64::from(score)))
            });
            bootstrap.mean(&Sample::clustered(values)?)
        };
        let group = |(place, dimension): (usize, &Dimension)| {
            let bars =
                shown.iter().map(|scores| Ok(Some(mean(scores, place)?.into()))).collect::<Result<_>>()?;
            Ok(BarGroup { label: dimension.as_str().replace('_', " "), bars })
        };
        let chart = BarChart {
            value_label: "mean score, 1 to 5".into(),
            range: Some([1.0, 5.0]),
            series: shown.iter().map(|scores| scores.model.clone()).collect(),
            groups: Dimension::ALL.iter().enumerate().map(group).collect::<Result<_>>()?,
        };
        Ok(Figure::bars("Score by dimension", "One rubric of each row belongs to each dimension.", chart))
    }
}
