//! `cargo xtask train --plan`: what a run will need, before anything is loaded.

use janus_infer::ModelConfig;
use janus_train::ops::LOGITS_HELD;
use serde_json::{Value, json};

use super::recipe::{Kind, Recipe};
use crate::command::{CommandError, Outcome};

/// Where and how the run would be laid out.
struct Layout {
    name: &'static str,
    /// Bytes of a weight, of a gradient, and of an activation.
    number: f64,
    /// Bytes of the f32 copy that the optimiser keeps of weights in bf16.
    master: f64,
    /// Machines that share gradients, master weights and moments.
    shards: f64,
    /// Bytes that there are; none: whatever the machine has.
    room: Option<f64>,
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "this machine, f32", number: 4.0, master: 0.0, shards: 1.0, room: None },
    Layout { name: "1 x 80 GB, bf16 + f32 master", number: 2.0, master: 4.0, shards: 1.0, room: Some(80e9) },
    Layout { name: "4 x 80 GB, a replica on each", number: 2.0, master: 4.0, shards: 1.0, room: Some(80e9) },
    Layout { name: "4 x 80 GB, state in four parts", number: 2.0, master: 4.0, shards: 4.0, room: Some(80e9) },
];

/// Bytes by part.
struct Memory {
    weights: f64,
    gradients: f64,
    master: f64,
    moments: f64,
    activations: f64,
    logits: f64,
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
}

/// Parameters in all, and those that train.
fn parameters(recipe: &Recipe, config: &ModelConfig) -> (f64, f64) {
    let tensors = config.tensors();
    let size = |shape: &[usize]| shape.iter().product::<usize>() as f64;
    let head = if matches!(recipe.objective, Kind::Reward {}) { config.hidden_size as f64 } else { 0.0 };
    let all: f64 = tensors.iter().map(|(_, shape)| size(shape)).sum::<f64>() + head;
    let idle = |name: &str| name == "lm_head.weight" && matches!(recipe.objective, Kind::Reward {});
    let trained = match &recipe.lora {
        Some(lora) => {
            let target = |name: &str| lora.targets.iter().any(|target| name.ends_with(&format!(".{target}.weight")));
            let low_rank = |shape: &[usize]| (lora.rank * shape.iter().sum::<usize>()) as f64;
            tensors.iter().filter(|(name, _)| target(name)).map(|(_, shape)| low_rank(shape)).sum()
        }
        None => all - tensors.iter().filter(|(name, _)| idle(name)).map(|(_, shape)| size(shape)).sum::<f64>(),
    };
    (all, trained)
}

fn memory(recipe: &Recipe, config: &ModelConfig, layout: &Layout) -> Memory {
    let (all, trained) = parameters(recipe, config);
    let tokens = recipe.train.tokens_per_micro_batch as f64;
    let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    // What a layer keeps: its input, queries, keys and values, the attention's result, the middle, gate and up.
    let layer = (2 * config.hidden_size + 2 * q + 2 * kv + 2 * config.intermediate_size) as f64;
    let layers = config.num_hidden_layers as f64;
    let kept = if recipe.train.activation_checkpointing { layers * config.hidden_size as f64 + layer } else { layers * layer };
    let moment = recipe.train.eight_bit_block.map_or(4.0, |block| 1.0 + 4.0 / block as f64);
    let logits = if matches!(recipe.objective, Kind::Reward {}) { 0.0 } else { LOGITS_HELD as f64 };
    let base = if layout.number < 4.0 { layout.master * trained / layout.shards } else { 0.0 };
    Memory {
        weights: layout.number * all,
        gradients: layout.number * trained / layout.shards,
        master: base,
        moments: 2.0 * moment * trained / layout.shards,
        activations: layout.number * tokens * kept,
        logits: 4.0 * logits,
    }
}

/// Steps and tokens from the recipe's own counts.
struct Work {
    steps: u64,
    tokens: f64,
}

fn work(recipe: &Recipe) -> Option<Work> {
    let train = &recipe.train;
    let rows = recipe.data.rows?.saturating_sub(recipe.data.held_out) as f64;
    let tokens = recipe.data.tokens_per_row.map(|tokens| tokens * rows * recipe.documents_per_example() as f64);
    let per_epoch = match train.examples_per_micro_batch {
        Some(examples) => rows / (examples * train.accumulation) as f64,
        None => tokens? / (train.tokens_per_micro_batch * train.accumulation) as f64,
    };
    Some(Work { steps: (per_epoch * train.epochs as f64).ceil() as u64, tokens: tokens.unwrap_or(f64::NAN) * train.epochs as f64 })
}

pub(super) fn run(recipe: &Recipe) -> Result<Outcome, CommandError> {
    recipe.settings_for(1).check().map_err(CommandError::bad_input)?;
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
    text.push_str(&format!("\n{:<24}", "memory in GB"));
    LAYOUTS.iter().for_each(|layout| text.push_str(&format!("{:>33}", layout.name)));
    let all_memory: Vec<Memory> = LAYOUTS.iter().map(|layout| memory(recipe, &config, layout)).collect();
    for part in 0..6 {
        text.push_str(&format!("\n{:<24}", all_memory[0].parts()[part].0));
        all_memory.iter().for_each(|memory| text.push_str(&format!("{:>33.2}", memory.parts()[part].1 / 1e9)));
    }
    text.push_str(&format!("\n{:<24}", "together"));
    for (layout, memory) in LAYOUTS.iter().zip(&all_memory) {
        let fits = layout.room.map_or("", |room| if memory.total() <= room { " (fits)" } else { " (too much)" });
        text.push_str(&format!("{:>33}", format!("{:.2}{fits}", memory.total() / 1e9)));
    }
    let accumulation = recipe.train.accumulation.div_ceil(4);
    text.push_str(&format!(
        "\n\nOn four, each takes a quarter of the {} micro-batches of a step ({accumulation}). The columns for 80 GB are reckoned for bf16 \
         weights; this engine trains in f32 on the CPU.",
        recipe.train.accumulation
    ));
    let column = |(layout, memory): (&Layout, &Memory)| {
        let parts: serde_json::Map<String, Value> = memory.parts().into_iter().map(|(part, bytes)| (part.into(), json!(bytes))).collect();
        let fits = layout.room.map(|room| memory.total() <= room);
        json!({ "layout": layout.name, "bytes": parts, "total_bytes": memory.total(), "fits": fits })
    };
    let report = json!({
        "command": "train",
        "parameters": all,
        "trained_parameters": trained,
        "steps": work.as_ref().map(|work| work.steps),
        "tokens": work.as_ref().map(|work| work.tokens).filter(|tokens| tokens.is_finite()),
        "memory": LAYOUTS.iter().zip(&all_memory).map(column).collect::<Vec<_>>(),
    });
    Ok(Outcome::done(text, report))
}
