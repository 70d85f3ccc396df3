//! Your own judge: code that scores responses by rubrics, without a language model.
//!
//! Run with `cargo run -p janus-eval --example own_judge`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use janus_core::{
    BenchRecord, Judge, JudgeRequest, ModelError, Rubric, RubricVerdict, Score, ScoreDescriptions, Verdict,
};
use janus_eval::Response;
use janus_eval::score::{score_responses, summarise};

/// Scores how short a response is: 5 for at most ten words, one point less for every ten more words.
struct Brevity;

impl Judge for Brevity {
    fn name(&self) -> &str {
        "brevity"
    }

    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        let verdict = |request: &JudgeRequest<'_>| {
            let words = request.response.split_whitespace().count();
            let failed = |source: janus_core::Error| ModelError::Failed {
                id: "brevity".into(),
                source: Box::new(source),
            };
            let score = Score::new(5 - (words.saturating_sub(1) / 10).min(4) as i64).map_err(failed)?;
            let feedback = format!("{words} words");
            // One verdict for each rubric of the record.
            Ok(Verdict {
                rubrics: request
                    .record
                    .rubrics
                    .iter()
                    .map(|_| RubricVerdict { score, feedback: feedback.clone() })
                    .collect(),
            })
        };
        requests.iter().map(verdict).collect()
    }
}

/// The mean score of two responses.
pub fn run() -> Result<f64, janus_eval::Error> {
    let record = |id: &str, prompt: &str| BenchRecord {
        id: Some(id.into()),
        source: "demo".into(),
        preference_set: None,
        system: "Answer in one short sentence.".into(),
        prompt: prompt.into(),
        reference_answer: String::new(),
        rubrics: vec![Rubric {
            criteria: "Is the answer short?".into(),
            score_descriptions: ScoreDescriptions::new(["no", "hardly", "partly", "mostly", "yes"]),
        }],
    };
    let bench = [record("1", "What is a kite?"), record("2", "Why is the sky blue?")];
    let response = |id: &str, response: &str| Response { id: id.into(), response: response.into() };
    let long = "Because air scatters blue light more than red light, so that from every direction of the sky some of it reaches your eye.";
    let scored =
        score_responses(&bench, &[response("1", "A toy on a string."), response("2", long)], &Brevity)?;
    Ok(summarise(&[&scored.rows])?.overall.mean)
}

fn main() -> Result<(), janus_eval::Error> {
    println!("mean score {:.2}", run()?);
    Ok(())
}
