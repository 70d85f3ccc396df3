//! The training loop.

use std::path::Path;
use std::time::Instant;

use crate::checkpoint::{Checkpoint, Fingerprint};
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
}

impl<O: Objective> Trainer<O> {
    /// A trainer that has taken no step. With an objective that takes n documents for each example, rows
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
        let mut lengths = Vec::with_capacity(rows.len() / per_example);
        for (example, documents) in rows.chunks(per_example).enumerate() {
            let batch = Batch::concat(&documents.iter().collect::<Vec<_>>());
            let row = example * per_example;
            batch.check(decoder.config().vocab_size).map_err(|error| Error::Batch { reason: format!("row {row}: {error}") })?;
            if let Some(document) = documents.iter().position(|document| Batch::concat(&[document]).supervised().is_empty()) {
                return Err(Error::NothingTrained { row: row + document });
            }
            lengths.push(batch.tokens());
        }
        objective.check(&decoder, &rows)?;
        let order = Order::new(config.seed, config.tokens_per_micro_batch, lengths)?;
        let optimizer = AdamW::new(config.adamw());
        Ok(Self { decoder, objective, rows, config, order, optimizer })
    }

    /// The model as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model, when training is over.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Trains to the config's last step in the folder `dir`, from its newest checkpoint if it has one; calls
    /// `on_step` after each step.
    ///
    /// Leaves `metrics.jsonl`, `checkpoints/` and, at the end, `model/` with `config.json` and
    /// `model.safetensors`. A run that is cut off and started again gives the same bytes as one that was not.
    ///
    /// # Errors
    /// If the folder holds another run's checkpoint, a file cannot be written, or a step fails.
    pub fn fit(&mut self, dir: impl AsRef<Path>, on_step: &mut dyn FnMut(&StepMetrics)) -> Result<()> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).at(dir)?;
        let fingerprint = Fingerprint::new(&self.config, &self.objective.identity(), self.decoder.config(), &self.rows);
        let mut saved = None;
        if let Some(newest) = Checkpoint::list(dir)?.last() {
            self.optimizer = newest.restore(&self.decoder, &self.config, &fingerprint, |name| self.objective.trains(name))?;
            saved = Some(newest.step);
        }
        let mut log = Log::open(&dir.join("metrics.jsonl"), self.steps())?;
        while self.steps() < self.config.steps {
            let metrics = self.step()?;
            log.write(&metrics)?;
            on_step(&metrics);
            let last = self.steps() == self.config.steps;
            if last || self.config.checkpoint_every.is_some_and(|every| self.steps().is_multiple_of(every)) {
                log.sync()?;
                saved = Some(Checkpoint::write(dir, &self.decoder, &self.optimizer, &fingerprint, self.config.keep_last)?.step);
            }
        }
        debug_assert_eq!(saved.unwrap_or(0), self.steps());
        write_folder(&dir.join("model"), |folder| self.decoder.save(folder))
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
        let (mut gradients, mut loss, mut figures) = (Gradients::default(), 0.0, Figures::new());
        for micro_batch in &micro_batches {
            let part = self.objective.loss(&self.decoder, micro_batch, weight)?;
            let value = f64::from(part.loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(Error::NotFinite { step, what: "loss", value, rows: micro_batch.rows.clone() });
            }
            loss += value;
            part.figures.into_iter().for_each(|(name, value)| *figures.entry(name).or_insert(0.0) += value);
            gradients.add(&self.decoder, part.loss.backward()?)?;
        }
        if step == 0 {
            self.check_gradients(&gradients)?;
        }
        let grad_norm = gradients.norm()?;
        if !grad_norm.is_finite() {
            let rows = micro_batches.into_iter().flat_map(|micro_batch| micro_batch.rows).collect();
            return Err(Error::NotFinite { step, what: "grad_norm", value: grad_norm, rows });
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
            if gradients.is_zero(name)? {
                return Err(Error::ZeroGradient { name: name.clone() });
            }
        }
        Ok(())
    }
}
