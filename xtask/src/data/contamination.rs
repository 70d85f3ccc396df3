//! `cargo xtask data contamination`: texts to train on that a bench holds too.

use janus_data::instructions::{Contamination, ContaminationReport};
use janus_data::{Row, paths, read_files};
use serde_json::{Value, json};

use super::ReadArgs;
use crate::command::{Blame as _, CommandError, Outcome};

/// Look for a bench's texts in what is trained on
///
/// A text is found if it is the same but for case and white space, if half of its sequences of eight words stand
/// in the other, or if the two sets of sequences of five words are alike by 0.6 (Jaccard). Instructions
/// and system messages are looked for apart. Exit code 1 if any is found.
///
/// Reads:   TRAIN and BENCH: rows with `prompt` (or `instruction`) and, for system messages, `system`.
/// Writes:  nothing; what is found goes to stdout.
/// Example: cargo xtask data contamination --train 'collection/sft*.jsonl' --bench collection/bench.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What is trained on: a file, or a pattern in quotes
    #[arg(long, value_name = "TRAIN")]
    train: String,
    /// The bench: a file, or a pattern in quotes
    #[arg(long, value_name = "BENCH")]
    bench: String,
    /// Share of a bench text's sequences of eight words
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    min_share: f64,
    /// Likeness of two texts
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    min_jaccard: f64,
    /// Show the first of each kind only; all are counted
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    read: ReadArgs,
}

const FIELDS: [(&str, &[&str]); 2] =
    [("instructions", &["prompt", "instruction", "user_prompt"]), ("system messages", &["system", "system_prompt"])];

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut lines = Vec::new();
    let mut report = json!({ "command": "data contamination" });
    let mut found = 0;
    for (what, names) in FIELDS {
        let bench: Vec<String> = texts(args, &args.bench, names)?.collect::<Result<_, _>>()?;
        let contamination = Contamination::with_thresholds(&bench, args.min_share, args.min_jaccard);
        let part = contamination.report(texts(args, &args.train, names)?, args.limit)?;
        let ContaminationReport { train, bench, contaminated, bench_found, examples } = &part;
        found += contaminated;
        lines.push(format!("{what}: {contaminated} of {train} hold one of {bench} of the bench; {bench_found} of the bench's are found"));
        lines.extend(examples.iter().map(|example| format!("    {example}")));
        report[what.replace(' ', "_")] = json!(part);
    }
    let text = lines.join("\n");
    if found == 0 {
        return Ok(Outcome::done(text, report));
    }
    eprintln!("{text}");
    Ok(Outcome::failed(format!("{found} texts to train on hold texts of the bench"), report))
}

fn texts<'a>(
    args: &Args,
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
