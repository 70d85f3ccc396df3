//! How fast this machine runs a model.

use std::time::Instant;

use janus_core::{ChatModel as _, ChatRequest, Message, ModelError, SamplingParams};
use serde::Serialize;

use crate::{Engine, KvCache, LogitsWanted, Result, SequenceInput};

/// Tokens of the prompt that is prefilled.
pub const PREFILL: usize = 512;
/// Tokens that one sequence generates from an empty context.
const SINGLE_NEW: usize = 128;
/// Sequences that decode in one batch, the tokens of each one's prompt, and its new tokens.
const SEQUENCES: usize = 8;
const PROMPT: usize = 128;
const NEW: usize = 64;
/// Answers to one prompt.
const CANDIDATES: usize = 16;

/// Tokens per second, each the median of several runs. Token ids are arbitrary: the work does not depend
/// on them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// Prefill of a prompt of 512 tokens, with the logits of its last one.
    pub prefill_tokens_per_s: f64,
    /// Decoding of 128 tokens by one sequence, from an empty context.
    pub decode_b1_tokens_per_s: f64,
    /// Decoding of 64 tokens by each of 8 sequences after prompts of 128; the rate counts the new tokens
    /// of all sequences.
    pub decode_b8_tokens_per_s: f64,
}

impl Throughput {
    /// Measures a model whose context has at least [`PREFILL`] tokens.
    ///
    /// # Errors
    /// Those of a forward pass.
    pub fn measure(engine: &Engine, runs: u32) -> Result<Self> {
        let bench = Bench { engine };
        // The first pass warms up.
        bench.prefilled(PREFILL)?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            bench.prefilled(PREFILL)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(Self {
            prefill_tokens_per_s: PREFILL as f64 / median(seconds),
            decode_b1_tokens_per_s: bench.decode(runs, 1, 1, SINGLE_NEW)?,
            decode_b8_tokens_per_s: bench.decode(runs, SEQUENCES, PROMPT, NEW)?,
        })
    }

    /// The engine's time for 16 answers to one prompt of about 130 tokens, divided by the time of one
    /// prefill and of decoding the same number of tokens by forward passes alone. The median of paired
    /// runs; 1 means that the engine adds no overhead.
    ///
    /// # Errors
    /// Those of a forward pass.
    pub fn best_of_16_ratio(engine: &Engine, runs: u32) -> Result<f64, ModelError> {
        let bench = Bench { engine };
        let failed = |error: crate::Error| ModelError::Failed { id: "story".into(), source: Box::new(error) };
        let story = "Write a long story about a lighthouse keeper who finds a map in an old book. ".repeat(7);
        let sampling = SamplingParams { n: CANDIDATES, max_tokens: NEW, ..SamplingParams::paper() };
        let request = ChatRequest::new("story", [Message::user(story)]).with_sampling(sampling);
        let mut ratios = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            let answers = engine.generate(std::slice::from_ref(&request)).remove(0)?;
            let seconds = start.elapsed().as_secs_f64();
            let tokens: usize = answers.iter().map(|answer| answer.completion_tokens).sum();
            let prompt = answers.first().map_or(PROMPT, |answer| answer.prompt_tokens);
            let start = Instant::now();
            bench.prefilled(prompt).map_err(failed)?;
            let prefill = start.elapsed().as_secs_f64();
            let rate = bench.decode(1, CANDIDATES, prompt, NEW).map_err(failed)?;
            ratios.push(seconds / (prefill + tokens as f64 / rate));
        }
        Ok(median(ratios))
    }
}

struct Bench<'e> {
    engine: &'e Engine,
}

impl Bench<'_> {
    /// Token `i` of sequence `sequence`.
    fn token(&self, sequence: usize, i: usize) -> u32 {
        ((i * 7919 + sequence * 104_729 + 17) % self.engine.model().config().vocab_size) as u32
    }

    /// The KV cache of a prompt of this many tokens.
    fn prefilled(&self, tokens: usize) -> Result<KvCache> {
        let ids: Vec<u32> = (0..tokens).map(|i| self.token(0, i)).collect();
        let model = self.engine.model();
        let mut cache = model.cache();
        model.forward(
            &mut [SequenceInput { tokens: &ids, cache: &mut cache, logits: LogitsWanted::Last }],
            &mut Vec::new(),
        )?;
        Ok(cache)
    }

    /// New tokens per second of `sequences` that decode in one batch after prompts of `prompt` tokens.
    fn decode(&self, runs: u32, sequences: usize, prompt: usize, new: usize) -> Result<f64> {
        let model = self.engine.model();
        let (mut seconds, mut logits) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            // The prompt's last token is the input of the first decoding step.
            let mut caches = Vec::new();
            for _ in 0..sequences {
                caches.push(if prompt > 1 { self.prefilled(prompt - 1)? } else { model.cache() });
            }
            let start = Instant::now();
            for step in 0..new {
                let ids: Vec<u32> =
                    (0..sequences).map(|sequence| self.token(sequence, prompt + step)).collect();
                let mut inputs: Vec<_> = caches
                    .iter_mut()
                    .zip(&ids)
                    .map(|(cache, id)| SequenceInput {
                        tokens: std::slice::from_ref(id),
                        cache,
                        logits: LogitsWanted::Last,
                    })
                    .collect();
                model.forward(&mut inputs, &mut logits)?;
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok((sequences * new) as f64 / median(seconds))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}
