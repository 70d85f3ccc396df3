//! The reference numbers of one model.

use serde_json::Value;

use super::files::Tensors;

/// What a model's checks read.
pub(super) struct Golden {
    pub cases: Tensors,
    pub json: Value,
}
