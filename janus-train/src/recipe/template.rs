//! The chat template of a recipe.

use std::fmt;
use std::str::FromStr;

use janus_core::ChatTemplate;
use serde::{Deserialize, Serialize};

/// The chat template of a recipe: `mistral-instruct`, `chatml`, or `own`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum RecipeTemplate {
    /// A built-in template.
    BuiltIn(ChatTemplate),
    /// The template of the model that training starts from.
    Own,
}

const OWN: &str = "own";

impl fmt::Display for RecipeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(template) => template.fmt(f),
            Self::Own => f.write_str(OWN),
        }
    }
}

impl FromStr for RecipeTemplate {
    type Err = janus_core::Error;

    fn from_str(name: &str) -> Result<Self, janus_core::Error> {
        if name == OWN { Ok(Self::Own) } else { name.parse().map(Self::BuiltIn) }
    }
}

impl From<RecipeTemplate> for String {
    fn from(template: RecipeTemplate) -> Self {
        template.to_string()
    }
}

impl TryFrom<String> for RecipeTemplate {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map_err(|error: janus_core::Error| format!("{error}, or own for the model's own"))
    }
}

impl From<ChatTemplate> for RecipeTemplate {
    fn from(template: ChatTemplate) -> Self {
        Self::BuiltIn(template)
    }
}
