//! The training loop.

use std::path::Path;
use std::time::Instant;

use crate::checkpoint::{Checkpoint, Fingerprint};
use crate::evaluation::{Evaluation, Evaluations};
use crate::file::{AtPath, write_folder};
use crate::metrics::Log;
use crate::{
    AdamW, Batch, Decoder, Error, Figures, Gradients, MicroBatch, Objective, Order, Result, StepMetrics, TokenRow, TrainConfig, Weight,
};

/// Trains a [`Decoder`] on rows.
///
/// ```no_run
/// # use janus_train::*;
/// # fn run(decoder: Decoder, rows: Vec<TokenRow>) -> Result<()> {
/// let config = TrainConfig { warmup_steps: 10, clip_norm: Some(1.0), ..TrainConfig::new(300, 4096, 3e-3, 7) };
/// let mut trainer = Trainer::new(decoder, Sft, rows, config)?;
/// trainer.fit("runs/sft", &mut |step| eprintln!("{} {:.3}", step.step, step.loss))?;
/// # Ok(())
/// # }
/// ```
pub struct Trainer<O> {
    decoder: Decoder,
    objective: O,
    rows: Vec<TokenRow>,
    config: TrainConfig,
    order: Order,
    optimizer: AdamW,
    held_out: Vec<MicroBatch>,
}

/// What looks on while a [`Trainer`] works. Every method may be left out.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, _metrics: &StepMetrics) {}

    /// The held-out rows were evaluated, with this model.
    ///
    /// # Errors
    /// Whatever the observer makes of it; it ends the run.
    fn evaluated(&mut self, _evaluation: &Evaluation, _decoder: &Decoder) -> Result<()> {
        Ok(())
    }
}

/// A function that is told of every step.
struct OnStep<'a>(&'a mut dyn FnMut(&StepMetrics));

impl Observer for OnStep<'_> {
    fn step(&mut self, metrics: &StepMetrics) {
        (self.0)(metrics);
    }
}

impl<O: Objective> Trainer<O> {
    /// A trainer that has taken no step; the model's weights become of the config's type. With an objective that takes n documents for each example, rows
    /// `n·i..n·(i+1)` are example i.
    ///
    /// # Errors
    /// If the config is out of range, or a row is too long, carries no loss, or does not fit the model.
    pub fn new(decoder: Decoder, objective: O, rows: Vec<TokenRow>, config: TrainConfig) -> Result<Self> {
        config.check()?;
        let per_example = objective.documents_per_example();
        if !rows.len().is_multiple_of(per_example) {
            return Err(Error::Incomplete { rows: rows.len(), per_example });
        }
        let mut decoder = decoder.to_dtype(config.dtype)?;
        decoder.set_activation_checkpointing(config.activation_checkpointing);
        let lengths = checked_lengths(&decoder, &rows, per_example)?;
        objective.check(&decoder, &rows)?;
        let order = Order::new(config.seed, config.tokens_per_micro_batch, lengths)?;
        let order = order.with_examples(config.examples_per_micro_batch.unwrap_or(usize::MAX));
        let optimizer = AdamW::new(config.adamw());
        Ok(Self { decoder, objective, rows, config, order, optimizer, held_out: Vec::new() })
    }

    /// Sets the rows to evaluate on, which are grouped into examples as the training rows are.
    ///
    /// # Errors
    /// If a row is too long, carries no loss, or does not fit the model.
    pub fn with_held_out(mut self, rows: &[TokenRow]) -> Result<Self> {
        let per_example = self.objective.documents_per_example();
        if !rows.len().is_multiple_of(per_example) {
            return Err(Error::Incomplete { rows: rows.len(), per_example });
        }
        let capacity = self.config.tokens_per_micro_batch;
        let (mut room, mut groups): (usize, Vec<Vec<usize>>) = (0, Vec::new());
        for (example, &tokens) in checked_lengths(&self.decoder, rows, per_example)?.iter().enumerate() {
            if tokens > capacity {
                return Err(Error::TooLong { row: example * per_example, tokens, capacity });
            }
            if tokens > room || groups.is_empty() {
                groups.push(Vec::new());
                room = capacity;
            }
            room -= tokens;
            if let Some(group) = groups.last_mut() {
                group.extend(example * per_example..(example + 1) * per_example);
            }
        }
        self.held_out = groups
            .into_iter()
            .map(|group| MicroBatch { batch: Batch::concat(&group.iter().map(|&row| &rows[row]).collect::<Vec<_>>()), rows: group })
            .collect();
        Ok(self)
    }

