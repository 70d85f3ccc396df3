//! Run folders of judges without rubrics: what verdicts come to, and how they are shown.

use std::fs;

use janus_core::{SamplingParams, TopLogprob};
use janus_eval::judge::{ArenaGame, ArenaLabel, ArenaRow, Counts, GradeRow, LogprobRow, PairLabel, PairOutcome, PairRow, TemplateId};
use janus_eval::run::{
    Judged, Outcomes, Protocol, Run, RunError, VERDICT_FILES, VerdictRow, VerdictRun, VerdictSettings, VerdictTurn, compare_verdicts, read,
};
use janus_eval::{Error, Missing};

const NASTY: &str = "<script>document.title = 'owned'</script> | **b** ``` </div>";

fn judged(protocol: Protocol, calls: usize) -> Judged {
    let prompt = TemplateId { id: "prompt/1".into(), fingerprint: "0123456789abcdef".into() };
    Judged {
        protocol,
        model: format!("mine {NASTY}"),
        opponent: (!protocol.is_graded()).then(|| "other".into()),
        settings: VerdictSettings {
            judge: "gpt-4".into(),
            prompts: vec![prompt],
            sampling: SamplingParams::greedy(2048),
            system_shown: false,
            reference_shown: true,
        },
        counts: Counts { calls, answered: calls, parsed: calls, ..Counts::default() },
        missing: Missing::default(),
    }
}

fn turn(opponent: bool) -> VerdictTurn {
    let opponent = opponent.then(|| format!("other says {NASTY}"));
    VerdictTurn { prompt: format!("asked {NASTY}"), model: format!("mine says {NASTY}"), opponent, reference: Some("right".into()) }
}

fn pair(id: usize, labels: [Option<PairLabel>; 2], outcome: Option<PairOutcome>) -> VerdictRow {
    let judgments = labels.map(|label| Some(format!("I say {label:?} {NASTY}")));
    let problem = outcome.is_none().then(|| "the text has no [[A]], [[B]] or [[C]]".to_string());
    let row = PairRow { id: id.to_string(), outcome, labels, judgments, prompt: "pair-v2".into(), problem };
    let row = VerdictRow::new(row.id.as_str(), vec![turn(true)], &row);
    VerdictRow { category: ["writing", "math"][id % 2].into(), system: format!("system {NASTY}"), ..row }
}

fn pairs() -> Vec<VerdictRow> {
    let (a, b, tie) = (Some(PairLabel::A), Some(PairLabel::B), Some(PairLabel::Tie));
    vec![
        pair(0, [a, b], Some(PairOutcome::Win)),
        pair(1, [b, a], Some(PairOutcome::Loss)),
        pair(2, [a, a], Some(PairOutcome::Tie)),
        pair(3, [tie, tie], Some(PairOutcome::Tie)),
        pair(4, [a, None], None),
        pair(5, [a, b], Some(PairOutcome::Win)),
    ]
}

fn grade(question: usize, turn_: usize, score: Option<f64>) -> VerdictRow {
    let judgment = score.map(|score| format!("Rating: [[{score}]] {NASTY}"));
    let problem = score.is_none().then(|| "busy".to_string());
    let row =
        GradeRow { question_id: question.to_string(), turn: turn_, judge: ["gpt-4".into(), "single-v1".into()], judgment, score, problem };
    let row = VerdictRow::new(format!("{question}/turn-{turn_}"), vec![turn(false); turn_], &row);
    VerdictRow { question: question.to_string(), category: ["writing", "math"][question % 2].into(), turn: Some(turn_), ..row }
}

