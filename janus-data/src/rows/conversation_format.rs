//! How a conversation becomes token ids.

use janus_core::{ChatTemplate, Message};

use super::TokenRow;
use crate::{Result, Tokenizer};

/// Formats conversations as the ids that a model is trained on and prompted with: a [`ChatTemplate`], or a
/// model's own template (`janus_infer::Template`).
///
/// The ids of a prompt are the first ids of every conversation that continues it.
pub trait ConversationFormat: Sync {
    /// The ids of a conversation. The loss mask covers the messages of the assistant for whose index
    /// `in_loss` is true, each with the token that ends it.
    ///
    /// # Errors
    /// A conversation that the format refuses, or whose prompts are not its first ids
    /// ([`Error::PromptNotPrefix`](crate::Error::PromptNotPrefix)).
    fn row(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        in_loss: &dyn Fn(usize) -> bool,
    ) -> Result<TokenRow>;

    /// The ids of a prompt: the conversation so far, up to where the model begins its answer.
    ///
    /// # Errors
    /// A conversation that the format refuses.
    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>>;
}

impl ConversationFormat for ChatTemplate {
    fn row(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        in_loss: &dyn Fn(usize) -> bool,
    ) -> Result<TokenRow> {
        let mut rendered = self.render(messages)?;
        for segment in &mut rendered.segments {
            segment.trained &= in_loss(segment.message);
        }
        tokenizer.rendered(&rendered)
    }

    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        tokenizer.encode_rendered(&self.render(messages)?)
    }
}

impl<F: ConversationFormat + ?Sized> ConversationFormat for &F {
    fn row(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        in_loss: &dyn Fn(usize) -> bool,
    ) -> Result<TokenRow> {
        (**self).row(tokenizer, messages, in_loss)
    }

    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        (**self).prompt(tokenizer, messages)
    }
}
