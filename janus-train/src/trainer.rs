//! The training loop.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Instant;

use janus_data::Dataset;
use janus_data::fs::{AtomicFolder, Lock, recover};

use crate::checkpoint::{CHECKPOINTS, Checkpoint, RunIdentity};
use crate::error::AtPath;
use crate::evaluation::{Evaluation, Evaluations};
use crate::metrics::Log;
use crate::{
    AdamW, Batch, BatchSampler, Decoder, Error, Gradients, Head, LossDenominator, Metrics, MicroBatch,
    Objective, Observer, Quantity, Result, StepMetrics, StopReason, TrainConfig,
};

/// Trains a [`Decoder`] on the rows of a `Vec<TokenRow>`, a [`TokenFile`](janus_data::TokenFile) or any
/// other [`Dataset`]. Only the rows of the current step are kept in memory.
///
/// ```no_run
/// # use janus_train::*;
/// # fn run(decoder: Decoder, rows: Vec<TokenRow>) -> Result<()> {
/// let config = TrainConfig::new(Length::Epochs(3.0), 4096, 3e-3, 7);
/// let mut trainer = Trainer::new(decoder, Sft, rows, config)?;
/// trainer.fit("runs/sft", &mut |step: &StepMetrics| eprintln!("{} {:.3}", step.step, step.loss))?;
/// # Ok(())
/// # }
/// ```
pub struct Trainer<O> {
    decoder: Decoder,
    objective: O,
    rows: Box<dyn Dataset>,
    config: TrainConfig,
    /// Steps of the whole run.
    steps: u64,
    /// Trainable heads that the objective does not read. They are frozen while this trainer exists.
    idle_heads: Vec<String>,
    sampler: BatchSampler,
    optimizer: AdamW,
    held_out: Box<dyn Dataset>,
    /// The held-out rows of each micro-batch.
    held_out_parts: Vec<Range<usize>>,
    held_out_denominator: LossDenominator,
}

impl<O: Objective> Trainer<O> {
    /// A trainer before its first step. The model's weights are converted to the config's dtype, and
    /// heads that the objective does not read are frozen until [`into_decoder`](Self::into_decoder). If
    /// the objective takes n documents for each example, rows `n·i..n·(i+1)` are example i.
    ///
    /// # Errors
    /// If the config is out of range, or a row is too long, carries no loss, or does not fit the model
    /// or the objective; [`Error::NothingTrains`] if every weight is frozen.
    pub fn new(
        decoder: Decoder,
        objective: O,
        rows: impl Dataset + 'static,
        config: TrainConfig,
    ) -> Result<Self> {
        config.check()?;
        let per_example = objective.documents_per_example();
        if !rows.len().is_multiple_of(per_example) {
            return Err(Error::Incomplete { rows: rows.len(), per_example });
        }
        let mut decoder = decoder.to_dtype(config.dtype)?;
        decoder.set_activation_checkpointing(config.activation_checkpointing);
        let lengths = checked_lengths(&decoder, &rows, per_example, config.tokens_per_micro_batch)?;
        let idle = Head::ALL.into_iter().filter(|head| !objective.heads().contains(head)).map(Head::weight);
        let idle_heads: Vec<String> =
            idle.filter(|name| decoder.parameters().contains_key(*name)).map(String::from).collect();
        let decoder = decoder.frozen(|name| idle_heads.iter().any(|head| head == name));
        objective.check(&decoder, &rows)?;
        if decoder.parameters().is_empty() {
            return Err(Error::NothingTrains);
        }
        let (config, steps) = config.for_lengths(&lengths)?;
        let sampler = config.sampler(lengths)?;
        let optimizer = AdamW::new(config.adamw())?;
        Ok(Self {
            decoder,
            objective,
            rows: Box::new(rows),
            config,
            steps,
            idle_heads,
            sampler,
            optimizer,
            held_out: Box::new(Vec::new()),
            held_out_parts: Vec::new(),
            held_out_denominator: LossDenominator::default(),
        })
    }

