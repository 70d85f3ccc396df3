//! How a conversation becomes token ids.

use janus_core::{ChatTemplate, Message};

use super::{LossMessages, TokenRow};
use crate::sources::Conversation;
use crate::{Error, Result, Tokenizer};

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

impl Tokenizer {
    /// Tokenises a conversation for training. The loss mask covers the assistant's messages and the token
    /// that ends each of them. The ids are those of [`Tokenizer::encode_rendered`], which inference uses for
    /// prompts.
    ///
    /// ```
    /// use janus_core::{ChatTemplate::ChatMl, Message};
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
    /// let row = tokenizer.conversation(ChatMl, &[Message::user("Hi?"), Message::assistant("Hello.")])?;
    /// let labels: Vec<u32> = row.ids.iter().zip(&row.loss_mask).filter(|(_, in_loss)| **in_loss).map(|(&id, _)| id).collect();
    /// assert_eq!(tokenizer.decode(&labels)?, "Hello.");
    /// assert_eq!(labels.last().copied(), tokenizer.token_id("<|im_end|>"));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Domain`] for messages in a wrong order, [`Error::NothingTrained`] for one without a response,
    /// [`Error::NoSuchToken`] if the template writes a token that the tokenizer does not have.
    pub fn conversation(&self, template: impl ConversationFormat, messages: &[Message]) -> Result<TokenRow> {
        template.row(self, messages, &|_| true)?.checked()
    }

    /// [`Tokenizer::conversation`] with loss on some of the assistant's messages only: those that `loss`
    /// names, without those that the conversation excludes.
    ///
    /// ```
    /// use janus_core::{ChatTemplate::ChatMl, Message};
    /// use janus_data::{LossMessages, sources::Conversation};
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
    /// let messages = vec![Message::user("Hi?"), Message::assistant("Hello."), Message::user("So?"), Message::assistant("No.")];
    /// let conversation = Conversation { messages, ..Conversation::default() };
    /// let row = tokenizer.training_row(ChatMl, &conversation, LossMessages::Last)?;
    /// let labels: Vec<u32> = row.ids.iter().zip(&row.loss_mask).filter(|(_, in_loss)| **in_loss).map(|(&id, _)| id).collect();
    /// assert_eq!(tokenizer.decode(&labels)?, "No.");
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Tokenizer::conversation`].
    pub fn training_row(
        &self,
        template: impl ConversationFormat,
        conversation: &Conversation,
        loss: LossMessages,
    ) -> Result<TokenRow> {
        let Conversation { messages, without_loss, .. } = conversation;
        let in_loss = |message: usize| {
            let in_turn = loss == LossMessages::All || message + 1 == messages.len();
            in_turn && !without_loss.contains(&message)
        };
        template.row(self, messages, &in_loss)?.checked()
    }

    /// [`Tokenizer::conversation`] for several conversations.
    ///
    /// # Errors
    /// The first error, within [`Error::AtRow`].
    pub fn conversations<M: AsRef<[Message]>>(
        &self,
        template: impl ConversationFormat,
        rows: impl IntoIterator<Item = M>,
    ) -> Result<Vec<TokenRow>> {
        let at_row = |row| move |error| Error::AtRow { row, cause: Box::new(error) };
        rows.into_iter()
            .enumerate()
            .map(|(row, messages)| self.conversation(&template, messages.as_ref()).map_err(at_row(row)))
            .collect()
    }
}
