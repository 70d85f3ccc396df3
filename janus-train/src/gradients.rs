//! The gradients of a step, summed in f32 over its micro-batches.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use janus_infer::kernels::reduce;
use janus_infer::kernels::simd::vectorised;
use rayon::prelude::*;

use crate::ops::gradient::{GradAccumulator, GradSink};
use crate::ops::storage::Values;
use crate::{Decoder, Result};

/// Elements of one parallel task. The size is fixed, so that sums do not depend on the number of
/// threads.
const ELEMENTS: usize = 1 << 14;

/// One gradient for each parameter that the loss reached, by the parameter's name.
///
/// It is created for a step, filled by the backward passes of the step's micro-batches, and dropped at
/// its end. So a failed step leaves no partial sums behind.
///
/// ```
/// # use janus_train::{Batch, Decoder, Gradients, MicroBatch, Objective, Result, Sft};
/// # fn gradients(decoder: &Decoder, micro_batches: &[MicroBatch]) -> Result<Gradients> {
/// let gradients = Gradients::new(decoder);
/// let step = micro_batches.iter().map(|micro_batch| Sft.denominator(&micro_batch.batch)).sum();
/// for micro_batch in micro_batches {
///     gradients.backward(&Sft.loss(&decoder.recording(&gradients), micro_batch, step)?.loss)?;
/// }
/// # Ok(gradients)
/// # }
/// ```
pub struct Gradients {
    by_name: BTreeMap<String, (Tensor, GradAccumulator)>,
    sink: GradSink,
}

impl Gradients {
    /// Empty gradients for the parameters of a decoder.
    pub fn new(decoder: &Decoder) -> Self {
        let accumulators = decoder
            .parameters()
            .iter()
            .map(|(name, var)| (name.clone(), (var.as_tensor().clone(), Default::default())));
        let by_name: BTreeMap<String, (Tensor, GradAccumulator)> = accumulators.collect();
        let sink = GradSink::new(by_name.values().map(|(parameter, sum)| (parameter, sum.clone())));
        Self { by_name, sink }
    }

    /// Where the decoder's operations add gradients.
    pub(crate) fn sink(&self) -> &GradSink {
        &self.sink
    }

    /// Runs the backward pass of a loss and adds its gradients. The operations of a
    /// [recording](Decoder::recording) decoder add to these sums directly; gradients that candle returns
    /// are added afterwards.
    ///
    /// # Errors
    /// If candle fails.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let mut found = loss.backward()?;
        for (parameter, sum) in self.by_name.values() {
            if let Some(gradient) = found.remove(parameter) {
                sum.add_tensor(&gradient)?;
            }
        }
        Ok(())
    }

    /// The gradient of a parameter, always in f32.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.by_name.get(name).and_then(|(_, sum)| sum.sum())
    }

    /// The L2 norm over all parameters, summed in f64 in the order of their names. On devices other than
    /// the CPU, squares are summed in f32 along the last dimension on the device, and the row sums in
    /// f64 on the CPU.
    ///
    /// # Errors
    /// If candle fails.
    pub fn norm(&self) -> Result<f64> {
        let mut total = 0.0;
        for gradient in self.by_name.values().filter_map(|(_, sum)| sum.sum()) {
            total += if gradient.device().is_cpu() {
                sum_of_squares(&gradient)?
            } else {
                sum_of_squares_by_row(&gradient)?
            };
        }
        Ok(total.sqrt())
    }

    /// Whether a gradient is missing or zero everywhere.
    pub(crate) fn is_zero(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            Some(gradient) => Ok(Values::of(&on_cpu(&gradient)?)?.iter().all(|&x| x == 0.0)),
            None => Ok(true),
        }
    }
}

/// The tensor on the CPU, contiguous.
pub(crate) fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&candle_core::Device::Cpu)?.contiguous()?)
}

/// The first value that is infinite or NaN.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<f64> {
    let first = |part: &[f32]| part.iter().find(|value| !value.is_finite()).map(|&value| f64::from(value));
    values.par_chunks(ELEMENTS).find_map_first(first)
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let values = Values::of(tensor)?;
    let parts: Vec<f64> =
        values.par_chunks(ELEMENTS).map(|part| vectorised!(|| reduce::sum_of_squares(part))).collect();
    Ok(parts.iter().sum())
}

/// [`sum_of_squares`] with candle's ops, for any device.
fn sum_of_squares_by_row(tensor: &Tensor) -> Result<f64> {
    let rows = tensor.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(rows.into_iter().map(f64::from).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn both_sums_of_squares_agree() {
        for shape in [&[300, 70][..], &[17], &[2, 3, 5]] {
            let tensor = random(shape, 1);
            let (here, there) = (sum_of_squares(&tensor).unwrap(), sum_of_squares_by_row(&tensor).unwrap());
            assert!((here / there - 1.0).abs() < 1e-6, "{here}, {there}");
        }
    }
}
