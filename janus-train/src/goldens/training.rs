//! Checks of losses, gradients, rewards, LoRA adapters and an optimiser run.

use std::path::Path;

use crate::{
    AdamW, AdamWConfig, Batch, Decoder, Dpo, DpoConfig, Gradients, LoraConfig, Metrics, MicroBatch, NllSpan,
    Objective, Orpo, Reference, Reward, Schedule, Sft, TokenRow,
};
use candle_core::Device;
use serde_json::Value;

use super::Checks;
use super::files::{
    Compared, Documents, Tensors, compare, documents, exact, floats, number, segments, text, tolerance,
};
use super::golden::Golden;

/// One group of checks.
type Part = fn(&str, &Path, &Golden, &mut Checks) -> Result<(), String>;

const PARTS: [(&str, Part); 7] = [
    ("sft", |name, folder, golden, checks| sft(name, "sft", folder, golden, checks)),
    ("sft_packed", |name, folder, golden, checks| sft(name, "sft_packed", folder, golden, checks)),
    ("dpo", dpo),
    ("orpo", orpo),
    ("reward", reward),
    ("lora", lora),
    ("adamw", adamw),
];

/// Runs every training check that `cases.json` has numbers for. Each loads the model anew.
pub(super) fn check(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) {
    for (case, part) in PARTS.iter().filter(|(case, _)| golden.json.get(case).is_some()) {
        checks.group(&format!("{name} {case}"), |checks| part(name, folder, golden, checks));
    }
}

fn load(path: &Path) -> Result<Decoder, String> {
    Decoder::load(path, &Device::Cpu).map_err(text)
}

/// Loss, metrics and gradients of one batch.
struct Step {
    loss: f64,
    metrics: Metrics,
    gradients: Gradients,
}

fn step(objective: &dyn Objective, decoder: &Decoder, rows: &[TokenRow]) -> Result<Step, String> {
    let batch = Batch::concat(&rows.iter().collect::<Vec<_>>());
    let denominator = objective.denominator(&batch);
    let gradients = Gradients::new(decoder);
    let micro_batch = MicroBatch { batch, rows: (0..rows.len()).collect() };
    let part = objective.loss(&decoder.recording(&gradients), &micro_batch, denominator).map_err(text)?;
    gradients.backward(&part.loss).map_err(text)?;
    Ok(Step {
        loss: f64::from(part.loss.to_scalar::<f32>().map_err(text)?),
        metrics: part.metrics,
        gradients,
    })
}

/// Compares two numbers.
fn one(got: f64, want: f64) -> Result<Compared, String> {
    compare(&[got], &[want], tolerance(0.0))
}

/// Adds the checks of the loss, the gradient norm and every gradient of the file.
fn add_step(
    name: &str,
    case: &str,
    folder: &Path,
    golden: &Golden,
    step: &Step,
    checks: &mut Checks,
) -> Result<(), String> {
    let expected = |key: &str| number(&golden.json, &[case, key]);
    checks.add(format!("{name} {case} loss"), one(step.loss, expected("loss_f64")?));
    checks.add(
        format!("{name} {case} grad_norm"),
        one(step.gradients.norm().map_err(text)?, expected("grad_norm")?),
    );
    let reference = Tensors::read(&folder.join(format!("grads_{case}.safetensors")))?;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (parameter, gradient) in reference.all() {
        let found =
            step.gradients.get(parameter).ok_or_else(|| format!("there is no gradient of {parameter}"))?;
        if found.dims() != gradient.dims() {
            return Err(format!(
                "the gradient of {parameter} has shape {:?}, expected {:?}",
                found.dims(),
                gradient.dims()
            ));
        }
        got.extend(floats(&found)?);
        want.extend(floats(gradient)?);
    }
    let stated = expected("grad_f32_vs_f64_max_abs")?;
    checks.add(format!("{name} {case} gradients"), compare(&got, &want, tolerance(stated)));
    Ok(())
}

/// The padded rows of `sft` or `sft_packed`.
fn supervised(case: &str, golden: &Golden) -> Result<Vec<Documents>, String> {
    let (ids, labels) =
        (golden.cases.ints(&format!("{case}.input_ids"))?, golden.cases.ints(&format!("{case}.labels"))?);
    let segments: Vec<Vec<i64>> = match case {
        "sft" => golden.cases.ints("sft.attention_mask")?.iter().map(|mask| segments(mask)).collect(),
        _ => golden.cases.ints(&format!("{case}.segment_ids"))?,
    };
    let rows = ids.iter().zip(&segments).zip(&labels);
    Ok(rows
        .map(|((ids, segments), labels)| {
            documents(ids, segments, |place| labels.get(place).is_some_and(|&label| label != -100))
        })
        .collect())
}

