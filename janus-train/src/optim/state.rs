//! The optimiser's state of one parameter, and the step that updates parameter and state.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Tensor, Var};

use super::moments::{Moments, Quantised, Update};
use crate::Result;
use crate::gradients::{first_not_finite, on_cpu};
use crate::ops::storage::{Values, slice, slice_mut};
use crate::tensors::{Numbers, Tensors};

const MEAN: &str = "exp_avg";
const SQUARE: &str = "exp_avg_sq";
const MASTER: &str = "master";

/// The moments of a parameter, and the f32 master of a bf16 parameter.
pub(super) enum State {
    /// In main memory: for an f32 parameter on the CPU, and for 8-bit moments.
    Host { moments: Moments, master: Option<Vec<f32>> },
    /// In f32 on the parameter's device.
    Device { mean: Tensor, square: Tensor, master: Option<Tensor> },
}

impl State {
    /// The state of a parameter before its first step.
    pub(super) fn new(var: &Var, block: Option<usize>) -> Result<Self> {
        let moments = Moments::new(var.elem_count(), block);
        let (in_f32, wide) = (var.dtype() == DType::F32, var.detach().to_dtype(DType::F32)?);
        if matches!(moments, Moments::Eight { .. }) || (in_f32 && var.device().is_cpu()) {
            let master = if in_f32 { None } else { Some(values(&wide)?) };
            return Ok(Self::Host { moments, master });
        }
        let (mean, square) = (wide.zeros_like()?, wide.zeros_like()?);
        Ok(Self::Device { mean, square, master: (!in_f32).then_some(wide) })
    }

    pub(super) fn moment_bytes(&self) -> usize {
        match self {
            Self::Host { moments, .. } => moments.bytes(),
            Self::Device { mean, square, .. } => 4 * (mean.elem_count() + square.elem_count()),
        }
    }

    pub(super) fn master_bytes(&self) -> usize {
        4 * match self {
            Self::Host { master, .. } => master.as_ref().map_or(0, Vec::len),
            Self::Device { master, .. } => master.as_ref().map_or(0, Tensor::elem_count),
        }
    }

    /// Updates the parameter by its gradient, which is in f32.
    pub(super) fn step(&mut self, update: Update, var: &Var, gradient: &Tensor) -> Result<()> {
        match self {
            Self::Host { moments, master: None } if var.device().is_cpu() => Ok(
                var.inplace_op2(&gradient.contiguous()?, &InPlace { update, moments: Mutex::new(moments) })?
            ),
            Self::Host { moments, master } => {
                let gradient = on_cpu(gradient)?;
                let mut of_var = if master.is_some() { Vec::new() } else { values(var)? };
                let parameter = master.as_mut().unwrap_or(&mut of_var);
                update.run(parameter, &Values::of(&gradient)?, moments);
                let parameter = Tensor::from_slice(parameter, var.shape(), &Device::Cpu)?;
                Ok(var.set(&parameter.to_dtype(var.dtype())?.to_device(var.device())?)?)
            }
            Self::Device { mean, square, master } => {
                let parameter = master.clone().unwrap_or_else(|| var.detach());
                let parameter =
                    on_device(update, &parameter, &gradient.to_device(var.device())?, mean, square)?;
                var.set(&parameter.to_dtype(var.dtype())?)?;
                *master = (var.dtype() != DType::F32).then_some(parameter);
                Ok(())
            }
        }
    }

    /// The parts to save: the kind, the length and the numbers of each.
    pub(super) fn numbers(&self) -> Vec<(String, usize, Numbers<'_>)> {
        match self {
            Self::Host { moments, master } => {
                let mut found = Vec::with_capacity(5);
                match moments {
                    Moments::F32 { mean, square } => found.extend([f32(MEAN, mean), f32(SQUARE, square)]),
                    Moments::Eight { mean, square, .. } => {
                        for (kind, Quantised { codes, scales }) in [(MEAN, mean), (SQUARE, square)] {
                            found.push((kind.to_string(), codes.len(), Numbers::U8(codes)));
                            found.push(f32(&format!("{kind}.absmax"), scales));
                        }
                    }
                }
                found.extend(master.iter().map(|master| f32(MASTER, master)));
                found
            }
            Self::Device { mean, square, master } => {
                [(MEAN, Some(mean)), (SQUARE, Some(square)), (MASTER, master.as_ref())]
                    .into_iter()
                    .filter_map(|(kind, tensor)| {
                        Some((kind.to_string(), tensor?.elem_count(), Numbers::Tensor(tensor?)))
                    })
                    .collect()
            }
        }
    }

    /// The first value that is infinite or NaN, and its kind.
    pub(super) fn not_finite(&self) -> Result<Option<(String, f64)>> {
        for (kind, _, numbers) in self.numbers() {
            let found = match numbers {
                Numbers::F32(values) => first_not_finite(values),
                Numbers::Tensor(tensor) => first_not_finite(&Values::of(&on_cpu(tensor)?)?),
                _ => None,
            };
            if let Some(value) = found {
                return Ok(Some((kind, value)));
            }
        }
        Ok(None)
    }

