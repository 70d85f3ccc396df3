//! Where the gradients of weights are summed.
//!
//! candle adds each gradient to a tensor of zeros that it makes for the purpose: three passes over memory and two more
//! copies for each weight. Here an op adds to a buffer that the weight already has, in the product itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};

/// The gradient of one weight, or nothing yet. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct GradAccumulator(Arc<Mutex<Sums>>);

/// What was added up in place, and what was added up in tensors.
#[derive(Default)]
struct Sums {
    values: Option<Vec<f32>>,
    tensor: Option<Tensor>,
}

impl GradAccumulator {
    /// Lets `f` add to the gradient, which has `len` elements. `f` is told whether the buffer holds sums (to add to) or
    /// zeros (that may be overwritten).
    pub(crate) fn add<R>(&self, len: usize, f: impl FnOnce(&mut [f32], bool) -> R) -> R {
        let values = &mut self.lock().values;
        let filled = values.is_some();
        f(values.get_or_insert_with(|| vec![0.0; len]), filled)
    }

    /// Adds a tensor to the gradient, in f32 and where the tensor is.
    pub(crate) fn add_tensor(&self, part: &Tensor) -> Result<()> {
        let (sum, part) = (&mut self.lock().tensor, part.to_dtype(DType::F32)?);
        *sum = Some(match sum.take() {
            Some(sum) => sum.add(&part)?,
            None => part,
        });
        Ok(())
    }

    /// Takes the gradient away, as a tensor of its weight's shape.
    pub(crate) fn take(&self, like: &Shape) -> Result<Option<Tensor>> {
        let Sums { values, tensor } = std::mem::take(&mut *self.lock());
        let values = values.map(|values| Tensor::from_vec(values, like, &Device::Cpu)).transpose()?;
        match (values, tensor) {
            (Some(values), Some(tensor)) => Ok(Some(values.to_device(tensor.device())?.add(&tensor)?)),
            (values, tensor) => Ok(values.or(tensor)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
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
