//! Judges that are language models, over a model that is told what to say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::HashMap;

use janus_core::{
    BenchRecord, ChatModel, ChatRequest, Generation, Judge, JudgeRequest, Message, ModelError, Role, Rubric, ScoreDescriptions,
    TokenLogprob, TopLogprob,
};
use janus_data::CallJournal;
use janus_eval::judge::{
    ArenaBattle, ArenaJudge, ArenaLabel, ArenaOptions, Asker, Conversation, GradeJudge, GradeOptions, LogprobJudge, LogprobOptions,
    LogprobTask, Pair, PairOutcome, PairTurn, PairwiseJudge, PairwiseOptions, PromptTemplate, Recorded, ReplayJudge, RubricJudge,
    RubricOptions, ScoreReader,
};
use janus_eval::{Error, Response, summarise};

/// Says what a function of the request says; nothing where that is none.
struct Told<F> {
    say: F,
    asked: RefCell<Vec<ChatRequest>>,
}

impl<F: Fn(&ChatRequest) -> Option<String>> Told<F> {
    fn new(say: F) -> Self {
        Self { say, asked: RefCell::default() }
    }
}

impl<F: Fn(&ChatRequest) -> Option<String>> ChatModel for Told<F> {
    fn name(&self) -> &str {
        "told"
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        for (index, request) in requests.iter().enumerate().rev() {
            self.asked.borrow_mut().push(request.clone());
            let generation = |text: String| {
                // "m=0.2 M=0.7" tells log-probabilities too; a blank of a token is written "_".
                let likely = text.split(' ').filter_map(|part| part.split_once('='));
                let top: Vec<_> =
                    likely.filter_map(|(token, p)| Some(TopLogprob::new(token.replace('_', " "), p.parse::<f64>().ok()?.ln()))).collect();
                let logprobs = vec![TokenLogprob::new(0.0).with_top(top)];
                vec![Generation::new(text).with_tokens(1, 1).with_logprobs(logprobs)]
            };
            let silent = || ModelError::Request { id: request.id.clone(), reason: "silent".into() };
            on_answer(index, (self.say)(request).map(generation).ok_or_else(silent));
        }
    }
}

fn record(id: &str, rubrics: usize) -> BenchRecord {
    let rubric =
        |number| Rubric { criteria: format!("criterion {number}"), score_descriptions: ScoreDescriptions::new(["1", "2", "3", "4", "5"]) };
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

#[test]
fn a_rubric_judge_asks_for_each_rubric_and_run_and_sees_what_it_may() {
    let bench = [record("a", 2), record("b", 2), record("c", 2)];
    let responses = [response("a", "to a, {reference_answer}"), response("c", "to c")];
    for (show_reference, show_system) in [(true, false), (false, true)] {
        let model = Told::new(|request: &ChatRequest| {
            let score = if user(request).contains("criterion 0") { 4 } else { 2 };
            Some(format!("Feedback: seen. [RESULT] {score}"))
        });
        let options = RubricOptions { show_system, runs: 2, ..RubricOptions::paper(show_reference).unwrap() };
        let judge = RubricJudge::new(Asker::new(&model), options).unwrap();
        assert_eq!(judge.estimate(&bench, &responses).unwrap().calls, 8);
        assert!(model.asked.borrow().is_empty(), "an estimate asks nothing");
        let judgement = judge.judge_runs(&bench, &responses).unwrap();
        let settings = &judgement.settings;
        assert_eq!((settings.reference_shown, settings.system_shown, settings.runs), (show_reference, show_system, 2));
        assert_eq!((judgement.counts.calls, judgement.counts.parsed, judgement.missing.count), (8, 8, 1));
        let summary = summarise(&judgement.runs()).unwrap();
        assert_eq!((summary.overall.mean, summary.overall.n, summary.overall.missing), (3.0, 2, 1));
        for request in model.asked.borrow().iter() {
            let text = user(request);
            assert_eq!(text.contains("reference of"), show_reference, "{text}");
            assert_eq!(text.contains("system of"), show_system, "{text}");
            assert_eq!(text, text.trim());
            assert!(!request.id.starts_with("a/") || text.contains("to a, {reference_answer}"), "a response is text, not a slot");
        }
        let seeds: std::collections::HashSet<u64> = model.asked.borrow().iter().map(|request| request.sampling.seed).collect();
        assert_eq!(seeds.len(), 2, "each run has a seed of its own");
    }
}

#[test]
fn a_missing_score_is_missing_and_asked_for_again_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let (bench, responses) = ([record("a", 3)], [response("a", "x")]);
    let options = || RubricOptions { runs: 1, ..RubricOptions::paper(true).unwrap() };
    {
        // One rubric is read, one never, one not answered.
        let model = Told::new(|request: &ChatRequest| match user(request) {
            text if text.contains("criterion 0") => Some("Score 5 is not met. [RESULT] 3".into()),
            text if text.contains("criterion 1") => Some("[RESULT] 4.5".into()),
            _ => None,
        });
        let journal = CallJournal::open(&path).unwrap();
        let judge = RubricJudge::new(Asker::new(&model).journal(&journal), options()).unwrap();
        let judgement = judge.judge_runs(&bench, &responses).unwrap();
        assert_eq!(judgement.runs()[0][0].scores, [Some(3), None, None]);
        let replies = &judgement.rows[0].runs[0];
        assert_eq!((replies[1].unreadable, replies[1].problem.as_deref()), (6, Some("the number is no whole score")));
        assert_eq!(replies[2].problem.as_deref(), Some("request a/rubric-2/run-0: silent"));
        assert_eq!(model.asked.borrow().len(), 1 + 6 + 1);
        assert_eq!(judge.unasked(&bench, &responses).unwrap().len(), 2);
        let counts = judgement.counts;
        assert_eq!((counts.calls, counts.answered, counts.parsed, counts.unreadable, counts.failed), (3, 7, 1, 6, 2));
    }
    let model = Told::new(|_: &ChatRequest| Some("[RESULT] 5".into()));
    let journal = CallJournal::open(&path).unwrap();
    let judge = RubricJudge::new(Asker::new(&model).journal(&journal), options()).unwrap();
    let judgement = judge.judge_runs(&bench, &responses).unwrap();
    assert_eq!(judgement.runs()[0][0].scores, [Some(3), Some(5), Some(5)]);
    assert_eq!(model.asked.borrow().len(), 2);
    // As a plain judge it gives the same, from the journal.
    let verdicts = judge.judge(&[JudgeRequest { record: &bench[0], response: "x" }]);
    assert_eq!(verdicts[0].as_ref().unwrap().mean(), Some(13.0 / 3.0));
    assert_eq!(model.asked.borrow().len(), 2);
}

