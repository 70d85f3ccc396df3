//! What a step reports.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::evaluation::Evaluation;
use crate::file::{AtPath, write_whole};
use crate::tensorboard::{Scalars, event_file};
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

    /// Writes the event file that TensorBoard shows, from the lines so far and the evaluations.
    pub(crate) fn write_tensorboard(&self, dir: &Path, evaluations: &[Evaluation]) -> Result<()> {
        let text = std::fs::read_to_string(&self.path).at(&self.path)?;
        let lines = text.lines().map(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>);
        let lines = lines
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Malformed { path: self.path.clone(), reason: error.to_string() })?;
        let mut names: Vec<(u64, Vec<(String, f64)>)> = Vec::with_capacity(lines.len() + evaluations.len());
        for line in &lines {
            let step = line.get("step").and_then(serde_json::Value::as_u64).unwrap_or(0);
            let numbers = line.iter().filter(|(name, _)| *name != "step").filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
            names.push((step, numbers.map(|(name, value)| (format!("train/{name}"), value)).collect()));
        }
        for evaluation in evaluations {
            let loss = std::iter::once(("held_out/loss".to_string(), evaluation.loss));
            let figures = evaluation.figures.iter().map(|(name, &value)| (format!("held_out/{name}"), value));
            names.push((evaluation.step, loss.chain(figures).collect()));
        }
        let scalars: Vec<Scalars<'_>> = names
            .iter()
            .map(|(step, values)| Scalars { step: *step, values: values.iter().map(|(name, value)| (name.as_str(), *value)).collect() })
            .collect();
        let folder = dir.join("tensorboard");
        std::fs::create_dir_all(&folder).at(&folder)?;
        write_whole(&folder.join("events.out.tfevents.0.janus"), &event_file(&scalars))
    }

    /// Makes sure that the lines are on disk, before a checkpoint that counts on them.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().at(&self.path)
    }
}
