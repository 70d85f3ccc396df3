//! A score from 1 to 5 for each rubric of a response (Janus, arXiv 2405.17977, section 4; the layout of Prometheus).

use janus_core::{BenchRecord, ChatRequest, Judge, JudgeRequest, ModelError, Rubric, RubricVerdict, SamplingParams, Score, Verdict};
use serde::{Deserialize, Serialize};

use super::prompt::own;
use super::{Asker, Counts, Estimate, PromptTemplate, Reply, TemplateId, feedback};
use crate::join::{Joined, Missing, Response, join, record_id};
use crate::read_score::{published, strict};
use crate::{Result, ScoredRow};

/// How a score is read in the judge's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreReader {
    /// [`strict`]: the last `[RESULT]`, checked.
    #[default]
    Strict,
    /// [`published`]: the released evaluation's rule, with what it gets wrong. A number outside 1..=5 has no place
    /// in a score and is no reading here either.
    Published,
}

impl ScoreReader {
    /// The score of a text, and whether it was read from a mere mention.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn read(self, text: &str) -> Result<(Score, bool), String> {
        match self {
            Self::Strict => strict(text).map(|reading| (reading.score, reading.fallback)).map_err(|error| error.to_string()),
            Self::Published => {
                let number = published(text).ok_or("the published rule finds no score")?;
                let score = i64::try_from(number).ok().and_then(|number| Score::new(number).ok());
                score.map(|score| (score, false)).ok_or_else(|| format!("the published rule reads {number}, which is outside 1..=5"))
            }
        }
    }
}

/// How a rubric judge works.
#[derive(Debug, Clone, PartialEq)]
pub struct RubricOptions {
    /// What it is asked. Whether it sees the reference answer is decided by the slot `{reference_answer}`.
    pub prompt: PromptTemplate,
    /// How its score is read.
    pub reader: ScoreReader,
    /// Whether the instruction that it sees is system message, line break, prompt; the paper's shows the prompt alone.
    pub show_system: bool,
    /// Runs, each with a seed of its own.
    pub runs: usize,
    /// How the judge samples; its seed is that of the first run.
    pub sampling: SamplingParams,
}

impl RubricOptions {
    /// The paper's protocol with our prompt: three runs at temperature 1, top-p 0.9, at most 1,024 tokens; the judge sees the
    /// reference answer if `show_reference` says so, and not the system message.
    ///
    /// # Errors
    /// None for the prompts of this crate.
    pub fn paper(show_reference: bool) -> Result<Self> {
        let prompt = if show_reference { own!("rubric")? } else { own!("rubric_no_reference")? };
        let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::paper() };
        Ok(Self { prompt, reader: ScoreReader::Strict, show_system: false, runs: 3, sampling })
    }
}

/// What a result was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricSettings {
    /// The judge's model.
    pub judge: String,
    /// The prompt.
    pub prompt: TemplateId,
    /// How the score was read.
    pub reader: ScoreReader,
    /// Whether the judge saw the reference answer.
    pub reference_shown: bool,
    /// Whether the judge saw the system message.
    pub system_shown: bool,
    /// Runs.
    pub runs: usize,
    /// How the judge sampled.
    pub sampling: SamplingParams,
}

/// A judge's answer for one rubric in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricReply {
    /// The score; none if no answer could be read.
    pub score: Option<Score>,
    /// What the judge says before it.
    pub feedback: String,
    /// Whether the score was read from a mere mention.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// Answers that could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: usize,
    /// Why there is no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A judged response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedRow {
    /// The bench record's id.
    pub id: String,
    /// Which benchmark the instruction comes from.
    pub source: String,
    /// For each run, one reply for each rubric; none at all where there is no response.
    pub runs: Vec<Vec<RubricReply>>,
}

impl JudgedRow {
    /// The scores of a run, one for each of `rubrics` rubrics.
    pub(crate) fn scored(&self, run: usize, rubrics: usize) -> ScoredRow {
        let scores: Vec<Option<u8>> = match self.runs.get(run) {
            Some(replies) => replies.iter().map(|reply| reply.score.map(Score::get)).collect(),
            None => vec![None; rubrics],
        };
        ScoredRow::new(self.id.clone(), self.source.clone(), scores)
    }
}

/// What a rubric judge made of a model's responses.
#[derive(Debug, Clone, PartialEq)]
pub struct RubricJudgement {
    /// What it was made with.
    pub settings: RubricSettings,
    /// One row for each bench record, in the bench's order.
    pub rows: Vec<JudgedRow>,
    /// Records without a response.
    pub missing: Missing,
    /// How many calls came to what.
    pub counts: Counts,
    /// Scores that were read from a mere mention.
    pub fallbacks: usize,
    rubrics: Vec<usize>,
}

