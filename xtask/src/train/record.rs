//! What a run's folder says of the run: `recipe.toml`, every value that it was made with, and `run.json`, where, when, of what and by
//! which code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use candle_core::Device;
use janus_data::fs::fingerprint;
use janus_data::provenance::{Machine, Revision, unix_seconds};
use janus_data::write_file;
use janus_train::{Error, TrainConfig};
use serde_json::{Value, json};

use super::recipe::Recipe;
use crate::command::{Blame as _, CommandError};

const RECIPE: &str = "recipe.toml";
const RUN: &str = "run.json";

/// The record of a run that has begun.
pub(super) struct Record<'a> {
    out: &'a Path,
    recipe: &'a Recipe,
    text: String,
    begun: SystemTime,
    /// Steps that earlier attempts did.
    resumed_at: u64,
    /// The values that these were made with, by key, if that is known.
    earlier: Option<BTreeMap<String, String>>,
}

/// What a run is made of.
pub(super) struct MadeOf {
    settings: Value,
    data: Value,
    model: Option<Value>,
    tokenizer: Option<Value>,
    device: String,
}

impl<'a> Record<'a> {
    /// Looks at what is in the run's folder. Nothing is written yet.
    ///
    /// # Errors
    /// Bad input if the folder holds checkpoints of a run with other low-rank updates, or with updates of another model: what
    /// a checkpoint cannot tell.
    pub(super) fn begin(out: &'a Path, recipe: &'a Recipe) -> Result<Self, CommandError> {
        let resumed_at = super::steps_done(out)?;
        let text = toml::to_string(recipe).failure()?;
        let stored = fs::read_to_string(out.join(RECIPE)).ok().filter(|_| resumed_at > 0);
        let earlier = stored.and_then(|stored| toml::from_str::<toml::Table>(&stored).ok()).map(flat);
        let record = Self { out, recipe, text, begun: SystemTime::now(), resumed_at, earlier };
        let lora = |key: &str| key.starts_with("lora.") || (recipe.lora.is_some() && key.starts_with("model.path "));
        match record.differences()?.iter().find(|difference| lora(difference)) {
            Some(difference) => {
                let hint = "continue with what they were made with, or give another --out";
                Err(CommandError::bad_input(format!("{}: the checkpoints were made otherwise: {difference}: {hint}", out.display())))
            }
            None => Ok(record),
        }
    }

    /// Steps that earlier attempts did.
    pub(super) fn resumed_at(&self) -> u64 {
        self.resumed_at
    }

    /// The values that differ from those of the earlier attempts: "train.lr was 0.1, is 0.2".
    fn differences(&self) -> Result<Vec<String>, CommandError> {
        let Some(earlier) = &self.earlier else { return Ok(Vec::new()) };
        let now = flat(toml::from_str(&self.text).failure()?);
        let keys: BTreeSet<&String> = earlier.keys().chain(now.keys()).collect();
        let value = |values: &BTreeMap<String, String>, key: &str| values.get(key).map_or("not set".into(), String::clone);
        let differs = keys.into_iter().filter(|&key| earlier.get(key) != now.get(key));
        Ok(differs.map(|key| format!("{key} was {}, is {}", value(earlier, key), value(&now, key))).collect())
    }

    /// The trainer's error that a checkpoint is of another run, with the keys that differ.
    pub(super) fn explained(&self, error: Error) -> CommandError {
        let file = self.out.join(RECIPE);
        let why = match (&self.earlier, self.differences()) {
            (None, _) => format!("{} is not there to tell the difference", file.display()),
            (_, Err(error)) => return error,
            (_, Ok(differences)) if differences.is_empty() => {
                format!("{} is the same: what it names, {} or the tokenizer, has changed", file.display(), self.recipe.data.path.display())
            }
            (_, Ok(differences)) => format!("by {}, {}", file.display(), differences.join("; ")),
        };
        CommandError::failure(format!("{error} ({why})"))
    }

    /// Writes the record of a run that begins in an empty folder. That of one that continues is written at its end, once the
    /// trainer has taken its checkpoint: a run that is refused must not change what the folder says of another.
    pub(super) fn write_first(&self, made_of: &MadeOf) -> Result<(), CommandError> {
        if self.resumed_at > 0 { Ok(()) } else { self.write(made_of, None) }
    }

    /// What the run is made of, by the fingerprints of its files: a model's are read whole.
    ///
    /// # Errors
    /// Bad input for a file that cannot be read.
    pub(super) fn made_of(&self, settings: &TrainConfig, device: &Device) -> Result<MadeOf, CommandError> {
        let recipe = self.recipe;
        let of =
            |path: &Path| -> Result<Value, CommandError> { Ok(json!({ "path": path, "blake3": fingerprint::of_path(path).bad_input()? })) };
        Ok(MadeOf {
            settings: json!(settings),
            data: of(&recipe.data.path)?,
            model: recipe.model.path.as_deref().map(of).transpose()?,
            tokenizer: recipe.tokenizer_path().as_deref().map(of).transpose()?,
            device: janus_infer::DeviceName::of(device).to_string(),
        })
    }

    /// Writes the record; `steps` at the end, as many as there were.
    pub(super) fn write(&self, made_of: &MadeOf, steps: Option<u64>) -> Result<(), CommandError> {
        let Self { out, recipe, .. } = self;
        let earlier = fs::read(out.join(RUN)).ok().filter(|_| self.resumed_at > 0);
        let earlier = earlier.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let mut attempts = earlier.and_then(|mut record| record["attempts"].as_array_mut().map(std::mem::take)).unwrap_or_default();
        attempts.push(json!({
            "from_step": self.resumed_at,
            "to_step": steps,
            "begun": unix_seconds(self.begun),
            "ended": steps.map(|_| unix_seconds(SystemTime::now())),
            "git": Revision::of_checkout(),
            "machine": Machine::this(),
            "device": made_of.device,
        }));
        let record = json!({
            "program": concat!("xtask ", env!("CARGO_PKG_VERSION")),
            "command": "train",
            "folder": std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf()),
            "recipe": recipe,
            "settings": made_of.settings,
            "data": made_of.data,
            "model": made_of.model,
            "tokenizer": made_of.tokenizer,
            "attempts": attempts,
        });
        fs::create_dir_all(out).failure()?;
        write_file(out.join(RECIPE), self.text.as_bytes()).failure()?;
        write_file(out.join(RUN), format!("{record:#}\n").as_bytes()).failure()
    }
}

/// Every value of a table by its key, with dots: "train.lr".
fn flat(table: toml::Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut open: Vec<(String, toml::Value)> = table.into_iter().collect();
    while let Some((key, value)) = open.pop() {
        match value {
            toml::Value::Table(inner) => open.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value))),
            value => drop(values.insert(key, value.to_string())),
        }
    }
    values
}
