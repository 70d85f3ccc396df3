//! Tests judges that are language models, with a scripted model.

use std::cell::RefCell;
use std::path::Path;

use janus_core::{
    BenchRecord, ChatModel, ChatRequest, Generation, Judge, JudgeRequest, ModelError, Role, Rubric,
    ScoreDescriptions, TokenLogprob, TopLogprob,
};
use janus_data::CallJournal;
use janus_eval::bench::{alpaca_eval, arena_hard, mt_bench};
use janus_eval::judge::read::ScoreReader;
use janus_eval::judge::{JudgeClient, PromptTemplate, Recorded, ReplayJudge};
use janus_eval::protocol::{
    AlpacaEval, ArenaHard, Case, JudgedCase, Judgement, MtBench, PairOutcome, Pairwise, Protocol,
    RubricJudge, Rubrics, Turn, rubric_cases,
};
use janus_eval::run::CaseRun;
use janus_eval::score::summarise;
use janus_eval::{Error, Response};
use serde_json::{Value, json};

/// Judges by a protocol, without a journal.
fn judged<P: Protocol>(model: &dyn ChatModel, protocol: &P, cases: &[P::Case]) -> Judgement<P::Row> {
    JudgeClient::new(model).judge(protocol, cases, &mut |_, _| ()).unwrap()
}

