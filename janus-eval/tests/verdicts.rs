//! Run folders of judged cases: the results of verdicts, and their reports.

use std::fs;

use janus_core::{SamplingParams, TopLogprob};
use janus_eval::Error;
use janus_eval::judge::{Counts, TemplateId};
use janus_eval::protocol::{
    Case, JudgeSettings, JudgedCall, JudgedCase, Judgement, PairOutcome, ProtocolInfo, Scale, Side, Turn,
};
use janus_eval::run::{CaseRun, PairTally, Run, compare};

const NASTY: &str = "<script>document.title = 'owned'</script> | **b** ``` </div>";

/// A judgement without rows.
fn judgement() -> Judgement<JudgedCase> {
    let settings = JudgeSettings {
        judge: "gpt-4".into(),
        prompts: vec![TemplateId { id: "prompt/1".into(), fingerprint: "0123456789abcdef".into() }],
        sampling: SamplingParams::greedy(2048),
        system_shown: false,
        reference_shown: true,
    };
    Judgement { settings, rows: Vec::new(), counts: Counts::default() }
}

/// A run of these rows.
fn run_of(name: &str, calls: usize, rows: Vec<JudgedCase>) -> Result<CaseRun, Error> {
    let (title, scale) = match name {
        "pairwise" => ("Pairs", Scale::WinRate),
        "mt-bench" => ("MT-Bench", Scale::Rating { low: 1.0, high: 10.0 }),
        "mt-bench-pairs" => ("MT-Bench pairs", Scale::WinRate),
        "arena-hard" => ("Arena-Hard", Scale::WinRate),
        _ => ("AlpacaEval", Scale::WinRate),
    };
    let settings = judgement().settings;
    let counts = Counts { calls, answered: calls, parsed: calls, ..Counts::default() };
    let run = CaseRun::new(
        ProtocolInfo::new(name, title, scale),
        format!("mine {NASTY}"),
        Judgement { settings, rows, counts },
        0,
    )?;
    Ok(if name == "mt-bench" { run } else { run.against("other") })
}

fn turn(opponent: bool) -> Turn {
    let turn = Turn::new(format!("asked {NASTY}"), format!("mine says {NASTY}")).reference("right");
    if opponent { turn.against(format!("other says {NASTY}")) } else { turn }
}

const WIN: Option<PairOutcome> = Some(PairOutcome::Win);
const TIE: Option<PairOutcome> = Some(PairOutcome::Tie);
const LOSS: Option<PairOutcome> = Some(PairOutcome::Loss);

fn call(first: Side, outcome: Option<PairOutcome>) -> JudgedCall {
    JudgedCall {
        first: Some(first),
        outcome,
        verdict: outcome.map(|outcome| format!("{outcome:?}")),
        text: Some(format!("I say {outcome:?} {NASTY}")),
        problem: outcome.is_none().then(|| "the text has no [[A]], [[B]] or [[C]]".to_string()),
        ..JudgedCall::default()
    }
}

fn pair(id: usize, outcomes: [Option<PairOutcome>; 2], outcome: Option<PairOutcome>) -> JudgedCase {
    let category = ["writing", "math"][id % 2].into();
    let case =
        Case { category, system: format!("system {NASTY}"), ..Case::new(id.to_string(), vec![turn(true)]) };
    let calls = vec![call(Side::Model, outcomes[0]), call(Side::Opponent, outcomes[1])];
    JudgedCase { case, values: outcome.map(PairOutcome::value).into_iter().collect(), calls }
}

fn pairs() -> Vec<JudgedCase> {
    vec![
        pair(0, [WIN, WIN], WIN),
        pair(1, [LOSS, LOSS], LOSS),
        pair(2, [WIN, LOSS], TIE),
        pair(3, [TIE, TIE], TIE),
        pair(4, [WIN, None], None),
        pair(5, [WIN, WIN], WIN),
    ]
}

fn grade(question: usize, turn_: usize, score: Option<f64>) -> JudgedCase {
    let call = JudgedCall {
        verdict: score.map(|score| score.to_string()),
        text: score.map(|score| format!("Rating: [[{score}]] {NASTY}")),
        problem: score.is_none().then(|| "busy".to_string()),
        ..JudgedCall::default()
    };
    let case = Case {
        question: question.to_string(),
        category: ["writing", "math"][question % 2].into(),
        turn: Some(turn_),
        ..Case::new(format!("{question}/turn-{turn_}"), vec![turn(false); turn_])
    };
    JudgedCase { case, values: score.into_iter().collect(), calls: vec![call] }
}

