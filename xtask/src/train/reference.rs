//! The pass over all rows under the reference model, before direct preference optimisation.

use std::path::{Path, PathBuf};

use janus_data::fs::AtomicFile;
use janus_train::ReferenceLogprobs;

use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};

/// Tokens of a forward pass that keeps nothing for a backward pass.
pub(crate) const TOKENS_AT_ONCE: usize = 8192;

/// Shows the progress of [`ReferenceLogprobs::compute`] or [`ReferenceLogprobs::compute_in`], which `compute` calls with what it is
/// given.
///
/// # Errors
/// A failure if that fails.
pub(crate) fn shown(
    compute: impl FnOnce(&mut dyn FnMut(usize, usize)) -> janus_train::Result<ReferenceLogprobs>,
) -> Result<ReferenceLogprobs, CommandError> {
    let mut shown: Option<Progress> = None;
    let reference = compute(&mut |done, all| match &mut shown {
        Some(progress) => progress.reach(done as u64),
        None => shown = Some(Progress::new("reference", Unit::Count("rows"), all as u64).resumed_at(done as u64)),
    });
    if let Some(progress) = shown {
        progress.finish();
    }
    reference.failure()
}

/// The folder for log-probabilities of rows of a data file: that of the file, where every run on it finds them; that of the run if
/// the first cannot be written, with the reason.
pub(super) fn folder(data: &Path, out: &Path) -> (PathBuf, Option<janus_data::Error>) {
    let beside = data.parent().unwrap_or(Path::new(""));
    match AtomicFile::create(beside.join("reference")) {
        // It is removed again, never having had its name.
        Ok(_) => (beside.into(), None),
        Err(error) => (out.into(), Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_kept_beside_the_data_or_else_in_the_runs_folder() {
        let at = tempfile::tempdir().unwrap();
        let (beside, reason) = folder(&at.path().join("pairs.jsonl"), Path::new("out"));
        assert!(beside == at.path() && reason.is_none());
        assert_eq!(std::fs::read_dir(at.path()).unwrap().count(), 0, "trying leaves nothing");
        assert_eq!(folder(Path::new("pairs.jsonl"), Path::new("out")).0, Path::new(""));
        let (other, reason) = folder(&at.path().join("no such folder/pairs.jsonl"), Path::new("out"));
        assert!(other == Path::new("out") && reason.is_some());
    }
}