/// The rows of a file.
fn rows(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A model whose answer is a function of the request. It fails if the function returns `None`.
struct Scripted<F> {
    answer: F,
    sent: RefCell<Vec<ChatRequest>>,
}

impl<F: Fn(&ChatRequest) -> Option<String>> Scripted<F> {
    fn new(answer: F) -> Self {
        Self { answer, sent: RefCell::default() }
    }
}

impl<F: Fn(&ChatRequest) -> Option<String>> ChatModel for Scripted<F> {
    fn name(&self) -> &str {
        "scripted"
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        for (index, request) in requests.iter().enumerate().rev() {
            self.sent.borrow_mut().push(request.clone());
            let generation = |text: String| {
                // "m=0.2 M=0.7" also sets the log-probabilities; "_" is a space of a token.
                let likely = text.split(' ').filter_map(|part| part.split_once('='));
                let top: Vec<_> = likely
                    .filter_map(|(token, p)| {
                        Some(TopLogprob::new(token.replace('_', " "), p.parse::<f64>().ok()?.ln()))
                    })
                    .collect();
                let logprobs = vec![TokenLogprob::new(0.0).with_top(top)];
                vec![Generation::new(text).with_tokens(1, 1).with_logprobs(logprobs)]
            };
            let silent = || ModelError::Request { id: request.id.clone(), reason: "silent".into() };
            on_answer(index, (self.answer)(request).map(generation).ok_or_else(silent));
        }
    }
}

fn record(id: &str, rubrics: usize) -> BenchRecord {
    let rubric = |number| Rubric {
        criteria: format!("criterion {number}"),
        score_descriptions: ScoreDescriptions::new(["1", "2", "3", "4", "5"]),
    };
    BenchRecord {
        id: Some(id.into()),
        source: "koala".into(),
        preference_set: None,
        system: format!("system of {id}"),
        prompt: format!("prompt of {id}"),
        reference_answer: format!("reference of {id}"),
        rubrics: (0..rubrics).map(rubric).collect(),
    }
}

fn response(id: &str, text: &str) -> Response {
    Response { id: id.into(), response: text.into() }
}

fn user(request: &ChatRequest) -> &str {
    &request.messages.last().unwrap().content
}

fn rubrics(show_reference: bool, change: impl FnOnce(&mut Rubrics)) -> Rubrics {
    Rubrics::paper(show_reference).with(change)
}

#[test]
fn a_rubric_judge_has_a_call_per_rubric_and_run_and_sees_only_what_is_enabled() {
    let bench = [record("a", 2), record("b", 2), record("c", 2)];
    let responses = [response("a", "to a, {reference_answer}"), response("c", "to c")];
    for (show_reference, show_system) in [(true, false), (false, true)] {
        let model = Scripted::new(|request: &ChatRequest| {
            let score = if user(request).contains("criterion 0") { 4 } else { 2 };
            Some(format!("Feedback: seen. [RESULT] {score}"))
        });
        let protocol =
            rubrics(show_reference, |options| (options.show_system, options.runs) = (show_system, 2));
        let cases = rubric_cases(&bench, &responses).unwrap();
        assert_eq!(JudgeClient::new(&model).estimate(&protocol, &cases).unwrap().calls, 8);
        assert!(model.sent.borrow().is_empty(), "an estimate makes no call");
        let judgement = judged(&model, &protocol, &cases);
        let settings = &judgement.settings;
        assert_eq!((settings.reference_shown, settings.system_shown), (show_reference, show_system));
        assert_eq!((judgement.counts.calls, judgement.counts.parsed), (8, 8));
        let summary = summarise(&judgement.scores(&protocol, &cases)).unwrap();
        assert_eq!((summary.overall.mean, summary.overall.n, summary.overall.missing), (3.0, 2, 1));
        for request in model.sent.borrow().iter() {
            let text = user(request);
            assert_eq!(text.contains("reference of"), show_reference, "{text}");
            assert_eq!(text.contains("system of"), show_system, "{text}");
            assert_eq!(text, text.trim());
            assert!(
                !request.id.starts_with("a/") || text.contains("to a, {reference_answer}"),
                "a response is text, not a slot"
            );
        }
        let seeds: std::collections::HashSet<u64> =
            model.sent.borrow().iter().map(|request| request.sampling.seed).collect();
        assert_eq!(seeds.len(), 2, "each run has its own seed");
    }
}

#[test]
fn a_missing_score_is_missing_and_requested_again_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let bench = [record("a", 3)];
    let protocol = rubrics(true, |options| options.runs = 1);
    let cases = rubric_cases(&bench, &[response("a", "x")]).unwrap();
    {
        // One rubric has a score, one has only unreadable answers, one has no answer.
        let model = Scripted::new(|request: &ChatRequest| match user(request) {
            text if text.contains("criterion 0") => Some("Score 5 is not met. [RESULT] 3".into()),
            text if text.contains("criterion 1") => Some("[RESULT] 4.5".into()),
            _ => None,
        });
        let journal = CallJournal::open(&path).unwrap();
        let judge = JudgeClient::new(&model).journal(&journal);
        let judgement = judge.judge(&protocol, &cases, &mut |_, _| ()).unwrap();
        assert_eq!(judgement.scores(&protocol, &cases)[0][0].scores, [Some(3), None, None]);
        let replies = &judgement.rows[0].runs[0];
        assert_eq!(
            (replies[1].unreadable, replies[1].problem.as_deref()),
            (6, Some("the score is not a whole number"))
        );
        assert_eq!(replies[2].problem.as_deref(), Some("request a/rubric-2/run-0: silent"));
        assert_eq!(model.sent.borrow().len(), 1 + 6 + 1);
        assert_eq!(judge.pending(&protocol, &cases).unwrap().len(), 2);
        let counts = judgement.counts;
        assert_eq!(
            (counts.calls, counts.answered, counts.parsed, counts.unreadable, counts.failed),
            (3, 7, 1, 6, 2)
        );
    }
    let model = Scripted::new(|_: &ChatRequest| Some("[RESULT] 5".into()));
    let journal = CallJournal::open(&path).unwrap();
    let client = JudgeClient::new(&model).journal(&journal);
    let judgement = client.judge(&protocol, &cases, &mut |_, _| ()).unwrap();
    assert_eq!(judgement.scores(&protocol, &cases)[0][0].scores, [Some(3), Some(5), Some(5)]);
    assert_eq!(model.sent.borrow().len(), 2);
    // As a `Judge` it gives the same scores, from the journal.
    let judge = RubricJudge::new(client, Rubrics::paper(true)).unwrap();
    let verdicts = judge.judge(&[JudgeRequest::new(&bench[0], "x"), JudgeRequest::new(&bench[0], "x")]);
    assert_eq!(
        verdicts.iter().map(|verdict| verdict.as_ref().unwrap().mean()).collect::<Vec<_>>(),
        [Some(13.0 / 3.0); 2]
    );
    assert_eq!(model.sent.borrow().len(), 2);
}

