//! A recipe from code, with an observer: `cargo run -p janus-train --example recipe`, a few seconds.
//!
//! A tiny model is trained from nothing on conversations under system messages. The folder that it leaves holds the model, the
//! record of the run, metrics, checkpoints and samples; run again with the same folder, a recipe continues from its newest
//! checkpoint. A recipe in a TOML file is read by `Recipe::read("mine.toml")`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use janus_core::{ChatTemplate, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Tokenizer, write_all};
use janus_train::candle_core::Device;
use janus_train::recipe::{DataConfig, ModelSource, Note, ObjectiveConfig, SampleConfig, Shape};
use janus_train::{Decoder, Evaluation, Length, Observer, Recipe, Result, StepMetrics, TrainConfig};

/// Prints what happens.
struct Printer;

impl Observer for Printer {
    fn note(&mut self, note: &Note) {
        println!("note: {note}");
    }

    fn begin(&mut self, steps: u64, done: u64) {
        println!("{steps} steps, {done} of them done before");
    }

    fn step(&mut self, step: &StepMetrics) {
        if step.step.is_multiple_of(10) {
            println!("step {:3}  loss {:.3}  {:.0} tokens/s", step.step, step.loss, step.tokens_per_second());
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, _: &Decoder) -> Result<()> {
        println!("step {:3}  held-out loss {:.3}", evaluation.step, evaluation.loss);
        Ok(())
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
    Tokenizer::train(texts, 800, template.special_tokens())?.save(at("tokenizer.json"))?;

    let model = ModelSource::fresh(Shape::Tiny, at("tokenizer.json"));
    let mut data = DataConfig::new(at("sft.jsonl"), 400);
    data.held_out = 8;
    let mut train = TrainConfig::new(Length::Epochs(2.0), 2048, 3e-3, 1);
    train.clip_norm = Some(1.0);
    train.warmup_ratio = Some(0.1);
    train.evaluate_every = Some(20);
    let mut recipe = Recipe::new(template, ObjectiveConfig::Sft {}, model, data, train);
    recipe.samples = Some(SampleConfig::new(vec![records[0].prompt.clone()], 16));

    let trained = recipe.run(at("run"), &Device::Cpu, &mut Printer)?;
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