    /// Sets the held-out rows to evaluate on. They are grouped into examples like the training rows.
    ///
    /// # Errors
    /// If a row is too long, carries no loss, or does not fit the model or the objective.
    pub fn with_held_out(mut self, rows: impl Dataset + 'static) -> Result<Self> {
        let per_example = self.objective.documents_per_example();
        if !rows.len().is_multiple_of(per_example) {
            return Err(Error::Incomplete { rows: rows.len(), per_example });
        }
        let capacity = self.config.tokens_per_micro_batch;
        let (mut room, mut parts): (usize, Vec<Range<usize>>) = (0, Vec::new());
        for (example, tokens) in
            checked_lengths(&self.decoder, &rows, per_example, capacity)?.into_iter().enumerate()
        {
            let (start, end) = (example * per_example, (example + 1) * per_example);
            match parts.last_mut() {
                Some(part) if tokens <= room => part.end = end,
                _ => {
                    parts.push(start..end);
                    room = capacity;
                }
            }
            room -= tokens;
        }
        self.objective.check(&self.decoder, &rows)?;
        self.held_out_denominator = LossDenominator::default();
        for part in &parts {
            self.held_out_denominator +=
                self.objective.denominator(&MicroBatch::read(&rows, part.clone().collect())?.batch);
        }
        (self.held_out, self.held_out_parts) = (Box::new(rows), parts);
        Ok(self)
    }

