//! Checkpoints: a model to use, and everything that a run needs to continue bit for bit.
//!
//! ```text
//! checkpoints/step-000100/
//!     config.json, model.safetensors    the model, as `Decoder::save` writes it; with value_head.safetensors and what
//!                                       `Observer::saved` added, such as tokenizer.json
//!     training/optimizer.safetensors    the optimiser's moments, and the f32 masters of weights in bf16
//!     training/low_rank.safetensors     low-rank updates, of which model.safetensors holds the sums with their weights
//!     training/state.json               steps taken, and what makes the run this one
//! ```
//!
//! No tensor is in two of the files. What only training needs has a folder of its own because vLLM takes every `*.safetensors`
//! beside `config.json` for weights. The folder is filled under another name and renamed, so one that has its name is complete.

use std::fs;
use std::path::{Path, PathBuf};

use janus_data::fs::{AtomicFolder, remove_folder};
use janus_data::{Dataset, write_file};
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::reference::hash_row;
use crate::{AdamW, Decoder, Error, Result, TrainConfig};

/// Where a run's folder has its checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
const PREFIX: &str = "step-";
const TRAINING: &str = "training";
const OPTIMIZER: &str = "optimizer.safetensors";
const LOW_RANK: &str = "low_rank.safetensors";
const STATE: &str = "state.json";

/// What makes two runs the same run, as hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Of the training settings that change the result.
    pub config: String,
    /// Of the objective and its constants.
    pub objective: String,
    /// Of the model's architecture.
    pub model: String,
    /// Of the low-rank updates' config.
    pub low_rank: String,
    /// Of every value of the weights that do not train, which a checkpoint does not bring back.
    pub frozen: String,
    /// Of every token and mark of the rows, and of the held-out ones.
    pub data: String,
}

impl Fingerprint {
    /// The fingerprint of a run. How often checkpoints are written, how many are kept, and whether activations are
    /// computed again is left out.
    ///
    /// # Errors
    /// If candle fails or a row cannot be read.
    pub fn new(config: &TrainConfig, objective: &str, decoder: &Decoder, rows: &dyn Dataset, held_out: &dyn Dataset) -> Result<Self> {
        let settings = TrainConfig { checkpoint_every: None, keep_last: 1, activation_checkpointing: false, ..config.clone() };
        let mut data = blake3::Hasher::new();
        for rows in [rows, held_out] {
            data.update(&(rows.len() as u64).to_le_bytes());
            for row in 0..rows.len() {
                hash_row(&mut data, &*rows.row(row)?);
            }
        }
        Ok(Self {
            config: blake3::hash(format!("{settings:?}").as_bytes()).to_string(),
            objective: blake3::hash(objective.as_bytes()).to_string(),
            model: blake3::hash(decoder.config().to_json().as_bytes()).to_string(),
            low_rank: blake3::hash(format!("{:?}", decoder.lora()).as_bytes()).to_string(),
            frozen: decoder.frozen_fingerprint()?,
            data: data.finalize().to_string(),
        })
    }

    /// The first part in which the two differ.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("config", &self.config, &other.config),
            ("objective", &self.objective, &other.objective),
            ("model", &self.model, &other.model),
            ("low-rank config", &self.low_rank, &other.low_rank),
            ("set of frozen weights", &self.frozen, &other.frozen),
            ("data", &self.data, &other.data),
        ];
        parts.into_iter().find(|(_, a, b)| a != b).map(|(name, ..)| name)
    }
}

/// `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Optimiser steps taken.
    step: u64,
    fingerprint: Fingerprint,
}

/// A complete checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Writes a checkpoint of a run's folder, has `saved` add to its model folder, and deletes all but the newest `keep_last`.
    ///
    /// # Errors
    /// If a file cannot be written, or what `saved` fails with; no checkpoint is changed then.
    pub fn write(
        dir: &Path,
        decoder: &Decoder,
        optimizer: &AdamW,
        fingerprint: &Fingerprint,
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
        let text = serde_json::to_string_pretty(&State { step, fingerprint: fingerprint.clone() })
            .map_err(|error| Error::Malformed { path: state.clone(), reason: error.to_string() })?;
        write_file(&state, text.as_bytes())?;
        saved(folder.path())?;
        folder.commit()?;
        Self::prune(dir, keep_last)?;
        Ok(Self { path, step })
    }

    /// Deletes all but the newest `keep_last` of a run's folder.
    pub(crate) fn prune(dir: &Path, keep_last: usize) -> Result<()> {
        let all = Self::list(dir)?;
        all[..all.len().saturating_sub(keep_last)].iter().try_for_each(|old| Ok(remove_folder(&old.path)?))
    }

    /// Sets the decoder's parameters and gives the optimiser back.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if the checkpoint was made with another config, model or data.
    pub fn restore(
        &self,
        decoder: &Decoder,
        config: &TrainConfig,
        fingerprint: &Fingerprint,
        trains: impl Fn(&str) -> bool,
    ) -> Result<AdamW> {
        let training = self.path.join(TRAINING);
        let path = training.join(STATE);
        let text = fs::read_to_string(&path).at(&path)?;
        let state: State =
            serde_json::from_str(&text).map_err(|error| Error::Malformed { path: path.clone(), reason: error.to_string() })?;
        if let Some(what) = state.fingerprint.difference(fingerprint) {
            return Err(Error::OtherRun { path: self.path.clone(), what });
        }
        let optimizer = AdamW::load(&training.join(OPTIMIZER), config.adamw(), state.step, decoder, trains)?;
        decoder.restore(&self.path, &training.join(LOW_RANK))?;
        Ok(optimizer)
    }
}
