//! What Mini's readers ask: five instruction families, each in twenty phrasings.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use rand::Rng;

use super::Split;
use super::topics::{TOPICS, Topic};

/// An instruction family. It stands where the paper's bench has one of its five sources, and asks for
/// one of the five facts of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// What it looks like.
    Appearance,
    /// Where it is found.
    Place,
    /// How it works or lives.
    Working,
    /// What it is good for.
    Use,
    /// What is surprising about it.
    Surprise,
}

impl Family {
    /// All five, in the order of [`Topic::facts`].
    pub const ALL: [Family; 5] = [Family::Appearance, Family::Place, Family::Working, Family::Use, Family::Surprise];

    /// The name that records carry as their source.
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

/// Phrasings of each family.
pub const PHRASINGS: usize = FRAMES.len() * CLAUSES[0].len();

/// The split in which a phrasing may be used: twelve train, four dev, four bench. Every frame and every
/// clause is met in training.
pub fn phrasing_split(index: usize) -> Split {
    let clauses = CLAUSES[0].len();
    super::pair_split(index / clauses, index % clauses)
}

/// How a question begins and ends, around a clause.
static FRAMES: [&str; 5] = ["Tell me {}.", "Can you explain {}?", "I would like to know {}.", "Please say {}.", "Do you know {}?"];

/// What a family asks, around the topic's name.
#[rustfmt::skip]
static CLAUSES: [[&str; 4]; 5] = [
    ["what the {} looks like", "which shape the {} has", "how one knows the {} by its look", "what the visible features of the {} are"],
    ["where the {} is found", "in which places the {} can be seen", "where in the world the {} belongs", "where one can meet the {}"],
    ["how the {} works", "in which way the {} does its work", "how the {} manages its task", "how the {} does what it does"],
    ["what the {} is good for", "why people value the {}", "what use people have for the {}", "how the {} serves us"],
    ["what is surprising about the {}", "which odd fact there is about the {}", "what is least known about the {}", "what may surprise me about the {}"],
];

/// Headings of a family's articles in Mini's plain text.
static HEADINGS: [[&str; 4]; 5] = [
    ["look and shape", "what it looks like", "visible features", "described by its look"],
    ["place in the world", "where it is found", "places to see it", "where to look for it"],
    ["how it works", "its way of doing it", "how it manages its task", "its work explained"],
    ["use and value", "what it is good for", "how it serves people", "why people value it"],
    ["a surprising fact", "something odd", "a least known fact", "what may surprise"],
];

/// The heading of a plain article about what a family asks for.
pub(super) fn heading(family: Family, topic: &Topic, rng: &mut impl Rng) -> String {
    let headings = &HEADINGS[family as usize];
    format!("The {}: {}", topic.name, headings[rng.random_range(0..headings.len())])
}

/// A family's question with a place for the topic's name; `index` below [`PHRASINGS`].
fn phrasing(family: Family, index: usize) -> String {
    let clauses = &CLAUSES[family as usize];
    FRAMES[index / clauses.len()].replace("{}", clauses[index % clauses.len()])
}

/// The question of a family about a topic in one of its phrasings.
pub fn instruction(family: Family, topic: &Topic, index: usize) -> String {
    phrasing(family, index).replace("{}", topic.name)
}

/// Reads a question back: its family and topic. None if Mini does not ask it.
pub fn understand(prompt: &str) -> Option<(Family, &'static Topic)> {
    static ASKED: LazyLock<HashMap<String, (Family, &'static Topic)>> = LazyLock::new(|| {
        let families = Family::ALL.into_iter().flat_map(|family| (0..PHRASINGS).map(move |index| (family, index)));
        let asked =
            families.flat_map(|(family, index)| TOPICS.iter().map(move |topic| (instruction(family, topic, index), (family, topic))));
        asked.collect()
    });
    ASKED.get(prompt.trim()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_understood() {
        for topic in &TOPICS {
            for family in Family::ALL {
                for phrasing in 0..PHRASINGS {
                    let asked = instruction(family, topic, phrasing);
                    let (f, t) = understand(&asked).unwrap();
                    assert_eq!((f, t.name), (family, topic.name), "{asked}");
                }
            }
        }
        assert!(understand("Tell me what the unicorn looks like.").is_none());
        assert!(understand("").is_none());
    }
}
