//! `cargo xtask train --plan`: what a run will need, before anything is loaded.

use janus_infer::ModelConfig;
use janus_train::WeightType;
use janus_train::ops::{BLOCK_LOGITS, BLOCK_QUERIES, LOGITS_HELD};
use serde_json::{Value, json};

use super::recipe::{Kind, Recipe};
use crate::command::{CommandError, Outcome};

/// Where and how the run would be laid out.
struct Layout {
    name: &'static str,
    /// Machines that share gradients, master weights and moments.
    shards: f64,
    /// Bytes that there are; none: whatever the machine has.
    room: Option<f64>,
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "this machine", shards: 1.0, room: None },
    Layout { name: "1 x 80 GB", shards: 1.0, room: Some(80e9) },
    Layout { name: "4 x 80 GB, a replica on each", shards: 1.0, room: Some(80e9) },
    Layout { name: "4 x 80 GB, state in four parts", shards: 4.0, room: Some(80e9) },
];

/// Bytes by part.
struct Memory {
    weights: f64,
    gradients: f64,
    master: f64,
    moments: f64,
    activations: f64,
    logits: f64,
    /// What of these is in main memory and not in a GPU's: 8-bit moments, and the masters of their weights.
    host: f64,
}

impl Memory {
    fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("f32 master weights", self.master),
            ("moments", self.moments),
            ("activations", self.activations),
            ("logits held at a time", self.logits),
        ]
    }

    fn total(&self) -> f64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    fn fits(&self, layout: &Layout) -> Option<bool> {
        layout.room.map(|room| self.total() - self.host <= room)
    }
}

/// Whether the language-model head takes part.
fn has_logits(objective: &Kind) -> bool {
    !matches!(objective, Kind::Reward { imitation } if *imitation == 0.0)
}

/// Parameters in all, and those that train.
fn parameters(recipe: &Recipe, config: &ModelConfig) -> (f64, f64) {
    let tensors = config.tensors();
    let size = |shape: &[usize]| shape.iter().product::<usize>() as f64;
    let head = if matches!(recipe.objective, Kind::Reward { .. }) { config.hidden_size as f64 } else { 0.0 };
    let all: f64 = tensors.iter().map(|(_, shape)| size(shape)).sum::<f64>() + head;
    let idle = |name: &str| name == "lm_head.weight" && !has_logits(&recipe.objective);
    let trained = match &recipe.lora {
        Some(lora) => {
            let target = |name: &str| lora.targets.iter().any(|target| name.ends_with(&format!(".{target}.weight")));
            let low_rank = |shape: &[usize]| (lora.rank * shape.iter().sum::<usize>()) as f64;
            head + tensors.iter().filter(|(name, _)| target(name)).map(|(_, shape)| low_rank(shape)).sum::<f64>()
        }
        None => all - tensors.iter().filter(|(name, _)| idle(name)).map(|(_, shape)| size(shape)).sum::<f64>(),
    };
    (all, trained)
}

fn memory(recipe: &Recipe, config: &ModelConfig, layout: &Layout) -> Memory {
    let (all, trained) = parameters(recipe, config);
    let settings = &recipe.train.settings;
    let bf16 = settings.dtype == WeightType::Bf16;
    let number = settings.dtype.bytes() as f64;
    let tokens = settings.tokens_per_micro_batch as f64;
    let size = |size: usize| size as f64;
    let (hidden, q, kv) =
        (size(config.hidden_size), size(config.num_attention_heads * config.head_dim), size(config.num_key_value_heads * config.head_dim));
    let ffn = size(config.intermediate_size);
    // Bytes of a token that a layer keeps. In f32 its input, queries, keys and values, the attention's result, the middle,
    // gate and up. In bf16 the results of candle's ops, those of norms and rotations in f32.
    let layer = if bf16 { 44.0 * hidden + 26.0 * (q + kv) + 8.0 * ffn } else { 8.0 * (hidden + q + kv + ffn) };
    let layers = size(config.num_hidden_layers);
    let kept = if settings.activation_checkpointing { layers * number * hidden + layer } else { layers * layer };
    // Scores, weights and their gradients of a tile of queries, in f32.
    let keys = size(recipe.data.max_tokens.min(settings.tokens_per_micro_batch));
    let scores = if bf16 { 5.0 * 4.0 * size(config.num_attention_heads * BLOCK_QUERIES) * keys } else { 0.0 };
    let moment = settings.eight_bit_block.map_or(4.0, |block| 1.0 + 4.0 / block as f64);
    let logits = match (has_logits(&recipe.objective), bf16) {
        (false, _) => 0.0,
        (_, false) => 4.0 * size(LOGITS_HELD),
        // Those of the forward pass and of the backward pass in each step from logits to loss.
        (_, true) => 6.0 * 4.0 * size(BLOCK_LOGITS),
    };
    let master = if bf16 { 4.0 * trained / layout.shards } else { 0.0 };
    let moments = 2.0 * moment * trained / layout.shards;
    let apart = settings.eight_bit_block.is_some() && layout.room.is_some();
    Memory {
        weights: number * all,
        gradients: 4.0 * trained / layout.shards,
        master,
        moments,
        host: if apart { master + moments } else { 0.0 },
        activations: tokens * kept + scores,
        logits,
    }
}

