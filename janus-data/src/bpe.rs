//! Trains a byte-level BPE.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};

use crate::{Error, Result};

/// See [`crate::Tokenizer::train`].
///
/// The trainer of `tokenizers` keeps its counts in hash maps with a random iteration order. The result does
/// not depend on that order: pairs are merged by count, then by id. If a pair is queued twice, both entries
/// have the same count and are adjacent in the queue.
pub(crate) fn train<'a>(
    texts: impl Iterator<Item = &'a str>,
    vocab_size: usize,
    special_tokens: &[&str],
) -> Result<Tokenizer> {
    if vocab_size < 256 + special_tokens.len() {
        return Err(Error::VocabularyTooSmall { vocab_size, special_tokens: special_tokens.len() });
    }
    let layout = ByteLevel::new(false, true, true);
    check_special_tokens(special_tokens, layout)?;

    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special_tokens.iter().map(|&token| AddedToken::from(token, true)).collect())
        .show_progress(false)
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(layout)).with_decoder(Some(layout));
    let texts: Vec<&str> = texts.collect();
    tokenizer
        .train(&mut trainer, texts.into_iter())
        .map_err(|cause| Error::Tokenizer { doing: "be trained", cause })?;
    Ok(tokenizer)
}

/// Rejects special tokens that ordinary text could be encoded as.
///
/// The trainer gives a merge that spells a special token the id of that token. Merges never cross the pieces
/// of the pre-tokenizer, so no merge can spell a special token of several pieces.
fn check_special_tokens(special_tokens: &[&str], layout: ByteLevel) -> Result<()> {
    for (index, &token) in special_tokens.iter().enumerate() {
        let rejected = |rule| Err(Error::SpecialToken { token: token.into(), rule });
        if special_tokens[..index].contains(&token) {
            return rejected("it occurs twice in the list");
        }
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return rejected("it must consist of printable ASCII characters without spaces");
        }
        let mut pieces = PreTokenizedString::from(token);
        layout
            .pre_tokenize(&mut pieces)
            .map_err(|cause| Error::Tokenizer { doing: "split a special token", cause })?;
        if pieces.get_splits(OffsetReferential::Original, OffsetType::Byte).len() < 2 {
            return rejected(
                "ordinary text could be encoded as it; combine letters and punctuation, like <end>",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trained(texts: &[String]) -> String {
        train(texts.iter().map(String::as_str), 400, &["<s>"]).unwrap().to_string(false).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Two letters give many ties and many merge orders for the same piece.
        #[test]
        fn the_order_of_hash_maps_does_not_change_the_tokenizer(texts in prop::collection::vec("[ab]{1,40}( [ab]{1,9})?", 1..40)) {
            let once = trained(&texts);
            for _ in 0..3 {
                prop_assert_eq!(&trained(&texts), &once);
            }
        }
    }

    #[test]
    fn a_special_token_that_text_could_be_encoded_as_is_rejected() {
        for token in ["end", "</", "'s", "", "a b", "Ġ<", "<s>"] {
            let error = train(std::iter::empty(), 400, &["<s>", token]).unwrap_err();
            assert!(matches!(&error, Error::SpecialToken { token: named, .. } if named == token), "{error}");
        }
    }

    #[test]
    fn a_vocabulary_has_the_special_tokens_the_bytes_and_the_merges() {
        let train = |size| train(["kite kite"; 2].into_iter(), size, &["<s>", "</s>"]);
        assert!(matches!(train(257), Err(Error::VocabularyTooSmall { vocab_size: 257, special_tokens: 2 })));
        assert_eq!(train(258).unwrap().get_vocab_size(true), 258);
        assert_eq!(train(260).unwrap().get_vocab_size(true), 260);
        assert_eq!(train(260).unwrap().token_to_id("<s>"), Some(0));
        assert!(train(9999).unwrap().get_vocab_size(true) < 270, "little text has few pairs");
    }
}
