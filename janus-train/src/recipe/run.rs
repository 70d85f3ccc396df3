//! A recipe at work.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_data::fs::Lock;
use janus_data::{Dataset, Tokenizer};

use super::config::{ObjectiveConfig, Recipe};
use super::note::Note;
use super::record::{FullRecord, Record};
use super::rows::{Numbers, Rows};
use super::samples::Sampling;
use crate::error::AtPath;
use crate::{
    DType, Decoder, Dpo, DpoConfig, Error, Head, ModelConfig, Objective, Observer, Orpo, Reference, ReferenceLogprobs, Result, Reward, Sft,
    StepMetrics, Trainer,
};

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// Optimiser steps, those of earlier attempts included.
    pub steps: u64,
    /// The model's folder.
    pub model: PathBuf,
    /// The last step of this attempt; `None` if none was left to do.
    pub last_step: Option<StepMetrics>,
}

impl Recipe {
    /// Trains in the folder `out`, from its newest checkpoint if it has one, to the same bytes as a run that was not cut off.
    /// Beside the data of DPO it leaves `NAME.reference-KEY.jsonl`: the reference's log-probabilities, which the next run on it
    /// finds.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`PreparedRun::train`].
    pub fn run(&self, out: impl AsRef<Path>, device: &Device, observer: &mut dyn Observer) -> Result<Trained> {
        self.prepare(out, device, observer)?.train(observer)
    }

    /// Reads data and model, and finds whatever is wrong with them before a step is taken; locks the folder `out` and computes
    /// the log-probabilities of a reference model, if the objective has one.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), [`rows`](Self::rows) and [`Trainer::new`]; [`Error::OtherRecipe`] if the folder holds
    /// checkpoints of a run with other low-rank updates; [`janus_data::Error::Locked`] if another run is at work in it.
    pub fn prepare(&self, out: impl AsRef<Path>, device: &Device, observer: &mut dyn Observer) -> Result<PreparedRun<'_>> {
        self.check()?;
        let out = out.as_ref();
        let record = Record::begin(out, self)?;
        let config = self.model_config()?;
        let tokenizer = self.tokenizer(&config)?;
        let rows = self.rows(&tokenizer)?;
        rows.notes.iter().for_each(|note| observer.note(note));
        // All that can be refused is, before the model is loaded.
        let lengths = rows.lengths(self.train.tokens_per_micro_batch)?;
        self.train.for_lengths(&lengths).map_err(|error| self.at_train(error))?;
        let decoder = self.decoder(&config, device, observer)?;
        fs::create_dir_all(out).at(out)?;
        let lock = Lock::folder(out)?;
        let objective = self.objective(&decoder, &rows, out, observer)?;
        let decoder = match &self.lora {
            Some(lora) => decoder.with_lora(lora.clone(), self.train.seed)?,
            None => decoder,
        };
        let Rows { train, held_out, numbers, .. } = rows;
        let samples_at_end = held_out.is_empty();
        let trainer = Trainer::new(decoder, objective, train, self.train.clone()).and_then(|trainer| trainer.with_held_out(held_out));
        let trainer = trainer.map_err(|error| numbers.named(error))?;
        let record = record.made_of(trainer.config(), device)?;
        Ok(PreparedRun { recipe: self, out: out.into(), lock, tokenizer, record, numbers, trainer, samples_at_end })
    }

    pub(crate) fn at_train(&self, error: Error) -> Error {
        match error {
            error @ Error::Setting { .. } => {
                Error::RecipeSetting { place: self.data.path.display().to_string(), table: "train.", error: Box::new(error) }
            }
            error => Error::InData { path: self.data.path.clone(), source: Box::new(error) },
        }
    }

    /// The model that training starts from.
    fn decoder(&self, config: &ModelConfig, device: &Device, observer: &mut dyn Observer) -> Result<Decoder> {
        if self.train.dtype == DType::Bf16 && device.is_cpu() {
            observer.note(&Note::Bf16OnCpu);
        }
        let decoder = match &self.model.path {
            Some(path) => Decoder::load_as(path, self.train.dtype, device)?,
            None => Decoder::init(config, self.train.seed, device)?.to_dtype(self.train.dtype)?,
        };
        if self.objective.heads().contains(&Head::Value) && !decoder.has_value_head() {
            return decoder.with_value_head(self.train.seed);
        }
        Ok(decoder)
    }

    fn objective(&self, decoder: &Decoder, rows: &Rows, out: &Path, observer: &mut dyn Observer) -> Result<Box<dyn Objective>> {
        Ok(match self.objective {
            ObjectiveConfig::Sft {} => Box::new(Sft),
            ObjectiveConfig::Dpo { beta, label_smoothing } => {
                let reference = self.reference(decoder, &*rows.all, out, observer)?;
                Box::new(Dpo::new(DpoConfig { beta, label_smoothing }, Reference::Stored(reference), &*rows.all)?)
            }
            ObjectiveConfig::Orpo { lambda, nll } => Box::new(Orpo::new(lambda, nll)?),
            ObjectiveConfig::Reward { imitation } => Box::new(Reward::with_imitation(imitation)?),
        })
    }

    /// The log-probabilities of all rows under the model that training starts from.
    fn reference(&self, decoder: &Decoder, rows: &dyn Dataset, out: &Path, observer: &mut dyn Observer) -> Result<ReferenceLogprobs> {
        let data = &self.data.path;
        let (folder, reason) = reference_folder(data, out);
        if let Some(reason) = reason {
            observer.note(&Note::ReferenceInRunFolder { data: data.clone(), folder: folder.clone(), reason: reason.to_string() });
        }
        let stem = data.file_stem().unwrap_or_default().to_string_lossy();
        let found = ReferenceLogprobs::compute_in(
            folder,
            &stem,
            decoder,
            self.template.jinja(),
            rows,
            ReferenceLogprobs::TOKENS_AT_ONCE,
            &mut |done, all| observer.reference(done, all),
        )?;
        observer.note(&Note::Reference { path: found.path().into() });
        Ok(found)
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

/// A run of which everything is ready for its first step, in a folder that is locked.
pub struct PreparedRun<'a> {
    recipe: &'a Recipe,
    out: PathBuf,
    lock: Lock,
    tokenizer: Tokenizer,
    record: FullRecord<'a>,
    numbers: Numbers,
    trainer: Trainer<Box<dyn Objective>>,
    samples_at_end: bool,
}

impl PreparedRun<'_> {
    /// Optimiser steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.trainer.total_steps()
    }

    /// Trains to the last step.
    ///
    /// # Errors
    /// As [`Trainer::fit`], with the rows of the data's file; if a sample or the record cannot be written.
    pub fn train(self, observer: &mut dyn Observer) -> Result<Trained> {
        let Self { recipe, out, lock, tokenizer, record, numbers, mut trainer, samples_at_end } = self;
        record.write_first(&out)?;
        let mut sampling = Sampling::new(observer, recipe, &tokenizer, &out);
        let fitted = trainer.fit_locked(&out, &lock, &mut sampling);
        fitted.map_err(|error| record.explained(numbers.named(error)))?;
        if samples_at_end {
            sampling.sample(trainer.steps(), trainer.decoder())?;
        }
        let last_step = sampling.last_step();
        record.write(&out, Some(trainer.steps()))?;
        Ok(Trained { steps: trainer.steps(), model: out.join("model"), last_step })
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
