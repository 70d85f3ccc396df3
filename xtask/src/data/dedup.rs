//! `cargo xtask data dedup`: instructions without copies, near-copies and unfit ones.

use std::path::PathBuf;

use janus_data::instructions::{Cleaned, Cleaning, Dropped, Filter, read_instructions};
use janus_data::{Skipped, write_all};
use serde_json::json;

use super::{ReadArgs, warn};
use crate::command::{Blame as _, CommandError, Outcome};

/// Clean instructions: copies, near-copies, unfit ones, and a sample of the rest
///
/// Steps in this order, each with its count and examples: exact copies (but for case and white space), filters
/// (length, language, garbled text, personas and system messages), near-copies (MinHash of 14 bands of 8 hashes
/// over sequences of five words, then compared exactly), and with --sample a sample that takes evenly from
/// every source.
///
/// Reads:   FILE: rows with `prompt` or `instruction`; `id`, `main_source`, `original_source` where they have them.
/// Writes:  OUT: {id, prompt, main_source, original_source} of those that are kept.
/// Example: cargo xtask data dedup instructions.jsonl --out clean.jsonl --sample 65000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Instructions
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The result, .jsonl, .json or .csv
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Two instructions are near-copies from this likeness on (Jaccard of sequences of five words)
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    min_jaccard: f64,
    /// Keep what filters would drop
    #[arg(long)]
    no_filters: bool,
    /// Keep instructions of any language
    #[arg(long)]
    any_language: bool,
    /// Draw so many of what is left
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Seed of the sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Examples of each step
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Pass over rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let skip = args.skip_bad_rows.then_some(&mut skipped);
    let instructions = read_instructions(&args.file, &args.read.resolve()?, None, skip).bad_input()?;
    warn("dedup", &skipped);
    let Cleaned { read, kept, steps } = args.cleaning().clean(instructions);
    write_all(&args.out, &kept).failure()?;

    let mut text = format!("{}: {} of {read} instructions", args.out.display(), kept.len());
    for Dropped { step, dropped, examples } in &steps {
        text += &format!("\n{dropped} dropped: {step}");
        examples.iter().for_each(|example| text += &format!("\n    {}", json!(example)));
    }
    let report = json!({
        "command": "data dedup",
        "out": args.out,
        "read": read,
        "kept": kept.len(),
        "bad_rows": skipped.rows,
        "steps": steps,
    });
    Ok(Outcome::done(text, report))
}

impl Args {
    fn cleaning(&self) -> Cleaning {
        let mut filter = Filter::default();
        filter.english = !self.any_language;
        let mut cleaning = Cleaning::default();
        cleaning.filter = (!self.no_filters).then_some(filter);
        cleaning.near.min_jaccard = self.min_jaccard;
        cleaning.sample = self.sample.map(|count| (count, self.seed));
        cleaning.examples = self.examples;
        cleaning
    }
}
