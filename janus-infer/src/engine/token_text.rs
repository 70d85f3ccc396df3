//! The text of single tokens.
//!
//! A decoder treats the beginning of a text differently: SentencePiece's drops its first space. So a
//! token is decoded after another one, whose text is then cut off. A token may also be a part of a
//! character. It is then written as its bytes, as OpenAI's API does, so that different tokens have
//! different texts.

use janus_data::Tokenizer;

/// The prefix of a token that is written as bytes.
const BYTES: &str = "bytes:";

/// Decodes single tokens of one tokenizer.
pub(crate) struct TokenTexts {
    /// Ids that are decoded before a token, and their text.
    before: (Vec<u32>, String),
}

impl TokenTexts {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        let ids = tokenizer.encode("a").unwrap_or_default();
        let text = tokenizer.decode(&ids).unwrap_or_default();
        Self { before: (ids, text) }
    }

    /// A token's text in the middle of a text, with its spaces: " the". A special token is written as in
    /// the vocabulary, and a part of a character as its bytes: `bytes:\xf0\x9f`.
    pub(crate) fn text(&self, id: u32, tokenizer: &Tokenizer) -> Result<String, janus_data::Error> {
        let (ids, before) = &self.before;
        let both = tokenizer.decode(&[ids, &[id][..]].concat())?;
        let text = match both.strip_prefix(before.as_str()) {
            Some(text) => text.to_string(),
            None => tokenizer.decode(&[id])?,
        };
        let spelling = || tokenizer.token(id).unwrap_or_default();
        if text.is_empty() {
            return Ok(spelling());
        }
        if !text.contains('\u{fffd}') {
            return Ok(text);
        }
        Ok(match bytes_of_spelling(&spelling()) {
            Some(bytes) => String::from_utf8(bytes).unwrap_or_else(|error| escaped(error.as_bytes())),
            None => text,
        })
    }
}

/// The bytes of a token, given its text.
#[cfg(any(feature = "server", test))]
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    unescaped(text).unwrap_or_else(|| text.into())
}

/// Number of characters that begin in these bytes: a character of several tokens counts for the first.
#[cfg(any(feature = "server", test))]
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// The offsets of tokens in the text that they form, in characters.
#[cfg(any(feature = "server", test))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offset {
    characters: usize,
    /// Whether the text has begun; before that, a decoder may drop a space.
    begun: bool,
}

#[cfg(any(feature = "server", test))]
impl Offset {
    /// The offset of the next token, whose text is `text`.
    pub(crate) fn next(&mut self, id: Option<u32>, text: &str, tokenizer: &Tokenizer) -> usize {
        let start = self.characters;
        let at_the_beginning = id.map(|id| tokenizer.decode(&[id]).unwrap_or_default());
        let special =
            at_the_beginning.as_ref().is_some_and(String::is_empty) && !text.trim_matches(' ').is_empty();
        if special {
            return start;
        }
        let whole = characters(&bytes(text));
        self.characters += match at_the_beginning {
            Some(first) if !self.begun && text.ends_with(&first) => first.chars().count(),
            _ => whole,
        };
        self.begun = true;
        start
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(BYTES.to_string(), |text, byte| format!("{text}\\x{byte:02x}"))
}

#[cfg(any(feature = "server", test))]
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut codes = text.strip_prefix(BYTES)?.split("\\x");
    let nothing = codes.next()?;
    let bytes: Vec<u8> = codes
        .map(|code| (code.len() == 2).then(|| u8::from_str_radix(code, 16).ok())?)
        .collect::<Option<_>>()?;
    (nothing.is_empty() && !bytes.is_empty()).then_some(bytes)
}

/// The bytes of a token in its vocabulary's notation: `<0xE2>` in SentencePiece, `âĢ` in GPT-2's byte
/// alphabet.
fn bytes_of_spelling(spelling: &str) -> Option<Vec<u8>> {
    let code = spelling.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    if let Some(byte) = code.filter(|code| code.len() == 2).and_then(|code| u8::from_str_radix(code, 16).ok())
    {
        return Some(vec![byte]);
    }
    spelling.chars().map(byte_of_letter).collect()
}

