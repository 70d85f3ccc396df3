//! `cargo xtask bench train`: whole optimiser steps on full rows.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use janus_infer::ModelConfig;
use janus_train::recipe::Shape;
use janus_train::{Decoder, Dpo, DpoConfig, Length, Objective, Reference, Sft, TokenRow, TrainConfig, Trainer, ops};
use serde_json::json;

use super::{median, peak_mb};
use crate::command::{Blame as _, CommandError, Outcome};

/// Measure training: tokens a second, share of the matrix-product rate, peak memory
///
/// A step is forward, backward, clipping to norm 1 and AdamW, on rows of random tokens without padding; for DPO the
/// reference model's forward pass too. The first step is not counted; of the others the median is.
///
/// Reads:   nothing; weights and tokens are random.
/// Writes:  nothing; the figures go to stdout: tokens_per_s; gflops (6 for each weight of a product and
///          token, and causal attention; 8 with a reference model); matmul_gflops (f32 products of
///          this machine in the same run); share (of the two); peak_mb (of the process).
/// Example: cargo xtask bench train --config m6m --objective dpo --seq 256 --batch 8 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The model's shape
    #[arg(long, value_enum)]
    config: Config,
    /// What is minimised
    #[arg(long, value_enum, default_value_t = Kind::Sft)]
    objective: Kind,
    /// Tokens of a row
    #[arg(long)]
    seq: usize,
    /// Rows of a step; for DPO pairs of rows
    #[arg(long)]
    batch: usize,
    /// Compute a block's activations again in the backward pass instead of keeping them: less memory, more time
    #[arg(long)]
    activation_checkpointing: bool,
    /// Steps that are counted
    #[arg(long, default_value_t = 5)]
    steps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Config {
    /// 135 M parameters: SmolLM2-135M's architecture
    Smollm2,
    /// 5.8 M parameters: vocabulary 2048, width 256, 6 layers, 8 heads, 4 key/value heads, MLP 768
    M6m,
    /// 0.4 M parameters
    Tiny,
}

