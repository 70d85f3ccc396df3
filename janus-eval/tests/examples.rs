//! Runs the crate's examples unchanged, without a network.

#[allow(dead_code, reason = "an example has a main")]
#[path = "../examples/own_benchmark.rs"]
mod own_benchmark;
#[allow(dead_code, reason = "an example has a main")]
#[path = "../examples/own_judge.rs"]
mod own_judge;
#[allow(dead_code, reason = "an example has a main")]
#[path = "../examples/remote_judge.rs"]
mod remote_judge;

use janus_infer::remote::RemoteOptions;

use crate::stub::{Reply, Stub};

#[test]
fn the_example_own_judge_scores_responses() {
    assert_eq!(own_judge::run().unwrap(), 4.0);
}

#[test]
fn the_example_own_benchmark_writes_a_report() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(own_benchmark::run(folder.path()).unwrap(), [3.0, 8.0]);
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for part in ["## Tact\n", "| kind | 8.000", "## Tact by category", "My aunt knitted me a jumper"] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    // Again: every call is in the journal, and the folder can be read.
    assert_eq!(own_benchmark::run(folder.path()).unwrap(), [3.0, 8.0]);
    let run = janus_eval::run::Run::read(&folder.path().join("blunt")).unwrap();
    assert_eq!((run.head().rows, run.head().missing.named.as_slice()), (5, ["mug-2".to_string()].as_slice()));
    let janus_eval::run::Run::Cases(run) = run else { panic!("it has no rubrics") };
    assert_eq!(run.result.all.unwrap().interval.unwrap().n, 5);
}

#[test]
fn the_example_remote_judge_sends_each_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::start(|received| {
        let good = received.last_message().contains("A toy that flies");
        Reply::text(if good { "Feedback: clear. [RESULT] 5" } else { "Feedback: too hard. [RESULT] 1" })
    });
    for _ in 0..2 {
        let run = remote_judge::run("judge", RemoteOptions::new(stub.url()), folder.path()).unwrap();
        assert_eq!(run.result.summary.unwrap().overall.mean, 3.0);
    }
    assert_eq!(stub.received(), 2);
}
