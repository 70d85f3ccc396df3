//! A judge that is a model behind an API: scores responses by rubrics, with a journal, a cost estimate
//! and a budget.
//!
//! Run with `OPENAI_API_KEY=… cargo run -p janus-eval --example remote_judge -- gpt-4o-mini FOLDER`. Set
//! `OPENAI_BASE_URL` for another API with the same protocol. Your own crate needs `janus-core`, and,
//! without their default features, `janus-data`, `janus-eval`, and `janus-infer` with the feature
//! `remote`. The README has the lines for `Cargo.toml`. None of these depends on candle.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::{Path, PathBuf};

use janus_core::{BenchRecord, Rubric, ScoreDescriptions};
use janus_data::CallJournal;
use janus_eval::Response;
use janus_eval::judge::JudgeClient;
use janus_eval::protocol::{Rubrics, rubric_cases};
use janus_eval::run::{RubricRun, compare};
use janus_infer::remote::{Prices, RemoteModel, RemoteOptions};

fn bench() -> Vec<BenchRecord> {
    let record = |id: &str, prompt: &str| BenchRecord {
        id: Some(id.into()),
        source: "demo".into(),
        preference_set: None,
        system: "Answer a child of six.".into(),
        prompt: prompt.into(),
        reference_answer: String::new(),
        rubrics: vec![Rubric {
            criteria: "Would a child of six understand the answer?".into(),
            score_descriptions: ScoreDescriptions::new(["not at all", "hardly", "partly", "mostly", "fully"]),
        }],
    };
    vec![record("kite", "What is a kite?"), record("sky", "Why is the sky blue?")]
}

/// Judges two responses by a model behind an API, and writes the run to a folder.
pub fn run(
    judge: &str,
    options: RemoteOptions,
    folder: &Path,
) -> Result<RubricRun, Box<dyn std::error::Error>> {
    let prices = Prices::new(0.15, 0.6);
    let model = RemoteModel::new(
        judge,
        options.with(|options| {
            options.prices = Some(prices);
            options.budget = Some(1.0);
        }),
    )?;
    // The address is part of the key: a model of the same name behind another API is another judge.
    let journal = CallJournal::open(folder.join("calls.jsonl"))?.of_endpoint(model.address());
    let client = JudgeClient::new(&model).journal(&journal);

    let responses = [
        ("kite", "A toy that flies on a string when the wind blows."),
        ("sky", "Rayleigh scattering favours short wavelengths."),
    ];
    let responses = responses.map(|(id, response)| Response { id: id.into(), response: response.into() });
    let protocol = Rubrics::paper(false).with(|rubrics| {
        rubrics.show_system = true;
        rubrics.runs = 1;
    });
    let cases = rubric_cases(&bench(), &responses)?;

    let estimate = client.estimate(&protocol, &cases)?;
    println!(
        "{} calls, at most {:.4}",
        estimate.calls - estimate.answered,
        estimate.cost(prices.prompt, prices.completion)
    );
    let judgement = client.judge(&protocol, &cases, &mut |done, calls| println!("{done}/{calls}"))?;
    let run = RubricRun::new(&protocol, "my-model", cases, judgement, 0)?;
    run.write(folder)?;
    compare([run.clone()], 100)?.write(folder)?;
    Ok(run)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let judge = arguments.next().ok_or("expected the name of the judge's model")?;
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "remote-judge".into()));
    // The address and the key are those in OPENAI_BASE_URL and OPENAI_API_KEY.
    let run = run(&judge, RemoteOptions::from_env()?, &folder)?;
    let mean = run.result.summary.as_ref().map(|summary| summary.overall.mean);
    println!("mean score {mean:?}, see {}", folder.join("report.html").display());
    Ok(())
}
