//! The stages of a run: their progress on stderr, and the exit codes of their errors.

use std::path::PathBuf;

use janus_data::Error;
use janus_data::progress::duration;
use janus_data::stage::{RunFolder, StageEvent};

use crate::command::{Blame as _, CommandError};

/// Opens a run folder that reports the progress of its stages on stderr.
pub fn open(root: impl Into<PathBuf>) -> Result<RunFolder, CommandError> {
    let run = RunFolder::open(root).bad_input()?;
    Ok(run.on_event(|stage, event| match event {
        StageEvent::Skipped => eprintln!("stage {stage}: done before, skipped"),
        StageEvent::Started => eprintln!("stage {stage}: starts"),
        StageEvent::Restarted => eprintln!("stage {stage}: changed, starts again"),
        StageEvent::Continued => eprintln!("stage {stage}: cut off before, continues"),
        StageEvent::Done { seconds } => eprintln!("stage {stage}: done in {}", duration(seconds)),
        _ => {}
    }))
}

/// Chooses the exit code of a failed stage.
pub trait Staged<T> {
    /// Keeps the exit code of an error that the stage's own code returned. An input of the stage that
    /// cannot be read gives exit code 2, every other error exit code 1.
    fn staged(self) -> Result<T, CommandError>;
}

impl<T> Staged<T> for janus_data::Result<T> {
    fn staged(self) -> Result<T, CommandError> {
        self.map_err(|error| {
            let Error::Stage { stage, source } = error else { return CommandError::failure(error) };
            let error = source.downcast::<CommandError>().map_or_else(
                |source| match source.downcast_ref::<Error>() {
                    Some(Error::StageInput { .. }) => CommandError::bad_input(source),
                    _ => CommandError::failure(source),
                },
                |own| *own,
            );
            error.at(format!("stage {stage}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_exit_code_of_a_stage_is_that_of_its_code_or_its_input() {
        let root = tempfile::tempdir().unwrap();
        let mut run = open(root.path()).unwrap();
        for (error, code) in
            [(CommandError::failure("no power"), 1), (CommandError::bad_input("no power"), 2)]
        {
            let error = run.stage("count", &1, &[], |_| Err(error)).staged().unwrap_err();
            assert_eq!((error.exit_code(), error.to_string().as_str()), (code, "stage 01-count: no power"));
        }
        let error = run
            .stage("sft", &(), &[("data", Path::new("no/such"))], |_| Ok::<_, CommandError>(()))
            .staged()
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("stage 01-sft: input \"data\": no/such: "), "{error}");
        let error = open(root.path()).unwrap_err();
        assert!(
            error.exit_code() == 2
                && error.to_string().contains("another run is using this folder (process "),
            "{error}"
        );
    }
}
