//! Choosing the next token.
//!
//! The logits are changed and filtered in the order of vLLM: minimum length, bias, repetition penalty,
//! frequency penalty, presence penalty, temperature, top-k, top-p, min-p. The token is then drawn from the
//! softmax over what is kept.

use std::collections::HashMap;

use janus_core::SamplingParams;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::kernels::reduce::max;
use crate::kernels::simd::vectorised;
use crate::kernels::softmax::{log_sum_exp, softmax_terms};
use crate::{Error, Result};

/// Temperatures below this are treated as 0 (greedy), as in vLLM: a logit divided by so little may
/// overflow `f32`, and only the most likely token has a chance anyway.
const GREEDY_BELOW: f64 = 1e-5;

/// Samples the tokens of one sequence.
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    /// Ids that occur in the prompt or the output, as a bit set.
    seen: Vec<u64>,
    /// The same ids, each once.
    penalised: Vec<u32>,
    /// How often each token was chosen; empty without a frequency or presence penalty.
    chosen: HashMap<u32, u32>,
    /// Tokens chosen so far.
    count: usize,
    /// Tokens that are not chosen before [`SamplingParams::min_tokens`].
    ends: Vec<u32>,
    /// Scratch space of [`Sampler::next`].
    terms: Vec<f32>,
}

/// A token that the filters keep, with its probability among those that they keep.
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
    /// Its log-probability under the model, before any filter; `None` without [`SamplingParams::logprobs`].
    pub logprob: Option<f32>,
}

impl Sampler {
    /// A sampler for sample `index` of the request `id`, whose prompt has the ids `prompt`.
    ///
    /// Its random numbers depend only on the request's seed, the request's id and the index. So a
    /// request gives the same samples whatever else runs, and requests of one seed do not repeat each
    /// other's random numbers.
    pub fn new(params: &SamplingParams, id: &str, index: usize, prompt: &[u32]) -> Self {
        let rng = janus_core::stream(params.seed, &format!("sample {index} of {id}"));
        let mut sampler = Self {
            params: params.clone(),
            rng,
            seen: Vec::new(),
            penalised: Vec::new(),
            chosen: HashMap::new(),
            count: 0,
            ends: params.stop_token_ids.clone(),
            terms: Vec::new(),
        };
        prompt.iter().for_each(|id| sampler.see(*id));
        sampler
    }

    /// Adds the model's own end tokens to those that are not chosen before [`SamplingParams::min_tokens`].
    #[must_use]
    pub fn with_ends(mut self, ends: &[u32]) -> Self {
        self.ends.extend(ends);
        self
    }

    /// Chooses the next token from `logits`, `[vocab]`, which it overwrites. From then on the penalties
    /// apply to the token. A temperature below 0.00001 is greedy; of equally likely tokens
    /// greedy decoding takes the one with the lowest id.
    ///
    /// # Errors
    /// [`Error::Logits`] if one of the logits is NaN, or the largest is not finite.
    pub fn next(&mut self, logits: &mut [f32]) -> Result<Choice> {
        // A fold without branches is many times faster than `any`.
        if logits.iter().fold(false, |found, x| found | x.is_nan()) {
            return Err(Error::Logits { got: "one is NaN" });
        }
        let greedy = self.params.temperature < GREEDY_BELOW;
        let normaliser = self.params.logprobs.then(|| log_sum_exp(logits));
        let original =
            |id: u32, logits: &[f32]| normaliser.map(|normaliser| logits[id as usize] - normaliser);
        if greedy && !self.changes_logits() {
            let id = most_likely(logits)?;
            let logprob = original(id, logits);
            self.add(id);
            return Ok(Choice { id, logprob });
        }
        let before: Vec<f32> = if self.params.logprobs { logits.to_vec() } else { Vec::new() };
        let id = if greedy {
            self.change(logits);
            most_likely(logits)?
        } else {
            let candidates = self.candidates(logits);
            if candidates.is_empty() {
                return Err(Error::Logits { got: "the largest is not finite" });
            }
            draw(&candidates, self.rng.random())
        };
        let logprob = original(id, &before);
        self.add(id);
        Ok(Choice { id, logprob })
    }

