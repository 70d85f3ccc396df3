//! Resumable runs: a folder of stages, each done once for its configuration and inputs.
//!
//! A run is a list of stages. Stage number 3, "sft", owns the folder `DIR/stages/03-sft/`:
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | what makes the stage what it is: its name, its resolved configuration, the fingerprint of each input |
//! | (anything else) | the stage's outputs |
//! | `done.json` | the done mark, written last: the fingerprint of `config.json` and of each output |
//! | `time.json` | seconds spent, over all attempts; no part of what the mark covers |
//! | `timing.jsonl` | where a model is trained, the seconds of each step; no part of it either |
//!
//! When the run is repeated, a stage whose mark still holds is skipped; one whose configuration or
//! inputs changed, or whose outputs were touched, is redone from nothing; one that was cut off is given
//! its folder as it was left, and continues by its own means. Since the fingerprint of an input is that
//! of its content, a stage that was redone to the same bytes redoes nothing after it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError};
use crate::fingerprint;
use crate::progress::duration;

const CONFIG: &str = "config.json";
const DONE: &str = "done.json";
const TIME: &str = "time.json";
/// What training notes of its speed, which is no result.
const TIMING: &str = "timing.jsonl";

/// A run's folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    stages: Vec<StageTime>,
    // The system takes the lock back when the process ends, however it ends.
    _lock: File,
}

/// What became of a stage, for `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// Number and name: "03-sft".
    pub stage: String,
    /// What this run did with it.
    pub state: StageState,
    /// Seconds spent on it, those of earlier runs that it builds on included. Time between the last
    /// attempt's start and a kill is not known and not counted.
    pub seconds: f64,
}

/// What a run did with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Done from the start.
    Done,
    /// Done from where an earlier run was cut off.
    Continued,
    /// Done by an earlier run.
    Skipped,
}

/// What the code of a stage gets.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    continued: bool,
}

