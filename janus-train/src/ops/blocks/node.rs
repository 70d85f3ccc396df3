//! Blocks of work as single nodes of candle's graph.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var, bail,
};

use crate::ops::gradient::Weight;

/// The function of a block. Its first argument is the input; it passes each of its weights through the
/// second argument, which detaches them or not.
pub(super) type Forward = dyn Fn(&Tensor, &dyn Fn(&Tensor) -> Tensor) -> Result<Tensor> + Send + Sync;
type Backward = dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync;

/// A node whose forward pass has already run: its value, and the function that computes the gradient of
/// its first input from that of the value.
pub(super) struct Computed {
    name: &'static str,
    value: Mutex<Option<Tensor>>,
    backward: Box<Backward>,
}

impl Computed {
    /// A node with the inputs `x` and `anchor`, which may be the same. `anchor` only makes candle track
    /// the node and gets no gradient, so a tracked tensor that is not a variable must be passed as `x`.
    pub(super) fn node(
        name: &'static str,
        x: &Tensor,
        anchor: &Tensor,
        value: &Tensor,
        backward: Box<Backward>,
    ) -> Result<Tensor> {
        let value = value.detach().contiguous()?;
        let value = if value.layout().start_offset() == 0 { value } else { value.copy()? };
        x.apply_op2(anchor, Self { name, value: Mutex::new(Some(value)), backward })
    }

    /// Takes the value out, so that it is not kept in addition to the node's own copy.
    fn take<S: BackendStorage>(&self, of: impl Fn(&Storage) -> Option<&S>) -> Result<(S, Shape)> {
        let Some(value) = self.value.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("{}: forward ran already", self.name)
        };
        let (storage, layout) = value.storage_and_layout();
        match of(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            None => bail!("{}: the value is on another device than the inputs", self.name),
        }
    }
}

impl CustomOp2 for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take(|storage| if let Storage::Cpu(storage) = storage { Some(storage) } else { None })
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take(|storage| if let Storage::Cuda(storage) = storage { Some(storage) } else { None })
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.take(|storage| if let Storage::Metal(storage) = storage { Some(storage) } else { None })
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(((self.backward)(&dy.detach())?, None))
    }
}

/// Runs `f` on `x` as one node. Gradients of `weights` are added to their accumulators. With
/// `recompute`, only `x` is saved for the backward pass.
pub(super) fn block(
    name: &'static str,
    x: &Tensor,
    weights: &[&Weight],
    recompute: bool,
    f: Arc<Forward>,
) -> Result<Tensor> {
    let tracked = x.track_op();
    let anchor = weights.iter().map(|weight| &weight.tensor).find(|weight| weight.track_op());
    let Some(anchor) = anchor.or(tracked.then_some(x)) else {
        return f(x, &Tensor::clone);
    };
    let input = x.detach();
    let (value, saved) = if recompute {
        (f(&input, &Tensor::detach)?, None)
    } else {
        let input = Var::from_tensor(&input)?;
        let value = f(&input, &Tensor::clone)?;
        (value.clone(), Some((input, value)))
    };
    let (saved, weights) =
        (Mutex::new(saved), weights.iter().map(|&weight| weight.clone()).collect::<Vec<_>>());
    let backward = move |dy: &Tensor| {
        let saved = saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (input, value) = match saved {
            Some(saved) => saved,
            None => {
                let input = Var::from_tensor(&input)?;
                let value = f(&input, &Tensor::clone)?;
                (input, value)
            }
        };
        let mut gradients = value.mul(dy)?.sum_all()?.backward()?;
        for weight in &weights {
            if let (Some(sum), Some(gradient)) = (&weight.gradient, gradients.remove(&weight.tensor)) {
                sum.add_tensor(&gradient)?;
            }
        }
        Ok(gradients.remove(&input).filter(|_| tracked))
    };
    Computed::node(name, x, anchor, &value, Box::new(backward))
}