#[test]
fn a_prompt_without_the_response_is_an_error() {
    let protocol = rubrics(true, |rubrics| {
        rubrics.prompt = PromptTemplate::new("mine", "", "{instruction} {score_rubric}")
    });
    let model = Scripted::new(|_: &ChatRequest| None);
    for error in [
        protocol.check().unwrap_err(),
        JudgeClient::new(&model).judge(&protocol, &[], &mut |_, _| ()).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Prompt { problem, .. } if problem.contains("{response}")), "{error}");
    }
}

fn pair(id: &str, model: &str, opponent: &str) -> Case {
    Case::new(id, vec![Turn::new("q", model).against(opponent)])
}

fn pairwise() -> Pairwise {
    Pairwise::default()
}

#[test]
fn a_pairwise_judge_judges_both_orders_and_counts_a_disagreement_as_a_tie() {
    // Prefers the longer answer. With "first" it prefers the answer shown first, with "mute" it has no
    // verdict.
    let model = Scripted::new(|request: &ChatRequest| {
        let text = user(request);
        let answer = |side: &str| {
            text.split(&format!("[The Start of Assistant {side}'s Answer]\n"))
                .nth(1)
                .unwrap()
                .split('\n')
                .next()
                .unwrap()
                .to_string()
        };
        let (a, b) = (answer("A"), answer("B"));
        Some(match a.len().cmp(&b.len()) {
            _ if text.contains("mute") => "hard to say".into(),
            _ if text.contains("first") => "[[A]]".into(),
            std::cmp::Ordering::Greater => "A: [[A]]".into(),
            std::cmp::Ordering::Less => "B: [[B]]".into(),
            std::cmp::Ordering::Equal => "[[C]]".into(),
        })
    });
    let pairs = [
        pair("win", "long", "x"),
        pair("loss", "x", "long"),
        pair("tie", "x", "y"),
        pair("flip", "first", "first!"),
        pair("error", "mute", "x"),
    ];
    let judgement = judged(&model, &pairwise(), &pairs);
    let outcomes: Vec<_> = judgement.rows.iter().map(JudgedCase::outcome).collect();
    let some = |outcome| Some(outcome);
    assert_eq!(
        outcomes,
        [
            some(PairOutcome::Win),
            some(PairOutcome::Loss),
            some(PairOutcome::Tie),
            some(PairOutcome::Tie),
            None
        ]
    );
    assert_eq!((judgement.counts.calls, judgement.counts.failed), (10, 2));
    assert_eq!(judgement.rows[4].calls[0].problem.as_deref(), Some("the text has no [[A]], [[B]] or [[C]]"));
    let result = CaseRun::new(pairwise().info(), "mine", judgement, 0).unwrap().result;
    let tally = result.all.unwrap().outcomes.unwrap();
    assert_eq!([tally.win, tally.tie, tally.loss], [1, 2, 1]);
    assert_eq!((tally.win_rate_ties_half(), tally.tie_win_all()), (Some(0.5), Some(0.75)));
    assert_eq!(result.flip_rate, Some(0.25));
    // Calls won by the first: one each in "win" and "loss", two in "flip". By the second: one each in
    // "win" and "loss".
    assert_eq!(result.first_position_share, Some(4.0 / 6.0));
    let twice =
        JudgeClient::new(&model).judge(&pairwise(), &[pair("a", "", ""), pair("a", "", "")], &mut |_, _| ());
    assert!(matches!(twice, Err(Error::DoubledId { .. })));
    let alone = JudgeClient::new(&model).judge(
        &pairwise(),
        &[Case::new("a", vec![Turn::new("q", "x")])],
        &mut |_, _| (),
    );
    assert!(matches!(alone, Err(Error::Setting { .. })));
}

#[test]
fn a_pairwise_judge_is_symmetric_in_its_sides() {
    let model = Scripted::new(|request: &ChatRequest| {
        Some(if user(request).find("good") < user(request).find("bad") { "[[A]]" } else { "[[B]]" }.into())
    });
    let value = |case| judged(&model, &pairwise(), &[case]).rows.remove(0).values;
    assert_eq!((value(pair("a", "good", "bad")), value(pair("a", "bad", "good"))), (vec![1.0], vec![0.0]));
}

