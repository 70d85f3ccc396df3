//! AdamW in place.

mod dynamic_map;
mod moments;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::file::{Data, Tensors, write_tensors};
use crate::gradients::on_cpu;
use crate::ops::storage::{Values, slice, slice_mut};
use crate::{Decoder, Error, Gradients, Result};
use moments::{Moments, Update};

const MEAN: &str = "exp_avg";
const SQUARE: &str = "exp_avg_sq";

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
    /// Moments in 8 bits, with a scale for each block of this many elements (Dettmers et al., arXiv 2110.02861; 2048
    /// in the paper's runs, 256 in bitsandbytes since 2024); none: in f32. Parameters of fewer than 4096 elements
    /// keep f32 either way.
    pub eight_bit_block: Option<usize>,
}

impl Default for AdamWConfig {
    /// (0.9, 0.999), 1e-8, no decay, moments in f32.
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, eight_bit_block: None }
    }
}

/// The optimiser: two moments for each parameter, in main memory wherever the parameters are.
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    step: u64,
    moments: BTreeMap<String, Moments>,
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

    /// Bytes of the moments; 0 before the first step.
    pub fn state_bytes(&self) -> usize {
        self.moments.values().map(Moments::bytes).sum()
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
            let moments = self.moments.entry(name.clone()).or_insert_with(|| Moments::new(len, self.config.eight_bit_block));
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
            apply(update, var, gradient, moments)?;
        }
        Ok(())
    }

    /// Writes the moments as safetensors: `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`; where these are 8-bit codes,
    /// the blocks' scales are `exp_avg.absmax.<parameter>` and `exp_avg_sq.absmax.<parameter>`. The number of steps is the caller's
    /// to keep.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors: Vec<(String, [usize; 1], Data)> = Vec::with_capacity(4 * self.moments.len());
        let mut add = |name: String, data: Data| tensors.push((name, [data.len()], data));
        for (name, moments) in &self.moments {
            match moments {
                Moments::F32 { mean, square } => {
                    add(format!("{MEAN}.{name}"), mean.clone().into());
                    add(format!("{SQUARE}.{name}"), square.clone().into());
                }
                Moments::Eight { mean, square, .. } => {
                    for (kind, quantised) in [(MEAN, mean), (SQUARE, square)] {
                        add(format!("{kind}.{name}"), quantised.codes.clone().into());
                        add(format!("{kind}.absmax.{name}"), quantised.scales.clone().into());
                    }
                }
            }
        }
        write_tensors(path, tensors.iter_mut().map(|(name, len, data)| (std::mem::take(name), &len[..], std::mem::take(data))))
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
                let mut of_parameter = Moments::new(var.elem_count(), config.eight_bit_block);
                match &mut of_parameter {
                    Moments::F32 { mean, square } => {
                        for (kind, values) in [(MEAN, mean), (SQUARE, square)] {
                            *values = tensors.take(&format!("{kind}.{name}"), &[values.len()])?.to_vec1()?;
                        }
                    }
                    Moments::Eight { mean, square, .. } => {
                        for (kind, quantised) in [(MEAN, mean), (SQUARE, square)] {
                            quantised.codes = tensors.take_u8(&format!("{kind}.{name}"), &[quantised.codes.len()])?;
                            let scales = tensors.take(&format!("{kind}.absmax.{name}"), &[quantised.scales.len()])?;
                            quantised.scales = scales.to_vec1()?;
                        }
                    }
                }
                moments.insert(name.clone(), of_parameter);
            }
        }
        Ok(Self { config, step: steps, moments })
    }
}

fn apply(update: Update, var: &Var, gradient: &Tensor, moments: &mut Moments) -> Result<()> {
    if var.device().is_cpu() {
        return Ok(var.inplace_op2(&gradient.contiguous()?, &InPlace { update, moments: Mutex::new(moments) })?);
    }
    let mut values = var.flatten_all()?.to_vec1::<f32>()?;
    update.run(&mut values, &Values::of(&on_cpu(gradient)?)?, moments);
    Ok(var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?)
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
