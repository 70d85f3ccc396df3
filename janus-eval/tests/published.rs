//! Every number of the specification's checklist, recomputed from the reference data.

use std::path::PathBuf;

use janus_eval::verify::{Verification, verify};

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

/// How many checks each line of the checklist has, by what their names begin with and contain.
const CHECKLIST: [(&str, &str, usize); 26] = [
    ("alpaca_eval: ", "swapped", 1),
    ("alpaca_eval ", "preferences from the stored ones", 7),
    ("alpaca_eval ", ": win_rate", 7),
    ("alpaca_eval ", ": standard_error", 7),
    ("alpaca_eval ", ": n_wins", 14),
    ("alpaca_eval ", ": n_draws", 7),
    ("alpaca_eval ", ": discrete_win_rate", 7),
    ("alpaca_eval ", ": avg_length", 7),
    ("alpaca_eval ", "official C, exact minimiser", 7),
    ("alpaca_eval ", "official C, reference optimiser", 7),
    ("alpaca_eval ", "own cross-validation", 14),
    ("alpaca_eval ", "stored weights", 7),
    ("mt_bench ", "ratings equal to the stored ones", 4),
    ("mt_bench ", ": average", 4),
    ("mt_bench ", ": turn", 8),
    ("mt_bench ", ": by_category", 32),
    ("mt_bench ", "prompts equal to the stored ones", 1),
    ("arena_hard", "labels equal to the stored ones", 1),
    ("arena_hard", ": score", 3),
    ("arena_hard", ": rating_q", 2),
    ("rubrics ", ": mean", 16),
    ("rubrics ", "n, win, tie, loss", 12),
    ("real_toxicity_prompts ", "toxicity", 3 * 7),
    ("real_toxicity_prompts ", ": dist_", 9),
    ("toxicity_classifier, published", "", 18),
    ("toxicity_classifier: ", "stored predictions", 6),
];

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn every_number_of_the_checklist_is_reproduced() {
    let Verification { checks, failed } = verify(&data());
    let off: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert!(off.is_empty() && failed == 0, "{failed} of {} are off: {off:#?}", checks.len());
    for (start, part, count) in CHECKLIST {
        let found = checks.iter().filter(|check| check.what.starts_with(start) && check.what.contains(part)).count();
        assert_eq!(found, count, "checks that begin with {start:?} and contain {part:?}");
    }
}

#[test]
fn a_folder_without_data_fails_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let Verification { checks, failed } = verify(folder.path());
    assert_eq!((checks.len(), failed), (7, 7));
    assert!(
        checks.iter().all(|check| check.value.is_null() && check.what.contains("eval") | check.what.contains(": cannot")),
        "{checks:#?}"
    );
}
