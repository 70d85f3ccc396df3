//! Preference pairs as token rows, chosen before rejected.

use std::borrow::Cow;

use janus_core::{ChatTemplate, Message};

use super::ConversationFormat;
use super::token_row::in_parallel;
use crate::{Dataset, Error, Result, TokenFile, TokenFileProblem, TokenRow, Tokenizer};

/// Tokenised preference pairs: row 2i is chosen over row 2i + 1, and both begin with the same prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PairRows {
    /// `[2 · pairs]`; the loss mask is true for the tokens of the responses.
    pub rows: Vec<TokenRow>,
    /// `[pairs]`: the index of each pair in the input, from 0.
    pub pairs: Vec<usize>,
    /// Number of pairs whose prompt was truncated on the left.
    pub shortened: usize,
    /// Number of pairs left out because both responses have the same tokens, so that nothing can be learned
    /// from them.
    pub identical: usize,
    /// Number of pairs left out because a response leaves no room for even one token of the prompt.
    pub too_long: usize,
}

impl Tokenizer {
    /// Tokenises pairs of conversations that differ only in their last message, the assistant's, into rows of
    /// at most `max_tokens` tokens.
    ///
    /// If a pair is too long, its prompt is truncated on the left, by the same tokens on both sides; a
    /// response is never truncated. Pairs that are left out are counted.
    ///
    /// ```
    /// use janus_core::{ChatTemplate::ChatMl, Message};
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
    /// let conversation = |text: &str| vec![Message::user("Hi?"), Message::assistant(text)];
    /// let pairs = tokenizer.pairs(ChatMl, [(conversation("Hello."), conversation("No.")), (conversation("A"), conversation("A"))], 64)?;
    /// assert_eq!((pairs.rows.len(), pairs.pairs, pairs.identical), (2, vec![0], 1));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// Within [`Error::AtRow`]: the errors of [`Tokenizer::conversation`], and [`Error::PairPrompts`] for
    /// sides with different prompts.
    pub fn pairs(
        &self,
        template: impl ConversationFormat,
        pairs: impl IntoIterator<Item = (Vec<Message>, Vec<Message>)>,
        max_tokens: usize,
    ) -> Result<PairRows> {
        let refused = |row, error| Err(Error::AtRow { row, cause: Box::new(error) });
        self.pairs_or(template, pairs, max_tokens, refused)
    }

    /// Tokenises pairs as [`pairs`](Self::pairs) does, and hands the index and the error of each pair that the
    /// template refuses to `refused`, which leaves the pair out or ends with an error.
    ///
    /// # Errors
    /// Those of `refused`.
    pub fn pairs_or<E>(
        &self,
        template: impl ConversationFormat,
        pairs: impl IntoIterator<Item = (Vec<Message>, Vec<Message>)>,
        max_tokens: usize,
        mut refused: impl FnMut(usize, Error) -> Result<(), E>,
    ) -> Result<PairRows, E> {
        let mut out = PairRows::default();
        for (pair, (chosen, rejected)) in pairs.into_iter().enumerate() {
            let sides = match self.sides(&template, &chosen, &rejected) {
                Ok(sides) => sides,
                Err(error) => {
                    refused(pair, error)?;
                    continue;
                }
            };
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
            out.rows.extend(sides.responses.map(|response| response.after_prompt(&sides.prompt[cut..])));
            out.pairs.push(pair);
        }
        Ok(out)
    }

    fn sides(
        &self,
        template: &dyn ConversationFormat,
        chosen: &[Message],
        rejected: &[Message],
    ) -> Result<Sides> {
        let Some((_, context)) = chosen.split_last() else { return Err(Error::NothingTrained) };
        if rejected.split_last().map(|(_, context)| context) != Some(context) {
            return Err(Error::PairPrompts);
        }
        let prompt = template.prompt(self, context)?;
        let response = |messages: &[Message]| {
            let whole = template.row(self, messages, &|message| message == context.len())?.checked()?;
            if !whole.ids.starts_with(&prompt) {
                return Err(Error::PromptNotPrefix { message: context.len() });
            }
            let (ids, loss_mask) =
                (whole.ids[prompt.len()..].to_vec(), whole.loss_mask[prompt.len()..].to_vec());
            Ok::<_, Error>(TokenRow { ids, loss_mask })
        };
        Ok(Sides { responses: [response(chosen)?, response(rejected)?], prompt })
    }
}

/// Tokenises the chosen and the rejected conversation of each pair into two complete token rows, for
/// [`TokenWriter::of_pairs`](crate::TokenWriter::of_pairs). It uses all threads of rayon, keeps the order,
/// and holds a few hundred pairs in memory.
///
/// # Errors
/// The stream contains the errors of `pairs` unchanged, and those of [`Tokenizer::pairs`] at the position of
/// their pair.
pub fn token_pairs<'a>(
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    pairs: impl Iterator<Item = Result<(Vec<Message>, Vec<Message>)>> + 'a,
) -> impl Iterator<Item = Result<[TokenRow; 2]>> + 'a {
    in_parallel(pairs, move |(chosen, rejected)| {
        let sides = tokenizer.sides(&template, &chosen, &rejected)?;
        Ok(sides.responses.map(|response| response.after_prompt(&sides.prompt)))
    })
}