    /// Loss and figures over the held-out rows with the model as it is; none without such rows.
    ///
    /// # Errors
    /// If the objective fails.
    pub fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let decoder = self.decoder.detached()?;
        let weight: Weight = self.held_out.iter().map(|micro_batch| self.objective.weight(&micro_batch.batch)).sum();
        let (mut loss, mut figures) = (0.0, Figures::new());
        for micro_batch in &self.held_out {
            let part = self.objective.loss(&decoder, micro_batch, weight)?;
            loss += f64::from(part.loss.to_scalar::<f32>()?);
            add_figures(&mut figures, part.figures);
        }
        self.objective.evaluated(&mut self.decoder, &figures);
        let figures = figures.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Ok(Some(Evaluation { step: self.steps(), loss, figures }))
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The model as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model, when training is over.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// [`fit_observed`](Self::fit_observed) by a function that is told of every step.
    ///
    /// # Errors
    /// If the folder holds another run's checkpoint, a file cannot be written, or a step fails.
    pub fn fit(&mut self, dir: impl AsRef<Path>, on_step: &mut dyn FnMut(&StepMetrics)) -> Result<()> {
        self.fit_observed(dir, &mut OnStep(on_step))
    }

    /// Trains to the config's last step in the folder `dir`, from its newest checkpoint if it has one; `observer` looks on.
    ///
    /// Leaves `metrics.jsonl`, `tensorboard/`, `checkpoints/` and, at the end, `model/` with `config.json` and
    /// `model.safetensors`; with held-out rows `evaluations.jsonl`, and with [`EarlyStop`](crate::EarlyStop) the best model in
    /// `best/`. A run that is cut off and started again gives the same bytes as one that was not.
    ///
    /// # Errors
    /// If the folder holds another run's checkpoint, a file cannot be written, or a step fails.
    pub fn fit_observed(&mut self, dir: impl AsRef<Path>, observer: &mut dyn Observer) -> Result<()> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).at(dir)?;
        let fingerprint = Fingerprint::new(&self.config, &self.objective.identity()?, self.decoder.config(), &self.rows);
        if let Some(newest) = Checkpoint::list(dir)?.last() {
            self.optimizer = newest.restore(&self.decoder, &self.config, &fingerprint, |name| self.objective.trains(name))?;
        }
        let mut log = Log::open(&dir.join("metrics.jsonl"), self.steps())?;
        let mut evaluations = Evaluations::open(&dir.join(EVALUATIONS), self.steps())?;
        let early_stop = self.config.early_stop.clone();
        let ended = |evaluations: &Evaluations| match &early_stop {
            Some(rule) => evaluations.at_end(rule),
            None => Ok(false),
        };
        let due = |every: Option<u64>, step: u64| every.is_some_and(|every| step.is_multiple_of(every));
        while self.steps() < self.config.steps && !ended(&evaluations)? {
            let metrics = self.step().map_err(|error| with_checkpoint(error, dir))?;
            log.write(&metrics)?;
            observer.step(&metrics);
            if due(self.config.evaluate_every, self.steps()) {
                self.evaluate_in(dir, &mut evaluations, observer)?;
            }
            let last = self.steps() == self.config.steps || ended(&evaluations)?;
            if last || due(self.config.checkpoint_every, self.steps()) {
                log.sync()?;
                Checkpoint::write(dir, &self.decoder, &self.optimizer, &fingerprint, self.config.keep_last)?;
                log.write_tensorboard(dir, evaluations.all())?;
            }
        }
        // Also where the run ended before: the objective may set something in the model.
        self.evaluate_in(dir, &mut evaluations, observer)?;
        log.write_tensorboard(dir, evaluations.all())?;
        write_folder(&dir.join("model"), |folder| self.decoder.save(folder))
    }

    /// Evaluates, writes the result down, and keeps the model if it is the best.
    fn evaluate_in(&mut self, dir: &Path, evaluations: &mut Evaluations, observer: &mut dyn Observer) -> Result<()> {
        let Some(evaluation) = self.evaluate()? else { return Ok(()) };
        observer.evaluated(&evaluation, &self.decoder)?;
        evaluations.add(&dir.join(EVALUATIONS), evaluation)?;
        match &self.config.early_stop {
            Some(rule) if evaluations.is_best(rule)? => write_folder(&dir.join("best"), |folder| self.decoder.save(folder)),
            _ => Ok(()),
        }
    }

    /// The micro-batches of step `step`, counted from 0, and the epoch of the first.
    pub fn micro_batches(&mut self, step: u64) -> (u64, Vec<MicroBatch>) {
        let per_example = self.objective.documents_per_example();
        let accumulation = self.config.accumulation as u64;
        let mut first_epoch = None;
        let micro_batches = (step * accumulation..(step + 1) * accumulation)
            .map(|index| {
                let (epoch, examples) = self.order.micro_batch(index);
                first_epoch.get_or_insert(epoch);
                let rows: Vec<usize> = examples.iter().flat_map(|&i| i * per_example..(i + 1) * per_example).collect();
                let documents: Vec<&TokenRow> = rows.iter().map(|&row| &self.rows[row]).collect();
                MicroBatch { batch: Batch::concat(&documents), rows }
            })
            .collect();
        (first_epoch.unwrap_or(0), micro_batches)
    }

    /// One optimiser step. Parameters are unchanged if it fails.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the rows of the step; in the first step [`Error::NoGradient`] or
    /// [`Error::ZeroGradient`] if the loss does not reach a parameter.
    pub fn step(&mut self) -> Result<StepMetrics> {
        let start = Instant::now();
        let step = self.steps();
        let (epoch, micro_batches) = self.micro_batches(step);
        let weight: Weight = micro_batches.iter().map(|micro_batch| self.objective.weight(&micro_batch.batch)).sum();
        // What a step that failed left behind.
        Gradients::default().collect(&self.decoder)?;
        let (mut gradients, mut loss, mut figures) = (Gradients::default(), 0.0, Figures::new());
        for (number, micro_batch) in micro_batches.iter().enumerate() {
            let part = self.objective.loss(&self.decoder.in_training(self.config.seed, step, number), micro_batch, weight)?;
            let value = f64::from(part.loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(Error::NotFinite { step, what: "loss", value, rows: micro_batch.rows.clone(), checkpoint: None });
            }
            loss += value;
            add_figures(&mut figures, part.figures);
            gradients.add_store(&self.decoder, part.loss.backward()?)?;
        }
        gradients.collect(&self.decoder)?;
        if step == 0 {
            self.check_gradients(&gradients)?;
        }
        let grad_norm = gradients.norm()?;
        if !grad_norm.is_finite() {
            let rows = micro_batches.into_iter().flat_map(|micro_batch| micro_batch.rows).collect();
            return Err(Error::NotFinite { step, what: "grad_norm", value: grad_norm, rows, checkpoint: None });
        }
        // As torch.nn.utils.clip_grad_norm_ does it.
        let scale = self.config.clip_norm.map_or(1.0, |clip| (clip / (grad_norm + 1e-6)).min(1.0));
        let lr = self.config.lr_at(step);
        self.optimizer.step(&self.decoder, &gradients, lr, scale, |name| self.objective.trains(name))?;
        let tokens = micro_batches.iter().map(|micro_batch| micro_batch.batch.tokens()).sum();
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepMetrics { step: step + 1, epoch, loss, grad_norm, lr, tokens, supervised: weight.tokens, figures, seconds })
    }

    /// Every parameter that trains must be reached: candle drops gradients without a word.
    fn check_gradients(&self, gradients: &Gradients) -> Result<()> {
        for name in self.decoder.parameters().keys().filter(|name| self.objective.trains(name)) {
            if gradients.get(name).is_none() {
                return Err(Error::NoGradient { name: name.clone(), step: 0 });
            }
            // The update of a low-rank pair begins at zero, and with it the gradient of its other half.
            if !name.ends_with(".lora_A.weight") && gradients.is_zero(name)? {
                return Err(Error::ZeroGradient { name: name.clone() });
            }
        }
        Ok(())
    }
}

