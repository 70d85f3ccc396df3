//! The objective of a run, built from the model that training starts from and from the rows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use janus_data::Dataset;
use janus_infer::Template;
use serde::de::DeserializeOwned;

use super::config::{ObjectiveConfig, Recipe};
use super::note::Note;
use crate::{
    Decoder, Dpo, DpoConfig, Error, Objective, Observer, Orpo, Reference, ReferenceLogprobs, Result, Reward,
    Sft,
};

/// What is available for building an objective in [`Recipe::prepare_with`].
pub struct ObjectiveContext<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) template: &'a Template,
    pub(super) decoder: &'a Decoder,
    pub(super) rows: &'a dyn Dataset,
    pub(super) out: &'a Path,
    pub(super) observer: &'a mut dyn Observer,
}

impl ObjectiveContext<'_> {
    /// The model that training starts from, without the recipe's LoRA adapters.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
    }

    /// All rows: the held-out rows, then the training rows.
    pub fn rows(&self) -> &dyn Dataset {
        self.rows
    }

    /// The recipe's `objective.settings`, parsed as the objective's own type.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the key.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        let settings = match &self.recipe.objective {
            ObjectiveConfig::Custom(custom) => custom.settings.clone(),
            _ => toml::Table::new(),
        };
        settings.try_into().map_err(|error| Error::Recipe {
            place: "the recipe's objective.settings".into(),
            error: Box::new(error),
        })
    }

    /// The model that training starts from, as the reference model. The log-probabilities of all rows
    /// are computed once and stored in the data's folder, where the next run finds them.
    ///
    /// # Errors
    /// As [`ReferenceLogprobs::compute_in`].
    pub fn reference(&mut self) -> Result<Reference> {
        let (data, observer) = (&self.recipe.data.path, &mut *self.observer);
        let (folder, reason) = reference_folder(data, self.out);
        if let Some(reason) = reason {
            observer.note(&Note::ReferenceInRunFolder {
                data: data.clone(),
                folder: folder.clone(),
                reason: reason.to_string(),
            });
        }
        // A pattern of several files may have characters that a file's name should not have.
        let stem = data.file_stem().unwrap_or_default().to_string_lossy().replace(['*', '?', '[', ']'], "_");
        let found = ReferenceLogprobs::compute_in(
            folder,
            &stem,
            self.decoder,
            self.template.jinja(),
            self.rows,
            ReferenceLogprobs::TOKENS_AT_ONCE,
            &mut |done, all| observer.reference(done, all),
        )?;
        observer.note(&Note::Reference { path: found.path().into() });
        Ok(Reference::Stored(found))
    }

    /// The built-in objective that the recipe configures; an error for a custom one.
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
        self.rule(
            "objective.kind is custom, but no objective is given: prepare the run with Recipe::prepare_with",
        )
    }
}

/// The folder for the reference log-probabilities of a data file. It is the file's own folder, where
/// every run on this data finds them; if that folder is not writable, it is the run's folder, returned
/// with the reason.
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
    fn log_probabilities_are_stored_in_the_datas_folder_or_else_in_the_runs() {
        let at = tempfile::tempdir().unwrap();
        let (beside, reason) = reference_folder(&at.path().join("pairs.jsonl"), Path::new("out"));
        assert!(beside == at.path() && reason.is_none());
        assert_eq!(fs::read_dir(at.path()).unwrap().count(), 0, "the write test leaves no file");
        assert_eq!(reference_folder(Path::new("pairs.jsonl"), Path::new("out")).0, Path::new(""));
        let (other, reason) =
            reference_folder(&at.path().join("no such folder/pairs.jsonl"), Path::new("out"));
        assert!(other == Path::new("out") && reason.is_some());
    }
}
