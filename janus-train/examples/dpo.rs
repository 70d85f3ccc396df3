//! Fine-tunes a small model, trains it on pairs with DPO, and generates a response:
//! `cargo run -p janus-train --example dpo`. It takes half a minute.
//!
//! It shows the whole pipeline from text to a response. For your own model, load it with
//! [`Decoder::load`], its `tokenizer.json` with [`Tokenizer::read`], and the pairs with
//! `janus_data::read_all::<PairRecord>("pairs.jsonl")`.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use janus_core::{ChatModel, ChatRequest, ChatTemplate, Message, PairRecord, SamplingParams, SftRecord};
use janus_data::Tokenizer;
use janus_data::mini::Mini;
use janus_infer::{Engine, EngineOptions};
use janus_train::candle_core::Device;
use janus_train::{
    Decoder, Dpo, DpoConfig, FreedMemory, Length, ModelConfig, ModelSizes, Reference, ReferenceLogprobs, Sft,
    StepMetrics, TrainConfig, Trainer,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    FreedMemory::Keep.apply_to_process();
    let template = ChatTemplate::MistralInstruct;
    let out = std::env::temp_dir().join("janus-dpo-example");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }

    // Conversations with system messages, and pairs of responses; the chosen response follows the system
    // message.
    let mini = Mini::new(0);
    let (conversations, pairs) = (mini.train(2000, None), mini.pairs(500));
    let texts =
        conversations.iter().flat_map(|row| [row.system.as_str(), row.prompt.as_str(), row.output.as_str()]);
    let tokenizer = Tokenizer::train(texts, 1024, template.special_tokens())?;

    // A model that is fine-tuned on the conversations.
    let mut config = ModelConfig::llama(ModelSizes {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 96,
        intermediate_size: 256,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        max_position_embeddings: 512,
    });
    config.bos_token_id = tokenizer.token_id("<s>");
    config.eos_token_ids = tokenizer.token_id("</s>").into_iter().collect();
    let rows = tokenizer.conversations(template, conversations.iter().map(SftRecord::messages))?;
    let decoder = Decoder::init(&config, 1, &Device::Cpu)?;
    let settings = TrainConfig::new(Length::Steps(150), 2048, 3e-3, 1).with(|config| {
        config.clip_norm = Some(1.0);
        config.warmup_steps = 10;
    });
    let mut trainer = Trainer::new(decoder, Sft, rows, settings)?;
    trainer.fit(out.join("sft"), &mut |step: &StepMetrics| {
        if step.step.is_multiple_of(50) {
            println!("sft  step {:3}  loss {:.3}", step.step, step.loss);
        }
    })?;

    // Row 2i is the chosen response of pair i, row 2i + 1 the rejected one. Pairs whose rows are equal
    // after truncation to the context length, or whose responses are longer than it, are left out and
    // counted.
    let decoder = trainer.into_decoder()?;
    let pairs = tokenizer.pairs(
        template,
        pairs.iter().map(PairRecord::conversations),
        config.max_position_embeddings,
    )?;
    println!("{} pairs, {} left out", pairs.rows.len() / 2, pairs.identical + pairs.too_long);

    // The reference is the current model. Its log-probabilities are computed once and stored in a file.
    let file = out.join("reference_logprobs.jsonl");
    let stored = ReferenceLogprobs::compute(
        file,
        &decoder,
        template.jinja(),
        &pairs.rows,
        8192,
        &mut |_done, _all| {},
    )?;
    let objective = Dpo::new(DpoConfig::default(), Reference::Stored(stored), &pairs.rows)?;
    let settings = TrainConfig::new(Length::Steps(40), 4096, 1e-4, 1).with(|config| {
        config.clip_norm = Some(1.0);
        config.warmup_steps = 5;
    });
    let mut trainer = Trainer::new(decoder, objective, pairs.rows, settings)?;
    // If the run is killed and started again, it resumes from its last checkpoint and ends with the same
    // bytes.
    trainer.fit(out.join("dpo"), &mut |step: &StepMetrics| {
        if step.step.is_multiple_of(10) {
            println!(
                "dpo  step {:3}  loss {:.3}  accuracy {:.2}",
                step.step, step.loss, step.metrics["accuracy"]
            );
        }
    })?;

    // A folder in the Hugging Face layout, which transformers, vLLM and janus-infer can load.
    let model = out.join("dpo/model");
    tokenizer.save_with_template(&model, template)?;
    let engine = Engine::load(&model, &Device::Cpu, EngineOptions::default())?;
    let question = &conversations[0];
    let messages = vec![Message::system(question.system.as_str()), Message::user(question.prompt.as_str())];
    let sampling = SamplingParams::greedy(80);
    for responses in engine.generate(&[ChatRequest::new("0", messages).with_sampling(sampling)]) {
        println!("\n{}\n{}\n-> {}", question.system, question.prompt, responses?.remove(0).text);
    }
    println!("\nThe model is in {}", model.display());
    Ok(())
}
