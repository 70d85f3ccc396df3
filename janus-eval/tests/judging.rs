//! From responses to scored rows, with judges that compute their verdicts.

use janus_core::{
    BenchRecord, Judge, JudgeRequest, ModelError, Rubric, RubricVerdict, Score, ScoreDescriptions, Verdict,
};
use janus_eval::Response;
use janus_eval::judge::VerifiableJudge;
use janus_eval::score::{Failure, score_responses, summarise};

fn record(id: &str, source: &str, rubrics: usize) -> BenchRecord {
    let rubric = Rubric {
        criteria: "?".into(),
        score_descriptions: ScoreDescriptions::new(["1", "2", "3", "4", "5"]),
    };
    BenchRecord {
        id: Some(id.into()),
        source: source.into(),
        preference_set: None,
        system: "s".into(),
        prompt: "p".into(),
        reference_answer: String::new(),
        rubrics: vec![rubric; rubrics],
    }
}

fn response(id: &str, text: &str) -> Response {
    Response { id: id.into(), response: text.into() }
}

/// A judge that reads the digits of a response as its scores. Any other character is an error.
fn digits() -> impl Judge {
    VerifiableJudge::new("digits", |_: &BenchRecord, response: &str| {
        let verdict = |c: char| {
            let score = Score::new(c.to_digit(10).map_or(-1, i64::from))?;
            Ok::<_, janus_core::Error>(RubricVerdict { score, feedback: format!("it says {c}") })
        };
        response.chars().map(verdict).collect::<Result<Vec<_>, _>>()
    })
}

#[test]
fn responses_become_rows_in_the_order_of_the_bench() {
    let bench = [record("a", "flask", 4), record("b", "koala", 4), record("c", "koala", 4)];
    let scored = score_responses(&bench, &[response("c", "5544"), response("a", "1234")], &digits()).unwrap();
    let scores: Vec<_> =
        scored.rows.iter().map(|row| (row.id.as_str(), row.source.as_str(), row.scores.clone())).collect();
    let some = |scores: [u8; 4]| scores.map(Some).to_vec();
    assert_eq!(
        scores,
        [
            ("a", "flask", some([1, 2, 3, 4])),
            ("b", "koala", vec![None; 4]),
            ("c", "koala", some([5, 5, 4, 4]))
        ]
    );
    assert_eq!((scored.missing.count, scored.missing.named.as_slice()), (1, ["b".to_owned()].as_slice()));
    assert_eq!(scored.verdicts[2].as_ref().unwrap().rubrics[3].feedback, "it says 4");
    let summary = summarise(&[&scored.rows]).unwrap();
    assert_eq!((summary.overall.mean, summary.overall.n, summary.overall.missing), (3.5, 2, 1));
}

#[test]
fn a_response_that_cannot_be_judged_is_a_failure_with_its_reason() {
    let bench = [record("a", "flask", 2), record("b", "flask", 2), record("c", "flask", 2)];
    let scored =
        score_responses(&bench, &[response("a", "1x"), response("b", "123"), response("c", "33")], &digits())
            .unwrap();
    let reasons: Vec<_> =
        scored.failures.iter().map(|Failure { id, reason }| format!("{id}: {reason}")).collect();
    assert_eq!(
        reasons,
        [
            "a: request a: the model failed: score -1 is outside 1..=5",
            "b: request b: judge digits graded 3 rubrics, the record has 2"
        ]
    );
    assert_eq!(scored.rows[0].scores, [None, None]);
    assert_eq!(scored.rows[2].scores, [Some(3), Some(3)]);
}

/// A judge that breaks the contract of [`Judge`]: it returns too few verdicts, and too few scores in
/// them.
struct Careless;

impl Judge for Careless {
    fn name(&self) -> &str {
        "careless"
    }

    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        requests.iter().skip(1).map(|_| Ok(Verdict { rubrics: vec![] })).collect()
    }
}

#[test]
fn a_judge_with_too_few_answers_or_scores_is_detected() {
    let bench = [record("a", "flask", 1), record("b", "flask", 1)];
    let scored = score_responses(&bench, &[response("a", "1"), response("b", "1")], &Careless).unwrap();
    assert_eq!(scored.failures.len(), 2);
    assert_eq!(scored.failures[0].reason, "the judge gave 0 scores, the record has 1 rubrics");
    assert_eq!(scored.failures[1].reason, "the judge gave no answer");
}
