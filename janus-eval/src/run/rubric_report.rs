//! The report on runs judged by rubrics.

use std::collections::BTreeMap;

use janus_core::SamplingParams;

use super::{RubricRun, published};
use crate::judge::Counts;
use crate::report::{
    BarChart, BarGroup, Cell, Example, ExampleResponse, Figure, Histogram, PlotValue, Report, Section,
    ShareChart, ShareRow, Table,
};
use crate::score::{PairedOutcomes, PooledRow, ScoreSummary, pool, same_rows};
use crate::stats::Interval;
use crate::{Error, Result};

/// The report on one run, or on several runs of the same bench side by side, where the others are
/// compared with the first. It shows the texts of at most `shown` rows, evenly spaced over the bench.
///
/// # Errors
/// [`Error::Empty`] without a run, [`Error::RowMismatch`] if the runs are not of the same bench.
pub(crate) fn compare_rubrics(runs: &[RubricRun], shown: usize) -> Result<Report> {
    let first = runs.first().ok_or(Error::Empty { what: "a comparison of runs" })?;
    for run in runs {
        same_rows(first.rows.iter().map(|row| row.id.as_str()), run.rows.iter().map(|row| row.id.as_str()))?;
    }
    let names = distinct(runs.iter().map(|run| run.result.head.model.clone()));
    let title = if runs.len() == 1 {
        format!("{} judged by {}", names[0], first.result.head.settings.judge)
    } else {
        format!("Judged: {}", names.join(", "))
    };
    let mut report = Report::new(title);
    let pooled: Vec<Vec<PooledRow>> = runs.iter().map(|run| pool(&run.scores())).collect::<Result<_>>()?;

    let mut scores = Section::new("Scores").table(by_source(runs, &names)).paragraph(
        "The overall mean is over all rows, not over the sources' means. Intervals: 95% bootstrap over instructions; rows of one instruction are \
         resampled together. Missing scores are not counted.",
    );
    let differing =
        names.iter().zip(runs).map(|(name, run)| (name.as_str(), published::differences(&run.result)));
    scores = published::add(scores, published::table(), "the paper's Table 2", differing);
    report.sections.push(scores);
    if runs.len() > 1 {
        report.sections.push(against_the_first(&pooled, &names)?);
    }
    let mut parts = Section::new("Scores by dimension and source");
    for figure in [by_dimension(runs, &names), source_bars(runs, &names), histogram(&pooled, &names)?]
        .into_iter()
        .flatten()
    {
        parts = parts.figure(figure);
    }
    if !parts.blocks.is_empty() {
        report.sections.push(parts);
    }
    let calls = counts(names.iter().zip(runs).map(|(name, run)| (name.clone(), &run.result.head.counts)));
    report.sections.push(
        Section::new("How it was judged")
            .table(settings(runs, &names))
            .table(calls)
            .table(readings(runs, &names)),
    );
    report.sections.push(Section::new("Answers").examples(examples(runs, &names, shown)));
    Ok(report)
}

/// Makes names unique: a repeated name gets a number.
pub(super) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let numbered = (2..).map(|number| format!("{name} ({number})"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
        taken.extend(free);
    }
    taken
}

fn by_source(runs: &[RubricRun], names: &[String]) -> Table {
    let mut sources: Vec<&str> = Vec::new();
    for record in runs.iter().flat_map(|run| &run.cases).map(|case| &case.record) {
        if !sources.contains(&record.source.as_str()) {
            sources.push(&record.source);
        }
    }
    // More sources are in the figure and in the JSON only.
    let shown = if sources.len() > 12 { &[][..] } else { &sources[..] };
    let columns = ["model", "all"].into_iter().chain(shown.iter().copied()).chain(["rows", "without score"]);
    let mut table = Table::new("Mean score over rubrics, runs and rows, 1 to 5", columns);
    for (run, name) in runs.iter().zip(names) {
        let summary = run.result.summary.as_ref();
        let all = match (&run.result.interval, summary) {
            (Some(interval), _) => Cell::interval(*interval, 3),
            (None, Some(summary)) => Cell::number(summary.overall.mean, 3),
            (None, None) => Cell::Empty,
        };
        let of_source = |source: &&str| {
            source_mean(summary, source).map_or(Cell::Empty, |(mean, _)| Cell::number(mean, 2))
        };
        let (n, missing) =
            summary.map_or((0, run.cases.len()), |summary| (summary.overall.n, summary.overall.missing));
        let cells = [name.as_str().into(), all]
            .into_iter()
            .chain(shown.iter().map(of_source))
            .chain([n.into(), missing.into()]);
        table = table.row(cells.collect::<Vec<_>>());
    }
    table
}

