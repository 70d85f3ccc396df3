//! What a run will need: steps, tokens and memory, computed before anything is loaded.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Recipe;
use crate::estimate::{MemoryEstimate, Parameters, Work};
use crate::{DType, Length, Result};

/// The hardware of a run and how its state is sharded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layout {
    name: &'static str,
    /// Devices over which gradients, master weights and moments are sharded.
    shards: usize,
    /// Whether it trains on GPUs, of 80 GB each, or on this machine's CPU.
    gpu: bool,
}

impl Layout {
    /// The memory of a GPU or of this machine in bytes; `None` if the system does not tell.
    fn room(&self) -> Option<f64> {
        if self.gpu { Some(80e9) } else { main_memory(&std::fs::read_to_string("/proc/meminfo").ok()?) }
    }
}

/// The bytes of main memory by Linux's `/proc/meminfo`, which counts in KiB.
fn main_memory(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "this machine", shards: 1, gpu: false },
    Layout { name: "1 x 80 GB", shards: 1, gpu: true },
    Layout { name: "4 x 80 GB, a replica on each", shards: 1, gpu: true },
    Layout { name: "4 x 80 GB, state in four parts", shards: 4, gpu: true },
];

/// Parameters, steps, tokens and memory of a run. `Display` prints a table; JSON has the bytes for each
/// part and layout.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Number of parameters.
    pub parameters: usize,
    /// Number of parameters that are trained.
    pub trained_parameters: usize,
    /// The dtype of the weights.
    pub dtype: DType,
    /// Optimiser steps; `None` if the recipe does not state the numbers of rows and tokens.
    pub steps: Option<u64>,
    /// Tokens of the whole run; `None` in the same case.
    pub tokens: Option<f64>,
    /// The micro-batches of the epochs that fill no step, so that they are not trained on, and the number of
    /// all; `None` if there are none, or before the rows are counted.
    pub left_over: Option<(u64, u64)>,
    #[serde(skip)]
    epochs: Option<f64>,
    #[serde(skip)]
    micro_batches: usize,
    memory: Vec<Column>,
}

/// The memory of a layout.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Column {
    layout: Layout,
    /// See [`Layout::room`].
    room: Option<f64>,
    memory: MemoryEstimate,
}

impl Column {
    fn fits(&self) -> Option<bool> {
        self.room.map(|room| self.memory.on_device() <= room)
    }
}

impl Serialize for Column {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts: Map<String, Value> =
            self.memory.parts().into_iter().map(|(part, bytes)| (part.into(), json!(bytes))).collect();
        let column = json!({
            "layout": self.layout.name, "bytes": parts, "total_bytes": self.memory.total(),
            "main_memory_bytes": self.memory.in_main_memory, "room_bytes": self.room, "fits": self.fits(),
        });
        column.serialize(serializer)
    }
}

impl Recipe {
    /// What a run of this recipe will need, on this machine and on GPUs with 80 GB. Only the model's
    /// `config.json` and the row lengths of a token file are read.
    ///
    /// # Errors
    /// Those of [`Recipe::model_config`] and [`Recipe::work`].
    pub fn plan(&self) -> Result<Plan> {
        let config = self.model_config()?;
        let Parameters { all, trained } = self.workload(&config, 1, false).parameters();
        let work: Option<Work> = self.work()?;
        let column = |layout: Layout| {
            let workload = self.workload(&config, layout.shards, layout.gpu);
            Column { layout, room: layout.room(), memory: MemoryEstimate::of(&workload) }
        };
        Ok(Plan {
            parameters: all,
            trained_parameters: trained,
            dtype: self.train.dtype,
            steps: work.map(|work| work.steps),
            tokens: work.and_then(|work| work.tokens),
            left_over: work.and_then(|work| work.left_over),
            epochs: if let Length::Epochs(epochs) = self.train.length { Some(epochs) } else { None },
            micro_batches: self.train.gradient_accumulation_steps,
            memory: LAYOUTS.map(column).into(),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "unknown: data.rows or data.tokens_per_row is not set";
        let million = |count: usize| count as f64 / 1e6;
        let (all, trained) = (million(self.parameters), million(self.trained_parameters));
        writeln!(f, "parameters        {all:>9.1} M, of which {trained:.1} M train")?;
        match self.steps {
            Some(steps) => {
                let of = self.epochs.map(|epochs| format!(", of {epochs} epochs")).unwrap_or_default();
                writeln!(f, "steps             {steps:>9}{of}")?;
                let tokens =
                    self.tokens.map_or_else(|| UNKNOWN.into(), |tokens| format!("{:.1} M", tokens / 1e6));
                writeln!(f, "tokens            {tokens:>11}")?;
                if let Some((left_over, micro_batches)) = self.left_over {
                    writeln!(
                        f,
                        "not trained on    {left_over:>9} of {micro_batches} micro-batches, which fill no step"
                    )?;
                }
            }
            None => writeln!(f, "steps             {UNKNOWN}")?,
        }
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(&Column) -> String| {
            write!(f, "\n{name:<24}")?;
            self.memory.iter().try_for_each(|column| write!(f, "{:>33}", cell(column)))
        };
        let gigabytes = |bytes: f64| format!("{:.2}", bytes / 1e9);
        let dtype = json!(self.dtype);
        row(f, &format!("GB, weights in {}", dtype.as_str().unwrap_or_default()), &|column| {
            column.layout.name.into()
        })?;
        for (part, (name, _)) in self.memory[0].memory.parts().iter().enumerate() {
            if self.memory.iter().all(|column| column.memory.parts()[part].1 == 0.0) {
                continue;
            }
            row(f, name, &|column| gigabytes(column.memory.parts()[part].1))?;
        }
        row(f, "together", &|column| {
            let fits = column.fits().map_or("", |fits| if fits { " (fits)" } else { " (too much)" });
            gigabytes(column.memory.total()) + fits
        })?;
        if self.memory.iter().any(|column| column.memory.in_main_memory > 0.0) {
            row(f, "of that in main memory", &|column| gigabytes(column.memory.in_main_memory))?;
        }
        write!(
            f,
            "\n\nWith four devices, each takes a quarter of the {} micro-batches of a step ({}). This trainer runs on one device: \
             the columns for four are estimates.",
            self.micro_batches,
            self.micro_batches.div_ceil(4)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_memory_is_read_in_kib() {
        assert_eq!(main_memory("MemFree: 1 kB\nMemTotal:       24117248 kB\n"), Some(24_117_248.0 * 1024.0));
        assert_eq!(main_memory("MemFree: 1 kB\n"), None);
    }
}
