//! Resumable runs: a folder of stages, each of which runs once for its configuration and inputs.
//!
//! A run is a list of stages. Stage number 3, "sft", owns the folder `DIR/stages/03-sft/`:
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | the identity of the stage: its name, its resolved configuration, the fingerprint of each input |
//! | (anything else) | the stage's outputs |
//! | `done.json` | the done mark, written last: the fingerprint of `config.json` and of each output |
//! | `time.json` | seconds spent, over all attempts; not covered by the done mark |
//! | `timing.jsonl` | if the stage trains a model, the seconds of each step; not covered either |
//!
//! When the run is repeated, a stage whose done mark is still valid is skipped. A stage whose configuration,
//! inputs or outputs have changed is run again from scratch. A stage that was interrupted gets its folder as
//! it was left, and resumes by its own means. The fingerprint of an input depends only on its content, so if
//! a stage is run again and gives the same bytes, later stages are still skipped.
//!
//! ```
//! use janus_data::stage::{RunFolder, StageState};
//! # let root = tempfile::tempdir()?;
//! for state in [StageState::Done, StageState::Skipped] {
//!     let mut run = RunFolder::open(root.path())?;
//!     let words = run.stage("words", &5, &[], |stage| std::fs::write(stage.folder().join("words.txt"), "five"))?;
//!     run.stage("shout", &(), &[("words", &words)], |stage| {
//!         let text = std::fs::read_to_string(words.join("words.txt"))?;
//!         std::fs::write(stage.folder().join("shout.txt"), text.to_uppercase())
//!     })?;
//!     assert!(root.path().join("stages/02-shout/done.json").exists());
//!     assert!(run.stages().iter().all(|stage| stage.state == state));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fs::{Lock, fingerprint};
use crate::{Error, Result, write_file};

const CONFIG: &str = "config.json";
const DONE: &str = "done.json";
const TIME: &str = "time.json";
/// The speed of training, which is not a result.
const TIMING: &str = "timing.jsonl";

/// Called with the name of a stage and an event.
type OnEvent = Box<dyn FnMut(&str, StageEvent) + Send>;

/// The folder of a run, locked for as long as this value lives.
pub struct RunFolder {
    root: PathBuf,
    stages: Vec<StageTime>,
    on_event: OnEvent,
    _lock: Lock,
}

impl fmt::Debug for RunFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFolder")
            .field("root", &self.root)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

/// The state and the time of a stage, for the record of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageTime {
    /// Number and name: "03-sft".
    pub stage: String,
    /// What this run did with it.
    pub state: StageState,
    /// Seconds spent on it, including earlier runs that it resumes. The time of an attempt that was killed is
    /// unknown and not counted.
    pub seconds: f64,
}

/// What a run did with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StageState {
    /// It was run from the start.
    Done,
    /// It was resumed where an earlier run was interrupted.
    Continued,
    /// An earlier run had finished it.
    Skipped,
}

/// An event of a stage, for observers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StageEvent {
    /// It is skipped, because an earlier run finished it.
    Skipped,
    /// It starts.
    Started,
    /// It starts again, because its configuration, an input or an output has changed since it was finished.
    Restarted,
    /// It resumes where an earlier run was interrupted.
    Continued,
    /// It is finished.
    Done {
        /// Seconds that this run spent on it.
        seconds: f64,
    },
}

/// The argument of the code of a stage.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    continued: bool,
}

impl Stage {
    /// The stage's folder, for its outputs. The names `config.json`, `done.json`, `time.json` and
    /// `timing.jsonl` are reserved at its top level, so write a model into a subfolder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether an earlier run with the same configuration and inputs was interrupted. Its files are then in
    /// the folder.
    pub fn continued(&self) -> bool {
        self.continued
    }
}

#[derive(Serialize, Deserialize, PartialEq)]
struct DoneMark {
    fingerprint: String,
    outputs: BTreeMap<String, String>,
}