    /// The tokens that the filters keep, given `logits`, `[vocab]`, which it overwrites: most likely
    /// first with a top-p below 1, else by id. Empty if the largest logit is not finite. The temperature
    /// must be at least 0.00001.
    pub fn candidates(&mut self, logits: &mut [f32]) -> Vec<Candidate> {
        self.change(logits);
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
        // Each term is exp(logit - max): 1 for the most likely token, 0 for those that top-k dropped.
        let sum = softmax_terms(logits);
        let terms = logits;
        let ids = || terms.iter().zip(0u32..).filter(|(term, _)| **term > 0.0);
        let mut kept: Vec<(f32, u32)>;
        if self.params.top_p < 1.0 {
            // All terms below this share sum to less than the 1 - top_p that may be dropped: only the
            // others need sorting.
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

    /// Whether [`Sampler::change`] has an effect.
    fn changes_logits(&self) -> bool {
        let SamplingParams { repetition_penalty, min_tokens, logit_bias, .. } = &self.params;
        *repetition_penalty != 1.0
            || self.count < *min_tokens
            || !logit_bias.is_empty()
            || !self.chosen.is_empty()
    }

    /// Applies everything that does not depend on the temperature.
    fn change(&self, logits: &mut [f32]) {
        let SamplingParams {
            repetition_penalty,
            min_tokens,
            logit_bias,
            presence_penalty,
            frequency_penalty,
            ..
        } = &self.params;
        let mut change = |id: u32, change: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = change(*logit);
            }
        };
        if self.count < *min_tokens {
            self.ends.iter().for_each(|&id| change(id, &|_| f32::NEG_INFINITY));
        }
        for (&id, &bias) in logit_bias {
            change(id, &|logit| logit + bias as f32);
        }
        // Keskar et al., arXiv 1909.05858, section 4.1; a negative logit is multiplied, not divided.
        let penalty = *repetition_penalty as f32;
        for &id in &self.penalised {
            change(id, &|logit| if logit > 0.0 { logit / penalty } else { logit * penalty });
        }
        for (&id, &times) in &self.chosen {
            change(id, &|logit| logit - *frequency_penalty as f32 * times as f32 - *presence_penalty as f32);
        }
    }

    /// Counts a chosen token.
    fn add(&mut self, id: u32) {
        self.count += 1;
        self.see(id);
        if self.params.presence_penalty != 0.0 || self.params.frequency_penalty != 0.0 {
            *self.chosen.entry(id).or_default() += 1;
        }
    }

    /// Adds a token to those that the repetition penalty applies to.
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
    if finite { Ok(id) } else { Err(Error::Logits { got: "the largest is not finite" }) }
}

