//! Measures how fast this machine trains a model.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::estimate::forward_flop_per_token;
use crate::{
    Decoder, Dpo, DpoConfig, Length, ModelConfig, Objective, Reference, Result, Sft, TokenRow, TrainConfig,
    Trainer, ops,
};

/// The workload to measure: full optimiser steps on rows of random tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether the objective is DPO, with the reference model computed in every step, instead of
    /// supervised fine-tuning.
    pub dpo: bool,
    /// Tokens of the longest row.
    pub seq: usize,
    /// Whether all rows have `seq` tokens. Otherwise lengths are uniform between a quarter of it and all, so
    /// that steps differ in their tokens, as they do in real data.
    pub equal: bool,
    /// Rows of a step; for DPO, pairs of rows.
    pub batch: usize,
    /// Whether activations are recomputed in the backward pass.
    pub activation_checkpointing: bool,
    /// Measured steps, after one warm-up step.
    pub steps: usize,
}

/// Rates over the measured steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// Tokens per second: of a step of equal rows the median, else of all steps together.
    pub tokens_per_s: f64,
    /// GFLOP/s of the same steps. Each token counts 6 FLOP for each weight of a matrix product (8 with a
    /// reference model), and causal attention.
    pub gflops: f64,
    /// GFLOP/s of plain f32 matrix products: the median of measurements between the steps.
    pub matmul_gflops: f64,
    /// `gflops / matmul_gflops`.
    pub share: f64,
    /// Seconds per step.
    pub seconds_per_step: f64,
}

impl Throughput {
    /// Trains a model with fresh weights: forward, backward, clipping to norm 1 and AdamW.
    ///
    /// # Errors
    /// Those of [`Trainer::new`] and [`Trainer::step`].
    pub fn measure(config: &ModelConfig, load: &Load) -> Result<Self> {
        Self::measure_beside(config, load, &matmul_gflops)
    }

    /// [`Self::measure`], with the function that measures the rate of matrix products.
    fn measure_beside(config: &ModelConfig, load: &Load, products: &dyn Fn() -> Result<f64>) -> Result<Self> {
        let decoder = Decoder::init(config, 0, &Device::Cpu)?;
        let rows = load.rows(config.vocab_size);
        // A forward pass is a third of a step; a reference model adds one.
        let passes = if load.dpo { 4.0 } else { 3.0 };
        let tokens = rows.iter().map(|row| row.ids.len()).sum::<usize>() as f64;
        let flop: f64 = (rows.iter())
            .map(|row| row.ids.len() as f64 * forward_flop_per_token(config, row.ids.len()))
            .sum();
        let (step, matmul_gflops, tokens_of_step) = if load.dpo {
            let reference = Reference::Model(Box::new(Decoder::init(config, 1, &Device::Cpu)?));
            let dpo = Dpo::new(DpoConfig::default(), reference, &rows)?;
            load.run(decoder, dpo, rows, products)?
        } else {
            load.run(decoder, Sft, rows, products)?
        };
        let tokens_per_s = tokens_of_step / step;
        let gflops = tokens_per_s * passes * flop / tokens / 1e9;
        Ok(Self {
            tokens_per_s,
            gflops,
            matmul_gflops,
            share: gflops / matmul_gflops,
            seconds_per_step: step,
        })
    }
}