/// Whole steps, and tokens, from the recipe's own counts.
struct Work {
    steps: u64,
    tokens: f64,
}

fn work(recipe: &Recipe) -> Option<Work> {
    let (train, epochs) = (&recipe.train.settings, recipe.train.epochs as f64);
    let rows = recipe.data.rows?.saturating_sub(recipe.data.held_out) as f64;
    let tokens = recipe.data.tokens_per_row.map(|tokens| tokens * rows * recipe.documents_per_example() as f64);
    let per_epoch = match train.examples_per_micro_batch {
        Some(examples) => rows / (examples * train.accumulation) as f64,
        None => tokens? / (train.tokens_per_micro_batch * train.accumulation) as f64,
    };
    Some(Work { steps: (per_epoch * epochs) as u64, tokens: tokens.unwrap_or(f64::NAN) * epochs })
}

pub(super) fn run(recipe: &Recipe) -> Result<Outcome, CommandError> {
    let config = recipe.model_config()?;
    let (all, trained) = parameters(recipe, &config);
    let mut text = format!("parameters        {:>9.1} M, of which {:.1} M train\n", all / 1e6, trained / 1e6);
    let work = work(recipe);
    match &work {
        Some(work) => {
            text.push_str(&format!("steps             {:>9}, of {} epochs\n", work.steps, recipe.train.epochs));
            let tokens =
                if work.tokens.is_nan() { "unknown: data.tokens_per_row is not set".into() } else { format!("{:.1} M", work.tokens / 1e6) };
            text.push_str(&format!("tokens            {tokens:>11}\n"));
        }
        None => text.push_str("steps             unknown: data.rows or data.tokens_per_row is not set\n"),
    }
    let dtype = json!(recipe.train.settings.dtype);
    text.push_str(&format!("\n{:<24}", format!("GB, weights in {}", dtype.as_str().unwrap_or_default())));
    LAYOUTS.iter().for_each(|layout| text.push_str(&format!("{:>33}", layout.name)));
    let all_memory: Vec<Memory> = LAYOUTS.iter().map(|layout| memory(recipe, &config, layout)).collect();
    for part in 0..6 {
        text.push_str(&format!("\n{:<24}", all_memory[0].parts()[part].0));
        all_memory.iter().for_each(|memory| text.push_str(&format!("{:>33.2}", memory.parts()[part].1 / 1e9)));
    }
    text.push_str(&format!("\n{:<24}", "together"));
    for (layout, memory) in LAYOUTS.iter().zip(&all_memory) {
        let fits = memory.fits(layout).map_or("", |fits| if fits { " (fits)" } else { " (too much)" });
        text.push_str(&format!("{:>33}", format!("{:.2}{fits}", memory.total() / 1e9)));
    }
    if all_memory.iter().any(|memory| memory.host > 0.0) {
        text.push_str(&format!("\n{:<24}", "of that in main memory"));
        all_memory.iter().for_each(|memory| text.push_str(&format!("{:>33.2}", memory.host / 1e9)));
    }
    let accumulation = recipe.train.settings.accumulation.div_ceil(4);
    text.push_str(&format!(
        "\n\nOn four, each takes a quarter of the {} micro-batches of a step ({accumulation}). This engine trains on one device: the \
         columns for four are reckoned.",
        recipe.train.settings.accumulation
    ));
    let column = |(layout, memory): (&Layout, &Memory)| {
        let parts: serde_json::Map<String, Value> = memory.parts().into_iter().map(|(part, bytes)| (part.into(), json!(bytes))).collect();
        json!({
            "layout": layout.name,
            "bytes": parts,
            "total_bytes": memory.total(),
            "main_memory_bytes": memory.host,
            "fits": memory.fits(layout),
        })
    };
    let report = json!({
        "command": "train",
        "parameters": all,
        "trained_parameters": trained,
        "dtype": dtype,
        "steps": work.as_ref().map(|work| work.steps),
        "tokens": work.as_ref().map(|work| work.tokens).filter(|tokens| tokens.is_finite()),
        "memory": LAYOUTS.iter().zip(&all_memory).map(column).collect::<Vec<_>>(),
    });
    Ok(Outcome::done(text, report))
}
