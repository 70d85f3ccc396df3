//! Asks a model once: `cargo run -p janus-infer --example chat -- MODEL "a question" ["a system message"]`
//!
//! `MODEL` is a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Instant;

use candle_core::Device;
use janus_core::{ChatModel, ChatRequest, Message, SamplingParams};
use janus_infer::{Engine, EngineOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("give a model and a question".into());
    };
    let engine = Engine::load(path, &Device::Cpu, EngineOptions::default())?;
    let mut messages: Vec<Message> = arguments.next().map(Message::system).into_iter().collect();
    messages.push(Message::user(question));

    // The paper's sampling parameters, and a seed: the same question gets the same answer again.
    let sampling = SamplingParams { max_tokens: 200, seed: 1, ..SamplingParams::paper() };
    let begun = Instant::now();
    for answer in engine.generate(&[ChatRequest::new("chat", messages).with_sampling(sampling)]) {
        let answer = answer?.remove(0);
        println!("{}", answer.text.trim());
        let rate = answer.completion_tokens as f64 / begun.elapsed().as_secs_f64();
        println!("({} tokens in, {} out, {rate:.1} tokens a second)", answer.prompt_tokens, answer.completion_tokens);
    }
    Ok(())
}
