//! Mini's pairs of responses, of which one is preferred.

use janus_core::{BenchRecord, Message, PairRecord, stream};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::check::truth_and_grades;
use super::realise::passage;
use super::worse::less_helpful;
use super::{Cycle, Mini, Split, another_combination, combination, draw_system, instruction, members};
use crate::Result;

impl Mini {
    /// `count` pairs under system messages of the train split, each its own: chosen is the response to the
    /// system message, rejected the response to another one of the same question (the paper, section 3,
    /// step 6), with other preferences in one to four dimensions, so that each dimension is learnt by itself.
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

    /// `count` pairs of general helpfulness, without a system message: chosen is a full and true answer,
    /// rejected one in the same manner that is emptier, broken off, repetitive, untrue or garbled, or about another fact or
    /// subject.
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

    /// Pairs from answers that a model gave, graded by [`grade`](super::grade): what a reward model needs that has to choose
    /// among that model's answers, whose mistakes no list of mistakes foresees.
    ///
    /// Under each record's system message, rejected is in turn every answer with less than the highest sum of
    /// scores, chosen any one with the highest; the record's own response counts among the answers. An answer that
    /// is not fully true is rejected once more without a system message, for a true one: mostly another of the
    /// model's, if it gave any, else the record's. Answers that occur twice count once; a record whose answers are
    /// all as good gives no pair.
    ///
    /// # Errors
    /// [`Error::NotMini`](crate::Error::NotMini) if a record is not Mini's.
    pub fn graded_pairs<'a>(&self, answered: impl IntoIterator<Item = (&'a BenchRecord, &'a [String])>) -> Result<Vec<PairRecord>> {
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
            let top: Vec<&str> = graded.iter().filter(|answer| answer.total == best).map(|answer| answer.text).collect();
            let told: Vec<&str> =
                graded.iter().filter(|answer| answer.is_true && answer.text != reference).map(|answer| answer.text).collect();
            for answer in &graded {
                let pair =
                    |system: &str, chosen: &str| pair_record(&record.source, system, &record.prompt, chosen.into(), answer.text.into());
                if answer.total < best {
                    pairs.push(pair(&record.system, top.choose(&mut rng).copied().unwrap_or(reference)));
                }
                // Nothing is preferred to itself, whatever a record's own response is worth.
                if !answer.is_true && answer.text != reference {
                    let own = told.choose(&mut rng).filter(|_| rng.random_bool(0.7));
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
        Ok(Self { text, total: grades.iter().map(|grade| u32::from(grade.score.get())).sum(), is_true: truth.get() == 5 })
    }
}

/// Pairs that no model was trained on, from the records of a split: chosen is a record's gold response,
/// rejected that of the next record of the same instruction.
pub fn held_out_pairs(records: &[BenchRecord]) -> Vec<PairRecord> {
    let of = |rows: &[BenchRecord]| -> Vec<PairRecord> {
        let next = rows.iter().cycle().skip(1);
        let pair = |(row, other): (&BenchRecord, &BenchRecord)| {
            pair_record(&row.source, &row.system, &row.prompt, row.reference_answer.clone(), other.reference_answer.clone())
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
