//! Converts results in earlier formats to the current one.
//!
//! In version 1 the format of a rubric run was `janus-judged`, and that of other runs `janus-verdicts`.
//! The other files of the folders have not changed.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{RUN_FORMAT, RUN_VERSION};
use crate::protocol::{ProtocolInfo, Scale};

#[derive(Deserialize)]
struct Format {
    format: String,
    version: u32,
}

/// Converts a result of this or an earlier format to this format.
pub(super) fn upgraded(mut result: Value) -> Result<Value, String> {
    let Format { format, version } = Format::deserialize(&result).map_err(|error| error.to_string())?;
    match (format.as_str(), version) {
        (RUN_FORMAT, RUN_VERSION) => return Ok(result),
        ("janus-judged", 1) => {
            let settings = result["settings"].as_object_mut().ok_or("missing field `settings`")?;
            let mut moved = |field: &str| {
                settings.remove(field).ok_or_else(|| format!("missing field `settings.{field}`"))
            };
            let (prompt, runs, reader) = (moved("prompt")?, moved("runs")?, moved("reader")?);
            settings.insert("prompts".into(), json!([prompt]));
            result["runs"] = runs;
            result["reader"] = reader;
            result["rows"] = result["records"].take();
            result["protocol"] =
                json!(ProtocolInfo::new("rubric", "Rubrics", Scale::Rating { low: 1.0, high: 5.0 }));
        }
        ("janus-verdicts", 1) => {
            let name = result["protocol"].as_str().unwrap_or_default();
            let title = match name {
                "pairwise" => "Pairs",
                "mt-bench" => "MT-Bench",
                "mt-bench-pairs" => "MT-Bench pairs",
                "arena-hard" => "Arena-Hard",
                "alpaca-eval" => "AlpacaEval",
                _ => return Err(format!("unknown protocol \"{name}\"")),
            };
            let scale =
                if name == "mt-bench" { Scale::Rating { low: 1.0, high: 10.0 } } else { Scale::WinRate };
            result["protocol"] = json!(ProtocolInfo::new(name, title, scale));
        }
        _ => {
            return Err(format!(
                "it is {format} version {version}, expected {RUN_FORMAT} version {RUN_VERSION}"
            ));
        }
    }
    result["format"] = json!(RUN_FORMAT);
    result["version"] = json!(RUN_VERSION);
    Ok(result)
}
