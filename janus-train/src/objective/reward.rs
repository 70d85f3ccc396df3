//! Reward modelling: learning a scalar reward from pairs.

use candle_core::{Device, Tensor};
use janus_data::Dataset;
use serde_json::{Value, json};

use super::{Head, LossDenominator, LossOutput, Metrics, MicroBatch, Objective, pairs};
use crate::ops::log_sigmoid;
use crate::{Batch, Decoder, Error, Result, RewardScale, VALUE_HEAD};

/// A reward model (Ouyang et al., arXiv 2203.02155, equation 1): the mean over pairs of
/// -log σ(v(chosen) - v(rejected)), where v is the value head's output at a document's last token.
///
/// The decoder needs a value head ([`Decoder::with_value_head`]); its language-model head is not used. A
/// second stage that starts from the model folder of a first one keeps the head. Metrics:
/// `reward_chosen`, `reward_rejected`, `margin`, `accuracy`, and `reward_mean` and `reward_square`, from
/// which mean and standard deviation follow. If rows are held out, mean and deviation over them are
/// stored with every evaluated model; otherwise the rewards have no scale.
///
/// If `imitation` is above 0, the mean negative log-probability of the chosen responses' tokens is added
/// with this weight (the SFT regulariser of Yang et al., arXiv 2406.10216, section 3.2). The model then
/// needs its language-model head. The term keeps the backbone's knowledge and improves accuracy on
/// out-of-distribution responses. Metric: `nll`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reward {
    imitation: f64,
}

impl Reward {
    /// The objective with a weight for the imitation term, which is 0 in [`Reward::default`].
    ///
    /// # Errors
    /// [`Error::Setting`] for a weight out of range.
    pub fn with_imitation(imitation: f64) -> Result<Self> {
        if !(imitation.is_finite() && imitation >= 0.0) {
            return Err(Error::Setting {
                field: "imitation",
                got: imitation.to_string(),
                expected: "a finite number, 0 or more",
            });
        }
        Ok(Self { imitation })
    }

    pub(crate) fn heads_of(imitation: f64) -> &'static [Head] {
        if imitation > 0.0 { &Head::ALL } else { &[Head::Value] }
    }

    /// The micro-batch's share of the mean over the supervised tokens of the step's chosen documents.
    fn nll(
        &self,
        decoder: &Decoder,
        hidden: &Tensor,
        batch: &Batch,
        denominator: LossDenominator,
    ) -> Result<Tensor> {
        let logprobs = decoder.logprobs_of(hidden, batch, pairs::chosen_tokens(batch))?;
        Ok((logprobs.values.sum_all()? * (-1.0 / denominator.tokens as f64))?)
    }
}

impl Objective for Reward {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        let denominator = pairs::denominator(batch);
        if self.imitation > 0.0 {
            LossDenominator { tokens: pairs::chosen_tokens(batch).len(), ..denominator }
        } else {
            denominator
        }
    }

    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        pairs::check(micro_batch)?;
        let batch = &micro_batch.batch;
        let hidden = decoder.hidden(batch)?;
        let values = decoder.values_of(&hidden, batch)?;
        let (chosen, rejected) = pairs::split(&values)?;
        let loss = (log_sigmoid(&(&chosen - &rejected)?)?.sum_all()? * (-1.0 / denominator.examples as f64))?;
        let mut metrics = pairs::metrics(&chosen, &rejected, denominator)?;
        let loss = if self.imitation > 0.0 {
            let nll = self.nll(decoder, &hidden, batch, denominator)?;
            metrics.insert("nll", f64::from(nll.to_scalar::<f32>()?));
            (loss + (nll * self.imitation)?)?
        } else {
            loss
        };
        let values: Vec<f64> =
            values.to_device(&Device::Cpu)?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        let documents = 2.0 * denominator.examples as f64;
        metrics.insert("reward_mean", values.iter().sum::<f64>() / documents);
        metrics.insert("reward_square", values.iter().map(|v| v * v).sum::<f64>() / documents);
        Ok(LossOutput { loss, metrics })
    }

    fn heads(&self) -> &[Head] {
        Self::heads_of(self.imitation)
    }

    fn check(&self, decoder: &Decoder, _rows: &dyn Dataset) -> Result<()> {
        if !decoder.has_value_head() {
            return Err(Error::NoHead { name: VALUE_HEAD });
        }
        if self.imitation > 0.0 { decoder.head().map(drop) } else { Ok(()) }
    }

    fn identity(&self) -> Result<Value> {
        Ok(json!({ "kind": "reward", "imitation": self.imitation }))
    }

    fn reward_scale(&self, metrics: &Metrics) -> Option<RewardScale> {
        let (&mean, &square) = (metrics.get("reward_mean")?, metrics.get("reward_square")?);
        Some(RewardScale { mean, std: (square - mean * mean).max(0.0).sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use janus_infer::{ModelConfig, ModelSizes};

    use super::*;
    use crate::TokenRow;

    #[test]
    fn imitation_adds_the_mean_negative_log_probability_of_the_chosen_responses() {
        let config = ModelConfig::llama(ModelSizes {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            max_position_embeddings: 16,
        });
        let decoder = Decoder::init(&config, 1, &Device::Cpu).unwrap().with_value_head(2).unwrap();
        let row = |ids: &[u32], prompt: usize| TokenRow {
            ids: ids.into(),
            loss_mask: (0..ids.len()).map(|i| i >= prompt).collect(),
        };
        let rows = [row(&[1, 5, 7, 2], 2), row(&[1, 5, 8], 2), row(&[1, 3, 4, 6, 9], 1), row(&[1, 3, 2], 1)];
        let micro_batch =
            MicroBatch { batch: Batch::concat(&rows.iter().collect::<Vec<_>>()), rows: vec![0, 1, 2, 3] };
        let loss = |objective: &Reward| {
            let denominator = objective.denominator(&micro_batch.batch);
            let part = objective.loss(&decoder, &micro_batch, denominator).unwrap();
            (f64::from(part.loss.to_scalar::<f32>().unwrap()), part.metrics, denominator.tokens)
        };
        let (plain, metrics, _) = loss(&Reward::default());
        assert!(!metrics.contains_key("nll"));
        let (with, metrics, tokens) = loss(&Reward::with_imitation(0.3).unwrap());
        let chosen = decoder.logprobs(&Batch::concat(&[&rows[0], &rows[2]])).unwrap();
        let nll = -chosen.values.to_vec1::<f32>().unwrap().iter().map(|&p| f64::from(p)).sum::<f64>() / 6.0;
        assert_eq!(tokens, 6);
        assert!(
            (metrics["nll"] - nll).abs() < 1e-6 && (with - plain - 0.3 * nll).abs() < 1e-6,
            "{with} {plain} {nll}"
        );
        assert_eq!(
            (Reward::default().heads(), Reward::with_imitation(0.3).unwrap().heads()),
            (&[Head::Value][..], &Head::ALL[..])
        );
        assert!(matches!(Reward::with_imitation(f64::NAN), Err(Error::Setting { field: "imitation", .. })));
    }
}