    /// Loss and metrics of the current model over the held-out rows; `None` if there are no such rows.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a loss or metric that is NaN or infinite, and if the objective fails.
    pub fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let (decoder, step) = (self.decoder.detached()?, self.steps());
        let (mut loss, mut metrics) = (0.0, Metrics::new());
        for rows in &self.held_out_parts {
            let micro_batch = MicroBatch::read(&*self.held_out, rows.clone().collect())?;
            let part = self.objective.loss(&decoder, &micro_batch, self.held_out_denominator)?;
            let value = f64::from(part.loss.to_scalar::<f32>()?);
            // JSON cannot represent such a number, and it cannot be compared with others.
            let mut numbers = std::iter::once(("loss", value))
                .chain(part.metrics.iter().map(|(&name, &value)| (name, value)));
            if let Some((name, value)) = numbers.find(|(_, value)| !value.is_finite()) {
                return Err(Error::NotFinite {
                    step,
                    what: Quantity::HeldOut(name.into()),
                    value,
                    rows: micro_batch.rows,
                    checkpoint: None,
                });
            }
            loss += value;
            add_metrics(&mut metrics, part.metrics);
        }
        if let Some(scale) = self.objective.reward_scale(&metrics) {
            self.decoder.set_reward_scale(scale);
        }
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Ok(Some(Evaluation { step, loss, metrics }))
    }

    /// The settings, with epochs and warm-up ratio resolved to numbers of steps.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The current model.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The trained model. Heads that this trainer froze are trainable again.
    ///
    /// # Errors
    /// If the device cannot hold such a head.
    pub fn into_decoder(self) -> Result<Decoder> {
        self.decoder.thawed(&self.idle_heads)
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Optimiser steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.steps
    }

    /// Trains to the last step in the folder `dir`, from its newest checkpoint if it has one, unless
    /// [`TrainConfig::early_stop`] or the observer ends the run earlier.
    ///
    /// Writes `metrics.jsonl`, `timing.jsonl`, `tensorboard/`, `checkpoints/` and, at the end, `model/`.
    /// With held-out rows it also writes `evaluations.jsonl`, and with [`KeepBest`](crate::KeepBest) or
    /// [`EarlyStop`](crate::EarlyStop) the best model to `best/`. `model/`, `best/` and every checkpoint
    /// are model folders, as [`Decoder::save`] writes them. A run that was interrupted, or stopped by
    /// its observer, and started again gives the same bytes as an uninterrupted one, except for
    /// `timing.jsonl`.
    ///
    /// # Errors
    /// [`Locked`](janus_data::Error::Locked) if another run is using the folder; if the folder has the
    /// checkpoint of another run, a file cannot be written, or a step fails. [`Error::NotFinite`] also
    /// for weights: a model with NaN or infinite weights is never saved.
    pub fn fit(&mut self, dir: impl AsRef<Path>, observer: &mut dyn Observer) -> Result<StopReason> {
        let dir = dir.as_ref();
        self.check_held_out()?;
        std::fs::create_dir_all(dir).at(dir)?;
        self.fit_locked(dir, &Lock::folder(dir)?, observer)
    }

    /// [`fit`](Self::fit) in a folder that the caller has already locked.
    pub(crate) fn fit_locked(
        &mut self,
        dir: &Path,
        _lock: &Lock,
        observer: &mut dyn Observer,
    ) -> Result<StopReason> {
        self.run(dir, observer).map_err(|error| with_checkpoint(error, dir))
    }

    fn run(&mut self, dir: &Path, observer: &mut dyn Observer) -> Result<StopReason> {
        let identity = RunIdentity::new(
            &self.config,
            self.objective.identity()?,
            &self.decoder,
            &self.idle_heads,
            &*self.rows,
            &*self.held_out,
        )?;
        if let Some(newest) = Checkpoint::list(dir)?.last() {
            self.optimizer = newest.restore(&mut self.decoder, &identity, &self.idle_heads)?;
            if self.steps() > 0 {
                self.decoder.clear_reward_scale();
            }
        }
        self.check_metric()?;
        observer.begin(self.steps, self.steps());
        for folder in [dir, &dir.join(CHECKPOINTS), &dir.join("tensorboard")] {
            recover(folder)?;
        }
        Checkpoint::prune(dir, self.config.keep_last)?;
        // An evaluation that is not due was made when an observer stopped the run.
        let mut evaluations =
            Evaluations::open(&dir.join(EVALUATIONS), self.steps(), |step| self.evaluation_is_due(step))?;
        let mut log = Log::open(dir, self.steps(), evaluations.all())?;
        let mut stopped = false;
        let mut evaluated_at = None;
        let reason = loop {
            if self.steps() == self.steps {
                break StopReason::LastStep;
            }
            if evaluations.at_end(self.config.early_stop.as_ref())? {
                break StopReason::EarlyStop;
            }
            if stopped {
                break StopReason::Observer;
            }
            let metrics = self.step()?;
            log.step(&metrics)?;
            stopped = observer.step(&metrics).is_break();
            let step = self.steps();
            // The last evaluation comes before the last checkpoint, because it may set the reward scale
            // in the model.
            if self.evaluation_is_due(step) {
                stopped |= self.evaluate_in(dir, &mut evaluations, &mut log, observer)?.is_break();
                evaluated_at = Some(step);
            }
            let due = step == self.steps
                || evaluations.at_end(self.config.early_stop.as_ref())?
                || self.config.checkpoint_every.is_some_and(|every| step.is_multiple_of(every));
            if due || stopped {
                self.check_finite()?;
                log.sync()?;
                let saved = &mut |folder: &Path| observer.saved(folder);
                Checkpoint::write(
                    dir,
                    &self.decoder,
                    &self.optimizer,
                    &identity,
                    !due,
                    self.config.keep_last,
                    saved,
                )?;
            }
        };
        if evaluated_at != Some(self.steps()) {
            // The run ends here anyway.
            let _: ControlFlow<()> = self.evaluate_in(dir, &mut evaluations, &mut log, observer)?;
        }
        self.save_to(&dir.join("model"), observer)?;
        Ok(reason)
    }

    fn evaluation_is_due(&self, step: u64) -> bool {
        self.config.evaluation_is_due(step, self.steps)
    }

    /// Refuses a metric of `early_stop` or `keep_best` that the objective does not report on the first
    /// held-out rows.
    fn check_metric(&self) -> Result<()> {
        let named = [
            self.config.keep_best.as_ref().map(|best| &best.metric),
            self.config.early_stop.as_ref().map(|stop| &stop.metric),
        ];
        let named: Vec<&String> = named.into_iter().flatten().filter(|name| *name != "loss").collect();
        let Some(rows) = self.held_out_parts.first().filter(|_| !named.is_empty()) else { return Ok(()) };
        let micro_batch = MicroBatch::read(&*self.held_out, rows.clone().collect())?;
        let found =
            self.objective.loss(&self.decoder.detached()?, &micro_batch, self.held_out_denominator)?.metrics;
        match named.into_iter().find(|name| !found.contains_key(name.as_str())) {
            Some(got) => {
                let known =
                    std::iter::once("loss").chain(found.keys().copied()).map(str::to_string).collect();
                Err(Error::UnknownMetric { got: got.clone(), known })
            }
            None => Ok(()),
        }
    }

    /// Refuses settings that need held-out rows if there are none.
    fn check_held_out(&self) -> Result<()> {
        let config = &self.config;
        let fields = [("early_stop", config.early_stop.is_some()), ("keep_best", config.keep_best.is_some())];
        match fields.into_iter().find(|(_, set)| *set) {
            Some((field, _)) if self.held_out.is_empty() => Err(Error::Setting {
                field,
                got: "set".into(),
                expected: "held-out rows to evaluate, but the trainer has none",
            }),
            _ => Ok(()),
        }
    }

    /// Evaluates, records the result, and saves the model to `best/` if it is the best. Returns whether
    /// the observer lets the run continue. An evaluation that is not due does not replace `best/`, which
    /// a resumed run needs unchanged.
    fn evaluate_in(
        &mut self,
        dir: &Path,
        evaluations: &mut Evaluations,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>> {
        let Some(evaluation) = self.evaluate()? else { return Ok(ControlFlow::Continue(())) };
        let flow = observer.evaluated(&evaluation, &self.decoder)?;
        let may_replace_best = self.evaluation_is_due(evaluation.step) || evaluations.all().is_empty();
        if evaluations.add(&dir.join(EVALUATIONS), evaluation.clone())? {
            log.evaluation(&evaluation)?;
        }
        match self.config.best() {
            Some(rule) if may_replace_best && evaluations.is_best(&rule)? => {
                self.save_to(&dir.join("best"), observer)?
            }
            _ => {}
        }
        Ok(flow)
    }

    /// Writes a model folder.
    fn save_to(&mut self, path: &Path, observer: &mut dyn Observer) -> Result<()> {
        self.check_finite()?;
        let folder = AtomicFolder::create(path)?;
        self.decoder.save(folder.path())?;
        observer.saved(folder.path())?;
        Ok(folder.commit()?)
    }

    /// Refuses weights and optimiser states that the last update made infinite or NaN. The loss of the
    /// step does not show this, because it was computed with the weights before the update.
    fn check_finite(&mut self) -> Result<()> {
        let found = match self.decoder.not_finite()? {
            None => self.optimizer.not_finite()?,
            found => found,
        };
        let Some((what, value)) = found else { return Ok(()) };
        let step = self.steps();
        let (_, micro_batches) = self.micro_batches(step.saturating_sub(1))?;
        let rows = micro_batches.into_iter().flat_map(|micro_batch| micro_batch.rows).collect();
        Err(Error::NotFinite { step, what: Quantity::Weight(what), value, rows, checkpoint: None })
    }

    /// The micro-batches of step `step`, counted from 0, and the epoch of the first.
    ///
    /// # Errors
    /// If a row cannot be read.
    pub fn micro_batches(&mut self, step: u64) -> Result<(u64, Vec<MicroBatch>)> {
        let per_example = self.objective.documents_per_example();
        let accumulation = self.config.gradient_accumulation_steps as u64;
        let mut first_epoch = None;
        let micro_batches = (step * accumulation..(step + 1) * accumulation)
            .map(|index| {
                let (epoch, examples) = self.sampler.micro_batch(index);
                first_epoch.get_or_insert(epoch);
                let rows: Vec<usize> =
                    examples.iter().flat_map(|&i| i * per_example..(i + 1) * per_example).collect();
                MicroBatch::read(&*self.rows, rows)
            })
            .collect::<Result<_>>()?;
        Ok((first_epoch.unwrap_or(0), micro_batches))
    }

    /// One optimiser step. Parameters are unchanged if it fails.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the rows of the step; in the first step [`Error::NoGradient`] or
    /// [`Error::ZeroGradient`] if the loss does not reach a parameter.
    pub fn step(&mut self) -> Result<StepMetrics> {
        let start = Instant::now();
        let step = self.steps();
        let (epoch, micro_batches) = self.micro_batches(step)?;
        let denominator: LossDenominator =
            micro_batches.iter().map(|micro_batch| self.objective.denominator(&micro_batch.batch)).sum();
        let (gradients, mut loss, mut metrics) = (Gradients::new(&self.decoder), 0.0, Metrics::new());
        for (number, micro_batch) in micro_batches.iter().enumerate() {
            let decoder = self.decoder.in_training(&gradients, self.config.seed, step, number);
            let part = self.objective.loss(&decoder, micro_batch, denominator)?;
            let value = f64::from(part.loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(Error::NotFinite {
                    step,
                    what: Quantity::Loss,
                    value,
                    rows: micro_batch.rows.clone(),
                    checkpoint: None,
                });
            }
            loss += value;
            add_metrics(&mut metrics, part.metrics);
            gradients.backward(&part.loss)?;
        }
        if step == 0 {
            self.check_gradients(&gradients)?;
        }
        let grad_norm = gradients.norm()?;
        if !grad_norm.is_finite() {
            let rows = micro_batches.into_iter().flat_map(|micro_batch| micro_batch.rows).collect();
            return Err(Error::NotFinite {
                step,
                what: Quantity::GradNorm,
                value: grad_norm,
                rows,
                checkpoint: None,
            });
        }
        // As in torch.nn.utils.clip_grad_norm_.
        let scale = self.config.clip_norm.map_or(1.0, |clip| (clip / (grad_norm + 1e-6)).min(1.0));
        let lr = self.config.lr_at(step, self.steps);
        self.optimizer.step(&self.decoder, &gradients, lr, scale)?;
        // The scale was measured with the weights before this update.
        self.decoder.clear_reward_scale();
        let tokens = micro_batches.iter().map(|micro_batch| micro_batch.batch.tokens()).sum();
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepMetrics {
            step: step + 1,
            epoch,
            loss,
            grad_norm,
            lr,
            tokens,
            supervised: denominator.tokens,
            metrics,
            seconds,
        })
    }

    /// Checks that every trainable parameter gets a gradient, because candle silently drops gradients.
    fn check_gradients(&self, gradients: &Gradients) -> Result<()> {
        for name in self.decoder.parameters().keys() {
            if gradients.get(name).is_none() {
                return Err(Error::NoGradient { name: name.clone(), step: 0 });
            }
            // B of a LoRA adapter is zero at first, so the gradient of A is zero in the first step.
            if !name.ends_with(".lora_A.weight") && gradients.is_zero(name)? {
                return Err(Error::ZeroGradient { name: name.clone() });
            }
        }
        Ok(())
    }
}

