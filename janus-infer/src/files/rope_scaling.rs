//! Rotary frequencies stretched for contexts longer than those of pre-training.

use serde::Deserialize;
use serde_json::{Value, json};

/// How the rotary frequencies differ from `theta^(-2i / head_dim)`.
///
/// `rope_scaling`, or since transformers 5 `rope_parameters`, of a `config.json`; in GGUF, `llama.rope.scaling.*`
/// and the tensor `rope_freqs.weight`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Every frequency is divided by the factor: positional interpolation (Chen et al., arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: frequencies whose wavelength is long against the context of pre-training are divided by the
    /// factor, short ones kept, those between interpolated (The Llama 3 Herd of Models, arXiv 2407.21783; constants from
    /// its reference code).
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Positions of pre-training.
        original_max_position_embeddings: usize,
    },
    /// Each frequency is divided by its own factor, `[head_dim / 2]`: what GGUF files hold whatever the rule was. In a
    /// `config.json` it is LongRoPE (Ding et al., arXiv 2402.13753) with one list for all lengths.
    Factors(Vec<f32>),
}

/// The keys of `rope_scaling` and `rope_parameters`.
#[derive(Deserialize, Default)]
pub(crate) struct RopeParameters {
    #[serde(default)]
    pub rope_theta: Option<f64>,
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
}

impl RopeParameters {
    /// The scaling that the keys spell, none for the default; the error says what is wrong with them.
    pub(crate) fn scaling(self, max_position_embeddings: usize) -> Result<Option<RopeScaling>, String> {
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(format!("partial_rotary_factor is {part}: only whole heads are rotated"));
        }
        let Some(kind) = self.rope_type.or(self.kind) else {
            return self.factor.map_or(Ok(None), |factor| Err(format!("rope scaling by {factor} without rope_type")));
        };
        let needed = |key: &str, value: Option<f64>| value.ok_or_else(|| format!("rope_type is \"{kind}\" without {key}"));
        let original_max_position_embeddings = self.original_max_position_embeddings.unwrap_or(max_position_embeddings);
        Ok(match kind.as_str() {
            "default" => None,
            "linear" => Some(RopeScaling::Linear { factor: needed("factor", self.factor)? }),
            "llama3" => Some(RopeScaling::Llama3 {
                factor: needed("factor", self.factor)?,
                low_freq_factor: needed("low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: needed("high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings,
            }),
            "longrope" => match (self.short_factor, self.long_factor) {
                (Some(short), Some(long)) if short == long && self.attention_factor == Some(1.0) => Some(RopeScaling::Factors(short)),
                _ => return Err("rope_type is \"longrope\": only one list of factors and an attention_factor of 1 are supported".into()),
            },
            other => return Err(format!("rope_type is \"{other}\": expected default, linear, llama3 or longrope")),
        })
    }
}

impl RopeScaling {
    /// Scales the frequencies `theta^(-2i / head_dim)`, `[head_dim / 2]`, in place; in `f32`, as transformers does.
    ///
    /// ```
    /// let mut frequencies = [1.0, 0.1, 0.01];
    /// janus_infer::RopeScaling::Linear { factor: 4.0 }.scale(&mut frequencies);
    /// assert_eq!(frequencies, [0.25, 0.025, 0.0025]);
    /// ```
    pub fn scale(&self, frequencies: &mut [f32]) {
        match *self {
            Self::Linear { factor } => frequencies.iter_mut().for_each(|frequency| *frequency /= factor as f32),
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
            Self::Factors(ref factors) => frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor),
        }
    }

    /// `rope_scaling` of a `config.json`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Linear { factor } => json!({ "rope_type": "linear", "type": "linear", "factor": factor }),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Factors(factors) => {
                json!({ "rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": factors, "long_factor": factors })
            }
        }
    }

    pub(crate) fn check(&self, head_dim: usize) -> Result<(), String> {
        let positive = |key: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(format!("rope scaling: {key} is {value}: expected a finite number above 0")),
        };
        match self {
            Self::Linear { factor } => positive("factor", *factor),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("high_freq_factor", *high_freq_factor)?;
                positive("original_max_position_embeddings", *original_max_position_embeddings as f64)?;
                if low_freq_factor >= high_freq_factor {
                    return Err(format!(
                        "rope scaling: low_freq_factor is {low_freq_factor}: expected less than high_freq_factor, {high_freq_factor}"
                    ));
                }
                Ok(())
            }
            Self::Factors(factors) if factors.len() != head_dim / 2 => {
                Err(format!("rope scaling: {} factors for heads of {head_dim}: expected {}", factors.len(), head_dim / 2))
            }
            Self::Factors(factors) => factors.iter().try_for_each(|factor| positive("a frequency's factor", f64::from(*factor))),
        }
    }
}
