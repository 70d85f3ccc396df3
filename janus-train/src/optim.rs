//! AdamW: in place on the CPU, with candle's ops on other devices.

mod dynamic_map;
mod moments;
mod state;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::tensors::{NamedTensor, Tensors, write_tensors};
use crate::{Decoder, Error, Gradients, Result};
use moments::Update;
use state::State;

/// Constants of AdamW (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AdamWConfig {
    /// Decay of the first and of the second moment.
    pub betas: (f64, f64),
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay per unit of learning rate. It applies to tensors with two dimensions only,
    /// so norms are not decayed.
    pub weight_decay: f64,
    /// Block size of 8-bit moments: each block of this many elements has its own scale (Dettmers et al.,
    /// arXiv 2110.02861; 2048 in the paper's runs, 256 in bitsandbytes since 2024). `None`: moments in
    /// f32. Parameters with fewer than 4096 elements always have f32 moments. 8-bit moments, and the f32
    /// masters of their parameters, are in main memory, even if the parameter is on another device: each
    /// step copies the gradient to main memory and the parameter back.
    pub quantized_state_block: Option<usize>,
}

impl Default for AdamWConfig {
    /// (0.9, 0.999), 1e-8, no decay, moments in f32.
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, quantized_state_block: None }
    }
}

impl AdamWConfig {
    /// # Errors
    /// [`Error::Setting`] names the first constant outside its range.
    pub fn check(&self) -> Result<()> {
        let unit = |x: f64| (0.0..1.0).contains(&x);
        let (decay, block) = (self.weight_decay, self.quantized_state_block);
        let rules = [
            (
                "betas",
                format!("{:?}", self.betas),
                "two numbers from 0 to below 1",
                unit(self.betas.0) && unit(self.betas.1),
            ),
            ("eps", self.eps.to_string(), "a finite number above 0", self.eps.is_finite() && self.eps > 0.0),
            (
                "weight_decay",
                decay.to_string(),
                "a finite number, 0 or more",
                decay.is_finite() && decay >= 0.0,
            ),
            ("quantized_state_block", "0".into(), "at least 1", block != Some(0)),
        ];
        match rules.into_iter().find(|rule| !rule.3) {
            Some((field, got, expected, _)) => Err(Error::Setting { field, got, expected }),
            None => Ok(()),
        }
    }
}

/// The optimiser: two moments for each parameter, and an f32 master copy of each bf16 parameter. The
/// master is created from the parameter at the first step; after each step the parameter is the rounded
/// master.
///
/// f32 parameters on the CPU are updated in place in one pass. Others are updated by candle's ops on
/// their device, where their moments and masters are too, unless the moments are in 8 bits.
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    step: u64,
    states: BTreeMap<String, State>,
}

impl AdamW {
    /// An optimiser before its first step.
    ///
    /// # Errors
    /// As [`AdamWConfig::check`].
    pub fn new(config: AdamWConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, step: 0, states: BTreeMap::new() })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Bytes of the moments; 0 before the first step.
    pub fn state_bytes(&self) -> usize {
        self.states.values().map(State::moment_bytes).sum()
    }

    /// Bytes of the f32 masters of parameters in bf16; 0 before the first step.
    pub fn master_bytes(&self) -> usize {
        self.states.values().map(State::master_bytes).sum()
    }

    /// One step with the learning rate `lr` on the gradients times `scale` (for clipping). Changes the
    /// decoder's parameters in place.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if a trainable parameter has no gradient; nothing is changed then.
    pub fn step(&mut self, decoder: &Decoder, gradients: &Gradients, lr: f64, scale: f64) -> Result<()> {
        let trained: Vec<(&String, &Var, Tensor)> = decoder
            .parameters()
            .iter()
            .map(|(name, var)| match gradients.get(name) {
                Some(gradient) => Ok((name, var, gradient)),
                None => Err(Error::NoGradient { name: name.clone(), step: self.step }),
            })
            .collect::<Result<_>>()?;
        self.step += 1;
        let (beta1, beta2) = self.config.betas;
        let power = self.step.min(i32::MAX as u64) as i32;
        for (name, var, gradient) in trained {
            let state = match self.states.entry(name.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(State::new(var, self.config.quantized_state_block)?),
            };
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
            state.step(update, var, &gradient)?;
        }
        Ok(())
    }

    /// Writes the state as safetensors: `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`. If these are
    /// 8-bit codes, the blocks' scales are `exp_avg.absmax.<parameter>` and
    /// `exp_avg_sq.absmax.<parameter>`. The f32 master of a bf16 parameter is `master.<parameter>`. The
    /// number of steps is not in the file; the caller stores it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut entries = Vec::with_capacity(4 * self.states.len());
        for (name, state) in &self.states {
            let of_state = state.numbers().into_iter();
            entries.extend(of_state.map(|(kind, len, numbers)| NamedTensor {
                name: format!("{kind}.{name}"),
                shape: vec![len],
                numbers,
            }));
        }
        write_tensors(path, entries)
    }

    /// The first parameter with a moment or master that is infinite or NaN, with the value.
    pub(crate) fn not_finite(&self) -> Result<Option<(String, f64)>> {
        for (name, state) in &self.states {
            if let Some((kind, value)) = state.not_finite()? {
                return Ok(Some((format!("{kind} of {name}"), value)));
            }
        }
        Ok(None)
    }

    /// Reads the state that [`save`](Self::save) wrote after `steps` steps on this decoder.
    ///
    /// # Errors
    /// As [`AdamWConfig::check`]; if the file lacks a moment or the master of a parameter.
    pub fn load(path: &Path, config: AdamWConfig, steps: u64, decoder: &Decoder) -> Result<Self> {
        config.check()?;
        let mut tensors = Tensors::open(path)?;
        let mut states = BTreeMap::new();
        if steps > 0 {
            for (name, var) in decoder.parameters() {
                let mut state = State::new(var, config.quantized_state_block)?;
                state.load(name, &mut tensors)?;
                states.insert(name.clone(), state);
            }
        }
        Ok(Self { config, step: steps, states })
    }
}
