//! Asks a model one question:
//! `cargo run -p janus-infer --example chat -- MODEL "a question" ["a system message"]`
//!
//! `MODEL` is a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file.
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::time::Instant;

use candle_core::Device;
use janus_core::{ChatModel, ChatRequest, Message, SamplingParams};
use janus_infer::{Engine, EngineOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("expected a model and a question".into());
    };
    let engine = Engine::load(path, &Device::Cpu, EngineOptions::default())?;
    let mut messages: Vec<Message> = arguments.next().map(Message::system).into_iter().collect();
    messages.push(Message::user(question));

    // The paper's sampling parameters, and a seed, so that the same question always gets the same answer.
    let sampling = SamplingParams { max_tokens: 200, seed: 1, ..SamplingParams::paper() };
    let start = Instant::now();
    for answer in engine.generate(&[ChatRequest::new("chat", messages).with_sampling(sampling)]) {
        let answer = answer?.remove(0);
        println!("{}", answer.text.trim());
        let rate = answer.completion_tokens as f64 / start.elapsed().as_secs_f64();
        println!(
            "({} prompt tokens, {} generated, {rate:.1} tokens/s)",
            answer.prompt_tokens, answer.completion_tokens
        );
    }
    Ok(())
}
