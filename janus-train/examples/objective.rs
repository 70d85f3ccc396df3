//! An objective of your own: `cargo run -p janus-train --example objective`, a few seconds.
//!
//! SimPO (Meng et al., arXiv 2405.14734, equation 6) learns from pairs without a reference model: the reward of a response is
//! β times the mean log-probability of its tokens, and the chosen one's is to be higher by a margin γ. An objective says
//! what it is a mean over ([`Objective::denominator`]) and what a micro-batch adds to it ([`Objective::loss`]); batching, gradients,
//! optimiser, metrics and checkpoints are the [`Trainer`]'s.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use janus_train::candle_core::Device;
use janus_train::ops::log_sigmoid;
use janus_train::{
    Batch, Decoder, Length, LossDenominator, LossOutput, Metrics, MicroBatch, ModelConfig, Objective, Result, StepMetrics, TokenRow,
    TrainConfig, Trainer,
};
use serde_json::json;

/// SimPO. Of the documents of a micro-batch, 2i is chosen over 2i + 1.
struct SimPo {
    beta: f64,
    gamma: f64,
}

impl Objective for SimPo {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        LossDenominator { tokens: batch.supervised().len(), examples: batch.documents() / 2 }
    }

    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, denominator: LossDenominator) -> Result<LossOutput> {
        let logprobs = decoder.logprobs(&micro_batch.batch)?;
        // [pairs, 2]: the rewards of the chosen and of the rejected response.
        let rewards = (logprobs.mean_by_document(&micro_batch.batch)? * self.beta)?.reshape(((), 2))?;
        let margin = (rewards.narrow(1, 0, 1)? - rewards.narrow(1, 1, 1)?)?.squeeze(1)?;
        let share = 1.0 / denominator.examples as f64;
        let loss = (log_sigmoid(&(&margin - self.gamma)?)?.sum_all()? * -share)?;
        let margin = f64::from(margin.sum_all()?.to_scalar::<f32>()?) * share;
        Ok(LossOutput { loss, metrics: Metrics::from([("margin", margin)]) })
    }

    fn identity(&self) -> Result<serde_json::Value> {
        Ok(json!({ "kind": "simpo", "beta": self.beta, "gamma": self.gamma }))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Bytes are the tokens, 0 begins a document; the response after the colon carries loss.
    let row = |prompt: &str, response: &str| {
        let ids: Vec<u32> = std::iter::once(0).chain(prompt.bytes().chain(response.bytes()).map(u32::from)).collect();
        TokenRow { loss_mask: (0..ids.len()).map(|i| i > prompt.len()).collect(), ids }
    };
    let pairs =
        [("kite:", "A kite flies.", "A kite swims."), ("boat:", "A boat floats.", "A boat rings."), ("bell:", "It rings.", "It floats.")];
    let rows: Vec<TokenRow> = pairs.iter().flat_map(|(prompt, chosen, rejected)| [row(prompt, chosen), row(prompt, rejected)]).collect();

    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": true}"#,
    )?;
    let decoder = Decoder::init(&config, 1, &Device::Cpu)?;
    let mut settings = TrainConfig::new(Length::Epochs(40.0), 128, 3e-3, 1);
    settings.clip_norm = Some(1.0);
    settings.warmup_ratio = Some(0.1);
    let mut trainer = Trainer::new(decoder, SimPo { beta: 2.0, gamma: 0.5 }, rows, settings)?;
    let folder = tempfile::tempdir()?;
    let mut losses = Vec::new();
    trainer.fit(folder.path(), &mut |step: &StepMetrics| {
        losses.push(step.loss);
        if step.step.is_multiple_of(10) {
            println!("step {:3}  loss {:.3}  margin {:.2}", step.step, step.loss, step.metrics["margin"]);
        }
    })?;
    match (losses.first(), losses.last()) {
        (Some(first), Some(last)) if last < first => Ok(()),
        _ => Err("the loss did not fall".into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().unwrap();
    }
}
