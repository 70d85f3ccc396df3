//! Estimates of a run's memory and work before anything is loaded.

use serde::Serialize;

use crate::objective::Head;
use crate::ops::{BLOCK_LOGITS, LOGITS_HELD, SavedActivations, blocks};
use crate::scratch;
use crate::{DType, Length, LoraConfig, ModelConfig, Recipe, Result, TrainConfig};

/// A training workload: the model, the settings and the devices.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Workload<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// The settings.
    pub train: &'a TrainConfig,
    /// LoRA adapters, which are trained instead of the weights.
    pub lora: Option<&'a LoraConfig>,
    /// Whether a reference model of the same size, in the same dtype, is in memory during training
    /// ([`Reference::Model`](crate::Reference::Model)). A recipe computes its log-probabilities before.
    pub reference: bool,
    /// The heads that the loss reads.
    pub heads: &'a [Head],
    /// Tokens of the longest document.
    pub longest_document: usize,
    /// Devices over which gradients, master weights and moments are sharded.
    pub shards: usize,
    /// Whether it trains on a GPU. 8-bit moments, and the f32 masters of their weights, are in main
    /// memory then.
    pub on_gpu: bool,
}

/// Numbers of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Parameters {
    /// All parameters.
    pub all: usize,
    /// The trainable parameters.
    pub trained: usize,
}

/// Memory of training in bytes, by part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// The weights.
    pub weights: f64,
    /// Their gradients, in f32.
    pub gradients: f64,
    /// f32 masters of bf16 weights.
    pub master_weights: f64,
    /// AdamW's moments.
    pub moments: f64,
    /// Activations that the forward pass keeps for the backward pass.
    pub activations: f64,
    /// Logits in memory at a time.
    pub logits: f64,
    /// Work buffers of the backward pass, and the gradients of hidden states; 0 in bf16, where they were not
    /// measured.
    pub work: f64,
    /// The weights of a reference model.
    pub reference: f64,
    /// The share of these bytes that is in main memory and not on the GPU.
    pub in_main_memory: f64,
}

impl<'a> Workload<'a> {
    /// Training of all weights on one CPU.
    pub fn new(
        model: &'a ModelConfig,
        train: &'a TrainConfig,
        heads: &'a [Head],
        longest_document: usize,
    ) -> Self {
        Self { model, train, lora: None, reference: false, heads, longest_document, shards: 1, on_gpu: false }
    }

    fn has_logits(&self) -> bool {
        self.heads.contains(&Head::LanguageModel)
    }

    /// The numbers of all parameters and of trainable ones.
    pub fn parameters(&self) -> Parameters {
        let tensors = self.model.tensors();
        let size = |shape: &[usize]| shape.iter().product::<usize>();
        let value_head = if self.heads.contains(&Head::Value) { self.model.hidden_size } else { 0 };
        let all = tensors.iter().map(|(_, shape)| size(shape)).sum::<usize>() + value_head;
        let trained = match self.lora {
            Some(lora) => {
                let target = |name: &str| {
                    lora.targets.iter().any(|target| name.ends_with(&format!(".{target}.weight")))
                };
                let updates = tensors.iter().filter(|(name, _)| target(name));
                value_head + updates.map(|(_, shape)| lora.rank * shape.iter().sum::<usize>()).sum::<usize>()
            }
            None => {
                let idle = |name: &str| name == Head::LanguageModel.weight() && !self.has_logits();
                all - tensors
                    .iter()
                    .filter(|(name, _)| idle(name))
                    .map(|(_, shape)| size(shape))
                    .sum::<usize>()
            }
        };
        Parameters { all, trained }
    }

    /// Bytes of the logits in f32 on a CPU, and of the other buffers beside `saved` bytes of activations.
    fn head_and_work(&self, saved: usize) -> (usize, usize) {
        /// Tensors of the size of the hidden states: the decoder's output, its gradient, the zeros that it is
        /// added to, their sum, and the input of the final norm.
        const HIDDEN_STATES: usize = 5;
        /// What the threads pack for matrix products, and other small things: measured.
        const OTHER: usize = 8 << 20;
        let (model, tokens) = (self.model, self.train.tokens_per_micro_batch);
        let rows = tokens * model.hidden_size;
        let head = if self.has_logits() { LOGITS_HELD.min(tokens * model.vocab_size) + 2 * rows } else { 0 };
        let layer = SavedActivations::backward_work(model, tokens, self.lora.is_some());
        // The head's buffers and a layer's are used one after the other. Those of the other stay as far as
        // the pool keeps them.
        let most = saved / size_of::<f32>() + head.max(layer);
        let kept = head.min(layer).min(scratch::bound(most) - most);
        let other = head.max(layer) + kept - head + HIDDEN_STATES * rows;
        (size_of::<f32>() * head, size_of::<f32>() * other + OTHER)
    }
}