/// The pairs of a token file, truncated to a maximum number of tokens: the same pairs as those of
/// [`Tokenizer::pairs`] for the same text. Row 2i is chosen over row 2i + 1. The rows stay on disk, and their
/// prompts are truncated on the left when they are read.
///
/// ```
/// use janus_core::{ChatTemplate::ChatMl, Message};
/// use janus_data::{Dataset, PairFile, TokenFile, TokenWriter, Tokenizer, token_pairs};
/// # let folder = tempfile::tempdir()?;
/// let tokenizer = Tokenizer::train(["hi"].into_iter(), 300, ChatMl.special_tokens())?;
/// let conversation = |text: &str| vec![Message::user("Hi?"), Message::assistant(text)];
/// let mut writer = TokenWriter::create(folder.path(), "abc")?.of_pairs();
/// for pair in token_pairs(&tokenizer, ChatMl, [Ok((conversation("Hello."), conversation("No.")))].into_iter()) {
///     pair?.iter().try_for_each(|row| writer.write(row))?;
/// }
/// writer.finish()?;
///
/// let pairs = PairFile::new(TokenFile::open(folder.path())?, 64)?;
/// let expected = tokenizer.pairs(ChatMl, [(conversation("Hello."), conversation("No."))], 64)?;
/// assert_eq!((pairs.len(), &*pairs.row(1)?), (2, &expected.rows[1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PairFile {
    file: TokenFile,
    /// For each pair that is kept, its index in the file and the number of tokens that its prompt loses.
    kept: Vec<(usize, usize)>,
    /// Number of tokens of each pair that is kept.
    lengths: Vec<usize>,
    shortened: usize,
    identical: usize,
    too_long: usize,
}

impl PairFile {
    /// Opens the pairs of a token file; every row is read once.
    ///
    /// # Errors
    /// [`Error::TokenFile`] for a file whose rows are not pairs, [`Error::NothingTrained`] in
    /// [`Error::AtRow`] for a row whose loss mask is all false, [`Error::Io`].
    pub fn new(file: TokenFile, max_tokens: usize) -> Result<Self> {
        if !file.info().pairs {
            return Err(Error::TokenFile { path: file.path().into(), problem: TokenFileProblem::NoPairs });
        }
        let mut pairs =
            Self { file, kept: Vec::new(), lengths: Vec::new(), shortened: 0, identical: 0, too_long: 0 };
        for pair in 0..pairs.file.len() / 2 {
            let [chosen, rejected] = [pairs.file.row(2 * pair)?, pairs.file.row(2 * pair + 1)?];
            if chosen == rejected {
                pairs.identical += 1;
                continue;
            }
            let prompt = |row: &TokenRow| row.loss_mask.iter().position(|&in_loss| in_loss);
            let Some(prompt) = prompt(&chosen).zip(prompt(&rejected)).map(|(one, other)| one.min(other))
            else {
                return Err(Error::AtRow { row: pair, cause: Box::new(Error::NothingTrained) });
            };
            let cut = chosen.ids.len().max(rejected.ids.len()).saturating_sub(max_tokens);
            if cut >= prompt {
                pairs.too_long += 1;
                continue;
            }
            pairs.shortened += usize::from(cut > 0);
            pairs.kept.push((pair, cut));
            pairs.lengths.push(chosen.ids.len() + rejected.ids.len() - 2 * cut);
        }
        Ok(pairs)
    }

    /// The file.
    pub fn file(&self) -> &TokenFile {
        &self.file
    }

    /// The index in the file, from 0, of each pair that is kept.
    pub fn pairs(&self) -> impl Iterator<Item = usize> {
        self.kept.iter().map(|(pair, _)| *pair)
    }

    /// Number of tokens of both rows, for each pair that is kept.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Number of pairs whose prompt is truncated on the left.
    pub fn shortened(&self) -> usize {
        self.shortened
    }

    /// Number of pairs left out because both responses have the same tokens.
    pub fn identical(&self) -> usize {
        self.identical
    }

    /// Number of pairs left out because a response leaves no room for even one token of the prompt.
    pub fn too_long(&self) -> usize {
        self.too_long
    }
}

impl Dataset for PairFile {
    fn len(&self) -> usize {
        2 * self.kept.len()
    }

    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
        let &(pair, cut) =
            self.kept.get(index / 2).ok_or(Error::NoSuchRow { row: index, rows: self.len() })?;
        let mut row = self.file.row(2 * pair + index % 2)?;
        row.ids.drain(..cut);
        row.loss_mask.drain(..cut);
        Ok(Cow::Owned(row))
    }
}