/// Drops all logits below the `k`-th largest; those equal to it stay, as in vLLM and transformers.
fn keep_top_k(logits: &mut [f32], k: usize, scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend_from_slice(logits);
    let (_, &mut least, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    logits.iter_mut().filter(|x| **x < least).for_each(|x| *x = f32::NEG_INFINITY);
}

/// The candidate whose interval of the cumulative distribution contains `at`, which is in 0..1.
fn draw(candidates: &[Candidate], at: f64) -> u32 {
    let mut cumulative = 0.0;
    for candidate in candidates {
        cumulative += candidate.probability;
        if at < cumulative {
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

    /// Divided by 1e-40 every logit was infinite and the softmax NaN, so that token 0 was always chosen.
    #[test]
    fn a_tiny_temperature_is_greedy() {
        for temperature in [1e-300, 1e-46, 1e-40, 1e-9, 9e-6] {
            for repetition_penalty in [1.0, 1.5] {
                let params =
                    SamplingParams { temperature, top_p: 0.9, top_k: 2, repetition_penalty, ..plain() };
                assert_eq!(sampler(params).next(&mut [-4.0, 3.0, 2.9]).unwrap().id, 1, "{temperature}");
            }
        }
        // Higher temperatures are sampled, and nothing overflows.
        for temperature in [1e-5, 1e-4, 1.0] {
            let id =
                sampler(SamplingParams { temperature, ..plain() }).next(&mut [-1e4, 3e4, -3e4]).unwrap().id;
            assert_eq!(id, 1, "{temperature}");
        }
    }

    /// They gave token 0, and an answer that looked valid.
    #[test]
    fn logits_that_are_nan_or_infinite_are_an_error() {
        let all = [
            SamplingParams::greedy(1),
            SamplingParams { repetition_penalty: 1.5, ..SamplingParams::greedy(1) },
            plain(),
            SamplingParams { top_p: 0.5, top_k: 2, min_p: 0.1, logprobs: true, ..plain() },
        ];
        for params in all {
            for logits in [[f32::NAN, 1.0, 2.0], [1.0, 2.0, f32::NAN], [f32::NAN; 3], [f32::NEG_INFINITY; 3]]
            {
                let chosen = sampler(params.clone()).next(&mut logits.clone());
                assert!(matches!(chosen, Err(Error::Logits { .. })), "{logits:?}: {chosen:?}");
            }
            // A logit of minus infinity only rules its token out.
            assert_eq!(sampler(params).next(&mut [f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY]).unwrap().id, 1);
        }
        for params in [SamplingParams::greedy(1), plain()] {
            assert!(sampler(params).next(&mut [f32::INFINITY, 0.0]).is_err());
        }
    }

    #[test]
    fn logprobs_are_the_models_before_any_filter() {
        let params =
            SamplingParams { temperature: 0.3, top_k: 1, repetition_penalty: 2.0, logprobs: true, ..plain() };
        let choice = Sampler::new(&params, "r", 0, &[1]).next(&mut [1.0, 2.0, 0.0]).unwrap();
        // The penalty lowers token 1's logit to 1.0 too; top-k keeps both.
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

    /// A token's logit is lowered by 0.5 for each time that it was chosen, and by 1 once: of 3, 2 and 1, the
    /// first is then 1.5, the second 0.5.
    #[test]
    fn presence_and_frequency_penalties_count_the_output_alone() {
        let params =
            SamplingParams { presence_penalty: 1.0, frequency_penalty: 0.5, ..SamplingParams::greedy(8) };
        let mut sampler = Sampler::new(&params, "r", 0, &[0, 0, 0]);
        let ids: Vec<u32> = (0..5).map(|_| sampler.next(&mut [3.0, 2.0, 1.2]).unwrap().id).collect();
        // 3 | 1.5, 2 | 1.5, 0.5 | 1.0, 0.5, 1.2 | 1.0, 0.5, -0.3
        assert_eq!(ids, [0, 1, 0, 2, 0]);
    }

    #[test]
    fn a_bias_is_added_before_the_choice() {
        let logit_bias = std::collections::BTreeMap::from([(2, 3.5), (0, -100.0)]);
        let params = SamplingParams { logit_bias, logprobs: true, ..SamplingParams::greedy(1) };
        let choice = sampler(params).next(&mut [3.0, 2.0, 1.0]).unwrap();
        let normaliser = (3f32.exp() + 2f32.exp() + 1f32.exp()).ln();
        assert_eq!(choice.id, 2);
        // The log-probability is the model's own.
        assert!((choice.logprob.unwrap() - (1.0 - normaliser)).abs() < 1e-6);
    }

    #[test]
    fn ends_are_not_chosen_before_the_minimum_length() {
        for temperature in [0.0, 1.0] {
            let params = SamplingParams { temperature, min_tokens: 2, stop_token_ids: vec![1], ..plain() };
            let mut sampler = sampler(params).with_ends(&[0]);
            let ids: Vec<u32> = (0..3).map(|_| sampler.next(&mut [60.0, 30.0, 0.0]).unwrap().id).collect();
            assert_eq!(ids, [2, 2, 0], "{temperature}");
        }
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
        let count =
            (0..draws).filter(|_| sampler.next(&mut [0.7f32.ln(), 0.3f32.ln()]).unwrap().id == 0).count();
        // Five standard errors.
        assert!((count as f64 / f64::from(draws) - 0.7).abs() < 5.0 * (0.21 / f64::from(draws)).sqrt());
    }

    proptest! {
        /// The nucleus is the shortest prefix of the sorted tokens that reaches top_p, although not all
        /// tokens are sorted.
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
