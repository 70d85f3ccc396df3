//! `cargo xtask bench optim`: compares 8-bit optimiser moments with f32 ones, by loss and memory.

use candle_core::Device;
use janus_core::{BenchRecord, Message, SftRecord};
use janus_data::mini::{Mini, Split};
use janus_data::progress::{Progress, Unit};
use janus_data::{TokenRow, Tokenizer};
use janus_train::{Decoder, Length, Sft, Trainer};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};
use crate::reproduce::profile::{Profile, TEMPLATE};

/// Block sizes of the 8-bit moments. `None` is f32, with which the others are compared.
const BLOCKS: [Option<usize>; 3] = [None, Some(2048), Some(256)];

/// Compare AdamW's 8-bit moments with f32 ones on Multifaceted Mini
///
/// Fine-tunes the model of `reproduce` once with each kind of moments, from the
/// same weights on the same rows in the same order.
///
/// Reads:   nothing; Mini is generated.
/// Writes:  nothing; the results go to stdout: final_loss (mean of the last tenth
///          of the steps), held_out_loss (on the reference answers of the dev
///          split), state_bytes, and each divided by that of f32.
/// Example: cargo xtask bench optim --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Number of optimiser steps
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..))]
    steps: u64,
    /// Seed of data, weights and order
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The results of one run.
struct Run {
    final_loss: f64,
    held_out_loss: f64,
    state_bytes: usize,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    janus_train::FreedMemory::Keep.apply_to_process();
    let profile = Profile::load("mini")?;
    let (tokenizer, train, held_out) = data(&profile, args.seed)?;
    let special = |token| tokenizer.token_id(token);
    let model = profile.model_config(tokenizer.vocab_size(), special("<s>"), special("</s>"));
    let mut runs = Vec::with_capacity(BLOCKS.len());
    for block in BLOCKS {
        let settings = profile.sft.clone().with(|config| {
            config.length = Length::Steps(args.steps);
            config.seed = args.seed;
            config.quantized_state_block = block;
        });
        let decoder = Decoder::init(&model, args.seed, &Device::Cpu).failure()?;
        let trainer = Trainer::new(decoder, Sft, train.clone(), settings)
            .bad_input()?
            .with_held_out(held_out.clone())
            .bad_input()?;
        runs.push((block, fit(trainer, &name(block))?));
    }
    let exact = &runs[0].1;
    let mut text = format!(
        "{:<18} {:>10} {:>8} {:>14} {:>8} {:>12} {:>8}",
        "moments", "final loss", "of f32", "held-out loss", "of f32", "state bytes", "of f32"
    );
    let mut reports = Vec::with_capacity(runs.len());
    for (block, Run { final_loss, held_out_loss, state_bytes }) in &runs {
        let [of_final, of_held_out] = [final_loss / exact.final_loss, held_out_loss / exact.held_out_loss];
        let (name, of_bytes) = (name(*block), *state_bytes as f64 / exact.state_bytes as f64);
        text += &format!(
            "\n{name:<18} {final_loss:>10.4} {of_final:>8.4} {held_out_loss:>14.4} {of_held_out:>8.4} {state_bytes:>12} {of_bytes:>8.4}"
        );
        reports.push(json!({
            "quantized_state_block": block, "final_loss": final_loss, "held_out_loss": held_out_loss, "state_bytes": state_bytes,
            "of_f32": { "final_loss": of_final, "held_out_loss": of_held_out, "state_bytes": of_bytes },
        }));
    }
    Ok(Outcome::done(
        text,
        json!({ "command": "bench optim", "steps": args.steps, "seed": args.seed, "runs": reports }),
    ))
}

fn name(block: Option<usize>) -> String {
    block.map_or("f32".into(), |block| format!("8 bits, block {block}"))
}

fn fit(mut trainer: Trainer<Sft>, label: &str) -> Result<Run, CommandError> {
    let steps = trainer.total_steps();
    let mut progress = Progress::new(label, Unit::Count("steps"), steps);
    let mut losses = Vec::new();
    for _ in 0..steps {
        let step = trainer.step().failure()?;
        progress.note(format!("loss {:.3}", step.loss));
        progress.advance(1);
        losses.push(step.loss);
    }
    progress.finish();
    let last = &losses[losses.len() - losses.len() / 10..];
    let held_out_loss = trainer.evaluate().failure()?.map_or(f64::NAN, |evaluation| evaluation.loss);
    Ok(Run {
        final_loss: last.iter().sum::<f64>() / last.len() as f64,
        held_out_loss,
        state_bytes: trainer.optimizer().state_bytes(),
    })
}

/// A tokenizer trained on Mini, training rows, and rows of the dev split.
fn data(profile: &Profile, seed: u64) -> Result<(Tokenizer, Vec<TokenRow>, Vec<TokenRow>), CommandError> {
    let mini = Mini::new(seed);
    let (records, dev) =
        (mini.train(profile.data.rows, None), mini.eval(Split::Dev, profile.data.instructions));
    let texts = records
        .iter()
        .flat_map(|record| [record.system.as_str(), record.prompt.as_str(), record.output.as_str()]);
    let tokenizer =
        Tokenizer::train(texts, profile.tokenizer.vocab_size, TEMPLATE.special_tokens()).failure()?;
    let gold = |record: &BenchRecord| -> Vec<Message> {
        record
            .prompt_messages()
            .into_iter()
            .chain([Message::assistant(record.reference_answer.clone())])
            .collect()
    };
    let train = tokenizer.conversations(TEMPLATE, records.iter().map(SftRecord::messages)).failure()?;
    let held_out = tokenizer.conversations(TEMPLATE, dev.iter().map(gold)).failure()?;
    Ok((tokenizer, train, held_out))
}
