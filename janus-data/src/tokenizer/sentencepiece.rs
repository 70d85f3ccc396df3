//! SentencePiece's own file, `tokenizer.model`. llama.cpp's converter takes the order of merges from it; without
//! it every token has one score, and texts get other ids.
//!
//! The file is a Protocol Buffers message, `ModelProto` of sentencepiece_model.proto.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::ModelWrapper;

use super::Tokenizer;
use crate::{Error, Result};

/// `SentencePiece.Type`.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// The score of a token that no merge forms.
const UNREACHABLE: f32 = -1e6;

impl Tokenizer {
    /// Whether this is SentencePiece's BPE: merges with a byte for every character that has no token.
    pub(super) fn is_sentencepiece(&self) -> bool {
        matches!(self.with_specials.get_model(), ModelWrapper::BPE(bpe) if bpe.byte_fallback)
    }

    /// The bytes of `tokenizer.model`; `None` for a tokenizer of another kind. A token's score is the negative
    /// rank of the first merge that forms it, which gives the same order of merges.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot be written as JSON.
    pub fn sentencepiece_model(&self) -> Result<Option<Vec<u8>>> {
        if !self.is_sentencepiece() {
            return Ok(None);
        }
        let cannot = |cause| Error::Tokenizer { doing: "be written", cause };
        let json = self.with_specials.to_string(false).map_err(cannot)?;
        let json: Value = serde_json::from_str(&json).map_err(|error| cannot(error.into()))?;
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, merge) in json["model"]["merges"].as_array().into_iter().flatten().enumerate() {
            let formed = match merge.as_str() {
                Some(pair) => pair.replacen(' ', "", 1),
                None => merge.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
            };
            ranks.entry(formed).or_insert(rank);
        }
        let unknown = json["model"]["unk_token"].as_str();
        let added = self.with_specials.get_added_tokens_decoder();
        let mut unknown_id = None;
        let mut proto = Message::default();
        for id in 0..self.vocab_size as u32 {
            let token = self.token(id);
            let kind = match (added.get(&id), token.as_deref()) {
                (_, None) => Kind::Unused,
                (_, token) if token == unknown => Kind::Unknown,
                (Some(added), _) if added.special => Kind::Control,
                (Some(_), _) => Kind::UserDefined,
                (None, Some(token)) if is_byte(token) => Kind::Byte,
                (None, Some(_)) => Kind::Normal,
            };
            if kind == Kind::Unknown {
                unknown_id = Some(id);
            }
            let token = token.unwrap_or_else(|| format!("[unused {id}]"));
            let score = match (kind, ranks.get(&token)) {
                (Kind::Normal, Some(rank)) => -(*rank as f32),
                (Kind::Normal, None) => UNREACHABLE,
                _ => 0.0,
            };
            let mut piece = Message::default();
            piece.bytes(1, token.as_bytes());
            piece.float(2, score);
            piece.number(3, kind as u64);
            proto.bytes(1, &piece.0);
        }
        let (mut trainer, mut normalizer) = (Message::default(), Message::default());
        trainer.number(3, 2); // BPE
        trainer.number(4, self.vocab_size as u64);
        trainer.number(35, 1); // byte_fallback
        if let Some(id) = unknown_id {
            trainer.number(40, u64::from(id));
        }
        normalizer.bytes(1, b"identity");
        normalizer.number(3, 1); // add_dummy_prefix
        normalizer.number(4, 0); // remove_extra_whitespaces
        proto.bytes(2, &trainer.0);
        proto.bytes(3, &normalizer.0);
        Ok(Some(proto.0))
    }
}

/// Whether a token stands for a byte: `<0x41>`.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// A message of Protocol Buffers that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An integer of variable length: seven bits in a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        let mut message = Message::default();
        message.number(35, 300);
        message.bytes(1, b"ab");
        message.float(2, -1.0);
        assert_eq!(message.0, [0x98, 0x02, 0xac, 0x02, 0x0a, 2, b'a', b'b', 0x15, 0, 0, 0x80, 0xbf]);
    }

    #[test]
    fn only_sentencepiece_has_a_file_of_its_own() {
        let byte_level = Tokenizer::train(["a kite"].into_iter(), 300, &["</s>"]).unwrap();
        assert!(byte_level.sentencepiece_model().unwrap().is_none());
        let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                "vocab": {"<unk>": 0, "<0x41>": 1, "a": 2, "b": 3, "ab": 4}, "merges": ["a b"]}}"#;
        let model = Tokenizer::from_tokenizers(json.parse().unwrap()).sentencepiece_model().unwrap().unwrap();
        // The first piece: a string of five bytes, a float, the type.
        assert_eq!(&model[..16], b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02");
        let last = b"\x0a\x02ab\x15\0\0\0\x80\x18\x01";
        assert!(model.windows(last.len()).any(|window| window == last), "{model:?}");
    }
}
