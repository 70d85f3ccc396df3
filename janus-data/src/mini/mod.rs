//! Multifaceted Mini: a small synthetic world in which rules score the truth of an answer and its fit to a
//! reader. It takes the place of the Multifaceted Collection and Bench, without any download.
//!
//! * Sixty topics with facts, five instruction families, forty preferences (two for each of the
//!   published subdimensions): 10,000 preference combinations.
//! * [`Mini::train`] gives training rows, [`Mini::eval`] evaluation rows, [`Mini::documents`] plain text of
//!   the same world without any instruction.
//! * [`grade`] scores any text against a record's four preferences; [`grade_truth`] scores the answer alone.
//!
//! The three [`Split`]s never share a preference combination, a wording (a paraphrase of a preference),
//! a sentence plan (the template of a system message, [`SentencePlan`](janus_core::SentencePlan)) or a
//! phrasing of a question. They share the facts: the bench tests whether preferences are followed, not
//! whether facts are recalled.
//!
//! ```
//! use janus_data::mini::{Mini, Split, grade};
//! let bench = Mini::new(1).eval(Split::Bench, 2);
//! assert_eq!(bench.len(), 6); // two instructions, three system messages each, as in the paper
//! let gold = grade(&bench[0], &bench[0].reference_answer)?;
//! assert!(gold.iter().all(|grade| grade.score.get() == 5));
//! # Ok::<(), janus_data::Error>(())
//! ```

mod check;
mod files;
mod instructions;
mod pairs;
mod preferences;
mod realise;
mod system;
mod topics;
mod worse;

use std::collections::HashSet;
use std::num::NonZeroUsize;

use janus_core::{BenchRecord, PreferenceSet, SftRecord, derive_seed, stream};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

pub use check::{Grade, NotMini, grade, grade_truth};
pub use files::{MiniFiles, MiniSizes};
use instructions::heading;
pub use instructions::{Family, PHRASINGS, instruction, phrasing_split, understand};
pub use pairs::held_out_pairs;
pub use preferences::{Feature, MiniPreference, PREFERENCES, WORDINGS, wording_split};
use realise::passage;
pub use realise::{Wanted, realise};
pub use system::{plan_split, system_message};
pub use topics::{Topic, TopicKind};

/// A system message without any preference.
pub const UNIFORM_SYSTEM: &str = "You are a helpful assistant.";

/// Number of system messages for each instruction of a bench, as in the paper (section 3).
pub const SYSTEMS_PER_INSTRUCTION: usize = 3;

/// A split of the world. Each combination of preferences, wording, sentence plan and phrasing belongs to
/// exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// For choosing settings.
    Dev,
    /// For the final report only.
    Bench,
}

impl Split {
    /// The split's name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Dev => "dev",
            Split::Bench => "bench",
        }
    }
}

/// The split of a pair of parts, the first one of five and the second one of four. A fifth of the pairs is
/// for dev, a fifth for the bench, and every part occurs in training.
fn pair_split(first: usize, second: usize) -> Split {
    match (first + second) % 5 {
        0 => Split::Bench,
        1 => Split::Dev,
        _ => Split::Train,
    }
}

/// The topics of the world.
pub fn topics() -> &'static [Topic] {
    &topics::TOPICS
}

/// One preference of each dimension, as an index among the ten of its dimension.
type Combination = [usize; 4];

/// The split of a combination: of 10,000, about 30% bench, 15% dev, the rest train.
fn combination_split(combination: Combination) -> Split {
    let index = combination.iter().fold(0u64, |index, &member| 10 * index + member as u64);
    match derive_seed(index, "mini combination split") % 100 {
        0..30 => Split::Bench,
        30..45 => Split::Dev,
        _ => Split::Train,
    }
}

fn combination(split: Split, rng: &mut ChaCha8Rng) -> Combination {
    loop {
        let drawn = std::array::from_fn(|_| rng.random_range(0..10));
        if combination_split(drawn) == split {
            return drawn;
        }
    }
}

fn members(combination: Combination) -> [&'static MiniPreference; 4] {
    // The table lists the ten preferences of each dimension one after the other.
    std::array::from_fn(|dimension| &PREFERENCES[10 * dimension + combination[dimension]])
}

