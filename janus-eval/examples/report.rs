//! A small report with every kind of block, in all three formats.
//!
//! Run with `cargo run -p janus-eval --example report -- FOLDER`, then open `FOLDER/report.html`. The
//! scores are random numbers with a fixed seed, not results of models.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;

use janus_core::{BenchRecord, Judge, JudgeRequest, Rubric, RubricVerdict, Score, ScoreDescriptions};
use janus_eval::judge::VerifiableJudge;
use janus_eval::report::{
    BarChart, BarGroup, Cell, Claim, Example, Figure, Histogram, Line, LineChart, Point, Report, Section,
    Table,
};
use janus_eval::score::{self, PairedOutcomes, ScoredRow, summarise};
use janus_eval::stats::{Bootstrap, Interval, Sample};
use rand::RngCore;

const SOURCES: [&str; 5] = ["alpaca_eval", "flask", "koala", "mt_bench", "self_instruct"];
const ROWS: usize = 240;

/// Rows of a model whose scores are around `level`. The three rows of an instruction share its
/// difficulty.
fn rows(name: &str, level: f64) -> Vec<ScoredRow> {
    let mut shared = janus_core::stream(1, "difficulty");
    let mut own = janus_core::stream(1, name);
    let unit = |value: u32| f64::from(value) / f64::from(u32::MAX);
    let mut difficulty = 0.0;
    let row = |row: usize| {
        if row.is_multiple_of(3) {
            difficulty = 1.6 * (unit(shared.next_u32()) - 0.5);
        }
        let mut score =
            || (level + difficulty + 2.0 * (unit(own.next_u32()) - 0.5)).round().clamp(1.0, 5.0) as u8;
        ScoredRow::new(row.to_string(), SOURCES[row / 3 % 5], [score(), score(), score(), score()].map(Some))
    };
    (0..ROWS).map(row).collect()
}

/// A model's mean and its interval. The rows of an instruction are resampled together.
fn mean(rows: &[ScoredRow], keep: impl Fn(&ScoredRow) -> bool) -> janus_eval::Result<Interval> {
    let kept: Vec<ScoredRow> = rows.iter().filter(|row| keep(row)).cloned().collect();
    score::mean(&kept, |_, row| row.id.parse().map_or(0, |id: usize| id / 3), &Bootstrap::default())
}