#[test]
fn pairs_are_counted_as_wins_ties_and_losses() {
    let run = run_of("pairwise", 12, pairs()).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.n, all.missing), (0.6, 5, 1));
    assert_eq!(all.outcomes, Some(PairTally { win: 2, tie: 2, loss: 1 }));
    let interval = all.interval.unwrap();
    assert!(interval.low < 0.6 && interval.high > 0.6 && interval.n == 5);
    // One of five verdicts changes with the order. Calls won by the answer shown first: one each in rows
    // 0, 1, 4 and 5, both in row 2.
    assert_eq!(run.result.flip_rate, Some(0.2));
    assert_eq!(run.result.first_position_share, Some(6.0 / 9.0));
    assert_eq!(run.result.categories.keys().collect::<Vec<_>>(), ["math", "writing"]);
    assert_eq!(run.result.categories["math"].outcomes, Some(PairTally { win: 1, tie: 1, loss: 1 }));
    // The order of the rows does not matter.
    let reversed = run_of("pairwise", 12, pairs().into_iter().rev().collect()).unwrap();
    assert_eq!(reversed.result, run.result);
    let doubled = run_of("pairwise", 4, [pairs(), pairs()].concat());
    assert!(matches!(doubled, Err(Error::DoubledId { what: "rows", .. })));
}

#[test]
fn grades_have_turns_and_categories_and_no_outcomes() {
    let rows =
        vec![grade(81, 1, Some(9.0)), grade(81, 2, None), grade(82, 1, Some(4.5)), grade(82, 2, Some(8.0))];
    let run = run_of("mt-bench", 4, rows).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.n, all.missing, all.outcomes), (21.5 / 3.0, 3, 1, None));
    assert_eq!((run.result.turns[&1].mean, run.result.turns[&2].mean), (6.75, 8.0));
    assert_eq!((run.result.categories["math"].mean, run.result.categories["writing"].mean), (9.0, 6.25));
    assert_eq!((run.result.flip_rate, run.result.first_position_share), (None, None));
    let markdown = compare([run], 10).unwrap().to_markdown().unwrap();
    assert_eq!(markdown.matches("### Example").count(), 2, "the turns of a question are shown together");
    assert!(
        markdown.contains("is not comparable with the paper's Table 3: 3 rows have a verdict and not 160; the judge's prompt prompt/1")
    );
    for part in [
        "| 9.000 | 1 |",
        "rating 4.5",
        "no verdict: busy",
        "— turn 2 —",
        "reference answer",
        "on turn 1: 4.5",
        "· rating 9 · no verdict",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

#[test]
fn a_run_with_the_published_settings_is_shown_with_the_papers_numbers() {
    let rows = (81..161).flat_map(|question| [1, 2].map(|turn| grade(question, turn, Some(8.0)))).collect();
    let mut run = run_of("mt-bench", 160, rows).unwrap();
    run.result.head.settings.prompts[0].fingerprint = "6abca2784777215b".into();
    let markdown = compare([run], 1).unwrap().to_markdown().unwrap();
    assert!(markdown.contains("| Janus 7B | 7.7 |") && !markdown.contains("not comparable"), "{markdown}");
}

#[test]
fn a_strong_verdict_counts_three_times() {
    // B>>A in game 1, where B is the model; B>A in game 2, where B is the baseline.
    let calls = vec![call(Side::Opponent, WIN), call(Side::Model, LOSS)];
    let row = JudgedCase { case: Case::new("q", vec![turn(true)]), values: vec![1.0, 1.0, 1.0, 0.0], calls };
    let run = run_of("arena-hard", 2, vec![row]).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.n, all.outcomes), (0.75, 1, Some(PairTally { win: 3, tie: 0, loss: 1 })));
    assert_eq!(
        (run.result.flip_rate, run.result.first_position_share, all.interval),
        (Some(1.0), Some(0.0), None)
    );
    assert!(compare([run], 10).unwrap().to_markdown().unwrap().contains("other is better"));
}

