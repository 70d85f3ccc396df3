//! A recipe at work.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_data::fs::Lock;
use janus_data::{Dataset as _, Tokenizer};

use super::config::{ObjectiveConfig, Recipe};
use super::note::Note;
use super::objective::ObjectiveContext;
use super::record::{FullRecord, Record};
use super::rows::{Numbers, Rows};
use super::samples::Sampling;
use crate::error::AtPath;
use crate::{DType, Decoder, Error, Head, ModelConfig, Objective, Observer, Result, StepMetrics, StopReason, Trainer};

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
    /// Why the run ended.
    pub reason: StopReason,
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
    /// checkpoints of a run with other low-rank updates; [`janus_data::Error::Locked`] if another run is at work in it;
    /// [`Error::RecipeRule`] for an objective of your own, which [`prepare_with`](Self::prepare_with) takes.
    pub fn prepare(&self, out: impl AsRef<Path>, device: &Device, observer: &mut dyn Observer) -> Result<PreparedRun<'_>> {
        if matches!(self.objective, ObjectiveConfig::Custom(_)) {
            return Err(self.needs_objective());
        }
        self.prepare_run(out.as_ref(), device, observer, |context| context.known())
    }

    /// [`prepare`](Self::prepare) with an [`Objective`] of your own, where the recipe's is an [`ObjectiveConfig::Custom`]. It is made
    /// once the model and the rows are there; all else is that of every recipe: rows, folder, record, samples, and where it continues.
    ///
    /// ```no_run
    /// # use janus_train::{candle_core::Device, *};
    /// # struct Ipo { tau: f64, reference: Reference }
    /// # impl Objective for Ipo {
    /// #     fn denominator(&self, batch: &Batch) -> LossDenominator { pairs::denominator(batch) }
    /// #     fn loss(&self, _: &Decoder, _: &MicroBatch, _: LossDenominator) -> Result<LossOutput> { unimplemented!() }
    /// #     fn identity(&self) -> Result<serde_json::Value> { unimplemented!() }
    /// # }
    /// #[derive(serde::Deserialize)]
    /// struct Settings {
    ///     tau: f64,
    /// }
    ///
    /// let recipe = Recipe::read("ipo.toml")?;
    /// let run = recipe.prepare_with("runs/ipo", &Device::Cpu, &mut (), |context| {
    ///     Ok(Ipo { tau: context.settings::<Settings>()?.tau, reference: context.reference()? })
    /// })?;
    /// run.train(&mut ())?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), and what `objective` fails with; [`Error::RecipeRule`] if the recipe's objective is no custom one
    /// or says otherwise of documents and heads than the objective does.
    pub fn prepare_with<O: Objective + 'static>(
        &self,
        out: impl AsRef<Path>,
        device: &Device,
        observer: &mut dyn Observer,
        objective: impl FnOnce(&mut ObjectiveContext<'_>) -> Result<O>,
    ) -> Result<PreparedRun<'_>> {
        let ObjectiveConfig::Custom(custom) = &self.objective else {
            return Err(self.rule("objective.kind is not custom, but an objective is given: set it to custom, or prepare the run without"));
        };
        self.prepare_run(out.as_ref(), device, observer, |context| {
            let objective = objective(context)?;
            if objective.documents_per_example() != custom.documents_per_example {
                return Err(self.rule("objective.documents_per_example is not that of the objective that is given: set it to that"));
            }
            if objective.heads() != custom.heads {
                return Err(self.rule("objective.heads are not those that the given objective reads: set them to those, in its order"));
            }
            Ok(Box::new(objective))
        })
    }

    fn prepare_run(
        &self,
        out: &Path,
        device: &Device,
        observer: &mut dyn Observer,
        objective: impl FnOnce(&mut ObjectiveContext<'_>) -> Result<Box<dyn Objective>>,
    ) -> Result<PreparedRun<'_>> {
        self.check()?;
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
        let objective = objective(&mut ObjectiveContext { recipe: self, decoder: &decoder, rows: &*rows.all, out, observer })?;
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

    /// Trains to the last step, or until the recipe's `early_stop` or the observer ends the run ([`Trained::reason`]).
    ///
    /// # Errors
    /// As [`Trainer::fit`], with the rows of the data's file; if a sample or the record cannot be written.
    pub fn train(self, observer: &mut dyn Observer) -> Result<Trained> {
        let Self { recipe, out, lock, tokenizer, record, numbers, mut trainer, samples_at_end } = self;
        record.write_first(&out)?;
        let mut sampling = Sampling::new(observer, recipe, &tokenizer, &out);
        let fitted = trainer.fit_locked(&out, &lock, &mut sampling);
        let reason = fitted.map_err(|error| record.explained(numbers.named(error)))?;
        let steps = trainer.steps();
        if samples_at_end {
            sampling.sample(steps, trainer.decoder())?;
        }
        if reason != StopReason::Observer {
            sampling.remove_of_stops(|step| trainer.config().evaluation_is_due(step, trainer.total_steps()))?;
        }
        let last_step = sampling.last_step();
        record.write(&out, Some((steps, reason)))?;
        Ok(Trained { steps, model: out.join("model"), last_step, reason })
    }
}
