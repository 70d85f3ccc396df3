//! What a model folder, or a GGUF file, says beside its weights: the tokenizer and the chat template.

use std::path::Path;

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use serde::Deserialize;

use crate::weights::{GgufFile, is_gguf};
use crate::{Error, Result, gguf_tokenizer};

const TEMPLATE_KEY: &str = "tokenizer.chat_template";

#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    chat_template: Option<TemplateText>,
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateText {
    One(String),
    Many(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// Reads the tokenizer, and the template unless the caller has `chosen` one.
pub(crate) fn tokenizer_and_template(path: &Path, chosen: Option<ChatTemplate>) -> Result<(Tokenizer, ChatTemplate)> {
    if is_gguf(path) {
        let file = GgufFile::open(path)?;
        let template = match chosen {
            Some(template) => template,
            None => recognise(path, file.value(TEMPLATE_KEY).and_then(|value| value.to_string().ok()).map(String::as_str))?,
        };
        return Ok((gguf_tokenizer::tokenizer(&file)?, template));
    }
    let json = path.join("tokenizer.json");
    let tokenizer = Tokenizer::read(&json).map_err(|source| Error::Tokenizer { path: json, source: source.into() })?;
    let template = match chosen {
        Some(template) => template,
        None => read_template(&path.join("tokenizer_config.json"))?,
    };
    Ok((tokenizer, template))
}

fn read_template(path: &Path) -> Result<ChatTemplate> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let config: TokenizerConfig =
        serde_json::from_str(&text).map_err(|error| Error::Config { path: path.into(), reason: error.to_string() })?;
    let template = config.chat_template.and_then(|template| match template {
        TemplateText::One(text) => Some(text),
        TemplateText::Many(named) => named.into_iter().find(|named| named.name == "default").map(|named| named.template),
    });
    recognise(path, template.as_deref())
}

/// The template by a marker in its text: the layouts are ours, the text is Jinja and not run.
fn recognise(path: &Path, text: Option<&str>) -> Result<ChatTemplate> {
    let unknown = |reason: &str| Err(Error::Template { path: path.into(), reason: reason.into() });
    match text {
        None => unknown("there is no chat template"),
        Some(text) if text.contains("[INST]") => Ok(ChatTemplate::MistralInstruct),
        Some(text) if text.contains("<|im_start|>") => Ok(ChatTemplate::ChatMl),
        Some(_) => unknown("the chat template has neither [INST] nor <|im_start|>"),
    }
}
