//! Measures how fast this machine trains a model.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::estimate::forward_flop_per_token;
use crate::{
    Decoder, Dpo, DpoConfig, Length, ModelConfig, Objective, Reference, Result, Sft, TokenRow, TrainConfig,
    Trainer, ops,
};

/// The workload to measure: full optimiser steps on random tokens in rows of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether the objective is DPO, with the reference model computed in every step, instead of
    /// supervised fine-tuning.
    pub dpo: bool,
    /// Tokens of a row.
    pub seq: usize,
    /// Rows of a step; for DPO, pairs of rows.
    pub batch: usize,
    /// Whether activations are recomputed in the backward pass.
    pub activation_checkpointing: bool,
    /// Measured steps, after one warm-up step.
    pub steps: usize,
}

/// Medians over the measured steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// GFLOP/s of a step. Each token counts 6 FLOP for each weight of a matrix product (8 with a
    /// reference model), and causal attention.
    pub gflops: f64,
    /// GFLOP/s of plain f32 matrix products, measured in the same run.
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
        let decoder = Decoder::init(config, 0, &Device::Cpu)?;
        let flop = forward_flop_per_token(config, load.seq);
        let (tokens, [step, matmul_gflops], flop) = if load.dpo {
            let rows = rows(2 * load.batch, load.seq, load.seq / 2 + 1, config.vocab_size);
            let reference = Reference::Model(Box::new(Decoder::init(config, 1, &Device::Cpu)?));
            let dpo = Dpo::new(DpoConfig::default(), reference, &rows)?;
            (2 * load.batch * load.seq, steps(load, decoder, dpo, rows)?, 4.0 * flop)
        } else {
            let rows = rows(load.batch, load.seq, 1, config.vocab_size);
            (load.batch * load.seq, steps(load, decoder, Sft, rows)?, 3.0 * flop)
        };
        let tokens_per_s = tokens as f64 / step;
        let gflops = tokens_per_s * flop / 1e9;
        Ok(Self {
            tokens_per_s,
            gflops,
            matmul_gflops,
            share: gflops / matmul_gflops,
            seconds_per_step: step,
        })
    }
}

/// Rows of random tokens; tokens from index `first` on are in the loss.
fn rows(count: usize, seq: usize, first: usize, vocab: usize) -> Vec<TokenRow> {
    let mut state = 1u64;
    let mut id = || {
        // The generator of Numerical Recipes; the token values do not matter.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        3 + (state >> 33) as u32 % (vocab as u32 - 3)
    };
    let row = |_| TokenRow {
        ids: (0..seq).map(|_| id()).collect(),
        loss_mask: (0..seq).map(|i| i >= first).collect(),
    };
    (0..count).map(row).collect()
}

/// The medians of the seconds of a step and of the GFLOP/s of matrix products.
fn steps<O: Objective>(load: &Load, decoder: Decoder, objective: O, rows: Vec<TokenRow>) -> Result<[f64; 2]> {
    let tokens = rows.iter().map(|row| row.ids.len()).sum();
    let settings = TrainConfig::new(Length::Steps(load.steps as u64 + 1), tokens, 1e-4, 0).with(|config| {
        config.clip_norm = Some(1.0);
        config.activation_checkpointing = load.activation_checkpointing;
    });
    let mut trainer = Trainer::new(decoder, objective, rows, settings)?;
    trainer.step()?;
    let mut seconds = Vec::with_capacity(load.steps);
    let mut rates = vec![matmul_gflops()?];
    for _ in 0..load.steps {
        seconds.push(trainer.step()?.seconds);
        rates.push(matmul_gflops()?);
    }
    Ok([median(seconds), median(rates)])
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
    fn rows_are_full_and_carry_loss_from_the_given_token_on() {
        let rows = rows(2, 8, 5, 100);
        assert!(
            rows.iter().all(|row| row.ids.len() == 8 && row.loss_tokens() == 3 && !row.loss_mask[4]),
            "{rows:?}"
        );
        assert!(
            rows.iter().flat_map(|row| &row.ids).all(|id| (3..100).contains(id))
                && rows[0].ids != rows[1].ids
        );
    }

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
