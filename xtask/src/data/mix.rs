//! `cargo xtask data mix`: several sources of pairs in one file.

use std::path::PathBuf;

use janus_data::{MixPart, MixedPart, write_records};
use serde_json::json;

use super::ReadArgs;
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
    parts: Vec<MixPart>,
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
    let (rows, parts) = MixPart::mix(&args.parts, &args.read.resolve()?, args.limit, args.seed).bad_input()?;
    write_records(&args.out, &rows).failure()?;
    let line = |part: &MixedPart| {
        let MixedPart { part, rows, left_out, taken, restarts, .. } = part;
        format!("\n{part}: {taken} rows taken of {rows} ({left_out} without a pair), begun again {restarts} times")
    };
    let text = format!("{}: {} rows{}", args.out.display(), rows.len(), parts.iter().map(line).collect::<String>());
    Ok(Outcome::done(text, json!({ "command": "data mix", "out": args.out, "rows": rows.len(), "parts": parts })))
}
