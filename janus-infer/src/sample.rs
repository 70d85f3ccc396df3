//! Choosing the next token.
//!
//! The order is that of vLLM and transformers: repetition penalty, temperature, top-k, top-p, min-p, softmax of what is left.

use janus_core::SamplingParams;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::kernels::reduce::max;
use crate::kernels::simd::vectorised;
use crate::kernels::softmax::{log_sum_exp, softmax_terms};
use crate::{Error, Result};

/// Temperatures below are taken as 0, as in vLLM: a logit divided by less may be too large for an `f32`, and no other token
/// than the most likely has a chance.
const COLD: f64 = 1e-5;

/// Samples the tokens of one sequence.
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    /// Ids in prompt or output: a bit for each token, and the ids themselves once.
    seen: Vec<u64>,
    penalised: Vec<u32>,
    /// Scratch memory of [`Sampler::next`].
    terms: Vec<f32>,
}

/// A token that the filters left, with its probability among those.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Candidate {
    /// The token's id.
    pub id: u32,
    /// Its probability.
    pub probability: f64,
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// The token's id.
    pub id: u32,
    /// Its log-probability under the model before any filter, if [`SamplingParams::logprobs`] asks for it.
    pub logprob: Option<f32>,
}

impl Sampler {
    /// A sampler for sample `index` of the request `id`, whose prompt has the ids `prompt`.
    ///
    /// Its draws depend on the request's seed, on its id and on the index alone, so the same request gives the same
    /// samples whatever runs beside it, and different requests of one seed do not repeat each other's draws.
    pub fn new(params: &SamplingParams, id: &str, index: usize, prompt: &[u32]) -> Self {
        let rng = janus_core::stream(params.seed, &format!("sample {index} of {id}"));
        let mut sampler = Self { params: params.clone(), rng, seen: Vec::new(), penalised: Vec::new(), terms: Vec::new() };
        prompt.iter().for_each(|id| sampler.see(*id));
        sampler
    }

    /// Chooses from the logits, `[vocab]`, which are changed on the way; the token counts as seen from now on.
    /// Of equally likely tokens the greedy choice, which is that of any temperature below 0.00001, is the one with the
    /// lowest id.
    ///
    /// # Errors
    /// [`Error::Logits`] if one of the logits is NaN, or the largest not finite: no token is chosen then.
    pub fn next(&mut self, logits: &mut [f32]) -> Result<Choice> {
        // Without a branch for each, which is many times faster.
        if logits.iter().fold(false, |found, x| found | x.is_nan()) {
            return Err(Error::Logits { got: "one of them is NaN" });
        }
        let greedy = self.params.temperature < COLD;
        let normaliser = self.params.logprobs.then(|| log_sum_exp(logits));
        let original = |id: u32, logits: &[f32]| normaliser.map(|normaliser| logits[id as usize] - normaliser);
        if greedy && self.params.repetition_penalty == 1.0 {
            let id = most_likely(logits)?;
            return Ok(Choice { id, logprob: original(id, logits) });
        }
        let before: Vec<f32> = if self.params.logprobs { logits.to_vec() } else { Vec::new() };
        let id = if greedy {
            self.penalise(logits);
            most_likely(logits)?
        } else {
            let candidates = self.candidates(logits);
            if candidates.is_empty() {
                return Err(Error::Logits { got: "their largest is not finite" });
            }
            draw(&candidates, self.rng.random())
        };
        self.see(id);
        Ok(Choice { id, logprob: original(id, &before) })
    }

