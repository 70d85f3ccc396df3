//! Text to ids and back.

use std::path::Path;
use std::sync::Arc;

use janus_core::{ChatTemplate, Rendered};
use serde_json::json;
use tokenizers::{Model, ModelWrapper, OffsetType, PreTokenizer};

use crate::{Error, Result, bpe, write_file};

/// A tokenizer of the Hugging Face `tokenizers` library, made predictable: text never turns into special tokens by
/// itself, none is added, nothing is cut or padded and no merge is dropped, whatever its file asks for. Special tokens
/// come from the chat template alone.
///
/// Clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    /// Takes text as text, also where it spells a special token.
    plain: Arc<tokenizers::Tokenizer>,
    /// Takes the spelling of a special token as that token.
    spelt: Arc<tokenizers::Tokenizer>,
    vocab_size: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TokenizerFile`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path, "read the file"))?;
        let tokenizer = tokenizers::Tokenizer::from_bytes(bytes);
        tokenizer.map(Self::from_tokenizers).map_err(|cause| Error::TokenizerFile { path: path.into(), cause })
    }

    /// Takes over a tokenizer of the library; its truncation, padding and dropout are switched off.
    pub fn from_tokenizers(mut tokenizer: tokenizers::Tokenizer) -> Self {
        // Truncation can only fail where it is asked for.
        let _ = tokenizer.with_truncation(None);
        tokenizer.with_padding(None);
        if let ModelWrapper::BPE(bpe) = tokenizer.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            tokenizer.with_model(bpe);
        }
        tokenizer.set_encode_special_tokens(false);
        let mut plain = tokenizer.clone();
        plain.set_encode_special_tokens(true);
        let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Self { plain: Arc::new(plain), spelt: Arc::new(tokenizer), vocab_size }
    }

    /// Trains a byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2) of at most `vocab_size` tokens: first the
    /// special tokens in the order given, then the 256 bytes, then the merges. A pair that occurs once is not merged,
    /// so little text gives fewer tokens. Texts are counted as text, special tokens in them too. The same texts give
    /// the same bytes in every process.
    ///
    /// ```
    /// let tokenizer = janus_data::Tokenizer::train(["a kite, a kite"].into_iter(), 300, &["<s>", "</s>"])?;
    /// assert_eq!(tokenizer.token_id("</s>"), Some(1));
    /// assert_eq!(tokenizer.decode(&tokenizer.encode("a kite?")?)?, "a kite?");
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::VocabularyTooSmall`], [`Error::SpecialToken`] for one that is empty, doubled, or spelt like a
    /// token of text.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str>, vocab_size: usize, special_tokens: &[&str]) -> Result<Self> {
        bpe::train(texts, vocab_size, special_tokens).map(Self::from_tokenizers)
    }

    /// Writes a `tokenizer.json`, whole or not at all, into a folder that is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Tokenizer`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = self.spelt.to_string(true).map_err(|cause| Error::Tokenizer { doing: "be written", cause })?;
        write_file(path, json.as_bytes())
    }

    /// Writes what transformers, vLLM and llama.cpp's converter read beside a model's weights: `tokenizer.json`, and
    /// `tokenizer_config.json` with the special tokens and the template; each whole or not at all. The folder is made if need be.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use janus_core::ChatTemplate::MistralInstruct;
    /// let tokenizer = janus_data::Tokenizer::train(["hi"].into_iter(), 300, MistralInstruct.special_tokens())?;
    /// tokenizer.save_with_template(folder.path().join("model"), MistralInstruct)?;
    /// let config = std::fs::read_to_string(folder.path().join("model/tokenizer_config.json"))?;
    /// assert!(config.contains(r#""eos_token": "</s>""#) && config.contains("[INST]"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tokenizer::save`].
    pub fn save_with_template(&self, folder: impl AsRef<Path>, template: ChatTemplate) -> Result<()> {
        let folder = folder.as_ref();
        let config = json!({
            "bos_token": template.special_tokens().first().filter(|_| template == ChatTemplate::MistralInstruct),
            "eos_token": template.end_of_turn(),
            "add_bos_token": false,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": template.jinja(),
        });
        self.save(folder.join("tokenizer.json"))?;
        write_file(folder.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())
    }

    /// Ids of a text. Text is text: no special token is added, and the spelling of one in the text is taken for
    /// letters and signs.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot spell the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.plain, text)
    }

    /// [`Tokenizer::encode`] for many texts at once, as the library itself does it in parallel. All are held.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot spell a text.
    pub fn encode_batch(&self, texts: Vec<&str>) -> Result<Vec<Vec<u32>>> {
        let encodings = self.plain.encode_batch_fast(texts, false);
        let encodings = encodings.map_err(|cause| Error::Tokenizer { doing: "encode the texts", cause })?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Ids of a text in which special tokens may be spelt out; no token is added. For prompts that another program
    /// rendered; what a user typed belongs into [`Tokenizer::encode`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot spell the text.
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.spelt, text)
    }

    /// [`Tokenizer::encode_with_specials`] of a text in which some characters stand for a text each: these texts are put in
    /// once special tokens have been found, and so stay text, whatever they spell.
    ///
    /// ```
    /// let tokenizer = janus_data::Tokenizer::train(["a kite"].into_iter(), 300, &["<s>", "</s>"])?;
    /// let ids = tokenizer.encode_escaped("<s>what is \u{F0000}?", &[('\u{F0000}', "</s>")])?;
    /// assert_eq!((ids.first().copied(), tokenizer.decode(&ids)?.as_str()), (Some(0), "what is </s>?"));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot spell the text.
    pub fn encode_escaped(&self, text: &str, escapes: &[(char, &str)]) -> Result<Vec<u32>> {
        let tokenizer = &self.spelt;
        let encode = || -> tokenizers::Result<Vec<u32>> {
            let mut pieces = tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
            pieces.normalize(|piece| escapes.iter().try_for_each(|(mark, text)| piece.replace(*mark, text)))?;
            if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces)?;
            }
            pieces.tokenize(|piece| tokenizer.get_model().tokenize(piece.get()))?;
            Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
        };
        encode().map_err(|cause| Error::Tokenizer { doing: "encode the text", cause })
    }

    /// Ids of a rendered conversation, segment by segment: the ids of a prompt are the first ids of every conversation
    /// that continues it.
    ///
    /// # Errors
    /// [`Error::NoSuchToken`] for a special token that the tokenizer does not have, [`Error::Tokenizer`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        Ok(self.rendered(rendered)?.ids)
    }

    /// Text of ids; special tokens are left out, and bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.plain.decode(ids, true).map_err(|cause| Error::Tokenizer { doing: "decode the ids", cause })
    }

    /// The id of a token by its spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.plain.token_to_id(token)
    }

    /// Every special token with its id, in the order of the ids.
    pub fn special_tokens(&self) -> Vec<(u32, String)> {
        let added = self.spelt.get_added_tokens_decoder();
        let mut special: Vec<_> = added.into_iter().filter(|(_, token)| token.special).map(|(id, token)| (id, token.content)).collect();
        special.sort();
        special
    }

    /// The spelling of an id in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    /// BLAKE3, in hex, of all that ids depend on: the tokenizer's own file as [`Tokenizer::save`] writes it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn fingerprint(&self) -> Result<String> {
        let json = self.spelt.to_string(false).map_err(|cause| Error::Tokenizer { doing: "be written", cause })?;
        Ok(blake3::hash(json.as_bytes()).to_hex().to_string())
    }

    /// One more than the largest id, special tokens included: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

fn ids(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false);
    encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|cause| Error::Tokenizer { doing: "encode the text", cause })
}
