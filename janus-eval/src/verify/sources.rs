//! The published prompt files: the requests made from them, the prompts that they share, and how their
//! rows are parsed.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use janus_core::SamplingParams;
use janus_data::instructions::normalised;
use janus_data::sources::{RowContent, Source};
use janus_data::{Row, read, read_all};
use serde_json::{Value, json};

use super::Checks;
use crate::bench::multifaceted::{Group, prompt_pool};
use crate::bench::{Benchmark, Questions};
use crate::{Error, Result};

const KOALA: &str = "bench_sources/koala_test_set.jsonl.gz";
const ALPACA_EVAL: &str = "alpaca_eval/eval_set.jsonl.gz";
const PROMPTS: &str = "real_toxicity_prompts/prompts.jsonl.gz";

/// Checks that every published question becomes one task with its protocol's sampling: the number of
/// rows and turns, and the number of rows for each combination of samples, temperature and maximum
/// length.
pub(super) fn questions(data: &Path, checks: &mut Checks) -> Result<()> {
    let mut check = |benchmark: Benchmark, file: &str, must: Value| -> Result<()> {
        let tasks =
            Questions::read(benchmark, data.join(file), None, None)?.tasks(&SamplingParams::default())?;
        let turns: usize = tasks.iter().map(|task| task.turns.len()).sum();
        let mut by_sampling: BTreeMap<String, usize> = BTreeMap::new();
        for sampling in tasks.iter().map(|task| &task.sampling) {
            let SamplingParams { n, temperature, max_tokens, .. } = sampling;
            *by_sampling.entry(format!("{n} at {temperature} of {max_tokens}")).or_default() += 1;
        }
        checks.exact(
            format!("{benchmark}: rows, turns, sampling"),
            json!([tasks.len(), turns, by_sampling]),
            must,
        );
        Ok(())
    };
    let mt_bench = json!([80, 160, { "1 at 0 of 1024": 40, "1 at 0.1 of 1024": 20, "1 at 0.7 of 1024": 20 }]);
    check(Benchmark::MtBench, "mt_bench/question.jsonl", mt_bench)?;
    check(
        Benchmark::ArenaHard,
        "arena_hard/questions.jsonl.gz",
        json!([500, 500, { "1 at 0 of 4096": 500 }]),
    )?;
    let SamplingParams { temperature, max_tokens, .. } = SamplingParams::default();
    let free = json!({ (format!("1 at {temperature} of {max_tokens}")): 805 });
    check(Benchmark::AlpacaEval, ALPACA_EVAL, json!([805, 805, free]))?;
    check(Benchmark::Toxicity, PROMPTS, json!([1500, 1500, { "25 at 1 of 20": 1500 }]))?;

    let instructions: Vec<Row> = read_all(data.join(ALPACA_EVAL))?;
    let mut datasets: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &instructions {
        *datasets.entry(row.get("dataset").and_then(Value::as_str).unwrap_or_default()).or_default() += 1;
    }
    let must = json!({ "helpful_base": 129, "koala": 156, "oasst": 188, "selfinstruct": 252, "vicuna": 80 });
    checks.exact("alpaca-eval: rows of each dataset", json!(datasets), must);
    Ok(())
}

