//! Your own objective, with a reference model: `cargo run -p janus-train --example own_objective`. It
//! takes a few seconds.
//!
//! IPO (Azar et al., arXiv 2310.12036, equation 17) learns from pairs like DPO. It stops increasing the
//! log-ratio of the two responses when that exceeds that of the reference model by 1 / (2τ). An
//! objective states what its loss is a mean over ([`Objective::denominator`]) and computes the share of
//! a micro-batch ([`Objective::loss`]). The [`Trainer`] does the rest: batching, gradients, optimiser,
//! metrics and checkpoints. [`pairs`] has helpers for objectives over pairs, and [`Reference`] is the
//! reference model.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use janus_data::Dataset;
use janus_train::candle_core::Device;
use janus_train::{
    Batch, Decoder, Length, LossDenominator, LossOutput, MicroBatch, ModelConfig, Objective, Reference,
    ReferenceLogprobs, Result, StepMetrics, TokenRow, TrainConfig, Trainer, pairs,
};
use serde_json::json;

/// IPO. Document 2i of a micro-batch is chosen over document 2i + 1.
struct Ipo {
    tau: f64,
    reference: Reference,
}

impl Objective for Ipo {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        pairs::denominator(batch)
    }

    /// With h = log π(chosen)/π_ref(chosen) - log π(rejected)/π_ref(rejected), the mean over pairs of (h - 1
    /// / (2τ))².
    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        pairs::check(micro_batch)?;
        let policy = decoder.logprobs(&micro_batch.batch)?.sum_by_document(&micro_batch.batch)?;
        let ratios = (&policy - self.reference.logprobs(micro_batch, policy.device())?)?;
        let (chosen, rejected) = pairs::split(&ratios)?;
        let distance = ((&chosen - &rejected)? - 0.5 / self.tau)?;
        let loss = (distance.sqr()?.sum_all()? / denominator.examples as f64)?;
        Ok(LossOutput { loss, metrics: pairs::metrics(&chosen, &rejected, denominator)? })
    }

    fn check(&self, decoder: &Decoder, rows: &dyn Dataset) -> Result<()> {
        self.reference.check(decoder, rows)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        Ok(json!({ "kind": "ipo", "tau": self.tau, "reference": self.reference.identity()? }))
    }
}

/// Pairs of rows, each with the chosen row first. The tokens are bytes, a document starts with 0, and
/// the response after the colon is in the loss.
fn rows() -> Vec<TokenRow> {
    let row = |prompt: &str, response: &str| {
        let ids: Vec<u32> =
            std::iter::once(0).chain(prompt.bytes().chain(response.bytes()).map(u32::from)).collect();
        TokenRow { loss_mask: (0..ids.len()).map(|i| i > prompt.len()).collect(), ids }
    };
    let pairs = [
        ("kite:", "A kite flies.", "A kite swims."),
        ("boat:", "A boat floats.", "A boat rings."),
        ("bell:", "It rings.", "It floats."),
    ];
    pairs.iter().flat_map(|(prompt, chosen, rejected)| [row(prompt, chosen), row(prompt, rejected)]).collect()
}

fn decoder(seed: u64) -> Result<Decoder> {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": true}"#,
    )?;
    Decoder::init(&config, seed, &Device::Cpu)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (folder, rows, decoder) = (tempfile::tempdir()?, rows(), decoder(1)?);
    // The reference is the current model. Its log-probabilities are computed once. The alternative
    // Reference::Model(Box::new(decoder.copy()?)) computes them in every step, and needs the memory of a
    // second model.
    let file = folder.path().join("reference_logprobs.jsonl");
    let stored = ReferenceLogprobs::compute(
        file,
        &decoder,
        "bytes",
        &rows,
        ReferenceLogprobs::TOKENS_AT_ONCE,
        &mut |_done, _all| {},
    )?;
    let objective = Ipo { tau: 0.1, reference: Reference::Stored(stored) };
    let settings = TrainConfig::new(Length::Epochs(40.0), 128, 3e-3, 1).with(|settings| {
        settings.clip_norm = Some(1.0);
        settings.warmup_ratio = Some(0.1);
    });
    let mut trainer = Trainer::new(decoder, objective, rows, settings)?;
    let mut losses = Vec::new();
    trainer.fit(folder.path().join("run"), &mut |step: &StepMetrics| {
        losses.push(step.loss);
        if step.step.is_multiple_of(10) {
            println!("step {:3}  loss {:6.3}  margin {:.2}", step.step, step.loss, step.metrics["margin"]);
        }
    })?;
    match (losses.first(), losses.last()) {
        (Some(first), Some(last)) if last < first => Ok(()),
        _ => Err("the loss did not fall".into()),
    }
}

