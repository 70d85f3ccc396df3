//! Checkpoints of the first format, which stored hashes of a run's settings. A run resumes from them,
//! and another run is refused.
//!
//! `fixtures/first_format` has recipes with the keys of that version, and the `training/state.json` of
//! their last checkpoint.

use std::path::Path;

use candle_core::Device;
use janus_train::{Checkpoint, Error, Recipe, Result};

#[test]
fn a_run_resumes_from_a_checkpoint_of_the_first_format_and_another_run_is_refused() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/first_format");
    for name in ["sft", "orpo", "reward", "imitation"] {
        let out = tempfile::tempdir().unwrap();
        let run = |set: &[&str]| -> Result<()> {
            let mut recipe = Recipe::read_with(fixtures.join(format!("{name}.toml")), set)?;
            recipe.data.path = fixtures.join(&recipe.data.path);
            recipe.model.tokenizer = Some(fixtures.join("tokenizer.json"));
            recipe.run(out.path(), &Device::Cpu, &mut ()).map(drop)
        };
        run(&[]).unwrap();
        let newest = || Checkpoint::list(out.path()).unwrap().pop().unwrap().path.join("training/state.json");
        std::fs::copy(fixtures.join(format!("{name}.state.json")), newest()).unwrap();
        run(&[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let refused = |set: &str| match run(&[set]) {
            Err(Error::OtherRun { what, .. }) => what,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(refused("train.lr=2e-3"), "config");
        assert_eq!(refused("model.shape=m6m"), "model");
    }
}