impl Load {
    /// Rows of random tokens: those of a step if they are equal, else those of every step. In a pair, the
    /// second half of each row is in the loss; otherwise all of it.
    fn rows(&self, vocab: usize) -> Vec<TokenRow> {
        let mut state = 1u64;
        let mut random = move |below: usize| {
            // The generator of Numerical Recipes; the values do not matter.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let count = self.rows_of_step() * if self.equal { 1 } else { self.steps + 1 };
        let shortest = (self.seq / 4).max(2);
        let row = |_| {
            let len = if self.equal { self.seq } else { shortest + random(self.seq - shortest + 1) };
            let first = if self.dpo { len / 2 + 1 } else { 1 };
            TokenRow {
                ids: (0..len).map(|_| 3 + random(vocab - 3) as u32).collect(),
                loss_mask: (0..len).map(|i| i >= first.min(len - 1)).collect(),
            }
        };
        (0..count).map(row).collect()
    }

    fn rows_of_step(&self) -> usize {
        self.batch * if self.dpo { 2 } else { 1 }
    }

    /// The seconds of a step, the GFLOP/s of matrix products, and the tokens of a step.
    fn run<O: Objective>(
        &self,
        decoder: Decoder,
        objective: O,
        rows: Vec<TokenRow>,
        products: &dyn Fn() -> Result<f64>,
    ) -> Result<(f64, f64, f64)> {
        let tokens = self.rows_of_step() * self.seq;
        let steps = Length::Steps(self.steps as u64 + 1);
        let settings = TrainConfig::new(steps, tokens, 1e-4, 0).with(|config| {
            config.clip_norm = Some(1.0);
            config.activation_checkpointing = self.activation_checkpointing;
            config.examples_per_micro_batch = Some(self.batch);
        });
        let mut trainer = Trainer::new(decoder, objective, rows, settings)?;
        trainer.step()?;
        let (mut seconds, mut tokens) = (Vec::with_capacity(self.steps), 0);
        let mut rates = vec![products()?];
        for _ in 0..self.steps {
            let step = trainer.step()?;
            seconds.push(step.seconds);
            tokens += step.tokens;
            rates.push(products()?);
        }
        let steps = self.steps as f64;
        let step = if self.equal { median(seconds) } else { seconds.iter().sum::<f64>() / steps };
        Ok((step, median(rates), tokens as f64 / steps))
    }
}

/// The highest rate of products of x \[tokens, n\] and w \[n, n\] over a few sizes, which partly fit in
/// the caches.
fn matmul_gflops() -> Result<f64> {
    let mut best = 0f64;
    for (tokens, n) in [(4096, 256), (2048, 512), (1024, 1024), (2048, 2048)] {
        let ones = |rows: usize| Tensor::ones((rows, n), DType::F32, &Device::Cpu);
        let (x, w) = (ones(tokens)?, ones(n)?);
        for _ in 0..5 {
            let start = Instant::now();
            ops::linear(&x, &w)?;
            let rate = 2.0 * (tokens * n * n) as f64 / start.elapsed().as_secs_f64() / 1e9;
            best = best.max(rate);
        }
    }
    Ok(best)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_full_or_vary_and_carry_loss_from_the_given_token_on() {
        let load =
            Load { dpo: true, seq: 8, equal: true, batch: 1, activation_checkpointing: false, steps: 3 };
        let rows = load.rows(100);
        assert!(
            rows.iter().all(|row| row.ids.len() == 8 && row.loss_tokens() == 3 && !row.loss_mask[4]),
            "{rows:?}"
        );
        assert!(
            rows.iter().flat_map(|row| &row.ids).all(|id| (3..100).contains(id))
                && rows[0].ids != rows[1].ids
        );
        let varied = Load { seq: 64, equal: false, ..load }.rows(100);
        let lengths: Vec<usize> = varied.iter().map(|row| row.ids.len()).collect();
        assert_eq!(lengths.len(), 8, "each step has its own rows");
        assert!(lengths.iter().all(|len| (16..=64).contains(len)) && lengths[0] != lengths[1], "{lengths:?}");
    }

    #[test]
    fn equal_and_varied_steps_have_a_rate() {
        for (dpo, equal) in [(false, true), (false, false), (true, true), (true, false)] {
            let load = Load { dpo, seq: 16, equal, batch: 2, activation_checkpointing: false, steps: 2 };
            let model = crate::recipe::Shape::Tiny.config();
            let measured = Throughput::measure_beside(&model, &load, &|| Ok(2.0)).unwrap();
            let tokens = measured.tokens_per_s * measured.seconds_per_step;
            let most = (16 * load.rows_of_step()) as f64;
            assert!(if equal { (tokens - most).abs() < 1e-6 } else { tokens < most }, "{tokens} {most}");
            assert_eq!(measured.share, measured.gflops / 2.0);
        }
    }

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
