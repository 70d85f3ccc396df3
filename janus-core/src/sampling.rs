//! How the next token is chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Sampling parameters. The default is neutral: it samples from the model's own distribution, with no filter
/// and no penalty, up to 1,024 new tokens. [`SamplingParams::paper`] has the paper's.
///
/// Fields are added in minor versions: write `SamplingParams { seed: 1, ..SamplingParams::default() }`. The
/// order of the fields is the order in files and in the keys of call journals. The fields after
/// `top_logprobs` are written only if they have an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingParams {
    /// Divides the logits; 0 is greedy decoding.
    pub temperature: f64,
    /// Keeps the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Drops tokens whose probability is below this fraction of the most likely token's; 0 keeps all.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of every token already in prompt or output;
    /// 1 changes nothing.
    pub repetition_penalty: f64,
    /// Maximum number of new tokens.
    pub max_tokens: usize,
    /// Generations for each request.
    pub n: usize,
    /// Seed of the request; with the request's id and the sample's index it determines the draws.
    pub seed: u64,
    /// Texts that end a generation; they are not part of it.
    pub stop: Vec<String>,
    /// Return the log-probability of each generated token.
    pub logprobs: bool,
    /// How many of the most likely tokens to return at each position; above 0 it requires
    /// [`logprobs`](Self::logprobs).
    pub top_logprobs: usize,
    /// Minimum number of new tokens: before them, no end of turn and none of `stop_token_ids` is chosen, and
    /// no stop text is searched for.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_tokens: usize,
    /// Tokens that end a generation, in addition to the model's; they are not part of its text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_token_ids: Vec<u32>,
    /// Continues after the model's end of turn, up to `max_tokens`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_eos: bool,
    /// What to add to the logits of some tokens, from -100 to 100, by token id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<u32, f64>,
    /// Subtracted from the logit of every token that is already in the output, from -2 to 2.
    #[serde(skip_serializing_if = "is_neutral")]
    pub presence_penalty: f64,
    /// Subtracted from the logit of a token for each time that it is in the output, from -2 to 2.
    #[serde(skip_serializing_if = "is_neutral")]
    pub frequency_penalty: f64,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_neutral(penalty: &f64) -> bool {
    *penalty == 0.0
}

impl Default for SamplingParams {
    /// One sample of the model's own distribution, with no log-probabilities, seed 0 and at most 1,024 new
    /// tokens. The limit only bounds the cost; an answer that reaches it ends with
    /// [`FinishReason::Length`](crate::FinishReason::Length).
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_tokens: 1024,
            n: 1,
            seed: 0,
            stop: Vec::new(),
            logprobs: false,
            top_logprobs: 0,
            min_tokens: 0,
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logit_bias: BTreeMap::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }
}

impl SamplingParams {
    /// The parameters of the paper's inference script: temperature 1, top-p 0.9, repetition penalty 1.03, at
    /// most 1,024 new tokens.
    pub fn paper() -> Self {
        Self { temperature: 1.0, top_p: 0.9, repetition_penalty: 1.03, max_tokens: 1024, ..Self::default() }
    }