impl Stage {
    /// The stage's folder, to write into. Names at its top that are taken: `config.json`, `done.json`,
    /// `time.json`, `timing.jsonl`; a model goes into a folder of its own below.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An earlier run with the same configuration and inputs was cut off, and the folder holds what it left.
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
    /// Opens a run's folder, makes it if need be, and locks it.
    ///
    /// # Errors
    /// Bad input if another run holds the folder or it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CommandError> {
        let root = root.into();
        let at_root = |error: std::io::Error| CommandError::bad_input(format!("{}: {error}", root.display()));
        fs::create_dir_all(&root).map_err(at_root)?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join(".lock")).map_err(at_root)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, stages: Vec::new(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CommandError::bad_input(format!(
                "{}: another run is at work here: wait for it, or give another folder",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(at_root(error)),
        }
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The stages so far, in order.
    pub fn stages(&self) -> &[StageTime] {
        &self.stages
    }

    /// Runs the next stage, unless it is done, and returns its folder.
    ///
    /// `name` is lower-case letters, digits and dashes. `config` is the resolved configuration: whatever
    /// changes what `work` does, in an order that does not vary (no `HashMap`). `inputs` are files or
    /// folders with a label each; a finished stage's folder counts by its outputs alone.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use xtask::{command::Blame, stage::RunFolder};
    /// # let root = tempfile::tempdir()?;
    /// let mut run = RunFolder::open(root.path())?;
    /// let words = run.stage("words", &5, &[], |stage| {
    ///     std::fs::write(stage.folder().join("words.txt"), "five").failure()
    /// })?;
    /// run.stage("shout", &(), &[("words", &words)], |stage| {
    ///     let text = std::fs::read_to_string(words.join("words.txt")).failure()?;
    ///     std::fs::write(stage.folder().join("shout.txt"), text.to_uppercase()).failure()
    /// })?;
    /// assert!(root.path().join("stages/02-shout/done.json").exists());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever `work` gives, named after the stage; bad input for an input that cannot be read.
    pub fn stage(
        &mut self,
        name: &str,
        config: &impl Serialize,
        inputs: &[(&str, &Path)],
        work: impl FnOnce(&Stage) -> Result<(), CommandError>,
    ) -> Result<PathBuf, CommandError> {
        let stage = format!("{:02}-{name}", self.stages.len() + 1);
        let folder = self.root.join("stages").join(&stage);
        let begun = Instant::now();
        let (state, seconds) = self.run_stage(&stage, &folder, config, inputs, work).map_err(|error| error.at(format!("stage {stage}")))?;
        match state {
            StageState::Skipped => eprintln!("stage {stage}: done before, skipped"),
            StageState::Done | StageState::Continued => eprintln!("stage {stage}: done in {}", duration(begun.elapsed().as_secs_f64())),
        }
        self.stages.push(StageTime { stage, state, seconds });
        Ok(folder)
    }

    fn run_stage(
        &self,
        stage: &str,
        folder: &Path,
        config: &impl Serialize,
        inputs: &[(&str, &Path)],
        work: impl FnOnce(&Stage) -> Result<(), CommandError>,
    ) -> Result<(StageState, f64), CommandError> {
        let identity = identity(stage, config, inputs)?;
        let same = fs::read(folder.join(CONFIG)).is_ok_and(|found| found == identity);
        let mark = read_json::<DoneMark>(&folder.join(DONE));
        if same && mark.is_some_and(|mark| mark_holds(&mark, &identity, folder)) {
            return Ok((StageState::Skipped, spent(folder)));
        }
        let continued = same && !folder.join(DONE).exists();
        if continued {
            eprintln!("stage {stage}: cut off before, continues");
        } else {
            let redone = folder.exists();
            clear(folder).failure()?;
            write_file(&folder.join(CONFIG), &identity)?;
            eprintln!("stage {stage}: {}", if redone { "changed, starts again" } else { "starts" });
        }
        let (begun, before) = (Instant::now(), spent(folder));
        let result = work(&Stage { folder: folder.to_path_buf(), continued });
        let seconds = before + begun.elapsed().as_secs_f64();
        let timed = write_file(&folder.join(TIME), json!({ "seconds": seconds }).to_string().as_bytes());
        result?;
        timed?;
        if fs::read(folder.join(CONFIG)).failure()? != identity {
            return Err(CommandError::failure("the stage wrote over its own config.json: give its outputs other names"));
        }
        let mark = DoneMark { fingerprint: fingerprint::of_bytes(&identity), outputs: outputs(folder)? };
        write_file(&folder.join(DONE), &pretty(&json!(mark)))?;
        Ok((if continued { StageState::Continued } else { StageState::Done }, seconds))
    }
}

/// The bytes of `config.json`: equal bytes, equal stage.
fn identity(stage: &str, config: &impl Serialize, inputs: &[(&str, &Path)]) -> Result<Vec<u8>, CommandError> {
    let mut prints = BTreeMap::new();
    for (label, path) in inputs {
        let print = input_fingerprint(path).map_err(|error| error.at(format!("input \"{label}\"")))?;
        prints.insert(*label, print);
    }
    let config = serde_json::to_value(config).failure()?;
    Ok(pretty(&json!({ "stage": stage, "config": config, "inputs": prints })))
}

fn input_fingerprint(path: &Path) -> Result<String, CommandError> {
    if path.join(DONE).exists() {
        let outputs = serde_json::to_vec(&outputs(path)?).failure()?;
        return Ok(fingerprint::of_bytes(&outputs));
    }
    fingerprint::of_path(path)
}

fn mark_holds(mark: &DoneMark, identity: &[u8], folder: &Path) -> bool {
    mark.fingerprint == fingerprint::of_bytes(identity) && outputs(folder).is_ok_and(|outputs| outputs == mark.outputs)
}

/// The fingerprint of each output of a stage, by its path from the stage's folder.
fn outputs(folder: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let names = fingerprint::files_below(folder)?.into_iter().filter(|name| ![CONFIG, DONE, TIME, TIMING].contains(&name.as_str()));
    names.map(|name| fingerprint::of_file(&folder.join(&name)).map(|print| (name, print))).collect()
}

/// Leaves an empty folder. `config.json` goes first: without it, whatever else a kill in the middle
/// leaves behind is never taken for the work of a stage that was cut off.
fn clear(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        match fs::remove_file(folder.join(CONFIG)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => fs::remove_dir_all(folder)?,
        }
    }
    fs::create_dir_all(folder)
}

fn spent(folder: &Path) -> f64 {
    read_json::<Value>(&folder.join(TIME)).and_then(|time| time["seconds"].as_f64()).unwrap_or(0.0)
}

