//! `cargo xtask train --plan`: what a run will need, before anything is loaded.

use janus_train::estimate::{MemoryEstimate, Parameters};
use janus_train::{Length, Recipe};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome};

/// Where and how the run would be laid out.
struct Layout {
    name: &'static str,
    /// Machines that share gradients, master weights and moments.
    shards: usize,
    /// Bytes of a GPU; `None`: this machine, whatever it has.
    room: Option<f64>,
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "this machine", shards: 1, room: None },
    Layout { name: "1 x 80 GB", shards: 1, room: Some(80e9) },
    Layout { name: "4 x 80 GB, a replica on each", shards: 1, room: Some(80e9) },
    Layout { name: "4 x 80 GB, state in four parts", shards: 4, room: Some(80e9) },
];

impl Layout {
    fn fits(&self, memory: &MemoryEstimate) -> Option<bool> {
        self.room.map(|room| memory.on_device() <= room)
    }
}

pub(super) fn run(recipe: &Recipe) -> Result<Outcome, CommandError> {
    let config = recipe.model_config().bad_input()?;
    let Parameters { all, trained } = recipe.workload(&config, 1, false).parameters();
    let mut text = format!("parameters        {:>9.1} M, of which {:.1} M train\n", all as f64 / 1e6, trained as f64 / 1e6);
    let work = recipe.work();
    match &work {
        Some(work) => {
            let of = if let Length::Epochs(epochs) = recipe.train.length { format!(", of {epochs} epochs") } else { String::new() };
            text.push_str(&format!("steps             {:>9}{of}\n", work.steps));
            let unknown = || "unknown: data.rows or data.tokens_per_row is not set".into();
            let tokens = work.tokens.map_or_else(unknown, |tokens| format!("{:.1} M", tokens / 1e6));
            text.push_str(&format!("tokens            {tokens:>11}\n"));
        }
        None => text.push_str("steps             unknown: data.rows or data.tokens_per_row is not set\n"),
    }
    let dtype = json!(recipe.train.dtype);
    text.push_str(&format!("\n{:<24}", format!("GB, weights in {}", dtype.as_str().unwrap_or_default())));
    LAYOUTS.iter().for_each(|layout| text.push_str(&format!("{:>33}", layout.name)));
    let memory = |layout: &Layout| MemoryEstimate::of(&recipe.workload(&config, layout.shards, layout.room.is_some()));
    let columns: Vec<(&Layout, MemoryEstimate)> = LAYOUTS.iter().map(|layout| (layout, memory(layout))).collect();
    for part in 0..columns[0].1.parts().len() {
        text.push_str(&format!("\n{:<24}", columns[0].1.parts()[part].0));
        columns.iter().for_each(|(_, memory)| text.push_str(&format!("{:>33.2}", memory.parts()[part].1 / 1e9)));
    }
    text.push_str(&format!("\n{:<24}", "together"));
    for (layout, memory) in &columns {
        let fits = layout.fits(memory).map_or("", |fits| if fits { " (fits)" } else { " (too much)" });
        text.push_str(&format!("{:>33}", format!("{:.2}{fits}", memory.total() / 1e9)));
    }
    if columns.iter().any(|(_, memory)| memory.in_main_memory > 0.0) {
        text.push_str(&format!("\n{:<24}", "of that in main memory"));
        columns.iter().for_each(|(_, memory)| text.push_str(&format!("{:>33.2}", memory.in_main_memory / 1e9)));
    }
    let micro_batches = recipe.train.gradient_accumulation_steps;
    text.push_str(&format!(
        "\n\nOn four, each takes a quarter of the {micro_batches} micro-batches of a step ({}). This engine trains on one device: the \
         columns for four are reckoned.",
        micro_batches.div_ceil(4)
    ));
    let column = |(layout, memory): &(&Layout, MemoryEstimate)| {
        let parts: serde_json::Map<String, Value> = memory.parts().into_iter().map(|(part, bytes)| (part.into(), json!(bytes))).collect();
        json!({
            "layout": layout.name,
            "bytes": parts,
            "total_bytes": memory.total(),
            "main_memory_bytes": memory.in_main_memory,
            "fits": layout.fits(memory),
        })
    };
    let report = json!({
        "command": "train",
        "parameters": all,
        "trained_parameters": trained,
        "dtype": dtype,
        "steps": work.map(|work| work.steps),
        "tokens": work.and_then(|work| work.tokens),
        "memory": columns.iter().map(column).collect::<Vec<_>>(),
    });
    Ok(Outcome::done(text, report))
}