impl Config {
    fn shape(self) -> Shape {
        match self {
            Self::Smollm2 => Shape::Smollm2,
            Self::M6m => Shape::M6m,
            Self::Tiny => Shape::Tiny,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Next tokens
    Sft,
    /// Pairs, with a reference model in the step
    Dpo,
}

/// Floating-point operations of the forward pass for one token of a row of `seq`: two for each weight of a matrix
/// product, and the causal half of the attention's two.
fn forward_flop(config: &ModelConfig, seq: usize) -> f64 {
    let attention = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let layer = config.hidden_size * (2 * attention + 2 * kv + 3 * config.intermediate_size);
    let weights = config.num_hidden_layers * layer + config.vocab_size * config.hidden_size;
    2.0 * (weights + config.num_hidden_layers * attention * seq) as f64
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    if args.seq < 2 || args.batch == 0 || args.steps == 0 {
        return Err(CommandError::bad_input("--seq must be at least 2, --batch and --steps at least 1"));
    }
    janus_train::FreedMemory::Keep.apply_to_process();
    let config = args.config.shape().config();
    let decoder = Decoder::init(&config, 0, &Device::Cpu).failure()?;
    let flop = forward_flop(&config, args.seq);
    let (rows, measured, flop) = match args.objective {
        Kind::Sft => {
            let rows = rows(args.batch, args.seq, 1, config.vocab_size);
            (args.batch, measure(args, decoder, Sft, rows)?, 3.0 * flop)
        }
        Kind::Dpo => {
            let rows = rows(2 * args.batch, args.seq, args.seq / 2 + 1, config.vocab_size);
            let reference = Reference::Model(Box::new(Decoder::init(&config, 1, &Device::Cpu).failure()?));
            let dpo = Dpo::new(DpoConfig::default(), reference, &rows).failure()?;
            (2 * args.batch, measure(args, decoder, dpo, rows)?, 4.0 * flop)
        }
    };
    let tokens_per_s = (rows * args.seq) as f64 / measured.step;
    let (gflops, matmul_gflops) = (tokens_per_s * flop / 1e9, measured.matmul_gflops);
    let share = gflops / matmul_gflops;
    let peak_mb = peak_mb();
    let peak = peak_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB"));
    let text = format!(
        "{tokens_per_s:.0} tokens/s; {gflops:.1} of {matmul_gflops:.1} GFLOP/s in matrix products ({:.0}%); peak memory {peak}",
        100.0 * share
    );
    let report = json!({
        "command": "bench train",
        "config": format!("{:?}", args.config).to_lowercase(),
        "objective": format!("{:?}", args.objective).to_lowercase(),
        "seq": args.seq,
        "batch": args.batch,
        "activation_checkpointing": args.activation_checkpointing,
        "tokens_per_s": tokens_per_s,
        "gflops": gflops,
        "matmul_gflops": matmul_gflops,
        "share": share,
        "peak_mb": peak_mb,
        "seconds_per_step": measured.step,
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
    });
    Ok(Outcome::done(text, report))
}

/// Rows of random tokens; the loss is on those from `first` on.
fn rows(count: usize, seq: usize, first: usize, vocab: usize) -> Vec<TokenRow> {
    let mut state = 1u64;
    let mut id = || {
        // Numerical Recipes' generator: what the tokens are does not matter.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        3 + (state >> 33) as u32 % (vocab as u32 - 3)
    };
    let row = |_| TokenRow { ids: (0..seq).map(|_| id()).collect(), loss_mask: (0..seq).map(|i| i >= first).collect() };
    (0..count).map(row).collect()
}

struct Measured {
    /// Seconds of a step, the median.
    step: f64,
    matmul_gflops: f64,
}

fn measure<O: Objective>(args: &Args, decoder: Decoder, objective: O, rows: Vec<TokenRow>) -> Result<Measured, CommandError> {
    let tokens = rows.iter().map(|row| row.ids.len()).sum();
    let settings = TrainConfig::new(Length::Steps(args.steps as u64 + 1), tokens, 1e-4, 0).with(|config| {
        config.clip_norm = Some(1.0);
        config.activation_checkpointing = args.activation_checkpointing;
    });
    let mut trainer = Trainer::new(decoder, objective, rows, settings).bad_input()?;
    trainer.step().failure()?;
    let mut seconds = Vec::with_capacity(args.steps);
    let mut rates = vec![matmul_gflops()?];
    for _ in 0..args.steps {
        seconds.push(trainer.step().failure()?.seconds);
        rates.push(matmul_gflops()?);
    }
    Ok(Measured { step: median(seconds), matmul_gflops: median(rates) })
}

/// The best rate of products x \[tokens, n\] times w \[n, n\] of a few sizes, some in the caches and some not.
fn matmul_gflops() -> Result<f64, CommandError> {
    let mut best = 0f64;
    for (tokens, n) in [(4096, 256), (2048, 512), (1024, 1024), (2048, 2048)] {
        let ones = |rows: usize| Tensor::ones((rows, n), DType::F32, &Device::Cpu).failure();
        let (x, w) = (ones(tokens)?, ones(n)?);
        for _ in 0..5 {
            let start = Instant::now();
            ops::linear(&x, &w).failure()?;
            let rate = 2.0 * (tokens * n * n) as f64 / start.elapsed().as_secs_f64() / 1e9;
            best = best.max(rate);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_notes() {
        // 33.8 MFLOP a token for rows of 256, 860 for rows of 512.
        assert!((3.0 * forward_flop(&Shape::M6m.config(), 256) / 1e6 - 33.8).abs() < 0.1);
        assert!((3.0 * forward_flop(&Shape::Smollm2.config(), 512) / 1e6 - 860.0).abs() < 5.0);
    }
}
