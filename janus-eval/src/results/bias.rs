//! Whether a model reads pronouns by the sentence or by stereotype.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use serde_json::{Map, Value};

use super::{Evaluation, flat, in_file, part};
use crate::bench::bias::{Accuracy, PronounAccuracy, PronounRow, pronoun_accuracy};
use crate::{Response, Result};

/// The pronoun accuracy of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct BiasResult {
    /// The numbers.
    pub accuracy: PronounAccuracy,
}

impl BiasResult {
    /// The accuracy of a file of responses to a file of rows.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`pronoun_accuracy`], with the rows' path.
    pub fn of_files(rows: impl AsRef<Path>, responses: impl AsRef<Path>) -> Result<Self> {
        let path = rows.as_ref();
        let rows: Vec<PronounRow> = read_all(path)?;
        let responses: Vec<Response> = read_all(responses)?;
        Ok(Self { accuracy: in_file(path, pronoun_accuracy(&rows, &responses))? })
    }
}

impl Evaluation for BiasResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        flat([part(&self.accuracy)])
    }
}

impl fmt::Display for BiasResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, accuracy: &Accuracy| {
            let Accuracy { correct, unread, interval } = accuracy;
            let [share, low, high] = [interval.estimate, interval.low, interval.high].map(|share| 100.0 * share);
            writeln!(f, "{name:14} {share:6.2} % [{low:.2}, {high:.2}]  {correct} of {} right, {unread} unread", interval.n)
        };
        let found = &self.accuracy;
        line("all", &found.all)?;
        for (name, subset) in [("gotcha", &found.gotcha), ("not gotcha", &found.not_gotcha)] {
            subset.iter().try_for_each(|subset| line(name, subset))?;
        }
        found.by_gender.iter().try_for_each(|(gender, accuracy)| line(gender, accuracy))?;
        write!(f, "responses: {}", found.missing)
    }
}
