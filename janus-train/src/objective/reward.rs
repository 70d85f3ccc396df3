//! Learning a reward from pairs.

use candle_core::Device;

use super::{Figures, MicroBatch, Objective, Part, Weight, pairs};
use crate::ops::log_sigmoid;
use crate::{Batch, Decoder, Error, Result, RewardScale, TokenRow, VALUE_HEAD};

/// A reward model (Ouyang et al., arXiv 2203.02155, equation 1): the mean over pairs of
/// -log σ(v(chosen) - v(rejected)), where v is the value head's output at a document's last token.
///
/// The decoder needs a value head ([`Decoder::with_value_head`]); its language-model head takes no part. A second
/// stage starts from the first one's model folder and keeps its head. Figures: `reward_chosen`, `reward_rejected`,
/// `margin`, `accuracy`, and `reward_mean` and `reward_square`, from which mean and deviation over the held-out rows
/// follow; those are stored with the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reward;

impl Objective for Reward {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn weight(&self, batch: &Batch) -> Weight {
        pairs::weight(batch)
    }

    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step: Weight) -> Result<Part> {
        pairs::check(micro_batch)?;
        let values = decoder.values(&micro_batch.batch)?;
        let (chosen, rejected) = pairs::split(&values)?;
        let loss = (log_sigmoid(&(&chosen - &rejected)?)?.sum_all()? * (-1.0 / step.examples as f64))?;
        let mut figures = pairs::figures(&chosen, &rejected, step)?;
        let values: Vec<f64> = values.to_device(&Device::Cpu)?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        let documents = 2.0 * step.examples as f64;
        figures.insert("reward_mean", values.iter().sum::<f64>() / documents);
        figures.insert("reward_square", values.iter().map(|v| v * v).sum::<f64>() / documents);
        Ok(Part { loss, figures })
    }

    fn trains(&self, parameter: &str) -> bool {
        parameter != "lm_head.weight"
    }

    fn check(&self, decoder: &Decoder, _rows: &[TokenRow]) -> Result<()> {
        if decoder.has_value_head() { Ok(()) } else { Err(Error::NoHead { name: VALUE_HEAD }) }
    }

    fn identity(&self) -> String {
        "reward".into()
    }

    fn evaluated(&self, decoder: &mut Decoder, figures: &Figures) {
        if let (Some(&mean), Some(&square)) = (figures.get("reward_mean"), figures.get("reward_square")) {
            decoder.set_reward_scale(RewardScale { mean, std: (square - mean * mean).max(0.0).sqrt() });
        }
    }
}