#[test]
fn pairs_come_to_wins_ties_and_losses() {
    let run = VerdictRun::new(judged(Protocol::Pairwise, 12), pairs(), 0).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.n, all.missing), (0.6, 5, 1));
    assert_eq!(all.outcomes, Some(Outcomes { win: 2, tie: 2, loss: 1 }));
    let interval = all.interval.unwrap();
    assert!(interval.low < 0.6 && interval.high > 0.6 && interval.n == 5);
    // One of five changed with the order; decided verdicts that named the first: one of row 0, 1, 4 and 5 each, both of row 2.
    assert_eq!(run.result.flip_rate, Some(0.2));
    assert_eq!(run.result.first_position_share, Some(6.0 / 9.0));
    assert_eq!(run.result.categories.keys().collect::<Vec<_>>(), ["math", "writing"]);
    assert_eq!(run.result.categories["math"].outcomes, Some(Outcomes { win: 1, tie: 1, loss: 1 }));
    // The order of the rows changes nothing.
    let turned = VerdictRun::new(judged(Protocol::Pairwise, 12), pairs().into_iter().rev().collect(), 0).unwrap();
    assert_eq!(turned.result, run.result);
    let doubled = VerdictRun::new(judged(Protocol::Pairwise, 4), [pairs(), pairs()].concat(), 0);
    assert!(matches!(doubled, Err(Error::DoubledId { what: "rows", .. })));
}

#[test]
fn grades_have_turns_and_categories_and_no_outcomes() {
    let rows = vec![grade(81, 1, Some(9.0)), grade(81, 2, None), grade(82, 1, Some(4.5)), grade(82, 2, Some(8.0))];
    let run = VerdictRun::new(judged(Protocol::MtBench, 4), rows, 0).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.n, all.missing, all.outcomes), (21.5 / 3.0, 3, 1, None));
    assert_eq!((run.result.turns[&1].mean, run.result.turns[&2].mean), (6.75, 8.0));
    assert_eq!((run.result.categories["math"].mean, run.result.categories["writing"].mean), (9.0, 6.25));
    assert_eq!((run.result.flip_rate, run.result.first_position_share), (None, None));
    let markdown = compare_verdicts(&[run], 10).unwrap().to_markdown().unwrap();
    assert_eq!(markdown.matches("### Example").count(), 2, "the turns of a question are read together");
    assert!(
        markdown.contains("is not comparable with the paper's Table 3: 3 rows have a verdict and not 160; the judge's prompt prompt/1")
    );
    for part in
        ["| 9.000 | 1 |", "rating 4.5", "no verdict: busy", "— turn 2 —", "reference answer", "on turn 1: 4.5", "· rating 9 · no verdict"]
    {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

#[test]
fn a_significant_battle_weighs_three_times() {
    let game = |score| ArenaGame { score, judgment: Some(NASTY.into()), problem: None };
    let row = ArenaRow { question_id: "q".into(), games: [game(Some(ArenaLabel::MuchB)), game(Some(ArenaLabel::B))] };
    let run = VerdictRun::new(judged(Protocol::ArenaHard, 2), vec![VerdictRow::new("q", vec![turn(true)], &row)], 0).unwrap();
    let all = run.result.all.as_ref().unwrap();
    // B is the model in game 1, and the baseline in game 2.
    assert_eq!((all.mean, all.n, all.outcomes), (0.75, 1, Some(Outcomes { win: 3, tie: 0, loss: 1 })));
    assert_eq!((run.result.flip_rate, run.result.first_position_share, all.interval), (Some(1.0), Some(0.0), None));
    assert!(compare_verdicts(&[run], 10).unwrap().to_markdown().unwrap().contains("other is better"));
}

#[test]
fn preferences_are_shares_and_equal_outputs_are_ties_without_a_call() {
    let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
    let row = |id: &str, preference, top_logprobs| LogprobRow { id: id.into(), switched: true, preference, top_logprobs, problem: None };
    let rows = [row("0", Some(1.75), Some(vec![token("m", 0.75), token("M", 0.25)])), row("1", Some(1.5), None)];
    let rows: Vec<VerdictRow> = rows.iter().map(|row| VerdictRow::new(row.id.as_str(), vec![turn(true)], row)).collect();
    assert_eq!((rows[0].calls.len(), rows[1].calls.len()), (1, 0));
    let run = VerdictRun::new(judged(Protocol::AlpacaEval, 1), rows, 0).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.outcomes), (0.625, Some(Outcomes { win: 1, tie: 1, loss: 0 })));
    assert_eq!(run.result.first_position_share, Some(1.0));
    let markdown = compare_verdicts(&[run], 10).unwrap().to_markdown().unwrap();
    assert!(markdown.contains("\"M\" with probability 0.2500") && markdown.contains("preference 1.7500"), "{markdown}");
}

