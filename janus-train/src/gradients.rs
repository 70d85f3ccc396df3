//! The gradients of a step, summed in f32 over its micro-batches.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, D, DType, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use crate::ops::storage::{Values, slice};
use crate::{Decoder, Result};

/// Elements that one task works on; fixed, so that sums do not depend on the number of threads.
const ELEMENTS: usize = 1 << 14;

/// One gradient for each parameter that the loss reached, by the parameter's name.
#[derive(Default)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor>,
}

impl Gradients {
    /// Adds what a backward pass found for the decoder's parameters: `found`, and what the decoder's own operations
    /// added up beside it.
    ///
    /// # Errors
    /// If candle fails.
    pub fn add(&mut self, decoder: &Decoder, found: GradStore) -> Result<()> {
        self.add_store(decoder, found)?;
        self.collect(decoder)
    }

    /// Adds what candle found.
    pub(crate) fn add_store(&mut self, decoder: &Decoder, mut found: GradStore) -> Result<()> {
        for (name, var) in decoder.parameters() {
            if let Some(gradient) = found.remove(var) {
                self.add_one(name, gradient)?;
            }
        }
        Ok(())
    }

    /// Takes what the decoder's operations added up, over however many backward passes.
    pub(crate) fn collect(&mut self, decoder: &Decoder) -> Result<()> {
        for (name, var) in decoder.parameters() {
            let Some(accumulator) = decoder.accumulators().get(name) else { continue };
            if let Some(gradient) = accumulator.take(var.shape())? {
                self.add_one(name, gradient.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    fn add_one(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(DType::F32)?;
        match self.by_name.get_mut(name) {
            None => {
                self.by_name.insert(name.into(), gradient.contiguous()?);
            }
            Some(sum) if sum.device().is_cpu() => sum.inplace_op2(&gradient.contiguous()?, &Add)?,
            Some(sum) => *sum = sum.add(&gradient)?,
        }
        Ok(())
    }

    /// The gradient of a parameter, in f32 whatever the parameter's type.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// The L2 norm over all parameters, summed in f64 in the order of their names. On another device than the CPU, squares are
    /// summed there in f32 along the last dimension, and these sums here in f64.
    ///
    /// # Errors
    /// If candle fails.
    pub fn norm(&self) -> Result<f64> {
        let mut total = 0.0;
        for gradient in self.by_name.values() {
            total += if gradient.device().is_cpu() { sum_of_squares(gradient)? } else { sum_of_squares_by_row(gradient)? };
        }
        Ok(total.sqrt())
    }

    /// Whether a gradient is zero everywhere.
    pub(crate) fn is_zero(&self, name: &str) -> Result<bool> {
        match self.by_name.get(name) {
            Some(gradient) => Ok(Values::of(&on_cpu(gradient)?)?.iter().all(|&x| x == 0.0)),
            None => Ok(true),
        }
    }
}

/// The tensor, contiguous and in main memory.
pub(crate) fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&candle_core::Device::Cpu)?.contiguous()?)
}

/// The first number that is infinite or not a number.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<f64> {
    let first = |part: &[f32]| part.iter().find(|value| !value.is_finite()).map(|&value| f64::from(value));
    values.par_chunks(ELEMENTS).find_map_first(first)
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let values = Values::of(tensor)?;
    let parts: Vec<f64> = values
        .par_chunks(ELEMENTS)
        .map(|part| {
            crate::simd::vectorised(
                #[inline(always)]
                || crate::simd::sum_of_squares(part),
            )
        })
        .collect();
    Ok(parts.iter().sum())
}

/// [`sum_of_squares`] in candle's ops, for any device.
fn sum_of_squares_by_row(tensor: &Tensor) -> Result<f64> {
    let rows = tensor.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(rows.into_iter().map(f64::from).sum())
}

/// `a += b`.
struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add_in_place"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, a_layout: &Layout, b: &CpuStorage, b_layout: &Layout) -> candle_core::Result<()> {
        let b = slice(b, b_layout)?;
        crate::ops::storage::slice_mut(a, a_layout)?.par_chunks_mut(ELEMENTS).zip(b.par_chunks(ELEMENTS)).for_each(|(a, b)| {
            for (a, b) in a.iter_mut().zip(b) {
                *a += b;
            }
        });
        Ok(())
    }
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
