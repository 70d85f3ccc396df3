//! Graph nodes with any number of inputs.
//!
//! candle's custom ops take at most three tensors, but a decoder has nine weights for each layer.
//! [`join_inputs`] packs many weights into one node. The decoder op takes the joined tensor as its input
//! and adds the gradient of each weight to its [`GradAccumulator`](super::gradient::GradAccumulator). In
//! the backward pass candle visits the decoder op first and then the joined node, which returns the
//! gradients that are not in a [`GradSink`](super::gradient::GradSink).

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::gradient::Weight;

/// Joins two or more weights into a tensor with a single element.
pub(crate) fn join_inputs(weights: &[&Weight]) -> Result<Tensor> {
    let [first, second, rest @ ..] = weights else {
        bail!("join_inputs: {} weights, expected two or more", weights.len())
    };
    let node = Join { first: Some((*first).clone()), others: vec![(*second).clone()] };
    let mut joined = first.tensor.apply_op2(&second.tensor, node)?;
    for others in rest.chunks(2) {
        let node = Join { first: None, others: others.iter().map(|&weight| weight.clone()).collect() };
        joined = match others {
            [a, b] => joined.apply_op3(&a.tensor, &b.tensor, node)?,
            others => joined.apply_op2(&others[0].tensor, node)?,
        };
    }
    Ok(joined)
}

/// Joins one or two weights to the tensor that is already joined, or to the first weight.
struct Join {
    /// The first input, if that is a weight and not a joined tensor.
    first: Option<Weight>,
    /// The second input, and the third if it exists.
    others: Vec<Weight>,
}

impl Join {
    fn of_first(&self, a: &Tensor) -> Result<Option<Tensor>> {
        match &self.first {
            Some(weight) => weight.take_for_candle(),
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

    fn bwd(
        &self,
        a: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.others[0].take_for_candle()?))
    }
}

impl CustomOp3 for Join {
    fn name(&self) -> &'static str {
        "join_inputs"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        one_zero()
    }

    fn bwd(
        &self,
        a: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.of_first(a)?, self.others[0].take_for_candle()?, self.others[1].take_for_candle()?))
    }
}
