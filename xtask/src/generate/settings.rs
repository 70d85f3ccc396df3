//! What answers depend on: the head of an unfinished run's journal, and the record beside the answers.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_data::fs::fingerprint;
use janus_eval::bench::Task;
use serde_json::{Map, Value, json};

use super::Args;
use crate::command::{Blame as _, CommandError};
use crate::{device, model};

/// Everything that changes an answer. Not `--batch` and `--cache-mb`: a row's answer does not depend on its neighbours, on a GPU but for rounding.
pub(super) fn settings(args: &Args, tasks: &[Task], gpu: &Device) -> Result<Map<String, Value>, CommandError> {
    // Parameters that differ from row to row stand once each, and the rows say which are theirs.
    let mut sampling = Vec::new();
    let mut asked = Vec::with_capacity(tasks.len());
    for task in tasks {
        let which = sampling.iter().position(|known| *known == &task.sampling).unwrap_or_else(|| {
            sampling.push(&task.sampling);
            sampling.len() - 1
        });
        asked.push((&task.id, &task.system, &task.turns, which));
    }
    let model = match model::is_address(&args.model) {
        true => json!({ "service": args.model.trim_end_matches('/'), "name": args.remote.model_name }),
        false => json!(fingerprint::of_path(args.model.as_ref()).bad_input()?),
    };
    let mut settings: Map<String, Value> = [
        ("program", json!(concat!("xtask generate ", env!("CARGO_PKG_VERSION")))),
        ("model", model),
        ("template", json!(args.engine.template)),
        ("sampling", if let [one] = &sampling[..] { json!(one) } else { json!(sampling) }),
        ("rows", json!(fingerprint::of_bytes(&serde_json::to_vec(&asked).failure()?))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value))
    .collect();
    // An answer ends there.
    if let Some(context) = args.engine.context {
        settings.insert("context".into(), json!(context));
    }
    if let Some(reward) = args.best.identity()? {
        settings.insert("reward".into(), reward);
    }
    if !gpu.is_cpu() && !model::is_address(&args.model) {
        settings.insert("device".into(), json!(device::name(gpu)));
    }
    if let Some(bench) = args.bench.bench {
        settings.insert("bench".into(), json!(bench));
        settings.insert("as_chat".into(), json!(args.bench.as_chat));
    }
    Ok(settings)
}

/// `OUTPUT.run.json`: how the answers were made.
pub(super) fn record_path(output: &Path) -> PathBuf {
    beside(output, "run.json")
}

/// `OUTPUT.calls`: what a service answered.
pub(super) fn calls_path(output: &Path) -> PathBuf {
    beside(output, "calls")
}

/// `answers.jsonl` to `answers.jsonl.partial`.
pub(super) fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn record(output: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(record_path(output)).ok()?).ok()
}

/// Whether the record says that rows are without an answer: there is something to be asked.
pub(super) fn is_unfinished(output: &Path) -> bool {
    record(output).is_some_and(|record| record["failures"].as_array().is_some_and(|failures| !failures.is_empty()))
}

/// Checks that a finished output holds the answers that are asked for; `name` is that in a benchmark's rows.
pub(super) fn check_record(output: &Path, name: Option<&str>, settings: &Map<String, Value>) -> Result<(), CommandError> {
    let path = record_path(output);
    let other = |what: &str| {
        let hint = "give another --output, or pass --force to answer again";
        CommandError::bad_input(format!("{} holds {what}: {hint}", output.display()))
    };
    let Some(record) = record(output) else {
        return Err(other(&format!("something else: its record {} is not there or cannot be read", path.display())));
    };
    let differs = |key: &&str| record["settings"].get(*key) != settings.get(*key);
    let more = record["settings"].as_object().into_iter().flat_map(Map::keys).filter(|key| !settings.contains_key(*key));
    let mut differing: Vec<&str> = settings.keys().chain(more).map(String::as_str).filter(differs).collect();
    if record["name"] != json!(name) {
        differing.push("name");
    }
    match &differing[..] {
        [] => Ok(()),
        _ => Err(other(&format!("the answers of another run, which differs in {}", differing.join(", ")))),
    }
}
