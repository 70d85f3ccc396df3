//! How much the answers under different system messages resemble each other.

use std::fmt;
use std::path::Path;

use janus_core::BenchRecord;
use janus_data::read_all;
use serde_json::{Map, Value, json};

use super::{Evaluation, ends, flat, in_file, interval, part, shown};
use crate::bench::distinctness::{Answer, Distinctness, distinctness};
use crate::{Interval, Missing, Response, Result, join};

/// The resemblance of a model's answers to the same instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct DistinctnessResult {
    /// The numbers.
    pub distinctness: Distinctness,
    /// Interval of the average ROUGE-L over instructions.
    pub average: Option<Interval>,
    /// Interval of the maximum ROUGE-L.
    pub maximum: Option<Interval>,
    /// Records without a response, if the answers were joined with a bench.
    pub missing: Option<Missing>,
}

impl DistinctnessResult {
    /// The resemblance of the answers in a file: rows of a prompt and a response, or with a `bench` responses by its ids.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`join`] and [`distinctness`], with the responses' path.
    pub fn of_files(responses: impl AsRef<Path>, bench: Option<&Path>, seed: u64) -> Result<Self> {
        let path = responses.as_ref();
        let (answers, missing) = match bench {
            None => (read_all(path)?, None),
            Some(bench) => {
                let records: Vec<BenchRecord> = read_all(bench)?;
                let responses: Vec<Response> = read_all(path)?;
                let joined = in_file(path, join(&records, &responses))?;
                let answer = |(response, prompt): (&str, &str)| Answer { prompt: prompt.into(), response: response.into() };
                let answered = joined.rows.iter().filter_map(|row| Some((row.response?, row.record.prompt.as_str())));
                (answered.map(answer).collect(), Some(joined.missing))
            }
        };
        let (distinctness, samples) = in_file(path, distinctness(&answers))?;
        let (average, maximum) = (interval(&samples.averages, seed)?, interval(&samples.maxima, seed)?);
        Ok(Self { distinctness, average, maximum, missing })
    }
}

impl Evaluation for DistinctnessResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        let intervals = [ends("average_rouge_l", self.average.as_ref()), ends("maximum_rouge_l", self.maximum.as_ref())];
        let [average, maximum] = intervals;
        let missing = self.missing.as_ref().map(|missing| json!({ "missing": missing }));
        flat([part(&self.distinctness), average, maximum, part(&missing)])
    }
}

impl fmt::Display for DistinctnessResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.distinctness;
        writeln!(
            f,
            "average ROUGE-L {:.4}{}, maximum {:.4}{}",
            found.average_rouge_l,
            shown(self.average.as_ref(), 4),
            found.maximum_rouge_l,
            shown(self.maximum.as_ref(), 4)
        )?;
        let (answers, instructions, single) = (found.answers, found.instructions, found.single);
        write!(f, "{answers} answers to {instructions} instructions; {single} instructions have a single answer")?;
        self.missing.iter().try_for_each(|missing| write!(f, "\nresponses: {missing}"))
    }
}
