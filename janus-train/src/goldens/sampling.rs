//! The sampler's filters, the schedule's factors, the tokenizer.

use std::path::Path;

use crate::Schedule;
use janus_core::SamplingParams;
use janus_data::Tokenizer;
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
    kept: Vec<usize>,
}

/// `sampling.json` and the tensors beside it.
pub(super) fn check(name: &str, path: &Path, checks: &mut Checks) -> Result<(), String> {
    let json = json(path)?;
    let cases: Vec<Case> = serde_json::from_value(json["sampling"].clone()).map_err(|error| format!("sampling: {error}"))?;
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
    let factors = json["cosine_schedule_factors"].as_object().ok_or("cosine_schedule_factors is no object")?;
    for (case, factors) in factors {
        let label = format!("{name} {case}");
        checks.group(&label, |checks| schedule(&label, case, factors, checks));
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
        ..SamplingParams::default()
    };
    let (mut probabilities, mut kept) = (Vec::new(), 0);
    for (row, (logits, previous)) in logits.iter().zip(previous).enumerate() {
        let seen: Vec<u32> = previous.iter().map(|&id| id as u32).collect();
        let candidates = Sampler::new(&params, "request", 0, &seen).candidates(&mut logits.clone());
        kept += usize::from(case.kept.get(row) != Some(&candidates.len()));
        let start = probabilities.len();
        probabilities.resize(start + logits.len(), 0.0);
        candidates.iter().for_each(|candidate| probabilities[start + candidate.id as usize] = candidate.probability);
    }
    checks.add(format!("{label} kept"), exact(kept, case.kept.len()));
    let want = tensors.floats(&format!("probs_{}", case.index))?;
    checks.add(format!("{label} probabilities"), compare(&probabilities, &want, tolerance(0.0)));
    Ok(())
}

/// Factors of a schedule named `warmup3_total20`: a list from step 0, or an object by step.
fn schedule(label: &str, case: &str, factors: &Value, checks: &mut Checks) -> Result<(), String> {
    let numbers = case.strip_prefix("warmup").and_then(|rest| rest.split_once("_total"));
    let numbers = numbers.and_then(|(warmup, total)| Some((warmup.parse::<u64>().ok()?, total.parse::<u64>().ok()?)));
    let (warmup, total) = numbers.ok_or_else(|| format!("\"{case}\" does not say its warm-up and total"))?;
    let pairs: Option<Vec<(u64, f64)>> = match factors {
        Value::Array(list) => list.iter().zip(0..).map(|(factor, step)| Some((step, factor.as_f64()?))).collect(),
        Value::Object(map) => map.iter().map(|(step, factor)| Some((step.parse().ok()?, factor.as_f64()?))).collect(),
        _ => None,
    };
    let pairs = pairs.ok_or_else(|| format!("\"{case}\" holds no factors"))?;
    let got: Vec<f64> = pairs.iter().map(|&(step, _)| Schedule::Cosine.factor(step, warmup, total)).collect();
    let want: Vec<f64> = pairs.iter().map(|&(_, factor)| factor).collect();
    checks.add(label, compare(&got, &want, |_| 1e-12));
    Ok(())
}

#[derive(Deserialize)]
struct Tokens {
    vocab_size: usize,
    cases: Vec<Text>,
    #[serde(default)]
    special_texts: Vec<SpecialText>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct SpecialText {
    text: String,
    tokenizer_json_ids: Vec<u32>,
    sentencepiece_ids: Vec<u32>,
}

/// `mistral_tokenizer.json` with the tokenizer that it was made with.
pub(super) fn check_tokenizer(name: &str, path: &Path, tokenizer: &Path, checks: &mut Checks) -> Result<(), String> {
    let tokens: Tokens = serde_json::from_value(json(path)?).map_err(text)?;
    let tokenizer = Tokenizer::read(tokenizer).map_err(text)?;
    let differ = |matches: &dyn Fn(&Text) -> bool| exact(tokens.cases.iter().filter(|case| !matches(case)).count(), tokens.cases.len());
    checks.add(format!("{name} vocabulary"), exact(tokenizer.vocab_size().abs_diff(tokens.vocab_size), tokens.vocab_size));
    checks.add(format!("{name} ids"), differ(&|case| tokenizer.encode(&case.text).is_ok_and(|ids| ids == case.ids)));
    checks.add(format!("{name} texts"), differ(&|case| tokenizer.decode(&case.ids).is_ok_and(|text| text == case.decoded)));
    if tokens.special_texts.is_empty() {
        return Ok(());
    }
    let plain = |case: &&SpecialText| tokenizer.encode(&case.text).is_ok_and(|ids| ids == case.sentencepiece_ids);
    let spelt = |case: &&SpecialText| tokenizer.encode_with_specials(&case.text).is_ok_and(|ids| ids == case.tokenizer_json_ids);
    let of = tokens.special_texts.len();
    checks.add(format!("{name} special tokens as text"), exact(of - tokens.special_texts.iter().filter(plain).count(), of));
    checks.add(format!("{name} special tokens as tokens"), exact(of - tokens.special_texts.iter().filter(spelt).count(), of));
    Ok(())
}