#[test]
fn a_grade_judge_selects_the_prompt_by_turn_and_references() {
    let model = Scripted::new(|request: &ChatRequest| {
        let reference = user(request).contains("Reference");
        (!user(request).contains("silent"))
            .then(|| format!("Rating: [[{}]]", if reference { "7.5" } else { "9" }))
    });
    let protocol = MtBench::default();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, row: Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{row}\n")).unwrap();
        path
    };
    let cases = |id: &str, category: &str, questions: &[&str], answers: &[&str]| {
        let questions =
            file("questions.jsonl", json!({ "question_id": id, "category": category, "turns": questions }));
        let answers = file("answers.jsonl", json!({ "question_id": id, "turns": answers }));
        let references = file("references.jsonl", json!({ "question_id": id, "turns": ["r1", "r2"] }));
        mt_bench::cases(&questions, &answers, None, &references)
    };
    let plain = cases("81", "writing", &["q1", "q2"], &["a1", "a2"]).unwrap();
    let math = cases("111", "math", &["q1", "q2"], &["a1", "a2"]).unwrap();
    let silent = cases("82", "writing", &["q1"], &["silent"]).unwrap();
    let judgement = judged(&model, &protocol, &[plain, math, silent].concat());
    let row = |row: &JudgedCase| {
        let prompt = row.calls[0].prompt.clone().unwrap();
        (row.case.question.clone(), row.case.turn.unwrap(), prompt, row.values.first().copied())
    };
    let rows: Vec<_> = judgement.rows.iter().map(row).collect();
    let expected = [
        ("81", 1, "janus-grade/1", Some(9.0)),
        ("81", 2, "janus-grade-turns/1", Some(9.0)),
        ("111", 1, "janus-grade-reference/1", Some(7.5)),
        ("111", 2, "janus-grade-turns-reference/1", Some(7.5)),
        ("82", 1, "janus-grade/1", None),
    ];
    assert_eq!(
        rows,
        expected.map(|(id, turn, prompt, score)| (id.to_string(), turn, prompt.to_string(), score))
    );
    assert_eq!(judgement.settings.prompts.len(), 4);
    let run = CaseRun::new(protocol.info(), "mine", judgement, 0).unwrap();
    assert_eq!(run.result.all.unwrap().mean, 8.25);
    let odd = cases("81", "writing", &["q1", "q2"], &["a1"]).unwrap_err().to_string();
    assert!(odd.contains("question 81: 2 turns, 1 answers"), "{odd}");
}

#[test]
fn an_arena_judge_has_two_games_and_retries_answers_without_a_label_once() {
    let model = Scripted::new(|request: &ChatRequest| {
        let text = &request.messages[1].content;
        Some(match request.messages.len() {
            2 if text.contains("much") => {
                if text.find("much") < text.find("base") { "[[A>>B]]" } else { "[[B>>A]]" }.into()
            }
            2 if text.contains("torn") => "[[A>B]] or [[B>A]]".into(),
            2 => "let me think".into(),
            4 => {
                assert_eq!(
                    (request.messages[2].role, request.messages[2].content.as_str()),
                    (Role::Assistant, "let me think")
                );
                if text.contains("late") { "[[A=B]]" } else { "still thinking" }.into()
            }
            other => panic!("{other} messages"),
        })
    });
    let protocol = ArenaHard::default();
    let battle = |id: &str, model: &str| pair(id, model, "base");
    let cases = [battle("1", "much"), battle("2", "torn"), battle("3", "late"), battle("4", "never")];
    let folder = tempfile::tempdir().unwrap();
    let journal = CallJournal::open(folder.path().join("calls.jsonl")).unwrap();
    let judge = JudgeClient::new(&model).journal(&journal);
    let judgement = judge.judge(&protocol, &cases, &mut |_, _| ()).unwrap();
    let battles = folder.path().join("battles.jsonl");
    arena_hard::write(&CaseRun::new(protocol.info(), "m", judgement.clone(), 0).unwrap(), &battles).unwrap();
    let outcomes: Vec<String> =
        rows(&battles).iter().map(|row| row["outcomes"].as_str().unwrap().into()).collect();
    assert_eq!(outcomes, ["bbbbbb", "", "tt", ""]);
    let call = |row: usize, game: usize| &judgement.rows[row].calls[game];
    assert_eq!((call(0, 0).verdict.as_deref(), call(0, 1).verdict.as_deref()), (Some("B>>A"), Some("A>>B")));
    assert_eq!(call(2, 0).text.as_deref(), Some("let me think\n[[A=B]]"));
    assert_eq!(call(1, 0).problem.as_deref(), Some("expected one known label, got A>B, B>A"));
    assert_eq!(call(3, 1).problem.as_deref(), Some("the text has no label"));
    let counts = judgement.counts;
    assert_eq!(
        (counts.calls, counts.answered, counts.parsed, counts.unreadable, counts.failed),
        (8, 8, 4, 4, 4)
    );
    // A game without a verdict after the retry is final.
    assert_eq!(model.sent.borrow().len(), 8 + 4);
    assert!(judge.pending(&protocol, &cases).unwrap().is_empty());
    assert_eq!(judge.judge(&protocol, &cases, &mut |_, _| ()).unwrap(), judgement);
    assert_eq!(model.sent.borrow().len(), 8 + 4);
}