impl RunFolder {
    /// Opens the folder of a run, creates it if necessary, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another run holds the folder, [`Error::Io`] if it cannot be created.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(Error::io(&root, "create the folder"))?;
        let lock = Lock::folder(&root)?;
        Ok(Self { root, stages: Vec::new(), on_event: Box::new(|_, _| ()), _lock: lock })
    }

    /// Sets a function that is called with the name of a stage ("03-sft") and each of its events.
    pub fn on_event(self, on_event: impl FnMut(&str, StageEvent) + Send + 'static) -> Self {
        Self { on_event: Box::new(on_event), ..self }
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The stages so far, in order.
    pub fn stages(&self) -> &[StageTime] {
        &self.stages
    }

    /// Runs the next stage, unless it is finished, and returns its folder.
    ///
    /// `name` consists of lower-case letters, digits and dashes. `config` is the resolved configuration:
    /// everything that affects what `work` does, serialized in a fixed order (no `HashMap`). `inputs` are
    /// files or folders, each with a label. The fingerprint of a finished stage's folder depends only on its
    /// outputs. `work` may fail with any error.
    ///
    /// # Errors
    /// [`Error::Stage`] names the stage; its source is the error of `work`, [`Error::StageInput`] for an
    /// input that cannot be read, or an error of the stage's own files.
    pub fn stage<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &mut self,
        name: &str,
        config: &impl Serialize,
        inputs: &[(&str, &Path)],
        work: impl FnOnce(&Stage) -> Result<(), E>,
    ) -> Result<PathBuf> {
        let stage = format!("{:02}-{name}", self.stages.len() + 1);
        let folder = self.root.join("stages").join(&stage);
        let done = self.run_stage(&stage, &folder, config, inputs, |stage| work(stage).map_err(Into::into));
        let (state, seconds) = done.map_err(|source| Error::Stage { stage: stage.clone(), source })?;
        self.stages.push(StageTime { stage, state, seconds });
        Ok(folder)
    }

    fn run_stage(
        &mut self,
        stage: &str,
        folder: &Path,
        config: &impl Serialize,
        inputs: &[(&str, &Path)],
        work: impl FnOnce(&Stage) -> Result<(), BoxError>,
    ) -> Result<(StageState, f64), BoxError> {
        let identity = identity(stage, config, inputs)?;
        // A file that exists but cannot be read is an error, because starting again would delete what the
        // stage already has.
        let same = read_if_exists(&folder.join(CONFIG))?.is_some_and(|found| found == identity);
        if same && is_done(&identity, folder)? {
            (self.on_event)(stage, StageEvent::Skipped);
            return Ok((StageState::Skipped, spent(folder)?));
        }
        let continued = same && !folder.join(DONE).exists();
        if continued {
            (self.on_event)(stage, StageEvent::Continued);
        } else {
            let redone = folder.exists();
            clear(folder).map_err(Error::io(folder, "clear the folder"))?;
            write_file(folder.join(CONFIG), &identity)?;
            (self.on_event)(stage, if redone { StageEvent::Restarted } else { StageEvent::Started });
        }
        let (started, before) = (Instant::now(), spent(folder)?);
        let result = work(&Stage { folder: folder.to_path_buf(), continued });
        let seconds = started.elapsed().as_secs_f64();
        let timed =
            write_file(folder.join(TIME), json!({ "seconds": before + seconds }).to_string().as_bytes());
        result?;
        timed?;
        let config = folder.join(CONFIG);
        if fs::read(&config).map_err(Error::io(&config, "read the file"))? != identity {
            return Err("it overwrote its own config.json: give its outputs other names".into());
        }
        let mark = DoneMark { fingerprint: fingerprint::of_bytes(&identity), outputs: outputs(folder)? };
        write_file(folder.join(DONE), &pretty(&json!(mark)))?;
        (self.on_event)(stage, StageEvent::Done { seconds });
        Ok((if continued { StageState::Continued } else { StageState::Done }, before + seconds))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of `config.json`, which identify the stage.
fn identity(stage: &str, config: &impl Serialize, inputs: &[(&str, &Path)]) -> Result<Vec<u8>, BoxError> {
    let mut prints = BTreeMap::new();
    for (label, path) in inputs {
        let print = input_fingerprint(path)
            .map_err(|source| Error::StageInput { label: label.to_string(), source: Box::new(source) })?;
        prints.insert(*label, print);
    }
    let config = serde_json::to_value(config)?;
    Ok(pretty(&json!({ "stage": stage, "config": config, "inputs": prints })))
}

fn input_fingerprint(path: &Path) -> Result<String> {
    if !path.join(DONE).exists() {
        return fingerprint::of_path(path);
    }
    let outputs = serde_json::to_vec(&outputs(path)?)
        .map_err(|error| Error::io(path, "list its files")(error.into()))?;
    Ok(fingerprint::of_bytes(&outputs))
}

/// Whether a stage has a done mark for this identity, and its outputs have not changed since.
fn is_done(identity: &[u8], folder: &Path) -> Result<bool> {
    let Some(mark) = read_json::<DoneMark>(&folder.join(DONE))? else { return Ok(false) };
    Ok(mark.fingerprint == fingerprint::of_bytes(identity) && outputs(folder)? == mark.outputs)
}

/// The fingerprint of each output of a stage, by its path relative to the stage's folder.
fn outputs(folder: &Path) -> Result<BTreeMap<String, String>> {
    let names = fingerprint::files_below(folder)?
        .into_iter()
        .filter(|name| ![CONFIG, DONE, TIME, TIMING].contains(&name.as_str()));
    names.map(|name| fingerprint::of_file(&folder.join(&name)).map(|print| (name, print))).collect()
}

/// Empties a folder. `config.json` is removed first: without it, whatever a kill in the middle leaves behind
/// is not mistaken for the files of an interrupted stage.
fn clear(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        match fs::remove_file(folder.join(CONFIG)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::remove_dir_all(folder)?,
        }
    }
    fs::create_dir_all(folder)
}

