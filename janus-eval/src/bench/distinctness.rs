//! How similar the answers to one instruction under different system messages are: average and maximum
//! ROUGE-L among them (Janus, arXiv 2405.17977, "diversity"). Lower is more distinct.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use janus_core::BenchRecord;
use janus_data::read_all;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::evaluation::{Evaluation, Numbers, ends, flat, in_file, interval, part, shown};
use crate::join::join;
use crate::stats::{Interval, Sample};
use crate::{Error, Missing, Response, Result};

/// ROUGE-L of two texts (Lin 2004), 0 to 1: the F-measure of their longest common subsequence, the
/// harmonic mean of the shares of the two texts' words that it covers. Words are runs of ASCII letters
/// and digits in lower case, as in the `rouge_score` package, without stemming. The score of texts
/// without words is 0.
///
/// ```
/// use janus_eval::bench::distinctness::rouge_l;
/// assert_eq!(rouge_l("the cat sat", "The cat, it sat!"), 6.0 / 7.0);
/// ```
pub fn rouge_l(left: &str, right: &str) -> f64 {
    let (left, right) = (words(left), words(right));
    score(&left, &right)
}

fn score(left: &[String], right: &[String]) -> f64 {
    let common = common_subsequence(left, right);
    // 2PR / (P + R) with P = common / |right| and R = common / |left|.
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (left.len() + right.len()) as f64 }
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

/// Length of the longest common subsequence, 64 positions at a time (Hyyrö 2004, "Bit-parallel
/// LCS-length computation revisited").
fn common_subsequence(left: &[String], right: &[String]) -> usize {
    let blocks = left.len().div_ceil(64);
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for (at, word) in left.iter().enumerate() {
        places.entry(word).or_insert_with(|| vec![0; blocks])[at / 64] |= 1 << (at % 64);
    }
    let mut row = vec![u64::MAX; blocks];
    for word in right {
        let Some(matches) = places.get(word.as_str()) else { continue };
        let mut carry = false;
        for (bits, matches) in row.iter_mut().zip(matches) {
            let hit = *bits & matches;
            let (sum, over) = bits.overflowing_add(hit);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            carry = over || over_again;
            *bits = sum | (*bits & !matches);
        }
    }
    // Each bit that is 0 stands for one more word of the subsequence. Bits beyond the text stay 1.
    row.iter().map(|bits| bits.count_zeros() as usize).sum()
}

/// An answer to an instruction under one of its system messages.
#[derive(Deserialize)]
struct Answer {
    /// The instruction; answers with the same instruction are compared.
    prompt: String,
    #[serde(alias = "output")]
    response: String,
}

/// The similarity of the answers to an instruction, averaged over instructions.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Distinctness {
    /// Mean over instructions of the mean over pairs of answers.
    pub average_rouge_l: f64,
    /// Mean over instructions of the maximum over pairs of answers.
    pub maximum_rouge_l: f64,
    /// Instructions with at least two answers.
    pub instructions: usize,
    /// Instructions with a single answer; they are left out.
    pub single: usize,
    /// Answers of the counted instructions.
    pub answers: usize,
    /// Interval of the average over instructions; `None` for a single one.
    #[serde(skip)]
    pub average_interval: Option<Interval>,
    /// Interval of the maximum.
    #[serde(skip)]
    pub maximum_interval: Option<Interval>,
    /// Records without a response, if the answers were joined with a bench.
    #[serde(skip)]
    pub missing: Option<Missing>,
}

/// The similarity of the answers in a file of `{prompt, response}` rows. With a `bench`, the file holds
/// responses to the ids of its records. `seed` is the seed of the intervals.
///
/// # Errors
/// [`Error::File`]; with the responses' path those of [`join`], and [`Error::Empty`] if no instruction
/// has two answers.
pub fn evaluate(responses: impl AsRef<Path>, bench: Option<&Path>, seed: u64) -> Result<Evaluation> {
    let path = responses.as_ref();
    let (answers, missing) = match bench {
        None => (read_all(path)?, None),
        Some(bench) => {
            let records: Vec<BenchRecord> = read_all(bench)?;
            let responses: Vec<Response> = read_all(path)?;
            let joined = in_file(path, join(&records, &responses))?;
            let answer = |(response, prompt): (&str, &str)| Answer {
                prompt: prompt.into(),
                response: response.into(),
            };
            let answered =
                joined.rows.iter().filter_map(|row| Some((row.response?, row.record.prompt.as_str())));
            (answered.map(answer).collect(), Some(joined.missing))
        }
    };
    Distinctness { missing, ..in_file(path, distinctness(&answers, seed))? }.evaluation()
}

