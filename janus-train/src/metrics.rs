//! What a step reports.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::file::{AtPath, write_whole};
use crate::{Error, Figures, Result};

/// Figures of one optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Passes over the rows that were begun before this step's first document.
    pub epoch: u64,
    /// The step's loss, before the update.
    pub loss: f64,
    /// L2 norm over all gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Tokens read.
    pub tokens: usize,
    /// Supervised tokens that the loss was averaged over.
    pub supervised: usize,
    /// Figures of the objective: `accuracy`, `margin`.
    #[serde(flatten)]
    pub figures: Figures,
    /// Seconds that the step took. Not written to `metrics.jsonl`, which is equal for equal runs.
    #[serde(skip)]
    pub seconds: f64,
}

impl StepMetrics {
    /// Tokens read in a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

/// `metrics.jsonl`: one line for each step.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the file with exactly the lines of the first `steps` steps.
    pub(crate) fn open(path: &Path, steps: u64) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.at(path)?,
        };
        let kept: String = text.split_inclusive('\n').take(steps as usize).filter(|line| line.ends_with('\n')).collect();
        let lines = kept.lines().count() as u64;
        if lines < steps {
            let reason =
                format!("{lines} whole lines, but the checkpoint is at step {steps}: restore the file or start in an empty folder");
            return Err(Error::Malformed { path: path.into(), reason });
        }
        write_whole(path, kept.as_bytes())?;
        Ok(Self { path: path.into(), file: OpenOptions::new().append(true).open(path).at(path)? })
    }

    pub(crate) fn write(&mut self, metrics: &StepMetrics) -> Result<()> {
        let mut line =
            serde_json::to_string(metrics).map_err(|error| Error::Malformed { path: self.path.clone(), reason: error.to_string() })?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).at(&self.path)
    }

    /// Makes sure that the lines are on disk, before a checkpoint that counts on them.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().at(&self.path)
    }
}
