//! How an engine lays out a conversation: by one of the typed templates, or by the model's own text.

use janus_core::{ChatTemplate, Message};
use janus_data::Tokenizer;

#[cfg(feature = "jinja")]
use crate::JinjaTemplate;
use crate::{Error, Result};

/// A chat template that an engine can be given.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Template {
    /// One of those that training knows too.
    Typed(ChatTemplate),
    /// A model's own, in Jinja.
    #[cfg(feature = "jinja")]
    Jinja(JinjaTemplate),
}

impl Template {
    /// The ids of a conversation. If the user has the last word, they end where the model is to continue.
    ///
    /// # Errors
    /// [`Error::Encoding`] for a conversation that the template does not take, or a token that the tokenizer does not have;
    /// what a template in Jinja says.
    pub fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Self::Typed(template) => {
                let rendered = template.render(messages).map_err(|error| Error::Encoding(Box::new(error.into())))?;
                tokenizer.encode_rendered(&rendered).map_err(|error| Error::Encoding(error.into()))
            }
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.encode(messages, tokenizer),
        }
    }

    /// The ids that end an answer.
    pub fn end_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        match self {
            Self::Typed(template) => tokenizer.token_id(template.end_of_turn()).into_iter().collect(),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.end_ids(tokenizer),
        }
    }
}

impl From<ChatTemplate> for Template {
    fn from(template: ChatTemplate) -> Self {
        Self::Typed(template)
    }
}

#[cfg(feature = "jinja")]
impl From<JinjaTemplate> for Template {
    fn from(template: JinjaTemplate) -> Self {
        Self::Jinja(template)
    }
}
