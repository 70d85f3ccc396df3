//! The record of a run in its folder: `recipe.toml` has every value of the recipe; `run.json` says where
//! and when the run was made, from which files and by which code.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use candle_core::Device;
use janus_data::fs::fingerprint;
use janus_data::provenance::{Machine, Revision, unix_seconds};
use janus_data::write_file;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::Recipe;
use crate::error::{AtPath, FileProblem};
use crate::{Checkpoint, Difference, Error, Result, StopReason, TrainConfig};

const RECIPE: &str = "recipe.toml";
const RUN: &str = "run.json";

/// The record of a run that has begun.
pub(super) struct Record<'a> {
    recipe: &'a Recipe,
    begun: SystemTime,
    /// The step at which this attempt resumes; 0 for a new run.
    resumed_at: u64,
    /// The earlier attempts, as `run.json` has them.
    attempts: Vec<Value>,
}

/// The record of a run, with the fingerprints of its inputs.
pub(super) struct FullRecord<'a> {
    record: Record<'a>,
    settings: Value,
    data: Value,
    model: Option<Value>,
    tokenizer: Option<Value>,
    device: String,
}

impl<'a> Record<'a> {
    /// Reads the record that the run's folder already has. Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::OtherRecipe`] if the folder holds checkpoints of a run with other LoRA adapters, or with
    /// adapters of another base model, because such checkpoints do not fit; [`Error::Io`] and
    /// [`Error::Malformed`] if a file of the record cannot be read.
    pub(super) fn begin(out: &Path, recipe: &'a Recipe) -> Result<Self> {
        let resumed_at = Checkpoint::list(out)?.pop().map_or(0, |newest| newest.step);
        let earlier = |name: &str| if resumed_at > 0 { read_if_there(&out.join(name)) } else { Ok(None) };
        let attempts = earlier(RUN)?.map_or(Ok(Vec::new()), |text| attempts(&text, &out.join(RUN)))?;
        // A recipe of another version that does not parse is skipped. The trainer compares the
        // checkpoint's settings itself.
        let earlier = earlier(RECIPE)?.and_then(|text| toml::from_str::<Recipe>(&text).ok());
        let differences =
            earlier.map_or_else(Vec::new, |earlier| Difference::between(&json!(earlier), &json!(recipe)));
        let lora = |key: &str| key.starts_with("lora.") || (recipe.lora.is_some() && key == "model.path");
        match differences.into_iter().find(|difference| lora(&difference.key)) {
            Some(difference) => {
                Err(Error::OtherRecipe { path: out.into(), difference: Box::new(difference) })
            }
            None => Ok(Self { recipe, begun: SystemTime::now(), resumed_at, attempts }),
        }
    }

    /// Adds the fingerprints of the run's input files. The model's files are read completely.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that cannot be read.
    pub(super) fn with_inputs(self, settings: &TrainConfig, device: &Device) -> Result<FullRecord<'a>> {
        let recipe = self.recipe;
        let of = |path: &Path| -> Result<Value> {
            Ok(json!({ "path": path, "blake3": fingerprint::of_path(path)? }))
        };
        Ok(FullRecord {
            settings: json!(settings),
            data: match &recipe.data_files()?[..] {
                [file] => of(file)?,
                files => json!({
                    "path": recipe.data.path,
                    "files": files.iter().map(|file| of(file)).collect::<Result<Vec<_>>>()?,
                }),
            },
            model: recipe.model.path.as_deref().map(of).transpose()?,
            tokenizer: recipe.tokenizer_path().as_deref().map(of).transpose()?,
            device: janus_infer::DeviceName::of(device).to_string(),
            record: self,
        })
    }
}

impl FullRecord<'_> {
    /// Writes the record of a run that starts in an empty folder. The record of a resumed run is written
    /// at its end, after the trainer has accepted the checkpoint: a run that is refused must not change
    /// the record of another run.
    pub(super) fn write_first(&self, out: &Path) -> Result<()> {
        if self.record.resumed_at > 0 { Ok(()) } else { self.write(out, None) }
    }

    /// Writes the record. `end` is the number of steps and the reason why the run ended.
    pub(super) fn write(&self, out: &Path, end: Option<(u64, StopReason)>) -> Result<()> {
        let Record { recipe, begun, resumed_at, ref attempts } = self.record;
        let this = json!({
            "from_step": resumed_at,
            "to_step": end.map(|(steps, _)| steps),
            "begun": unix_seconds(begun),
            "ended": end.map(|_| unix_seconds(SystemTime::now())),
            "reason": end.map(|(_, reason)| reason),
            "git": Revision::of_checkout(),
            "machine": Machine::this(),
            "device": self.device,
        });
        let attempts: Vec<&Value> = attempts.iter().chain([&this]).collect();
        let record = json!({
            "program": concat!("janus-train ", env!("CARGO_PKG_VERSION")),
            "command": "train",
            "folder": std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf()),
            "recipe": recipe,
            "settings": self.settings,
            "data": self.data,
            "model": self.model,
            "tokenizer": self.tokenizer,
            "attempts": attempts,
        });
        let text = toml::to_string(recipe).map_err(FileProblem::of(&out.join(RECIPE), FileProblem::Toml))?;
        fs::create_dir_all(out).at(out)?;
        write_file(out.join(RECIPE), text.as_bytes())?;
        Ok(write_file(out.join(RUN), format!("{record:#}\n").as_bytes())?)
    }

    /// Adds the data's path to the trainer's error that a checkpoint was made with other data.
    pub(super) fn explained(&self, error: Error) -> Error {
        match error {
            Error::OtherRun { path, what: "data", differences } if differences.is_empty() => Error::InData {
                path: self.record.recipe.data.path.clone(),
                source: Box::new(Error::OtherRun { path, what: "data", differences }),
            },
            error => error,
        }
    }
}

/// The attempts that an earlier `run.json` records.
fn attempts(text: &str, path: &Path) -> Result<Vec<Value>> {
    #[derive(Deserialize)]
    struct Earlier {
        attempts: Vec<Value>,
    }
    let earlier: Earlier = serde_json::from_str(text).map_err(FileProblem::json(path))?;
    Ok(earlier.attempts)
}

/// The text of a file; `None` if the file does not exist.
fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).at(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: they were silently left out of the next record.
    #[test]
    fn earlier_attempts_that_cannot_be_read_are_an_error() {
        let path = Path::new("run.json");
        assert_eq!(
            attempts(r#"{"command": "train", "attempts": [{"from_step": 0}]}"#, path).unwrap(),
            [json!({ "from_step": 0 })]
        );
        for text in [r#"{"command": "train"}"#, r#"{"attempts": 3}"#, r#"{"attempts": ["#] {
            assert!(matches!(attempts(text, path), Err(Error::Malformed { .. })), "{text}");
        }
    }
}
