//! The objective of a run, made of the model that it starts from and of its rows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use janus_data::Dataset;
use serde::de::DeserializeOwned;

use super::config::{ObjectiveConfig, Recipe};
use super::note::Note;
use crate::{Decoder, Dpo, DpoConfig, Error, Objective, Observer, Orpo, Reference, ReferenceLogprobs, Result, Reward, Sft};

/// What an objective can be made of: [`Recipe::prepare_with`].
pub struct ObjectiveContext<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) decoder: &'a Decoder,
    pub(super) rows: &'a dyn Dataset,
    pub(super) out: &'a Path,
    pub(super) observer: &'a mut dyn Observer,
}

impl ObjectiveContext<'_> {
    /// The model that training starts from, without the recipe's low-rank updates.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
    }

    /// All rows: those held out, then those that are trained on.
    pub fn rows(&self) -> &dyn Dataset {
        self.rows
    }

    /// The recipe's `objective.settings` in the objective's own form.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the key.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        let settings = match &self.recipe.objective {
            ObjectiveConfig::Custom(custom) => custom.settings.clone(),
            _ => toml::Table::new(),
        };
        settings.try_into().map_err(|error| Error::Recipe { place: "the recipe's objective.settings".into(), error: Box::new(error) })
    }

    /// The model that training starts from as a reference: the log-probabilities of all rows, computed once and kept beside the data,
    /// where the next run finds them.
    ///
    /// # Errors
    /// As [`ReferenceLogprobs::compute_in`].
    pub fn reference(&mut self) -> Result<Reference> {
        let (data, observer) = (&self.recipe.data.path, &mut *self.observer);
        let (folder, reason) = reference_folder(data, self.out);
        if let Some(reason) = reason {
            observer.note(&Note::ReferenceInRunFolder { data: data.clone(), folder: folder.clone(), reason: reason.to_string() });
        }
        let stem = data.file_stem().unwrap_or_default().to_string_lossy();
        let found = ReferenceLogprobs::compute_in(
            folder,
            &stem,
            self.decoder,
            self.recipe.template.jinja(),
            self.rows,
            ReferenceLogprobs::TOKENS_AT_ONCE,
            &mut |done, all| observer.reference(done, all),
        )?;
        observer.note(&Note::Reference { path: found.path().into() });
        Ok(Reference::Stored(found))
    }

    /// The objective that a recipe configures, unless the caller brings one.
    pub(super) fn known(&mut self) -> Result<Box<dyn Objective>> {
        Ok(match self.recipe.objective {
            ObjectiveConfig::Sft {} => Box::new(Sft),
            ObjectiveConfig::Dpo { beta, label_smoothing } => {
                Box::new(Dpo::new(DpoConfig { beta, label_smoothing }, self.reference()?, self.rows)?)
            }
            ObjectiveConfig::Orpo { lambda, nll } => Box::new(Orpo::new(lambda, nll)?),
            ObjectiveConfig::Reward { imitation } => Box::new(Reward::with_imitation(imitation)?),
            ObjectiveConfig::Custom(_) => return Err(self.recipe.needs_objective()),
        })
    }
}

impl Recipe {
    pub(super) fn needs_objective(&self) -> Error {
        self.rule("objective.kind is custom, but no objective is given: prepare the run by Recipe::prepare_with")
    }
}

/// The folder for log-probabilities of rows of a data file: that of the file, where every run on it finds them; that of the run if
/// the first cannot be written, with the reason.
fn reference_folder(data: &Path, out: &Path) -> (PathBuf, Option<io::Error>) {
    let beside = data.parent().unwrap_or(Path::new(""));
    let probe = beside.join(format!(".reference.{}.tmp", std::process::id()));
    match File::create_new(&probe).and_then(|file| {
        drop(file);
        fs::remove_file(&probe)
    }) {
        Ok(()) => (beside.into(), None),
        Err(error) => (out.into(), Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_kept_beside_the_data_or_else_in_the_runs_folder() {
        let at = tempfile::tempdir().unwrap();
        let (beside, reason) = reference_folder(&at.path().join("pairs.jsonl"), Path::new("out"));
        assert!(beside == at.path() && reason.is_none());
        assert_eq!(fs::read_dir(at.path()).unwrap().count(), 0, "trying leaves nothing");
        assert_eq!(reference_folder(Path::new("pairs.jsonl"), Path::new("out")).0, Path::new(""));
        let (other, reason) = reference_folder(&at.path().join("no such folder/pairs.jsonl"), Path::new("out"));
        assert!(other == Path::new("out") && reason.is_some());
    }
}
