//! A score from 1 to 5 for each rubric of a response (Janus, arXiv 2405.17977, section 4; prompts in the
//! layout of Prometheus).

use janus_core::{
    BenchRecord, Generation, Judge, JudgeRequest, ModelError, Rubric, RubricVerdict, SamplingParams, Score,
    Verdict, without_reasoning,
};
use serde::{Deserialize, Serialize};

use super::{Judgement, Protocol, ProtocolInfo, Scale};
use crate::join::{Response, join, record_id};
use crate::judge::read::ScoreReader;
use crate::judge::read::{Reading, Unreadable, feedback};
use crate::judge::{JudgeCall, JudgeClient, PromptTemplate, Reply, prompt};
use crate::score::ScoredRow;
use crate::{Error, Result};

/// A bench record with a model's response, if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct RubricCase {
    /// The record's id.
    pub id: String,
    /// The record.
    pub record: BenchRecord,
    /// The response.
    pub response: Option<String>,
}

/// Joins records with responses by id. There is a case for each record, in the bench's order.
///
/// # Errors
/// Those of [`join`].
pub fn rubric_cases(records: &[BenchRecord], responses: &[Response]) -> Result<Vec<RubricCase>> {
    let case = |row: crate::join::JoinedRow<'_>| RubricCase {
        id: row.id,
        record: row.record.clone(),
        response: row.response.map(Into::into),
    };
    Ok(join(records, responses)?.rows.into_iter().map(case).collect())
}

/// A judge's reply for one rubric in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricReply {
    /// The score; `None` if no answer could be parsed.
    pub score: Option<Score>,
    /// The judge's text before the score.
    pub feedback: String,
    /// Whether the text had no marker, so that the score is the number after the last word "score" or
    /// "result".
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// Answers that could not be parsed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: usize,
    /// Why there is no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl From<Reply<Reading>> for RubricReply {
    fn from(reply: Reply<Reading>) -> Self {
        let (feedback, problem) =
            (reply.text().map_or("", |text| feedback(without_reasoning(text))).into(), reply.problem());
        let (score, fallback) =
            reply.verdict.map_or((None, false), |reading| (Some(reading.score), reading.fallback));
        Self { score, feedback, fallback, unreadable: reply.unreadable, problem }
    }
}

/// A judged response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedResponse {
    /// The bench record's id.
    pub id: String,
    /// The benchmark of the instruction.
    pub source: String,
    /// For each run, one reply for each rubric; empty if there is no response.
    pub runs: Vec<Vec<RubricReply>>,
}

/// The scores of each of `runs` runs, with `None` for a missing score, for [`pool`](crate::score::pool)
/// and [`summarise`](crate::score::summarise).
pub(crate) fn scored_runs<'r>(
    runs: usize,
    records: impl IntoIterator<Item = &'r BenchRecord>,
    rows: &[JudgedResponse],
) -> Vec<Vec<ScoredRow>> {
    let rubrics: Vec<usize> = records.into_iter().map(|record| record.rubrics.len()).collect();
    let row = |run: usize, (row, rubrics): (&JudgedResponse, &usize)| {
        let scores: Vec<Option<u8>> = match row.runs.get(run) {
            Some(replies) => replies.iter().map(|reply| reply.score.map(Score::get)).collect(),
            None => vec![None; *rubrics],
        };
        ScoredRow::new(row.id.clone(), row.source.clone(), scores)
    };
    (0..runs).map(|run| rows.iter().zip(&rubrics).map(|pair| row(run, pair)).collect()).collect()
}

impl Judgement<JudgedResponse> {
    /// The scores of each run of these cases ([`scored_runs`]).
    pub fn scores(&self, protocol: &Rubrics, cases: &[RubricCase]) -> Vec<Vec<ScoredRow>> {
        scored_runs(protocol.runs, cases.iter().map(|case| &case.record), &self.rows)
    }
}