fn sft(name: &str, case: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    let padded = supervised(case, golden)?;
    for (row, documents) in padded.iter().enumerate() {
        let cu_seqlens = format!("{case}.cu_seqlens_{row}");
        if golden.cases.all().contains_key(&cu_seqlens) {
            let got: Vec<f64> = documents.batch().cu_seqlens().iter().map(|&end| f64::from(end)).collect();
            checks.add(
                format!("{name} {cu_seqlens}"),
                compare(&got, &golden.cases.floats(&cu_seqlens)?, |_| 0.0),
            );
        }
    }
    let rows: Vec<TokenRow> = padded.into_iter().flat_map(|documents| documents.rows).collect();
    let step = step(&Sft, &load(folder)?, &rows)?;
    let counted = Sft.denominator(&Batch::concat(&rows.iter().collect::<Vec<_>>())).tokens;
    let expected = number(&golden.json, &[case, "n_tokens"])? as usize;
    checks.add(format!("{name} {case} supervised tokens"), exact(counted.abs_diff(expected), expected));
    add_step(name, case, folder, golden, &step, checks)
}

/// The rows of the pairs: chosen, rejected, chosen, …
fn pairs(golden: &Golden) -> Result<Vec<TokenRow>, String> {
    let ids = golden.cases.ints("pairs.input_ids")?;
    let (attention, completion) =
        (golden.cases.ints("pairs.attention_mask")?, golden.cases.ints("pairs.completion_mask")?);
    let mut rows = Vec::with_capacity(ids.len());
    for pair in 0..ids.len() / 2 {
        for row in [pair, ids.len() / 2 + pair] {
            let Documents { rows: documents, .. } =
                documents(&ids[row], &segments(&attention[row]), |place| completion[row][place] == 1);
            rows.extend(documents);
        }
    }
    if rows.len() == ids.len() { Ok(rows) } else { Err("a row of the pairs is not one document".into()) }
}

/// The sum or mean of the log-probabilities over the supervised tokens of each row.
fn of_rows(decoder: &Decoder, rows: &[TokenRow], mean: bool) -> Result<Vec<f64>, String> {
    let batch = Batch::concat(&rows.iter().collect::<Vec<_>>());
    let logprobs = decoder.detached().and_then(|decoder| decoder.logprobs(&batch)).map_err(text)?;
    let of_document = if mean { logprobs.mean_by_document(&batch) } else { logprobs.sum_by_document(&batch) };
    floats(&of_document.map_err(text)?)
}

/// The values of one side of the pairs: 0 for chosen, 1 for rejected.
fn side(values: &[f64], side: usize) -> Vec<f64> {
    values.iter().skip(side).step_by(2).copied().collect()
}

fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

fn dpo(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    let (decoder, reference) = (load(folder)?, load(&folder.join("ref_model.safetensors"))?);
    let rows = pairs(golden)?;
    let beta = number(&golden.json, &["dpo", "beta"])?;
    let (policy, base) = (of_rows(&decoder, &rows, false)?, of_rows(&reference, &rows, false)?);
    let rewards: Vec<f64> = policy.iter().zip(&base).map(|(policy, base)| beta * (policy - base)).collect();
    for (what, values, at) in [
        ("chosen_logps", &policy, 0),
        ("rejected_logps", &policy, 1),
        ("ref_chosen_logps", &base, 0),
        ("ref_rejected_logps", &base, 1),
        ("chosen_rewards", &rewards, 0),
        ("rejected_rewards", &rewards, 1),
    ] {
        let want = golden.cases.floats(&format!("dpo.{what}"))?;
        checks.add(format!("{name} dpo {what}"), compare(&side(values, at), &want, tolerance(0.0)));
    }
    let losses: Vec<f64> = rewards.chunks(2).map(|pair| -log_sigmoid(pair[0] - pair[1])).collect();
    checks.add(
        format!("{name} dpo losses"),
        compare(&losses, &golden.cases.floats("dpo.losses")?, tolerance(0.0)),
    );

    let mut config = DpoConfig::new(beta);
    if let Some(smoothing) = golden.json["dpo"]["label_smoothing"].as_f64() {
        config.label_smoothing = smoothing;
        let reference = Reference::Model(Box::new(load(&folder.join("ref_model.safetensors"))?));
        let smoothed = step(&Dpo::new(config, reference, &rows).map_err(text)?, &decoder, &rows)?;
        checks.add(
            format!("{name} dpo smoothed loss"),
            one(smoothed.loss, number(&golden.json, &["dpo", "smoothed_loss_f64"])?),
        );
        config.label_smoothing = 0.0;
    }
    let objective = Dpo::new(config, Reference::Model(Box::new(reference)), &rows).map_err(text)?;
    let step = step(&objective, &decoder, &rows)?;
    for metric in ["margin", "accuracy"] {
        checks.add(
            format!("{name} dpo {metric}"),
            one(step.metrics[metric], number(&golden.json, &["dpo", metric])?),
        );
    }
    add_step(name, "dpo", folder, golden, &step, checks)
}

