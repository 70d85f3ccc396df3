//! A row under construction.

use janus_core::{PreferenceSet, Rubric};

use crate::instructions::Instruction;

/// A row under construction.
pub(super) struct Draft<'a> {
    pub(super) instruction: &'a Instruction,
    /// Index of the preference set among those of the instruction, from 0.
    pub(super) number: usize,
    pub(super) set: PreferenceSet,
    pub(super) system: String,
    pub(super) response: String,
    pub(super) rubrics: Vec<Rubric>,
}
