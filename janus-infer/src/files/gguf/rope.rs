//! RoPE scaling in a GGUF file: one factor in the metadata, or a tensor with one factor for each frequency.

use super::GgufFile;
use crate::{FormatProblem, Result, RopeScaling};

/// The tensor of factors, `[head_dim / 2]`. llama.cpp's converter writes it for the scaling of Llama 3.
pub(in crate::files) const FACTORS: &str = "rope_freqs.weight";

const KIND: &str = "llama.rope.scaling.type";
const FACTOR: &str = "llama.rope.scaling.factor";

/// The scaling that the file states; `None` if it states none.
pub(super) fn scaling(file: &GgufFile, head_dim: usize) -> Result<Option<RopeScaling>> {
    let kind = match (file.value(KIND), file.number(FACTOR)?) {
        (Some(_), _) => file.text(KIND)?,
        // llama.cpp scales linearly if only a factor is stated.
        (None, Some(factor)) if factor != 0.0 && factor != 1.0 => "linear",
        (None, _) => "none",
    };
    let has_factors = file.has_tensor(FACTORS);
    match kind {
        "none" if has_factors => Ok(Some(RopeScaling::Factors(file.read(FACTORS, &[head_dim / 2])?))),
        "none" => Ok(None),
        "linear" if has_factors => Err(file.metadata(
            KIND,
            FormatProblem::value("it", "linear", format!("none, since there is a tensor {FACTORS}")),
        )),
        "linear" => match file.number(FACTOR)? {
            Some(factor) => Ok(Some(RopeScaling::Linear { factor })),
            None => Err(file.metadata(
                FACTOR,
                FormatProblem::value("it", "missing", format!("a number, since {KIND} is linear")),
            )),
        },
        other => {
            Err(file.metadata(KIND, FormatProblem::value("it", format!("\"{other}\""), "none or linear")))
        }
    }
}