impl TokenRow {
    /// This row with a prompt in front of it, which is not in the loss mask.
    fn after_prompt(self, prompt: &[u32]) -> Self {
        let ids: Vec<u32> = prompt.iter().chain(&self.ids).copied().collect();
        let mut loss_mask = vec![false; prompt.len()];
        loss_mask.extend(self.loss_mask);
        Self { ids, loss_mask }
    }
}

/// The tokens of a pair.
struct Sides {
    prompt: Vec<u32>,
    /// The chosen and the rejected response: all tokens after the prompt.
    responses: [TokenRow; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenWriter;

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["a b c"].into_iter(), 300, ChatTemplate::MistralInstruct.special_tokens()).unwrap()
    }

    fn pair(prompt: &str, chosen: &str, rejected: &str) -> (Vec<Message>, Vec<Message>) {
        let side =
            |text: &str| vec![Message::system("Be kind."), Message::user(prompt), Message::assistant(text)];
        (side(chosen), side(rejected))
    }

    #[test]
    fn both_sides_share_the_prompt_and_only_responses_are_in_the_loss_mask() {
        let tokenizer = tokenizer();
        let pairs =
            tokenizer.pairs(ChatTemplate::MistralInstruct, [pair("Why?", "yes", "never")], 100).unwrap();
        let [chosen, rejected] = &pairs.rows[..] else { panic!("{pairs:?}") };
        let prompt = chosen.loss_mask.iter().position(|&in_loss| in_loss).unwrap();
        assert_eq!(chosen.ids[..prompt], rejected.ids[..prompt]);
        assert!(chosen.loss_mask[prompt..].iter().all(|&in_loss| in_loss));
        assert_eq!(tokenizer.decode(&chosen.ids[prompt..]).unwrap(), "yes");
        assert_eq!(chosen.ids.last().copied(), tokenizer.token_id("</s>"));
        assert_eq!((pairs.shortened, pairs.identical, pairs.too_long), (0, 0, 0));
    }

    #[test]
    fn a_long_prompt_is_truncated_on_the_left_and_a_response_never() {
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
            assert_eq!(
                whole.rows[0].ids.len() - cut.rows[0].ids.len(),
                offset,
                "both sides lose the same tokens"
            );
        }
        let none = tokenizer.pairs(ChatTemplate::MistralInstruct, [long], 6).unwrap();
        assert_eq!((none.too_long, none.rows.len()), (1, 0), "the response alone has six tokens");
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

    #[test]
    fn pairs_on_disk_equal_those_in_memory_for_every_length() {
        let tokenizer = tokenizer();
        let rows = [
            pair("0123456789 why?", "yes", "never"),
            pair("a", "b", "b"),
            pair("0123", "yes", "0123456789 0123456789 0123456789"),
            pair("?", "no", "yes"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TokenWriter::create(folder.path(), "f").unwrap().of_pairs();
        for pair in token_pairs(&tokenizer, ChatTemplate::MistralInstruct, rows.iter().cloned().map(Ok)) {
            pair.unwrap().iter().for_each(|row| writer.write(row).unwrap());
        }
        writer.finish().unwrap();
        for max_tokens in 1..70 {
            let expected = tokenizer.pairs(ChatTemplate::MistralInstruct, rows.clone(), max_tokens).unwrap();
            let file = PairFile::new(TokenFile::open(folder.path()).unwrap(), max_tokens).unwrap();
            let found: Vec<TokenRow> =
                (0..file.len()).map(|row| file.row(row).unwrap().into_owned()).collect();
            assert_eq!((&found, file.pairs().collect::<Vec<_>>()), (&expected.rows, expected.pairs));
            let counts = (file.shortened(), file.identical(), file.too_long());
            assert_eq!(counts, (expected.shortened, expected.identical, expected.too_long), "{max_tokens}");
            assert_eq!(
                file.lengths(),
                found.chunks(2).map(|pair| pair[0].ids.len() + pair[1].ids.len()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn rows_that_are_not_pairs_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let row = TokenRow { ids: vec![1, 2], loss_mask: vec![false, true] };
        let written = |writer: TokenWriter, rows: usize| {
            let mut writer = writer;
            (0..rows).for_each(|_| writer.write(&row).unwrap());
            writer.finish()
        };
        let writer = || TokenWriter::create(folder.path(), "f").unwrap();
        let error = written(writer().of_pairs(), 3).unwrap_err();
        assert!(
            matches!(error, Error::TokenFile { problem: TokenFileProblem::HalfPair { rows: 3 }, .. }),
            "{error}"
        );
        written(writer(), 2).unwrap();
        let error = PairFile::new(TokenFile::open(folder.path()).unwrap(), 9).unwrap_err();
        assert!(matches!(error, Error::TokenFile { problem: TokenFileProblem::NoPairs, .. }), "{error}");
    }
}