/// The mean over a row's rubrics.
fn row_mean(row: &ScoredRow) -> f64 {
    row.scores.iter().flatten().map(|&score| f64::from(score)).sum::<f64>() / row.scores.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    let models = [
        ("Base", 2.2),
        ("Uniform system message", 3.2),
        ("Janus", 3.9),
        ("Janus + DPO", 4.1),
        ("Janus + ORPO, best of 16", 4.3),
    ];
    let scored: Vec<(&str, Vec<ScoredRow>)> =
        models.iter().map(|&(name, level)| (name, rows(name, level))).collect();

    let mut report = Report::new("A sample report");
    let mut table = Table::new(
        "Mean score over four rubrics, 1 to 5, by source",
        ["model"].into_iter().chain(SOURCES).chain(["overall", "n"]),
    );
    for (name, rows) in &scored {
        let summary = summarise(&[rows])?;
        let sources = summary
            .sources
            .iter()
            .map(|s| s.score.as_ref().map_or(Cell::Empty, |score| Cell::number(score.mean, 2)));
        let overall = Cell::interval(mean(rows, |_| true)?, 2);
        table = table.row(
            [Cell::from(*name)]
                .into_iter()
                .chain(sources)
                .chain([overall, summary.overall.n.into()])
                .collect::<Vec<_>>(),
        );
    }
    let intervals: Vec<Interval> =
        scored.iter().map(|(_, rows)| mean(rows, |_| true)).collect::<Result<_, _>>()?;
    let bars = models.iter().zip(&intervals).map(|((name, _), interval)| (*name, (*interval).into()));
    let bars = BarChart::single("mean score, 1 to 5", bars).with_range(1.0, 5.0);

    let group = |source: &str| -> janus_eval::Result<BarGroup> {
        let bars = [1, 2, 3]
            .iter()
            .map(|&model| Ok(Some(mean(&scored[model].1, |row| row.source == source)?.into())));
        Ok(BarGroup { label: source.into(), bars: bars.collect::<janus_eval::Result<_>>()? })
    };
    let grouped = BarChart {
        value_label: "mean score, 1 to 5".into(),
        range: Some([1.0, 5.0]),
        series: [1, 2, 3].iter().map(|&model| models[model].0.to_owned()).collect(),
        groups: SOURCES.into_iter().map(group).collect::<Result<_, _>>()?,
    };

    let outcomes = PairedOutcomes::of(&[&scored[2].1], &[&scored[1].1])?;
    let hits =
        outcomes.rows.iter().enumerate().map(|(index, row)| (index / 3, f64::from(row.outcome.is_tie_win())));
    let tie_win = Bootstrap::default().mean(&Sample::clustered(hits)?)?;
    let gain = outcomes.rows.iter().enumerate().map(|(index, row)| (index / 3, row.difference));
    let gain = Bootstrap::default().mean(&Sample::clustered(gain)?)?;
    report.claims.push(Claim::above(
        "janus_above_uniform",
        "Janus scores higher than the uniform baseline",
        &gain,
        0.0,
    ));
    report.claims.push(Claim::above(
        "tie_win_above_half",
        "Janus wins or ties well on more than half of the rows",
        &tie_win,
        0.5,
    ));
    report.claims.push(Claim::above("gain_above_one", "The gain is more than a whole point", &gain, 1.0));

    let mut lines = Vec::new();
    for (name, start, slope) in
        [("unseen system messages", 2.9, 0.16), ("unseen preference combinations", 2.8, 0.12)]
    {
        let mut points = Vec::new();
        for power in 0..=8 {
            let interval =
                mean(&rows(&format!("{name}{power}"), start + slope * f64::from(power)), |_| true)?;
            points.push(Point { x: f64::from(1 << power), y: interval.into() });
        }
        lines.push(Line { name: name.into(), points });
    }
    let curve = LineChart {
        x_label: "distinct system messages trained on (logarithmic)".into(),
        y_label: "mean score, 1 to 5".into(),
        log_x: true,
        y_range: None,
        lines,
    };
    let means: Vec<Vec<f64>> = scored.iter().map(|(_, rows)| rows.iter().map(row_mean).collect()).collect();
    // Means of four integer scores are multiples of 0.25, so the edges are halfway between these.
    let edges = (0..=17).map(|edge| 0.875 + 0.25 * f64::from(edge)).collect();
    let histogram = Histogram::with_edges(
        "row mean, 1 to 5",
        edges,
        [(models[1].0, &means[1][..]), (models[2].0, &means[2][..])],
    )?;

    report.sections = vec![
        Section::new("Claims").paragraph("Intervals: 95% bootstrap over instructions.").claims([
            "janus_above_uniform",
            "tie_win_above_half",
            "gain_above_one",
        ]),
        Section::new("Scores")
            .table(table)
            .figure(Figure::bars("Mean score by model", "Whiskers: 95% interval.", bars))
            .figure(Figure::bars("Mean score by source", "Whiskers: 95% interval.", grouped))
            .figure(Figure::histogram("Row means", "Share of rows by mean score.", histogram)),
        Section::new("System messages").figure(Figure::lines(
            "Score by number of system messages",
            "Bands and whiskers: 95% interval.",
            curve,
        )),
        Section::new("Examples").examples(vec![example()?]),
    ];
    report.write(&folder)?;
    println!("{}", folder.join("report.html").display());
    Ok(())
}

/// A prompt with three responses, judged by two rubrics that are computed.
fn example() -> Result<Example, Box<dyn std::error::Error>> {
    let rubric = |criteria: &str| Rubric {
        criteria: criteria.into(),
        score_descriptions: ScoreDescriptions::new(["no", "", "", "", "yes"]),
    };
    let record = BenchRecord {
        id: Some("kite-1".into()),
        source: "koala".into(),
        preference_set: None,
        system: "You answer children. Use a list, and name one danger.".into(),
        prompt: "How do I fly a kite when there is <little> wind & I am alone?".into(),
        reference_answer: String::new(),
        rubrics: vec![rubric("Is the answer a list?"), rubric("Does it name a danger?")],
    };
    let judge = VerifiableJudge::new("sample", |_: &BenchRecord, response: &str| {
        let listed = response.lines().filter(|line| line.starts_with("- ")).count();
        let danger = response.contains("power line");
        Ok::<_, janus_core::Error>(vec![
            RubricVerdict {
                score: Score::new((1 + 2 * listed as i64).min(5))?,
                feedback: format!("{listed} lines begin with a dash."),
            },
            RubricVerdict {
                score: Score::new(if danger { 5 } else { 1 })?,
                feedback: if danger { "It warns of power lines." } else { "It warns of nothing." }.into(),
            },
        ])
    });
    let responses = [
        ("Base", "Kites are toys that fly. Kites are toys that fly. Kites are toys that fly."),
        (
            "Uniform system message",
            "- Use a light kite.\nThen run against the wind for a while, let out a little line, and stop.",
        ),
        (
            "Janus",
            "- Take a light kite.\n- Walk backwards, into the wind.\n- Stay away from every power line!",
        ),
    ];
    let mut example = Example::new("kite-1", &record);
    for (model, response) in responses {
        let verdict = judge.judge(&[JudgeRequest::new(&record, response)]).remove(0)?;
        example = example.response(model, response, Some(&verdict));
    }
    Ok(example)
}
