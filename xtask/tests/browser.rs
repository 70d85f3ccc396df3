//! The report and annotation pages in a real browser: offline, by mouse and keyboard, with texts that
//! contain markup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use janus_core::{
    BenchRecord, Dimension, Preference, PreferenceSet, Rubric, SamplingParams, ScoreDescriptions,
};
use janus_data::write_all;
use janus_eval::Response;
use janus_eval::judge::{Counts, JudgeClient, TemplateId};
use janus_eval::protocol::{
    Case, JudgeSettings, JudgedCall, JudgedCase, Judgement, PairOutcome, ProtocolInfo, Rubrics, Scale, Side,
    Turn, rubric_cases,
};
use janus_eval::run::{CaseRun, RubricRun, compare};
use serde_json::{Value, json};

use crate::chromium::Chromium;

const ROWS: usize = 12;

/// Text that would run a script or load an image if it were not escaped.
const NASTY: &str = "</script><script>document.title = 'owned'</script><img src=\"http://127.0.0.1:9/x.png\" onerror=\"document.title='owned'\"> ' \" & \u{2028}";

fn records() -> Vec<BenchRecord> {
    let set = || {
        PreferenceSet::new(Dimension::ALL.map(|dimension| Preference::new(dimension, "s", "p", "d"))).unwrap()
    };
    let rubric = |number| Rubric {
        criteria: format!("criterion {number} {NASTY}"),
        score_descriptions: ScoreDescriptions::new(["1", "2", "3", "4", "5"]),
    };
    let record = |index: usize| BenchRecord {
        id: Some(format!("row-{index}")),
        source: ["koala", "flask", "mt-bench"][index % 3].into(),
        preference_set: Some(set()),
        system: format!("system {index} {NASTY}"),
        prompt: format!("prompt {index} {}", "long ".repeat(60)),
        reference_answer: format!("reference {index}"),
        rubrics: (0..4).map(rubric).collect(),
    };
    (0..ROWS).map(record).collect()
}

fn responses(name: &str) -> Vec<Response> {
    (0..ROWS)
        .map(|index| Response {
            id: format!("row-{index}"),
            response: format!("{name} answers {index}. {NASTY} {}", "x".repeat(300)),
        })
        .collect()
}

/// A judge whose scores depend only on its own number and the call.
struct Mirror(u8);

impl janus_core::ChatModel for Mirror {
    fn name(&self) -> &str {
        "mirror"
    }

    fn generate_each(
        &self,
        requests: &[janus_core::ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<janus_core::Generation>, janus_core::ModelError>),
    ) {
        for (index, request) in requests.iter().enumerate() {
            let score = 1 + (usize::from(self.0) + request.id.len() + index) % 5;
            let text = format!("Feedback: seen {NASTY}. [RESULT] {score}");
            on_answer(index, Ok(vec![janus_core::Generation::new(text)]));
        }
    }
}

fn judged(name: &str, score: u8) -> RubricRun {
    let model = Mirror(score);
    let protocol = Rubrics::paper(true).with(|rubrics| rubrics.runs = 2);
    let cases = rubric_cases(&records(), &responses(name)).unwrap();
    let judgement = JudgeClient::new(&model).judge(&protocol, &cases, &mut |_, _| ()).unwrap();
    RubricRun::new(&protocol, format!("{name} {NASTY}"), cases, judgement, 0).unwrap()
}

/// The elements that are wider than a phone, except those in a container with its own scroll bar.
fn wider_than_a_phone(browser: &mut Chromium) -> Value {
    browser.evaluate(
        "document.documentElement.scrollWidth <= 360 ? [] : Array.from(document.querySelectorAll('body *'))\
         .filter(element => element.getBoundingClientRect().right > 360 && !element.parentElement.closest('.scroll'))\
         .map(element => `${element.tagName}.${element.className.baseVal ?? element.className}: ${element.textContent.slice(0, 40)}`)",
    )
}

fn assert_clean(browser: &Chromium, page: &Path) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let own = format!("file://{}", page.display());
    let others: Vec<&str> =
        browser.requests().into_iter().filter(|url| *url != own && !url.starts_with("blob:")).collect();
    assert_eq!(others, Vec::<&str>::new(), "the page requests something outside itself");
}