impl Numbers for Distinctness {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let average = ends("average_rouge_l", self.average_interval.as_ref());
        let maximum = ends("maximum_rouge_l", self.maximum_interval.as_ref());
        let missing = self.missing.as_ref().map(|missing| json!({ "missing": missing }));
        flat([part(self), average, maximum, part(&missing)])
    }
}

impl fmt::Display for Distinctness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "average ROUGE-L {:.4}{}, maximum {:.4}{}",
            self.average_rouge_l,
            shown(self.average_interval.as_ref(), 4),
            self.maximum_rouge_l,
            shown(self.maximum_interval.as_ref(), 4)
        )?;
        let (answers, instructions, single) = (self.answers, self.instructions, self.single);
        write!(
            f,
            "{answers} answers to {instructions} instructions; {single} instructions have a single answer"
        )?;
        self.missing.iter().try_for_each(|missing| write!(f, "\nresponses: {missing}"))
    }
}

/// The distinctness of a model's answers.
fn distinctness(answers: &[Answer], seed: u64) -> Result<Distinctness> {
    let mut by_prompt: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for answer in answers {
        by_prompt.entry(&answer.prompt).or_default().push(&answer.response);
    }
    let several: Vec<&Vec<&str>> = by_prompt.values().filter(|answers| answers.len() > 1).collect();
    if several.is_empty() {
        return Err(Error::Empty { what: "a similarity without two answers to an instruction" });
    }
    let pairs = several.par_iter().map(|answers| {
        let cut: Vec<Vec<String>> = answers.iter().map(|answer| words(answer)).collect();
        let scores: Vec<f64> = (0..cut.len())
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| score(&cut[i], &cut[j]))
            .collect();
        (scores.iter().sum::<f64>() / scores.len() as f64, scores.iter().copied().fold(0.0, f64::max))
    });
    let (averages, maxima): (Vec<f64>, Vec<f64>) = pairs.collect::<Vec<_>>().into_iter().unzip();
    let (averages, maxima) = (Sample::of(averages)?, Sample::of(maxima)?);
    Ok(Distinctness {
        average_rouge_l: averages.mean(),
        maximum_rouge_l: maxima.mean(),
        instructions: several.len(),
        single: by_prompt.len() - several.len(),
        answers: several.iter().map(|answers| answers.len()).sum(),
        average_interval: interval(&averages, seed)?,
        maximum_interval: interval(&maxima, seed)?,
        missing: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length of the longest common subsequence by the textbook's dynamic programming.
    fn slow(left: &[String], right: &[String]) -> usize {
        let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
        for i in 1..=left.len() {
            for j in 1..=right.len() {
                table[i][j] = if left[i - 1] == right[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        table[left.len()][right.len()]
    }

    fn answer(prompt: &str, response: &str) -> Answer {
        Answer { prompt: prompt.into(), response: response.into() }
    }

    #[test]
    fn instructions_have_equal_weight_whatever_their_number_of_answers() {
        let answers = [
            answer("p", "a b"),
            answer("q", "x"),
            answer("p", "a c"),
            answer("p", "a b"),
            answer("r", "y z"),
            answer("r", "w v"),
        ];
        let got = distinctness(&answers, 0).unwrap();
        assert_eq!((got.instructions, got.single, got.answers), (2, 1, 5));
        // p: 0.5, 1, 0.5; r: 0.
        assert!((got.average_rouge_l - (2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!((got.maximum_rouge_l, got.maximum_interval.unwrap().n), (0.5, 2));
        assert!(matches!(distinctness(&answers[..2], 0), Err(Error::Empty { .. })));
        assert_eq!((rouge_l("", "a"), rouge_l("...", "!")), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn the_bit_parallel_length_matches_dynamic_programming(left in "[ab c]{0,300}", right in "[ab c]{0,200}") {
            let cut = |text: &str| -> Vec<String> { text.chars().map(String::from).collect() };
            let (left, right) = (cut(&left), cut(&right));
            prop_assert_eq!(common_subsequence(&left, &right), slow(&left, &right));
        }

        #[test]
        fn rouge_l_is_symmetric_and_one_for_equal_texts(left in "\\PC{0,40}", right in "\\PC{0,40}") {
            prop_assert_eq!(rouge_l(&left, &right), rouge_l(&right, &left));
            prop_assert!((0.0..=1.0).contains(&rouge_l(&left, &right)));
            let same = rouge_l(&left, &left);
            prop_assert!(same == 1.0 || (same == 0.0 && words(&left).is_empty()));
        }
    }
}
