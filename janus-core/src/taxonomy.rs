//! The tree of what people value: dimension, subdimension, preference.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::{Error, Preference, PreferenceSet, Result};

/// The four dimensions of the paper (section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Dimension {
    /// How the answer is written: format, tone, length.
    Style,
    /// What the reader already knows.
    BackgroundKnowledge,
    /// What the answer should give.
    Informativeness,
    /// What the answer should avoid or treat with care.
    Harmlessness,
}

impl Dimension {
    /// All four, in the paper's order.
    pub const ALL: [Dimension; 4] = [
        Dimension::Style,
        Dimension::BackgroundKnowledge,
        Dimension::Informativeness,
        Dimension::Harmlessness,
    ];

    /// The dimension's key in data: lower snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Dimension::Style => "style",
            Dimension::BackgroundKnowledge => "background_knowledge",
            Dimension::Informativeness => "informativeness",
            Dimension::Harmlessness => "harmlessness",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dimension {
    type Err = Error;

    /// Parses a key; the spelling of a heading ("Background knowledge") is accepted too.
    fn from_str(name: &str) -> Result<Self> {
        let key = name.trim().to_lowercase().replace([' ', '-'], "_");
        Dimension::ALL
            .into_iter()
            .find(|d| d.as_str() == key)
            .ok_or_else(|| Error::UnknownDimension { got: name.into() })
    }
}

impl TryFrom<String> for Dimension {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Dimension> for &'static str {
    fn from(dimension: Dimension) -> Self {
        dimension.as_str()
    }
}

/// The 20 subdimensions that the paper's project page shows: the five most frequent ones of each dimension.
/// The vocabulary is open; the datasets contain thousands of others.
pub const PUBLISHED_SUBDIMENSIONS: [(Dimension, [&str; 5]); 4] = [
    (Dimension::Style, ["clarity", "conciseness", "format", "tone", "vividness"]),
    (Dimension::BackgroundKnowledge, ["basic", "novice", "intermediate", "advanced", "expert"]),
    (Dimension::Informativeness, ["creativity", "depth", "efficiency", "practicality", "relevance"]),
    (Dimension::Harmlessness, ["accuracy", "morality", "safety", "sensitivity", "trustworthiness"]),
];

/// A tree of preferences: read from JSON, merged, sampled, queried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taxonomy {
    tree: BTreeMap<Dimension, BTreeMap<String, Vec<Preference>>>,
}

/// `{dimension: {subdimension: {label: description}}}` or, without descriptions, `{…: [label]}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    Described(BTreeMap<String, String>),
    Bare(Vec<String>),
}

impl Taxonomy {
    /// A tree of the given preferences; duplicates are dropped.
    pub fn new(preferences: impl IntoIterator<Item = Preference>) -> Self {
        let mut taxonomy = Self::default();
        for preference in preferences {
            taxonomy.insert(preference);
        }
        taxonomy
    }

    /// A small built-in tree: for each published subdimension two preferences whose
    /// descriptions are instructions that a model can follow on any topic.
    pub fn seed() -> Self {
        Self::new(SEED.iter().flat_map(|(dimension, subdimension, labels)| {
            labels
                .iter()
                .map(|&(name, description)| Preference::new(*dimension, *subdimension, name, description))
        }))
    }