impl RubricJudgement {
    /// The scores of each run: what [`crate::pool`] and [`crate::summarise`] take.
    pub fn runs(&self) -> Vec<Vec<ScoredRow>> {
        let rows = |run| self.rows.iter().zip(&self.rubrics).map(|(row, rubrics)| row.scored(run, *rubrics)).collect();
        (0..self.settings.runs).map(rows).collect()
    }
}

/// Scores responses against the rubrics of their records, one call for each rubric and run.
///
/// ```
/// use janus_core::{BenchRecord, ChatModel, ChatRequest, Generation, ModelError, Rubric, ScoreDescriptions};
/// use janus_eval::judge::{Asker, RubricJudge, RubricOptions};
/// use janus_eval::{Response, summarise};
///
/// /// A judge that likes everything.
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
/// let judge = RubricJudge::new(Asker::new(&Kind), RubricOptions::paper(true)?)?;
/// let judgement = judge.judge_runs(&[record], &[Response { id: "q1".into(), response: "A toy on a string.".into() }])?;
/// assert_eq!(judgement.rows[0].runs[2][0].feedback, "lovely.");
/// assert_eq!(summarise(&judgement.runs())?.overall.mean, 5.0);
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug)]
pub struct RubricJudge<'a> {
    asker: Asker<'a>,
    options: RubricOptions,
}

/// Times that an answer is asked for in a run: once, and at most five times more.
const ATTEMPTS: usize = 6;

const NEEDED: [&str; 3] = ["instruction", "response", "score_rubric"];
const REFERENCE: &str = "reference_answer";

impl<'a> RubricJudge<'a> {
    /// A judge that asks by these options.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for a prompt without instruction, response or rubric, or with a slot that nothing
    /// fills; [`Error::Setting`](crate::Error::Setting) for no run or sampling parameters out of range.
    pub fn new(asker: Asker<'a>, options: RubricOptions) -> Result<Self> {
        options.prompt.check(&NEEDED, &[REFERENCE])?;
        let setting = |field, got: String, expected| Err(crate::Error::Setting { field, got, expected });
        if options.runs == 0 {
            return setting("runs", "0".into(), "at least 1");
        }
        if let Err(error) = options.sampling.validate() {
            return setting("the judge's sampling", error.to_string(), "parameters in their ranges");
        }
        Ok(Self { asker, options })
    }

    /// What results say of how they were made.
    pub fn settings(&self) -> RubricSettings {
        RubricSettings {
            judge: self.asker.name().into(),
            prompt: self.options.prompt.version(),
            reader: self.options.reader,
            reference_shown: self.options.prompt.has(REFERENCE),
            system_shown: self.options.show_system,
            runs: self.options.runs,
            sampling: self.options.sampling.clone(),
        }
    }

    /// The calls for these responses: by row, run and rubric.
    ///
    /// # Errors
    /// Those of [`join`].
    pub fn calls(&self, records: &[BenchRecord], responses: &[Response]) -> Result<Vec<ChatRequest>> {
        self.calls_of(&join(records, responses)?)
    }

    /// What judging these responses will take.
    ///
    /// # Errors
    /// Those of [`join`].
    pub fn estimate(&self, records: &[BenchRecord], responses: &[Response]) -> Result<Estimate> {
        Ok(self.asker.estimate(&self.calls(records, responses)?, |generation| self.options.reader.read(&generation.text)))
    }

    /// The calls that the journal has no readable answer to: what goes into a batch file.
    ///
    /// # Errors
    /// Those of [`join`].
    pub fn unasked(&self, records: &[BenchRecord], responses: &[Response]) -> Result<Vec<ChatRequest>> {
        Ok(self.asker.unasked(&self.calls(records, responses)?, |generation| self.options.reader.read(&generation.text)))
    }

    /// Judges every response in every run. A call that comes to nothing is a missing score with its reason, not an error.
    ///
    /// # Errors
    /// Those of [`join`].
    pub fn judge_runs(&self, records: &[BenchRecord], responses: &[Response]) -> Result<RubricJudgement> {
        let joined = join(records, responses)?;
        let calls = self.calls_of(&joined)?;
        let replies = self.ask(&calls);
        let counts = Counts::of(&replies);
        let mut replies = replies.into_iter().map(reply);
        let mut rows = Vec::with_capacity(joined.rows.len());
        for row in &joined.rows {
            let mut runs = Vec::new();
            if row.response.is_some() {
                for _ in 0..self.options.runs {
                    runs.push(replies.by_ref().take(row.record.rubrics.len()).collect());
                }
            }
            rows.push(JudgedRow { id: row.id.clone(), source: row.record.source.clone(), runs });
        }
        let fallbacks = rows.iter().flat_map(|row: &JudgedRow| row.runs.iter().flatten()).filter(|reply| reply.fallback).count();
        let rubrics = records.iter().map(|record| record.rubrics.len()).collect();
        Ok(RubricJudgement { settings: self.settings(), rows, missing: joined.missing, counts, fallbacks, rubrics })
    }

