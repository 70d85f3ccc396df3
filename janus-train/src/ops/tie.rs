//! Nodes of candle's graph with any number of inputs.
//!
//! A candle custom op takes three tensors at most; a decoder reads nine for each layer. [`tie`] makes one tracked tensor
//! out of many: an op takes that as an input, leaves the gradients of all in the [`Gradients`] that came with
//! it, and from there they flow into the tied tensors, because candle visits a node before its inputs.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// One gradient for each tied tensor, from the op that used them to the nodes that tied them.
#[derive(Clone, Default)]
pub(crate) struct Gradients(Arc<Mutex<Vec<Option<Tensor>>>>);

impl Gradients {
    /// Leaves the gradients, in the order of the tied tensors.
    pub(crate) fn set(&self, gradients: Vec<Tensor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gradients.into_iter().map(Some).collect();
    }

    fn take(&self, i: usize, tensor: &Tensor) -> Result<Option<Tensor>> {
        if !tensor.track_op() {
            return Ok(None);
        }
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(i).and_then(Option::take) {
            Some(gradient) => Ok(Some(gradient)),
            None => bail!("tie: the op that uses tied tensor {i} left no gradient for it"),
        }
    }
}

/// Ties tensors, two or more, into one of a single element.
pub(crate) fn tie(tensors: &[&Tensor]) -> Result<(Tensor, Gradients)> {
    let [first, second, rest @ ..] = tensors else { bail!("tie: {} tensors, expected two or more", tensors.len()) };
    let gradients = Gradients::default();
    let mut knot = first.apply_op2(second, Knot { gradients: gradients.clone(), first: Some(0), others: 1 })?;
    for (i, others) in rest.chunks(2).enumerate() {
        let node = Knot { gradients: gradients.clone(), first: None, others: 2 + 2 * i };
        knot = match others {
            [a, b] => knot.apply_op3(a, b, node)?,
            others => knot.apply_op2(others[0], node)?,
        };
    }
    Ok((knot, gradients))
}

/// Ties one or two tensors to a knot, or to the first tensor.
struct Knot {
    gradients: Gradients,
    /// Number of the first input if that is a tied tensor and not a knot.
    first: Option<usize>,
    /// Number of the second input; a third has the next.
    others: usize,
}

impl Knot {
    fn of_first(&self, a: &Tensor) -> Result<Option<Tensor>> {
        match self.first {
            Some(i) => self.gradients.take(i, a),
            None if a.track_op() => Ok(Some(a.zeros_like()?)),
            None => Ok(None),
        }
    }
}

fn one_zero() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

impl CustomOp2 for Knot {
    fn name(&self) -> &'static str {
        "tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        one_zero()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.gradients.take(self.others, b)?))
    }
}

impl CustomOp3 for Knot {
    fn name(&self) -> &'static str {
        "tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        one_zero()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.gradients.take(self.others, b)?, self.gradients.take(self.others + 1, c)?))
    }
}