fn orpo(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    let decoder = load(folder)?;
    let rows = pairs(golden)?;
    let expected = |key: &str| number(&golden.json, &["orpo", key]);
    let means = of_rows(&decoder, &rows, true)?;
    let log_odds: Vec<f64> =
        means.chunks(2).map(|pair| (pair[0] - pair[1]) - (log1mexp(pair[0]) - log1mexp(pair[1]))).collect();
    let gains: Vec<f64> = log_odds.iter().map(|&x| log_sigmoid(x)).collect();
    for (what, values) in [
        ("chosen_avg_logps", &side(&means, 0)),
        ("rejected_avg_logps", &side(&means, 1)),
        ("log_odds", &log_odds),
        ("log_sigmoid_odds", &gains),
    ] {
        let want = golden.cases.floats(&format!("orpo.{what}"))?;
        checks.add(format!("{name} orpo {what}"), compare(values, &want, tolerance(0.0)));
    }
    let lambda = expected("lambda")?;
    let response = step(&Orpo::new(lambda, NllSpan::Response).map_err(text)?, &decoder, &rows)?;
    checks.add(
        format!("{name} orpo nll_response_only"),
        one(response.metrics["nll"], expected("nll_response_only")?),
    );
    let row = step(&Orpo::new(lambda, NllSpan::Row).map_err(text)?, &decoder, &rows)?;
    checks.add(format!("{name} orpo nll"), one(row.metrics["nll"], expected("nll")?));
    add_step(name, "orpo", folder, golden, &row, checks)
}

fn log1mexp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

fn reward(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    let decoder = load(folder)?;
    let rows = pairs(golden)?;
    // The same rows with left padding: the content of the padding must not matter.
    let (ids, mask) = (golden.cases.ints("rm.input_ids_left")?, golden.cases.ints("rm.attention_mask_left")?);
    let mut left = Vec::new();
    for pair in 0..ids.len() / 2 {
        for row in [pair, ids.len() / 2 + pair] {
            left.extend(documents(&ids[row], &segments(&mask[row]), |_| true).rows);
        }
    }
    let different = left.iter().zip(&rows).filter(|(left, right)| left.ids != right.ids).count();
    checks.add(format!("{name} reward rows"), exact(different + left.len().abs_diff(rows.len()), rows.len()));

    let batch = Batch::concat(&rows.iter().collect::<Vec<_>>());
    let values = floats(&decoder.values(&batch).map_err(text)?)?;
    for (what, at) in [("chosen_rewards", 0), ("rejected_rewards", 1)] {
        let want = golden.cases.floats(&format!("rm.{what}"))?;
        checks.add(format!("{name} reward {what}"), compare(&side(&values, at), &want, tolerance(0.0)));
    }
    let losses: Vec<f64> = values.chunks(2).map(|pair| -log_sigmoid(pair[0] - pair[1])).collect();
    checks.add(
        format!("{name} reward losses"),
        compare(&losses, &golden.cases.floats("rm.losses")?, tolerance(0.0)),
    );
    let step = step(&Reward::default(), &decoder, &rows)?;
    checks.add(
        format!("{name} reward accuracy"),
        one(step.metrics["accuracy"], number(&golden.json, &["reward", "accuracy"])?),
    );
    add_step(name, "reward", folder, golden, &step, checks)
}

