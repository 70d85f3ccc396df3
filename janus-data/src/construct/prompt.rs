//! The prompts, each in a file of its own.

use std::fmt::Write as _;

use janus_core::{Dimension, Preference, PreferenceSet, Taxonomy, stream};
use rand::seq::{IndexedRandom, IteratorRandom};
use serde::Serialize;

/// A prompt: an id whose version changes with the text, and a text with slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) id: &'static str,
    text: &'static str,
}

impl Prompt {
    pub(super) const PREFERENCES: Prompt = Prompt::of(include_str!("prompts/preferences.txt"));
    pub(super) const SYSTEM: Prompt = Prompt::of(include_str!("prompts/system.txt"));
    pub(super) const RUBRIC: Prompt = Prompt::of(include_str!("prompts/rubric.txt"));
    pub(super) const AGAIN: Prompt = Prompt::of(include_str!("prompts/again.txt"));

    /// All prompts.
    pub(super) const ALL: [Prompt; 4] = [Prompt::PREFERENCES, Prompt::SYSTEM, Prompt::RUBRIC, Prompt::AGAIN];

    /// The first line of the file is `prompt ID`.
    const fn of(file: &'static str) -> Self {
        let Some((head, text)) = split_line(file) else { panic!("a prompt file needs a first line") };
        let Some((b"prompt ", id)) = head.as_bytes().split_at_checked(7) else {
            panic!("a prompt file starts with `prompt ID`")
        };
        match std::str::from_utf8(id) {
            Ok(id) => Self { id, text },
            Err(_) => panic!("a prompt's id is UTF-8"),
        }
    }

    /// Fills the slots in one pass, so that an inserted text is never read as a slot.
    pub(super) fn fill(self, values: &[(&str, &str)]) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut rest = self.text.trim_end();
        while let Some((before, slot)) = rest.split_once("{{") {
            out.push_str(before);
            let Some((name, after)) = slot.split_once("}}") else { break };
            if let Some((_, value)) = values.iter().find(|(key, _)| *key == name) {
                out.push_str(value);
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

const fn split_line(text: &'static str) -> Option<(&'static str, &'static str)> {
    let mut at = 0;
    while at < text.len() {
        if text.as_bytes()[at] == b'\n' {
            let (head, rest) = text.split_at(at);
            return Some((head, rest.split_at(1).1));
        }
        at += 1;
    }
    None
}

/// Describes a dimension to a model that does not know the taxonomy.
fn about(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Style => "how it is put: its form, tone, length, and how vivid it is.",
        Dimension::BackgroundKnowledge => {
            "what it takes as known: how much this person already knows about the subject."
        }
        Dimension::Informativeness => {
            "what it gives: how deep, practical, creative or to the point its content is."
        }
        Dimension::Harmlessness => {
            "what it takes care of: being accurate, safe, fair, considerate and worthy of trust."
        }
    }
}

/// A preference in the form in which the model should write it.
#[derive(Serialize)]
struct Shown<'a> {
    subdimension: &'a str,
    preference: &'a str,
    description: &'a str,
}

/// The prompt for the preferences of a dimension. Its examples are drawn from the tree, one from each of
/// three subdimensions.
pub(super) fn preferences(
    tree: &Taxonomy,
    dimension: Dimension,
    id: &str,
    instruction: &str,
    seed: u64,
) -> String {
    let mut rng = stream(seed, &format!("examples {id} {dimension}"));
    let mut examples = String::new();
    for subdimension in tree.subdimensions(dimension).choose_multiple(&mut rng, 3) {
        if let Some(Preference { subdimension, name, description, .. }) =
            tree.preferences(dimension, subdimension).choose(&mut rng)
        {
            let shown = Shown { subdimension, preference: name, description };
            // Three strings always have a JSON form.
            let _ = writeln!(examples, "{}", serde_json::to_string(&shown).unwrap_or_default());
        }
    }
    Prompt::PREFERENCES.fill(&[
        ("about", about(dimension)),
        ("examples", examples.trim_end()),
        ("instruction", instruction),
    ])
}

/// The prompt for the system message of a preference set.
pub(super) fn system(set: &PreferenceSet, instruction: &str, (min, max): (usize, usize)) -> String {
    let wants: Vec<String> = set.iter().map(|preference| format!("- {}", preference.description)).collect();
    let (min, max) = (min.to_string(), max.to_string());
    Prompt::SYSTEM.fill(&[
        ("wants", &wants.join("\n")),
        ("instruction", instruction),
        ("min", &min),
        ("max", &max),
    ])
}

/// The prompt for the rubric of a preference.
pub(super) fn rubric(preference: &Preference) -> String {
    let dimension = preference.dimension.as_str().replace('_', " ");
    Prompt::RUBRIC.fill(&[
        ("dimension", &dimension),
        ("subdimension", &preference.subdimension),
        ("label", &preference.name),
        ("description", &preference.description),
    ])
}

/// The prompt that reports what was wrong with an answer.
pub(super) fn again(problem: &str) -> String {
    Prompt::AGAIN.fill(&[("problem", problem)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_has_its_own_id_with_a_version() {
        let ids: std::collections::HashSet<&str> = Prompt::ALL.iter().map(|prompt| prompt.id).collect();
        assert_eq!(ids.len(), Prompt::ALL.len());
        for id in ids {
            let (name, version) = id.split_once('/').unwrap();
            assert!(!name.is_empty() && version.parse::<u32>().is_ok(), "{id}");
        }
    }

    #[test]
    fn every_slot_is_filled_and_inserted_text_is_never_a_slot() {
        let tree = Taxonomy::seed();
        let set = tree.sample(&mut stream(0, "t")).unwrap();
        let wanted = "Say {{min}} and {{wants}}";
        let texts = [
            preferences(&tree, Dimension::Style, "1", wanted, 0),
            system(&set, wanted, (200, 900)),
            rubric(set.iter().next().unwrap()),
            again("x"),
        ];
        for text in &texts {
            assert!(!text.replace(wanted, "").contains("{{"), "{text}");
        }
        assert!(
            texts[0].contains(wanted)
                && texts[1].contains(wanted)
                && texts[1].contains("200 to 900 characters")
        );
        assert_eq!(texts[0].matches("\"description\":").count(), 3);
        assert_ne!(
            texts[0],
            preferences(&tree, Dimension::Style, "2", wanted, 0),
            "examples differ by instruction"
        );
        assert_eq!(texts[0], preferences(&tree, Dimension::Style, "1", wanted, 0));
    }
}