fn source_mean(summary: Option<&ScoreSummary>, source: &str) -> Option<(f64, usize)> {
    let score = summary?.sources.iter().find(|score| score.source == source)?.score.as_ref()?;
    Some((score.mean, score.n))
}

/// Compares each model with the first, row by row.
fn against_the_first(pooled: &[Vec<PooledRow>], names: &[String]) -> Result<Section> {
    let columns =
        ["model", "tie+win, %", "win or tie, %", "win + half a tie, %", "mean difference", "rows", "missing"];
    let mut table = Table::new(format!("Against {}, from the rows' scores", names[0]), columns);
    let mut rows = Vec::new();
    for (pooled_row, name) in pooled.iter().zip(names).skip(1) {
        let outcomes = PairedOutcomes::of_pooled(pooled_row, &pooled[0])?;
        let tally = outcomes.tally;
        let Ok(rates) = tally.rates() else {
            table = table.row([
                name.as_str().into(),
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                0.into(),
                outcomes.missing.into(),
            ]);
            continue;
        };
        let difference =
            outcomes.rows.iter().map(|row| row.difference).sum::<f64>() / outcomes.rows.len() as f64;
        let percent = |rate: f64| Cell::number(100.0 * rate, 1);
        table = table.row([
            name.as_str().into(),
            percent(rates.tie_win),
            percent(rates.tie_win_all),
            percent(rates.win_rate_ties_half),
            Cell::number(difference, 3),
            rates.n.into(),
            outcomes.missing.into(),
        ]);
        rows.push(ShareRow {
            label: format!("{name} against {}", names[0]),
            counts: vec![tally.win, tally.both_good, tally.both_bad, tally.loss],
        });
    }
    let mut section = Section::new("Comparison of models").table(table).paragraph(
        "tie+win is the paper's rate: wins, and ties of two good responses (both row means at least 4). The second rate counts all ties.",
    );
    if !rows.is_empty() {
        let parts = ["wins", "both good", "both bad", "losses"].map(String::from).to_vec();
        section = section.figure(Figure::shares(
            "Outcomes by row",
            "Scores are compared as exact sums.",
            ShareChart { parts, rows },
        ));
    }
    Ok(section)
}

fn value(mean: f64, interval: Option<Interval>, n: usize) -> PlotValue {
    interval.map_or_else(|| PlotValue::plain(mean, n), PlotValue::from)
}

fn by_dimension(runs: &[RubricRun], names: &[String]) -> Option<Figure> {
    let bar = |run: &RubricRun, dimension| {
        let score = run.result.dimensions.iter().find(|score| score.dimension == dimension)?;
        Some(value(score.mean, score.interval, score.n))
    };
    let group = |dimension: janus_core::Dimension| BarGroup {
        label: dimension.as_str().replace('_', " "),
        bars: runs.iter().map(|run| bar(run, dimension)).collect(),
    };
    bars(
        "Score by dimension",
        "The rubric of each preference.",
        names,
        janus_core::Dimension::ALL.into_iter().map(group).collect(),
    )
}

fn source_bars(runs: &[RubricRun], names: &[String]) -> Option<Figure> {
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    runs[0].cases.iter().for_each(|case| *sources.entry(&case.record.source).or_default() += 1);
    let mut sources: Vec<(&str, usize)> = sources.into_iter().collect();
    sources.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let more = sources.len().saturating_sub(12);
    sources.truncate(12);
    let group = |(source, _): (&str, usize)| {
        let bar = |run: &RubricRun| {
            source_mean(run.result.summary.as_ref(), source).map(|(mean, n)| PlotValue::plain(mean, n))
        };
        BarGroup { label: source.into(), bars: runs.iter().map(bar).collect() }
    };
    let caption = if more == 0 {
        String::new()
    } else {
        format!("The twelve with the most rows; {more} more are in judged.json.")
    };
    bars("Score by source", &caption, names, sources.into_iter().map(group).collect())
}

fn bars(title: &str, caption: &str, names: &[String], groups: Vec<BarGroup>) -> Option<Figure> {
    let groups: Vec<BarGroup> =
        groups.into_iter().filter(|group| group.bars.iter().any(Option::is_some)).collect();
    if groups.is_empty() {
        return None;
    }
    let series = if names.len() == 1 { vec![String::new()] } else { names.to_vec() };
    let chart =
        BarChart { value_label: "mean score, 1 to 5".into(), range: Some([1.0, 5.0]), series, groups };
    Some(Figure::bars(title, caption, chart))
}