/// What a file of ours holds; none if it is missing or damaged, which means that the stage is redone.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    janus_data::write_file(path, bytes).failure()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A run of two stages, the second with the first's folder as input. Returns what each stage's code
    /// was told (`None`: not called) and the states.
    fn two_stages(root: &Path, word: &str, times: usize) -> (Vec<Option<bool>>, Vec<StageState>) {
        let calls = RefCell::new(vec![None, None]);
        let mut run = RunFolder::open(root).unwrap();
        let work = |index: usize, name: &'static str, text: String| {
            let calls = &calls;
            move |stage: &Stage| {
                calls.borrow_mut()[index] = Some(stage.continued());
                fs::write(stage.folder().join(name), text).failure()
            }
        };
        let first = run.stage("word", &json!({ "word": word }), &[], work(0, "word.txt", word.to_lowercase())).unwrap();
        let text = fs::read_to_string(first.join("word.txt")).unwrap().repeat(times);
        run.stage("repeat", &times, &[("word", &first)], work(1, "text.txt", text)).unwrap();
        let states = run.stages().iter().map(|time| time.state).collect();
        (calls.into_inner(), states)
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
    fn a_changed_configuration_redoes_the_stage_from_nothing() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        fs::write(root.path().join("stages/02-repeat/left-over"), "").unwrap();
        assert_eq!(two_stages(root.path(), "a", 3), (vec![None, Some(false)], vec![Skipped, Done]));
        assert_eq!(bytes(root.path(), "02-repeat/text.txt"), b"aaa");
        assert!(!root.path().join("stages/02-repeat/left-over").exists());
    }

    #[test]
    fn a_changed_input_redoes_what_follows_and_equal_bytes_redo_nothing() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        assert_eq!(two_stages(root.path(), "b", 2), (vec![Some(false), Some(false)], vec![Done, Done]));
        // Another configuration, the same output: the stage after it still stands.
        assert_eq!(two_stages(root.path(), "B", 2), (vec![Some(false), None], vec![Done, Skipped]));
    }

    #[test]
    fn a_touched_output_redoes_its_stage() {
        let root = tempfile::tempdir().unwrap();
        two_stages(root.path(), "a", 2);
        fs::write(root.path().join("stages/01-word/word.txt"), "x").unwrap();
        assert_eq!(two_stages(root.path(), "a", 2), (vec![Some(false), None], vec![Done, Skipped]));
        fs::remove_file(root.path().join("stages/02-repeat/text.txt")).unwrap();
        assert_eq!(two_stages(root.path(), "a", 2).1, [Skipped, Done]);
    }

    #[test]
    fn a_stage_that_was_cut_off_gets_its_folder_as_it_was_left() {
        let root = tempfile::tempdir().unwrap();
        let attempt = |step: &dyn Fn(&Stage) -> Result<(), CommandError>| {
            RunFolder::open(root.path()).unwrap().stage("count", &1, &[], step).map(drop)
        };
        let error = attempt(&|stage| {
            fs::write(stage.folder().join("journal"), "1").unwrap();
            Err(CommandError::failure("no power"))
        });
        assert_eq!(error.unwrap_err().to_string(), "stage 01-count: no power");
        attempt(&|stage| {
            assert!(stage.continued());
            assert_eq!(fs::read_to_string(stage.folder().join("journal")).unwrap(), "1");
            fs::rename(stage.folder().join("journal"), stage.folder().join("result")).failure()
        })
        .unwrap();
        attempt(&|_| panic!("it is done")).unwrap();
    }

    #[test]
    fn what_a_cut_off_stage_left_is_dropped_when_its_configuration_changed() {
        let root = tempfile::tempdir().unwrap();
        let mut seen = None;
        let cut_off = RunFolder::open(root.path()).unwrap().stage("count", &1, &[], |stage| {
            fs::write(stage.folder().join("journal"), "1").unwrap();
            Err(CommandError::failure("no power"))
        });
        cut_off.unwrap_err();
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("count", &2, &[], |stage| {
            seen = Some((stage.continued(), stage.folder().join("journal").exists()));
            Ok(())
        })
        .unwrap();
        assert_eq!((seen, run.stages()[0].state), (Some((false, false)), Done));
    }

    #[test]
    fn time_is_kept_over_attempts_and_never_makes_a_stage_dirty() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("nap", &(), &[], |_| Err(CommandError::failure("cut off"))).unwrap_err();
        fs::write(root.path().join("stages/01-nap/time.json"), r#"{"seconds": 100}"#).unwrap();
        run.stage("nap", &(), &[], |_| Ok(())).unwrap();
        assert_eq!(run.stages()[0].state, Continued);
        drop(run);
        let mut run = RunFolder::open(root.path()).unwrap();
        run.stage("nap", &(), &[], |_| Ok(())).unwrap();
        assert_eq!(run.stages()[0].state, Skipped);
        assert!(run.stages()[0].seconds >= 100.0);
    }

    #[test]
    fn two_runs_do_not_share_a_folder_and_a_lock_file_left_behind_holds_nobody_up() {
        let root = tempfile::tempdir().unwrap();
        let first = RunFolder::open(root.path()).unwrap();
        let error = RunFolder::open(root.path()).unwrap_err();
        assert!(error.to_string().contains("another run is at work here"), "{error}");
        drop(first);
        assert!(root.path().join(".lock").exists());
        RunFolder::open(root.path()).unwrap();
    }

    #[test]
    fn a_stage_that_writes_over_its_bookkeeping_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        let error = run.stage("model", &(), &[], |stage| fs::write(stage.folder().join("config.json"), "{}").failure());
        assert!(error.unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn a_missing_input_is_bad_input_and_named() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path()).unwrap();
        let error = run.stage("sft", &(), &[("data", Path::new("no/such"))], |_| Ok(())).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("stage 01-sft: input \"data\": no/such: "), "{error}");
    }
}
