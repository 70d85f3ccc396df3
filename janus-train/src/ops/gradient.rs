//! Accumulators for the gradients of weights.
//!
//! candle adds each gradient to a new tensor of zeros, which takes three passes over memory and two more
//! copies for each weight. Here the matrix product of an op adds directly to the weight's gradient
//! buffer.
//!
//! The caller of the backward pass owns the buffers: it creates a [`GradSink`] for its weights, passes
//! it to the forward pass, and reads the sums. Without a sink, an op uses its own buffers and returns
//! the gradients to candle.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor, TensorId, bail,
};
use rayon::prelude::*;

use super::storage::{slice, slice_mut};

/// Elements of one parallel task.
const ELEMENTS: usize = 1 << 14;

/// The gradient of one weight in f32, or `None` before the first addition. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct GradAccumulator(Arc<Mutex<Option<Tensor>>>);

impl GradAccumulator {
    /// Lets `f` add to the gradient of a weight of this shape, in main memory. The second argument of
    /// `f` is true if the buffer already has sums, and false if it is zero and may be overwritten.
    pub(crate) fn add(&self, shape: &Shape, f: impl FnOnce(&mut [f32], bool)) -> Result<()> {
        let sum = &mut *self.lock();
        let filled = sum.is_some();
        let tensor = match sum {
            Some(tensor) => tensor,
            None => sum.insert(Tensor::zeros(shape, DType::F32, &Device::Cpu)?),
        };
        tensor.inplace_op1(&InPlace(Cell::new(Some(|values: &mut [f32]| f(values, filled)))))
    }

    /// Adds a vector to the gradient of a weight of the same length.
    pub(crate) fn add_vector(&self, part: &[f32]) -> Result<()> {
        self.add(&part.len().into(), |sums, filled| match filled {
            true => sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x),
            false => sums.copy_from_slice(part),
        })
    }

    /// Adds a tensor to the gradient, in f32 on the tensor's device.
    pub(crate) fn add_tensor(&self, part: &Tensor) -> Result<()> {
        let (sum, part) = (&mut *self.lock(), part.to_dtype(DType::F32)?.contiguous()?);
        match sum {
            None => *sum = Some(part),
            Some(sum) if sum.device().is_cpu() => sum.inplace_op2(&part, &AddInPlace)?,
            Some(sum) => *sum = sum.add(&part)?,
        }
        Ok(())
    }

    /// The gradient. It shares its memory with this accumulator, so later additions change it.
    pub(crate) fn sum(&self) -> Option<Tensor> {
        self.lock().clone()
    }

    /// Takes the gradient out and leaves `None`.
    fn take(&self) -> Option<Tensor> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tensor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accumulators of many weights, by the weight's tensor id. Clones share them.
#[derive(Clone)]
pub(crate) struct GradSink(Arc<HashMap<TensorId, GradAccumulator>>);

impl GradSink {
    /// A sink for these weights.
    pub(crate) fn new<'a>(accumulators: impl IntoIterator<Item = (&'a Tensor, GradAccumulator)>) -> Self {
        Self(Arc::new(
            accumulators.into_iter().map(|(weight, accumulator)| (weight.id(), accumulator)).collect(),
        ))
    }

    fn of(&self, weight: &Tensor) -> Option<GradAccumulator> {
        self.0.get(&weight.id()).cloned()
    }
}

/// A weight with the accumulator of its gradient. The tensor is shared, not copied, so it must not
/// change between the forward and the backward pass.
#[derive(Clone)]
pub(crate) struct Weight {
    pub(crate) tensor: Tensor,
    /// `None` for a weight that is not tracked.
    pub(crate) gradient: Option<GradAccumulator>,
    /// The weight is not in the sink: the gradient is returned to candle.
    for_candle: bool,
}

impl Weight {
    pub(crate) fn new(tensor: &Tensor, sink: Option<&GradSink>) -> Self {
        let tracked = tensor.track_op();
        let in_sink = sink.and_then(|sink| sink.of(tensor)).filter(|_| tracked);
        let for_candle = tracked && in_sink.is_none();
        let gradient = if for_candle { Some(GradAccumulator::default()) } else { in_sink };
        Self { tensor: tensor.clone(), gradient, for_candle }
    }

    /// Whether the gradient has to be returned to candle.
    pub(crate) fn for_candle(&self) -> bool {
        self.for_candle
    }

    /// Takes the gradient out if it has to be returned to candle.
    ///
    /// # Errors
    /// If the op that uses the weight added no gradient.
    pub(crate) fn take_for_candle(&self) -> Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.as_ref().filter(|_| self.for_candle) else { return Ok(None) };
        match gradient.take() {
            Some(gradient) => Ok(Some(gradient)),
            None => {
                bail!("an op added no gradient for one of its weights, of shape {:?}", self.tensor.dims())
            }
        }
    }
}

/// Applies a function to a tensor's values in place, once.
struct InPlace<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in_place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let values = slice_mut(storage, layout)?;
        if let Some(f) = self.0.take() {
            f(values);
        }
        Ok(())
    }
}

/// `a += b`.
struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add_in_place"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let b = slice(b, b_layout)?;
        slice_mut(a, a_layout)?.par_chunks_mut(ELEMENTS).zip(b.par_chunks(ELEMENTS)).for_each(|(a, b)| {
            for (a, b) in a.iter_mut().zip(b) {
                *a += b;
            }
        });
        Ok(())
    }
}
