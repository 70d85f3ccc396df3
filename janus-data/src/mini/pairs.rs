//! The preference pairs of Mini.

use janus_core::{BenchRecord, Message, PairRecord, stream};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::check::truth_and_grades;
use super::realise::passage;
use super::worse::less_helpful;
use super::{Cycle, Mini, Split, another_combination, combination, draw_system, instruction, members};
use crate::Result;

impl Mini {
    /// `count` pairs, each with its own system message of the train split. The chosen response follows the
    /// system message. The rejected one follows another system message for the same question (paper, section
    /// 3, step 6), which differs in one to four dimensions, so that each dimension is also learnt separately.
    pub fn pairs(&self, count: usize) -> Vec<PairRecord> {
        let mut rng = stream(self.seed, "mini pairs");
        let mut cycle = Cycle::new(&mut rng);
        let pair = |_| {
            let (family, topic) = cycle.next(&mut rng);
            let prompt = instruction(family, topic, self.phrasing(Split::Train, &mut rng));
            let (chosen, system) = draw_system(Split::Train, &mut rng);
            let rejected = another_combination(Split::Train, chosen, &mut rng);
            let [chosen, rejected] = [chosen, rejected].map(|combination| {
                let features = members(combination).map(|member| member.feature);
                passage(family, topic, &features)
            });
            pair_record(family.as_str(), &system, &prompt, chosen, rejected)
        };
        (0..count).map(pair).collect()
    }

    /// `count` pairs of general helpfulness, without a system message. The chosen response is a full and true
    /// answer. The rejected one has the same style, but is emptier, cut off, repetitive, untrue or garbled,
    /// or about another fact or topic.
    pub fn helpful_pairs(&self, count: usize) -> Vec<PairRecord> {
        let mut rng = stream(self.seed, "mini helpful pairs");
        let mut cycle = Cycle::new(&mut rng);
        let pair = |_| {
            let (family, topic) = cycle.next(&mut rng);
            let prompt = instruction(family, topic, self.phrasing(Split::Train, &mut rng));
            let features = members(combination(Split::Train, &mut rng)).map(|member| member.feature);
            let chosen = passage(family, topic, &features);
            let rejected = less_helpful(family, topic, &features, &mut rng);
            pair_record(family.as_str(), "", &prompt, chosen, rejected)
        };
        (0..count).map(pair).collect()
    }

    /// Pairs of answers that a model sampled, scored by [`grade`](super::grade). They train a reward model
    /// that has to choose among that model's answers, with mistakes that no hand-written list foresees.
    ///
    /// With each record's system message, every answer below the highest sum of scores is rejected once, and
    /// the chosen response is drawn from those with the highest sum. The record's own response is one of the
    /// answers. An answer that is not fully true is rejected once more without a system message; the chosen
    /// response is then a true one, usually another answer of the model if it gave one, else the record's.
    /// Answers that occur twice count once. A record whose answers all have the same sum gives no pair.
    ///
    /// # Errors
    /// [`Error::NotMini`](crate::Error::NotMini) if a record is not Mini's.
    pub fn graded_pairs<'a>(
        &self,
        answered: impl IntoIterator<Item = (&'a BenchRecord, &'a [String])>,
    ) -> Result<Vec<PairRecord>> {
        let mut rng = stream(self.seed, "mini graded pairs");
        let mut pairs = Vec::new();
        for (record, answers) in answered {
            let reference = &record.reference_answer;
            let mut graded: Vec<Graded<'_>> = Vec::new();
            for text in answers.iter().chain([reference]) {
                if graded.iter().all(|other| other.text != text) {
                    graded.push(Graded::new(record, text)?);
                }
            }
            let best = graded.iter().map(|answer| answer.total).max().unwrap_or(0);
            let top: Vec<&str> =
                graded.iter().filter(|answer| answer.total == best).map(|answer| answer.text).collect();
            let true_answers: Vec<&str> = graded
                .iter()
                .filter(|answer| answer.is_true && answer.text != reference)
                .map(|answer| answer.text)
                .collect();
            for answer in &graded {
                let pair = |system: &str, chosen: &str| {
                    pair_record(&record.source, system, &record.prompt, chosen.into(), answer.text.into())
                };
                if answer.total < best {
                    pairs.push(pair(&record.system, top.choose(&mut rng).copied().unwrap_or(reference)));
                }
                // The record's own response is not compared with itself, even if it is not fully true.
                if !answer.is_true && answer.text != reference {
                    let own = true_answers.choose(&mut rng).filter(|_| rng.random_bool(0.7));
                    pairs.push(pair("", own.copied().unwrap_or(reference)));
                }
            }
        }
        Ok(pairs)
    }
}

/// A model's answer to a record.
struct Graded<'a> {
    text: &'a str,
    /// Sum of the four scores.
    total: u32,
    is_true: bool,
}

impl<'a> Graded<'a> {
    fn new(record: &BenchRecord, text: &'a str) -> Result<Self> {
        let (truth, grades) = truth_and_grades(record, text)?;
        Ok(Self {
            text,
            total: grades.iter().map(|grade| u32::from(grade.score.get())).sum(),
            is_true: truth.get() == 5,
        })
    }
}

/// Held-out pairs from the records of a split. Chosen is a record's gold response, rejected is that of the
/// next record of the same instruction.
pub fn held_out_pairs(records: &[BenchRecord]) -> Vec<PairRecord> {
    let of = |rows: &[BenchRecord]| -> Vec<PairRecord> {
        let next = rows.iter().cycle().skip(1);
        let pair = |(row, other): (&BenchRecord, &BenchRecord)| {
            pair_record(
                &row.source,
                &row.system,
                &row.prompt,
                row.reference_answer.clone(),
                other.reference_answer.clone(),
            )
        };
        rows.iter().zip(next).map(pair).collect()
    };
    records.chunk_by(|a, b| a.prompt == b.prompt).filter(|rows| rows.len() > 1).flat_map(of).collect()
}

fn pair_record(source: &str, system: &str, prompt: &str, chosen: String, rejected: String) -> PairRecord {
    let side = |response: String| vec![Message::user(prompt), Message::assistant(response)];
    PairRecord {
        main_source: "mini".into(),
        original_source: source.into(),
        system: system.into(),
        prompt: prompt.into(),
        chosen: side(chosen),
        rejected: side(rejected),
    }
}
