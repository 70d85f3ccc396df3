//! Helpers for objectives over pairs, also for your own. Document 2i of a micro-batch is chosen over
//! document 2i + 1.

use candle_core::{Device, Tensor};

use super::{LossDenominator, Metrics, MicroBatch};
use crate::{Batch, BatchProblem, Result};

/// The denominator of a batch of pairs, with the supervised tokens of both sides.
pub fn denominator(batch: &Batch) -> LossDenominator {
    LossDenominator { tokens: batch.supervised().len(), examples: batch.documents() / 2 }
}

/// The chosen documents' supervised tokens, by index in the batch.
pub fn chosen_tokens(batch: &Batch) -> Vec<u32> {
    let supervised = batch.supervised();
    let documents = batch.documents_of(&supervised);
    supervised
        .into_iter()
        .zip(documents)
        .filter(|(_, document)| document % 2 == 0)
        .map(|(token, _)| token)
        .collect()
}

/// Splits one number for each document, `[2 · pairs]`, into the numbers of the chosen and of the
/// rejected documents, `[pairs]` each. Differentiable.
///
/// # Errors
/// If the length is odd.
pub fn split(of_document: &Tensor) -> Result<(Tensor, Tensor)> {
    let pairs = of_document.reshape(((), 2))?;
    let side = |i| pairs.narrow(1, i, 1)?.squeeze(1)?.contiguous();
    Ok((side(0)?, side(1)?))
}

/// Refuses a micro-batch with an odd number of documents.
///
/// # Errors
/// [`BatchProblem::NoPairs`].
pub fn check(micro_batch: &MicroBatch) -> Result<()> {
    match micro_batch.batch.documents() {
        documents if documents.is_multiple_of(2) => Ok(()),
        documents => Err(BatchProblem::NoPairs { documents }.into()),
    }
}

/// A micro-batch's share of four means over the step's pairs: `reward_chosen`, `reward_rejected`,
/// `margin` (their difference) and `accuracy` (how often the chosen reward is the higher one). Rewards
/// are `[pairs]`, in f32; `denominator` is that of the whole step.
///
/// # Errors
/// If candle fails.
pub fn metrics(chosen: &Tensor, rejected: &Tensor, denominator: LossDenominator) -> Result<Metrics> {
    let numbers = |t: &Tensor| t.to_device(&Device::Cpu)?.to_vec1::<f32>();
    let (chosen, rejected) = (numbers(chosen)?, numbers(rejected)?);
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / denominator.examples as f64;
    let pairs = || chosen.iter().zip(&rejected).map(|(&c, &r)| (f64::from(c), f64::from(r)));
    Ok(Metrics::from([
        ("reward_chosen", mean(&mut pairs().map(|(c, _)| c))),
        ("reward_rejected", mean(&mut pairs().map(|(_, r)| r))),
        ("margin", mean(&mut pairs().map(|(c, r)| c - r))),
        ("accuracy", mean(&mut pairs().map(|(c, r)| f64::from(u8::from(c > r))))),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenRow;

    #[test]
    fn a_documents_first_token_is_not_a_chosen_token_even_if_its_loss_mask_is_true() {
        let row = |n: u32| TokenRow { ids: (0..n).collect(), loss_mask: vec![true; n as usize] };
        let batch = Batch::concat(&[&row(3), &row(2), &row(2), &row(4)]);
        assert_eq!(chosen_tokens(&batch), [1, 2, 6]);
    }
}