    fn calls_of(&self, joined: &Joined<'_>) -> Result<Vec<ChatRequest>> {
        let mut calls = Vec::new();
        for row in &joined.rows {
            let Some(response) = row.response else { continue };
            for run in 0..self.options.runs {
                for rubric in 0..row.record.rubrics.len() {
                    calls.push(self.call(&row.id, row.record, response, rubric, run)?);
                }
            }
        }
        Ok(calls)
    }

    fn call(&self, id: &str, record: &BenchRecord, response: &str, rubric: usize, run: usize) -> Result<ChatRequest> {
        let joined;
        let instruction = if self.options.show_system && !record.system.is_empty() {
            joined = format!("{}\n{}", record.system, record.prompt);
            &joined
        } else {
            &record.prompt
        };
        let score_rubric = rubric_json(&record.rubrics[rubric]);
        let mut messages = self.options.prompt.fill(&[
            ("instruction", instruction),
            ("response", response),
            (REFERENCE, &record.reference_answer),
            ("score_rubric", &score_rubric),
        ])?;
        // As the released evaluation does with its filled template.
        messages.iter_mut().for_each(|message| message.content = message.content.trim().into());
        let mut sampling = self.options.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(run as u64);
        Ok(ChatRequest::new(format!("{id}/rubric-{rubric}/run-{run}"), messages).with_sampling(sampling))
    }

    fn ask(&self, calls: &[ChatRequest]) -> Vec<Reply<(Score, bool)>> {
        self.asker.ask(calls, ATTEMPTS, |generation| self.options.reader.read(&generation.text))
    }
}

fn reply(reply: Reply<(Score, bool)>) -> RubricReply {
    RubricReply {
        score: reply.value.map(|(score, _)| score),
        feedback: reply.text.as_deref().map_or("", feedback).into(),
        fallback: reply.value.is_some_and(|(_, fallback)| fallback),
        unreadable: reply.unreadable,
        problem: reply.problem,
    }
}

impl Judge for RubricJudge<'_> {
    fn name(&self) -> &str {
        self.asker.name()
    }

    /// One run. A response with a rubric that got no score has no verdict; [`RubricJudge::judge_runs`] keeps the rest of its scores.
    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        let mut calls = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let id = record_id(request.record, index);
            let made = (0..request.record.rubrics.len()).map(|rubric| self.call(&id, request.record, request.response, rubric, 0));
            calls.push(made.collect::<Result<Vec<_>>>());
        }
        let all: Vec<ChatRequest> = calls.iter().flatten().flatten().cloned().collect();
        let mut replies = self.ask(&all).into_iter().map(reply);
        let verdict = |(index, made): (usize, Result<Vec<ChatRequest>>)| {
            let id = record_id(requests[index].record, index);
            let made = made.map_err(|error| ModelError::Failed { id: id.clone(), source: Box::new(error) })?;
            let replies: Vec<RubricReply> = replies.by_ref().take(made.len()).collect();
            let verdict = |reply: RubricReply| {
                let reason = reply.problem.unwrap_or_else(|| "the judge gave no score".into());
                let score = reply.score.ok_or(ModelError::Request { id: id.clone(), reason })?;
                Ok(RubricVerdict { score, feedback: reply.feedback })
            };
            Ok(Verdict { rubrics: replies.into_iter().map(verdict).collect::<Result<_, _>>()? })
        };
        calls.into_iter().enumerate().map(verdict).collect()
    }
}

/// A rubric as the judge sees it: JSON, indented by four, what is not ASCII escaped, as Python's `json.dumps(indent=4)` prints it.
pub fn rubric_json(rubric: &Rubric) -> String {
    let value = serde_json::json!({ "criteria": rubric.criteria, "score_descriptions": rubric.score_descriptions });
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, serde_json::ser::PrettyFormatter::with_indent(b"    "));
    // Texts in a vector of bytes: nothing here can fail.
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
    fn a_rubric_is_printed_as_python_prints_it() {
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

    #[test]
    fn the_published_reader_has_no_scores_outside_one_to_five() {
        assert_eq!(ScoreReader::Published.read("Score 4 would need more. [RESULT] 3").map(|(score, _)| score.get()), Ok(4));
        assert!(ScoreReader::Published.read("[RESULT] 10").unwrap_err().contains("outside"));
        assert!(ScoreReader::Strict.read("[RESULT] 10").is_err());
        assert_eq!(ScoreReader::Strict.read("a Score 4 would need more").map(|(_, fallback)| fallback), Ok(true));
    }
}