#[test]
fn a_folder_is_read_as_it_was_written_and_equal_runs_have_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = || VerdictRun::new(judged(Protocol::MtBenchPairs, 12), pairs(), 0).unwrap();
    run().write(one.path()).unwrap();
    run().write(two.path()).unwrap();
    for name in VERDICT_FILES {
        assert_eq!(fs::read(one.path().join(name)).unwrap(), fs::read(two.path().join(name)).unwrap(), "{name}");
    }
    assert_eq!(read(one.path()).unwrap(), Run::Verdicts(run()));

    let path = one.path().join("judged.json");
    let text = fs::read_to_string(&path).unwrap();
    let refused = |text: &str, part: &str| {
        fs::write(&path, text).unwrap();
        let error = VerdictRun::read(one.path()).unwrap_err();
        assert!(matches!(error, RunError::Content { .. }) && error.to_string().contains(part), "{error}");
    };
    refused(&text.replace("\"version\": 1", "\"version\": 2"), "janus-verdicts version 2, expected janus-verdicts version 1");
    refused(&text.replace("\"rows\": 6", "\"rows\": 7"), "it has 6 rows, judged.json says 7");
    refused("{}", "missing field");
    fs::write(&path, &text).unwrap();
    let rows = one.path().join("rows.jsonl");
    fs::write(&rows, fs::read_to_string(&rows).unwrap().replacen("\"values\":[1.0]", "\"values\":[1.5]", 1)).unwrap();
    let error = VerdictRun::read(one.path()).unwrap_err().to_string();
    assert!(error.contains("rows.jsonl: row 1, field \"values\""), "{error}");
    fs::write(&path, text.replace("janus-verdicts", "janus-judged")).unwrap();
    assert!(read(one.path()).is_err());
    assert!(read(&one.path().join("nowhere")).unwrap_err().to_string().contains("judged.json"));
}

#[test]
fn text_of_a_model_is_text_in_every_part_of_the_page() {
    let run = VerdictRun::new(judged(Protocol::MtBenchPairs, 12), pairs(), 0).unwrap();
    let graded = VerdictRun::new(judged(Protocol::MtBench, 2), vec![grade(81, 1, Some(3.0)), grade(82, 1, Some(30.0))], 0).unwrap();
    let report = compare_verdicts(&[run, graded], 100).unwrap();
    let page = report.to_html().unwrap();
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (1, 1), "the page's own");
    for part in [
        "mine says &lt;script&gt;",
        "other says &lt;script&gt;",
        "I say Some(A) &lt;script&gt;",
        "asked &lt;script&gt;",
        "system &lt;script&gt;",
        "1 verdicts lie outside.",
        "writing · mine &lt;script&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(report.to_html().unwrap(), page);
    // Two runs of one model are told apart.
    let twice = [81, 82].map(|id| VerdictRun::new(judged(Protocol::MtBench, 1), vec![grade(id, 1, Some(5.0))], 0).unwrap());
    assert!(compare_verdicts(&twice, 10).unwrap().title.ends_with(" (2)"));
    let titles: Vec<&str> = report.sections.iter().map(|section| section.title.as_str()).collect();
    assert_eq!(titles[..2], ["MT-Bench", "MT-Bench by category"]);
    assert!(titles.contains(&"MT-Bench pairs: answers"), "{titles:?}");
}

#[test]
fn a_run_without_any_verdict_is_told_and_not_a_number() {
    let rows = vec![pair(0, [None, None], None)];
    let run = VerdictRun::new(judged(Protocol::Pairwise, 2), rows, 0).unwrap();
    assert_eq!((&run.result.all, run.result.flip_rate, run.result.first_position_share), (&None, None, None));
    let markdown = compare_verdicts(std::slice::from_ref(&run), 10).unwrap().to_markdown().unwrap();
    assert!(markdown.contains("| – | 0 | 0 | 0 | 0 | 1 | – | – |"), "{markdown}");
    let none = VerdictRun::new(judged(Protocol::MtBench, 0), Vec::new(), 0).unwrap();
    assert!(compare_verdicts(&[none], 10).unwrap().to_html().is_ok());
    assert!(matches!(compare_verdicts(&[], 10), Err(Error::Empty { .. })));
}
