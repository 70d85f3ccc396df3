//! What answers depend on: the head of an unfinished run's journal, and the record beside the answers.

use candle_core::Device;
use janus_data::fs::fingerprint;
use janus_eval::answer::{AnswerFile, Task};
use janus_infer::DeviceName;
use serde_json::{Map, Value, json};

use super::Args;
use crate::command::{Blame as _, CommandError};
use crate::model;

/// Everything that changes an answer. Not `--batch` and `--cache-mb`: a row's answer does not depend on its neighbours, on a GPU but for rounding.
pub(super) fn settings(args: &Args, tasks: &[Task], gpu: &Device) -> Result<Map<String, Value>, CommandError> {
    let model = match model::is_address(&args.model) {
        true => json!({ "service": args.model.trim_end_matches('/'), "name": args.remote.model_name }),
        false => json!(fingerprint::of_path(args.model.as_ref()).bad_input()?),
    };
    let mut settings: Map<String, Value> = [
        ("program", json!(concat!("xtask generate ", env!("CARGO_PKG_VERSION")))),
        ("model", model),
        ("template", json!(args.engine.template)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value))
    .collect();
    settings.extend(AnswerFile::settings(tasks).failure()?);
    // An answer ends there.
    if let Some(context) = args.engine.context {
        settings.insert("context".into(), json!(context));
    }
    if let Some(reward) = args.best.identity()? {
        settings.insert("reward".into(), reward);
    }
    if !gpu.is_cpu() && !model::is_address(&args.model) {
        settings.insert("device".into(), json!(DeviceName::of(gpu).to_string()));
    }
    if let Some(bench) = args.bench.bench {
        settings.insert("bench".into(), json!(bench));
        settings.insert("as_chat".into(), json!(args.bench.as_chat));
    }
    Ok(settings)
}