const EVALUATIONS: &str = "evaluations.jsonl";

fn add_figures(sums: &mut Figures, parts: Figures) {
    parts.into_iter().for_each(|(name, value)| *sums.entry(name).or_insert(0.0) += value);
}

/// Tokens of each example; refuses rows that the model cannot read or that carry no loss.
fn checked_lengths(decoder: &Decoder, rows: &[TokenRow], per_example: usize) -> Result<Vec<usize>> {
    let mut lengths = Vec::with_capacity(rows.len() / per_example);
    for (example, documents) in rows.chunks(per_example).enumerate() {
        let mut tokens = 0;
        for (document, row) in documents.iter().enumerate() {
            let batch = Batch::concat(&[row]);
            let row = example * per_example + document;
            batch.check(decoder.config().vocab_size).map_err(|error| Error::Batch { reason: format!("row {row}: {error}") })?;
            if batch.supervised().is_empty() {
                return Err(Error::NothingTrained { row });
            }
            tokens += batch.tokens();
        }
        lengths.push(tokens);
    }
    Ok(lengths)
}

/// Names the run's newest checkpoint in an error of a step that went to infinity.
fn with_checkpoint(error: Error, dir: &Path) -> Error {
    match error {
        Error::NotFinite { step, what, value, rows, .. } => {
            let newest = Checkpoint::list(dir).ok().and_then(|mut all| all.pop());
            Error::NotFinite { step, what, value, rows, checkpoint: newest.map(|newest| newest.path) }
        }
        error => error,
    }
}
