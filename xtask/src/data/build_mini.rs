//! `cargo xtask data build-mini`: Multifaceted Mini as files.

use std::path::PathBuf;

use janus_data::construct::OutputFormat;
use janus_data::mini::{Mini, MiniFiles, MiniSizes};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, make_folder};

/// Write Multifaceted Mini: rows to train on, pairs, and two benches
///
/// Every row has a system message of its own, or one of --distinct; preference combinations, wordings,
/// sentence plans and phrasings of train, dev and bench are apart. Equal arguments give equal bytes.
///
/// Reads:   nothing.
/// Writes:  OUT/train, pairs, helpful, dev and bench, as .jsonl or .parquet.
/// Example: cargo xtask data build-mini --out mini
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Rows to train on
    #[arg(long, value_name = "N", default_value_t = 11_000)]
    rows: usize,
    /// Different system messages in them [default: one for each row]
    #[arg(long, value_name = "N")]
    distinct: Option<usize>,
    /// Pairs of a better and a worse response
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    pairs: usize,
    /// Pairs of a more and a less helpful response, without system messages
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    helpful: usize,
    /// Questions of dev and of bench, each under three system messages
    #[arg(long, value_name = "N", default_value_t = 200)]
    questions: usize,
    /// Format of the files: jsonl, or parquet in the released schemas
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: OutputFormat,
    /// Seed of everything
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let &Args { rows, distinct, pairs, helpful, questions, format, seed, .. } = args;
    if distinct == Some(0) {
        return Err(CommandError::bad_input("--distinct is 0: expected 1 or more system messages"));
    }
    make_folder(&args.out)?;
    let rows = Mini::new(seed).write(&args.out, &MiniSizes { rows, distinct, pairs, helpful, questions }, format).failure()?;
    let MiniFiles { train, pairs, helpful, dev, bench } = rows;
    let out = args.out.display();
    let text = format!("{out}: {train} rows to train on, {pairs} pairs, {helpful} of helpfulness, {dev} of dev, {bench} of bench");
    Ok(Outcome::done(text, json!({ "command": "data build-mini", "out": args.out, "seed": seed, "rows": rows })))
}
