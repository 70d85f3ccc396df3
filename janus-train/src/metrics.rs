//! Metrics of a step, and the files that they are logged to.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use janus_data::write_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{AtPath, FileProblem};
use crate::evaluation::Evaluation;
use crate::tensorboard::{event, head};
use crate::{Error, Metrics, Result};

/// Metrics of one optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// The epoch of this step's first document, from 0.
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
    /// Metrics of the objective: `accuracy`, `margin`.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Duration of the step in seconds. It is written to `timing.jsonl`, because `metrics.jsonl` is
    /// equal for equal runs.
    #[serde(skip)]
    pub seconds: f64,
}

impl StepMetrics {
    /// Tokens read per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

/// A line of `timing.jsonl`.
#[derive(Serialize, Deserialize)]
struct Timing {
    step: u64,
    seconds: f64,
    tokens_per_second: f64,
}

/// The log files of a run: `metrics.jsonl`, `timing.jsonl`, and metrics and evaluations in
/// `tensorboard/`.
pub(crate) struct Log {
    metrics: Appended,
    timing: Appended,
    events: Appended,
}

impl Log {
    /// Opens the files and keeps exactly the lines of the first `steps` steps. `timing.jsonl` may have
    /// fewer.
    pub(crate) fn open(dir: &Path, steps: u64, evaluations: &[Evaluation]) -> Result<Self> {
        let path = dir.join("metrics.jsonl");
        let kept: Vec<String> = whole_lines(&path)?.into_iter().take(steps as usize).collect();
        if (kept.len() as u64) < steps {
            return Err(Error::Malformed {
                path,
                problem: FileProblem::StepsMissing { lines: kept.len(), step: steps },
            });
        }
        let (mut events, mut evaluations) = (head(), evaluations.iter().peekable());
        for line in &kept {
            let (step, record) = metrics_event(&path, line)?;
            // Evaluations before this step come first.
            while let Some(earlier) = evaluations.next_if(|evaluation| evaluation.step < step) {
                events.extend(evaluation_event(earlier));
            }
            events.extend(record);
        }
        evaluations.for_each(|evaluation| events.extend(evaluation_event(evaluation)));
        let timing = dir.join("timing.jsonl");
        let of_kept =
            |line: &String| serde_json::from_str::<Timing>(line).is_ok_and(|line| line.step <= steps);
        let timed: String = whole_lines(&timing)?.into_iter().filter(of_kept).collect();
        let folder = dir.join("tensorboard");
        std::fs::create_dir_all(&folder).at(&folder)?;
        Ok(Self {
            metrics: Appended::open(path, kept.concat().as_bytes())?,
            timing: Appended::open(timing, timed.as_bytes())?,
            events: Appended::open(folder.join("events.out.tfevents.0.janus"), &events)?,
        })
    }

    pub(crate) fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        let line = self.metrics.line(metrics)?;
        self.events.add(&metrics_event(&self.metrics.path, &line)?.1)?;
        let timing = Timing {
            step: metrics.step,
            seconds: metrics.seconds,
            tokens_per_second: metrics.tokens_per_second(),
        };
        self.timing.line(&timing).map(drop)
    }

    pub(crate) fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        self.events.add(&evaluation_event(evaluation))
    }

    /// Flushes the lines to disk, before a checkpoint that relies on them.
    pub(crate) fn sync(&self) -> Result<()> {
        self.metrics.file.sync_all().at(&self.metrics.path)
    }
}

/// An append-only file.
struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens the file for appending after exactly these bytes, and writes them if it has others.
    fn open(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            File::create(&path).at(&path)?;
        } else if !std::fs::read(&path).is_ok_and(|found| found == bytes) {
            write_file(&path, bytes)?;
        }
        let file = OpenOptions::new().append(true).open(&path).at(&path)?;
        Ok(Self { path, file })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at(&self.path)
    }

    /// Appends a line of JSON and returns it.
    fn line(&mut self, value: &impl Serialize) -> Result<String> {
        let text = serde_json::to_string(value).map_err(FileProblem::json(&self.path))?;
        let line = format!("{text}\n");
        self.add(line.as_bytes())?;
        Ok(line)
    }
}

/// The complete lines of a file, each with its newline; empty if the file does not exist. A last line
/// without a newline is dropped.
fn whole_lines(path: &Path) -> Result<Vec<String>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.at(path)?,
    };
    Ok(text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_string).collect())
}

/// The step of a line of `metrics.jsonl`, and its TensorBoard record.
fn metrics_event(path: &Path, line: &str) -> Result<(u64, Vec<u8>)> {
    let line: serde_json::Map<String, Value> = serde_json::from_str(line).map_err(FileProblem::json(path))?;
    let step = line.get("step").and_then(Value::as_u64);
    let step = step.ok_or_else(|| Error::Malformed { path: path.into(), problem: FileProblem::NoStep })?;
    let numbers = line
        .iter()
        .filter(|(name, _)| *name != "step")
        .filter_map(|(name, value)| Some((format!("train/{name}"), value.as_f64()?)));
    Ok((step, event(step, numbers)))
}

fn evaluation_event(evaluation: &Evaluation) -> Vec<u8> {
    let metrics = evaluation.metrics.iter().map(|(name, &value)| (format!("held_out/{name}"), value));
    event(evaluation.step, std::iter::once(("held_out/loss".to_string(), evaluation.loss)).chain(metrics))
}
