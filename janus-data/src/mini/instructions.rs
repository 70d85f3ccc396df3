//! The questions of Mini: five instruction families, each in twenty phrasings.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use rand::Rng;

use super::Split;
use super::topics::{TOPICS, Topic};

/// An instruction family, which asks for one of the five facts of a topic. The five families correspond to
/// the five sources of the paper's bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// What the topic looks like.
    Appearance,
    /// Where the topic is found.
    Place,
    /// How the topic works or lives.
    Working,
    /// What the topic is good for.
    Use,
    /// What is surprising about the topic.
    Surprise,
}

impl Family {
    /// All five, in the order of [`Topic::facts`].
    pub const ALL: [Family; 5] =
        [Family::Appearance, Family::Place, Family::Working, Family::Use, Family::Surprise];

    /// The name of the family, which is the source in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Appearance => "appearance",
            Family::Place => "place",
            Family::Working => "working",
            Family::Use => "use",
            Family::Surprise => "surprise",
        }
    }

    /// The fact of a topic that the family asks for.
    pub fn fact(self, topic: &Topic) -> &'static str {
        topic.facts[self as usize]
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Number of phrasings of each family.
pub const PHRASINGS: usize = FRAMES.len() * CLAUSES[0].len();

/// The split that a phrasing belongs to. Twelve are for training, four for dev and four for the bench. Every
/// frame and every clause occurs in training.
pub fn phrasing_split(index: usize) -> Split {
    let clauses = CLAUSES[0].len();
    super::pair_split(index / clauses, index % clauses)
}

/// The frames of a question, around a clause.
static FRAMES: [&str; 5] =
    ["Tell me {}.", "Can you explain {}?", "I would like to know {}.", "Please say {}.", "Do you know {}?"];

/// The clauses of each family, around the topic's name.
#[rustfmt::skip]
static CLAUSES: [[&str; 4]; 5] = [
    ["what the {} looks like", "which shape the {} has", "how one knows the {} by its look", "what the visible features of the {} are"],
    ["where the {} is found", "in which places the {} can be seen", "where in the world the {} belongs", "where one can meet the {}"],
    ["how the {} works", "in which way the {} does its work", "how the {} manages its task", "how the {} does what it does"],
    ["what the {} is good for", "why people value the {}", "what use people have for the {}", "how the {} serves us"],
    ["what is surprising about the {}", "which odd fact there is about the {}", "what is least known about the {}", "what may surprise me about the {}"],
];

/// The headings of each family's articles in Mini's plain text.
static HEADINGS: [[&str; 4]; 5] = [
    ["look and shape", "what it looks like", "visible features", "described by its look"],
    ["place in the world", "where it is found", "places to see it", "where to look for it"],
    ["how it works", "its way of doing it", "how it manages its task", "its work explained"],
    ["use and value", "what it is good for", "how it serves people", "why people value it"],
    ["a surprising fact", "something odd", "a least known fact", "what may surprise"],
];

/// The heading of a plain-text article about the fact that a family asks for.
pub(super) fn heading(family: Family, topic: &Topic, rng: &mut impl Rng) -> String {
    let headings = &HEADINGS[family as usize];
    format!("The {}: {}", topic.name, headings[rng.random_range(0..headings.len())])
}

/// A family's question with a slot for the topic's name; `index` is below [`PHRASINGS`].
fn phrasing(family: Family, index: usize) -> String {
    let clauses = &CLAUSES[family as usize];
    FRAMES[index / clauses.len()].replace("{}", clauses[index % clauses.len()])
}

/// The question of a family about a topic in one of its phrasings.
pub fn instruction(family: Family, topic: &Topic, index: usize) -> String {
    phrasing(family, index).replace("{}", topic.name)
}

/// The family and the topic of a question; `None` if it is not one of Mini's.
pub fn understand(prompt: &str) -> Option<(Family, &'static Topic)> {
    static QUESTIONS: LazyLock<HashMap<String, (Family, &'static Topic)>> = LazyLock::new(|| {
        let families =
            Family::ALL.into_iter().flat_map(|family| (0..PHRASINGS).map(move |index| (family, index)));
        let questions = families.flat_map(|(family, index)| {
            TOPICS.iter().map(move |topic| (instruction(family, topic, index), (family, topic)))
        });
        questions.collect()
    });
    QUESTIONS.get(prompt.trim()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_understood() {
        for topic in &TOPICS {
            for family in Family::ALL {
                for phrasing in 0..PHRASINGS {
                    let question = instruction(family, topic, phrasing);
                    let (f, t) = understand(&question).unwrap();
                    assert_eq!((f, t.name), (family, topic.name), "{question}");
                }
            }
        }
        assert!(understand("Tell me what the unicorn looks like.").is_none());
        assert!(understand("").is_none());
    }
}
