//! A judge that computes its verdicts.

use std::error::Error as StdError;

use janus_core::{BenchRecord, Judge, JudgeRequest, ModelError, RubricVerdict, Verdict};

/// A judge that computes its verdicts with a function, one verdict for each rubric of a record.
///
/// The function must be deterministic, so that a verdict needs no second run and no retry. It gets the
/// record and the response, and returns an error for records that it cannot check.
///
/// ```
/// use janus_core::{BenchRecord, Judge, JudgeRequest, Rubric, RubricVerdict, Score, ScoreDescriptions};
/// use janus_eval::judge::VerifiableJudge;
///
/// // Every rubric asks for a short answer.
/// let short = VerifiableJudge::new("short", |record: &BenchRecord, response: &str| {
///     let words = response.split_whitespace().count() as i64;
///     let score = Score::new((6 - words).clamp(1, 5))?;
///     let verdict = RubricVerdict { score, feedback: format!("{words} words") };
///     Ok::<_, janus_core::Error>(vec![verdict; record.rubrics.len()])
/// });
/// let record = BenchRecord {
///     id: None,
///     source: "demo".into(),
///     preference_set: None,
///     system: "Be short.".into(),
///     prompt: "What is a kite?".into(),
///     reference_answer: "A toy.".into(),
///     rubrics: vec![Rubric { criteria: "Is it short?".into(), score_descriptions: ScoreDescriptions::new(["no", "", "", "", "yes"]) }],
/// };
/// let verdicts = short.judge(&[JudgeRequest::new(&record, "A toy on a string.")]);
/// assert_eq!(verdicts[0].as_ref().unwrap().rubrics[0].feedback, "5 words");
/// ```
#[derive(Debug, Clone)]
pub struct VerifiableJudge<F> {
    name: String,
    grade: F,
}

impl<F, E> VerifiableJudge<F>
where
    F: Fn(&BenchRecord, &str) -> Result<Vec<RubricVerdict>, E>,
    E: StdError + Send + Sync + 'static,
{
    /// A judge that calls `grade`; `name` is its name in results.
    pub fn new(name: impl Into<String>, grade: F) -> Self {
        Self { name: name.into(), grade }
    }

    fn verdict(&self, request: &JudgeRequest<'_>) -> Result<Verdict, ModelError> {
        let id = || request.record.id.clone().unwrap_or_else(|| "without id".into());
        let rubrics = (self.grade)(request.record, request.response)
            .map_err(|source| ModelError::Failed { id: id(), source: Box::new(source) })?;
        let (got, expected) = (rubrics.len(), request.record.rubrics.len());
        if got != expected {
            let reason = format!("judge {} graded {got} rubrics, the record has {expected}", self.name);
            return Err(ModelError::Request { id: id(), reason });
        }
        Ok(Verdict { rubrics })
    }
}

/// The rule-based grader of Multifaceted Mini.
type MiniGrade = fn(&BenchRecord, &str) -> janus_data::Result<Vec<RubricVerdict>>;

impl VerifiableJudge<MiniGrade> {
    /// The judge of Multifaceted Mini's records ([`janus_data::mini::grade`]).
    ///
    /// ```
    /// use janus_core::{Judge, JudgeRequest};
    /// use janus_data::mini::{Mini, Split};
    /// use janus_eval::judge::VerifiableJudge;
    ///
    /// let record = &Mini::new(0).eval(Split::Dev, 1)[0];
    /// let verdicts = VerifiableJudge::mini().judge(&[JudgeRequest::new(record, &record.reference_answer)]);
    /// assert_eq!(verdicts[0].as_ref().unwrap().mean(), Some(5.0));
    /// ```
    pub fn mini() -> Self {
        let grade: MiniGrade = |record, response| {
            let grades = janus_data::mini::grade(record, response)?;
            Ok(grades
                .into_iter()
                .map(|grade| RubricVerdict { score: grade.score, feedback: grade.why })
                .collect())
        };
        Self::new("mini", grade)
    }
}

impl<F, E> Judge for VerifiableJudge<F>
where
    F: Fn(&BenchRecord, &str) -> Result<Vec<RubricVerdict>, E>,
    E: StdError + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        requests.iter().map(|request| self.verdict(request)).collect()
    }
}