#[test]
fn a_prompt_without_the_response_is_refused() {
    let model = Told::new(|_: &ChatRequest| None);
    let prompt = PromptTemplate::new("mine", "", "{instruction} {score_rubric}");
    let options = RubricOptions { prompt, ..RubricOptions::paper(true).unwrap() };
    let error = RubricJudge::new(Asker::new(&model), options).unwrap_err();
    assert!(matches!(&error, Error::Prompt { problem, .. } if problem.contains("{response}")), "{error}");
}

fn pair<'t>(id: &str, model: &'t str, opponent: &'t str) -> Pair<'t> {
    Pair { id: id.into(), turns: vec![PairTurn { question: "q", model, opponent, reference: None }] }
}

#[test]
fn a_pairwise_judge_asks_in_both_orders_and_calls_a_disagreement_a_tie() {
    // Prefers longer answers; "first" makes it prefer what it sees first; "mute" has no verdict.
    let model = Told::new(|request: &ChatRequest| {
        let text = user(request);
        let answer = |side: &str| {
            text.split(&format!("[The Start of Assistant {side}'s Answer]\n")).nth(1).unwrap().split('\n').next().unwrap().to_string()
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
    let judge = PairwiseJudge::new(Asker::new(&model), PairwiseOptions::mt_bench().unwrap()).unwrap();
    let pairs = [
        pair("win", "long", "x"),
        pair("loss", "x", "long"),
        pair("tie", "x", "y"),
        pair("flip", "first", "first!"),
        pair("error", "mute", "x"),
    ];
    let judgement = judge.judge(&pairs).unwrap();
    let outcomes: Vec<_> = judgement.rows.iter().map(|row| row.outcome).collect();
    let some = |outcome| Some(outcome);
    assert_eq!(outcomes, [some(PairOutcome::Win), some(PairOutcome::Loss), some(PairOutcome::Tie), some(PairOutcome::Tie), None]);
    assert_eq!((judgement.tally(), judgement.n()), ([1, 2, 1], 4));
    assert_eq!((judgement.half_tie_win().unwrap(), judgement.tie_win_all().unwrap()), (0.5, 0.75));
    assert_eq!(judgement.flip_rate(), Some(0.25));
    // First wins: one each of win and loss, two of flip; second wins: one each of win and loss.
    assert_eq!(judgement.first_position_share(), Some(4.0 / 6.0));
    assert_eq!((judgement.counts.calls, judgement.counts.failed), (10, 2));
    assert_eq!(judgement.rows[4].problem.as_deref(), Some("the text has no [[A]], [[B]] or [[C]]"));
    assert!(matches!(judge.judge(&[pair("a", "", ""), pair("a", "", "")]), Err(Error::DoubledId { .. })));
}

#[test]
fn the_sides_of_a_pairwise_judge_mirror() {
    let model = Told::new(|request: &ChatRequest| {
        Some(if user(request).find("good") < user(request).find("bad") { "[[A]]" } else { "[[B]]" }.into())
    });
    let judge = PairwiseJudge::new(Asker::new(&model), PairwiseOptions::mt_bench().unwrap()).unwrap();
    let win = judge.judge(&[pair("a", "good", "bad")]).unwrap().half_tie_win().unwrap();
    let loss = judge.judge(&[pair("a", "bad", "good")]).unwrap().half_tie_win().unwrap();
    assert_eq!((win, loss), (1.0, 0.0));
}

#[test]
fn a_grade_judge_takes_the_prompt_of_the_turn_and_of_the_references() {
    let model = Told::new(|request: &ChatRequest| {
        let reference = user(request).contains("Reference");
        (!user(request).contains("silent")).then(|| format!("Rating: [[{}]]", if reference { "7.5" } else { "9" }))
    });
    let judge = GradeJudge::new(Asker::new(&model), GradeOptions::mt_bench().unwrap()).unwrap();
    let plain = Conversation { id: "81".into(), questions: vec!["q1", "q2"], answers: vec!["a1", "a2"], references: None };
    let math = Conversation { id: "111".into(), references: Some(vec!["r1", "r2"]), ..plain.clone() };
    let silent = Conversation { id: "82".into(), questions: vec!["q1"], answers: vec!["silent"], references: None };
    let judgement = judge.judge(&[plain.clone(), math, silent]).unwrap();
    let rows: Vec<_> = judgement.rows.iter().map(|row| (row.question_id.as_str(), row.turn, row.judge[1].as_str(), row.score)).collect();
    assert_eq!(
        rows,
        [
            ("81", 1, "janus-grade/1", Some(9.0)),
            ("81", 2, "janus-grade-turns/1", Some(9.0)),
            ("111", 1, "janus-grade-reference/1", Some(7.5)),
            ("111", 2, "janus-grade-turns-reference/1", Some(7.5)),
            ("82", 1, "janus-grade/1", None),
        ]
    );
    assert_eq!((judgement.mean().unwrap(), judgement.prompts.len()), (8.25, 4));
    let odd = Conversation { answers: vec!["a1"], ..plain };
    assert!(judge.judge(&[odd]).unwrap_err().to_string().contains("81: 2 questions, 1 answers, 0 references"));
}

#[test]
fn an_arena_judge_plays_two_games_and_asks_the_silent_once_more() {
    let model = Told::new(|request: &ChatRequest| {
        let text = &request.messages[1].content;
        Some(match request.messages.len() {
            2 if text.contains("much") => if text.find("much") < text.find("base") { "[[A>>B]]" } else { "[[B>>A]]" }.into(),
            2 if text.contains("torn") => "[[A>B]] or [[B>A]]".into(),
            2 => "let me think".into(),
            4 => {
                assert_eq!((request.messages[2].role, request.messages[2].content.as_str()), (Role::Assistant, "let me think"));
                if text.contains("late") { "[[A=B]]" } else { "still thinking" }.into()
            }
            other => panic!("{other} messages"),
        })
    });
    let judge = ArenaJudge::new(Asker::new(&model), ArenaOptions::v01().unwrap()).unwrap();
    let battle = |id: &str, model: &'static str| ArenaBattle { id: id.into(), question: "q", baseline: "base", model };
    let judgement = judge.judge(&[battle("1", "much"), battle("2", "torn"), battle("3", "late"), battle("4", "never")]).unwrap();
    let outcomes: Vec<String> = judgement.rows.iter().map(|row| row.outcomes()).collect();
    assert_eq!(outcomes, ["bbbbbb", "", "tt", ""]);
    let labels: Vec<_> = judgement.rows[0].games.iter().map(|game| game.score).collect();
    assert_eq!(labels, [Some(ArenaLabel::MuchB), Some(ArenaLabel::MuchA)]);
    assert_eq!(judgement.rows[2].games[0].judgment.as_deref(), Some("let me think\n[[A=B]]"));
    assert_eq!(judgement.rows[1].games[0].problem.as_deref(), Some("the text has no single known label, but A>B, B>A"));
    assert_eq!(judgement.rows[3].games[1].problem.as_deref(), Some("the text has no label"));
    assert_eq!((judgement.counts.calls, judgement.counts.parsed, judgement.counts.failed), (8, 4, 4));
    assert_eq!(serde_json::to_value(&judgement.rows[0]).unwrap()["games"][0]["score"], "B>>A");
}

#[test]
fn a_logprob_judge_reads_the_two_tokens_and_undoes_the_switch() {
    let model = Told::new(|request: &ChatRequest| {
        assert_eq!((request.sampling.max_tokens, request.sampling.top_logprobs, request.sampling.logprobs), (1, 5, true));
        let text = user(request);
        // The model's output is preferred three to one wherever it stands.
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
    let switched = |task: &LogprobTask<'_>| task.id == "switched";
    let judge = LogprobJudge::new(Asker::new(&model), LogprobOptions::alpaca_eval().unwrap(), switched).unwrap();
    let task = |id: &str| LogprobTask { id: id.into(), instruction: "i", baseline: "baseline's", model: "model's" };
    let tasks = [
        task("straight"),
        task("switched"),
        LogprobTask { model: "baseline's", ..task("same") },
        LogprobTask { instruction: "odd", ..task("odd") },
    ];
    let judgement = judge.judge(&tasks).unwrap();
    let preferences: Vec<_> = judgement.rows.iter().map(|row| row.preference).collect();
    assert!((preferences[0].unwrap() - 1.75).abs() < 1e-12 && (preferences[1].unwrap() - 1.75).abs() < 1e-12, "{preferences:?}");
    assert_eq!(preferences[2..], [Some(1.5), None]);
    assert_eq!((judgement.counts.calls, judgement.counts.parsed, judgement.counts.failed), (3, 2, 1));
    assert_eq!(judgement.rows[3].problem.as_deref(), Some("neither m nor M is among the likely tokens"));
}

/// The judge read " m", and the annotations that it wrote were read by the bare label alone: no row of them had a preference.
#[test]
fn the_annotations_of_a_sentencepiece_judge_say_what_the_judge_said() {
    let model = Told::new(|_: &ChatRequest| Some("_m=0.6 _M=0.2 M=0.01".into()));
    let judge = LogprobJudge::new(Asker::new(&model), LogprobOptions::alpaca_eval().unwrap(), |_| false).unwrap();
    let task = LogprobTask { id: "0".into(), instruction: "i", baseline: "baseline's", model: "model's" };
    let row = judge.judge(&[task]).unwrap().rows.remove(0);
    assert!((row.preference.unwrap() - (2.0 - 0.6 / 0.8)).abs() < 1e-12, "{row:?}");
    let tokens = row.top_logprobs.unwrap().into_iter().map(|top| (top.token, top.logprob)).collect();
    assert_eq!(janus_eval::bench::alpaca_eval::preference(&tokens, false), row.preference);
}

#[test]
fn a_replay_judge_reads_what_was_recorded_by_either_rule() {
    let recorded = || vec![Recorded { id: "a".into(), judgments: vec!["Score 4 would need more. [RESULT] 3".into(), "[RESULT] 5".into()] }];
    let (bench, responses) = ([record("a", 2), record("b", 1)], [response("a", "x"), response("b", "y")]);
    for (reader, scores) in [(ScoreReader::Strict, [Some(3), Some(5)]), (ScoreReader::Published, [Some(4), Some(5)])] {
        let judge = ReplayJudge::new("gpt-4", reader, recorded()).unwrap();
        let scored = janus_eval::score_responses(&bench, &responses, &judge).unwrap();
        assert_eq!(scored.rows[0].scores, scores);
        assert_eq!(scored.failures[0].reason, "request b: nothing was recorded for it");
    }
    assert!(ReplayJudge::new("gpt-4", ScoreReader::Strict, [recorded(), recorded()].concat()).is_err());
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

fn read(path: &str) -> String {
    let bytes = std::fs::read(format!("{DATA}/{path}")).unwrap();
    if !path.ends_with(".gz") {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text).unwrap();
    text
}

fn rows(path: &str) -> Vec<serde_json::Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn published_prompts_rebuild_the_stored_mt_bench_prompts() {
    let prompts = janus_eval::judge::GradePrompts::published(&read("mt_bench/judge_prompts.jsonl")).unwrap();
    let questions = rows("mt_bench/question.jsonl");
    let by_id = |path: &str| -> HashMap<u64, serde_json::Value> {
        rows(path).into_iter().map(|row| (row["question_id"].as_u64().unwrap(), row)).collect()
    };
    let turns = |row: &serde_json::Value| -> Vec<String> {
        let turns = row["turns"].as_array().or_else(|| row["choices"][0]["turns"].as_array()).unwrap();
        turns.iter().map(|turn| turn.as_str().unwrap().to_string()).collect()
    };
    let (answers, references) = (by_id("mt_bench/answers/claude-3-opus-20240229.jsonl.gz"), by_id("mt_bench/reference_answer_gpt-4.jsonl"));
    let texts: Vec<_> = questions
        .iter()
        .map(|question| {
            let id = question["question_id"].as_u64().unwrap();
            let reasoned = ["math", "reasoning", "coding"].contains(&question["category"].as_str().unwrap());
            (id, turns(question), turns(&answers[&id]), reasoned.then(|| turns(&references[&id])))
        })
        .collect();
    fn refer(texts: &[String]) -> Vec<&str> {
        texts.iter().map(String::as_str).collect()
    }
    let conversations: Vec<Conversation<'_>> = texts
        .iter()
        .map(|(id, questions, answers, references)| Conversation {
            id: id.to_string(),
            questions: refer(questions),
            answers: refer(answers),
            references: references.as_deref().map(refer),
        })
        .collect();
    let model = Told::new(|_: &ChatRequest| None);
    let judge = GradeJudge::new(Asker::new(&model), GradeOptions { prompts, ..GradeOptions::mt_bench().unwrap() }).unwrap();
    let calls: HashMap<String, Vec<Message>> =
        judge.calls(&conversations).unwrap().into_iter().map(|call| (call.id, call.messages)).collect();
    let judgments = rows("mt_bench/judgments/claude-3-opus-20240229.jsonl.gz");
    assert_eq!((judgments.len(), calls.len()), (160, 160));
    for row in &judgments {
        let call = &calls[&format!("{}/turn-{}", row["question_id"], row["turn"])];
        assert_eq!(call.last().unwrap().content, row["user_prompt"].as_str().unwrap(), "{}", row["question_id"]);
    }
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn the_official_prompt_files_are_read() {
    let model = Told::new(|_: &ChatRequest| Some("[RESULT] 4".into()));
    let janus = PromptTemplate::parse(&read("rubric_judgments/janus_judge_prompt.json"), "janus-official").unwrap();
    let options = RubricOptions { prompt: janus, runs: 1, ..RubricOptions::paper(true).unwrap() };
    let judge = RubricJudge::new(Asker::new(&model), options).unwrap();
    let call = judge.calls(&[record("a", 1)], &[response("a", "x")]).unwrap().remove(0);
    assert!(call.messages[0].content.starts_with("You are a fair judge assistant"));
    assert!(
        user(&call).starts_with("###Task Description:")
            && user(&call).ends_with("###Feedback:")
            && user(&call).contains("\n    \"criteria\": \"criterion 0\"")
    );

    let arena = PromptTemplate::parse(&read("arena_hard/judge_prompt.json"), "arena-official").unwrap();
    assert!(ArenaJudge::new(Asker::new(&model), ArenaOptions { prompt: arena, ..ArenaOptions::v01().unwrap() }).is_ok());
    let alpaca = PromptTemplate::parse(&read("alpaca_eval/judge_prompt_weighted.txt"), "alpaca-official").unwrap();
    let options = LogprobOptions { prompt: alpaca, ..LogprobOptions::alpaca_eval().unwrap() };
    let judge = LogprobJudge::new(Asker::new(&model), options, |_| false).unwrap();
    let task = LogprobTask { id: "0".into(), instruction: "{output_2}", baseline: "b", model: "c" };
    let text = judge.calls(&[task]).unwrap().remove(0).messages.remove(1).content;
    assert!(text.contains("\"instruction\": \"\"\"{output_2}\"\"\"") && text.contains("\"output\": \"\"\"c\"\"\""), "{text}");
    let lines = read("mt_bench/judge_prompts.jsonl");
    let prompts = janus_eval::judge::PairPrompts::published(&lines).unwrap();
    assert!(PairwiseJudge::new(Asker::new(&model), PairwiseOptions { prompts, ..PairwiseOptions::mt_bench().unwrap() }).is_ok());
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn stored_arena_verdicts_are_read_again() {
    let samples = rows("arena_hard/judgment_samples.jsonl.gz");
    assert_eq!(samples.len(), 108);
    for row in &samples {
        let labels = janus_eval::judge::arena_labels(row["judgment"].as_str().unwrap());
        let label = if let [label] = labels.as_slice() { Some(*label) } else { None };
        assert_eq!(label, row["score"].as_str(), "{}", row["question_id"]);
    }
}
