//! Stages that earlier versions finished are still skipped.

use std::fs;
use std::path::Path;

use janus_data::Result;
use janus_data::fs::fingerprint;
use janus_data::stage::{RunFolder, StageState};
use serde_json::json;

fn copy(from: &Path, to: &Path) {
    for name in fingerprint::files_below(from).unwrap() {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(from.join(&name), path).unwrap();
    }
}

/// The folder contains the first two stages of a run, as written at revision 0a1c55a.
#[test]
fn stages_of_an_earlier_version_are_skipped_and_keep_their_bytes() {
    let root = tempfile::tempdir().unwrap();
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/finished_run")), root.path());
    let before = fingerprint::of_path(&root.path().join("stages")).unwrap();

    let mut run = RunFolder::open(root.path()).unwrap();
    let sizes =
        json!({ "documents": 400, "rows": 3, "instructions": 1, "plain_every": 8, "distinct": [4, 16, 64] });
    let config = json!({ "seed": 3, "data": sizes, "version": "0.1.0" });
    let mini = run.stage("mini", &config, &[], |_| -> Result<()> { panic!("it is done") }).unwrap();
    run.stage("tokenizer", &json!({ "vocab_size": 300 }), &[("mini", &mini)], |_| -> Result<()> {
        panic!("it is done")
    })
    .unwrap();
    assert!(
        run.stages().iter().all(|stage| stage.state == StageState::Skipped && stage.seconds > 0.0),
        "{run:?}"
    );
    assert_eq!(fingerprint::of_path(&root.path().join("stages")).unwrap(), before);
}