#[test]
fn preferences_are_shares_and_equal_outputs_are_ties_without_a_call() {
    let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
    let likely = vec![token("m", 0.75), token("M", 0.25)];
    let call = JudgedCall {
        verdict: Some("preference 1.7500".into()),
        text: None,
        likely,
        ..call(Side::Model, WIN)
    };
    let row = |id: &str, value, calls| JudgedCase {
        case: Case::new(id, vec![turn(true)]),
        values: vec![value],
        calls,
    };
    let rows = vec![row("0", 0.75, vec![call]), row("1", 0.5, Vec::new())];
    let run = run_of("alpaca-eval", 1, rows).unwrap();
    let all = run.result.all.as_ref().unwrap();
    assert_eq!((all.mean, all.outcomes), (0.625, Some(PairTally { win: 1, tie: 1, loss: 0 })));
    assert_eq!(run.result.first_position_share, Some(1.0));
    let markdown = compare([run], 10).unwrap().to_markdown().unwrap();
    assert!(
        markdown.contains("\"M\" with probability 0.2500") && markdown.contains("preference 1.7500"),
        "{markdown}"
    );
}

#[test]
fn a_folder_round_trips_and_equal_runs_have_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = || run_of("mt-bench-pairs", 12, pairs()).unwrap();
    run().write(one.path()).unwrap();
    run().write(two.path()).unwrap();
    for name in ["judged.json", "rows.jsonl"] {
        assert_eq!(
            fs::read(one.path().join(name)).unwrap(),
            fs::read(two.path().join(name)).unwrap(),
            "{name}"
        );
    }
    assert_eq!(Run::read(one.path()).unwrap(), Run::Cases(run()));

    let path = one.path().join("judged.json");
    let text = fs::read_to_string(&path).unwrap();
    let refused = |text: &str, part: &str| {
        fs::write(&path, text).unwrap();
        let error = Run::read(one.path()).unwrap_err();
        assert!(matches!(error, Error::RunFile { .. }) && error.to_string().contains(part), "{error}");
    };
    refused(
        &text.replace("\"version\": 2", "\"version\": 3"),
        "janus-run version 3, expected janus-run version 2",
    );
    refused(&text.replace("\"rows\": 6", "\"rows\": 7"), "it has 6 rows, judged.json says 7");
    refused("{}", "missing field");
    fs::write(&path, &text).unwrap();
    let rows = one.path().join("rows.jsonl");
    fs::write(&rows, fs::read_to_string(&rows).unwrap().replacen("\"values\":[1.0]", "\"values\":[1.5]", 1))
        .unwrap();
    let error = Run::read(one.path()).unwrap_err().to_string();
    assert!(error.contains("rows.jsonl: row 1, field \"values\""), "{error}");
    fs::write(&path, text.replace("janus-run", "janus-judged")).unwrap();
    assert!(Run::read(one.path()).is_err());
    assert!(Run::read(&one.path().join("nowhere")).unwrap_err().to_string().contains("judged.json"));
}

