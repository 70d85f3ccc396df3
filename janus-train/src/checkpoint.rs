//! Checkpoints: a usable model, and everything that a run needs to resume bit for bit.
//!
//! ```text
//! checkpoints/step-000100/
//!     config.json, model.safetensors    the model, as `Decoder::save` writes it; with value_head.safetensors and what
//!                                       `Observer::saved` added, such as tokenizer.json
//!     training/optimizer.safetensors    the optimiser's moments, and the f32 masters of weights in bf16
//!     training/low_rank.safetensors     LoRA adapters; model.safetensors has the merged weights
//!     training/state.json               steps taken, and the identity of the run
//! ```
//!
//! No tensor is in two of the files. The training state is in a folder of its own because vLLM loads
//! every `*.safetensors` next to `config.json` as weights. A checkpoint is written under a temporary
//! name and then renamed, so a folder with a checkpoint's name is complete.

mod identity;
mod legacy;

use std::fs;
use std::path::{Path, PathBuf};

use janus_data::fs::{AtomicFolder, remove_folder};
use janus_data::write_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{AtPath, FileProblem};
use crate::{AdamW, Decoder, Error, Result};

pub(crate) use identity::RunIdentity;

/// The folder of the checkpoints in a run's folder.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
const PREFIX: &str = "step-";
const TRAINING: &str = "training";
const OPTIMIZER: &str = "optimizer.safetensors";
const LOW_RANK: &str = "low_rank.safetensors";
const STATE: &str = "state.json";
/// The version of `state.json`. The first format had no version number, and hashes instead of the run's
/// settings.
const VERSION: u32 = 2;

/// `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// Optimiser steps taken.
    step: u64,
    /// An observer stopped the run here. The checkpoint is deleted when the resumed run has a newer one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    of_stop: bool,
    run: RunIdentity,
}

/// A complete checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Optimiser steps taken.
    pub step: u64,
}

impl Checkpoint {
    /// The complete checkpoints of a run's folder, oldest first.
    ///
    /// # Errors
    /// If the folder exists but cannot be read.
    pub fn list(dir: &Path) -> Result<Vec<Self>> {
        let folder = dir.join(CHECKPOINTS);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).at(&folder)? {
            let path = entry.at(&folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(step) = name.strip_prefix(PREFIX).and_then(|step| step.parse().ok()) {
                found.push(Self { path, step });
            }
        }
        found.sort_by_key(|checkpoint| checkpoint.step);
        Ok(found)
    }

    /// Writes a checkpoint into a run's folder, calls `saved` to add files to its model folder, and
    /// deletes older checkpoints as [`prune`](Self::prune) does. `of_stop` marks a checkpoint that is
    /// not due but written because the run was stopped.
    ///
    /// # Errors
    /// If a file cannot be written, and the error of `saved`; no checkpoint is changed then.
    pub(crate) fn write(
        dir: &Path,
        decoder: &Decoder,
        optimizer: &AdamW,
        run: &RunIdentity,
        of_stop: bool,
        keep_last: usize,
        saved: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<Self> {
        let step = optimizer.steps();
        let path = dir.join(CHECKPOINTS).join(format!("{PREFIX}{step:06}"));
        let folder = AtomicFolder::create(&path)?;
        decoder.save(folder.path())?;
        let training = folder.path().join(TRAINING);
        fs::create_dir_all(&training).at(&training)?;
        decoder.save_low_rank(&training.join(LOW_RANK))?;
        optimizer.save(&training.join(OPTIMIZER))?;
        let state = training.join(STATE);
        let text = serde_json::to_string_pretty(&State { version: VERSION, step, of_stop, run: run.clone() })
            .map_err(FileProblem::json(&state))?;
        write_file(&state, text.as_bytes())?;
        saved(folder.path())?;
        folder.commit()?;
        Self::prune(dir, keep_last)?;
        Ok(Self { path, step })
    }

    /// Deletes all but the newest `keep_last` checkpoints of a run's folder. A checkpoint of a stop is
    /// deleted as soon as there is a newer one, because a run that was never stopped would not have it.
    pub(crate) fn prune(dir: &Path, keep_last: usize) -> Result<()> {
        let mut all = Self::list(dir)?;
        let Some(newest) = all.pop() else { return Ok(()) };
        let (of_stops, mut due): (Vec<_>, Vec<_>) = all.into_iter().partition(Self::is_of_stop);
        due.push(newest);
        let old = &due[..due.len().saturating_sub(keep_last)];
        of_stops.iter().chain(old).try_for_each(|old| Ok(remove_folder(&old.path)?))
    }

    /// Whether this is a checkpoint of a stop; false if its `state.json` cannot be read.
    fn is_of_stop(&self) -> bool {
        let state = fs::read(self.path.join(TRAINING).join(STATE)).ok();
        let state = state.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        state.is_some_and(|state| state.get("of_stop") == Some(&Value::Bool(true)))
    }

    /// Restores the decoder's parameters and the heads that the objective does not read, and returns the
    /// optimiser with its saved state.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if the checkpoint was made with another config, objective, model or data.
    pub(crate) fn restore(
        &self,
        decoder: &mut Decoder,
        run: &RunIdentity,
        idle_heads: &[String],
    ) -> Result<AdamW> {
        let training = self.path.join(TRAINING);
        let path = training.join(STATE);
        let malformed = FileProblem::json(&path);
        let state: Value = serde_json::from_slice(&fs::read(&path).at(&path)?).map_err(&malformed)?;
        let (step, difference) = match state.get("version").and_then(Value::as_u64) {
            None => {
                let state: legacy::State = serde_json::from_value(state).map_err(&malformed)?;
                (state.step, state.fingerprint.difference(run, decoder.config()))
            }
            Some(version) if version != u64::from(VERSION) => {
                let problem = FileProblem::NewerFormat { got: version, known: VERSION.into() };
                return Err(Error::Malformed { path: path.clone(), problem });
            }
            Some(_) => {
                let state: State = serde_json::from_value(state).map_err(&malformed)?;
                (state.step, state.run.difference(run).map_err(&malformed)?)
            }
        };
        if let Some((what, differences)) = difference {
            return Err(Error::OtherRun { path: self.path.clone(), what, differences });
        }
        let optimizer = AdamW::load(&training.join(OPTIMIZER), run.config.adamw(), step, decoder)?;
        decoder.restore(&self.path, &training.join(LOW_RANK), idle_heads)?;
        Ok(optimizer)
    }
}
