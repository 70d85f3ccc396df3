//! `cargo xtask data mix`: several sources of pairs in one file.

use std::path::PathBuf;

use janus_core::PairRecord;
use janus_data::sources::{RowContent, Source};
use janus_data::{Row, mix, paths, read_files, write_records};
use serde_json::json;

use super::rows::ReadArgs;
use crate::command::{Blame as _, CommandError, Outcome};

/// Mix sources of pairs by probability, as for the reward model's second stage
///
/// Each next row comes from a part drawn with its probability; a part that ends begins again, until all have
/// ended once or --limit rows are there. Dialogues become messages, so that training renders all of them with
/// its one template. The paper's mix: hh-rlhf 0.72, oasst1-pairwise 0.14, webgpt 0.14, seed 42, 66,000 rows.
///
/// Reads:   the files of the parts.
/// Writes:  OUT: pair rows (system, prompt, chosen, rejected), in the format that its name tells.
/// Example: cargo xtask data mix --part hh-rlhf:0.72:hh.jsonl.gz --part webgpt:0.28:webgpt.jsonl.gz
///          --out stage2.jsonl --limit 66000 --seed 42
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Layout, probability and file (or pattern) of a part; repeatable. Layouts are those of `data convert --from`
    #[arg(long = "part", value_name = "LAYOUT:P:FILE", required = true)]
    parts: Vec<String>,
    /// The result
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Rows at the most
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Seed of the draws
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut parts: Vec<(String, f64, Vec<PairRecord>, u64)> = Vec::new();
    for part in &args.parts {
        let wrong =
            || CommandError::bad_input(format!("--part is {part}: expected LAYOUT:PROBABILITY:FILE, such as hh-rlhf:0.72:hh.jsonl"));
        let [layout, probability, pattern] = part.splitn(3, ':').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let source: Source = layout.parse().map_err(|problem| CommandError::bad_input(format!("--part is {part}: {problem}")))?;
        let probability: f64 = probability.parse().map_err(|_| wrong())?;
        let (mut rows, mut left_out) = (Vec::new(), 0);
        for (row, number) in read_files::<Row>(paths(pattern).bad_input()?, args.read.resolve()?).zip(1..) {
            match source.content(&row.bad_input()?).map_err(|error| error.at(pattern.as_ref(), number)).bad_input()? {
                RowContent::Comparison(pair) => rows.push(pair.pair()),
                _ => left_out += 1,
            }
        }
        parts.push((format!("{layout}:{pattern}"), probability, rows, left_out));
    }
    let given: Vec<(f64, &[PairRecord])> = parts.iter().map(|(_, probability, rows, _)| (*probability, rows.as_slice())).collect();
    let mixed = mix(&given, args.limit, args.seed).bad_input()?;
    write_records(&args.out, &mixed.rows).failure()?;
    let mut text = format!("{}: {} rows", args.out.display(), mixed.rows.len());
    let mut told = Vec::new();
    for (at, (name, probability, rows, left_out)) in parts.iter().enumerate() {
        let (taken, restarts) = (mixed.taken[at], mixed.restarts[at]);
        text += &format!("\n{name}: {taken} rows taken of {} ({left_out} without a pair), begun again {restarts} times", rows.len());
        told.push(json!({ "part": name, "probability": probability, "rows": rows.len(), "left_out": left_out, "taken": taken, "restarts": restarts }));
    }
    Ok(Outcome::done(text, json!({ "command": "data mix", "out": args.out, "rows": mixed.rows.len(), "parts": told })))
}
