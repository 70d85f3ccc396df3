//! One experiment: its profile, seed, data and tokenizer.

use std::path::PathBuf;

use janus_data::Tokenizer;
use janus_data::mini::Mini;

use super::profile::Profile;

/// What all stages share.
pub struct Experiment<'a> {
    /// The run's profile.
    pub profile: &'a Profile,
    /// The run's seed.
    pub seed: u64,
    /// The world of the data.
    pub mini: Mini,
    /// The stage's folder with train, dev and bench.
    pub data: PathBuf,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Where its files are.
    pub tokenizer_folder: PathBuf,
}
