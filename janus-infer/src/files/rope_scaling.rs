//! RoPE scaling, for contexts longer than those of pre-training.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ConfigProblem;

/// How the rotary frequencies differ from `theta^(-2i / head_dim)`.
///
/// A `config.json` states it in `rope_scaling` or, since transformers 5, in `rope_parameters`; a GGUF
/// file in `llama.rope.scaling.*` and the tensor `rope_freqs.weight`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Every frequency is divided by the factor: position interpolation (Chen et al., arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: frequencies whose wavelength is long compared to the context of pre-training are
    /// divided by the factor, those with a short wavelength are kept, and those between are interpolated
    /// (The Llama 3 Herd of Models, arXiv 2407.21783; constants from its reference code).
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: usize,
    },
    /// Each frequency is divided by its own factor, `[head_dim / 2]`. GGUF files store this form
    /// whatever the rule was. In a `config.json` it is LongRoPE (Ding et al., arXiv 2402.13753) with the
    /// same factors for all lengths.
    Factors(Vec<f32>),
}

/// The keys of `rope_scaling` and `rope_parameters`.
#[derive(Deserialize, Default)]
pub(super) struct RopeParameters {
    #[serde(default)]
    pub(super) rope_theta: Option<f64>,
    #[serde(default)]
    rope_type: Option<String>,
    /// The older name of `rope_type`; some files have both.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    low_freq_factor: Option<f64>,
    #[serde(default)]
    high_freq_factor: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<usize>,
    #[serde(default)]
    short_factor: Option<Vec<f32>>,
    #[serde(default)]
    long_factor: Option<Vec<f32>>,
    #[serde(default)]
    attention_factor: Option<f64>,
    #[serde(default)]
    partial_rotary_factor: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl RopeParameters {
    /// The scaling that these keys state; `None` for the default. `place` is the key of the object, for
    /// errors.
    pub(super) fn scaling(
        &self,
        place: &str,
        max_position_embeddings: usize,
    ) -> Result<Option<RopeScaling>, ConfigProblem> {
        let field = |key: &str| format!("{place}.{key}");
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(ConfigProblem::value(
                field("partial_rotary_factor"),
                part,
                "1: rotary embedding of a part of a head is not supported",
            ));
        }
        if let Some((key, _)) = self.others.iter().find(|(_, value)| value.is_object()) {
            let expected = "parameters for all layers: those of a kind of layers are not supported";
            return Err(ConfigProblem::value(field(key), "an object", expected));
        }
        let Some(kind) = self.rope_type.as_deref().or(self.kind.as_deref()) else {
            return match self.factor {
                None => Ok(None),
                Some(factor) => {
                    Err(ConfigProblem::value(field("factor"), factor, "a rope_type too, which is missing"))
                }
            };
        };
        if let Some(older) = self.kind.as_deref().filter(|older| *older != kind) {
            return Err(ConfigProblem::value(
                field("type"),
                format!("\"{older}\""),
                format!("\"{kind}\", as rope_type"),
            ));
        }
        let needed = |key: &str, value: Option<f64>| {
            let missing = || {
                ConfigProblem::value(
                    field(key),
                    "missing",
                    format!("a number, since rope_type is \"{kind}\""),
                )
            };
            value.ok_or_else(missing)
        };
        Ok(match kind {
            "default" => None,
            "linear" => Some(RopeScaling::Linear { factor: needed("factor", self.factor)? }),
            "llama3" => Some(RopeScaling::Llama3 {
                factor: needed("factor", self.factor)?,
                low_freq_factor: needed("low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: needed("high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings: self
                    .original_max_position_embeddings
                    .unwrap_or(max_position_embeddings),
            }),
            "longrope" => match (&self.short_factor, &self.long_factor) {
                (Some(short), Some(long)) if short == long && self.attention_factor == Some(1.0) => {
                    Some(RopeScaling::Factors(short.clone()))
                }
                _ => {
                    let expected =
                        "the same list as short_factor and long_factor, and an attention_factor of 1";
                    return Err(ConfigProblem::value(field("rope_type"), "\"longrope\"", expected));
                }
            },
            other => {
                return Err(ConfigProblem::value(
                    field("rope_type"),
                    format!("\"{other}\""),
                    "default, linear, llama3 or longrope",
                ));
            }
        })
    }
}

impl RopeScaling {
    /// Scales the frequencies `theta^(-2i / head_dim)`, `[head_dim / 2]`, in place; in `f32`, as
    /// transformers does.
    ///
    /// ```
    /// let mut frequencies = [1.0, 0.1, 0.01];
    /// janus_infer::RopeScaling::Linear { factor: 4.0 }.scale(&mut frequencies);
    /// assert_eq!(frequencies, [0.25, 0.025, 0.0025]);
    /// ```
    pub fn scale(&self, frequencies: &mut [f32]) {
        match *self {
            Self::Linear { factor } => {
                frequencies.iter_mut().for_each(|frequency| *frequency /= factor as f32)
            }
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let (factor, low, high) = (factor as f32, low_freq_factor as f32, high_freq_factor as f32);
                let context = original_max_position_embeddings as f32;
                for frequency in frequencies {
                    let wavelength = std::f32::consts::TAU / *frequency;
                    if wavelength > context / low {
                        *frequency /= factor;
                    } else if wavelength >= context / high {
                        let kept = (context / wavelength - low) / (high - low);
                        *frequency = (1.0 - kept) * *frequency / factor + kept * *frequency;
                    }
                }
            }
            Self::Factors(ref factors) => {
                frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor)
            }
        }
    }

    /// The value of `rope_scaling` in a `config.json`.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Linear { factor } => json!({ "rope_type": "linear", "type": "linear", "factor": factor }),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                json!({
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": original_max_position_embeddings,
                })
            }
            Self::Factors(factors) => {
                json!({ "rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": factors, "long_factor": factors })
            }
        }
    }

    /// The first field that is out of range.
    pub(super) fn problem(&self, head_dim: usize) -> Option<ConfigProblem> {
        let field = |key: &str| format!("rope_scaling.{key}");
        let positive = |&(key, value): &(&str, f64)| {
            let wrong = !(value > 0.0 && value.is_finite());
            wrong.then(|| ConfigProblem::value(field(key), value, "a finite number above 0"))
        };
        match self {
            Self::Linear { factor } => positive(&("factor", *factor)),
            &Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: context,
            } => {
                let numbers = [
                    ("factor", factor),
                    ("low_freq_factor", low),
                    ("high_freq_factor", high),
                    ("original_max_position_embeddings", context as f64),
                ];
                let less = || {
                    let expected = format!("less than high_freq_factor, {high}");
                    (low >= high).then(|| ConfigProblem::value(field("low_freq_factor"), low, expected))
                };
                numbers.iter().find_map(positive).or_else(less)
            }
            Self::Factors(factors) if factors.len() != head_dim / 2 => {
                let (got, expected) = (
                    format!("{} factors", factors.len()),
                    format!("{} for heads of {head_dim}", head_dim / 2),
                );
                Some(ConfigProblem::value(field("short_factor"), got, expected))
            }
            Self::Factors(factors) => {
                factors.iter().find_map(|factor| positive(&("short_factor", f64::from(*factor))))
            }
        }
    }
}