impl MemoryEstimate {
    /// The bytes of a workload on each of its devices.
    pub fn of(workload: &Workload<'_>) -> Self {
        let Workload { model, train, .. } = *workload;
        let Parameters { all, trained } = workload.parameters();
        let (all, trained, shards) = (all as f64, trained as f64, workload.shards as f64);
        let (bf16, number) = (train.dtype == DType::Bf16, train.dtype.bytes());
        let saved = if bf16 {
            blocks::saved_bytes_per_token(model)
        } else {
            SavedActivations::bytes_per_token(model)
        };
        let of_token = if train.activation_checkpointing {
            model.num_hidden_layers * number * model.hidden_size + saved
        } else {
            model.num_hidden_layers * saved
        };
        let keys = workload.longest_document.min(train.tokens_per_micro_batch);
        let scores = if bf16 { blocks::score_bytes(model, keys) } else { 0 };
        let moment = train.quantized_state_block.map_or(4.0, |block| 1.0 + 4.0 / block as f64);
        let tokens = train.tokens_per_micro_batch;
        let (logits, work) = if bf16 {
            // Forward and backward tensors of each operation from logits to loss.
            (if workload.has_logits() { 6 * 4 * BLOCK_LOGITS } else { 0 }, 0)
        } else {
            workload.head_and_work(tokens * of_token)
        };
        let master_weights = if bf16 { 4.0 * trained / shards } else { 0.0 };
        let moments = 2.0 * moment * trained / shards;
        let apart = train.quantized_state_block.is_some() && workload.on_gpu;
        Self {
            weights: number as f64 * all,
            gradients: 4.0 * trained / shards,
            master_weights,
            moments,
            activations: (tokens * of_token + scores) as f64,
            logits: logits as f64,
            work: work as f64,
            reference: if workload.reference { number as f64 * all } else { 0.0 },
            in_main_memory: if apart { master_weights + moments } else { 0.0 },
        }
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("f32 master weights", self.master_weights),
            ("moments", self.moments),
            ("activations", self.activations),
            ("logits held at a time", self.logits),
            ("work buffers", self.work),
            ("reference model", self.reference),
        ]
    }

    /// The sum of all parts.
    pub fn total(&self) -> f64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The bytes on the device, without those in main memory.
    pub fn on_device(&self) -> f64 {
        self.total() - self.in_main_memory
    }
}

/// Floating-point operations of the forward pass for one token of a row of `seq` tokens: two for each
/// weight of a matrix product, and half of attention's two products, because of the causal mask. A
/// training step needs three times as many.
pub fn forward_flop_per_token(model: &ModelConfig, seq: usize) -> f64 {
    let attention = model.num_attention_heads * model.head_dim;
    let kv = model.num_key_value_heads * model.head_dim;
    let layer = model.hidden_size * (2 * attention + 2 * kv + 3 * model.intermediate_size);
    let weights = model.num_hidden_layers * layer + model.vocab_size * model.hidden_size;
    2.0 * (weights + model.num_hidden_layers * attention * seq) as f64
}

/// Steps and tokens of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Work {
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens of the whole run; `None` if the recipe has no `data.tokens_per_row` and the data is not a
    /// token file.
    pub tokens: Option<f64>,
    /// The micro-batches of the epochs that fill no step, so that they are not trained on, and the number of
    /// all; `None` if there are none, or before the rows are counted.
    pub left_over: Option<(u64, u64)>,
}

impl Recipe {
    /// The workload of this recipe.
    pub fn workload<'a>(&'a self, model: &'a ModelConfig, shards: usize, on_gpu: bool) -> Workload<'a> {
        Workload {
            model,
            train: &self.train,
            lora: self.lora.as_ref(),
            reference: false,
            heads: self.objective.heads(),
            longest_document: self.data.max_tokens,
            shards,
            on_gpu,
        }
    }

    /// Steps and tokens of the run: from the rows of the token file at `data.path` if that exists, else
    /// from `data.rows` and `data.tokens_per_row`. `None` if the recipe lacks the counts that it needs.
    ///
    /// # Errors
    /// If the token file cannot be read, or `data.path` is a pattern that matches nothing and the recipe does
    /// not state the rows; [`Error::AllHeldOut`](crate::Error::AllHeldOut); as
    /// [`TrainConfig::for_lengths`].
    pub fn work(&self) -> Result<Option<Work>> {
        if self.data.path.is_dir() {
            return self.counted_work().map(Some);
        }
        if self.data.rows.is_none() {
            // A pattern that matches nothing is an error now; a file may be made later.
            self.data_files()?;
        }
        Ok(self.stated_work())
    }