#[test]
fn a_logprob_judge_reads_the_two_tokens_and_undoes_the_swap() {
    let model = Scripted::new(|request: &ChatRequest| {
        assert_eq!(
            (request.sampling.max_tokens, request.sampling.top_logprobs, request.sampling.logprobs),
            (1, 5, true)
        );
        let text = user(request);
        // The model's output is preferred three to one in both positions.
        let first = text.find("model's").unwrap() < text.find("baseline's").unwrap();
        Some(
            if text.contains("odd") {
                "x=0.5"
            } else if first {
                "m=0.6 M=0.2 _M=0.1"
            } else {
                "m=0.2 M=0.6"
            }
            .into(),
        )
    });
    let protocol =
        AlpacaEval::default().with(|alpaca| alpaca.swapped = |instruction| instruction == "switched");
    let case = |id: &str, instruction: &str, model: &str| {
        Case::new(id, vec![Turn::new(instruction, model).against("baseline's")])
    };
    let cases = [
        case("0", "straight", "model's"),
        case("1", "switched", "model's"),
        case("2", "same", "baseline's"),
        case("3", "odd", "model's"),
    ];
    let judgement = judged(&model, &protocol, &cases);
    let values: Vec<_> = judgement.rows.iter().map(|row| row.values.first().copied()).collect();
    assert!(
        (values[0].unwrap() - 0.75).abs() < 1e-12 && (values[1].unwrap() - 0.75).abs() < 1e-12,
        "{values:?}"
    );
    assert_eq!(values[2..], [Some(0.5), None]);
    assert_eq!((judgement.counts.calls, judgement.counts.parsed, judgement.counts.failed), (3, 2, 1));
    assert_eq!(
        judgement.rows[3].calls[0].problem.as_deref(),
        Some("neither m nor M is among the likeliest tokens")
    );
}

