//! Examples: a prompt with the responses of several models.

use janus_core::{BenchRecord, Verdict};
use serde::{Deserialize, Serialize};

/// A prompt with its system message and the responses of several models.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The bench record's id.
    pub id: String,
    /// The benchmark of the instruction.
    pub source: String,
    /// The system message.
    pub system: String,
    /// The instruction.
    pub prompt: String,
    /// The criterion of each rubric.
    pub criteria: Vec<String>,
    /// The responses, in the order to show.
    pub(crate) responses: Vec<ExampleResponse>,
    /// A judge's texts on the responses together, such as pairwise verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) judgments: Vec<ExampleJudgment>,
}

/// A judge's text on an example's responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExampleJudgment {
    /// The heading, e.g. whose answer was shown first.
    pub title: String,
    /// The verdict, as text.
    pub verdict: String,
    /// The text.
    pub text: String,
}

/// A model's response to an example, with its scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExampleResponse {
    /// The model.
    pub model: String,
    /// Its response.
    pub response: String,
    /// One score for each rubric; `None` for a missing score.
    pub scores: Vec<Option<u8>>,
    /// The judge's feedback for each score.
    pub feedback: Vec<String>,
}

impl Example {
    /// A bench record without responses.
    pub fn new(id: impl Into<String>, record: &BenchRecord) -> Self {
        Self {
            id: id.into(),
            source: record.source.clone(),
            system: record.system.clone(),
            prompt: record.prompt.clone(),
            criteria: record.rubrics.iter().map(|rubric| rubric.criteria.clone()).collect(),
            responses: Vec::new(),
            judgments: Vec::new(),
        }
    }

    /// Adds a response.
    pub fn response(
        mut self,
        model: impl Into<String>,
        response: impl Into<String>,
        verdict: Option<&Verdict>,
    ) -> Self {
        let rubrics = verdict.map_or(&[][..], |verdict| &verdict.rubrics);
        self.responses.push(ExampleResponse {
            model: model.into(),
            response: response.into(),
            scores: rubrics.iter().map(|rubric| Some(rubric.score.get())).collect(),
            feedback: rubrics.iter().map(|rubric| rubric.feedback.clone()).collect(),
        });
        self
    }

    /// The messages sent to the models, with headings. An empty system message is left out if there are
    /// no rubrics.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let system = (!self.system.is_empty() || !self.criteria.is_empty())
            .then_some(("System message", self.system.as_str()));
        system.into_iter().chain([("Instruction", self.prompt.as_str())])
    }

    /// For each rubric its criterion, the response's score and the judge's feedback.
    pub(super) fn judged<'a>(
        &'a self,
        response: &'a ExampleResponse,
    ) -> impl Iterator<Item = (&'a str, Option<u8>, &'a str)> {
        self.criteria.iter().enumerate().map(|(rubric, criterion)| {
            let score = response.scores.get(rubric).copied().flatten();
            (criterion.as_str(), score, response.feedback.get(rubric).map_or("", String::as_str))
        })
    }
}