    /// The exact steps, from the lengths of the rows on disk.
    fn counted_work(&self) -> Result<Work> {
        let lengths = self.token_file_lengths()?;
        let (_, steps) = self.train.for_lengths(&lengths).map_err(|error| self.at_train(error))?;
        let of_epochs = |epochs: f64| lengths.iter().sum::<usize>() as f64 * epochs;
        let tokens = match self.train.length {
            Length::Epochs(epochs) => of_epochs(epochs),
            Length::Steps(steps) => {
                let micro_batches = self.train.sampler(lengths.clone())?.micro_batches(1.0);
                of_epochs(
                    (steps * self.train.gradient_accumulation_steps as u64) as f64 / micro_batches as f64,
                )
            }
        };
        let left_over = self.train.left_over(&lengths)?;
        Ok(Work { steps, tokens: Some(tokens), left_over })
    }

    fn stated_work(&self) -> Option<Work> {
        let (data, train) = (&self.data, &self.train);
        let rows = data.rows.map(|rows| rows.saturating_sub(data.held_out) as f64);
        let per_epoch = rows
            .zip(data.tokens_per_row)
            .map(|(rows, tokens)| tokens * rows * self.objective.documents_per_example() as f64);
        let steps_of = |micro_batches: f64| micro_batches / train.gradient_accumulation_steps as f64;
        let steps_per_epoch = match train.examples_per_micro_batch {
            Some(examples) => rows.map(|rows| steps_of(rows / examples as f64)),
            None => per_epoch.map(|tokens| steps_of(tokens / train.tokens_per_micro_batch as f64)),
        };
        match train.length {
            Length::Epochs(epochs) => Some(Work {
                steps: (steps_per_epoch? * epochs) as u64,
                tokens: per_epoch.map(|tokens| tokens * epochs),
                left_over: None,
            }),
            Length::Steps(steps) => {
                let tokens = per_epoch.zip(steps_per_epoch).map(|(tokens, all)| tokens * steps as f64 / all);
                Some(Work { steps, tokens, left_over: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::recipe::Shape;
    use crate::{Decoder, LoraConfig};

    fn decoder_of(model: &ModelConfig) -> Decoder {
        Decoder::init(model, 0, &Device::Cpu).unwrap()
    }

    #[test]
    fn estimated_parameters_are_those_of_the_decoder() {
        let model = Shape::Tiny.config();
        let train = TrainConfig::new(Length::Steps(1), 64, 1e-3, 0);
        let size =
            |decoder: &Decoder| decoder.weights().values().map(|weight| weight.elem_count()).sum::<usize>();
        let decoder = decoder_of(&model);
        let workload = Workload::new(&model, &train, &[Head::LanguageModel], 64);
        assert_eq!(workload.parameters(), Parameters { all: size(&decoder), trained: size(&decoder) });
        assert_eq!(MemoryEstimate::of(&workload).weights, (4 * size(&decoder)) as f64);
        let bf16 = decoder.to_dtype(DType::Bf16).unwrap();
        let bytes: usize =
            bf16.weights().values().map(|weight| weight.elem_count() * weight.dtype().size_in_bytes()).sum();
        let in_bf16 = train.clone().with(|train| train.dtype = DType::Bf16);
        assert_eq!(
            MemoryEstimate::of(&Workload::new(&model, &in_bf16, &[Head::LanguageModel], 64)).weights,
            bytes as f64
        );
        let lora = LoraConfig::new(4, 8.0);
        let mut updated = workload;
        updated.lora = Some(&lora);
        let adapted = decoder_of(&model).with_lora(lora.clone(), 0).unwrap();
        assert_eq!(updated.parameters().trained, size(&adapted) - size(&decoder_of(&model)));
    }

    #[test]
    fn operations_of_a_step_are_the_expected_ones() {
        // 33.8 MFLOP for each token of rows of 256, 860 for rows of 512.
        assert!((3.0 * forward_flop_per_token(&Shape::M6m.config(), 256) / 1e6 - 33.8).abs() < 0.1);
        assert!((3.0 * forward_flop_per_token(&Shape::Smollm2.config(), 512) / 1e6 - 860.0).abs() < 5.0);
    }
}