    /// Reads the parts that [`numbers`](Self::numbers) returned for the parameter with this name.
    pub(super) fn load(&mut self, name: &str, tensors: &mut Tensors<'_>) -> Result<()> {
        let mut take = |kind: &str, len: usize| tensors.read(&format!("{kind}.{name}"), &[len]);
        match self {
            Self::Host { moments, master } => {
                if let Some(master) = master {
                    *master = take(MASTER, master.len())?;
                }
                match moments {
                    Moments::F32 { mean, square } => {
                        for (kind, values) in [(MEAN, mean), (SQUARE, square)] {
                            *values = take(kind, values.len())?;
                        }
                    }
                    Moments::Eight { mean, square, .. } => {
                        for (kind, quantised) in [(MEAN, mean), (SQUARE, square)] {
                            quantised.codes =
                                tensors.read_u8(&format!("{kind}.{name}"), &[quantised.codes.len()])?;
                            quantised.scales =
                                tensors.read(&format!("{kind}.absmax.{name}"), &[quantised.scales.len()])?;
                        }
                    }
                }
            }
            Self::Device { mean, square, master } => {
                for (kind, tensor) in [(MEAN, Some(mean)), (SQUARE, Some(square)), (MASTER, master.as_mut())]
                {
                    if let Some(tensor) = tensor {
                        *tensor = Tensor::from_vec(
                            take(kind, tensor.elem_count())?,
                            tensor.shape(),
                            tensor.device(),
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn f32<'a>(kind: &str, values: &'a [f32]) -> (String, usize, Numbers<'a>) {
    (kind.to_string(), values.len(), Numbers::F32(values))
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// [`Update::run`] with candle's ops: updates the moments and returns the parameter's new values.
fn on_device(
    update: Update,
    parameter: &Tensor,
    gradient: &Tensor,
    mean: &mut Tensor,
    square: &mut Tensor,
) -> candle_core::Result<Tensor> {
    let Update { scale, beta1, beta2, keep, rate, root, eps } = update;
    let times = |tensor: &Tensor, factor: f32| tensor.affine(f64::from(factor), 0.0);
    let gradient = times(gradient, scale)?;
    *mean = (times(mean, beta1)? + times(&gradient, 1.0 - beta1)?)?;
    *square = (times(square, beta2)? + times(&gradient.sqr()?, 1.0 - beta2)?)?;
    let length = square.sqrt()?.affine(f64::from(root), f64::from(eps))?;
    times(parameter, keep)? - times(mean, rate)?.div(&length)?
}

/// An [`Update`] of a tensor on the CPU.
struct InPlace<'a> {
    update: Update,
    moments: Mutex<&'a mut Moments>,
}

impl InplaceOp2 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> candle_core::Result<()> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        self.update.run(slice_mut(parameter, layout)?, slice(g, g_layout)?, &mut moments);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    const UPDATE: Update =
        Update { scale: 0.7, beta1: 0.9, beta2: 0.95, keep: 0.999, rate: 3e-3, root: 1.1, eps: 1e-8 };

    #[test]
    fn the_step_in_candle_ops_equals_the_one_in_place() {
        let start = random(&[40, 33], 1);
        let (mut parameter, mut mean, mut square) =
            (start.clone(), start.zeros_like().unwrap(), start.zeros_like().unwrap());
        let mut fused = values(&start).unwrap();
        let mut moments = Moments::new(fused.len(), None);
        for step in 0..20 {
            let gradient = random(&[40, 33], 2 + step);
            parameter = on_device(UPDATE, &parameter, &gradient, &mut mean, &mut square).unwrap();
            UPDATE.run(&mut fused, &values(&gradient).unwrap(), &mut moments);
        }
        let largest = fused.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (a, b) in values(&parameter).unwrap().iter().zip(&fused) {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-2 * largest), "{a}, in place {b}");
        }
        assert_ne!(fused, values(&start).unwrap());
    }

    #[test]
    fn a_parameter_in_bf16_is_its_master_rounded_in_f32_and_in_8_bits() {
        for block in [None, Some(256)] {
            let var = Var::from_tensor(&random(&[80, 60], 1).to_dtype(DType::BF16).unwrap()).unwrap();
            let before = values(&var.to_dtype(DType::F32).unwrap()).unwrap();
            let mut state = State::new(&var, block).unwrap();
            assert_eq!(state.master_bytes(), 4 * 4800);
            for step in 0..3 {
                state.step(UPDATE, &var, &random(&[80, 60], 2 + step)).unwrap();
            }
            let master = match &state {
                State::Host { master, .. } => master.clone().unwrap(),
                State::Device { master, .. } => values(master.as_ref().unwrap()).unwrap(),
            };
            assert_eq!(matches!(state, State::Host { .. }), block.is_some());
            let rounded =
                Tensor::new(master.as_slice(), &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
            let now = values(&var.to_dtype(DType::F32).unwrap()).unwrap();
            assert_eq!(values(&rounded.to_dtype(DType::F32).unwrap()).unwrap(), now);
            assert_ne!(now, before);
            assert!(
                master.iter().zip(&now).any(|(master, now)| master != now),
                "the master has more digits than the parameter"
            );
        }
    }
}
