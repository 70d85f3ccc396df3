//! `cargo xtask bench data`: measures the data layer at scale, on generated rows.

use std::path::PathBuf;

use janus_data::Tokenizer;
use janus_data::throughput::{self, Rows};
use serde_json::{Value, json};

use super::{peak_mb, threads};
use crate::command::{Blame as _, CommandError, Outcome};

/// Measure reading, tokenising, packing, deduplication and Parquet on generated
/// data
///
/// It (1) reads JSON lines, renders and tokenises them, writes a token file, and
/// packs it by first-fit-decreasing and as a stream; (2) finds near-duplicates
/// among generated instructions, with recall and precision on planted ones; (3)
/// writes and reads Parquet files with preference sets. The default sizes need
/// about 2.5 GB of disk.
///
/// Reads:   nothing; with --tokenizer, a tokenizer.json instead of one that is
///          trained on the rows.
/// Writes:  temporary files only; the results go to stdout: rows_per_s,
///          tokens_per_s, peak_mb, packing_efficiency, dedup_rows_per_s and more.
/// Example: cargo xtask bench data --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Rows of about 1,000 tokens
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    rows: usize,
    /// Instructions to deduplicate
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    instructions: usize,
    /// Tokens of a packed row
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    capacity: usize,
    /// A tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Folder for the generated files; they are removed at the end
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let folder = args.scratch.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in).failure()?;
    let tokenizer = args.tokenizer.as_ref().map(Tokenizer::read).transpose().bad_input()?;
    let mut report = json!({ "command": "bench data", "rows": args.rows, "instructions": args.instructions, "threads": threads() });
    let mut add = |metrics: Value| {
        if let (Value::Object(report), Value::Object(metrics)) = (&mut report, metrics) {
            report.extend(metrics);
        }
    };
    let rows = Rows::generate(folder.path(), args.rows).failure()?;
    add(json!(rows.tokens(tokenizer, args.capacity).failure()?));
    add(json!(rows.parquet().failure()?));
    // Deduplication holds all instructions in memory, so peak_mb is read before it.
    add(json!({ "peak_mb": peak_mb() }));
    add(json!(throughput::deduplicate(args.instructions)));
    add(json!({ "peak_mb_with_dedup": peak_mb() }));
    let shown = report.as_object().into_iter().flatten().filter(|(name, _)| *name != "command");
    let lines: Vec<String> = shown.map(|(name, value)| format!("{name}: {value}")).collect();
    Ok(Outcome::done(lines.join("\n"), report))
}