#[ignore = "needs chromium: cargo xtask check browser"]
#[test]
fn a_report_sorts_searches_and_opens_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let report = compare([judged("base", 1), judged("mine", 3), judged("other", 2)], 100).unwrap();
    fs::write(&page, report.to_html().unwrap()).unwrap();
    let mut browser = Chromium::open(&page, folder.path());
    assert!(browser.evaluate("document.title").as_str().unwrap().starts_with("Judged: base"));
    assert_eq!(browser.evaluate("document.scripts.length"), 1, "a text became a script");
    assert_eq!(browser.evaluate("document.images.length"), 0);
    assert!(browser.evaluate("document.querySelectorAll('svg.plot rect').length").as_u64().unwrap() > 20);

    // Sort the first table by its second column, by mouse, then the other way by keyboard.
    let column = "Array.from(document.querySelector('table').tBodies[0].rows).map(row => Number(row.cells[1].dataset.sort))";
    let values = |browser: &mut Chromium| -> Vec<f64> {
        browser.evaluate(column).as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let before = values(&mut browser);
    let mut rising = before.clone();
    rising.sort_by(f64::total_cmp);
    assert!(before.windows(2).any(|pair| pair[0] != pair[1]), "nothing to sort: {before:?}");
    browser.evaluate("document.querySelectorAll('table thead button')[1].click()");
    assert_eq!(values(&mut browser), rising);
    assert_eq!(
        browser.evaluate("document.querySelector('table thead').rows[0].cells[1].getAttribute('aria-sort')"),
        "ascending"
    );
    browser.evaluate("document.querySelectorAll('table thead button')[1].focus()");
    browser.press("Enter");
    rising.reverse();
    assert_eq!(values(&mut browser), rising);

    // A row opens by keyboard too, and shows the answers as text.
    browser.evaluate("document.activeElement.blur()");
    browser.press("j");
    assert_eq!(browser.evaluate("document.activeElement.closest('details').open"), false);
    browser.press("Enter");
    assert_eq!(browser.evaluate("document.activeElement.closest('details').open"), true);
    let shown = browser.evaluate("document.querySelector('details.example[open]').innerText");
    for part in [
        "system 0 </script><script>",
        "base answers 0. </script>",
        "mine answers 0",
        "criterion 3",
        "Other runs: ",
        "seen </script>",
    ] {
        assert!(shown.as_str().unwrap().contains(part), "{part}: {shown}");
    }
    browser.evaluate(
        "const field = document.querySelector('.search input'); field.value = 'koala answers'; field.dispatchEvent(new Event('input'))",
    );
    assert_eq!(browser.evaluate("document.querySelector('.search span').textContent"), "4 of 12");

    let background = "getComputedStyle(document.body).backgroundColor";
    browser.scheme("light");
    let light = browser.evaluate(background);
    browser.scheme("dark");
    assert_ne!(browser.evaluate(background), light);
    browser.phone();
    assert_eq!(wider_than_a_phone(&mut browser), json!([]));
    assert_ne!(browser.evaluate("document.title"), "owned");
    assert_clean(&browser, &page);
}