const EVALUATIONS: &str = "evaluations.jsonl";

fn add_metrics(sums: &mut Metrics, parts: Metrics) {
    parts.into_iter().for_each(|(name, value)| *sums.entry(name).or_insert(0.0) += value);
}

/// The number of tokens of each example. Refuses rows that do not fit the model or carry no loss, and
/// examples with more than `capacity` tokens.
fn checked_lengths(
    decoder: &Decoder,
    rows: &dyn Dataset,
    per_example: usize,
    capacity: usize,
) -> Result<Vec<usize>> {
    let mut lengths = Vec::with_capacity(rows.len() / per_example);
    for example in 0..rows.len() / per_example {
        let mut tokens = 0;
        for row in example * per_example..(example + 1) * per_example {
            let batch = Batch::concat(&[&*rows.row(row)?]);
            if let Some(problem) = batch.problem(decoder.config().vocab_size) {
                return Err(Error::Batch { row: Some(row), problem });
            }
            if batch.supervised().is_empty() {
                return Err(Error::NothingTrained { row });
            }
            tokens += batch.tokens();
        }
        if tokens > capacity {
            return Err(Error::TooLong { row: example * per_example, tokens, capacity });
        }
        lengths.push(tokens);
    }
    Ok(lengths)
}

/// Adds the run's newest checkpoint to an [`Error::NotFinite`].
fn with_checkpoint(error: Error, dir: &Path) -> Error {
    match error {
        Error::NotFinite { step, what, value, rows, .. } => {
            let newest = Checkpoint::list(dir).ok().and_then(|mut all| all.pop());
            Error::NotFinite { step, what, value, rows, checkpoint: newest.map(|newest| newest.path) }
        }
        error => error,
    }
}
