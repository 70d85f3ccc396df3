//! Checkpoints: everything that a run needs to continue bit for bit.
//!
//! `<dir>/checkpoints/step-000100/` holds `model.safetensors`, `optimizer.safetensors` and `state.json`. The
//! model's weights are of the type that they train in; the f32 masters of weights in bf16 are the optimiser's. The
//! folder is filled under another name and renamed, so one that has its name is complete.

use std::fs;
use std::path::{Path, PathBuf};

use janus_infer::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::file::{AtPath, write_folder, write_whole};
use crate::reference::hash_row;
use crate::{AdamW, Decoder, Error, Result, TokenRow, TrainConfig};

const PREFIX: &str = "step-";

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
    /// Of every token and mark of the rows.
    pub data: String,
}

impl Fingerprint {
    /// The fingerprint of a run. How often checkpoints are written, how many are kept, and whether activations are
    /// computed again is left out.
    pub fn new(config: &TrainConfig, objective: &str, model: &ModelConfig, rows: &[TokenRow]) -> Self {
        let settings = TrainConfig { checkpoint_every: None, keep_last: 1, activation_checkpointing: false, ..config.clone() };
        let mut data = blake3::Hasher::new();
        for row in rows {
            hash_row(&mut data, row);
        }
        Self {
            config: blake3::hash(format!("{settings:?}").as_bytes()).to_string(),
            objective: blake3::hash(objective.as_bytes()).to_string(),
            model: blake3::hash(model.to_json().as_bytes()).to_string(),
            data: data.finalize().to_string(),
        }
    }

    /// The first part in which the two differ.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("config", &self.config, &other.config),
            ("objective", &self.objective, &other.objective),
            ("model", &self.model, &other.model),
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
        let folder = dir.join("checkpoints");
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

    /// Writes a checkpoint of a run's folder and deletes all but the newest `keep_last`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(dir: &Path, decoder: &Decoder, optimizer: &AdamW, fingerprint: &Fingerprint, keep_last: usize) -> Result<Self> {
        let step = optimizer.steps();
        let path = dir.join("checkpoints").join(format!("{PREFIX}{step:06}"));
        write_folder(&path, |folder| {
            decoder.save_weights(&folder.join("model.safetensors"))?;
            optimizer.save(&folder.join("optimizer.safetensors"))?;
            let state = folder.join("state.json");
            let text = serde_json::to_string_pretty(&State { step, fingerprint: fingerprint.clone() })
                .map_err(|error| Error::Malformed { path: state.clone(), reason: error.to_string() })?;
            write_whole(&state, text.as_bytes())
        })?;
        let all = Self::list(dir)?;
        for old in &all[..all.len().saturating_sub(keep_last)] {
            fs::remove_dir_all(&old.path).at(&old.path)?;
        }
        Ok(Self { path, step })
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
        let path = self.path.join("state.json");
        let text = fs::read_to_string(&path).at(&path)?;
        let state: State =
            serde_json::from_str(&text).map_err(|error| Error::Malformed { path: path.clone(), reason: error.to_string() })?;
        if let Some(what) = state.fingerprint.difference(fingerprint) {
            return Err(Error::OtherRun { path: self.path.clone(), what });
        }
        let optimizer = AdamW::load(&self.path.join("optimizer.safetensors"), config.adamw(), state.step, decoder, trains)?;
        decoder.restore_weights(&self.path.join("model.safetensors"))?;
        Ok(optimizer)
    }
}
