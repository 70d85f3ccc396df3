//! Mini's pairs of responses, of which one is preferred.

use super::realise::passage;
use super::worse::less_helpful;
use super::{Cycle, Mini, Split, another_combination, combination, draw_system, instruction, members};
use janus_core::{BenchRecord, Message, PairRecord, stream};

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
            record(family.as_str(), &system, &prompt, chosen, rejected)
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
            record(family.as_str(), "", &prompt, chosen, rejected)
        };
        (0..count).map(pair).collect()
    }
}

/// Pairs that no model was trained on, from the records of a split: chosen is a record's gold response,
/// rejected that of the next record of the same instruction.
pub fn held_out_pairs(records: &[BenchRecord]) -> Vec<PairRecord> {
    let of = |rows: &[BenchRecord]| -> Vec<PairRecord> {
        let next = rows.iter().cycle().skip(1);
        let pair = |(row, other): (&BenchRecord, &BenchRecord)| {
            record(&row.source, &row.system, &row.prompt, row.reference_answer.clone(), other.reference_answer.clone())
        };
        rows.iter().zip(next).map(pair).collect()
    };
    records.chunk_by(|a, b| a.prompt == b.prompt).filter(|rows| rows.len() > 1).flat_map(of).collect()
}

fn record(source: &str, system: &str, prompt: &str, chosen: String, rejected: String) -> PairRecord {
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
