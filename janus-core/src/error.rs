//! Errors of the domain.

use crate::{Dimension, Role};

/// A value that breaks a rule of the domain. Each variant carries what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not one of the four dimensions.
    #[error(
        "unknown dimension \"{got}\": expected style, background_knowledge, informativeness or harmlessness"
    )]
    UnknownDimension {
        /// The name as written.
        got: String,
    },
    /// A preference set without a preference.
    #[error("the preference set is empty: give at least one preference, or leave the set out")]
    NoPreference,
    /// A preference set that lacks a dimension where all four are required.
    #[error(
        "the preference set has no {dimension} preference: give exactly one for each of the four dimensions"
    )]
    MissingDimension {
        /// The dimension that has no preference.
        dimension: Dimension,
    },
    /// A preference set with two preferences of one dimension.
    #[error(
        "the preference set has two {dimension} preferences, \"{first}\" and \"{second}\": keep one of them"
    )]
    DoubledDimension {
        /// The dimension that occurs twice.
        dimension: Dimension,
        /// Name of the preference that came first.
        first: String,
        /// Name of the one that came second.
        second: String,
    },
    /// Text that does not have the form `DIMENSION/SUBDIMENSION=NAME`.
    #[error("expected DIMENSION/SUBDIMENSION=NAME, such as style/format=\"bullet list\"")]
    PreferenceText,
    /// A subdimension or preference that the taxonomy does not contain.
    #[error("{place} has no \"{got}\", only \"{}\": use one of these, or write your own as NAME: DESCRIPTION", known.join("\", \""))]
    UnknownPreference {
        /// A dimension, or a dimension and its subdimension.
        place: String,
        /// The name as written.
        got: String,
        /// The names that exist there.
        known: Vec<String>,
    },
    /// A preference or taxonomy entry whose text is empty.
    #[error("a preference has an empty {field}: write what the user values there")]
    EmptyField {
        /// The field that is empty.
        field: &'static str,
    },
    /// A score outside 1..=5.
    #[error("score {got} is outside 1..=5")]
    ScoreOutOfRange {
        /// The score as read.
        got: i64,
    },
    /// Score descriptions whose keys are not exactly "1" to "5".
    #[error("a rubric needs the five score descriptions \"1\" to \"5\", got {}", list(got))]
    ScoreDescriptions {
        /// The keys as found, in their order.
        got: Vec<String>,
    },
    /// A sentence plan whose number of slots differs from the number of clauses.
    #[error("the sentence plan \"{plan}\" has {got} slots, expected {expected}")]
    PlanSlots {
        /// The plan as written.
        plan: String,
        /// Slots that were needed.
        expected: usize,
        /// Slots that were found.
        got: usize,
    },
    /// A composer with no plan.
    #[error("a composer needs at least one sentence plan")]
    NoPlan,
    /// A message whose role is not allowed at its position in the conversation.
    #[error("message {index} has role {role}: {rule}")]
    MessageOrder {
        /// Position of the message, from 0.
        index: usize,
        /// Its role.
        role: Role,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A conversation without a user message.
    #[error("the conversation has no user message: add one before rendering")]
    NoUserMessage,
    /// An unknown name of a chat template.
    #[error("unknown chat template \"{got}\": expected mistral-instruct or chatml")]
    UnknownTemplate {
        /// The name as written.
        got: String,
    },
    /// A sampling parameter outside its range.
    #[error("{field} is {got}: expected {expected}")]
    Sampling {
        /// The parameter's name.
        field: &'static str,
        /// Its value.
        got: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// A taxonomy without any preference for one of the dimensions, so that no complete set can be drawn.
    #[error("the taxonomy has no preference for {dimension}: every dimension needs at least one")]
    EmptyDimension {
        /// The dimension without preferences.
        dimension: Dimension,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error and its sources on one line, joined by ": ".
///
/// Errors of this workspace do not include their source's text in their own. Where an error of another crate
/// does, the source's text is not repeated.
///
/// ```
/// use janus_core::{ModelError, error_chain};
/// let error = ModelError::Failed { id: "q1".into(), source: "out of memory".into() };
/// assert_eq!(error_chain(&error), "request q1: the model failed: out of memory");
/// ```
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = words(error.to_string());
    let mut next = error.source();
    while let Some(source) = next {
        let text = words(source.to_string());
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = source.source();
    }
    line
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() {
        return "none".into();
    }
    keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (first, rest) = texts.split_first().unwrap();
        Link { text: first, source: (!rest.is_empty()).then(|| Box::new(chain(rest))) }
    }

    #[test]
    fn sources_are_joined_without_repetition() {
        let line = |texts: &[&'static str]| error_chain(&chain(texts));
        assert_eq!(
            line(&["request 3", "the model failed", "no memory"]),
            "request 3: the model failed: no memory"
        );
        assert_eq!(line(&["a.json: not found", "not found"]), "a.json: not found");
        assert_eq!(line(&["two\n  lines"]), "two lines");
    }
}
