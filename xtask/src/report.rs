//! `cargo xtask report`: compares judged runs in one report.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::best_of_n::Candidates;
use janus_eval::report::Section;
use janus_eval::run::{RubricRun, Run, best_of_n_figure, compare, generalisation_figure};
use janus_eval::stats::Bootstrap;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome, make_folder};

/// Number of example rows in a report, by default.
pub const ROWS: usize = 100;

/// Compare judged runs in one report
///
/// For rubrics: scores by source and by dimension, the outcomes of each run against
/// the first (wins, both good, both bad, losses), and example rows with all answers
/// side by side. For pairs, MT-Bench, Arena-Hard and AlpacaEval: the scores of all
/// runs in one table, outcomes, categories, and example rows. For all: the judge's
/// settings.
///
/// Reads:   RUN...: folders that `judge` wrote; those with rubrics must be of one
///          bench. With --best-of-n: rows of {id, rewards: [...], scores: [[...],
///          ...]}: the reward and the rubric scores of each sampled answer.
/// Writes:  OUT/report.html (one file; works offline), report.md, report.json.
/// Example: cargo xtask report runs/base runs/mine --out runs/compared
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Run folders; the others are compared with the first
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Folder of the report
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Example rows on the page, evenly spread over the bench
    #[arg(long, value_name = "N", default_value_t = ROWS)]
    rows: usize,
    /// Number of different system messages in each run's training data, one number for each RUN; draws a
    /// curve
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    distinct: Vec<usize>,
    /// Sampled answers with rewards and scores; draws the best-of-N curve; repeatable
    #[arg(long, value_name = "FILE")]
    best_of_n: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let runs: Vec<Run> =
        args.runs.iter().map(|folder| Run::read(folder).bad_input()).collect::<Result<_, _>>()?;
    let rubric = |run: &Run| if let Run::Rubric(run) = run { Some(run.clone()) } else { None };
    let rubrics: Vec<RubricRun> = runs.iter().filter_map(rubric).collect();
    if rubrics.is_empty() && !args.distinct.is_empty() {
        return Err(CommandError::bad_input(
            "--distinct needs runs that were judged against rubrics: the curve shows their scores",
        ));
    }
    let mut report = compare(runs.iter().cloned(), args.rows).bad_input()?;
    if let Some(curves) = curves(args, &rubrics)? {
        // After the scores against rubrics and before the example rows.
        let rows = report.sections.iter().position(|section| section.title == "Answers");
        let place = rows.unwrap_or(report.sections.len().saturating_sub(1));
        report.sections.insert(place, curves);
    }
    make_folder(&args.out)?;
    report.write(&args.out).failure()?;
    let result = |run: &Run| match run {
        Run::Rubric(run) => json!(run.result),
        Run::Cases(run) => json!(run.result),
    };
    let results: Vec<Value> = runs.iter().map(result).collect();
    let page = args.out.join("report.html");
    Ok(Outcome::done(
        page.display().to_string(),
        json!({ "command": "report", "out": args.out, "page": page, "runs": results }),
    ))
}

/// The curves that the arguments request.
fn curves(args: &Args, runs: &[RubricRun]) -> Result<Option<Section>, CommandError> {
    let mut section = Section::new("Curves");
    if !args.distinct.is_empty() {
        section = section.figure(
            generalisation_figure(runs, &args.distinct)
                .map_err(|error| CommandError::bad_input(error).at("--distinct"))?,
        );
    }
    if !args.best_of_n.is_empty() {
        let read = |path: &PathBuf| -> Result<(String, Vec<Candidates>), CommandError> {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok((name.split('.').next().unwrap_or_default().into(), read_all(path).bad_input()?))
        };
        let series = args.best_of_n.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let figure = best_of_n_figure(&series, &Bootstrap::default());
        section = section.figure(figure.map_err(|error| CommandError::bad_input(error).at("--best-of-n"))?);
    }
    let any = !args.distinct.is_empty() || !args.best_of_n.is_empty();
    Ok(any.then_some(section))
}
