//! Callbacks of a training run, and the reasons why it ends.

use std::ops::ControlFlow;
use std::path::Path;

use serde::Serialize;

use crate::{Decoder, Evaluation, Note, Result, StepMetrics};

/// Callbacks of a training run. All methods have default implementations. A closure over [`StepMetrics`]
/// is an observer of the steps; `&mut ()` is an observer that does nothing.
///
/// [`step`](Self::step) and [`evaluated`](Self::evaluated) can stop the run by [`ControlFlow::Break`].
/// It ends as after its last step, with an evaluation, a checkpoint and `model/`, and with
/// [`StopReason::Observer`]. If it is started again in the same folder, it resumes and ends with the
/// same bytes as a run that was never stopped. For this, an evaluation that was made only because of a
/// stop is deleted on resuming, and never replaces an earlier model in `best/`.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use janus_train::{Observer, StepMetrics};
///
/// /// Ends a run whose loss is low enough.
/// struct GoodEnough(f64);
///
/// impl Observer for GoodEnough {
///     fn step(&mut self, step: &StepMetrics) -> ControlFlow<()> {
///         if step.loss < self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
///     }
/// }
/// ```
pub trait Observer {
    /// A warning or a piece of information, not an error. Only a [`Recipe`](crate::Recipe) emits notes.
    fn note(&mut self, _note: &Note) {}

    /// Progress of a [`Recipe`](crate::Recipe)'s reference model: `done` of `rows` rows have their
    /// log-probabilities.
    fn reference(&mut self, _done: usize, _rows: usize) {}

    /// Training starts, or resumes after `done` of `steps` optimiser steps.
    fn begin(&mut self, _steps: u64, _done: u64) {}

    /// A step was taken. Returns whether the run continues.
    fn step(&mut self, _metrics: &StepMetrics) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// The held-out rows were evaluated with this model. Returns whether the run continues. It is called
    /// before the evaluation is recorded and the model is saved; both happen in either case.
    ///
    /// # Errors
    /// Any error. It aborts the run, which can resume from its last checkpoint.
    fn evaluated(&mut self, _evaluation: &Evaluation, _decoder: &Decoder) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// A model was written into `folder`, for a checkpoint, `best/` or `model/`. Here an observer can
    /// add files such as the tokenizer. The folder still has a temporary name and is renamed afterwards,
    /// so it appears with all its files at once.
    ///
    /// # Errors
    /// Any error. It aborts the run, and the folder is not created.
    fn saved(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}

impl Observer for () {}

/// The return type of a closure that is an [`Observer`]: `()`, or a [`ControlFlow`] that says whether
/// the run continues.
pub trait StepFlow {
    /// Whether the run continues.
    fn flow(self) -> ControlFlow<()>;
}

impl StepFlow for () {
    fn flow(self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl StepFlow for ControlFlow<()> {
    fn flow(self) -> ControlFlow<()> {
        self
    }
}

impl<F: FnMut(&StepMetrics) -> R, R: StepFlow> Observer for F {
    fn step(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
        self(metrics).flow()
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// All steps were taken.
    LastStep,
    /// A metric of the held-out rows no longer improved: [`EarlyStop`](crate::EarlyStop).
    EarlyStop,
    /// The [`Observer`] stopped it. If it is started again, it resumes.
    Observer,
}