/// Pairs of MT-Bench, judged in both orders; the verdict of every fourth one flips.
fn paired(name: &str) -> CaseRun {
    let row = |index: usize| {
        let (outcomes, outcome) = match index % 4 {
            0 => ([PairOutcome::Win, PairOutcome::Loss], PairOutcome::Tie),
            1 => ([PairOutcome::Loss, PairOutcome::Loss], PairOutcome::Loss),
            _ => ([PairOutcome::Win, PairOutcome::Win], PairOutcome::Win),
        };
        let call = |(place, first): (usize, Side)| JudgedCall {
            first: Some(first),
            outcome: Some(outcomes[place]),
            verdict: Some(
                if (outcomes[place] == PairOutcome::Win) == (first == Side::Model) { "A" } else { "B" }
                    .into(),
            ),
            text: Some(format!("{} text {NASTY} {}", ["first", "second"][place], "y".repeat(200))),
            ..JudgedCall::default()
        };
        let mut turn = Turn::new(
            format!("question {index} {NASTY}"),
            format!("{name} answers {index} {NASTY} {}", "x".repeat(300)),
        )
        .against(format!("opponent answers {index} {NASTY}"));
        turn.reference = index.is_multiple_of(2).then(|| format!("reference {NASTY}"));
        let category = ["writing", "math", "stem"][index % 3].into();
        let case = Case { category, turn: Some(1), ..Case::new(format!("{index}/turn-1"), vec![turn]) };
        let calls = [Side::Model, Side::Opponent].into_iter().enumerate().map(call).collect();
        JudgedCase { case, values: vec![outcome.value()], calls }
    };
    let settings = JudgeSettings {
        judge: "gpt-4".into(),
        prompts: vec![TemplateId { id: format!("prompt {NASTY}"), fingerprint: "0".repeat(16) }],
        sampling: SamplingParams::greedy(2048),
        system_shown: false,
        reference_shown: true,
    };
    let counts = Counts { calls: 2 * ROWS, answered: 2 * ROWS, parsed: 2 * ROWS, ..Counts::default() };
    let judgement = Judgement { settings, rows: (0..ROWS).map(row).collect(), counts };
    let protocol = ProtocolInfo::new("mt-bench-pairs", "MT-Bench pairs", Scale::WinRate);
    CaseRun::new(protocol, format!("{name} {NASTY}"), judgement, 0).unwrap().against("opponent")
}

#[ignore = "needs chromium: cargo xtask check browser"]
#[test]
fn a_page_of_pairs_shows_answers_and_judgments_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, compare([paired("mine")], 100).unwrap().to_html().unwrap()).unwrap();
    let mut browser = Chromium::open(&page, folder.path());
    assert!(browser.evaluate("document.title").as_str().unwrap().starts_with("MT-Bench pairs: mine"));
    assert_eq!(browser.evaluate("document.scripts.length"), 1, "a text became a script");
    assert_eq!(browser.evaluate("document.images.length"), 0);

    // The table of categories sorts by its scores.
    let table = "Array.from(document.querySelectorAll('table')).find(table => table.tHead.innerText.startsWith('category'))";
    let scores = format!("Array.from({table}.tBodies[0].rows).map(row => Number(row.cells[1].dataset.sort))");
    let values = |browser: &mut Chromium| -> Vec<f64> {
        browser.evaluate(&scores).as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let mut rising = values(&mut browser);
    assert_eq!(rising.len(), 3);
    rising.sort_by(f64::total_cmp);
    browser.evaluate(&format!("{table}.querySelectorAll('thead button')[1].click()"));
    assert_eq!(values(&mut browser), rising);

    // A row opens by keyboard. The answers are side by side, with the judge's two texts below.
    browser.press("j");
    browser.press("Enter");
    let open = "document.querySelector('details.example[open]')";
    let shown = browser.evaluate(&format!("{open}.innerText"));
    for part in [
        "question 0 </script><script>",
        "mine answers 0 </script>",
        "opponent answers 0 </script>",
        "reference answer",
        "first text </script>",
        "second text </script>",
        "gpt-4 on turn 1, opponent shown first",
        "A: opponent is better",
    ] {
        assert!(shown.as_str().unwrap().contains(part), "{part}: {shown}");
    }
    let tops = format!(
        "Array.from({open}.querySelectorAll('.responses')).map(row => row.children[0].offsetTop === row.children[1].offsetTop)"
    );
    assert_eq!(browser.evaluate(&tops), json!([true, true]));
    browser
        .evaluate("const field = document.querySelector('.search input'); field.value = '· loss'; field.dispatchEvent(new Event('input'))");
    assert_eq!(browser.evaluate("document.querySelector('.search span').textContent"), "3 of 12");

    let background = "getComputedStyle(document.body).backgroundColor";
    browser.scheme("light");
    let light = browser.evaluate(background);
    browser.scheme("dark");
    assert_ne!(browser.evaluate(background), light);
    browser.phone();
    assert_eq!(wider_than_a_phone(&mut browser), json!([]));
    assert_ne!(browser.evaluate("document.title"), "owned");
    assert_clean(&browser, &page);
}

