//! `cargo xtask bench infer`: reading prompts and writing answers.

use std::path::PathBuf;
use std::time::Instant;

use janus_core::{ChatModel as _, ChatRequest, Message, SamplingParams};
use janus_infer::{DeviceName, Engine, EngineOptions, KvCache, LogitsWanted, Model, SequenceInput};
use serde_json::json;

use super::{median, peak_mb};
use crate::command::{Blame as _, CommandError, Outcome};
use crate::device::DeviceArg;

/// Tokens of the prompt that is read.
const PREFILL: usize = 512;
/// Tokens written alone, from an empty context.
const ALONE: usize = 128;
/// Sequences side by side, each with its prompt and the tokens after it.
const SEQUENCES: usize = 8;
const PROMPT: usize = 128;
const NEW: usize = 64;
/// Answers to one prompt.
const CANDIDATES: usize = 16;

/// Measure inference: tokens a second when reading and writing, peak memory
///
/// Tokens are random: what they are does not change the work. Each figure is the median of several runs.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors, tokenizer.json and
///          tokenizer_config.json.
/// Writes:  nothing; the figures go to stdout: prefill_tokens_per_s (a prompt of 512, logits of its last
///          token); decode_b1_tokens_per_s (128 new tokens, empty context); decode_b8_tokens_per_s (8
///          sequences, prompts of 128, 64 new tokens each; the new ones of all, prompts not timed);
///          peak_mb (of the process until here); best_of_16_ratio (what 16 answers to one prompt of some
///          130 tokens take through the engine, by what one prefill and as many decodes do).
/// Example: cargo xtask bench infer --model models/smollm2-135m-instruct-q4_1.gguf --threads 2 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file or model folder
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArg,
    /// Threads; as many as cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Runs of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    janus_infer::FreedMemory::Return.apply_to_process();
    let threads = args.threads.map_or(0, |threads| threads as usize);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().failure()?;
    let device = args.device.open()?;
    let engine = Engine::load(&args.model, &device, EngineOptions::default()).bad_input()?;
    let context = engine.context();
    if context < PREFILL {
        return Err(CommandError::bad_input(format!("{}: its context of {context} has no {PREFILL} tokens", args.model.display())));
    }
    let bench = Bench { engine, runs: args.runs };
    pool.install(|| bench.read(PREFILL)).failure()?;
    let figures = || -> janus_infer::Result<_> {
        Ok((bench.prefill()?, bench.decode(args.runs, 1, 1, ALONE)?, bench.decode(args.runs, SEQUENCES, PROMPT, NEW)?))
    };
    let (prefill, alone, together) = pool.install(figures).failure()?;
    let peak_mb = peak_mb();
    let best_of = pool.install(|| bench.best_of())?;
    let peak = peak_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB"));
    let text = format!(
        "tokens a second: {prefill:.0} reading, {alone:.0} writing, {together:.0} writing {SEQUENCES} answers; peak memory {peak}; \
         {CANDIDATES} answers to one prompt take {best_of:.2} times one prefill and {CANDIDATES} decodes"
    );
    let report = json!({
        "command": "bench infer",
        "model": args.model,
        "prefill_tokens_per_s": prefill,
        "decode_b1_tokens_per_s": alone,
        "decode_b8_tokens_per_s": together,
        "peak_mb": peak_mb,
        "best_of_16_ratio": best_of,
        "device": DeviceName::of(&device).to_string(),
        "threads": pool.current_num_threads(),
        "runs": args.runs,
    });
    Ok(Outcome::done(text, report))
}

struct Bench {
    engine: Engine,
    runs: u32,
}

impl Bench {
    fn model(&self) -> &Model {
        self.engine.model()
    }

    /// Token `i` of sequence `sequence`.
    fn token(&self, sequence: usize, i: usize) -> u32 {
        ((i * 7919 + sequence * 104_729 + 17) % self.model().config().vocab_size) as u32
    }

    /// Reads a prompt and returns its cache.
    fn read(&self, tokens: usize) -> janus_infer::Result<KvCache> {
        let ids: Vec<u32> = (0..tokens).map(|i| self.token(0, i)).collect();
        let mut cache = self.model().cache();
        self.model().forward(&mut [SequenceInput { tokens: &ids, cache: &mut cache, logits: LogitsWanted::Last }], &mut Vec::new())?;
        Ok(cache)
    }

    fn prefill(&self) -> janus_infer::Result<f64> {
        let mut seconds = Vec::new();
        for _ in 0..self.runs {
            let start = Instant::now();
            self.read(PREFILL)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(PREFILL as f64 / median(seconds))
    }

    /// What [`CANDIDATES`] answers to one prompt take, by one prefill and as many decodes; the median of pairs of runs.
    fn best_of(&self) -> Result<f64, CommandError> {
        let story = "Write a long story about a lighthouse keeper who finds a map in an old book. ".repeat(7);
        let sampling = SamplingParams { n: CANDIDATES, max_tokens: NEW, ..SamplingParams::paper() };
        let request = ChatRequest::new("story", [Message::user(story)]).with_sampling(sampling);
        let mut ratios = Vec::new();
        for _ in 0..self.runs {
            let start = Instant::now();
            let answers = self.engine.generate(std::slice::from_ref(&request)).remove(0).failure()?;
            let seconds = start.elapsed().as_secs_f64();
            let tokens: usize = answers.iter().map(|answer| answer.completion_tokens).sum();
            let prompt = answers.first().map_or(PROMPT, |answer| answer.prompt_tokens);
            let start = Instant::now();
            self.read(prompt).failure()?;
            let prefill = start.elapsed().as_secs_f64();
            let rate = self.decode(1, CANDIDATES, prompt, NEW).failure()?;
            ratios.push(seconds / (prefill + tokens as f64 / rate));
        }
        Ok(median(ratios))
    }

    /// New tokens a second of `sequences` side by side after prompts of `prompt` tokens.
    fn decode(&self, runs: u32, sequences: usize, prompt: usize, new: usize) -> janus_infer::Result<f64> {
        let mut seconds = Vec::new();
        let mut logits = Vec::new();
        for _ in 0..runs {
            // One token of the prompt is the first that is fed.
            let mut caches = Vec::new();
            for _ in 0..sequences {
                caches.push(if prompt > 1 { self.read(prompt - 1)? } else { self.model().cache() });
            }
            let start = Instant::now();
            for step in 0..new {
                let ids: Vec<u32> = (0..sequences).map(|sequence| self.token(sequence, prompt + step)).collect();
                let mut inputs: Vec<_> = caches
                    .iter_mut()
                    .zip(&ids)
                    .map(|(cache, id)| SequenceInput { tokens: std::slice::from_ref(id), cache, logits: LogitsWanted::Last })
                    .collect();
                self.model().forward(&mut inputs, &mut logits)?;
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok((sequences * new) as f64 / median(seconds))
    }
}