/// The byte that a letter of GPT-2's byte alphabet stands for: a printable character of Latin-1 for
/// itself, the letters from U+0100 on for the other bytes in ascending order.
fn byte_of_letter(letter: char) -> Option<u8> {
    let is_its_own = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..);
    match u8::try_from(letter) {
        Ok(byte) => is_its_own(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !is_its_own(*byte)).nth((letter as usize).checked_sub(256)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{goldens, json};

    #[test]
    fn gpt2s_byte_alphabet_is_that_of_the_tokenizers_crate() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let bytes: std::collections::BTreeSet<u8> =
            alphabet.into_iter().map(|letter| byte_of_letter(letter).unwrap()).collect();
        assert_eq!(bytes.len(), 256);
        let spelling = ["Ġ", "Ċ", "ðŁĺ", "é", "ï¿½"].map(|spelling| bytes_of_spelling(spelling).unwrap());
        assert_eq!(spelling, [&b" "[..], b"\n", b"\xf0\x9f\x98", b"\xe9", "\u{fffd}".as_bytes()]);
        assert_eq!([bytes_of_spelling("▁"), bytes_of_spelling("\u{fffd}")], [None, None]);
    }

    #[test]
    fn parts_of_characters_are_written_and_read_as_bytes() {
        assert_eq!(escaped(&[0xf0, 0x9f]), "bytes:\\xf0\\x9f");
        assert_eq!(bytes("bytes:\\xf0\\x9f"), [0xf0, 0x9f]);
        for text in ["bytes:", "bytes:x", "bytes:\\xf", "bytes:\\xfff", "bytes:a\\xff", " é"] {
            assert_eq!(bytes(text), text.as_bytes());
        }
    }

    /// The text of each token, and its offset.
    fn texts_and_offsets(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<String>, Vec<usize>) {
        let texts = TokenTexts::new(tokenizer);
        let texts: Vec<String> = ids.iter().map(|id| texts.text(*id, tokenizer).unwrap()).collect();
        let mut offset = Offset::default();
        let offsets =
            ids.iter().zip(&texts).map(|(id, text)| offset.next(Some(*id), text, tokenizer)).collect();
        (texts, offsets)
    }

    /// "▁the" was written as "the", because SentencePiece's decoder drops the first space of a text.
    #[test]
    fn tokens_of_sentencepiece_keep_their_spaces_and_bytes() {
        let tokenizer = Tokenizer::read(goldens().join("tokenizers/byte_fallback/tokenizer.json")).unwrap();
        let id = |token: &str| tokenizer.token_id(token).unwrap();
        let ids = [
            "▁the", "ther", "▁", "▁the", "<0xF0>", "<0x9F>", "<0x98>", "<0x8A>", "é", "<0x0A>", "<s>",
            "▁the", "</s>",
        ]
        .map(id);
        let (texts, offsets) = texts_and_offsets(&tokenizer, &ids);
        let bytes = [0xf0u8, 0x9f, 0x98, 0x8a].map(|byte| format!("bytes:\\x{byte:02x}"));
        let expected = [
            " the", "ther", " ", " the", &bytes[0], &bytes[1], &bytes[2], &bytes[3], "é", "\n", "<s>",
            " the", "</s>",
        ];
        assert_eq!(texts, expected);
        // "thether  the😊é\n the": the first token's space is not part of it, nor are special tokens.
        let text = tokenizer.decode(&ids).unwrap();
        assert_eq!(text, "thether  the😊é\n the");
        assert_eq!(offsets, [0, 3, 7, 8, 12, 13, 13, 13, 13, 14, 15, 15, 19]);
        // At its offset the text has each token, except for parts of characters.
        for (token, offset) in texts
            .iter()
            .zip(&offsets)
            .skip(1)
            .filter(|(token, _)| !token.starts_with("bytes:") && !token.starts_with('<'))
        {
            assert!(
                text.chars().skip(*offset).collect::<String>().starts_with(token.as_str()),
                "{token:?} at {offset}"
            );
        }
        // No two tokens have the same text, except for a few characters that the vocabulary has as a
        // piece and as a byte.
        let texts = TokenTexts::new(&tokenizer);
        let mut seen = std::collections::HashMap::new();
        for id in 3..u32::try_from(tokenizer.vocab_size()).unwrap() {
            seen.entry(texts.text(id, &tokenizer).unwrap()).or_insert_with(Vec::new).push(id);
        }
        seen.retain(|_, ids| ids.len() > 1);
        assert!(seen.values().all(|ids| ids.len() == 2 && ids[0] < 259), "{seen:?}");
    }

    #[test]
    fn offsets_are_those_of_the_tokenizers_library() {
        for name in ["byte_level", "byte_fallback"] {
            let folder = goldens().join("tokenizers").join(name);
            let tokenizer = Tokenizer::read(folder.join("tokenizer.json")).unwrap();
            let cases = json(folder.join("tokens.json"));
            let with_offsets =
                cases["cases"].as_array().unwrap().iter().filter(|case| case["offsets"].is_array());
            let mut compared = 0;
            for case in with_offsets {
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                let expected: Vec<usize> = serde_json::from_value(case["offsets"].clone()).unwrap();
                assert_eq!(texts_and_offsets(&tokenizer, &ids).1, expected, "{name}: {}", case["text"]);
                compared += ids.len();
            }
            assert!(compared > 200, "{name}: {compared} tokens");
        }
    }
}
