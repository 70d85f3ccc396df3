//! Nodes of candle's graph with any number of inputs.
//!
//! A candle custom op takes three tensors at most; a decoder layer reads ten. [`tie`] makes one tracked tensor
//! out of many: an op takes that as an input, leaves the gradients of all in the [`Gradients`] that came with
//! it, and from there they flow into the tied tensors, because candle visits a node before its inputs.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

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

/// Ties an odd number of tensors, three or more, into one of a single element.
pub(crate) fn tie(tensors: &[&Tensor]) -> Result<(Tensor, Gradients)> {
    let [first, rest @ ..] = tensors else { bail!("tie: nothing to tie") };
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        bail!("tie: {} tensors, expected an odd number of at least 3", tensors.len());
    }
    let gradients = Gradients::default();
    let mut knot = (*first).clone();
    for (pair, i) in rest.chunks_exact(2).zip((0..).step_by(2)) {
        knot = knot.apply_op3(pair[0], pair[1], Knot { gradients: gradients.clone(), first: (i == 0).then_some(0), others: i + 1 })?;
    }
    Ok((knot, gradients))
}

/// Ties two tensors to a knot, or to the first tensor.
struct Knot {
    gradients: Gradients,
    /// Number of the first input if that is a tied tensor and not a knot.
    first: Option<usize>,
    /// Number of the second input; the third has the next.
    others: usize,
}

impl CustomOp3 for Knot {
    fn name(&self) -> &'static str {
        "tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let of_first = match self.first {
            Some(i) => self.gradients.take(i, a)?,
            None if a.track_op() => Some(a.zeros_like()?),
            None => None,
        };
        Ok((of_first, self.gradients.take(self.others, b)?, self.gradients.take(self.others + 1, c)?))
    }
}
