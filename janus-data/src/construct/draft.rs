//! A row in the making.

use janus_core::{PreferenceSet, Rubric};

use crate::instructions::Instruction;

/// One row in the making.
pub(super) struct Draft<'a> {
    pub(super) instruction: &'a Instruction,
    /// The set's position among the instruction's, from 0.
    pub(super) number: usize,
    pub(super) set: PreferenceSet,
    pub(super) system: String,
    pub(super) response: String,
    pub(super) rubrics: Vec<Rubric>,
}
