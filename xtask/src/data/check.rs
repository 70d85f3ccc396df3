//! Checks of rows: `validate` prints every problem, `stats` prints statistics, and `contamination` finds
//! texts of a bench in training data.

use std::path::PathBuf;

use janus_data::instructions::{Contamination, ContaminationReport};
use janus_data::{RecordKind, Row, Skipped, Stats, Tokenizer, good_rows, paths, read_files, write_file};
use serde_json::{Value, json};

use super::{FilesArgs, ReadArgs, warn};
use crate::command::{self, Blame as _, CommandError, Outcome, report};

/// Check files of records, and print every problem
///
/// A problem is printed with file, row, field, what was expected and what was
/// found. Exit code 1 if there is any.
///
/// Reads:   FILES of sft, pairs, reward or bench rows, in the released or an older
///          layout.
/// Writes:  nothing. Problems go to stderr, a summary to stdout; with --json both
///          are in the object.
/// Example: cargo xtask data validate 'collection/*.jsonl'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ValidateArgs {
    #[command(flatten)]
    input: FilesArgs,
    /// What the rows are: sft, pairs, reward or bench [default: as the first row of each file shows]
    #[arg(long, value_name = "KIND")]
    kind: Option<RecordKind>,
    /// Print only the first N problems; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn validate(args: &ValidateArgs) -> Result<Outcome, CommandError> {
    let files = args.input.paths()?;
    if let Some(missing) = files.iter().find(|path| !path.exists()) {
        return Err(CommandError::bad_input(format!("{}: there is no such file", missing.display())));
    }
    let found = janus_data::validate(&files, args.kind, &args.input.read.resolve()?, args.limit);
    for finding in &found.findings {
        eprintln!("{finding}");
    }
    let mut text = format!("{} files, {} rows: ", found.files.len(), found.rows);
    let mut report = report("data validate", &found)?;
    report["valid"] = json!(found.problems == 0);
    if found.problems == 0 {
        return Ok(Outcome::done(text + "no problem", report));
    }
    let fields: Vec<String> = found
        .by_field
        .iter()
        .map(|(field, count)| {
            format!("{} {count}", if field.is_empty() { "whole rows or files" } else { field })
        })
        .collect();
    text += &format!("{} problems in {} rows ({})", found.problems, found.bad_rows, fields.join(", "));
    Ok(Outcome::failed(text, report))
}

/// Count rows, lengths, tokens, subdimensions, balance and duplicates
///
/// Reads:   FILES of any layout.
/// Writes:  nothing, or with --html a page. The tables go to stdout.
/// Example: cargo xtask data stats 'collection/*.parquet' --html stats.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct StatsArgs {
    #[command(flatten)]
    input: FilesArgs,
    /// A tokenizer.json, to count tokens too
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Write the tables as an HTML page too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Skip rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
}

pub(super) fn stats(args: &StatsArgs) -> Result<Outcome, CommandError> {
    let tokenizer = args.tokenizer.as_ref().map(Tokenizer::read).transpose().bad_input()?;
    let files = args.input.paths()?;
    let mut skipped = Skipped::default();
    let mut stats = Stats::new(tokenizer.as_ref());
    let rows = read_files::<Row>(files, args.input.read.resolve()?);
    let rows: Box<dyn Iterator<Item = janus_data::Result<Row>>> =
        if args.skip_bad_rows { Box::new(good_rows(rows, &mut skipped)) } else { Box::new(rows) };
    for row in rows {
        stats.add(&row.bad_input()?).failure()?;
    }
    warn("stats", &skipped);
    let report = stats.report();
    if let Some(path) = &args.html {
        write_file(
            path,
            report.to_html(&format!("Statistics of {}", args.input.files.join(", "))).as_bytes(),
        )
        .failure()?;
    }
    let mut object = command::report("data stats", &report)?;
    object["bad_rows"] = json!(skipped.rows);
    Ok(Outcome::done(report.to_text(), object))
}

/// Look for a bench's texts in training data
///
/// A text of the bench is found in a training text if they are equal (ignoring case
/// and white space), if half of its shingles of eight words occur there, or if the
/// Jaccard index of their shingles of five words is at least 0.6. Instructions and
/// system messages are compared separately. Exit code 1 if any text is found.
///
/// Reads:   TRAIN and BENCH: rows with `prompt` (or `instruction`) and, for system
///          messages, `system`.
/// Writes:  nothing; what is found goes to stdout.
/// Example: cargo xtask data contamination --train 'collection/sft*.jsonl' \
///          --bench collection/bench.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ContaminationArgs {
    /// The training data: a file, or a pattern in quotes
    #[arg(long, value_name = "TRAIN")]
    train: String,
    /// The bench: a file, or a pattern in quotes
    #[arg(long, value_name = "BENCH")]
    bench: String,
    /// Share of a bench text's shingles of eight words that must occur in a training text
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    min_share: f64,
    /// Jaccard index from which two texts count as the same
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    min_jaccard: f64,
    /// Print only the first N of each kind; all are counted
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    read: ReadArgs,
}

const FIELDS: [(&str, &[&str]); 2] = [
    ("instructions", &["prompt", "instruction", "user_prompt"]),
    ("system messages", &["system", "system_prompt"]),
];

pub(super) fn contamination(args: &ContaminationArgs) -> Result<Outcome, CommandError> {
    let mut lines = Vec::new();
    let mut report = json!({ "command": "data contamination" });
    let mut found = 0;
    for (what, names) in FIELDS {
        let bench: Vec<String> = texts(args, &args.bench, names)?.collect::<Result<_, _>>()?;
        let contamination = Contamination::with_thresholds(&bench, args.min_share, args.min_jaccard);
        let part = contamination.report(texts(args, &args.train, names)?, args.limit)?;
        let ContaminationReport { train, bench, contaminated, bench_found, examples } = &part;
        found += contaminated;
        lines.push(format!(
            "{what}: {contaminated} of {train} training texts match one of {bench} bench texts; {bench_found} bench texts are found"
        ));
        lines.extend(examples.iter().map(|example| format!("    {example}")));
        report[what.replace(' ', "_")] = json!(part);
    }
    let text = lines.join("\n");
    if found == 0 {
        return Ok(Outcome::done(text, report));
    }
    eprintln!("{text}");
    Ok(Outcome::failed(format!("{found} training texts match texts of the bench"), report))
}

fn texts<'a>(
    args: &ContaminationArgs,
    pattern: &str,
    names: &'a [&str],
) -> Result<impl Iterator<Item = Result<String, CommandError>> + 'a, CommandError> {
    let rows = read_files::<Row>(paths(pattern).bad_input()?, args.read.resolve()?);
    let text = move |row: janus_data::Result<Row>| match row.bad_input() {
        Ok(row) => names
            .iter()
            .find_map(|name| row.get(*name).and_then(Value::as_str))
            .filter(|text| !text.trim().is_empty())
            .map(|text| Ok(text.to_string())),
        Err(error) => Some(Err(error)),
    };
    Ok(rows.filter_map(text))
}
