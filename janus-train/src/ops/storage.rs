//! Conversions between candle's tensors and slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};

/// The values of a contiguous f32 storage.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!(
            "this op takes contiguous tensors: call .contiguous() on a tensor with strides {:?}",
            layout.stride()
        ),
    }
}

/// A view of a contiguous f32 tensor on the CPU as a slice.
pub(crate) struct Values<'a> {
    storage: candle_core::StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> Values<'a> {
    /// Views `tensor`, which must be contiguous, f32 and on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!(
                "this op takes contiguous tensors: call .contiguous() on a tensor with strides {:?}",
                layout.stride()
            )
        };
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Self { storage, start, end }),
            _ => {
                bail!("this op computes in f32 on the CPU, got {:?} on {:?}", tensor.dtype(), tensor.device())
            }
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            _ => &[],
        }
    }
}

/// The return value of a custom op's forward pass.
pub(crate) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// A tensor with the shape and device of `like`.
pub(crate) fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// The values of a contiguous f32 storage, mutable.
pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&mut all[start..end]),
        _ => bail!("an in-place op takes contiguous f32 tensors"),
    }
}