fn wanted(members: &[&MiniPreference; 4]) -> Wanted {
    let [style, background, informativeness, harmlessness] = members.map(|member| member.feature);
    Wanted { style, background, informativeness, harmlessness }
}

/// A question without a system message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MiniQuestion {
    /// The kind of fact that it asks for.
    pub family: Family,
    /// The topic that it asks about.
    pub topic: &'static Topic,
    /// Its text.
    pub prompt: String,
}

/// The data of Mini, all of which the seed determines.
#[derive(Debug, Clone, Copy)]
pub struct Mini {
    seed: u64,
}

impl Mini {
    /// Mini with a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Plain text: `count` pages, each with one to three short articles. An article has a heading, usually
    /// keywords, and a passage that shows what the keywords name: one to four preferences of a combination of
    /// the train split. The pages contain no system message, no question and no wording of a system message.
    ///
    /// Pages with several articles teach that the last heading counts, whatever precedes it. Without them, a
    /// model that was tuned on one short system message breaks down with a long one. Articles with few
    /// keywords teach the meaning of each keyword before several have to be distinguished.
    pub fn documents(&self, count: usize) -> Vec<String> {
        let mut rng = stream(self.seed, "mini documents");
        let mut cycle = Cycle::new(&mut rng);
        let mut page = || {
            let articles = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3].choose(&mut rng).copied().unwrap_or(1);
            (0..articles).map(|_| article(&mut cycle, &mut rng)).collect::<Vec<_>>().join("\n\n")
        };
        (0..count).map(|_| page()).collect()
    }

    /// `count` training rows. Row i has the same question whatever `distinct` is.
    ///
    /// With `distinct`, the system messages are drawn from a pool of that size; without it, each row has its
    /// own.
    pub fn train(&self, count: usize, distinct: Option<NonZeroUsize>) -> Vec<SftRecord> {
        let pool = distinct.map(|size| self.systems(size.get()));
        let mut questions = stream(self.seed, "mini train questions");
        let mut systems = stream(self.seed, "mini train systems");
        let mut cycle = Cycle::new(&mut questions);
        (0..count)
            .map(|_| {
                let (family, topic) = cycle.next(&mut questions);
                let phrasing = self.phrasing(Split::Train, &mut questions);
                let (combination, system) = match &pool {
                    Some(pool) => pool.choose(&mut systems).cloned().unwrap_or_default(),
                    None => draw_system(Split::Train, &mut systems),
                };
                let members = members(combination);
                SftRecord {
                    main_source: "mini".into(),
                    original_source: family.as_str().into(),
                    preference_set: Some(preference_set(&members)),
                    system,
                    prompt: instruction(family, topic, phrasing),
                    output: realise(family, topic, &wanted(&members)),
                }
            })
            .collect()
    }

    /// `instructions` questions of a split, each with [`SYSTEMS_PER_INSTRUCTION`] system messages of
    /// that split with different preferences in every dimension.
    pub fn eval(&self, split: Split, instructions: usize) -> Vec<BenchRecord> {
        let mut rng = stream(self.seed, &format!("mini {}", split.as_str()));
        let mut cycle = Cycle::new(&mut rng);
        let mut records = Vec::with_capacity(instructions * SYSTEMS_PER_INSTRUCTION);
        for number in 0..instructions {
            let (family, topic) = cycle.next(&mut rng);
            let prompt = instruction(family, topic, self.phrasing(split, &mut rng));
            let mut chosen: Vec<Combination> = Vec::new();
            while chosen.len() < SYSTEMS_PER_INSTRUCTION {
                let drawn = combination(split, &mut rng);
                if chosen.iter().all(|other| (0..4).all(|dimension| other[dimension] != drawn[dimension])) {
                    chosen.push(drawn);
                }
            }
            for (variant, combination) in chosen.into_iter().enumerate() {
                let members = members(combination);
                records.push(BenchRecord {
                    id: Some(format!("{}-{number:04}-{variant}", split.as_str())),
                    source: family.as_str().into(),
                    preference_set: Some(preference_set(&members)),
                    system: system_message(split, &members, &mut rng),
                    prompt: prompt.clone(),
                    reference_answer: realise(family, topic, &wanted(&members)),
                    rubrics: members.iter().map(|member| member.rubric()).collect(),
                });
            }
        }
        records
    }

    /// Every question of the world in every phrasing of a split, by topic.
    pub fn questions(split: Split) -> Vec<MiniQuestion> {
        let questions = |family: Family, topic: &'static Topic| {
            let usable = (0..PHRASINGS).filter(move |&phrasing| phrasing_split(phrasing) == split);
            usable.map(move |phrasing| MiniQuestion {
                family,
                topic,
                prompt: instruction(family, topic, phrasing),
            })
        };
        topics()
            .iter()
            .flat_map(|topic| Family::ALL.into_iter().flat_map(move |family| questions(family, topic)))
            .collect()
    }

    /// A pool of `size` different system messages of the train split.
    fn systems(&self, size: usize) -> Vec<(Combination, String)> {
        let mut rng = stream(self.seed, "mini pool");
        let mut seen = HashSet::new();
        let mut pool = Vec::with_capacity(size);
        while pool.len() < size {
            let drawn = draw_system(Split::Train, &mut rng);
            if seen.insert(drawn.1.clone()) {
                pool.push(drawn);
            }
        }
        pool
    }

    fn phrasing(&self, split: Split, rng: &mut ChaCha8Rng) -> usize {
        let usable: Vec<usize> = (0..PHRASINGS).filter(|&i| phrasing_split(i) == split).collect();
        usable.choose(rng).copied().unwrap_or(0)
    }
}