/// Scores responses by the rubrics of their records, with one call for each rubric and run.
///
/// ```
/// use janus_core::{BenchRecord, ChatModel, ChatRequest, Generation, ModelError, Rubric, ScoreDescriptions};
/// use janus_eval::judge::JudgeClient;
/// use janus_eval::protocol::{Rubrics, rubric_cases};
/// use janus_eval::score::summarise;
/// use janus_eval::Response;
///
/// /// A judge that always gives a 5.
/// struct Kind;
///
/// impl ChatModel for Kind {
///     fn name(&self) -> &str {
///         "kind"
///     }
///
///     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
///         for index in 0..requests.len() {
///             on_answer(index, Ok(vec![Generation::new("Feedback: lovely. [RESULT] 5")]));
///         }
///     }
/// }
///
/// let anchors = ScoreDescriptions::new(["no", "", "", "", "yes"]);
/// let record = BenchRecord {
///     id: Some("q1".into()),
///     source: "koala".into(),
///     preference_set: None,
///     system: "Be short.".into(),
///     prompt: "What is a kite?".into(),
///     reference_answer: "A toy.".into(),
///     rubrics: vec![Rubric { criteria: "Is it short?".into(), score_descriptions: anchors }],
/// };
/// let protocol = Rubrics::paper(true);
/// let cases = rubric_cases(&[record], &[Response { id: "q1".into(), response: "A toy on a string.".into() }])?;
/// let judgement = JudgeClient::new(&Kind).judge(&protocol, &cases, &mut |_done, _calls| ())?;
/// assert_eq!(judgement.rows[0].runs[2][0].feedback, "lovely.");
/// assert_eq!(summarise(&judgement.scores(&protocol, &cases))?.overall.mean, 5.0);
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rubrics {
    /// The judge's prompt. The judge sees the reference answer if the prompt has the slot
    /// `{reference_answer}`.
    pub prompt: PromptTemplate,
    /// How the score is parsed.
    pub reader: ScoreReader,
    /// Whether the judge sees the system message, on a line before the prompt. The paper's judge sees
    /// the prompt only.
    pub show_system: bool,
    /// Number of runs. Each has its own seed.
    pub runs: usize,
    /// The judge's sampling parameters; the seed is that of the first run.
    pub sampling: SamplingParams,
}

const NEEDED: [&str; 3] = ["instruction", "response", "score_rubric"];
const REFERENCE: &str = "reference_answer";

impl Rubrics {
    /// The paper's protocol with this crate's prompt: three runs at temperature 1, top-p 0.9, at most
    /// 1,024 tokens. The judge sees the reference answer if `show_reference` is set, and never the
    /// system message.
    pub fn paper(show_reference: bool) -> Self {
        let prompt = if show_reference { prompt::rubric() } else { prompt::rubric_no_reference() };
        let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::paper() };
        Self { prompt, reader: ScoreReader::Strict, show_system: false, runs: 3, sampling }
    }

    /// Changes some of the fields and returns the protocol, for use in an expression:
    /// `Rubrics::paper(true).with(|rubrics| rubrics.runs = 1)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    fn call(
        &self,
        id: &str,
        record: &BenchRecord,
        response: &str,
        rubric: usize,
        run: usize,
    ) -> Result<JudgeCall> {
        let joined;
        let instruction = if self.show_system && !record.system.is_empty() {
            joined = format!("{}\n{}", record.system, record.prompt);
            &joined
        } else {
            &record.prompt
        };
        let score_rubric = rubric_json(&record.rubrics[rubric]);
        let slots = [
            ("instruction", instruction.as_str()),
            ("response", response),
            (REFERENCE, record.reference_answer.as_str()),
            ("score_rubric", score_rubric.as_str()),
        ];
        let mut sampling = self.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(run as u64);
        let mut call =
            JudgeCall::new(format!("{id}/rubric-{rubric}/run-{run}"), &self.prompt, &slots, &sampling)?;
        // The released evaluation trims its filled template too.
        call.request.messages.iter_mut().for_each(|message| message.content = message.content.trim().into());
        Ok(call)
    }
}

impl Protocol for Rubrics {
    type Case = RubricCase;
    type Reply = Reading;
    type Row = JudgedResponse;

    fn info(&self) -> ProtocolInfo {
        ProtocolInfo::new("rubric", "Rubrics", Scale::Rating { low: 1.0, high: 5.0 })
    }

    fn check(&self) -> Result<()> {
        self.prompt.check(&NEEDED, &[REFERENCE])?;
        let setting = |field, got: String, expected| Err(Error::Setting { field, got, expected });
        if self.runs == 0 {
            return setting("runs", "0".into(), "at least 1");
        }
        if let Err(error) = self.sampling.validate() {
            return setting("the judge's sampling", error.to_string(), "parameters in their ranges");
        }
        Ok(())
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn shows_system(&self) -> bool {
        self.show_system
    }

    fn shows_reference(&self) -> bool {
        self.prompt.has(REFERENCE)
    }

    fn id<'c>(&self, case: &'c RubricCase) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &RubricCase) -> Result<Vec<JudgeCall>> {
        let Some(response) = &case.response else { return Ok(Vec::new()) };
        let places =
            (0..self.runs).flat_map(|run| (0..case.record.rubrics.len()).map(move |rubric| (run, rubric)));
        places.map(|(run, rubric)| self.call(&case.id, &case.record, response, rubric, run)).collect()
    }

    fn read(&self, answer: &Generation) -> Result<Reading, Unreadable> {
        self.reader.read(answer.answer())
    }

    /// One attempt and up to five retries.
    fn attempts(&self) -> usize {
        6
    }

    fn row(&self, case: &RubricCase, replies: Vec<Reply<Reading>>) -> JudgedResponse {
        let mut replies = replies.into_iter().map(RubricReply::from);
        let runs = if case.response.is_some() { self.runs } else { 0 };
        let runs = (0..runs).map(|_| replies.by_ref().take(case.record.rubrics.len()).collect()).collect();
        JudgedResponse { id: case.id.clone(), source: case.record.source.clone(), runs }
    }
}