fn spent(folder: &Path) -> Result<f64> {
    Ok(read_json::<Value>(&folder.join(TIME))?.and_then(|time| time["seconds"].as_f64()).unwrap_or(0.0))
}

/// The content of a file of the stage; `None` if it is missing or damaged, in which case the stage is run
/// again.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    Ok(read_if_exists(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The bytes of a file; `None` if it does not exist.
fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(Error::io(path, "read the file")),
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A run of two stages, the second with the folder of the first as input. Returns for each stage the
    /// value of `continued`, or `None` if its code was not called, and the states.
    fn two_stages(root: &Path, word: &str, times: usize) -> (Vec<Option<bool>>, Vec<StageState>) {
        let calls = RefCell::new(vec![None, None]);
        let mut run = RunFolder::open(root).unwrap();
        let work = |index: usize, name: &'static str, text: String| {
            let calls = &calls;
            move |stage: &Stage| {
                calls.borrow_mut()[index] = Some(stage.continued());
                fs::write(stage.folder().join(name), text)
            }
        };
        let first = run
            .stage("word", &json!({ "word": word }), &[], work(0, "word.txt", word.to_lowercase()))
            .unwrap();
        let text = fs::read_to_string(first.join("word.txt")).unwrap().repeat(times);
        run.stage("repeat", &times, &[("word", &first)], work(1, "text.txt", text)).unwrap();
        let states = run.stages().iter().map(|time| time.state).collect();
        (calls.into_inner(), states)
    }

    /// An error and its sources.
    fn chain(error: &dyn std::error::Error) -> String {
        error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
    }

    fn bytes(root: &Path, file: &str) -> Vec<u8> {
        fs::read(root.join("stages").join(file)).unwrap()
    }

    use StageState::{Continued, Done, Skipped};

    #[test]
    fn a_finished_stage_is_skipped() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(two_stages(root.path(), "a", 2), (vec![Some(false), Some(false)], vec![Done, Done]));
        let mark = bytes(root.path(), "02-repeat/done.json");
        assert_eq!(two_stages(root.path(), "a", 2), (vec![None, None], vec![Skipped, Skipped]));
        assert_eq!(bytes(root.path(), "02-repeat/done.json"), mark);
    }

    #[test]
    fn a_changed_configuration_reruns_the_stage_from_scratch() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        fs::write(root.path().join("stages/02-repeat/left-over"), "").unwrap();
        assert_eq!(two_stages(root.path(), "a", 3), (vec![None, Some(false)], vec![Skipped, Done]));
        assert_eq!(bytes(root.path(), "02-repeat/text.txt"), b"aaa");
        assert!(!root.path().join("stages/02-repeat/left-over").exists());
    }

    #[test]
    fn a_changed_input_reruns_later_stages_and_equal_bytes_do_not() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        assert_eq!(two_stages(root.path(), "b", 2), (vec![Some(false), Some(false)], vec![Done, Done]));
        // With another configuration but the same output, the stage after it is still valid.
        assert_eq!(two_stages(root.path(), "B", 2), (vec![Some(false), None], vec![Done, Skipped]));
    }

    #[test]
    fn a_changed_output_reruns_its_stage() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        fs::write(root.path().join("stages/01-word/word.txt"), "x").unwrap();
        assert_eq!(two_stages(root.path(), "a", 2), (vec![Some(false), None], vec![Done, Skipped]));
        fs::remove_file(root.path().join("stages/02-repeat/text.txt")).unwrap();
        assert_eq!(two_stages(root.path(), "a", 2).1, [Skipped, Done]);
    }

    #[test]
    fn an_interrupted_stage_gets_its_folder_as_it_was_left() {
        let root = tempfile::tempdir().unwrap();
        let attempt = |step: &dyn Fn(&Stage) -> io::Result<()>| {
            RunFolder::open(root.path()).unwrap().stage("count", &1, &[], step).map(drop)
        };
        let error = attempt(&|stage| {
            fs::write(stage.folder().join("journal"), "1").unwrap();
            Err(io::Error::other("no power"))
        });
        assert_eq!(chain(&error.unwrap_err()), "stage 01-count: no power");
        attempt(&|stage| {
            assert!(stage.continued());
            assert_eq!(fs::read_to_string(stage.folder().join("journal")).unwrap(), "1");
            fs::rename(stage.folder().join("journal"), stage.folder().join("result"))
        })
        .unwrap();
        attempt(&|_| panic!("it is done")).unwrap();
    }

    #[test]
    fn files_of_an_interrupted_stage_are_dropped_if_its_configuration_changed() {
        let root = tempfile::tempdir().unwrap();
        let mut seen = None;
        let interrupted = RunFolder::open(root.path()).unwrap().stage("count", &1, &[], |stage| {
            fs::write(stage.folder().join("journal"), "1").unwrap();
            Err(io::Error::other("no power"))
        });
        interrupted.unwrap_err();
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("count", &2, &[], |stage| {
            seen = Some((stage.continued(), stage.folder().join("journal").exists()));
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!((seen, run.stages()[0].state), (Some((false, false)), Done));
    }

    #[test]
    fn time_is_summed_over_attempts_and_does_not_invalidate_a_stage() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("nap", &(), &[], |_| Err("cut off")).unwrap_err();
        fs::write(root.path().join("stages/01-nap/time.json"), r#"{"seconds": 100}"#).unwrap();
        run.stage("nap", &(), &[], |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(run.stages()[0].state, Continued);
        drop(run);
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("nap", &(), &[], |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(run.stages()[0].state, Skipped);
        assert!(run.stages()[0].seconds >= 100.0);
    }

    #[test]
    fn two_runs_do_not_share_a_folder_and_a_remaining_lock_file_blocks_nobody() {
        let root = tempfile::tempdir().unwrap();
        let first = RunFolder::open(root.path()).unwrap();
        let error = RunFolder::open(root.path()).unwrap_err();
        assert!(
            matches!(error, Error::Locked { process, .. } if process == Some(std::process::id())),
            "{error}"
        );
        assert!(error.to_string().contains("another run is using this folder"), "{error}");
        drop(first);
        assert!(root.path().join(".lock").exists());
        RunFolder::open(root.path()).unwrap();
    }

    /// Such a stage was once started again, which deleted the paid answers in its folder.
    #[test]
    fn a_stage_whose_files_cannot_be_read_is_not_started_again() {
        let root = tempfile::tempdir().unwrap();
        let run = |work: &dyn Fn(&Stage) -> io::Result<()>| {
            RunFolder::open(root.path()).unwrap().stage("ask", &1, &[], work).map(drop)
        };
        run(&|stage| {
            fs::write(stage.folder().join("journal"), "paid").unwrap();
            Err(io::Error::other("no power"))
        })
        .unwrap_err();
        // A folder in place of a file cannot be read, not even by root.
        let folder = root.path().join("stages/01-ask");
        fs::remove_file(folder.join(CONFIG)).unwrap();
        fs::create_dir(folder.join(CONFIG)).unwrap();
        let error = run(&|_| Ok(())).unwrap_err();
        assert!(chain(&error).contains("config.json: cannot read the file"), "{error:?}");
        assert_eq!(fs::read_to_string(folder.join("journal")).unwrap(), "paid");
    }

    #[test]
    fn a_stage_that_overwrites_its_own_files_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        let error = run.stage("model", &(), &[], |stage| fs::write(stage.folder().join("config.json"), "{}"));
        assert!(chain(&error.unwrap_err()).contains("config.json"));
    }

    #[test]
    fn a_missing_input_is_named() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        let error =
            run.stage("sft", &(), &[("data", Path::new("no/such"))], |_| Ok::<_, Error>(())).unwrap_err();
        assert!(chain(&error).starts_with("stage 01-sft: input \"data\": no/such: "), "{error:?}");
    }
}
