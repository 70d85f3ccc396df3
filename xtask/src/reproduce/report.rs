//! The report of a reproduction.

use janus_core::Dimension;
use janus_data::mini::SYSTEMS_PER_INSTRUCTION;
use janus_eval::bench::best_of_n::CurvePoint;
use janus_eval::report::{BarChart, BarGroup, Cell, Figure, Line, LineChart, Plot, Point, Report, Section, Table};
use janus_eval::{Bootstrap, Claim, Interval, Sample, summarise};

use super::stages::{Diversity, Measured, Scores};
use crate::command::{Blame as _, CommandError};

/// What a run found.
pub struct Findings<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// The split that was judged.
    pub split: &'a str,
    /// The claims.
    pub claims: Vec<Claim>,
    /// What they are made from.
    pub measured: &'a Measured,
    /// The bootstrap of every interval.
    pub statistics: &'a Bootstrap,
}

/// Puts the findings into a report.
pub fn build(findings: &Findings<'_>) -> Result<Report, CommandError> {
    let mut report = Report::new(format!("Janus on Multifaceted Mini: profile {}, seed {}", findings.profile, findings.seed));
    report.claims = findings.claims.clone();
    let rows = findings.measured.scores.first().map_or(0, |scores| scores.rows.len());
    let what = format!(
        "Each model answered {rows} rows of the {} split: {} questions under {SYSTEMS_PER_INSTRUCTION} system messages each. \
         No preference combination, wording, sentence plan or phrasing of that split occurs in training. Every answer is scored \
         from 1 to 5 for each of its four preferences by computation; a score is bounded by the truth of the answer.",
        findings.split,
        rows / SYSTEMS_PER_INSTRUCTION
    );
    let level = 100.0 * findings.statistics.level;
    let how = format!(
        "Intervals: {level:.0}% bootstrap over questions, {} resamples; the rows of a question are resampled together.",
        findings.statistics.resamples
    );
    report.sections = vec![
        Section::new("Claims").paragraph(what).paragraph(how).claims(findings.claims.iter().map(|claim| claim.id.clone())),
        Section::new("Unseen system messages")
            .figure(generalisation(findings)?)
            .table(by_source(findings)?)
            .figure(by_dimension(findings)?),
        Section::new("The best of many answers").figure(best_of_n(findings)),
        Section::new("Answers").examples(findings.measured.examples.clone()),
    ];
    Ok(report)
}

/// The central figure: score on unseen system messages by the number of different ones trained on.
pub fn generalisation(findings: &Findings<'_>) -> Result<Figure, CommandError> {
    let point = |point: &Diversity<'_>| Ok(Point { x: point.distinct as f64, y: point.scores.mean(findings.statistics)?.into() });
    let points = findings.measured.by_diversity()?.iter().map(point).collect::<Result<_, CommandError>>()?;
    let chart = LineChart {
        x_label: "different system messages trained on".into(),
        y_label: "mean score, 1 to 5".into(),
        log_x: true,
        y_range: Some([1.0, 5.0]),
        lines: vec![Line { name: "janus".into(), points }],
    };
    Ok(Figure::new(
        "Score on unseen system messages by the number of different ones trained on",
        "Equal optimiser steps, equal questions; only the number of different system messages differs.",
        Plot::Lines(chart),
    ))
}

/// Score by the number of sampled answers that the best is chosen from.
fn best_of_n(findings: &Findings<'_>) -> Figure {
    let line = |name: &str, of: fn(&CurvePoint) -> Interval| {
        let point = |at: &CurvePoint| Point { x: at.n as f64, y: of(at).into() };
        Line { name: name.into(), points: findings.measured.best_of_n.points.iter().map(point).collect() }
    };
    let chart = LineChart {
        x_label: "sampled answers to choose from".into(),
        y_label: "mean score, 1 to 5".into(),
        log_x: true,
        y_range: Some([1.0, 5.0]),
        lines: vec![line("reward model", |at| at.reward), line("oracle", |at| at.oracle)],
    };
    Figure::new(
        "Score of the best of N sampled answers of janus-star",
        "Chosen by the reward model, and, as an upper bound, by the score itself; the mean over all choices of N among the sampled.",
        Plot::Lines(chart),
    )
}

fn by_source(findings: &Findings<'_>) -> Result<Table, CommandError> {
    let summaries = findings.measured.scores.iter().map(|scores| summarise(&[&scores.rows]).failure()).collect::<Result<Vec<_>, _>>()?;
    let sources = summaries.first().map(|summary| summary.sources.iter().map(|s| s.source.clone()).collect::<Vec<_>>()).unwrap_or_default();
    let columns = ["model".to_string()].into_iter().chain(sources).chain(["all".into(), "n".into()]);
    let mut table = Table::new("Mean score over the four rubrics, 1 to 5, by instruction family", columns);
    for (scores, summary) in findings.measured.scores.iter().zip(&summaries) {
        let mut cells = vec![Cell::from(scores.model.clone())];
        cells.extend(summary.sources.iter().map(|s| s.score.as_ref().map_or(Cell::Empty, |score| Cell::number(score.mean, 2))));
        cells.push(Cell::interval(scores.mean(findings.statistics)?, 2));
        cells.push(Cell::Count(summary.overall.n));
        table = table.row(cells);
    }
    Ok(table)
}

fn by_dimension(findings: &Findings<'_>) -> Result<Figure, CommandError> {
    let shown: Vec<&Scores> = ["base", "uniform", "janus"]
        .iter()
        .filter_map(|name| findings.measured.scores.iter().find(|scores| scores.model == *name))
        .collect();
    let mean = |scores: &Scores, dimension: usize| -> Result<Interval, CommandError> {
        let values = scores.rows.iter().enumerate().filter_map(|(row, scored)| {
            let score = scored.scores.get(dimension).copied().flatten()?;
            Some((row / SYSTEMS_PER_INSTRUCTION, f64::from(score)))
        });
        findings.statistics.mean(&Sample::clustered(values).failure()?).failure()
    };
    let group = |(place, dimension): (usize, &Dimension)| {
        let bars = shown.iter().map(|scores| Ok(Some(mean(scores, place)?.into()))).collect::<Result<_, CommandError>>()?;
        Ok(BarGroup { label: dimension.as_str().replace('_', " "), bars })
    };
    let chart = BarChart {
        value_label: "mean score, 1 to 5".into(),
        range: Some([1.0, 5.0]),
        series: shown.iter().map(|scores| scores.model.clone()).collect(),
        groups: Dimension::ALL.iter().enumerate().map(group).collect::<Result<_, CommandError>>()?,
    };
    Ok(Figure::new("Score by dimension", "One rubric of each row belongs to each dimension.", Plot::Bars(chart)))
}
