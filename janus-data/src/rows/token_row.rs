//! Conversations and documents as token rows that know what carries loss.

use janus_core::{ChatTemplate, Message, Rendered};
use rayon::prelude::*;

use crate::{Error, Result, Tokenizer};

/// Ids of one conversation or document, and which of them a model is to produce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// `[tokens]`; `trained[i]`: `ids[i]` is to be produced, so predicting it (from the position before) carries loss.
    pub trained: Vec<bool>,
}

impl TokenRow {
    /// Number of tokens that carry loss.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|&&trained| trained).count()
    }

    fn push(&mut self, ids: &[u32], trained: bool) {
        self.ids.extend_from_slice(ids);
        self.trained.resize(self.ids.len(), trained);
    }

    /// A row without a trained token would count as an example and teach nothing.
    fn checked(self) -> Result<Self> {
        if self.trained.contains(&true) { Ok(self) } else { Err(Error::NothingTrained) }
    }
}

impl From<(Vec<u32>, Vec<bool>)> for TokenRow {
    fn from((ids, trained): (Vec<u32>, Vec<bool>)) -> Self {
        Self { ids, trained }
    }
}

impl Tokenizer {
    /// A conversation to train on: trained are the assistant's contents and the token that ends each of them. The ids
    /// are those of [`Tokenizer::encode_rendered`], from which a prompt is continued at inference.
    ///
    /// ```
    /// use janus_core::{ChatTemplate::ChatMl, Message};
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
    /// let row = tokenizer.conversation(ChatMl, &[Message::user("Hi?"), Message::assistant("Hello.")])?;
    /// let trained: Vec<u32> = row.ids.iter().zip(&row.trained).filter(|(_, trained)| **trained).map(|(&id, _)| id).collect();
    /// assert_eq!(tokenizer.decode(&trained)?, "Hello.");
    /// assert_eq!(trained.last().copied(), tokenizer.token_id("<|im_end|>"));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Domain`] for a conversation out of order, [`Error::NothingTrained`] for one without a response,
    /// [`Error::NoSuchToken`] if the template writes a token that the tokenizer does not have.
    pub fn conversation(&self, template: ChatTemplate, messages: &[Message]) -> Result<TokenRow> {
        self.rendered(&template.render(messages)?)?.checked()
    }

    /// [`Tokenizer::conversation`] for many.
    ///
    /// # Errors
    /// The first error, in [`Error::AtRow`].
    pub fn conversations<M: AsRef<[Message]>>(&self, template: ChatTemplate, rows: impl IntoIterator<Item = M>) -> Result<Vec<TokenRow>> {
        let at_row = |row| move |error| Error::AtRow { row, source: Box::new(error) };
        rows.into_iter().enumerate().map(|(row, messages)| self.conversation(template, messages.as_ref()).map_err(at_row(row))).collect()
    }

    /// A text to learn whole, as in pre-training: every token but the first is trained. `bos` and `eos` are special
    /// tokens to put around it.
    ///
    /// # Errors
    /// [`Error::NothingTrained`] for fewer than two tokens, [`Error::NoSuchToken`].
    pub fn document(&self, text: &str, bos: Option<&str>, eos: Option<&str>) -> Result<TokenRow> {
        let mut row = TokenRow::default();
        if let Some(bos) = bos {
            row.push(&[self.special(bos)?], true);
        }
        row.push(&self.encode(text)?, true);
        if let Some(eos) = eos {
            row.push(&[self.special(eos)?], true);
        }
        if let Some(first) = row.trained.first_mut() {
            *first = false;
        }
        row.checked()
    }

    /// Ids and marks of a rendered conversation, segment by segment.
    pub(crate) fn rendered(&self, rendered: &Rendered) -> Result<TokenRow> {
        let mut row = TokenRow::default();
        for segment in &rendered.segments {
            if segment.special {
                row.push(&[self.special(&segment.text)?], segment.trained);
            } else {
                row.push(&self.encode(&segment.text)?, segment.trained);
            }
        }
        Ok(row)
    }

    fn special(&self, token: &str) -> Result<u32> {
        self.token_id(token).ok_or_else(|| Error::NoSuchToken { token: token.into() })
    }
}

/// Conversations as token rows, in their order, tokenised on all of rayon's threads. A few hundred are held at a time.
///
/// ```
/// use janus_core::{ChatTemplate::ChatMl, Message};
/// use janus_data::{Tokenizer, token_rows};
/// let tokenizer = Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
/// let talk = |n: usize| vec![Message::user("Hi?"), Message::assistant("o".repeat(n))];
/// let rows: Vec<_> = token_rows(&tokenizer, ChatMl, (1..4).map(|n| Ok(talk(n)))).collect::<Result<_, _>>()?;
/// assert_eq!(rows[2], tokenizer.conversation(ChatMl, &talk(3))?);
/// # Ok::<(), janus_data::Error>(())
/// ```
///
/// # Errors
/// The stream gives the errors of `conversations` as they are, and those of [`Tokenizer::conversation`] as
/// [`Error::AtRow`], each in the row's place.
pub fn token_rows<'a>(
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    conversations: impl Iterator<Item = Result<Vec<Message>>> + 'a,
) -> impl Iterator<Item = Result<TokenRow>> + 'a {
    let mut conversations = conversations.enumerate().fuse();
    let mut ready = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if ready.len() == 0 {
            let held: Vec<(usize, Result<Vec<Message>>)> = conversations.by_ref().take(AT_A_TIME).collect();
            let rows: Vec<Result<TokenRow>> = held
                .into_par_iter()
                .map(|(row, messages)| {
                    let messages = messages?;
                    tokenizer.conversation(template, &messages).map_err(|source| Error::AtRow { row, source: Box::new(source) })
                })
                .collect();
            ready = rows.into_iter();
        }
        ready.next()
    })
}

/// Enough for every thread to have many, little enough to be forgotten.
const AT_A_TIME: usize = 512;