fn article(cycle: &mut Cycle, rng: &mut ChaCha8Rng) -> String {
    let (family, topic) = cycle.next(rng);
    let mut shown = members(combination(Split::Train, rng)).to_vec();
    for _ in 0..rng.random_range(0..shown.len()) {
        shown.remove(rng.random_range(0..shown.len()));
    }
    let features: Vec<Feature> = shown.iter().map(|member| member.feature).collect();
    let text = passage(family, topic, &features);
    shown.shuffle(rng);
    let keywords: Vec<&str> =
        shown.iter().map(|member| member.keywords().choose(rng).copied().unwrap_or(member.name)).collect();
    let (heading, keywords) = (heading(family, topic, rng), keywords.join(", "));
    match rng.random_range(0..5) {
        0 => format!("{heading}\n{text}"),
        1 | 2 => format!("{heading}\nKeywords: {keywords}\n{text}"),
        _ => format!("Keywords: {keywords}\n{heading}\n{text}"),
    }
}

/// A combination of the split that differs from `other` in one to four dimensions. Their number is drawn
/// uniformly.
fn another_combination(split: Split, other: Combination, rng: &mut ChaCha8Rng) -> Combination {
    loop {
        let mut drawn = other;
        let mut dimensions = [0, 1, 2, 3];
        dimensions.shuffle(rng);
        for &dimension in &dimensions[..rng.random_range(1..=4)] {
            drawn[dimension] = (drawn[dimension] + rng.random_range(1..10)) % 10;
        }
        if combination_split(drawn) == split {
            return drawn;
        }
    }
}

fn draw_system(split: Split, rng: &mut ChaCha8Rng) -> (Combination, String) {
    let drawn = combination(split, rng);
    (drawn, system_message(split, &members(drawn), rng))
}

fn preference_set(members: &[&MiniPreference; 4]) -> PreferenceSet {
    match PreferenceSet::new(members.map(MiniPreference::to_preference)) {
        Ok(set) => set,
        // The members come from the table in `preferences`, one of each dimension.
        Err(error) => unreachable!("Mini's table of preferences: {error}"),
    }
}

/// All questions in a shuffled order, which is shuffled again after each pass, so that each question occurs
/// equally often.
struct Cycle {
    order: Vec<(Family, &'static Topic)>,
    next: usize,
}

impl Cycle {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut order: Vec<_> =
            topics().iter().flat_map(|topic| Family::ALL.map(|family| (family, topic))).collect();
        order.shuffle(rng);
        Self { order, next: 0 }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> (Family, &'static Topic) {
        if self.next == self.order.len() {
            self.order.shuffle(rng);
            self.next = 0;
        }
        self.next += 1;
        self.order[self.next - 1]
    }
}
