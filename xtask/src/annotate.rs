//! `cargo xtask annotate`: writes a page on which people compare answers or review a bench, and reads
//! their results.

use std::path::{Path, PathBuf};

use janus_core::BenchRecord;
use janus_data::read_all;
use janus_eval::annotate::{self, AnnotationTask};
use janus_eval::{Response, record_id};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, make_folder, report};

/// Let people compare answers or review a bench
///
/// Reads:   a bench, and the responses of two models to compare; later, the
///          annotators' results.
/// Writes:  a page for annotators; later, their results as a report.
/// Example: cargo xtask annotate export --bench bench.jsonl --model janus.jsonl \
///          --opponent base.jsonl --out annotation
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    Export(ExportArgs),
    Import(ImportArgs),
}

/// Write the page for the annotators
///
/// With two models' responses, the page shows both answers to each prompt in a
/// random order, without the models' names, and asks which is better: A, both good,
/// both bad, B. With --review it shows the bench's rows, to accept or reject and to
/// grade as easy, intermediate or hard. Rubrics are shown on demand. Progress is
/// kept in the annotator's browser, and the result is downloaded as JSON.
///
/// Reads:   BENCH; MODEL and OPPONENT: rows of {id, response}.
/// Writes:  OUT/annotate.html, one file that works offline, for the annotators.
///          OUT/key.json, which model wrote which answer; keep it to yourself.
/// Example: cargo xtask annotate export --bench bench.jsonl --review --out review
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct ExportArgs {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// Responses of the model
    #[arg(
        long,
        value_name = "MODEL",
        required_unless_present = "review",
        requires = "opponent",
        conflicts_with = "review"
    )]
    model: Option<PathBuf>,
    /// Responses of its opponent
    #[arg(long, value_name = "OPPONENT", requires = "model")]
    opponent: Option<PathBuf>,
    /// Review the bench's rows
    #[arg(long)]
    review: bool,
    /// Folder for page and key
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Show only the first N records
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Seed of the order of items and answers
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Count the annotators' results
///
/// Reads:   KEY: the key.json of the page. RESULT...: the annotators' downloads,
///          any number of them. BENCH, for a review: the bench that was shown.
/// Writes:  with --out: OUT/annotations.json; for a comparison report.html,
///          report.md and report.json with the bars of the paper's Figure 3 and the
///          agreement of the annotators; for a review with --bench accepted.jsonl,
///          the rows that more annotators accept than reject.
/// Example: cargo xtask annotate import --key annotation/key.json ann.json \
///          ben.json --out annotation/result
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct ImportArgs {
    /// The page's key
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The annotators' results
    #[arg(value_name = "RESULT", required = true)]
    results: Vec<PathBuf>,
    /// The bench that was reviewed
    #[arg(long, value_name = "BENCH", requires = "out")]
    bench: Option<PathBuf>,
    /// Folder for the results
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.step {
        Step::Export(args) => export(args),
        Step::Import(args) => import(args),
    }
}

fn export(args: &ExportArgs) -> Result<Outcome, CommandError> {
    let mut records: Vec<BenchRecord> = read_all(&args.bench).bad_input()?;
    for (index, record) in records.iter_mut().enumerate() {
        record.id = Some(record_id(record, index));
    }
    let all: Vec<String> = records.iter().filter_map(|record| record.id.clone()).collect();
    let shown = args.limit.unwrap_or(records.len()).min(records.len());
    records.truncate(shown);
    let task = match (&args.model, &args.opponent) {
        (Some(model), Some(opponent)) => {
            let read = |path: &Path| -> Result<Vec<Response>, CommandError> {
                let mut responses: Vec<Response> = read_all(path).bad_input()?;
                responses.retain(|response| !all[shown..].contains(&response.id));
                Ok(responses)
            };
            let (mine, other) = (read(model)?, read(opponent)?);
            let [name, other_name] = names(model, opponent);
            AnnotationTask::compare(&records, (&name, &mine), (&other_name, &other), args.seed).bad_input()?
        }
        _ => AnnotationTask::review(&records).bad_input()?,
    };
    make_folder(&args.out)?;
    let [page, key] = task.write(&args.out).failure()?;
    let text = format!(
        "{}: {} items for annotators; keep {} to yourself",
        page.display(),
        task.items(),
        key.display()
    );
    Ok(Outcome::done(
        text,
        json!({ "command": "annotate export", "page": page, "key": key, "items": task.items(), "task": task.id() }),
    ))
}

/// The models' names: the names of their files, or the whole paths if those are equal.
fn names(model: &Path, opponent: &Path) -> [String; 2] {
    let stem =
        |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let [mine, other] = [stem(model), stem(opponent)];
    if mine == other { [model.display().to_string(), opponent.display().to_string()] } else { [mine, other] }
}

fn import(args: &ImportArgs) -> Result<Outcome, CommandError> {
    let found =
        annotate::import(&args.key, &args.results, args.bench.as_deref(), args.out.as_deref()).bad_input()?;
    Ok(Outcome::done(found.to_string(), report("annotate import", found.numbers)?))
}
