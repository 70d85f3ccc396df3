//! A recipe from code, with an objective and a rule to stop of your own: `cargo run -p janus-train --example recipe`, a few seconds.
//!
//! A tiny model is trained from nothing on conversations under system messages. The folder that it leaves holds the model, the
//! record of the run, metrics, checkpoints and samples; run again with the same folder, a recipe continues from its newest
//! checkpoint. A recipe in a TOML file is read by `Recipe::read("mine.toml")`; one whose objective is the crate's own runs by
//! [`Recipe::run`].
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::ops::ControlFlow;

use janus_core::{ChatModel, ChatRequest, ChatTemplate, Message, SamplingParams, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Tokenizer, write_all};
use janus_infer::{Engine, EngineOptions};
use janus_train::candle_core::Device;
use janus_train::recipe::{CustomObjective, DataConfig, ModelSource, Note, ObjectiveConfig, SampleConfig, Shape};
use janus_train::{
    Batch, Decoder, Error, Evaluation, Length, LossDenominator, LossOutput, MicroBatch, Objective, Observer, Recipe, Result, StepMetrics,
    StopReason, TrainConfig,
};

/// Supervised fine-tuning in which every conversation counts the same, however long it is.
struct ConversationMean;

impl Objective for ConversationMean {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        LossDenominator { tokens: batch.supervised().len(), examples: batch.documents() }
    }

    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, denominator: LossDenominator) -> Result<LossOutput> {
        let mean = decoder.logprobs(&micro_batch.batch)?.mean_by_document(&micro_batch.batch)?;
        Ok((mean.sum_all()? * (-1.0 / denominator.examples as f64))?.into())
    }

    fn identity(&self) -> Result<serde_json::Value> {
        Ok("conversation mean".into())
    }
}

/// Prints what happens and what the model answers, and ends the run when the held-out loss is low enough.
struct Watcher {
    question: SftRecord,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    enough: f64,
}

impl Watcher {
    /// What the model says now: an engine straight from its weights.
    fn answer(&self, decoder: &Decoder) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let engine = Engine::new(decoder.to_model()?, self.tokenizer.clone(), self.template, EngineOptions::default());
        let messages = [Message::system(self.question.system.as_str()), Message::user(self.question.prompt.as_str())];
        let request = ChatRequest::new("question", messages).with_sampling(SamplingParams::greedy(16));
        Ok(engine.generate(&[request]).remove(0)?.remove(0).text)
    }
}

impl Observer for Watcher {
    fn note(&mut self, note: &Note) {
        println!("note: {note}");
    }

    fn begin(&mut self, steps: u64, done: u64) {
        println!("{steps} steps, {done} of them done before");
    }

    fn step(&mut self, step: &StepMetrics) -> ControlFlow<()> {
        if step.step.is_multiple_of(10) {
            println!("step {:3}  loss {:.3}  {:.0} tokens/s", step.step, step.loss, step.tokens_per_second());
        }
        ControlFlow::Continue(())
    }

    fn evaluated(&mut self, evaluation: &Evaluation, decoder: &Decoder) -> Result<ControlFlow<()>> {
        let answer = self.answer(decoder).map_err(Error::Caller)?;
        println!("step {:3}  held-out loss {:.3}  {answer:?}", evaluation.step, evaluation.loss);
        Ok(if evaluation.loss < self.enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let template = ChatTemplate::MistralInstruct;

    // Rows of {system, prompt, output}, and a tokenizer for them.
    let records: Vec<SftRecord> = Mini::new(0).train(200, None);
    write_all(at("sft.jsonl"), &records)?;
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    let tokenizer = Tokenizer::train(texts, 800, template.special_tokens())?;
    tokenizer.save(at("tokenizer.json"))?;

    let objective = ObjectiveConfig::Custom(CustomObjective::new("conversation mean", 1));
    let model = ModelSource::fresh(Shape::Tiny, at("tokenizer.json"));
    let mut data = DataConfig::new(at("sft.jsonl"), 400);
    data.held_out = 8;
    let train = TrainConfig::new(Length::Epochs(2.0), 2048, 3e-3, 1).with(|train| {
        train.clip_norm = Some(1.0);
        train.warmup_ratio = Some(0.1);
        train.evaluate_every = Some(10);
    });
    let mut recipe = Recipe::new(template, objective, model, data, train);
    recipe.samples = Some(SampleConfig::new(vec![records[0].prompt.clone()], 16));

    // Above what any model's loss is: the rule ends the run at its first evaluation.
    let mut watcher = Watcher { question: records[0].clone(), tokenizer, template, enough: 100.0 };
    let trained = recipe.prepare_with(at("run"), &Device::Cpu, &mut watcher, |_| Ok(ConversationMean))?.train(&mut watcher)?;
    println!("stopped after {} steps; the model is in {}", trained.steps, trained.model.display());
    if trained.reason != StopReason::Observer {
        return Err(format!("ended by {:?}", trained.reason).into());
    }

    // Without the rule it continues, to the bytes of a run that was never stopped.
    watcher.enough = 0.0;
    let trained = recipe.prepare_with(at("run"), &Device::Cpu, &mut watcher, |_| Ok(ConversationMean))?.train(&mut watcher)?;
    println!("{} steps; the model is in {}", trained.steps, trained.model.display());
    for name in ["recipe.toml", "run.json", "metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"] {
        if !at("run").join(name).exists() {
            return Err(format!("{name} is missing").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().unwrap();
    }
}
