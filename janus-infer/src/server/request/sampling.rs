//! The fields of both endpoints: the model, the sampling parameters, and how the response is sent.

use std::collections::BTreeMap;

use hyper::StatusCode;
use janus_core::{Error, SamplingParams};
use serde::Deserialize;

use super::fields::{Count, Number, Object, Texts};
use super::{Delivery, ServedModel, no_model, out_of_range};
use crate::server::error::ApiError;

/// The most samples of a request.
pub(super) const MAX_SAMPLES: usize = 128;
/// The most stop texts of a request, and the most bytes of each: they are searched for after every token.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;

/// The fields of both endpoints.
#[derive(Deserialize)]
pub(super) struct Shared {
    model: Option<String>,
    n: Option<Count>,
    pub(super) best_of: Option<Count>,
    pub(super) seed: Option<i64>,
    stop: Option<Texts>,
    pub(super) max_tokens: Option<Count>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    top_k: Option<i64>,
    min_p: Option<Number>,
    repetition_penalty: Option<Number>,
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    frequency_penalty: Option<Number>,
    presence_penalty: Option<Number>,
    logit_bias: Option<BTreeMap<String, Number>>,
    min_tokens: Option<Count>,
    stop_token_ids: Option<Vec<u32>>,
    ignore_eos: Option<bool>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Shared {
    /// Refuses another model than the server's; a request may leave the name out.
    pub(super) fn check_model(&self, served: &ServedModel<'_>) -> Result<(), ApiError> {
        match &self.model {
            Some(model) if model != served.model => Err(no_model(model, served.model)),
            _ => Ok(()),
        }
    }

    pub(super) fn sampling(
        &self,
        served: &ServedModel<'_>,
        (limit, max_tokens): (&'static str, Option<usize>),
        default_max_tokens: usize,
    ) -> Result<SamplingParams, ApiError> {
        let defaults = served.defaults;
        let or = |given: Option<Number>, default: f64| given.map_or(default, |number| number.0);
        let top_k = match self.top_k {
            // In vLLM's API, -1 means no limit.
            Some(-1) => 0,
            Some(k) => {
                usize::try_from(k).map_err(|_| out_of_range("top_k", k, "-1, or an integer, 0 or more"))?
            }
            None => defaults.top_k,
        };
        let stop = self.stop.as_ref().map_or_else(|| defaults.stop.clone(), |stop| stop.0.clone());
        if stop.len() > MAX_STOPS || stop.iter().any(|text| text.len() > MAX_STOP_BYTES) {
            return Err(ApiError::field(
                "stop",
                format!("stop: expected at most {MAX_STOPS} texts of at most {MAX_STOP_BYTES} bytes"),
            ));
        }
        let mut logit_bias = BTreeMap::new();
        for (token, bias) in self.logit_bias.iter().flatten() {
            let id = token.parse().map_err(|_| out_of_range("logit_bias", token, "token ids as its keys"))?;
            logit_bias.insert(id, bias.0);
        }
        if max_tokens == Some(0) {
            return Err(out_of_range(limit, 0, "at least 1"));
        }
        Ok(SamplingParams {
            temperature: or(self.temperature, defaults.temperature),
            top_p: or(self.top_p, defaults.top_p),
            top_k,
            min_p: or(self.min_p, defaults.min_p),
            repetition_penalty: or(self.repetition_penalty, defaults.repetition_penalty),
            // No more tokens than the context are ever generated.
            max_tokens: max_tokens.unwrap_or(default_max_tokens).min(served.context.max(1)),
            n: self.n.map_or(1, |n| n.0),
            seed: self.seed.map_or(0, i64::cast_unsigned),
            stop,
            logprobs: false,
            top_logprobs: 0,
            min_tokens: self.min_tokens.map_or(0, |min| min.0),
            stop_token_ids: self.stop_token_ids.clone().unwrap_or_default(),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            logit_bias,
            presence_penalty: or(self.presence_penalty, defaults.presence_penalty),
            frequency_penalty: or(self.frequency_penalty, defaults.frequency_penalty),
        })
    }

    /// How the response is sent, and the parameters, whose `n` is the number of candidates for `best_of`.
    pub(super) fn delivery(
        &self,
        sampling: SamplingParams,
        best_of: Option<Count>,
        served: &ServedModel<'_>,
    ) -> Result<(Delivery, SamplingParams), ApiError> {
        sampling.validate().map_err(|error| match error {
            Error::Sampling { field, .. } => ApiError::field(field, error.to_string()),
            error => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
        })?;
        let (stops, biased) = (&sampling.stop_token_ids, &sampling.logit_bias);
        for (field, ids) in
            [("stop_token_ids", stops.clone()), ("logit_bias", biased.keys().copied().collect())]
        {
            if let Some(id) = ids.into_iter().find(|id| *id as usize >= served.vocab) {
                let expected = format!("ids below {}, the number of the model's tokens", served.vocab);
                return Err(out_of_range(field, id, &expected));
            }
        }
        let too_many = |field, got| out_of_range(field, got, &format!("at most {MAX_SAMPLES}"));
        if sampling.n > MAX_SAMPLES {
            return Err(too_many("n", sampling.n));
        }
        let stream = self.stream.unwrap_or(false);
        // As many candidates as answers are no choice.
        let best_of = best_of.filter(|best_of| served.has_reward || best_of.0 != sampling.n);
        let Some(best_of) = best_of else {
            let usage =
                self.stream_options.as_ref().and_then(|options| options.0.include_usage).unwrap_or(false);
            return Ok((if stream { Delivery::Stream { usage } } else { Delivery::Whole }, sampling));
        };
        if !served.has_reward {
            let message = "best_of needs a reward model, and this server has none: start it with one";
            return Err(ApiError::field("best_of", message).code("no_reward_model"));
        }
        if best_of.0 > MAX_SAMPLES {
            return Err(too_many("best_of", best_of.0));
        }
        if best_of.0 < sampling.n {
            return Err(out_of_range("best_of", best_of.0, &format!("at least n, which is {}", sampling.n)));
        }
        if stream {
            let message = "best_of cannot be streamed, since all candidates must be finished first: leave out stream or best_of";
            return Err(ApiError::field("stream", message));
        }
        Ok((Delivery::Best { keep: sampling.n }, SamplingParams { n: best_of.0, ..sampling }))
    }
}
