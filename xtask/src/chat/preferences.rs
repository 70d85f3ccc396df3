//! What a user values, said on the command line.

use std::str::FromStr;

use janus_core::{Composer, Dimension, Preference, PreferenceSet, Taxonomy};

use crate::command::CommandError;

/// `DIMENSION/SUBDIMENSION=NAME`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish(Preference);

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(path, name)| Some((path.split_once('/')?, name.trim())));
        let Some(((dimension, subdimension), name)) = parts.filter(|(_, name)| !name.is_empty()) else {
            return Err("expected DIMENSION/SUBDIMENSION=NAME, as style/format=\"bullet list\"".into());
        };
        let dimension: Dimension = dimension.parse().map_err(|error: janus_core::Error| error.to_string())?;
        let subdimension = subdimension.trim().to_lowercase();
        if let Some((name, description)) = name.split_once(':') {
            return Ok(Self(Preference::new(dimension, subdimension, name.trim(), description.trim())));
        }
        let taxonomy = Taxonomy::seed();
        let known = taxonomy.preferences(dimension, &subdimension);
        if let Some(preference) = known.iter().find(|preference| preference.name.eq_ignore_ascii_case(name)) {
            return Ok(Self(preference.clone()));
        }
        let list = |names: Vec<&str>| names.join("\", \"");
        Err(if known.is_empty() {
            let there = list(taxonomy.subdimensions(dimension).collect());
            format!("{dimension} has no \"{subdimension}\" but \"{there}\"; for another write NAME: what it asks for")
        } else {
            let there = list(known.iter().map(|preference| preference.name.as_str()).collect());
            format!("{dimension}/{subdimension} has no \"{name}\" but \"{there}\"; for another write NAME: what it asks for")
        })
    }
}

/// A system message that says the wishes; the same seed gives the same words.
pub(super) fn system_message(wishes: &[Wish], seed: u64) -> Result<String, CommandError> {
    let preferences: Vec<Preference> = wishes.iter().map(|Wish(preference)| preference.clone()).collect();
    let set = PreferenceSet::new(preferences).map_err(|error| CommandError::bad_input(format!("--preference: {error}")))?;
    Ok(Composer::standard().compose_set(&set, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Wish {
        text.parse().unwrap()
    }

    #[test]
    fn a_wish_is_one_of_the_taxonomy_or_in_own_words() {
        assert_eq!(wish("style/format=bullet list").0.description, "Write the answer as a bullet list.");
        assert_eq!(wish("Background knowledge/ Expert =Peer to Peer").0.name, "peer to peer");
        let own = wish("style/rhyme=verse: Answer in verse.").0;
        assert_eq!((own.subdimension.as_str(), own.name.as_str(), own.description.as_str()), ("rhyme", "verse", "Answer in verse."));
        for (text, expected) in [
            ("style=warm", "expected DIMENSION/SUBDIMENSION=NAME"),
            ("style/tone=", "expected DIMENSION/SUBDIMENSION=NAME"),
            ("stile/tone=warm", "unknown dimension"),
            ("style/tone=cold", "style/tone has no \"cold\" but \"warm\", \"formal\""),
            ("style/taste=sweet", "style has no \"taste\" but \"clarity\""),
        ] {
            let error = text.parse::<Wish>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_system_message_says_every_wish() {
        let one = [wish("style/format=bullet list")];
        assert_eq!(system_message(&one, 1).unwrap(), "Write the answer as a bullet list.");
        let four = [
            "style/tone=warm",
            "background_knowledge/basic=everyday words",
            "informativeness/depth=causes",
            "harmlessness/safety=gently: Be gentle.",
        ]
        .map(wish);
        let message = system_message(&four, 3).unwrap();
        for part in ["ound warm", "child of ten", "ay why things are so", "e gentle"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert_eq!(system_message(&four, 3).unwrap(), message);
        let twice = ["style/tone=warm", "style/format=bullet list"].map(wish);
        assert!(system_message(&twice, 1).unwrap_err().to_string().contains("two style preferences"));
    }
}
