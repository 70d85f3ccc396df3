//! Pairs of responses as token rows, chosen before rejected.

use janus_core::{ChatTemplate, Message};

use crate::{Error, Result, TokenRow, Tokenizer};

/// Pairs as rows: row 2i is chosen over row 2i + 1, and both begin with the same prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PairRows {
    /// `[2 · pairs]`; the loss mask is true for the responses' tokens.
    pub rows: Vec<TokenRow>,
    /// `[pairs]`: the number, from 0, of the pair as it was given.
    pub pairs: Vec<usize>,
    /// Pairs whose prompt lost tokens at its left.
    pub shortened: usize,
    /// Pairs left out because both responses are the same tokens: nothing can be learned from them.
    pub identical: usize,
    /// Pairs left out because a response leaves no room for a single token of the prompt.
    pub too_long: usize,
}

impl Tokenizer {
    /// Pairs of conversations that differ in their last message only, the assistant's, as rows of at most `max_tokens`.
    ///
    /// Where a pair is too long, its prompt loses tokens at its left, the same ones on both sides; a response is never
    /// cut. What is left out is counted.
    ///
    /// ```
    /// use janus_core::{ChatTemplate::ChatMl, Message};
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
    /// let answered = |text: &str| vec![Message::user("Hi?"), Message::assistant(text)];
    /// let pairs = tokenizer.pairs(ChatMl, [(answered("Hello."), answered("No.")), (answered("A"), answered("A"))], 64)?;
    /// assert_eq!((pairs.rows.len(), pairs.pairs, pairs.identical), (2, vec![0], 1));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// In [`Error::AtRow`]: what [`Tokenizer::conversation`] fails with, and [`Error::PairPrompts`] for sides with
    /// different prompts.
    pub fn pairs(
        &self,
        template: ChatTemplate,
        pairs: impl IntoIterator<Item = (Vec<Message>, Vec<Message>)>,
        max_tokens: usize,
    ) -> Result<PairRows> {
        let mut out = PairRows::default();
        for (pair, (chosen, rejected)) in pairs.into_iter().enumerate() {
            let at_row = |error| Error::AtRow { row: pair, cause: Box::new(error) };
            let sides = self.sides(template, &chosen, &rejected).map_err(at_row)?;
            let [chosen, rejected] = &sides.responses;
            if chosen == rejected {
                out.identical += 1;
                continue;
            }
            let room = max_tokens.saturating_sub(chosen.ids.len().max(rejected.ids.len()));
            if room == 0 {
                out.too_long += 1;
                continue;
            }
            let cut = sides.prompt.len().saturating_sub(room);
            out.shortened += usize::from(cut > 0);
            out.rows.extend(sides.responses.map(|response| {
                let ids: Vec<u32> = sides.prompt[cut..].iter().chain(&response.ids).copied().collect();
                let mut loss_mask = vec![false; ids.len() - response.loss_mask.len()];
                loss_mask.extend(response.loss_mask);
                TokenRow { ids, loss_mask }
            }));
            out.pairs.push(pair);
        }
        Ok(out)
    }

    fn sides(&self, template: ChatTemplate, chosen: &[Message], rejected: &[Message]) -> Result<Sides> {
        let Some((_, context)) = chosen.split_last() else { return Err(Error::NothingTrained) };
        if rejected.split_last().map(|(_, context)| context) != Some(context) {
            return Err(Error::PairPrompts);
        }
        let prompt = self.encode_rendered(&template.render(context)?)?;
        let response = |messages: &[Message]| {
            let whole = self.conversation(template, messages)?;
            let (ids, loss_mask) = (whole.ids[prompt.len()..].to_vec(), whole.loss_mask[prompt.len()..].to_vec());
            Ok::<_, Error>(TokenRow { ids, loss_mask })
        };
        Ok(Sides { responses: [response(chosen)?, response(rejected)?], prompt })
    }
}

/// A pair's parts.
struct Sides {
    prompt: Vec<u32>,
    /// Of the chosen and of the rejected: everything behind the prompt.
    responses: [TokenRow; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["a b c"].into_iter(), 300, ChatTemplate::MistralInstruct.special_tokens()).unwrap()
    }

    fn pair(prompt: &str, chosen: &str, rejected: &str) -> (Vec<Message>, Vec<Message>) {
        let side = |text: &str| vec![Message::system("Be kind."), Message::user(prompt), Message::assistant(text)];
        (side(chosen), side(rejected))
    }

    #[test]
    fn both_sides_share_the_prompt_and_train_the_response_alone() {
        let tokenizer = tokenizer();
        let pairs = tokenizer.pairs(ChatTemplate::MistralInstruct, [pair("Why?", "yes", "never")], 100).unwrap();
        let [chosen, rejected] = &pairs.rows[..] else { panic!("{pairs:?}") };
        let prompt = chosen.loss_mask.iter().position(|&trained| trained).unwrap();
        assert_eq!(chosen.ids[..prompt], rejected.ids[..prompt]);
        assert!(chosen.loss_mask[prompt..].iter().all(|&trained| trained));
        assert_eq!(tokenizer.decode(&chosen.ids[prompt..]).unwrap(), "yes");
        assert_eq!(chosen.ids.last().copied(), tokenizer.token_id("</s>"));
        assert_eq!((pairs.shortened, pairs.identical, pairs.too_long), (0, 0, 0));
    }

    #[test]
    fn a_long_prompt_loses_its_left_side_and_never_the_response() {
        let tokenizer = tokenizer();
        let long = pair("0123456789 why?", "yes", "never");
        let whole = tokenizer.pairs(ChatTemplate::MistralInstruct, [long.clone()], 1000).unwrap();
        let longest = whole.rows[1].ids.len();
        for max_tokens in 7..longest {
            let cut = tokenizer.pairs(ChatTemplate::MistralInstruct, [long.clone()], max_tokens).unwrap();
            assert_eq!((cut.shortened, cut.rows[1].ids.len()), (1, max_tokens));
            for (cut, whole) in cut.rows.iter().zip(&whole.rows) {
                assert!(whole.ids.ends_with(&cut.ids) && whole.loss_mask.ends_with(&cut.loss_mask));
                assert_eq!(cut.loss_tokens(), whole.loss_tokens());
            }
            let offset = longest - max_tokens;
            assert_eq!(whole.rows[0].ids.len() - cut.rows[0].ids.len(), offset, "both sides lose the same tokens");
        }
        let none = tokenizer.pairs(ChatTemplate::MistralInstruct, [long], 6).unwrap();
        assert_eq!((none.too_long, none.rows.len()), (1, 0), "six tokens are the response alone");
    }

    #[test]
    fn pairs_without_a_difference_or_a_common_prompt_are_counted_or_named() {
        let tokenizer = tokenizer();
        let rows = [pair("a", "b", "b"), pair("a", "b", "c")];
        let pairs = tokenizer.pairs(ChatTemplate::ChatMl, rows.clone(), 100);
        assert!(pairs.is_err(), "the tokenizer lacks ChatML's tokens");
        let pairs = tokenizer.pairs(ChatTemplate::MistralInstruct, rows, 100).unwrap();
        assert_eq!((pairs.identical, pairs.pairs), (1, vec![1]));
        let (chosen, _) = pair("a", "b", "c");
        let (_, rejected) = pair("other", "b", "c");
        let error = tokenizer.pairs(ChatTemplate::MistralInstruct, [(chosen, rejected)], 100).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
    }
}
