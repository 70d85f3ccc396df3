//! The tokenizer that training and inference share.

use std::path::Path;

use crate::{Error, Result};

/// Text to ids and back.
#[derive(Clone)]
pub struct Tokenizer {
    /// Parses spelt special tokens.
    parsing: tokenizers::Tokenizer,
    /// Takes them as text.
    plain: tokenizers::Tokenizer,
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Tokenizer { reason: error.to_string() }
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        tokenizers::Tokenizer::from_file(path).map(Self::from_tokenizers).map_err(failed)
    }

    /// Wraps a tokenizer.
    pub fn from_tokenizers(tokenizer: tokenizers::Tokenizer) -> Self {
        let mut plain = tokenizer.clone();
        plain.set_encode_special_tokens(true);
        Self { parsing: tokenizer, plain }
    }

    /// Ids of a text; special tokens in it are text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.plain.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// Ids of a text; spelt special tokens are tokens.
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.parsing.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// Ids of a rendered conversation, segment by segment.
    pub fn encode_rendered(&self, rendered: &janus_core::Rendered) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for segment in &rendered.segments {
            if segment.special {
                let missing = || Error::Tokenizer { reason: format!("the vocabulary has no token \"{}\"", segment.text) };
                ids.push(self.token_id(&segment.text).ok_or_else(missing)?);
            } else {
                ids.extend(self.encode(&segment.text)?);
            }
        }
        Ok(ids)
    }

    /// Text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.plain.decode(ids, true).map_err(failed)
    }

    /// Id of a token by its spelling.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.plain.token_to_id(token)
    }

    /// Tokens of the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.plain.get_vocab_size(true)
    }
}