    /// Greedy decoding: the most likely token at each step, no penalty, at most `max_tokens` new tokens.
    pub fn greedy(max_tokens: usize) -> Self {
        Self { temperature: 0.0, max_tokens, ..Self::default() }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Sampling`] names the first parameter that is out of range.
    pub fn validate(&self) -> Result<()> {
        let wrong = |field, got: &dyn ToString, expected| {
            Err(Error::Sampling { field, got: got.to_string(), expected })
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", &self.temperature, "a finite number, 0 or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", &self.top_p, "a number above 0 and at most 1");
        }
        if !(self.min_p >= 0.0 && self.min_p < 1.0) {
            return wrong("min_p", &self.min_p, "a number from 0 to below 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition_penalty", &self.repetition_penalty, "a finite number above 0");
        }
        if self.max_tokens == 0 {
            return wrong("max_tokens", &self.max_tokens, "at least 1");
        }
        if self.n == 0 {
            return wrong("n", &self.n, "at least 1");
        }
        if self.top_logprobs > 20 || (self.top_logprobs > 0 && !self.logprobs) {
            return wrong("top_logprobs", &self.top_logprobs, "at most 20, and 0 without logprobs");
        }
        if self.stop.iter().any(String::is_empty) {
            return wrong("stop", &"an empty text", "texts of at least one character");
        }
        if self.min_tokens > self.max_tokens {
            return wrong("min_tokens", &self.min_tokens, "at most max_tokens");
        }
        if let Some(bias) = self.logit_bias.values().find(|bias| !(-100.0..=100.0).contains(*bias)) {
            return wrong("logit_bias", bias, "numbers from -100 to 100");
        }
        for (field, penalty) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            if !(-2.0..=2.0).contains(&penalty) {
                return wrong(field, &penalty, "a number from -2 to 2");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_neutral_and_the_paper_preset_is_that_of_its_script() {
        let filters = |p: &SamplingParams| {
            (p.temperature, p.top_p, p.top_k, p.min_p, p.repetition_penalty, p.max_tokens)
        };
        assert_eq!(filters(&SamplingParams::default()), (1.0, 1.0, 0, 0.0, 1.0, 1024));
        assert_eq!(filters(&SamplingParams::paper()), (1.0, 0.9, 0, 0.0, 1.03, 1024));
        assert_eq!(filters(&SamplingParams::greedy(10)), (0.0, 1.0, 0, 0.0, 1.0, 10));
        for params in [SamplingParams::default(), SamplingParams::paper(), SamplingParams::greedy(10)] {
            params.validate().unwrap();
        }
    }

    /// The keys of call journals are hashes of this text: changing it would pay for every answer again.
    #[test]
    fn the_serialized_parameters_do_not_change() {
        let text = concat!(
            r#"{"temperature":1.0,"top_p":0.9,"top_k":0,"min_p":0.0,"repetition_penalty":1.03,"max_tokens":1024,"n":1,"seed":0,"#,
            r#""stop":[],"logprobs":false,"top_logprobs":0}"#
        );
        assert_eq!(serde_json::to_string(&SamplingParams::paper()).unwrap(), text);
        assert_eq!(serde_json::from_str::<SamplingParams>(text).unwrap(), SamplingParams::paper());
    }

    #[test]
    fn parameters_that_have_an_effect_are_written_and_read() {
        let params = SamplingParams {
            min_tokens: 2,
            stop_token_ids: vec![7],
            ignore_eos: true,
            logit_bias: BTreeMap::from([(3, -1.5)]),
            presence_penalty: 0.5,
            frequency_penalty: -0.5,
            ..SamplingParams::default()
        };
        let text = serde_json::to_string(&params).unwrap();
        let added = r#""min_tokens":2,"stop_token_ids":[7],"ignore_eos":true,"logit_bias":{"3":-1.5},"presence_penalty":0.5,"frequency_penalty":-0.5}"#;
        assert!(text.ends_with(added), "{text}");
        assert_eq!(serde_json::from_str::<SamplingParams>(&text).unwrap(), params);
    }

    #[test]
    fn a_parameter_out_of_range_is_named() {
        let named = |params: SamplingParams| match params.validate().unwrap_err() {
            Error::Sampling { field, .. } => field,
            other => panic!("{other}"),
        };
        let base = SamplingParams::default;
        assert_eq!(named(SamplingParams { temperature: f64::NAN, ..base() }), "temperature");
        assert_eq!(named(SamplingParams { top_p: 0.0, ..base() }), "top_p");
        assert_eq!(named(SamplingParams { min_p: 1.0, ..base() }), "min_p");
        assert_eq!(named(SamplingParams { repetition_penalty: 0.0, ..base() }), "repetition_penalty");
        assert_eq!(named(SamplingParams { n: 0, ..base() }), "n");
        assert_eq!(named(SamplingParams { max_tokens: 0, ..base() }), "max_tokens");
        assert_eq!(named(SamplingParams { top_logprobs: 5, ..base() }), "top_logprobs");
        assert_eq!(named(SamplingParams { top_logprobs: 21, logprobs: true, ..base() }), "top_logprobs");
        assert_eq!(named(SamplingParams { stop: vec![String::new()], ..base() }), "stop");
        assert_eq!(named(SamplingParams { min_tokens: 2, ..SamplingParams::greedy(1) }), "min_tokens");
        for bias in [f64::NAN, 100.5, -101.0] {
            let logit_bias = BTreeMap::from([(1, bias)]);
            assert_eq!(named(SamplingParams { logit_bias, ..base() }), "logit_bias");
        }
        assert_eq!(named(SamplingParams { presence_penalty: 2.5, ..base() }), "presence_penalty");
        assert_eq!(named(SamplingParams { frequency_penalty: f64::NAN, ..base() }), "frequency_penalty");
    }

    #[test]
    fn an_unknown_key_is_rejected() {
        let error = serde_json::from_str::<SamplingParams>(r#"{"temprature": 1}"#).unwrap_err();
        assert!(error.to_string().contains("temprature"), "{error}");
    }
}
