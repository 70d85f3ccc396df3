//! What the subcommands share: options of reading, and names of fields.

use std::path::PathBuf;

use janus_data::{ReadOptions, Skipped, paths};

use crate::command::{Blame as _, CommandError};

/// Where fields stand in the files that are read.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadArgs {
    /// Field OURS stands under THEIRS in the files (a name, or a JSON pointer such as /instances/0/input); repeatable
    #[arg(long = "map", value_name = "OURS=THEIRS")]
    maps: Vec<String>,
    /// A row of text larger than this is an error. Bytes
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
    /// The files, of which there is at least one.
    ///
    /// # Errors
    /// Bad input for a pattern that finds no file.
    pub fn paths(&self) -> Result<Vec<PathBuf>, CommandError> {
        files(&self.files)
    }
}

/// The files of some patterns.
///
/// # Errors
/// Bad input for a pattern that finds no file.
pub fn files(patterns: &[String]) -> Result<Vec<PathBuf>, CommandError> {
    let mut files = Vec::new();
    for pattern in patterns {
        files.extend(paths(pattern).bad_input()?);
    }
    Ok(files)
}

impl ReadArgs {
    /// The options.
    ///
    /// # Errors
    /// Bad input for a mapping without `=`.
    pub fn resolve(&self) -> Result<ReadOptions, CommandError> {
        let mut options = ReadOptions::default();
        for map in &self.maps {
            let Some((ours, theirs)) = map.split_once('=') else {
                return Err(CommandError::bad_input(format!("--map is {map}: expected OURS=THEIRS, such as prompt=question")));
            };
            options = options.column(ours, theirs);
        }
        options.max_row_bytes = self.max_row_bytes.unwrap_or(options.max_row_bytes);
        Ok(options)
    }
}

/// Tells of the first rows that were passed over.
pub fn warn(command: &str, skipped: &Skipped) {
    for error in &skipped.first {
        eprintln!("{command}: passed over {error}");
    }
    let more = skipped.rows.saturating_sub(skipped.first.len() as u64);
    if more > 0 {
        eprintln!("{command}: and {more} more");
    }
}
