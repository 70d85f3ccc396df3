//! Scaled rotary positions in a GGUF file: one factor in the metadata, or one for each frequency in a tensor.

use super::GgufFile;
use crate::{FormatProblem, Result, RopeScaling};

/// The tensor of factors, `[head_dim / 2]`. llama.cpp's converter computes them where the rule is Llama 3's.
pub(super) const FACTORS: &str = "rope_freqs.weight";

const KIND: &str = "llama.rope.scaling.type";
const FACTOR: &str = "llama.rope.scaling.factor";

/// The scaling that the file tells, none if there is none.
pub(super) fn scaling(file: &GgufFile, head_dim: usize) -> Result<Option<RopeScaling>> {
    let kind = if file.value(KIND).is_some() { file.text(KIND)? } else { "none" };
    let has_factors = file.has_tensor(FACTORS);
    match kind {
        "none" if has_factors => Ok(Some(RopeScaling::Factors(file.read(FACTORS, &[head_dim / 2])?))),
        "none" => Ok(None),
        "linear" if has_factors => {
            Err(file.metadata(KIND, FormatProblem::value("it", "linear", format!("none, beside the tensor {FACTORS}"))))
        }
        "linear" => match file.number(FACTOR)? {
            Some(factor) => Ok(Some(RopeScaling::Linear { factor })),
            None => Err(file.metadata(FACTOR, FormatProblem::value("it", "missing", format!("a number, as {KIND} is linear")))),
        },
        other => Err(file.metadata(KIND, FormatProblem::value("it", format!("\"{other}\""), "none or linear"))),
    }
}
