//! Nodes of candle's graph with any number of inputs.
//!
//! candle's custom ops take at most three tensors; a decoder reads nine for each layer. [`join_inputs`] packs many tensors into
//! one node: the op takes its result as an input and adds the gradient of each tensor to its [`GradAccumulator`]. candle visits
//! the op before the node, which then hands the gradients to candle, unless the accumulators are the caller's.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::grad_accumulator::GradAccumulator;

/// The accumulators of joined tensors, in their order; `None` for a tensor that is not tracked.
#[derive(Clone)]
pub(crate) struct GradAccumulators {
    pub(crate) accumulators: Vec<Option<GradAccumulator>>,
    /// Gradients stay in the accumulators: candle's store gets none.
    stay: bool,
}

impl GradAccumulators {
    /// An accumulator for each tracked tensor. `of` gives the caller's accumulator of the i-th tensor; gradients then stay there.
    pub(crate) fn new(tensors: &[&Tensor], of: Option<&dyn Fn(usize) -> Option<GradAccumulator>>) -> Self {
        let accumulator = |i: usize| match of {
            Some(of) => of(i),
            None => Some(GradAccumulator::default()),
        };
        let accumulators = tensors.iter().enumerate().map(|(i, tensor)| if tensor.track_op() { accumulator(i) } else { None }).collect();
        Self { accumulators, stay: of.is_some() }
    }

    fn take(&self, i: usize, tensor: &Tensor) -> Result<Option<Tensor>> {
        match &self.accumulators[i] {
            Some(accumulator) if !self.stay => match accumulator.take(tensor.shape())? {
                Some(gradient) => Ok(Some(gradient)),
                None => bail!("join_inputs: the op that uses joined tensor {i} left no gradient for it"),
            },
            _ => Ok(None),
        }
    }
}

/// Joins tensors, two or more, into one of a single element.
pub(crate) fn join_inputs(tensors: &[&Tensor], accumulators: &GradAccumulators) -> Result<Tensor> {
    let [first, second, rest @ ..] = tensors else { bail!("join_inputs: {} tensors, expected two or more", tensors.len()) };
    let mut joined = first.apply_op2(second, Join { accumulators: accumulators.clone(), first: Some(0), others: 1 })?;
    for (i, others) in rest.chunks(2).enumerate() {
        let node = Join { accumulators: accumulators.clone(), first: None, others: 2 + 2 * i };
        joined = match others {
            [a, b] => joined.apply_op3(a, b, node)?,
            others => joined.apply_op2(others[0], node)?,
        };
    }
    Ok(joined)
}

/// Joins one or two tensors to those already joined, or to the first tensor.
struct Join {
    accumulators: GradAccumulators,
    /// Number of the first input, if that is a tensor to join and not the result of another join.
    first: Option<usize>,
    /// Number of the second input; a third has the next.
    others: usize,
}

impl Join {
    fn of_first(&self, a: &Tensor) -> Result<Option<Tensor>> {
        match self.first {
            Some(i) => self.accumulators.take(i, a),
            None if a.track_op() => Ok(Some(a.zeros_like()?)),
            None => Ok(None),
        }
    }
}

fn one_zero() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

impl CustomOp2 for Join {
    fn name(&self) -> &'static str {
        "join_inputs"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        one_zero()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.accumulators.take(self.others, b)?))
    }
}

impl CustomOp3 for Join {
    fn name(&self) -> &'static str {
        "join_inputs"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        one_zero()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.accumulators.take(self.others, b)?, self.accumulators.take(self.others + 1, c)?))
    }
}
