//! Running a recipe.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_data::fs::Lock;
use janus_data::{Dataset as _, Tokenizer};
use janus_infer::Template;

use super::config::{ObjectiveConfig, Recipe};
use super::note::Note;
use super::objective::ObjectiveContext;
use super::record::{FullRecord, Record};
use super::rows::{RowNumbers, Rows};
use super::samples::Sampling;
use super::template::RecipeTemplate;
use crate::error::AtPath;
use crate::{
    DType, Decoder, Error, Head, ModelConfig, Objective, Observer, Result, StepMetrics, StopReason, Trainer,
};

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// Optimiser steps, including those of earlier attempts.
    pub steps: u64,
    /// The model's folder.
    pub model: PathBuf,
    /// The last step of this attempt; `None` if the run was already complete.
    pub last_step: Option<StepMetrics>,
    /// Why the run ended.
    pub reason: StopReason,
}

impl Recipe {
    /// Trains in the folder `out`, from its newest checkpoint if it has one. The result has the same
    /// bytes as that of a run that was not interrupted. DPO writes the reference model's
    /// log-probabilities as
    /// `NAME.reference-KEY.jsonl` into the data's folder, where the next run on the same data finds
    /// them.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`PreparedRun::train`].
    pub fn run(
        &self,
        out: impl AsRef<Path>,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Trained> {
        self.prepare(out, device, observer)?.train(observer)
    }

    /// Reads and checks data and model before the first step, locks the folder `out`, and computes the
    /// log-probabilities of the reference model if the objective has one.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), [`rows`](Self::rows) and [`Trainer::new`];
    /// [`Error::OtherRecipe`] if the folder holds checkpoints of a run with other LoRA adapters;
    /// [`janus_data::Error::Locked`] if another run is using the folder; [`Error::RecipeRule`] for a
    /// custom objective, which needs [`prepare_with`](Self::prepare_with).
    pub fn prepare(
        &self,
        out: impl AsRef<Path>,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<PreparedRun<'_>> {
        if matches!(self.objective, ObjectiveConfig::Custom(_)) {
            return Err(self.needs_objective());
        }
        self.prepare_run(out.as_ref(), device, observer, |context| context.known())
    }

    /// [`prepare`](Self::prepare) for your own [`Objective`], if the recipe has an
    /// [`ObjectiveConfig::Custom`]. The closure builds the objective after the model and the rows are
    /// loaded. Rows, folder, record, samples and resuming work as for the built-in objectives.
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
    /// As [`prepare`](Self::prepare); the error of `objective`; [`Error::RecipeRule`] if the recipe's
    /// objective is not a custom one, or if its documents per example or its heads differ from those of
    /// the objective.
    pub fn prepare_with<O: Objective + 'static>(
        &self,
        out: impl AsRef<Path>,
        device: &Device,
        observer: &mut dyn Observer,
        objective: impl FnOnce(&mut ObjectiveContext<'_>) -> Result<O>,
    ) -> Result<PreparedRun<'_>> {
        let ObjectiveConfig::Custom(custom) = &self.objective else {
            return Err(self.rule("objective.kind is not custom, but an objective is given: set it to custom, or use Recipe::prepare"));
        };
        self.prepare_run(out.as_ref(), device, observer, |context| {
            let objective = objective(context)?;
            if objective.documents_per_example() != custom.documents_per_example {
                return Err(self.rule("objective.documents_per_example differs from that of the given objective: set it to that value"));
            }
            if objective.heads() != custom.heads {
                return Err(self.rule("objective.heads differ from those of the given objective: set the same heads in the same order"));
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
        let template = self.chat_template(&tokenizer)?;
        let rows = self.rows(&tokenizer)?;
        rows.notes.iter().for_each(|note| observer.note(note));
        // All checks that need no weights are done before the model is loaded.
        let lengths = rows.lengths(self.train.tokens_per_micro_batch)?;
        let positions = config.max_position_embeddings;
        if self.data.max_tokens > positions {
            let longest = rows.longest()?;
            let note = Note::LongerThanContext { longest, positions };
            (longest > positions).then(|| observer.note(&note));
        }
        self.train.for_lengths(&lengths).map_err(|error| self.at_train(error))?;
        if let Some((left_over, micro_batches)) = self.train.left_over(&lengths)? {
            observer.note(&Note::LeftOver {
                left_over,
                micro_batches,
                per_step: self.train.gradient_accumulation_steps,
            });
        }
        let mut decoder = self.decoder(&config, device, observer)?;
        let (bos, eos) = self.special_tokens(decoder.config(), &tokenizer, &template)?;
        decoder.set_special_tokens(bos, eos);
        fs::create_dir_all(out).at(out)?;
        let lock = Lock::folder(out)?;
        let objective = objective(&mut ObjectiveContext {
            recipe: self,
            template: &template,
            decoder: &decoder,
            rows: &*rows.all,
            out,
            observer,
        })?;
        let decoder = match &self.lora {
            Some(lora) => decoder.with_lora(lora.clone(), self.train.seed)?,
            None => decoder,
        };
        let Rows { train, held_out, numbers, .. } = rows;
        let samples_at_end = held_out.is_empty();
        let trainer = Trainer::new(decoder, objective, train, self.train.clone())
            .and_then(|trainer| trainer.with_held_out(held_out));
        let trainer = trainer.map_err(|error| numbers.in_file(error))?;
        let record = record.with_inputs(trainer.config(), device)?;
        Ok(PreparedRun {
            recipe: self,
            out: out.into(),
            lock,
            tokenizer,
            template,
            record,
            numbers,
            trainer,
            samples_at_end,
        })
    }

    pub(crate) fn at_train(&self, error: Error) -> Error {
        match error {
            error @ Error::Setting { .. } => Error::RecipeSetting {
                place: self.data.path.display().to_string(),
                table: "train.",
                error: Box::new(error),
            },
            error => Error::InData { path: self.data.path.clone(), source: Box::new(error) },
        }
    }

    /// The tokens that begin and end a sequence in the trained model: the template's, so that every program
    /// stops where the template ends a turn. A model that starts from a folder keeps its own too.
    fn special_tokens(
        &self,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        template: &Template,
    ) -> Result<(Option<u32>, Vec<u32>)> {
        let id = |token: &str| {
            tokenizer.token_id(token).ok_or_else(|| janus_data::Error::NoSuchToken { token: token.into() })
        };
        let ends = match self.template {
            RecipeTemplate::BuiltIn(template) => vec![id(template.end_of_turn())?],
            RecipeTemplate::Own => template.end_ids(tokenizer),
        };
        if let (RecipeTemplate::BuiltIn(template), None) = (self.template, &self.model.path) {
            return Ok((template.bos().map(id).transpose()?, ends));
        }
        let mut eos = ends;
        eos.retain(|end| !config.eos_token_ids.contains(end));
        eos.extend(&config.eos_token_ids);
        Ok((config.bos_token_id, eos))
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

/// A run that is ready for its first step, in a locked folder.
pub struct PreparedRun<'a> {
    recipe: &'a Recipe,
    out: PathBuf,
    lock: Lock,
    tokenizer: Tokenizer,
    template: Template,
    record: FullRecord<'a>,
    numbers: RowNumbers,
    trainer: Trainer<Box<dyn Objective>>,
    samples_at_end: bool,
}

impl PreparedRun<'_> {
    /// Optimiser steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.trainer.total_steps()
    }

    /// Trains to the last step, or until the recipe's `early_stop` or the observer ends the run
    /// ([`Trained::reason`]).
    ///
    /// # Errors
    /// As [`Trainer::fit`], with row numbers of the data file; if a sample or the record cannot be
    /// written.
    pub fn train(self, observer: &mut dyn Observer) -> Result<Trained> {
        let Self { recipe, out, lock, tokenizer, template, record, numbers, mut trainer, samples_at_end } =
            self;
        record.write_first(&out)?;
        let mut sampling = Sampling::new(observer, recipe, &tokenizer, &template, &out);
        let fitted = trainer.fit_locked(&out, &lock, &mut sampling);
        let reason = fitted.map_err(|error| record.explained(numbers.in_file(error)))?;
        let steps = trainer.steps();
        if samples_at_end {
            sampling.sample(steps, trainer.decoder())?;
        }
        if reason != StopReason::Observer {
            sampling.remove_stop_samples(|step| {
                trainer.config().evaluation_is_due(step, trainer.total_steps())
            })?;
        }
        let last_step = sampling.last_step();
        record.write(&out, Some((steps, reason)))?;
        Ok(Trained { steps, model: out.join("model"), last_step, reason })
    }
}
