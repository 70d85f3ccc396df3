//! The text of single tokens.
//!
//! A decoder treats the beginning of a text differently: SentencePiece's drops its space. So a token is decoded after another
//! one, whose text is cut off again. And a token may be a part of a character: its bytes are spelt out then, as OpenAI does, so
//! that no two such tokens have the same text.

use janus_data::Tokenizer;

/// The prefix of spelt-out bytes.
const BYTES: &str = "bytes:";

/// Decodes single tokens of one tokenizer.
pub(crate) struct TokenTexts {
    /// Ids that stand before a token, and their text.
    before: (Vec<u32>, String),
}

impl TokenTexts {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        let ids = tokenizer.encode("a").unwrap_or_default();
        let text = tokenizer.decode(&ids).unwrap_or_default();
        Self { before: (ids, text) }
    }

    /// A token's text in the middle of a text, with its spaces: " the". A special token is spelt as in the vocabulary, and a part
    /// of a character by its bytes: `bytes:\xf0\x9f`.
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

/// The bytes of a token with this text.
#[cfg(any(feature = "server", test))]
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    unescaped(text).unwrap_or_else(|| text.into())
}

/// Characters of a text. Of a character with several tokens, the first counts.
#[cfg(any(feature = "server", test))]
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Where tokens begin in the text that they make, in characters.
#[cfg(any(feature = "server", test))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offset {
    characters: usize,
    /// Whether a text has begun: its first space may be dropped.
    begun: bool,
}

#[cfg(any(feature = "server", test))]
impl Offset {
    /// Where the next token, which has this text, begins.
    pub(crate) fn next(&mut self, id: Option<u32>, text: &str, tokenizer: &Tokenizer) -> usize {
        let start = self.characters;
        let at_the_beginning = id.map(|id| tokenizer.decode(&[id]).unwrap_or_default());
        let special = at_the_beginning.as_ref().is_some_and(String::is_empty) && !text.trim_matches(' ').is_empty();
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
    let bytes: Vec<u8> = codes.map(|code| (code.len() == 2).then(|| u8::from_str_radix(code, 16).ok())?).collect::<Option<_>>()?;
    (nothing.is_empty() && !bytes.is_empty()).then_some(bytes)
}

/// The bytes that a vocabulary spells: `<0xE2>` in SentencePiece's, `âĢ` in the alphabet of GPT-2.
fn bytes_of_spelling(spelling: &str) -> Option<Vec<u8>> {
    let code = spelling.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    if let Some(byte) = code.filter(|code| code.len() == 2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
        return Some(vec![byte]);
    }
    spelling.chars().map(byte_of_letter).collect()
}

/// GPT-2's letters for bytes: printable ones of Latin-1 are their own, the others come after them in their order, from U+0100 on.
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
    fn gpt2s_letters_are_those_of_the_library() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let bytes: std::collections::BTreeSet<u8> = alphabet.into_iter().map(|letter| byte_of_letter(letter).unwrap()).collect();
        assert_eq!(bytes.len(), 256);
        let spelling = ["Ġ", "Ċ", "ðŁĺ", "é", "ï¿½"].map(|spelling| bytes_of_spelling(spelling).unwrap());
        assert_eq!(spelling, [&b" "[..], b"\n", b"\xf0\x9f\x98", b"\xe9", "\u{fffd}".as_bytes()]);
        assert_eq!([bytes_of_spelling("▁"), bytes_of_spelling("\u{fffd}")], [None, None]);
    }

    #[test]
    fn bytes_that_are_no_text_are_spelt_and_read() {
        assert_eq!(escaped(&[0xf0, 0x9f]), "bytes:\\xf0\\x9f");
        assert_eq!(bytes("bytes:\\xf0\\x9f"), [0xf0, 0x9f]);
        for text in ["bytes:", "bytes:x", "bytes:\\xf", "bytes:\\xfff", "bytes:a\\xff", " é"] {
            assert_eq!(bytes(text), text.as_bytes());
        }
    }

    /// The text of each token, and where it begins.
    fn texts_and_offsets(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<String>, Vec<usize>) {
        let texts = TokenTexts::new(tokenizer);
        let texts: Vec<String> = ids.iter().map(|id| texts.text(*id, tokenizer).unwrap()).collect();
        let mut offset = Offset::default();
        let offsets = ids.iter().zip(&texts).map(|(id, text)| offset.next(Some(*id), text, tokenizer)).collect();
        (texts, offsets)
    }

    /// "▁the" was "the" once, as SentencePiece's decoder drops the first space of a text.
    #[test]
    fn tokens_of_sentencepiece_keep_their_spaces_and_bytes() {
        let tokenizer = Tokenizer::read(goldens().join("tokenizers/byte_fallback/tokenizer.json")).unwrap();
        let id = |token: &str| tokenizer.token_id(token).unwrap();
        let ids = ["▁the", "ther", "▁", "▁the", "<0xF0>", "<0x9F>", "<0x98>", "<0x8A>", "é", "<0x0A>", "<s>", "▁the", "</s>"].map(id);
        let (texts, offsets) = texts_and_offsets(&tokenizer, &ids);
        let bytes = [0xf0u8, 0x9f, 0x98, 0x8a].map(|byte| format!("bytes:\\x{byte:02x}"));
        let expected = [" the", "ther", " ", " the", &bytes[0], &bytes[1], &bytes[2], &bytes[3], "é", "\n", "<s>", " the", "</s>"];
        assert_eq!(texts, expected);
        // "thether  the😊é\n the": the first token's space is not part of it, nor are special tokens.
        let text = tokenizer.decode(&ids).unwrap();
        assert_eq!(text, "thether  the😊é\n the");
        assert_eq!(offsets, [0, 3, 7, 8, 12, 13, 13, 13, 13, 14, 15, 15, 19]);
        // Each token but the parts of a character is what stands there.
        for (token, offset) in
            texts.iter().zip(&offsets).skip(1).filter(|(token, _)| !token.starts_with("bytes:") && !token.starts_with('<'))
        {
            assert!(text.chars().skip(*offset).collect::<String>().starts_with(token.as_str()), "{token:?} at {offset}");
        }
        // No two tokens of the vocabulary read alike, but for control characters and the like that have a piece and a byte.
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
            let with_offsets = cases["cases"].as_array().unwrap().iter().filter(|case| case["offsets"].is_array());
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
