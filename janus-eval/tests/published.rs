//! Published numbers are checked by `cargo xtask eval verify DATA`; here, that nothing is taken for checked.

use janus_eval::verify::verify;

#[test]
fn a_folder_without_data_fails_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let checks = verify(folder.path());
    assert_eq!((checks.len(), checks.iter().filter(|check| !check.ok).count()), (11, 11));
    assert!(checks.iter().all(|check| check.value.is_null() && check.what.contains(": ")), "{checks:#?}");
}

#[test]
fn files_that_name_nothing_are_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let mt_bench = folder.path().join("mt_bench");
    std::fs::create_dir(&mt_bench).unwrap();
    for (name, content) in [("question.jsonl", ""), ("expected_scores.json", "[]")] {
        std::fs::write(mt_bench.join(name), content).unwrap();
    }
    let checks = verify(folder.path());
    assert!(
        checks.iter().any(|check| !check.ok
            && check.what.starts_with("MT-Bench: 0 numbers to check, the published data have ")),
        "{checks:#?}"
    );
}