#[cfg(test)]
mod tests {
    use janus_train::candle_core::Tensor;

    use super::*;

    #[test]
    fn the_example_runs() {
        main().unwrap();
    }

    /// The log-probability of a row's response, from the model's logits in f64. The row is the only one
    /// in its batch.
    fn naive_logprob(decoder: &Decoder, row: &TokenRow) -> f64 {
        let hidden = decoder.hidden(&Batch::concat(&[row])).unwrap();
        let logits: Tensor =
            hidden.matmul(&decoder.weights()["model.embed_tokens.weight"].t().unwrap()).unwrap();
        let logits = logits.to_vec2::<f32>().unwrap();
        let logprob = |i: usize| {
            let exps = logits[i - 1].iter().map(|&logit| f64::from(logit).exp());
            f64::from(logits[i - 1][row.ids[i] as usize]) - exps.sum::<f64>().ln()
        };
        (1..row.ids.len()).filter(|&i| row.loss_mask[i]).map(logprob).sum()
    }

    /// Equation 17, computed pair by pair.
    fn naive_loss(tau: f64, policy: &Decoder, reference: &Decoder, rows: &[TokenRow]) -> f64 {
        let ratio = |row: &TokenRow| naive_logprob(policy, row) - naive_logprob(reference, row);
        let losses =
            rows.chunks(2).map(|pair| (ratio(&pair[0]) - ratio(&pair[1]) - 1.0 / (2.0 * tau)).powi(2));
        losses.sum::<f64>() / (rows.len() / 2) as f64
    }

    #[test]
    fn the_loss_is_that_of_the_paper_with_a_stored_reference_and_with_a_reference_model() {
        let (folder, rows, policy, start, tau) =
            (tempfile::tempdir().unwrap(), rows(), decoder(1).unwrap(), decoder(2).unwrap(), 0.3);
        let expected = naive_loss(tau, &policy, &start, &rows);
        let stored = ReferenceLogprobs::compute(
            folder.path().join("r.jsonl"),
            &start,
            "bytes",
            &rows,
            50,
            &mut |_, _| {},
        )
        .unwrap();
        for reference in [Reference::Stored(stored), Reference::Model(Box::new(start))] {
            let objective = Ipo { tau, reference };
            let all = MicroBatch {
                batch: Batch::concat(&rows.iter().collect::<Vec<_>>()),
                rows: (0..rows.len()).collect(),
            };
            let denominator = objective.denominator(&all.batch);
            let whole = f64::from(
                objective.loss(&policy, &all, denominator).unwrap().loss.to_scalar::<f32>().unwrap(),
            );
            assert!((whole - expected).abs() < 1e-4 * expected, "{whole} {expected}");
            // With one pair in each micro-batch, the shares add up to the same loss.
            let parts = rows.chunks(2).enumerate().map(|(pair, documents)| {
                let rows = vec![2 * pair, 2 * pair + 1];
                let part = MicroBatch { batch: Batch::concat(&documents.iter().collect::<Vec<_>>()), rows };
                f64::from(
                    objective.loss(&policy, &part, denominator).unwrap().loss.to_scalar::<f32>().unwrap(),
                )
            });
            let parts: f64 = parts.sum();
            assert!((parts - expected).abs() < 1e-4 * expected, "{parts} {expected}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_naive_loss() {
        let (rows, policy, reference) = (rows(), decoder(1).unwrap(), decoder(2).unwrap());
        let objective = Ipo { tau: 0.3, reference: Reference::Model(Box::new(reference.copy().unwrap())) };
        let all = MicroBatch {
            batch: Batch::concat(&rows.iter().collect::<Vec<_>>()),
            rows: (0..rows.len()).collect(),
        };
        let loss = objective.loss(&policy, &all, objective.denominator(&all.batch)).unwrap().loss;
        let norm = &policy.parameters()["model.norm.weight"];
        let gradient = loss.backward().unwrap().get(norm).unwrap().to_vec1::<f32>().unwrap()[3];
        let start = norm.to_vec1::<f32>().unwrap();
        let moved = |by: f32| {
            let mut values = start.clone();
            values[3] += by;
            norm.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
            naive_loss(0.3, &policy, &reference, &rows)
        };
        let (above, below) = (moved(1e-2), moved(-1e-2));
        let difference = (above - below) / 2e-2;
        assert!(
            (difference - f64::from(gradient)).abs() < 2e-3 * difference.abs().max(0.1),
            "{difference} {gradient}"
        );
    }
}
