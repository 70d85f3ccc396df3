//! The five prompt sets that Multifaceted Bench is drawn from, put together.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use janus_eval::bench::multifaceted::{Group, PoolReport, PromptSet, prompt_pool};
use serde_json::{Map, Value};

type Row = Map<String, Value>;

fn rows(file: &str) -> Vec<Row> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(file);
    janus_data::read_all(path).unwrap()
}

fn set(group: Group, file: &str, prompt: impl Fn(&Row) -> String) -> PromptSet {
    PromptSet { group, prompts: rows(file).iter().map(prompt).collect() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().into()
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn each_prompt_is_in_the_pool_once() {
    let sets = [
        set(Group::SelfInstruct, "bench_sources/self_instruct_user_oriented.jsonl.gz", |row| {
            format!("{}\n\n{}", text(&row["instruction"]), text(&row["instances"][0]["input"]))
        }),
        set(Group::Koala, "bench_sources/koala_test_set.jsonl.gz", |row| text(&row["prompt"])),
        set(Group::MtBench, "mt_bench/question.jsonl", |row| text(&row["turns"][0])),
        set(Group::Flask, "bench_sources/flask_evaluation.jsonl.gz", |row| text(&row["instruction"])),
        set(Group::AlpacaEval, "alpaca_eval/eval_set.jsonl.gz", |row| text(&row["instruction"])),
    ];
    let (pool, reports) = prompt_pool(&sets, 0);
    let counts = |given, repeated, taken, kept| PoolReport { given, repeated, taken, kept };
    // FLASK holds all 252 of Self-Instruct, 176 of Koala and 2 of MT-Bench.
    let expected =
        [counts(252, 0, 0, 252), counts(180, 0, 0, 180), counts(80, 0, 0, 80), counts(1740, 2, 430, 1308), counts(805, 0, 476, 329)];
    assert_eq!(reports, expected);
    assert_eq!(pool.len(), 2149);
    let everywhere = pool.iter().filter(|prompt| prompt.group == Group::SelfInstruct && prompt.also_in.len() == 2).count();
    assert_eq!(everywhere, 252, "FLASK and AlpacaEval have every prompt of Self-Instruct");
    assert_eq!(prompt_pool(&sets, 0), (pool.clone(), reports.clone()));
    assert_ne!(prompt_pool(&sets, 1).0, pool, "another seed, another order");
}