    /// The tokens that the filters leave, given the logits, `[vocab]`, most likely first (by id where no filter needs the order); none
    /// if the logits are NaN or not finite. The temperature must be at least 0.00001.
    pub fn candidates(&mut self, logits: &mut [f32]) -> Vec<Candidate> {
        self.penalise(logits);
        let temperature = self.params.temperature as f32;
        if temperature != 1.0 {
            logits.iter_mut().for_each(|x| *x /= temperature);
        }
        if self.params.top_k > 0 && self.params.top_k < logits.len() {
            keep_top_k(logits, self.params.top_k, &mut self.terms);
        }
        if !vectorised!(|| max(logits)).is_finite() {
            return Vec::new();
        }
        // Terms are exp(logit - max): 1 for the most likely token, 0 for the dropped ones.
        let sum = softmax_terms(logits);
        let terms = logits;
        let ids = || terms.iter().zip(0u32..).filter(|(term, _)| **term > 0.0);
        let mut kept: Vec<(f32, u32)>;
        if self.params.top_p < 1.0 {
            // Tokens below this share together have less than 1 - top_p: only the others need sorting.
            let share = sum * (1.0 - self.params.top_p as f32) / terms.len() as f32;
            kept = ids().filter(|(term, _)| **term >= share).map(|(term, id)| (*term, id)).collect();
            kept.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut above = 0.0;
            let reach = self.params.top_p * f64::from(sum);
            let in_nucleus = |(term, _): &&(f32, u32)| {
                let needed = above < reach;
                above += f64::from(*term);
                needed
            };
            let count = kept.iter().take_while(in_nucleus).count();
            kept.truncate(count.max(1));
        } else {
            kept = ids().map(|(term, id)| (*term, id)).collect();
        }
        if self.params.min_p > 0.0 {
            kept.retain(|(term, _)| f64::from(*term) >= self.params.min_p);
        }
        let total: f64 = kept.iter().map(|(term, _)| f64::from(*term)).sum();
        kept.into_iter().map(|(term, id)| Candidate { id, probability: f64::from(term) / total }).collect()
    }

    /// Keskar et al., arXiv 1909.05858, section 4.1, with the sign taken into account.
    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.params.repetition_penalty as f32;
        if penalty == 1.0 {
            return;
        }
        for &id in &self.penalised {
            if let Some(x) = logits.get_mut(id as usize) {
                *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
            }
        }
    }

    fn see(&mut self, id: u32) {
        if self.params.repetition_penalty == 1.0 {
            return;
        }
        let (word, bit) = (id as usize / 64, 1 << (id % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.penalised.push(id);
        }
    }
}

/// The largest element; the first of equal ones.
pub(crate) fn argmax(values: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (&value, id) in values.iter().zip(0..) {
        if value > best.0 {
            best = (value, id);
        }
    }
    best.1
}

/// [`argmax`] of logits whose largest is finite.
fn most_likely(logits: &[f32]) -> Result<u32> {
    let id = argmax(logits);
    let finite = logits.get(id as usize).is_some_and(|logit| logit.is_finite());
    if finite { Ok(id) } else { Err(Error::Logits { got: "their largest is not finite" }) }
}

