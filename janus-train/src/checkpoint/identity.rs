//! The identity of a run: a run resumes only from a checkpoint with the same identity.

use janus_data::Dataset;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::difference::Difference;
use crate::error::FileProblem;
use crate::reference::hash_row;
use crate::{Decoder, LoraConfig, Result, TrainConfig};

/// Everything that a run's result depends on: settings by value, tensors and rows by hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunIdentity {
    /// The training settings that change the result.
    pub(super) config: TrainConfig,
    /// The objective and its constants.
    pub(super) objective: Value,
    /// The model's architecture, as `config.json` has it.
    pub(super) model: Value,
    pub(super) lora: Option<LoraConfig>,
    /// Hash of the values of the weights that a checkpoint does not restore: all frozen weights, except
    /// the heads that the objective does not read.
    pub(super) frozen: String,
    /// Hash of every token and loss mask of the training rows and of the held-out rows.
    pub(super) data: String,
}

impl RunIdentity {
    /// The identity of a run. It does not contain how often checkpoints are written, how many are kept,
    /// and whether activations are recomputed, because the result does not depend on these.
    ///
    /// # Errors
    /// If candle fails or a row cannot be read.
    pub(crate) fn new(
        config: &TrainConfig,
        objective: Value,
        decoder: &Decoder,
        idle_heads: &[String],
        rows: &dyn Dataset,
        held_out: &dyn Dataset,
    ) -> Result<Self> {
        let default = TrainConfig::new(config.length, config.tokens_per_micro_batch, config.lr, config.seed);
        let config = config.clone().with(|config| {
            config.checkpoint_every = None;
            config.keep_last = default.keep_last;
            config.activation_checkpointing = false;
        });
        let mut data = blake3::Hasher::new();
        for rows in [rows, held_out] {
            data.update(&(rows.len() as u64).to_le_bytes());
            for row in 0..rows.len() {
                hash_row(&mut data, &*rows.row(row)?);
            }
        }
        Ok(Self {
            config,
            objective,
            model: serde_json::from_str(&decoder.config().to_json())
                .map_err(FileProblem::json("config.json".as_ref()))?,
            lora: decoder.lora().cloned(),
            frozen: decoder.frozen_fingerprint(idle_heads)?,
            data: data.finalize().to_string(),
        })
    }

    /// The first part in which this earlier run and the current run differ, and all settings that
    /// differ.
    pub(super) fn difference(
        &self,
        now: &Self,
    ) -> serde_json::Result<Option<(&'static str, Vec<Difference>)>> {
        let (was, is) = (self.settings()?, now.settings()?);
        let differences = Difference::between(&was, &is);
        let named =
            [("config", "train"), ("objective", "objective"), ("model", "model"), ("LoRA config", "lora")];
        let first = named.into_iter().find(|(_, key)| was.get(key) != is.get(key)).map(|(what, _)| what);
        let hashes = [("set of frozen weights", &self.frozen, &now.frozen), ("data", &self.data, &now.data)];
        let first =
            first.or_else(|| hashes.into_iter().find(|(_, was, is)| was != is).map(|(what, ..)| what));
        Ok(first.map(|what| (what, differences)))
    }

    /// All settings (everything except hashes), by their names in recipes, without the ids of special tokens,
    /// which do not affect training. They are serialised and parsed again, so that a default that was added
    /// later is set on both sides of a comparison.
    fn settings(&self) -> serde_json::Result<Value> {
        let mut model = self.model.clone();
        if let Some(model) = model.as_object_mut() {
            model.retain(|key, _| !["bos_token_id", "eos_token_id"].contains(&key.as_str()));
        }
        let text = serde_json::json!({ "train": self.config, "objective": self.objective, "model": model, "lora": self.lora });
        serde_json::from_str(&text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use janus_data::{TokenFile, TokenWriter};

    use super::*;
    use crate::{Length, ModelConfig, TokenRow};

    #[test]
    fn the_hash_of_rows_is_the_same_in_memory_and_on_disk_and_in_every_version() {
        let config = ModelConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 30, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
                "num_attention_heads": 2, "max_position_embeddings": 64}"#,
        )
        .unwrap();
        let (decoder, folder) =
            (Decoder::init(&config, 1, &Device::Cpu).unwrap(), tempfile::tempdir().unwrap());
        let row = |i: u32| TokenRow {
            ids: (0..4 + i % 5).map(|j| (i * 7 + j) % 30).collect(),
            loss_mask: (0..4 + i % 5).map(|j| j > 1).collect(),
        };
        let rows: Vec<TokenRow> = (0..20).map(row).collect();
        let mut writer = TokenWriter::create(folder.path(), "f").unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        let file = TokenFile::open(folder.path()).unwrap();
        let config = TrainConfig::new(Length::Steps(3), 40, 1e-3, 7);
        let of = |train: &dyn Dataset, held_out: &dyn Dataset| {
            RunIdentity::new(&config, "sft".into(), &decoder, &[], train, held_out).unwrap().data
        };
        let none: Vec<TokenRow> = Vec::new();
        assert_eq!(of(&rows, &none), of(&file, &none));
        assert_eq!(of(&none, &rows), of(&none, &file));
        assert_ne!(of(&rows, &none), of(&none, &rows));
        let known = vec![TokenRow { ids: vec![1, 5, 7], loss_mask: vec![true, false, true] }];
        // The number of rows; then for each row the number of ids, and 2 · id for each id, plus 1 if it
        // is in the loss.
        let numbers = [1u64, 3, 2, 10, 15];
        let bytes: Vec<u8> = numbers.into_iter().cycle().take(10).flat_map(u64::to_le_bytes).collect();
        assert_eq!(of(&known, &known), blake3::hash(&bytes).to_string());
    }
}