/// Regression: the judge read " m", but the written annotations were read by "m" only, so that no row
/// had a preference.
#[test]
fn the_annotations_of_a_sentencepiece_judge_have_its_preferences() {
    let model = Scripted::new(|_: &ChatRequest| Some("_m=0.6 _M=0.2 M=0.01".into()));
    let protocol = AlpacaEval::default().with(|alpaca| alpaca.swapped = |_| false);
    let case = Case::new("0", vec![Turn::new("i", "model's").against("baseline's")]);
    let run = CaseRun::new(protocol.info(), "m", judged(&model, &protocol, &[case]), 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    alpaca_eval::write(&run, folder.path().join("annotations.jsonl")).unwrap();
    let row = rows(&folder.path().join("annotations.jsonl")).remove(0);
    let is = |value: &Value, must: f64| (value.as_f64().unwrap() - must).abs() < 1e-12;
    assert!(is(&row["preference"], 2.0 - 0.6 / 0.8), "{row}");
    // Readers of annotations use the labels without a space, so these must have the probabilities.
    let likely = &row["top_logprobs"];
    assert!(is(&likely["m"], 0.6_f64.ln()) && is(&likely["M"], 0.2_f64.ln()), "{likely}");
}

#[test]
fn a_replay_judge_reads_recordings_by_either_rule() {
    let recorded = || {
        vec![Recorded {
            id: "a".into(),
            judgments: vec!["Score 4 would need more. [RESULT] 3".into(), "[RESULT] 5".into()],
        }]
    };
    let (bench, responses) = ([record("a", 2), record("b", 1)], [response("a", "x"), response("b", "y")]);
    for (reader, scores) in
        [(ScoreReader::Strict, [Some(3), Some(5)]), (ScoreReader::Published, [Some(4), Some(5)])]
    {
        let judge = ReplayJudge::new("gpt-4", reader, recorded()).unwrap();
        let scored = janus_eval::score::score_responses(&bench, &responses, &judge).unwrap();
        assert_eq!(scored.rows[0].scores, scores);
        assert_eq!(scored.failures[0].reason, "request b: the recording has no texts for it");
    }
    assert!(ReplayJudge::new("gpt-4", ScoreReader::Strict, [recorded(), recorded()].concat()).is_err());
}

/// The layouts of the benchmarks' published prompts.
#[test]
fn prompts_in_the_published_layouts_are_parsed() {
    let text = json!({ "source": "x", "system": "Be fair.", "user_template": "{instruction}\n{response}\n{reference_answer}\n{score_rubric}" });
    let janus = PromptTemplate::parse(&text.to_string(), "janus").unwrap();
    let protocol = rubrics(true, |options| (options.prompt, options.runs) = (janus, 1));
    let case = rubric_cases(&[record("a", 1)], &[response("a", "x")]).unwrap().remove(0);
    let call = protocol.calls(&case).unwrap().remove(0).request;
    assert_eq!(call.messages[0].content, "Be fair.");
    assert!(
        user(&call).contains("\nx\n") && user(&call).contains("\n    \"criteria\": \"criterion 0\""),
        "{}",
        user(&call)
    );

    let text = json!({ "judge_model": "m", "system_prompt": "s", "prompt_template": "{question_1} {answer_1} {answer_2}" });
    let arena = PromptTemplate::parse(&text.to_string(), "arena").unwrap();
    ArenaHard::default().with(|protocol| protocol.prompt = arena).check().unwrap();

    let mut alpaca = AlpacaEval::default();
    let text = "<|im_start|>system\nPick one.\n<|im_end|>\n<|im_start|>user\n{ \"i\": \"\"\"{instruction}\"\"\", \"m\": \"\"\"{output_1}\"\"\", \
                \"M\": \"\"\"{output_2}\"\"\" }\n<|im_end|>\n";
    alpaca.prompt = PromptTemplate::parse(text, "alpaca").unwrap();
    alpaca.swapped = |_| false;
    let case = Case::new("0", vec![Turn::new("{output_2}", "c").against("b")]);
    let messages = alpaca.calls(&case).unwrap().remove(0).request.messages;
    assert_eq!(messages[0].content, "Pick one.");
    let text = &messages[1].content;
    assert!(
        text.contains("\"i\": \"\"\"{output_2}\"\"\"") && text.contains("\"M\": \"\"\"c\"\"\""),
        "{text}"
    );

    let pair = |name: &str, template: &str| {
        format!(
            "{}\n",
            json!({ "name": name, "type": "pairwise", "system_prompt": "s", "prompt_template": template })
        )
    };
    let lines = [
        pair("pair-v2", "{question} {answer_a} {answer_b}"),
        pair(
            "pair-v2-multi-turn",
            "{question_1} {answer_a_1} {answer_b_1} {question_2} {answer_a_2} {answer_b_2}",
        ),
        pair("pair-math-v1", "{question} {ref_answer_1} {answer_a} {answer_b}"),
        pair(
            "pair-math-v1-multi-turn",
            "{question_1} {ref_answer_1} {question_2} {ref_answer_2} {answer_a_1} {answer_b_1} {answer_a_2} {answer_b_2}",
        ),
    ];
    let pairs = lines.concat().parse().unwrap();
    Pairwise::mt_bench().with(|protocol| protocol.prompts = pairs).check().unwrap();
    let missing = lines[..3].concat().parse::<janus_eval::protocol::PairPrompts>();
    assert!(missing.unwrap_err().to_string().contains("pair-math-v1-multi-turn"));
}