fn histogram(pooled: &[Vec<PooledRow>], names: &[String]) -> Result<Option<Figure>> {
    let means: Vec<Vec<f64>> =
        pooled.iter().map(|rows| rows.iter().filter_map(PooledRow::mean).collect()).collect();
    let series: Vec<(&str, &[f64])> = names
        .iter()
        .map(String::as_str)
        .zip(means.iter().map(Vec::as_slice))
        .filter(|(_, means)| !means.is_empty())
        .collect();
    if series.is_empty() {
        return Ok(None);
    }
    let edges = (0..=8).map(|edge| 1.0 + 0.5 * f64::from(edge)).collect();
    let histogram = Histogram::with_edges("mean score of a row, 1 to 5", edges, series)?;
    Ok(Some(Figure::histogram("Distribution of row scores", "Row means over rubrics and runs.", histogram)))
}

fn settings(runs: &[RubricRun], names: &[String]) -> Table {
    let columns = [
        "model",
        "judge",
        "prompt",
        "fingerprint",
        "score read by",
        "reference",
        "system message",
        "runs",
        "sampling",
    ];
    let mut table = Table::new("The judge and what it sees", columns);
    let shown = |shown: bool| if shown { "shown" } else { "not shown" };
    for (run, name) in runs.iter().zip(names) {
        let settings = &run.result.head.settings;
        let prompt = settings.prompts.first();
        let reader = match run.result.reader {
            crate::judge::read::ScoreReader::Strict => "strict",
            crate::judge::read::ScoreReader::Published => "published",
        };
        table = table.row([
            name.as_str().into(),
            settings.judge.as_str().into(),
            prompt.map_or(Cell::Empty, |prompt| prompt.id.as_str().into()),
            prompt.map_or(Cell::Empty, |prompt| prompt.fingerprint.as_str().into()),
            reader.into(),
            shown(settings.reference_shown).into(),
            shown(settings.system_shown).into(),
            run.result.runs.into(),
            sampling(&settings.sampling).into(),
        ]);
    }
    table
}

/// The counts of the judge's calls, for each run.
pub(super) fn counts<'c>(runs: impl Iterator<Item = (String, &'c Counts)>) -> Table {
    let columns = ["model", "calls", "answered", "parsed", "unreadable", "failed", "parse rate, %"];
    let mut table = Table::new("Results of the judge's calls", columns);
    for (name, counts) in runs {
        table = table.row([
            name.into(),
            counts.calls.into(),
            counts.answered.into(),
            counts.parsed.into(),
            counts.unreadable.into(),
            counts.failed.into(),
            counts.parse_rate().map_or(Cell::Empty, |rate| Cell::number(100.0 * rate, 1)),
        ]);
    }
    table
}

/// The numbers of scores from texts without a marker, and of records without a response.
fn readings(runs: &[RubricRun], names: &[String]) -> Table {
    let mut table = Table::new(
        "Scores without a marker, and missing responses",
        ["model", "scores without marker", "no response"],
    );
    for (run, name) in runs.iter().zip(names) {
        table = table.row([
            name.as_str().into(),
            run.result.fallbacks.into(),
            run.result.head.missing.count.into(),
        ]);
    }
    table
}

/// The judge's sampling parameters, as text.
pub(super) fn sampling(sampling: &SamplingParams) -> String {
    format!("temperature {}, top-p {}, {} tokens", sampling.temperature, sampling.top_p, sampling.max_tokens)
}

/// The positions of at most `shown` of `count` rows, evenly spaced.
pub(super) fn spread(count: usize, shown: usize) -> impl Iterator<Item = usize> {
    let shown = shown.min(count);
    (0..shown).map(move |place| place * count / shown)
}

/// The texts of some rows, with the responses of all models.
fn examples(runs: &[RubricRun], names: &[String], shown: usize) -> Vec<Example> {
    let first = &runs[0];
    let example = |index: usize| {
        let mut example = Example::new(first.cases[index].id.clone(), &first.cases[index].record);
        for (run, name) in runs.iter().zip(names) {
            let Some(response) = &run.cases[index].response else { continue };
            let judged = &run.rows[index].runs;
            let replies = judged.first().map_or(&[][..], Vec::as_slice);
            let feedback = |(rubric, reply): (usize, &crate::protocol::RubricReply)| {
                let others = judged[1..]
                    .iter()
                    .filter_map(|replies| replies.get(rubric)?.score)
                    .map(|score| score.to_string());
                let others: Vec<String> = others.collect();
                let others = if others.is_empty() {
                    String::new()
                } else {
                    format!("Other runs: {}. ", others.join(", "))
                };
                let problem = reply
                    .problem
                    .as_ref()
                    .map(|problem| format!("No score: {problem}. "))
                    .unwrap_or_default();
                format!("{others}{problem}{}", reply.feedback)
            };
            example.responses.push(ExampleResponse {
                model: name.clone(),
                response: response.clone(),
                scores: replies.iter().map(|reply| reply.score.map(janus_core::Score::get)).collect(),
                feedback: replies.iter().enumerate().map(feedback).collect(),
            });
        }
        example
    };
    spread(first.cases.len(), shown).map(example).collect()
}