    /// Reads `{dimension: {subdimension: [label, …]}}` or `{dimension: {subdimension: {label:
    /// description}}}`. Subdimensions are lower-cased, as in the datasets. A label without a description gets
    /// an empty one.
    ///
    /// # Errors
    /// A JSON error with its line; an unknown dimension is one too.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let read: BTreeMap<Dimension, BTreeMap<String, Labels>> = serde_json::from_str(text)?;
        let mut taxonomy = Self::default();
        for (dimension, subdimensions) in read {
            for (subdimension, labels) in subdimensions {
                let subdimension = subdimension.to_lowercase();
                let described: Vec<(String, String)> = match labels {
                    Labels::Described(map) => map.into_iter().collect(),
                    Labels::Bare(names) => names.into_iter().map(|name| (name, String::new())).collect(),
                };
                for (name, description) in described {
                    taxonomy.insert(Preference::new(dimension, subdimension.clone(), name, description));
                }
            }
        }
        Ok(taxonomy)
    }

    /// Adds a preference unless the tree has it already; returns whether it was added.
    pub fn insert(&mut self, preference: Preference) -> bool {
        let leaves = self
            .tree
            .entry(preference.dimension)
            .or_default()
            .entry(preference.subdimension.clone())
            .or_default();
        let new = !leaves.contains(&preference);
        if new {
            leaves.push(preference);
        }
        new
    }

    /// Adds all of another tree; returns how many preferences were new.
    pub fn merge(&mut self, other: Taxonomy) -> usize {
        let all = other.tree.into_values().flat_map(BTreeMap::into_values).flatten();
        all.filter(|preference| self.insert(preference.clone())).count()
    }

    /// Every preference, ordered by dimension, then by subdimension, then as added.
    pub fn iter(&self) -> impl Iterator<Item = &Preference> {
        self.tree.values().flat_map(BTreeMap::values).flatten()
    }

    /// Number of preferences.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the tree has no preference.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The subdimensions of a dimension, in alphabetical order.
    pub fn subdimensions(&self, dimension: Dimension) -> impl Iterator<Item = &str> {
        self.tree.get(&dimension).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// The preferences of a subdimension; empty if it is not in the tree.
    pub fn preferences(&self, dimension: Dimension, subdimension: &str) -> &[Preference] {
        self.tree.get(&dimension).and_then(|subs| subs.get(subdimension)).map_or(&[], Vec::as_slice)
    }

    /// Reads a preference as a user writes it, `DIMENSION/SUBDIMENSION=NAME`: either one of this taxonomy by
    /// its name, or a new one with its description, such as `style/rhyme=verse: Answer in verse.`
    ///
    /// # Errors
    /// [`Error::PreferenceText`], [`Error::UnknownDimension`], [`Error::UnknownPreference`].
    ///
    /// ```
    /// use janus_core::Taxonomy;
    /// let seed = Taxonomy::seed();
    /// assert_eq!(seed.parse_preference("style/format=bullet list")?.description, "Write the answer as a bullet list.");
    /// assert_eq!(seed.parse_preference("style/rhyme=verse: Answer in verse.")?.name, "verse");
    /// # Ok::<(), janus_core::Error>(())
    /// ```
    pub fn parse_preference(&self, text: &str) -> Result<Preference> {
        let (place, name) = text.split_once('=').ok_or(Error::PreferenceText)?;
        let (dimension, subdimension) = place.split_once('/').ok_or(Error::PreferenceText)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::PreferenceText);
        }
        let dimension: Dimension = dimension.parse()?;
        let subdimension = subdimension.trim().to_lowercase();
        if let Some((name, description)) = name.split_once(':') {
            return Ok(Preference::new(dimension, subdimension, name.trim(), description.trim()));
        }
        let there = self.preferences(dimension, &subdimension);
        if let Some(preference) = there.iter().find(|preference| preference.name.eq_ignore_ascii_case(name)) {
            return Ok(preference.clone());
        }
        if there.is_empty() {
            let known = self.subdimensions(dimension).map(String::from).collect();
            return Err(Error::UnknownPreference { place: dimension.to_string(), got: subdimension, known });
        }
        let known = there.iter().map(|preference| preference.name.clone()).collect();
        Err(Error::UnknownPreference {
            place: format!("{dimension}/{subdimension}"),
            got: name.into(),
            known,
        })
    }

    /// Draws a complete preference set: for each dimension a subdimension, then one of its preferences.
    /// Both draws are uniform, so that a subdimension with many labels is not drawn more often.
    ///
    /// # Errors
    /// [`Error::EmptyDimension`] if a dimension has no preference.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<PreferenceSet> {
        let draw = |dimension, rng: &mut _| {
            let subdimensions: Vec<&Vec<Preference>> =
                self.tree.get(&dimension).into_iter().flat_map(BTreeMap::values).collect();
            let leaves = subdimensions.choose(rng).and_then(|leaves| leaves.choose(rng));
            leaves.cloned().ok_or(Error::EmptyDimension { dimension })
        };
        PreferenceSet::new(Dimension::ALL.into_iter().map(|d| draw(d, rng)).collect::<Result<Vec<_>>>()?)
    }
}

