//! `cargo xtask data stats`: what rows are like.

use std::path::PathBuf;

use janus_data::{Row, Skipped, Stats, Tokenizer, good_rows, read_files, write_file};
use serde_json::json;

use super::{FilesArgs, warn};
use crate::command::{self, Blame as _, CommandError, Outcome};

/// Count rows, lengths, tokens, subdimensions, balance and duplicates
///
/// Reads:   FILES of any layout.
/// Writes:  nothing but, with --html, a page; the tables go to stdout.
/// Example: cargo xtask data stats 'collection/*.parquet' --html stats.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    input: FilesArgs,
    /// A tokenizer.json, to count tokens too
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Write the tables as an HTML page too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Pass over rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
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
        write_file(path, report.to_html(&format!("Statistics of {}", args.input.files.join(", "))).as_bytes()).failure()?;
    }
    let mut object = command::report("data stats", &report)?;
    object["bad_rows"] = json!(skipped.rows);
    Ok(Outcome::done(report.to_text(), object))
}
