//! What Mini's readers ask: five instruction families, each in six phrasings.

use std::fmt;

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

    fn phrasings(self) -> &'static [&'static str; PHRASINGS] {
        &QUESTIONS[self as usize]
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Phrasings of each family.
pub const PHRASINGS: usize = 12;

/// The split in which a phrasing may be used: nine train, one dev, two bench.
pub fn phrasing_split(index: usize) -> Split {
    match index {
        0..9 => Split::Train,
        9 => Split::Dev,
        _ => Split::Bench,
    }
}

#[rustfmt::skip]
static QUESTIONS: [[&str; PHRASINGS]; 5] = [
    ["What does the {} look like?", "How would you describe the look of the {}?", "Tell me about the shape of the {}.", "What are the visible features of the {}?",
     "Describe the look of the {}.", "Which shape has the {}?", "What features has the {}?", "Tell me how the {} looks.", "How does one know the {} by its look?",
     "Describe the shape of the {}.", "Tell me what the {} looks like.", "Describe the visible features of the {}."],
    ["Where is the {} found?", "Where can I see the {}?", "In which place does one meet the {}?", "Tell me the place of the {} in the world.",
     "Where would I look for the {}?", "Tell me where I can meet the {}.", "In which places can the {} be found?", "Where does the {} belong in the world?", "Tell me where to look for the {}.",
     "Where in the world is the {}?", "Tell me where the {} is found.", "Where can the {} be seen?"],
    ["How does the {} work?", "How does the {} do what it does?", "What is the way of the {}?", "Explain how the {} manages its task.",
     "Tell me how the {} manages.", "In which way does the {} work?", "Explain the work of the {}.", "How does the {} manage?", "Explain the way of the {}.",
     "Explain how the {} does it.", "Tell me how the {} works.", "Explain in which way the {} works."],
    ["What is the {} good for?", "Why do people value the {}?", "What is the use of the {}?", "How does the {} serve us?",
     "Tell me why people value the {}.", "Which use has the {}?", "What good does the {} do for us?", "How do people use the {}?", "Tell me how the {} serves people.",
     "Why is the {} of use?", "Tell me what the {} is good for.", "What use do people have for the {}?"],
    ["What is surprising about the {}?", "Which fact about the {} is least known?", "Tell me something odd about the {}.", "Surprise me with the {}.",
     "Which odd fact do you know about the {}?", "Tell me a surprising fact about the {}.", "What is the least known fact about the {}?", "Is anything odd about the {}?", "Surprise me with a fact about the {}.",
     "What is odd about the {}?", "Tell me something surprising about the {}.", "What would surprise me about the {}?"],
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

/// The question of a family about a topic in one of its phrasings.
pub fn instruction(family: Family, topic: &Topic, phrasing: usize) -> String {
    family.phrasings()[phrasing].replace("{}", topic.name)
}

/// Reads a question back: its family and topic. None if Mini does not ask it.
pub fn understand(prompt: &str) -> Option<(Family, &'static Topic)> {
    let prompt = prompt.trim();
    Family::ALL.into_iter().find_map(|family| {
        family.phrasings().iter().find_map(|phrasing| {
            let (before, after) = phrasing.split_once("{}")?;
            let name = prompt.strip_prefix(before)?.strip_suffix(after)?;
            TOPICS.iter().find(|topic| topic.name == name).map(|topic| (family, topic))
        })
    })
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
        assert!(understand("What does the unicorn look like?").is_none());
        assert!(understand("").is_none());
    }
}
