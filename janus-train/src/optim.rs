//! AdamW in place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::file::{Tensors, write_tensors};
use crate::gradients::on_cpu;
use crate::ops::storage::{Values, slice, slice_mut};
use crate::simd::vectorised;
use crate::{Decoder, Error, Gradients, Result};

const ELEMENTS: usize = 1 << 14;

/// Constants of AdamW (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first and of the second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay per unit of learning rate; of tensors with two dimensions only, so norms keep
    /// their scale.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// (0.9, 0.999), 1e-8, no decay.
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The optimiser: two moments in f32 for each parameter, in main memory wherever the parameters are.
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    step: u64,
    moments: BTreeMap<String, Moments>,
}

struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, step: 0, moments: BTreeMap::new() }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One step with the learning rate `lr`, on `scale` times the gradients (clipping); changes the decoder's
    /// parameters in place. Parameters for which `trains` is false are left alone.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if a parameter that trains has none; nothing is changed then.
    pub fn step(&mut self, decoder: &Decoder, gradients: &Gradients, lr: f64, scale: f64, trains: impl Fn(&str) -> bool) -> Result<()> {
        let trained: Vec<(&String, &Var, &Tensor)> = decoder
            .parameters()
            .iter()
            .filter(|(name, _)| trains(name))
            .map(|(name, var)| match gradients.get(name) {
                Some(gradient) => Ok((name, var, gradient)),
                None => Err(Error::NoGradient { name: name.clone(), step: self.step }),
            })
            .collect::<Result<_>>()?;
        self.step += 1;
        let (beta1, beta2) = self.config.betas;
        let power = self.step.min(i32::MAX as u64) as i32;
        for (name, var, gradient) in trained {
            let len = var.elem_count();
            let moments = self.moments.entry(name.clone()).or_insert_with(|| Moments { mean: vec![0.0; len], square: vec![0.0; len] });
            let decay = if var.rank() >= 2 { self.config.weight_decay } else { 0.0 };
            let update = Update {
                scale: scale as f32,
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                keep: (1.0 - lr * decay) as f32,
                rate: (lr / (1.0 - beta1.powi(power))) as f32,
                root: (1.0 / (1.0 - beta2.powi(power)).sqrt()) as f32,
                eps: self.config.eps as f32,
            };
            update.apply(var, gradient, moments)?;
        }
        Ok(())
    }

    /// Writes the moments as safetensors: `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`. The number of
    /// steps is the caller's to keep.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let lens: Vec<[usize; 1]> = self.moments.values().map(|moments| [moments.mean.len()]).collect();
        let tensors = self.moments.iter().zip(&lens).flat_map(|((name, moments), len)| {
            [(format!("exp_avg.{name}"), &len[..], moments.mean.clone()), (format!("exp_avg_sq.{name}"), &len[..], moments.square.clone())]
        });
        write_tensors(path, tensors)
    }

    /// Reads what [`save`](Self::save) wrote after `steps` steps on this decoder.
    ///
    /// # Errors
    /// If the file lacks a moment of a parameter that trains.
    pub fn load(path: &Path, config: AdamWConfig, steps: u64, decoder: &Decoder, trains: impl Fn(&str) -> bool) -> Result<Self> {
        let mut tensors = Tensors::read(path, &Device::Cpu)?;
        let mut moments = BTreeMap::new();
        if steps > 0 {
            for (name, var) in decoder.parameters().iter().filter(|(name, _)| trains(name)) {
                let mut take =
                    |kind: &str| tensors.take(&format!("{kind}.{name}"), &[var.elem_count()])?.to_vec1::<f32>().map_err(Error::from);
                moments.insert(name.clone(), Moments { mean: take("exp_avg")?, square: take("exp_avg_sq")? });
            }
        }
        Ok(Self { config, step: steps, moments })
    }
}

/// The factors of one step.
#[derive(Clone, Copy)]
struct Update {
    scale: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

impl Update {
    fn apply(self, var: &Var, gradient: &Tensor, moments: &mut Moments) -> Result<()> {
        if var.device().is_cpu() {
            return Ok(var.inplace_op2(&gradient.contiguous()?, &InPlace { update: self, moments: Mutex::new(moments) })?);
        }
        let mut values = var.flatten_all()?.to_vec1::<f32>()?;
        self.run(&mut values, &Values::of(&on_cpu(gradient)?)?, moments);
        Ok(var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?)
    }

    /// g = scale · gradient; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²; p = keep · p - rate · m / (root · √v + eps).
    fn run(self, parameter: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let Self { scale, beta1, beta2, keep, rate, root, eps } = self;
        let moments = moments.mean.par_chunks_mut(ELEMENTS).zip(moments.square.par_chunks_mut(ELEMENTS));
        parameter.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS)).zip(moments).for_each(|((p, g), (m, v))| {
            vectorised(
                #[inline(always)]
                || {
                    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                        let g = g * scale;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *p = *p * keep - rate * *m / (v.sqrt() * root + eps);
                    }
                },
            );
        });
    }
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

    fn cpu_fwd(&self, parameter: &mut CpuStorage, layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> candle_core::Result<()> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        self.update.run(slice_mut(parameter, layout)?, slice(g, g_layout)?, &mut moments);
        Ok(())
    }
}