type SeedRow = (Dimension, &'static str, [(&'static str, &'static str); 2]);

#[rustfmt::skip]
const SEED: [SeedRow; 20] = [
    (Dimension::Style, "clarity", [
        ("one idea per sentence", "Put one idea in each sentence."),
        ("answer first", "Open with the answer and explain it after that."),
    ]),
    (Dimension::Style, "conciseness", [
        ("two sentences", "Answer in at most two sentences."),
        ("no filler", "Leave out greetings, praise and filler words."),
    ]),
    (Dimension::Style, "format", [
        ("bullet list", "Write the answer as a bullet list."),
        ("numbered steps", "Write the answer as numbered steps."),
    ]),
    (Dimension::Style, "tone", [
        ("warm", "Sound warm and encouraging."),
        ("formal", "Keep a formal and neutral tone."),
    ]),
    (Dimension::Style, "vividness", [
        ("sensory detail", "Use details that a reader can see, hear or feel."),
        ("small story", "Tell the answer as a small story."),
    ]),
    (Dimension::BackgroundKnowledge, "basic", [
        ("everyday words", "Use only words that a child of ten knows."),
        ("no prior knowledge", "Explain every term that you use."),
    ]),
    (Dimension::BackgroundKnowledge, "novice", [
        ("first contact", "Introduce the subject as if it were met for the first time."),
        ("common example", "Tie each new idea to an example from daily life."),
    ]),
    (Dimension::BackgroundKnowledge, "intermediate", [
        ("knows the basics", "Skip the basics and go on from there."),
        ("terms with reminders", "Use the usual terms and remind the reader of their meaning."),
    ]),
    (Dimension::BackgroundKnowledge, "advanced", [
        ("technical terms", "Use the technical terms of the field without explaining them."),
        ("mechanisms", "Explain how things work underneath."),
    ]),
    (Dimension::BackgroundKnowledge, "expert", [
        ("peer to peer", "Write as one specialist writes to another."),
        ("open questions", "Point to what specialists still disagree about."),
    ]),
    (Dimension::Informativeness, "creativity", [
        ("fresh angle", "Look at the question from an angle that few would choose."),
        ("analogy", "Build the answer around an analogy."),
    ]),
    (Dimension::Informativeness, "depth", [
        ("causes", "Say why things are so, not only that they are."),
        ("several sides", "Cover more than one side of the question."),
    ]),
    (Dimension::Informativeness, "efficiency", [
        ("key point only", "Give the key point and leave out the rest."),
        ("summary at the end", "Close with a summary of one sentence."),
    ]),
    (Dimension::Informativeness, "practicality", [
        ("something to try", "Give one thing that the reader can try today."),
        ("worked example", "Work through an example."),
    ]),
    (Dimension::Informativeness, "relevance", [
        ("stay on the question", "Keep to what was asked and add no side remarks."),
        ("why it matters", "Say why the answer matters to the reader."),
    ]),
    (Dimension::Harmlessness, "accuracy", [
        ("say what is uncertain", "Mark what is uncertain as uncertain."),
        ("no guesses", "State only what is well established."),
    ]),
    (Dimension::Harmlessness, "morality", [
        ("fairness", "Be fair to everyone who is concerned."),
        ("honest motives", "Advise nothing that needs a lie."),
    ]),
    (Dimension::Harmlessness, "safety", [
        ("name the risk", "Name a risk and how to avoid it."),
        ("ask a professional", "Say when to ask a professional."),
    ]),
    (Dimension::Harmlessness, "sensitivity", [
        ("inclusive words", "Choose words that leave nobody out."),
        ("gentle", "Treat difficult subjects gently."),
    ]),
    (Dimension::Harmlessness, "trustworthiness", [
        ("where to check", "Say where the reader can check the answer."),
        ("own limits", "Say what you cannot know."),
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_tree_covers_the_published_subdimensions() {
        let seed = Taxonomy::seed();
        assert_eq!(seed.len(), 40);
        for (dimension, names) in PUBLISHED_SUBDIMENSIONS {
            let mut names = names;
            names.sort_unstable();
            assert_eq!(seed.subdimensions(dimension).collect::<Vec<_>>(), names);
            assert!(names.iter().all(|name| seed.preferences(dimension, name).len() == 2));
        }
        assert!(seed.iter().all(|p| p.description.ends_with('.')));
    }

    #[test]
    fn labels_are_read_with_and_without_descriptions() {
        let mut tree = Taxonomy::from_json(
            r#"{"Style": {"Tone": ["Warm", "a/b"]}, "background_knowledge": {"basic": {"x": "y"}}}"#,
        )
        .unwrap();
        assert_eq!(tree.preferences(Dimension::Style, "tone")[1].name, "a/b");
        assert_eq!(tree.preferences(Dimension::BackgroundKnowledge, "basic")[0].description, "y");
        assert_eq!(tree.merge(Taxonomy::seed()), 40);
        assert_eq!(tree.merge(Taxonomy::seed()), 0);
        assert!(
            Taxonomy::from_json(r#"{"Stile": {}}"#)
                .unwrap_err()
                .to_string()
                .contains("unknown dimension \"Stile\"")
        );
    }

    #[test]
    fn a_preference_is_parsed_by_name_or_with_a_new_description() {
        let read = |text: &str| Taxonomy::seed().parse_preference(text);
        assert_eq!(
            read("style/format=bullet list").unwrap().description,
            "Write the answer as a bullet list."
        );
        assert_eq!(read("Background knowledge/ Expert =Peer to Peer").unwrap().name, "peer to peer");
        let own = read("style/rhyme=verse: Answer in verse.").unwrap();
        assert_eq!(
            (own.subdimension.as_str(), own.name.as_str(), own.description.as_str()),
            ("rhyme", "verse", "Answer in verse.")
        );
        for (text, expected) in [
            ("style=warm", "expected DIMENSION/SUBDIMENSION=NAME"),
            ("style/tone=", "expected DIMENSION/SUBDIMENSION=NAME"),
            ("stile/tone=warm", "unknown dimension"),
            ("style/tone=cold", "style/tone has no \"cold\", only \"warm\", \"formal\""),
            ("style/taste=sweet", "style has no \"taste\", only \"clarity\""),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn sampling_reaches_every_preference_and_rejects_a_missing_dimension() {
        let seed = Taxonomy::seed();
        let mut rng = crate::stream(0, "test");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            seen.extend(seed.sample(&mut rng).unwrap().iter().cloned());
        }
        assert_eq!(seen.len(), 40);
        let style_only = Taxonomy::new(seed.iter().filter(|p| p.dimension == Dimension::Style).cloned());
        assert_eq!(
            style_only.sample(&mut rng).unwrap_err(),
            Error::EmptyDimension { dimension: Dimension::BackgroundKnowledge }
        );
    }
}
