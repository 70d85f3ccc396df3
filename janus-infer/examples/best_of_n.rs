//! Samples several answers and keeps the one with the highest reward:
//! `cargo run -p janus-infer --example best_of_n -- [MODEL REWARD_MODEL]`
//!
//! `MODEL` is a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file; `REWARD_MODEL`
//! is a folder. Without them the example uses a small model with random weights, whose answers are
//! noise, and a rule as the reward model.
#![allow(clippy::print_stdout, reason = "an example prints its results")]

#[path = "../tests/support/tiny.rs"]
mod tiny;

use candle_core::Device;
use janus_core::{ChatModel, ChatRequest, Message, ModelError, RewardModel, SamplingParams, best_of_n};
use janus_infer::{Engine, EngineOptions, RewardEngine, RewardOptions};

/// A reward model need not be a network: this one counts letters.
struct Letters;

impl RewardModel for Letters {
    fn name(&self) -> &str {
        "letters"
    }

    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphabetic).count();
        let answer = |messages: &Vec<Message>| {
            messages.last().map_or("", |message| message.content.as_str()).to_string()
        };
        conversations.iter().map(|messages| Ok(letters(&answer(messages)) as f32)).collect()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(model), Some(reward)) => {
            let model = Engine::load(model, &Device::Cpu, EngineOptions::default())?;
            ask(&model, &RewardEngine::load(reward, &Device::Cpu, RewardOptions::default())?)
        }
        _ => ask(&tiny::engine(EngineOptions::default()), &Letters),
    }
}

fn ask(model: &dyn ChatModel, reward: &dyn RewardModel) -> Result<(), Box<dyn std::error::Error>> {
    let messages = [Message::system("You answer in one sentence."), Message::user("What is a kite?")];
    let sampling = SamplingParams { n: 4, max_tokens: 48, seed: 1, ..SamplingParams::default() };
    for answer in best_of_n(model, reward, &[ChatRequest::new("kite", messages).with_sampling(sampling)]) {
        let answer = answer?;
        for (candidate, reward) in answer.candidates.iter().zip(&answer.rewards) {
            println!("{reward:8.2}  {:?}", candidate.text);
        }
        println!("best: {:?}", answer.best().text);
    }
    Ok(())
}

#[test]
fn the_answer_with_the_most_letters_is_chosen() {
    let request = tiny::request(
        "kite",
        "What is a kite?",
        SamplingParams { n: 6, max_tokens: 24, seed: 2, ..SamplingParams::default() },
    );
    let answer = best_of_n(&tiny::engine(EngineOptions::default()), &Letters, &[request]).remove(0).unwrap();
    assert_eq!(answer.rewards.len(), 6);
    assert!(answer.rewards.iter().all(|reward| *reward <= answer.best_reward()), "{:?}", answer.rewards);
    ask(&tiny::engine(EngineOptions::default()), &Letters).unwrap();
}
