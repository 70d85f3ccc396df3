//! Mini's pairs of responses, of which one is preferred.

use janus_core::{BenchRecord, Message, PairRecord, stream};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::realise::passage;
use super::{Cycle, Family, Feature, Mini, Split, Topic, combination, combination_unlike, draw_system, instruction, members, topics};

impl Mini {
    /// `count` pairs under system messages of the train split, each its own: chosen is the response to the
    /// system message, rejected the response to another one, with other preferences in every dimension (the
    /// paper, section 3, step 6).
    pub fn pairs(&self, count: usize) -> Vec<PairRecord> {
        let mut rng = stream(self.seed, "mini pairs");
        let mut cycle = Cycle::new(&mut rng);
        let pair = |_| {
            let (family, topic) = cycle.next(&mut rng);
            let prompt = instruction(family, topic, self.phrasing(Split::Train, &mut rng));
            let (chosen, system) = draw_system(Split::Train, &mut rng);
            let rejected = combination_unlike(Split::Train, chosen, &mut rng);
            let [chosen, rejected] = [chosen, rejected].map(|combination| {
                let features = members(combination).map(|member| member.feature);
                passage(family, topic, &features)
            });
            record(family.as_str(), &system, &prompt, chosen, rejected)
        };
        (0..count).map(pair).collect()
    }

    /// `count` pairs of general helpfulness, without a system message: chosen is a full and true answer,
    /// rejected an emptier one, one to another question, one about another subject, or a broken-off one.
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

/// A response in the same manner that helps less.
fn less_helpful(family: Family, topic: &'static Topic, features: &[Feature], rng: &mut ChaCha8Rng) -> String {
    let others: Vec<&Topic> = topics().iter().filter(|other| other.name != topic.name).collect();
    match rng.random_range(0..4) {
        0 => {
            let empty = [Feature::OnlyAnswer];
            let bare = passage(family, topic, &empty);
            // Nothing is emptier than the bare answer but its beginning.
            if bare == passage(family, topic, features) { broken_off(&bare) } else { bare }
        }
        1 => {
            let asked: Vec<Family> = Family::ALL.into_iter().filter(|other| *other != family).collect();
            passage(asked.choose(rng).copied().unwrap_or(family), topic, features)
        }
        2 => passage(family, others.choose(rng).copied().unwrap_or(topic), features),
        _ => broken_off(&passage(family, topic, features)),
    }
}

/// The first third of a text's words.
fn broken_off(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    words[..words.len().div_ceil(3)].join(" ")
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
