//! Checkpoints of the first format, which identified a run by hashes of `Debug` output. A run resumes
//! from such a checkpoint if its current settings give the same hashes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunIdentity;
use crate::config::{EarlyStop, KeepBest, Length};
use crate::difference::Difference;
use crate::{DType, ModelConfig, Schedule};

/// `state.json` of the first format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) step: u64,
    pub(super) fingerprint: Fingerprint,
}

/// Hashes that identify a run.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    config: String,
    objective: String,
    model: String,
    low_rank: String,
    frozen: String,
    data: String,
}

/// The settings with the fields of the first format, for their `Debug` output.
#[derive(Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, whose output is hashed")]
struct TrainConfig {
    steps: u64,
    tokens_per_micro_batch: usize,
    accumulation: usize,
    lr: f64,
    schedule: Schedule,
    warmup_steps: u64,
    weight_decay: f64,
    betas: (f64, f64),
    eps: f64,
    eight_bit_block: Option<usize>,
    clip_norm: Option<f64>,
    seed: u64,
    checkpoint_every: Option<u64>,
    keep_last: usize,
    dtype: DType,
    activation_checkpointing: bool,
    examples_per_micro_batch: Option<usize>,
    evaluate_every: Option<u64>,
    early_stop: Option<EarlyStop>,
    keep_best: Option<KeepBest>,
}

/// The LoRA settings, likewise.
#[derive(Debug)]
#[expect(dead_code, reason = "the fields are read by Debug, whose output is hashed")]
struct LoraConfig {
    rank: usize,
    alpha: f64,
    targets: Vec<String>,
    dropout: f64,
}

impl Fingerprint {
    /// The first part in which a checkpoint and this run differ. The settings that differ are unknown,
    /// since only hashes are stored.
    pub(super) fn difference(
        &self,
        run: &RunIdentity,
        model: &ModelConfig,
    ) -> Option<(&'static str, Vec<Difference>)> {
        // Special tokens do not affect training. Then, a fresh model had the ids 1 and 2, and a loaded one
        // its own.
        let with_tokens = |bos: Option<u32>, eos: &[u32]| {
            let mut model = model.clone();
            (model.bos_token_id, model.eos_token_ids) = (bos, eos.to_vec());
            hash(&model.to_json())
        };
        let eos = &model.eos_token_ids[..];
        let models = [
            with_tokens(model.bos_token_id, eos),
            with_tokens(model.bos_token_id, eos.get(1..).unwrap_or_default()),
            with_tokens(Some(1), &[2]),
        ];
        let this_model =
            if models.contains(&self.model) { self.model.clone() } else { hash(&model.to_json()) };
        let parts = [
            ("config", &self.config, hash(&format!("{:?}", config(&run.config)))),
            ("objective", &self.objective, hash(&objective(&run.objective))),
            ("model", &self.model, this_model),
            ("LoRA config", &self.low_rank, hash(&format!("{:?}", lora(run)))),
            ("set of frozen weights", &self.frozen, run.frozen.clone()),
            ("data", &self.data, run.data.clone()),
        ];
        parts.into_iter().find(|(_, was, is)| *was != is).map(|(what, ..)| (what, Vec::new()))
    }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

fn config(now: &crate::TrainConfig) -> TrainConfig {
    TrainConfig {
        steps: if let Length::Steps(steps) = now.length { steps } else { 0 },
        tokens_per_micro_batch: now.tokens_per_micro_batch,
        accumulation: now.gradient_accumulation_steps,
        lr: now.lr,
        schedule: now.schedule,
        warmup_steps: now.warmup_steps,
        weight_decay: now.weight_decay,
        betas: now.betas,
        eps: now.eps,
        eight_bit_block: now.quantized_state_block,
        clip_norm: now.clip_norm,
        seed: now.seed,
        checkpoint_every: None,
        keep_last: 1,
        dtype: now.dtype,
        activation_checkpointing: false,
        examples_per_micro_batch: now.examples_per_micro_batch,
        evaluate_every: now.evaluate_every,
        early_stop: now.early_stop.clone(),
        keep_best: now.keep_best.clone(),
    }
}

fn lora(run: &RunIdentity) -> Option<LoraConfig> {
    let of = |lora: &crate::LoraConfig| LoraConfig {
        rank: lora.rank,
        alpha: lora.alpha,
        targets: lora.targets.clone(),
        dropout: lora.dropout,
    };
    run.lora.as_ref().map(of)
}

/// The text that identified an objective in the first format.
fn objective(now: &Value) -> String {
    let number = |key: &str| now[key].as_f64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    match now["kind"].as_str() {
        Some("dpo") => {
            let reference = &now["reference"];
            let reference = match reference.get("weights") {
                Some(weights) => format!(
                    "{} {} {}",
                    text(&reference["model"]),
                    text(weights),
                    text(&reference["template"])
                ),
                None => format!("model {}", text(&reference["model"])),
            };
            format!(
                "dpo DpoConfig {{ beta: {:?}, label_smoothing: {:?} }} {reference}",
                number("beta"),
                number("label_smoothing")
            )
        }
        Some("orpo") => {
            let nll = if now["nll"] == "row" { "Row" } else { "Response" };
            format!("Orpo {{ lambda: {:?}, nll: {nll} }}", number("lambda"))
        }
        Some("reward") if number("imitation") > 0.0 => {
            format!("Reward {{ imitation: {:?} }}", number("imitation"))
        }
        Some(kind) => kind.into(),
        _ => text(now),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objectives_have_the_texts_of_the_first_format() {
        for (now, then) in [
            (json!("mine"), "mine"),
            (
                json!({ "kind": "orpo", "lambda": 0.1, "nll": "response" }),
                "Orpo { lambda: 0.1, nll: Response }",
            ),
            (
                json!({ "kind": "dpo", "beta": 1.0, "label_smoothing": 0.0, "reference": { "model": "a", "weights": "float32", "template": "t" } }),
                "dpo DpoConfig { beta: 1.0, label_smoothing: 0.0 } a float32 t",
            ),
            (
                json!({ "kind": "dpo", "beta": 0.1, "label_smoothing": 0.2, "reference": { "model": "a" } }),
                "dpo DpoConfig { beta: 0.1, label_smoothing: 0.2 } model a",
            ),
        ] {
            assert_eq!(objective(&now), then);
        }
    }
}
