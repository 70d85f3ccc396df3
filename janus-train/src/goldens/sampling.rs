//! Checks of the sampler's filters and of the learning-rate schedules.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Schedule;
use janus_core::SamplingParams;
use janus_infer::Sampler;
use serde::Deserialize;
use serde_json::Value;

use super::Checks;
use super::files::{Tensors, compare, exact, json, text, tolerance};

#[derive(Deserialize)]
struct Case {
    index: usize,
    repetition_penalty: f64,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    #[serde(default)]
    min_p: f64,
    kept: Vec<usize>,
}

/// Checks `sampling.json` and its safetensors file.
pub(super) fn check(name: &str, path: &Path, checks: &mut Checks) -> Result<(), String> {
    let json = json(path)?;
    let cases: Vec<Case> =
        serde_json::from_value(json["sampling"].clone()).map_err(|error| format!("sampling: {error}"))?;
    checks.group(&format!("{name} sampling"), |checks| {
        let tensors = Tensors::read(&path.with_extension("safetensors"))?;
        let logits: Vec<Vec<f32>> = tensors.get("logits")?.to_vec2().map_err(text)?;
        let previous = tensors.ints("prev_ids")?;
        for case in &cases {
            let label = format!("{name} case {}", case.index);
            checks.group(&label, |checks| filters(&label, case, &logits, &previous, &tensors, checks));
        }
        Ok(())
    });
    if let Some(factors) = json.get("cosine_schedule_factors") {
        schedules(name, Schedule::Cosine, factors, checks)?;
    }
    Ok(())
}

/// Checks `schedules.json`: factors of each schedule by its name.
pub(super) fn check_schedules(name: &str, path: &Path, checks: &mut Checks) -> Result<(), String> {
    let all: BTreeMap<String, Value> = serde_json::from_value(json(path)?).map_err(text)?;
    for (kind, factors) in all {
        let schedule = serde_json::from_value(Value::String(kind.clone())).map_err(text)?;
        schedules(&format!("{name} {kind}"), schedule, &factors, checks)?;
    }
    Ok(())
}

fn schedules(name: &str, schedule: Schedule, cases: &Value, checks: &mut Checks) -> Result<(), String> {
    for (case, factors) in cases.as_object().ok_or("the factors of a schedule are not an object")? {
        let label = format!("{name} {case}");
        checks.group(&label, |checks| factors_of(&label, schedule, case, factors, checks));
    }
    Ok(())
}

fn filters(
    label: &str,
    case: &Case,
    logits: &[Vec<f32>],
    previous: &[Vec<i64>],
    tensors: &Tensors,
    checks: &mut Checks,
) -> Result<(), String> {
    let params = SamplingParams {
        repetition_penalty: case.repetition_penalty,
        temperature: case.temperature,
        top_k: case.top_k,
        top_p: case.top_p,
        min_p: case.min_p,
        ..SamplingParams::default()
    };
    let (mut probabilities, mut kept) = (Vec::new(), 0);
    for (row, (logits, previous)) in logits.iter().zip(previous).enumerate() {
        let seen: Vec<u32> = previous.iter().map(|&id| id as u32).collect();
        let candidates = Sampler::new(&params, "request", 0, &seen).candidates(&mut logits.clone());
        kept += usize::from(case.kept.get(row) != Some(&candidates.len()));
        let start = probabilities.len();
        probabilities.resize(start + logits.len(), 0.0);
        candidates
            .iter()
            .for_each(|candidate| probabilities[start + candidate.id as usize] = candidate.probability);
    }
    checks.add(format!("{label} kept"), exact(kept, case.kept.len()));
    let want = tensors.floats(&format!("probs_{}", case.index))?;
    checks.add(format!("{label} probabilities"), compare(&probabilities, &want, tolerance(0.0)));
    Ok(())
}

/// Checks the factors of a case named like `warmup3_total20`: a list from step 0, or an object by step.
fn factors_of(
    label: &str,
    schedule: Schedule,
    case: &str,
    factors: &Value,
    checks: &mut Checks,
) -> Result<(), String> {
    let numbers = case.strip_prefix("warmup").and_then(|rest| rest.split_once("_total"));
    let numbers =
        numbers.and_then(|(warmup, total)| Some((warmup.parse::<u64>().ok()?, total.parse::<u64>().ok()?)));
    let (warmup, total) = numbers.ok_or_else(|| format!("\"{case}\" is not of the form warmupN_totalM"))?;
    let pairs: Option<Vec<(u64, f64)>> = match factors {
        Value::Array(list) => {
            list.iter().zip(0..).map(|(factor, step)| Some((step, factor.as_f64()?))).collect()
        }
        Value::Object(map) => {
            map.iter().map(|(step, factor)| Some((step.parse().ok()?, factor.as_f64()?))).collect()
        }
        _ => None,
    };
    let pairs = pairs.ok_or_else(|| format!("\"{case}\" has no factors"))?;
    let got: Vec<f64> = pairs.iter().map(|&(step, _)| schedule.factor(step, warmup, total)).collect();
    let want: Vec<f64> = pairs.iter().map(|&(_, factor)| factor).collect();
    checks.add(label, compare(&got, &want, |_| 1e-12));
    Ok(())
}
