//! Callbacks of a training run, and what ends it.

use std::ops::ControlFlow;
use std::path::Path;

use serde::Serialize;

use crate::{Decoder, Evaluation, Note, Result, StepMetrics};

/// Callbacks of a training run. All methods have default implementations; a function of [`StepMetrics`] is an observer of the
/// steps, `&mut ()` one of nothing.
///
/// [`step`](Self::step) and [`evaluated`](Self::evaluated) may end the run by [`ControlFlow::Break`]. It ends as after its last step:
/// with an evaluation, a checkpoint and `model/`, and [`StopReason::Observer`]. Started again in the same folder it continues, and
/// leaves the bytes of a run that was never stopped. For that, the evaluation of a stop between two that are due is only kept until
/// then, and takes no place in `best/` from an earlier one.
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
    /// Something that a person should know and that is no error. Only a [`Recipe`](crate::Recipe) emits notes.
    fn note(&mut self, _note: &Note) {}

    /// `done` of all `rows` rows have their log-probabilities under the reference model of a [`Recipe`](crate::Recipe).
    fn reference(&mut self, _done: usize, _rows: usize) {}

    /// Training begins, or continues a run that was cut off: `done` of `steps` optimiser steps were taken before.
    fn begin(&mut self, _steps: u64, _done: u64) {}

    /// A step was taken. Says whether the run continues.
    fn step(&mut self, _metrics: &StepMetrics) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// The held-out rows were evaluated, with this model. Says whether the run continues. It is called before the evaluation is recorded
    /// and the model is saved, which both happen whatever it says.
    ///
    /// # Errors
    /// Any; it ends the run, which continues from its last checkpoint.
    fn evaluated(&mut self, _evaluation: &Evaluation, _decoder: &Decoder) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// A model was written into `folder`, that of a checkpoint, `best/` or `model/`: the place for what belongs beside a model, such as
    /// its tokenizer. The folder still has another name, and appears with all that is in it at once.
    ///
    /// # Errors
    /// Any; it ends the run, and the folder does not appear.
    fn saved(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}

impl Observer for () {}

/// What a function of [`StepMetrics`] returns to be an [`Observer`]: nothing, or whether the run continues.
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
    /// All its steps are taken.
    LastStep,
    /// The held-out rows showed no more gain: [`EarlyStop`](crate::EarlyStop).
    EarlyStop,
    /// The [`Observer`] ended it; started again, it continues.
    Observer,
}
