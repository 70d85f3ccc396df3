//! Nodes of candle's graph with any number of inputs.
//!
//! A candle custom op takes three tensors at most; a decoder reads nine for each layer. [`tie`] makes one tracked tensor
//! out of many: an op takes that as an input and leaves the gradients of all in their [`Slot`]s. From there they flow
//! into the tied tensors, because candle visits a node before its inputs; or they stay, if the slots are the caller's.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::slot::Slot;

/// The slots of tied tensors, in their order; none for a tensor that is not tracked.
#[derive(Clone)]
pub(crate) struct Slots {
    pub(crate) slots: Vec<Option<Slot>>,
    /// Gradients stay in the slots: candle's store gets none.
    stay: bool,
}

impl Slots {
    /// A slot for each tracked tensor. With `of`, which gives the slot of the tensor of a number, gradients stay there.
    pub(crate) fn new(tensors: &[&Tensor], of: Option<&dyn Fn(usize) -> Option<Slot>>) -> Self {
        let slot = |i: usize| match of {
            Some(of) => of(i),
            None => Some(Slot::default()),
        };
        let slots = tensors.iter().enumerate().map(|(i, tensor)| if tensor.track_op() { slot(i) } else { None }).collect();
        Self { slots, stay: of.is_some() }
    }

    fn take(&self, i: usize, tensor: &Tensor) -> Result<Option<Tensor>> {
        match &self.slots[i] {
            Some(slot) if !self.stay => match slot.take(tensor.shape())? {
                Some(gradient) => Ok(Some(gradient)),
                None => bail!("tie: the op that uses tied tensor {i} left no gradient for it"),
            },
            _ => Ok(None),
        }
    }
}

/// Ties tensors, two or more, into one of a single element.
pub(crate) fn tie(tensors: &[&Tensor], slots: &Slots) -> Result<Tensor> {
    let [first, second, rest @ ..] = tensors else { bail!("tie: {} tensors, expected two or more", tensors.len()) };
    let mut knot = first.apply_op2(second, Knot { slots: slots.clone(), first: Some(0), others: 1 })?;
    for (i, others) in rest.chunks(2).enumerate() {
        let node = Knot { slots: slots.clone(), first: None, others: 2 + 2 * i };
        knot = match others {
            [a, b] => knot.apply_op3(a, b, node)?,
            others => knot.apply_op2(others[0], node)?,
        };
    }
    Ok(knot)
}

/// Ties one or two tensors to a knot, or to the first tensor.
struct Knot {
    slots: Slots,
    /// Number of the first input if that is a tied tensor and not a knot.
    first: Option<usize>,
    /// Number of the second input; a third has the next.
    others: usize,
}

impl Knot {
    fn of_first(&self, a: &Tensor) -> Result<Option<Tensor>> {
        match self.first {
            Some(i) => self.slots.take(i, a),
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
        Ok((self.of_first(a)?, self.slots.take(self.others, b)?))
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
        Ok((self.of_first(a)?, self.slots.take(self.others, b)?, self.slots.take(self.others + 1, c)?))
    }
}
