//! Where the gradients of weights are summed.
//!
//! candle adds each gradient to a tensor of zeros that it makes for the purpose: three passes over memory and two more
//! copies for each weight. Here an op adds to a buffer that the weight already has, in the product itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Result, Shape, Tensor};

/// The gradient of one weight, or none yet. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Vec<f32>>>>);

impl Slot {
    /// Lets `f` add to the gradient, which has `len` elements. `f` is told whether the buffer holds sums (to add to) or
    /// zeros (that may be overwritten).
    pub(crate) fn add<R>(&self, len: usize, f: impl FnOnce(&mut [f32], bool) -> R) -> R {
        let mut values = self.lock();
        let filled = values.is_some();
        f(values.get_or_insert_with(|| vec![0.0; len]), filled)
    }

    /// Takes the gradient away, as a tensor of its weight's shape.
    pub(crate) fn take(&self, like: &Shape) -> Result<Option<Tensor>> {
        let values = self.lock().take();
        values.map(|values| Tensor::from_vec(values, like, &candle_core::Device::Cpu)).transpose()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<f32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds `part` to a gradient, or puts it there first.
pub(crate) fn add_or_set(gradient: &mut [f32], filled: bool, part: &[f32]) {
    if filled {
        gradient.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    } else {
        gradient.copy_from_slice(part);
    }
}
