//! `cargo xtask data`: reads, checks, describes, cleans and builds preference data.

mod check;
mod construct;
mod fetch;
mod inspect;
mod make;
mod pool;

use std::path::PathBuf;

use janus_data::{ReadOptions, Skipped, paths};

use crate::command::{Blame as _, CommandError, Outcome};

/// Read, check, clean and build preference data
///
/// Reads:   .json, .jsonl, .csv, .parquet and .arrow files, plain, .gz or .zst; a
///          pattern in quotes names several.
/// Writes:  see the help of each subcommand; files are written whole or not at all.
/// Example: cargo xtask data construct --instructions prompts.jsonl \
///          --model models/smollm2-135m-instruct-q4_1.gguf --out collection
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    BuildMini(make::BuildMiniArgs),
    Fetch(fetch::Args),
    Convert(make::ConvertArgs),
    Validate(check::ValidateArgs),
    Inspect(inspect::Args),
    Stats(check::StatsArgs),
    Dedup(make::DedupArgs),
    Contamination(check::ContaminationArgs),
    Mix(make::MixArgs),
    BenchPool(pool::Args),
    Construct(Box<construct::Args>),
    Pack(make::PackArgs),
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.work {
        Work::BuildMini(args) => make::build_mini(args),
        Work::Fetch(args) => fetch::run(args),
        Work::Convert(args) => make::convert(args),
        Work::Validate(args) => check::validate(args),
        Work::Inspect(args) => inspect::run(args),
        Work::Stats(args) => check::stats(args),
        Work::Dedup(args) => make::dedup(args),
        Work::Contamination(args) => check::contamination(args),
        Work::Mix(args) => make::mix(args),
        Work::BenchPool(args) => pool::run(args),
        Work::Construct(args) => construct::run(args),
        Work::Pack(args) => make::pack(args),
    }
}

/// How rows are read from files.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadArgs {
    /// Read FIELD from COLUMN (a name, or a JSON pointer such as /instances/0/input); repeatable
    #[arg(long = "map", value_name = "FIELD=COLUMN")]
    maps: Vec<String>,
    /// Largest row of a text file, in bytes; a larger one is an error
    #[arg(long, value_name = "BYTES")]
    max_row_bytes: Option<usize>,
}

/// Files to read, and how.
#[derive(Debug, clap::Args)]
pub struct FilesArgs {
    /// Files, or patterns in quotes
    #[arg(value_name = "FILES", required = true)]
    pub files: Vec<String>,
    #[command(flatten)]
    pub read: ReadArgs,
}

impl FilesArgs {
    /// The files; at least one.
    pub fn paths(&self) -> Result<Vec<PathBuf>, CommandError> {
        files(&self.files)
    }
}

/// The files that the patterns match.
pub fn files(patterns: &[String]) -> Result<Vec<PathBuf>, CommandError> {
    let mut files = Vec::new();
    for pattern in patterns {
        files.extend(paths(pattern).bad_input()?);
    }
    Ok(files)
}

impl ReadArgs {
    /// The options for reading.
    pub fn resolve(&self) -> Result<ReadOptions, CommandError> {
        let mut options = ReadOptions::default();
        for map in &self.maps {
            let Some((field, column)) = map.split_once('=') else {
                return Err(CommandError::bad_input(format!(
                    "--map is {map}: expected FIELD=COLUMN, such as prompt=question"
                )));
            };
            options = options.column(field, column);
        }
        options.max_row_bytes = self.max_row_bytes.unwrap_or(options.max_row_bytes);
        Ok(options)
    }
}

/// Prints the first rows that were skipped, and how many more there are.
pub fn warn(command: &str, skipped: &Skipped) {
    for error in &skipped.first {
        eprintln!("{command}: skipped {error}");
    }
    let more = skipped.rows.saturating_sub(skipped.first.len() as u64);
    if more > 0 {
        eprintln!("{command}: and {more} more");
    }
}