/// Drops all logits below the `k`-th largest; those equal to it stay, as in vLLM and transformers.
fn keep_top_k(logits: &mut [f32], k: usize, scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend_from_slice(logits);
    let (_, &mut least, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    logits.iter_mut().filter(|x| **x < least).for_each(|x| *x = f32::NEG_INFINITY);
}

/// The candidate at `at`, from 0 to 1, of the cumulated probabilities.
fn draw(candidates: &[Candidate], at: f64) -> u32 {
    let mut cumulated = 0.0;
    for candidate in candidates {
        cumulated += candidate.probability;
        if at < cumulated {
            return candidate.id;
        }
    }
    // Rounding can leave the sum a little below 1.
    candidates.last().map_or(0, |candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sampler(params: SamplingParams) -> Sampler {
        Sampler::new(&params, "r", 0, &[])
    }

    fn plain() -> SamplingParams {
        SamplingParams::default()
    }

    #[test]
    fn greedy_ties_go_to_the_lowest_id() {
        let choice = sampler(SamplingParams::greedy(1)).next(&mut [0.0, 3.0, 3.0]).unwrap();
        assert_eq!(choice, Choice { id: 1, logprob: None });
    }

    /// Divided by 1e-40 every logit was infinite, their softmax NaN, and the choice token 0 for ever.
    #[test]
    fn a_tiny_temperature_is_none() {
        for temperature in [1e-300, 1e-46, 1e-40, 1e-9, 9e-6] {
            for repetition_penalty in [1.0, 1.5] {
                let params = SamplingParams { temperature, top_p: 0.9, top_k: 2, repetition_penalty, ..plain() };
                assert_eq!(sampler(params).next(&mut [-4.0, 3.0, 2.9]).unwrap().id, 1, "{temperature}");
            }
        }
        // What is not as cold is drawn, and never overflows.
        for temperature in [1e-5, 1e-4, 1.0] {
            let id = sampler(SamplingParams { temperature, ..plain() }).next(&mut [-1e4, 3e4, -3e4]).unwrap().id;
            assert_eq!(id, 1, "{temperature}");
        }
    }

    /// They gave token 0, and an answer that looks like one.
    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        let all = [
            SamplingParams::greedy(1),
            SamplingParams { repetition_penalty: 1.5, ..SamplingParams::greedy(1) },
            plain(),
            SamplingParams { top_p: 0.5, top_k: 2, min_p: 0.1, logprobs: true, ..plain() },
        ];
        for params in all {
            for logits in [[f32::NAN, 1.0, 2.0], [1.0, 2.0, f32::NAN], [f32::NAN; 3], [f32::NEG_INFINITY; 3]] {
                let chosen = sampler(params.clone()).next(&mut logits.clone());
                assert!(matches!(chosen, Err(Error::Logits { .. })), "{logits:?}: {chosen:?}");
            }
            // A token that is ruled out is no fault.
            assert_eq!(sampler(params).next(&mut [f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY]).unwrap().id, 1);
        }
        for params in [SamplingParams::greedy(1), plain()] {
            assert!(sampler(params).next(&mut [f32::INFINITY, 0.0]).is_err());
        }
    }

    #[test]
    fn logprobs_are_the_models_before_any_filter() {
        let params = SamplingParams { temperature: 0.3, top_k: 1, repetition_penalty: 2.0, logprobs: true, ..plain() };
        let choice = Sampler::new(&params, "r", 0, &[1]).next(&mut [1.0, 2.0, 0.0]).unwrap();
        // The penalty makes token 1's logit 1.0 too; top-k keeps both ties.
        let normaliser = (1f32.exp() + 2f32.exp() + 1.0).ln();
        let expected = [1.0 - normaliser, 2.0 - normaliser][choice.id as usize];
        assert!((choice.logprob.unwrap() - expected).abs() < 1e-6);
    }

    #[test]
    fn the_penalty_counts_what_was_generated() {
        let params = SamplingParams { temperature: 0.0, repetition_penalty: 4.0, ..plain() };
        let mut sampler = sampler(params);
        let ids: Vec<u32> = (0..3).map(|_| sampler.next(&mut [3.0, 2.0, 1.0]).unwrap().id).collect();
        assert_eq!(ids, [0, 1, 2]);
    }

    #[test]
    fn min_p_is_a_share_of_the_most_likely() {
        let mut logits = [0.9f32, 0.5, 0.09].map(f32::ln);
        let kept = sampler(SamplingParams { min_p: 0.2, ..plain() }).candidates(&mut logits);
        assert_eq!(kept.iter().map(|candidate| candidate.id).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn draws_differ_by_seed_request_and_sample() {
        let draws = |seed, id: &str, index| {
            let mut sampler = Sampler::new(&SamplingParams { seed, ..plain() }, id, index, &[]);
            (0..20).map(|_| sampler.next(&mut [0.0; 50]).unwrap().id).collect::<Vec<_>>()
        };
        let base = draws(1, "a", 0);
        assert_eq!(base, draws(1, "a", 0));
        assert!([draws(2, "a", 0), draws(1, "b", 0), draws(1, "a", 1)].iter().all(|other| *other != base));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(plain());
        let draws = 20_000;
        let count = (0..draws).filter(|_| sampler.next(&mut [0.7f32.ln(), 0.3f32.ln()]).unwrap().id == 0).count();
        // Five standard errors.
        assert!((count as f64 / f64::from(draws) - 0.7).abs() < 5.0 * (0.21 / f64::from(draws)).sqrt());
    }

    proptest! {
        /// The nucleus is the shortest prefix of the sorted tokens that reaches top_p, shortcut or not.
        #[test]
        fn top_p_keeps_the_smallest_set_that_reaches_it(logits in prop::collection::vec(-8f32..8.0, 1..300), top_p in 0.01f64..0.99) {
            let kept = sampler(SamplingParams { top_p, ..plain() }).candidates(&mut logits.clone());
            let max = logits.iter().copied().fold(f32::MIN, f32::max);
            let mut all: Vec<f64> = logits.iter().map(|x| f64::from(x - max).exp()).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let sum: f64 = all.iter().sum();
            let mass = |count: usize| all[..count].iter().sum::<f64>() / sum;
            prop_assert!(mass(kept.len()) > top_p - 1e-5);
            prop_assert!(kept.len() == 1 || mass(kept.len() - 1) < top_p + 1e-5);
            prop_assert!((kept.iter().map(|candidate| candidate.probability).sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