/// Checks the pool of the five prompt sets that Multifaceted Bench is drawn from. FLASK contains all 252
/// prompts of Self-Instruct, 176 of Koala and 2 of MT-Bench. AlpacaEval contains 144 of Koala.
pub(super) fn pool(data: &Path, checks: &mut Checks) -> Result<()> {
    let set =
        |group: Group, file: &str, prompt: fn(&Row) -> Option<String>| -> Result<(Group, Vec<String>)> {
            let rows: Vec<Row> = read_all(data.join(file))?;
            let absent = |row| Error::row(row, "the prompt", "a string", "none");
            let prompts = rows.iter().enumerate().map(|(at, row)| prompt(row).ok_or_else(|| absent(at)));
            Ok((group, prompts.collect::<Result<Vec<String>>>()?))
        };
    let instruction: fn(&Row) -> Option<String> = |row| Some(row.get("instruction")?.as_str()?.to_string());
    let sets = [
        set(Group::SelfInstruct, "bench_sources/self_instruct_user_oriented.jsonl.gz", |row| {
            Some(format!(
                "{}\n\n{}",
                row.get("instruction")?.as_str()?,
                row.get("instances")?[0]["input"].as_str()?
            ))
        })?,
        set(Group::Koala, KOALA, |row| Some(row.get("prompt")?.as_str()?.to_string()))?,
        set(Group::MtBench, "mt_bench/question.jsonl", |row| {
            Some(row.get("turns")?[0].as_str()?.to_string())
        })?,
        set(Group::Flask, "bench_sources/flask_evaluation.jsonl.gz", instruction)?,
        set(Group::AlpacaEval, ALPACA_EVAL, instruction)?,
    ];
    let (pool, reports) = prompt_pool(&sets, 0);
    let counts =
        [[252, 0, 0, 252], [180, 0, 0, 180], [80, 0, 0, 80], [1740, 2, 430, 1308], [805, 0, 476, 329]];
    for (((group, _), got), [given, repeated, taken, kept]) in sets.iter().zip(reports).zip(counts) {
        let must = json!({ "given": given, "repeated": repeated, "taken": taken, "kept": kept });
        checks.exact(format!("prompt pool: {group:?}"), json!(got), must);
    }
    checks.exact("prompt pool: prompts", pool.len(), 2149);
    let alpaca: HashSet<String> = sets[4].1.iter().map(|prompt| normalised(prompt)).collect();
    let common = sets[1].1.iter().filter(|prompt| alpaca.contains(&normalised(prompt))).count();
    checks.exact("prompt pool: prompts of Koala that are in AlpacaEval", common, 144);
    Ok(())
}

/// Checks how many rows of each published file are comparisons, conversations, instructions, or left
/// out. One answer of HH-RLHF is empty; WebGPT has 69 ties.
pub(super) fn layouts(data: &Path, checks: &mut Checks) -> Result<()> {
    for (source, file, must) in [
        ("hh-rlhf", "preferences/hh_rlhf_harmless_base_test.jsonl.gz", [399, 0, 0, 1]),
        ("hh-rlhf", "preferences/hh_rlhf_helpful_cleaned_test.jsonl.gz", [300, 0, 0, 0]),
        ("webgpt", "preferences/webgpt_comparisons_cleaned_test.jsonl.gz", [181, 0, 0, 69]),
        ("dsp", "preferences/domain_specific_preference_test.jsonl.gz", [0, 0, 250, 0]),
        ("sharegpt", "preferences/dpo_en_demo.jsonl.gz", [150, 0, 0, 0]),
        ("flask", "bench_sources/flask_evaluation.jsonl.gz", [0, 1740, 0, 0]),
        ("koala", KOALA, [0, 0, 180, 0]),
        ("self-instruct", "bench_sources/self_instruct_user_oriented.jsonl.gz", [0, 252, 0, 0]),
        ("mt-bench", "mt_bench/question.jsonl", [0, 0, 80, 0]),
        ("alpaca-eval", ALPACA_EVAL, [0, 805, 0, 0]),
    ] {
        let unknown = || Error::reference("a dataset's layout", "one that janus-data reads", source);
        let layout = Source::all().find(|layout| layout.name() == source).ok_or_else(unknown)?;
        let mut counts = [0; 4];
        for (at, row) in read::<Row>(data.join(file))?.enumerate() {
            let refused = |error: janus_data::sources::RowError| {
                Error::row(at, file, format!("a row of {source}"), error.to_string())
            };
            let kind = match layout.content(&row?).map_err(refused)? {
                RowContent::Comparison(_) => 0,
                RowContent::Conversation(_) => 1,
                RowContent::Instruction(_) => 2,
                _ => 3,
            };
            counts[kind] += 1;
        }
        checks.exact(
            format!("{file} as {source}: comparisons, conversations, instructions, others"),
            json!(counts),
            json!(must),
        );
    }
    Ok(())
}
