//! A finished collection, and its files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use serde::Serialize;

use super::StepTally;
use crate::{Error, Result, write_file, write_records};

/// A finished collection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Constructed {
    /// SFT rows: every accepted system message of the training instructions, with its response.
    pub sft: Vec<SftRecord>,
    /// One SFT row of each training instruction.
    pub sft_small: Vec<SftRecord>,
    /// One pair of each training instruction that has two different responses. The rejected response was
    /// written for another system message of the same instruction.
    pub dpo: Vec<PairRecord>,
    /// Pairs like those of `dpo`, drawn independently.
    pub orpo: Vec<PairRecord>,
    /// Pairs like those of `dpo`, drawn independently, as plain strings.
    pub rm: Vec<RewardRecord>,
    /// Rows of the bench instructions that have all four rubrics.
    pub bench: Vec<BenchRecord>,
    /// Counts of requests and rows.
    pub summary: Summary,
}

/// Counts of the requests and rows of a construction. The same run gives the same summary, whether or not it
/// was interrupted.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Instructions that were used.
    pub instructions: u64,
    /// Instructions that were skipped, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Items requested: dimensions of instructions, system messages, responses, rubrics. It is the sum of
    /// `accepted` and `rejected`.
    pub requests: u64,
    /// Further calls, after unusable answers.
    pub retried: u64,
    /// Items accepted.
    pub accepted: u64,
    /// Items rejected after the last retry, by the flaw of the last answer.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Rows by file.
    pub rows: BTreeMap<&'static str, u64>,
    /// Preference sets that were dropped because two of their preferences contradict each other.
    pub contradictory_sets: u64,
    /// The same counts by step.
    pub steps: BTreeMap<&'static str, StepTally>,
    /// The model's name.
    pub model: String,
    /// The seed.
    pub seed: u64,
    /// The prompts' ids.
    pub prompts: Vec<&'static str>,
}

impl Summary {
    /// Sums the steps' counts.
    pub(super) fn add_up(&mut self) {
        for tally in self.steps.values() {
            self.requests += tally.requests;
            self.retried += tally.retried;
            self.accepted += tally.accepted;
            for (reason, count) in &tally.rejected {
                *self.rejected.entry(reason).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Summary {
    /// The outcomes of the requests, and the number of rows of each file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, requests, retried, accepted, rejected, skipped, rows, .. } = self;
        let list = |counts: &BTreeMap<&str, u64>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        if let Some(cut_off) = rejected.get("cut_off") {
            let share = *cut_off as f64 / *requests as f64 * 100.0;
            writeln!(
                f,
                "{share:.1}% of the requests ({cut_off}) were rejected because their answers were cut off: allow more new tokens"
            )?;
        }
        write!(
            f,
            "{instructions} instructions, {requests} requests and {retried} retries: {accepted} accepted, {} rejected",
            requests - accepted
        )?;
        if !rejected.is_empty() {
            write!(f, " ({})", list(rejected))?;
        }
        if !skipped.is_empty() {
            write!(f, "\nskipped: {}", list(skipped))?;
        }
        write!(f, "\nrows: {}", list(rows))
    }
}

/// The format of the files of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutputFormat {
    /// JSON lines.
    #[default]
    JsonLines,
    /// Parquet in the released schemas.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl OutputFormat {
    const ALL: &[Self] = &[
        Self::JsonLines,
        #[cfg(feature = "parquet")]
        Self::Parquet,
    ];

    /// The file name's extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
        }
    }
}

impl FromStr for OutputFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let expected = if cfg!(feature = "parquet") {
            "expected jsonl or parquet"
        } else {
            "expected jsonl; parquet needs the crate's feature `parquet`"
        };
        Self::ALL.iter().copied().find(|format| format.extension() == name).ok_or(expected)
    }
}

impl Constructed {
    /// Writes `sft`, `sft_small`, `dpo`, `orpo`, `rm` and `bench` in the format, even if they are empty, and
    /// finally `summary.json`. If it exists, the other files are complete.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Encode`].
    pub fn write(&self, folder: &Path, format: OutputFormat) -> Result<()> {
        let path = |name: &str| folder.join(format!("{name}.{}", format.extension()));
        write_records(path("sft"), &self.sft)?;
        write_records(path("sft_small"), &self.sft_small)?;
        write_records(path("dpo"), &self.dpo)?;
        write_records(path("orpo"), &self.orpo)?;
        write_records(path("rm"), &self.rm)?;
        write_records(path("bench"), &self.bench)?;
        let summary = folder.join("summary.json");
        let text = serde_json::to_string_pretty(&self.summary).map_err(|cause| Error::Encode {
            path: summary.clone(),
            row: 1,
            cause: cause.into(),
        })?;
        write_file(summary, format!("{text}\n").as_bytes())
    }
}
