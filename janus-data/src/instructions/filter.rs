//! Filters instructions that are unsuitable.

use serde::Serialize;

use crate::construct::words::words;

/// The conditions that an instruction has to meet.
///
/// ```
/// use janus_data::instructions::{Filter, Unfit};
/// let filter = Filter::default();
/// assert_eq!(filter.check("What is the best way to learn how to fly a kite?"), None);
/// assert_eq!(filter.check("You are a pirate. What is the best way to fly a kite?"), Some(Unfit::Persona));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Filter {
    /// Minimum number of words.
    pub min_words: usize,
    /// Maximum number of characters.
    pub max_characters: usize,
    /// Drop instructions that are not English.
    pub english: bool,
    /// Drop instructions that already contain a persona or a system message.
    pub no_persona: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { min_words: 3, max_characters: 8000, english: true, no_persona: true }
    }
}

/// Why an instruction was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unfit {
    /// Too few words.
    TooShort,
    /// Too many characters.
    TooLong,
    /// Not English.
    Language,
    /// Mostly punctuation, one character or line repeated, or no text at all.
    Garbled,
    /// It contains a persona or a system message.
    Persona,
}

impl Unfit {
    /// The reason's name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Language => "language",
            Self::Garbled => "garbled",
            Self::Persona => "persona",
        }
    }
}

/// Common words; nearly every English sentence contains one of them.
const ENGLISH: [&str; 40] = [
    "the", "a", "an", "is", "are", "was", "of", "to", "in", "and", "for", "on", "with", "how", "what", "why",
    "who", "when", "where", "which", "can", "do", "does", "i", "you", "my", "me", "it", "this", "that",
    "write", "give", "make", "tell", "explain", "list", "find", "name", "create", "describe",
];

/// Phrases, in lower case, that give the model a persona.
const PERSONA: [&str; 16] = [
    "you are a ",
    "you are an ",
    "you are the ",
    "you're a ",
    "act as ",
    "act like ",
    "i want you to act",
    "pretend you",
    "pretend to be",
    "imagine you are a",
    "imagine you're a",
    "assume the role",
    "play the role",
    "roleplay as",
    "role-play as",
    "from now on you",
];
/// Markers, in lower case, of a system message.
const SYSTEM_MARKS: [&str; 8] = [
    "system:",
    "### system",
    "<<sys>>",
    "<|system|>",
    "<|im_start|>system",
    "[system]",
    "system prompt:",
    "system message:",
];

impl Filter {
    /// Why an instruction is unfit, if it is.
    pub fn check(&self, text: &str) -> Option<Unfit> {
        let characters = text.chars().count();
        if characters > self.max_characters {
            return Some(Unfit::TooLong);
        }
        let words = words(text);
        if garbled(text) {
            return Some(Unfit::Garbled);
        }
        if words.len() < self.min_words {
            return Some(Unfit::TooShort);
        }
        if self.no_persona && persona(text) {
            return Some(Unfit::Persona);
        }
        (self.english && !english(text, &words)).then_some(Unfit::Language)
    }
}

fn garbled(text: &str) -> bool {
    let visible = text.chars().filter(|character| !character.is_whitespace()).count();
    let letters = text.chars().filter(|character| character.is_alphabetic()).count();
    if visible == 0 || text.contains(['\0', '\u{fffd}']) {
        return true;
    }
    // Questions about numbers and code contain many other characters, but fewer than nine in ten.
    if letters * 10 < visible {
        return true;
    }
    let mut run = (None, 0);
    let longest = text
        .chars()
        .filter(|character| !character.is_whitespace() && !"-=_.*#~".contains(*character))
        .map(|character| {
            run = if run.0 == Some(character) { (run.0, run.1 + 1) } else { (Some(character), 1) };
            run.1
        });
    if longest.max().unwrap_or_default() >= 20 {
        return true;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.len() > 10).collect();
    let distinct: std::collections::HashSet<&&str> = lines.iter().collect();
    lines.len() >= 6 && distinct.len() * 2 < lines.len()
}

fn english(text: &str, words: &[String]) -> bool {
    let letters = text.chars().filter(|character| character.is_alphabetic()).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count();
    if latin * 10 < letters * 9 {
        return false;
    }
    let known = words.iter().filter(|word| ENGLISH.contains(&word.as_str())).count();
    // A few words may include none of them ("Capital of France?"); a long text in another language includes
    // one by chance.
    if words.len() < 8 { known > 0 || words.len() < 5 } else { known * 12 >= words.len() }
}

fn persona(text: &str) -> bool {
    let lower = text.trim_start().to_lowercase();
    let start: String = lower.chars().take(200).collect();
    PERSONA.iter().any(|opening| {
        start.starts_with(opening)
            || start.contains(&format!(". {opening}"))
            || start.contains(&format!("\n{opening}"))
    }) || SYSTEM_MARKS.iter().any(|mark| lower.starts_with(mark) || lower.contains(&format!("\n{mark}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found() {
        let check = |text: &str| Filter::default().check(text);
        for good in [
            "How do I sort a list in Python?",
            "Capital of France, please?",
            "Compute 12 * (3 + 4) - 5 and explain each step.",
            "Name three kites.\n---------------------------",
        ] {
            assert_eq!(check(good), None, "{good}");
        }
        for (unfit, text) in [
            (Unfit::TooShort, "Why?"),
            (Unfit::TooLong, &"word and ".repeat(1000)),
            (Unfit::Language, "Wie kann ich einen Drachen bauen, der auch bei schwachem Wind gut fliegt?"),
            (Unfit::Language, "如何制作风筝 在微风中 飞行 呢"),
            (Unfit::Garbled, "aaaaaaaaaaaaaaaaaaaaaaaaaaaa is what I say to you"),
            (Unfit::Garbled, "1 2 3 4 5 6 7 8 9 10 11 + - = x"),
            (Unfit::Garbled, &"the same line again\n".repeat(8)),
            (Unfit::Garbled, "what is \u{fffd} in the text"),
            (Unfit::Persona, "Act as a travel guide and tell me where to go."),
            (Unfit::Persona, "System: be brief\nWhat is the capital of France?"),
            (Unfit::Persona, "Hello there. You are a doctor, so what do I do?"),
        ] {
            assert_eq!(check(text), Some(unfit), "{text}");
        }
        assert_eq!(check("What if you are a doctor and ill yourself?"), None, "a clause is not a persona");
    }
}
