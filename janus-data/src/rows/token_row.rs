//! Tokenises conversations and documents into token rows with a loss mask.

use janus_core::{ChatTemplate, Message, Rendered};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Tokenizer};

/// The token ids of one conversation or document, and the loss mask over them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// `[tokens]`: whether the model is trained to predict `ids[i]`, from the position before it.
    pub loss_mask: Vec<bool>,
}

impl TokenRow {
    /// Number of tokens in the loss mask.
    pub fn loss_tokens(&self) -> usize {
        self.loss_mask.iter().filter(|&&in_loss| in_loss).count()
    }

    /// The tokens as spelt in the vocabulary, separated by bars, with those of the loss mask in [square
    /// brackets].
    pub fn marked(&self, tokenizer: &Tokenizer) -> String {
        let spelt = |&id: &u32| tokenizer.token(id).unwrap_or_else(|| format!("<{id}>"));
        let mut text = String::new();
        let mut ids = self.ids.iter();
        for part in self.loss_mask.chunk_by(|one, next| one == next) {
            let piece = ids.by_ref().take(part.len()).map(spelt).collect::<Vec<_>>().join("|");
            text += &if part[0] { format!("[{piece}]") } else { piece };
        }
        text
    }

    fn push(&mut self, ids: &[u32], in_loss: bool) {
        self.ids.extend_from_slice(ids);
        self.loss_mask.resize(self.ids.len(), in_loss);
    }

    /// Rejects a row whose loss mask is all false: it would count as an example without contributing to the
    /// loss.
    pub(super) fn checked(self) -> Result<Self> {
        if self.loss_mask.contains(&true) { Ok(self) } else { Err(Error::NothingTrained) }
    }
}

/// Which of the assistant's messages are in the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossMessages {
    /// Every one.
    #[default]
    All,
    /// The last one.
    Last,
}

impl From<(Vec<u32>, Vec<bool>)> for TokenRow {
    fn from((ids, loss_mask): (Vec<u32>, Vec<bool>)) -> Self {
        Self { ids, loss_mask }
    }
}

impl Tokenizer {
    /// Tokenises a text for pre-training: every token but the first is in the loss mask. `bos` and `eos` are
    /// special tokens to put around the text.
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
        if let Some(first) = row.loss_mask.first_mut() {
            *first = false;
        }
        row.checked()
    }

    /// Tokenises a rendered conversation segment by segment.
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

/// Tokenises a stream of conversations on all threads of rayon, in order. A few hundred are held in memory at
/// a time.
///
/// ```
/// use janus_core::{ChatTemplate::ChatMl, Message};
/// use janus_data::{Tokenizer, token_rows};
/// let tokenizer = Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
/// let conversation = |n: usize| vec![Message::user("Hi?"), Message::assistant("o".repeat(n))];
/// let rows: Vec<_> = token_rows(&tokenizer, ChatMl, (1..4).map(|n| Ok(conversation(n)))).collect::<Result<_, _>>()?;
/// assert_eq!(rows[2], tokenizer.conversation(ChatMl, &conversation(3))?);
/// # Ok::<(), janus_data::Error>(())
/// ```
///
/// # Errors
/// The stream contains the errors of `conversations` unchanged, and those of [`Tokenizer::conversation`] as
/// [`Error::AtRow`], each at the position of its row.
pub fn token_rows<'a>(
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    conversations: impl Iterator<Item = Result<Vec<Message>>> + 'a,
) -> impl Iterator<Item = Result<TokenRow>> + 'a {
    in_parallel(conversations, move |messages| tokenizer.conversation(template, &messages))
}

/// Applies `work` to each input on all threads of rayon, and keeps the order.
///
/// # Errors
/// The stream contains the errors of `inputs` unchanged, and those of `work` as [`Error::AtRow`].
pub(super) fn in_parallel<'a, I: Send, T: Send + 'a>(
    inputs: impl Iterator<Item = Result<I>> + 'a,
    work: impl Fn(I) -> Result<T> + Sync + 'a,
) -> impl Iterator<Item = Result<T>> + 'a {
    let mut inputs = inputs.enumerate().fuse();
    let mut ready = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if ready.len() == 0 {
            let held: Vec<(usize, Result<I>)> = inputs.by_ref().take(BATCH).collect();
            let at_row = |row| move |error| Error::AtRow { row, cause: Box::new(error) };
            let finished: Vec<Result<T>> =
                held.into_par_iter().map(|(row, input)| work(input?).map_err(at_row(row))).collect();
            ready = finished.into_iter();
        }
        ready.next()
    })
}

/// Rows held at a time: enough to keep every thread busy, few enough that their memory does not matter.
const BATCH: usize = 512;
