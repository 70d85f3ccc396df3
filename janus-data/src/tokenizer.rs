//! Text to token ids and back.

use std::path::Path;
use std::sync::Arc;

use janus_core::{ChatTemplate, JinjaSpaces, Rendered};
use serde_json::{Map, Value, json};
use tokenizers::{Model, ModelWrapper, OffsetType, PostProcessorWrapper, PreTokenizer};

mod sentencepiece;

use crate::{Error, Result, bpe, write_file};

/// A tokenizer of the Hugging Face `tokenizers` library with predictable behaviour. Whatever its file says,
/// text is never encoded as special tokens, no special token is added, and truncation, padding and BPE
/// dropout are off. Special tokens come only from the chat template.
///
/// Clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    /// Encodes the spelling of a special token as ordinary text.
    text_only: Arc<tokenizers::Tokenizer>,
    /// Encodes the spelling of a special token as that token.
    with_specials: Arc<tokenizers::Tokenizer>,
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
        // The library panics at some files that contradict themselves.
        let read = || tokenizers::Tokenizer::from_bytes(bytes);
        let tokenizer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
        tokenizer
            .unwrap_or_else(|_| Err("its parts contradict each other".into()))
            .map(Self::from_tokenizers)
            .map_err(|cause| Error::TokenizerFile { path: path.into(), cause })
    }

    /// Wraps a tokenizer of the `tokenizers` library and turns off its truncation, padding and dropout.
    pub fn from_tokenizers(mut tokenizer: tokenizers::Tokenizer) -> Self {
        // Removing truncation cannot fail.
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
        let mut text_only = tokenizer.clone();
        text_only.set_encode_special_tokens(true);
        let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Self { text_only: Arc::new(text_only), with_specials: Arc::new(tokenizer), vocab_size }
    }

    /// Trains a byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2) of at most `vocab_size` tokens:
    /// first the special tokens in the given order, then the 256 bytes, then the merges. A pair that occurs
    /// only once is not merged, so little text gives fewer tokens. The spelling of a special token in a text
    /// counts as ordinary text. The same texts give the same file in every process.
    ///
    /// ```
    /// let tokenizer = janus_data::Tokenizer::train(["a kite, a kite"].into_iter(), 300, &["<s>", "</s>"])?;
    /// assert_eq!(tokenizer.token_id("</s>"), Some(1));
    /// assert_eq!(tokenizer.decode(&tokenizer.encode("a kite?")?)?, "a kite?");
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::VocabularyTooSmall`], [`Error::SpecialToken`] for one that is empty, repeated, or spelt like
    /// a token of text.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str>,
        vocab_size: usize,
        special_tokens: &[&str],
    ) -> Result<Self> {
        bpe::train(texts, vocab_size, special_tokens).map(Self::from_tokenizers)
    }

    /// Writes a `tokenizer.json` atomically. Its folder is created if necessary.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Tokenizer`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = self
            .with_specials
            .to_string(true)
            .map_err(|cause| Error::Tokenizer { doing: "be written", cause })?;
        write_file(path, json.as_bytes())
    }

    /// Writes the files that transformers, vLLM and llama.cpp's converter read next to the weights of a
    /// model: `tokenizer.json`, for SentencePiece `tokenizer.model`, and `tokenizer_config.json` with the
    /// special tokens and the chat template.
    /// Each is written atomically. The folder is created if necessary.
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
    /// Those of [`Tokenizer::save`].
    pub fn save_with_template(&self, folder: impl AsRef<Path>, template: ChatTemplate) -> Result<()> {
        let folder = folder.as_ref();
        let config = Value::Object(self.config_with_template(template)?);
        self.for_template(template).save(folder.join("tokenizer.json"))?;
        if let Some(model) = self.sentencepiece_model()? {
            write_file(folder.join("tokenizer.model"), &model)?;
        }
        write_file(folder.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())
    }

    /// The tokenizer as it is written beside a model that was trained with a template: where the template
    /// begins with no token, the file puts none before a text either.
    #[must_use]
    pub fn for_template(&self, template: ChatTemplate) -> Self {
        if template.bos().is_some() || self.added_first().is_none() {
            return self.clone();
        }
        let mut tokenizer = tokenizers::Tokenizer::clone(&self.with_specials);
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        Self::from_tokenizers(tokenizer)
    }

    /// The `tokenizer_config.json` of this tokenizer with a chat template.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot encode a text.
    pub fn config_with_template(&self, template: ChatTemplate) -> Result<Map<String, Value>> {
        let spaces = self.jinja_spaces(template)?;
        let jinja = template.jinja_for(spaces);
        let mut config = vec![
            ("bos_token", json!(template.bos())),
            ("eos_token", json!(template.end_of_turn())),
            ("add_bos_token", json!(false)),
            ("tokenizer_class", json!("PreTrainedTokenizerFast")),
            ("chat_template", json!(jinja)),
        ];
        if spaces.unless_spaced && self.is_sentencepiece() {
            // llama.cpp would put a second space before the text after each special token.
            config.push(("add_prefix_space", json!(false)));
        }
        Ok(config.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    /// The spaces that this tokenizer puts before a text of its own, but not within a text.
    fn jinja_spaces(&self, template: ChatTemplate) -> Result<JinjaSpaces> {
        let alone = self.encode("a")?;
        let spelt = alone.first().and_then(|id| self.token(*id)).unwrap_or_default();
        // The letters for a space of SentencePiece, and of byte-level BPE.
        let spaced = spelt.starts_with(['▁', 'Ġ']);
        let special = template.end_of_turn();
        let after_special = self.encode_with_specials(&format!("{special}a"))?;
        let unless_spaced = spaced && self.encode(" a")? == alone;
        // Where a text's own space counts, the template can always write it: llama.cpp knows no such rule.
        let after_special = spaced && (unless_spaced || after_special.get(1..) != Some(&alone[..]));
        Ok(JinjaSpaces { before_answer: spaced, after_special, unless_spaced })
    }

    /// The ids of a text. No special token is added, and the spelling of one in the text is encoded as
    /// ordinary text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.text_only, text)
    }

    /// [`Tokenizer::encode`] for many texts in parallel, with the batches of the `tokenizers` library. All
    /// results are held in memory.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot encode a text.
    pub fn encode_batch(&self, texts: Vec<&str>) -> Result<Vec<Vec<u32>>> {
        let encodings = self.text_only.encode_batch_fast(texts, false);
        let encodings = encodings.map_err(|cause| Error::Tokenizer { doing: "encode the texts", cause })?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The ids of a text in which spelt-out special tokens are encoded as such; no token is added. It is
    /// meant for prompts that another program rendered; use [`Tokenizer::encode`] for text that a user typed.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot encode the text.
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.with_specials, text)
    }

    /// Like [`Tokenizer::encode_with_specials`], for a text with placeholder characters. Each placeholder is
    /// replaced by its text after special tokens have been found, so that the inserted text is always
    /// ordinary text, whatever it spells.
    ///
    /// ```
    /// let tokenizer = janus_data::Tokenizer::train(["a kite"].into_iter(), 300, &["<s>", "</s>"])?;
    /// let ids = tokenizer.encode_escaped("<s>what is \u{F0000}?", &[('\u{F0000}', "</s>")])?;
    /// assert_eq!((ids.first().copied(), tokenizer.decode(&ids)?.as_str()), (Some(0), "what is </s>?"));
    /// # Ok::<(), janus_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot encode the text.
    pub fn encode_escaped(&self, text: &str, escapes: &[(char, &str)]) -> Result<Vec<u32>> {
        let tokenizer = &self.with_specials;
        let encode = || -> tokenizers::Result<Vec<u32>> {
            let mut pieces =
                tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
            pieces.normalize(|piece| {
                escapes.iter().try_for_each(|(placeholder, text)| piece.replace(*placeholder, text))
            })?;
            if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces)?;
            }
            pieces.tokenize(|piece| tokenizer.get_model().tokenize(piece.get()))?;
            Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
        };
        encode().map_err(|cause| Error::Tokenizer { doing: "encode the text", cause })
    }

    /// The token that the file's post-processor puts before every text, if there is one. This crate does not
    /// add it: chat templates write their own.
    pub fn added_first(&self) -> Option<u32> {
        let ids = |added| Some(self.with_specials.encode_fast("a", added).ok()?.get_ids().to_vec());
        let (with, without) = (ids(true)?, ids(false)?);
        (with.len() > without.len() && with.get(1..)?.starts_with(&without)).then(|| with[0])
    }

    /// The ids of a rendered conversation, encoded segment by segment, so that the ids of a prompt are the
    /// first ids of every conversation that continues it.
    ///
    /// # Errors
    /// [`Error::NoSuchToken`] for a special token that the tokenizer does not have, [`Error::Tokenizer`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        Ok(self.rendered(rendered)?.ids)
    }

    /// The text of ids, without special tokens; invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.text_only.decode(ids, true).map_err(|cause| Error::Tokenizer { doing: "decode the ids", cause })
    }

    /// The id of a token by its spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.text_only.token_to_id(token)
    }

    /// All special tokens with their ids, in the order of the ids.
    pub fn special_tokens(&self) -> Vec<(u32, String)> {
        let added = self.with_specials.get_added_tokens_decoder();
        let mut special: Vec<_> = added
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect();
        special.sort();
        special
    }

    /// The spelling of an id in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.text_only.id_to_token(id)
    }

    /// BLAKE3, in hex, of everything that affects ids: the tokenizer's file in compact form.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn fingerprint(&self) -> Result<String> {
        let json = self
            .with_specials
            .to_string(false)
            .map_err(|cause| Error::Tokenizer { doing: "be written", cause })?;
        Ok(blake3::hash(json.as_bytes()).to_hex().to_string())
    }

    /// One more than the largest id, special tokens included: the number of rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

fn ids(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false);
    encoding
        .map(|encoding| encoding.get_ids().to_vec())
        .map_err(|cause| Error::Tokenizer { doing: "encode the text", cause })
}