#[test]
fn texts_of_models_are_escaped_in_every_part_of_the_page() {
    let run = run_of("mt-bench-pairs", 12, pairs()).unwrap();
    let graded = run_of("mt-bench", 2, vec![grade(81, 1, Some(3.0)), grade(82, 1, Some(30.0))]).unwrap();
    let report = compare([run, graded], 100).unwrap();
    let page = report.to_html().unwrap();
    assert_eq!(
        (page.matches("<script").count(), page.matches("</script>").count()),
        (1, 1),
        "the page's own"
    );
    for part in [
        "mine says &lt;script&gt;",
        "other says &lt;script&gt;",
        "I say Some(Win) &lt;script&gt;",
        "asked &lt;script&gt;",
        "system &lt;script&gt;",
        "Verdicts outside the range: 1.",
        "writing · mine &lt;script&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(report.to_html().unwrap(), page);
    // Two runs of one model get different names.
    let twice = [81, 82].map(|id| run_of("mt-bench", 1, vec![grade(id, 1, Some(5.0))]).unwrap());
    assert!(compare(twice, 10).unwrap().title.ends_with(" (2)"));
    let titles: Vec<&str> = report.sections.iter().map(|section| section.title.as_str()).collect();
    assert_eq!(titles[..2], ["MT-Bench", "MT-Bench by category"]);
    assert!(titles.contains(&"MT-Bench pairs: answers"), "{titles:?}");
}

#[test]
fn a_run_without_a_verdict_has_no_score() {
    let rows = vec![pair(0, [None, None], None)];
    let run = run_of("pairwise", 2, rows).unwrap();
    assert_eq!((&run.result.all, run.result.flip_rate, run.result.first_position_share), (&None, None, None));
    let markdown = compare([run], 10).unwrap().to_markdown().unwrap();
    assert!(markdown.contains("| – | 0 | 0 | 0 | 0 | 1 | – | – |"), "{markdown}");
    let none = run_of("mt-bench", 0, Vec::new()).unwrap();
    assert!(compare([none], 10).unwrap().to_html().is_ok());
    assert!(matches!(compare(Vec::<Run>::new(), 10), Err(Error::Empty { .. })));
}

/// Folders of version 0.1: `janus-judged` and `janus-verdicts`.
#[test]
fn folders_in_the_first_formats_are_read_and_converted_without_loss() {
    let old = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/judged-0.1");
    let expected = [
        ("pairwise", "Pairs", 1.0),
        ("mt-bench", "MT-Bench", 7.75),
        ("mt-bench-pairs", "MT-Bench pairs", 5.0 / 6.0),
        ("arena-hard", "Arena-Hard", 0.8),
        ("alpaca-eval", "AlpacaEval", 0.6875),
        ("rubric", "Rubrics", 4.0),
    ];
    let mut runs = Vec::new();
    for (name, title, mean) in expected {
        let run = Run::read(&old.join(name)).unwrap();
        assert_eq!((run.head().protocol.name.as_str(), run.head().protocol.title.as_str()), (name, title));
        assert_eq!((run.head().settings.judge.as_str(), run.head().version), ("stub", 2));
        let found = match &run {
            Run::Rubric(run) => run.result.summary.as_ref().map(|summary| summary.overall.mean),
            Run::Cases(run) => run.result.all.as_ref().map(|all| all.mean),
        };
        assert!((found.unwrap() - mean).abs() < 1e-12, "{name}: {found:?}");
        let folder = tempfile::tempdir().unwrap();
        match &run {
            Run::Rubric(run) => run.write(folder.path()).unwrap(),
            Run::Cases(run) => run.write(folder.path()).unwrap(),
        }
        assert_eq!(Run::read(folder.path()).unwrap(), run, "{name}");
        runs.push(run);
    }
    let markdown = compare(runs, 10).unwrap().to_markdown().unwrap();
    for part in [
        "# Judged runs",
        "## Scores",
        "| responses | 4.000",
        "## MT-Bench by category",
        "\"M\" with probability 0.7500",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

fn rated(values: &[f64]) -> Vec<JudgedCase> {
    let row = |(id, value): (usize, &f64)| JudgedCase {
        case: Case { category: ["a", "b"][id % 2].into(), ..Case::new(id.to_string(), vec![turn(false)]) },
        values: vec![*value],
        calls: Vec::new(),
    };
    values.iter().enumerate().map(row).collect()
}

fn run_on(name: &str, scale: Scale, values: &[f64]) -> Result<CaseRun, Error> {
    let Judgement { settings, counts, .. } = judgement();
    CaseRun::new(
        ProtocolInfo::new(name, "Own", scale),
        "mine",
        Judgement { settings, rows: rated(values), counts },
        0,
    )
}

/// Regression: such a run was read as a rubric run, whose other files do not exist here.
#[test]
fn a_users_protocol_may_have_the_name_of_a_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_on("rubric", Scale::Rating { low: 1.0, high: 5.0 }, &[3.0, 4.0, 5.0, 1.0]).unwrap();
    run.write(folder.path()).unwrap();
    assert_eq!(Run::read(folder.path()).unwrap(), Run::Cases(run));
}

/// Regression: a rating below 0 on a scale from 0 or above could be written but not read.
#[test]
fn negative_ratings_round_trip_and_are_reported() {
    for (low, values) in [(1.0, [-1.0, 4.0, 5.0, 2.0]), (-5.0, [-5.0, -3.5, 5.0, 6.0])] {
        let folder = tempfile::tempdir().unwrap();
        let run = run_on("own", Scale::Rating { low, high: 5.0 }, &values).unwrap();
        run.write(&folder.path().join("not/there")).unwrap();
        let read = Run::read(&folder.path().join("not/there")).unwrap();
        assert_eq!(read, Run::Cases(run));
        compare([read], 10).unwrap().write(folder.path().join("page/of")).unwrap();
        let page = fs::read_to_string(folder.path().join("page/of/report.md")).unwrap();
        assert!(page.contains(&format!("Mean rating, {low} to 5")), "{page}");
    }
    let shares = run_on("own", Scale::WinRate, &[0.5, -0.5]).unwrap_err();
    assert_eq!(
        shares.to_string(),
        "row 2, field \"values\": expected 0 to 1, got -0.5",
        "every written folder can be read"
    );
}