/// A model with peft's LoRA adapters for every projection, on the rows of `sft`.
fn lora(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    let expected = |key: &str| number(&golden.json, &["lora", key]);
    let config = LoraConfig::new(expected("rank")? as usize, expected("alpha")?);
    let decoder = load(folder)?.with_lora(config, 0).map_err(text)?.frozen(|name| name == crate::VALUE_HEAD);
    let updates = Tensors::read(&folder.join("lora.safetensors"))?;
    checks.add(
        format!("{name} lora updates"),
        exact(updates.all().len().abs_diff(decoder.parameters().len()), updates.all().len()),
    );
    for (update, value) in updates.all() {
        let parameter =
            decoder.parameters().get(update).ok_or_else(|| format!("there is no adapter weight {update}"))?;
        parameter.set(value).map_err(text)?;
    }
    let padded = supervised("sft", golden)?;
    let rows: Vec<TokenRow> = padded.iter().flat_map(|documents| documents.rows.clone()).collect();
    add_step(name, "lora", folder, golden, &step(&Sft, &decoder, &rows)?, checks)?;

    // Every token of a row except the first.
    let want = golden.cases.get("lora.logprobs")?.to_vec2::<f32>().map_err(text)?;
    let want = want
        .iter()
        .zip(&padded)
        .flat_map(|(row, documents)| documents.places[1..].iter().map(|&place| f64::from(row[place - 1])));
    let want: Vec<f64> = want.collect();
    let all: Vec<TokenRow> =
        rows.into_iter().map(|row| TokenRow { loss_mask: vec![true; row.ids.len()], ..row }).collect();
    let batch = Batch::concat(&all.iter().collect::<Vec<_>>());
    for (what, decoder) in [
        ("logprobs", decoder.detached().map_err(text)?),
        ("merged logprobs", decoder.merged().map_err(text)?),
    ] {
        let found = decoder.logprobs(&batch).map_err(text)?;
        checks.add(format!("{name} lora {what}"), compare(&floats(&found.values)?, &want, tolerance(0.0)));
    }
    Ok(())
}

fn adamw(name: &str, folder: &Path, golden: &Golden, checks: &mut Checks) -> Result<(), String> {
    // The loss does not use the value head.
    let decoder = load(folder)?.frozen(|name| name == crate::VALUE_HEAD);
    let settings = |key: &str| number(&golden.json, &["adamw", key]);
    let betas = &golden.json["adamw"]["betas"];
    let beta = |i: usize| betas[i].as_f64().ok_or("cases.json: adamw.betas is not a pair of numbers");
    let mut config = AdamWConfig::default();
    (config.betas, config.eps, config.weight_decay) =
        ((beta(0)?, beta(1)?), settings("eps")?, settings("weight_decay")?);
    let (peak, warmup, total, clip) =
        (settings("lr")?, settings("warmup")? as u64, settings("total")? as u64, settings("clip")?);
    let log = golden.json["adamw"]["steps"].as_array().ok_or("cases.json: adamw.steps is not a list")?;
    let inputs: Vec<Vec<Vec<i64>>> = golden.cases.get("adamw.input_ids")?.to_vec3().map_err(text)?;
    let (mut optimizer, mut lrs, mut losses, mut norms) =
        (AdamW::new(config).map_err(text)?, Vec::new(), Vec::new(), Vec::new());
    for (number, input) in inputs.iter().enumerate() {
        let row = |ids: &Vec<i64>| TokenRow {
            ids: ids.iter().map(|&id| id as u32).collect(),
            loss_mask: vec![true; ids.len()],
        };
        let step = step(&Sft, &decoder, &input.iter().map(row).collect::<Vec<_>>())?;
        let norm = step.gradients.norm().map_err(text)?;
        let lr = peak * Schedule::Cosine.factor(number as u64, warmup, total);
        let scale = (clip / (norm + 1e-6)).min(1.0);
        optimizer.step(&decoder, &step.gradients, lr, scale).map_err(text)?;
        lrs.push(lr);
        losses.push(step.loss);
        norms.push(norm);
    }
    let logged =
        |key: &str| log.iter().filter_map(|step| step.get(key).and_then(Value::as_f64)).collect::<Vec<f64>>();
    let want =
        golden.json["adamw"]["losses_f64"].as_array().ok_or("cases.json: adamw.losses_f64 is not a list")?;
    let want: Vec<f64> = want.iter().filter_map(Value::as_f64).collect();
    let stated = settings("final_param_f32_vs_f64_max_abs")?;
    checks.add(format!("{name} adamw learning rates"), compare(&lrs, &logged("lr"), |_| 1e-12));
    checks.add(format!("{name} adamw losses"), compare(&losses, &want, tolerance(stated)));
    checks.add(format!("{name} adamw grad_norms"), compare(&norms, &logged("grad_norm"), tolerance(stated)));
    let reference = Tensors::read(&folder.join("adamw_final.safetensors"))?;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (parameter, value) in reference.all() {
        let found =
            decoder.weights().get(parameter).ok_or_else(|| format!("there is no parameter {parameter}"))?;
        got.extend(floats(found)?);
        want.extend(floats(value)?);
    }
    checks.add(format!("{name} adamw parameters"), compare(&got, &want, |_| (10.0 * stated).max(2e-5)));
    Ok(())
}