/// A [`Judge`] that scores by [`Rubrics`], in one run.
#[derive(Debug)]
pub struct RubricJudge<'a> {
    client: JudgeClient<'a>,
    protocol: Rubrics,
}

impl<'a> RubricJudge<'a> {
    /// A judge with one run; the protocol's number of runs is ignored.
    ///
    /// # Errors
    /// Those of the protocol's [`check`](Protocol::check).
    pub fn new(client: JudgeClient<'a>, protocol: Rubrics) -> Result<Self> {
        let protocol = Rubrics { runs: 1, ..protocol };
        protocol.check()?;
        Ok(Self { client, protocol })
    }
}

impl Judge for RubricJudge<'_> {
    fn name(&self) -> &str {
        self.client.name()
    }

    /// A response without a score for every rubric has no verdict. [`JudgeClient::judge`] keeps its
    /// other scores.
    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        // A record may occur several times, so the ids need not be unique: they only name the calls.
        let ids: Vec<String> =
            requests.iter().enumerate().map(|(index, request)| record_id(request.record, index)).collect();
        let calls = |(id, request): (&String, &JudgeRequest<'_>)| {
            let made = (0..request.record.rubrics.len())
                .map(|rubric| self.protocol.call(id, request.record, request.response, rubric, 0));
            made.collect::<Result<Vec<_>>>()
        };
        let calls: Vec<Result<Vec<JudgeCall>>> = ids.iter().zip(requests).map(calls).collect();
        let all: Vec<JudgeCall> = calls.iter().flatten().flatten().cloned().collect();
        let mut replies =
            self.client.replies(&self.protocol, &all, &mut |_, _| ()).into_iter().map(RubricReply::from);
        let verdict = |(id, made): (String, Result<Vec<JudgeCall>>)| {
            let made =
                made.map_err(|error| ModelError::Failed { id: id.clone(), source: Box::new(error) })?;
            let verdict = |reply: RubricReply| {
                let reason = reply.problem.unwrap_or_else(|| "the judge gave no score".into());
                let score = reply.score.ok_or(ModelError::Request { id: id.clone(), reason })?;
                Ok(RubricVerdict { score, feedback: reply.feedback })
            };
            // Take all of its replies, including those after a reply without a score.
            let replies: Vec<RubricReply> = replies.by_ref().take(made.len()).collect();
            Ok(Verdict { rubrics: replies.into_iter().map(verdict).collect::<Result<_, _>>()? })
        };
        ids.into_iter().zip(calls).map(verdict).collect()
    }
}

/// A rubric as the judge sees it: JSON indented by four spaces, with non-ASCII characters escaped, as
/// printed by Python's `json.dumps(indent=4)`.
fn rubric_json(rubric: &Rubric) -> String {
    let value =
        serde_json::json!({ "criteria": rubric.criteria, "score_descriptions": rubric.score_descriptions });
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(
        &mut bytes,
        serde_json::ser::PrettyFormatter::with_indent(b"    "),
    );
    // Writing texts to a vector cannot fail.
    let _ = value.serialize(&mut serializer);
    let text = String::from_utf8_lossy(&bytes);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | ' '..='~' => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use janus_core::ScoreDescriptions;

    use super::*;

    #[test]
    fn a_rubric_is_printed_as_by_python() {
        let rubric = Rubric {
            criteria: "Größe \"x\"\n\u{7f}😀".into(),
            score_descriptions: ScoreDescriptions::new(["a\\b", "", "\t", "\u{8}", "e"]),
        };
        // python3 -c 'import json; print(json.dumps({"criteria": "Größe \"x\"\n\x7f😀", ...}, indent=4))'
        let expected = r#"{
    "criteria": "Gr\u00f6\u00dfe \"x\"\n\u007f\ud83d\ude00",
    "score_descriptions": {
        "1": "a\\b",
        "2": "",
        "3": "\t",
        "4": "\b",
        "5": "e"
    }
}"#;
        assert_eq!(rubric_json(&rubric), expected);
    }
}