fn xtask(folder: &Path, args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_janus"))
        .args(args)
        .arg("--json")
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until a file is downloaded completely.
fn downloaded(folder: &Path, name: &str) -> PathBuf {
    let begin = Instant::now();
    loop {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok()) {
            return path;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{name} is not downloaded");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Enters the annotator's name.
fn sign(browser: &mut Chromium, name: &str) {
    browser.evaluate(&format!(
        "const n = document.getElementById('annotator'); n.value = '{name}'; n.dispatchEvent(new Event('input')); n.blur()"
    ));
}

fn progress(browser: &mut Chromium) -> String {
    browser.evaluate("document.getElementById('progress').textContent").as_str().unwrap().into()
}

#[ignore = "needs chromium: cargo xtask check browser"]
#[test]
fn a_comparison_survives_a_reload_and_comes_back_through_import() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_all(path("bench.jsonl"), &records()).unwrap();
    for name in ["alpha", "omega"] {
        // The answers do not contain the models' names.
        let rows: Vec<Response> = responses(if name == "alpha" { "one" } else { "two" });
        write_all(path(&format!("{name}.jsonl")), &rows).unwrap();
    }
    let report = xtask(
        folder.path(),
        &[
            "annotate",
            "export",
            "--bench",
            "bench.jsonl",
            "--model",
            "alpha.jsonl",
            "--opponent",
            "omega.jsonl",
            "--out",
            "out",
        ],
    );
    assert_eq!(report["items"], ROWS);
    let page = path("out/annotate.html");
    let text = fs::read_to_string(&page).unwrap();
    assert!(!text.contains("alpha") && !text.contains("omega"), "the page names a model");

    let mut browser = Chromium::open(&page, folder.path());
    assert_eq!(browser.evaluate("document.title"), "Which answer is better?");
    assert_eq!(progress(&mut browser), "0 of 12 done");
    assert_eq!(
        browser.evaluate("document.querySelector('#item details').open"),
        false,
        "rubrics are hidden at first"
    );
    // The first by key, the second by mouse.
    browser.press("2");
    browser.evaluate("document.getElementById('next').click()");
    browser.evaluate("document.querySelector('#item input[value=b]').click()");
    browser
        .evaluate("const t = document.querySelector('#item textarea'); t.value = 'close <b>call</b>'; t.dispatchEvent(new Event('input'))");
    sign(&mut browser, "Ann");
    assert_eq!(progress(&mut browser), "2 of 12 done");
    browser.reload();
    assert_eq!(progress(&mut browser), "2 of 12 done");
    assert_eq!(browser.evaluate("document.querySelector('#item h2').textContent"), "2 of 12");
    assert_eq!(browser.evaluate("document.querySelector('#item input:checked').value"), "b");
    assert_eq!(browser.evaluate("document.querySelector('#item textarea').value"), "close <b>call</b>");
    assert_eq!(browser.evaluate("document.getElementById('annotator').value"), "Ann");
    // For the rest: always the answer "one", on whichever side it is.
    let choose = "for (let i = 2; i < 12; i++) { document.getElementById('open').click(); \
                  const first = document.querySelector('#item .responses .said').textContent.startsWith('one'); \
                  document.querySelector(`#item input[value=${first ? 'a' : 'b'}]`).click(); }";
    browser.evaluate(choose);
    assert_eq!(progress(&mut browser), "12 of 12 done");
    browser.evaluate("document.getElementById('download').click()");
    let result = downloaded(folder.path(), "annotations-Ann.json");
    browser.phone();
    assert_eq!(wider_than_a_phone(&mut browser), json!([]));
    assert_eq!(browser.evaluate("document.title"), "Which answer is better?");
    assert_clean(&browser, &page);

    let report = xtask(
        folder.path(),
        &["annotate", "import", "--key", "out/key.json", result.to_str().unwrap(), "--out", "result"],
    );
    let tally = &report["compared"]["tally"];
    assert_eq!((&tally["both_good"], &tally["both_bad"]), (&json!(1), &json!(0)));
    let (win, loss) = (tally["win"].as_u64().unwrap(), tally["loss"].as_u64().unwrap());
    assert!(win >= 10 && win + loss == 11, "ten were chosen by their text: {tally}");
    assert_eq!(report["compared"]["models"], json!(["alpha", "omega"]));
    assert!(fs::read_to_string(path("result/report.html")).unwrap().contains("alpha wins"));
    assert!(fs::read_to_string(&result).unwrap().contains("close <b>call</b>"));

    // A second annotator with the opposite choices, then files with mistakes.
    let mut other: Value = serde_json::from_str(&fs::read_to_string(&result).unwrap()).unwrap();
    other["annotator"] = json!("Ben");
    for answer in other["answers"].as_array_mut().unwrap() {
        let opposite = match answer["values"]["choice"].as_str().unwrap() {
            "a" => "b",
            "b" => "a",
            "both_good" => "both_bad",
            other => panic!("{other}"),
        };
        answer["values"]["choice"] = json!(opposite);
    }
    fs::write(path("ben.json"), other.to_string()).unwrap();
    let report = xtask(
        folder.path(),
        &["annotate", "import", "--key", "out/key.json", "annotations-Ann.json", "ben.json"],
    );
    assert_eq!((&report["compared"]["shared"], &report["compared"]["agreement"]), (&json!(12), &json!(0.0)));
    assert!(report["compared"]["alpha"].as_f64().unwrap() < 0.0);
    for (field, value, part) in [
        ("task", json!("0123456789abcdef"), "ben.json: it belongs to the task 0123456789abcdef"),
        ("annotator", json!("Ann"), "ben.json: an earlier file has the same annotator"),
        ("annotator", json!(" "), "ben.json: it has no annotator's name"),
        (
            "answers",
            json!([{ "id": "x", "values": { "choice": "a" } }]),
            "ben.json: no item has the id \"x\"",
        ),
        (
            "answers",
            json!([{ "id": "row-1", "values": { "choice": "c" } }]),
            "field \"choice\": expected one of a, both_good, both_bad, b, got \"c\"",
        ),
    ] {
        let mut wrong = other.clone();
        wrong[field] = value;
        fs::write(path("ben.json"), wrong.to_string()).unwrap();
        let args = ["annotate", "import", "--key", "out/key.json", "annotations-Ann.json", "ben.json"];
        let output =
            Command::new(env!("CARGO_BIN_EXE_janus")).args(args).current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

#[ignore = "needs chromium: cargo xtask check browser"]
#[test]
fn a_review_accepts_rejects_and_grades_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_all(path("bench.jsonl"), &records()).unwrap();
    xtask(
        folder.path(),
        &["annotate", "export", "--bench", "bench.jsonl", "--review", "--limit", "5", "--out", "out"],
    );
    let page = path("out/annotate.html");
    let mut browser = Chromium::open(&page, folder.path());
    // Keys 1 and 2 accept and reject, 3 to 5 grade; the last row stays open.
    for keys in [["1", "3"], ["2", "5"], ["1", "4"], ["1", "4"]] {
        for key in keys {
            browser.press(key);
        }
        browser.evaluate("document.activeElement.blur()");
        browser.press("j");
    }
    assert_eq!(progress(&mut browser), "4 of 5 done");
    browser.evaluate("document.getElementById('download').click()");
    assert_eq!(browser.evaluate("document.getElementById('notice').textContent"), "Write your name first.");
    sign(&mut browser, "Eve");
    browser.evaluate("document.getElementById('download').click()");
    downloaded(folder.path(), "annotations-Eve.json");
    assert_clean(&browser, &page);
    let report = xtask(
        folder.path(),
        &[
            "annotate",
            "import",
            "--key",
            "out/key.json",
            "annotations-Eve.json",
            "--bench",
            "bench.jsonl",
            "--out",
            "result",
        ],
    );
    let expected =
        json!({ "accepted": 3, "rejected": 1, "undecided": 1, "easy": 1, "intermediate": 2, "hard": 1 });
    assert_eq!(report["counts"], expected);
    let accepted = fs::read_to_string(path("result/accepted.jsonl")).unwrap();
    let ids: Vec<String> = accepted
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().into())
        .collect();
    assert_eq!(ids, ["row-0", "row-2", "row-3"]);
}
