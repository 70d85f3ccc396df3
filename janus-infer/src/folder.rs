//! What a model folder, or a GGUF file, says beside its weights: the tokenizer and the chat template.

use std::collections::BTreeMap;
use std::path::Path;

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use serde::Deserialize;
use serde_json::Value;

use crate::weights::{GgufFile, is_gguf};
use crate::{Error, Result, Template, gguf_tokenizer};

const TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// What of `tokenizer_config.json` is of use here: its `chat_template`, and the special tokens that templates know by name.
#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    chat_template: Option<TemplateText>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
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

/// A chat template's text, and the special tokens by the names that it has for them.
struct Found {
    text: Option<String>,
    tokens: Vec<(String, String)>,
}

/// Reads the tokenizer, and the template unless the caller has `chosen` one.
pub(crate) fn tokenizer_and_template(path: &Path, chosen: Option<ChatTemplate>) -> Result<(Tokenizer, Template)> {
    if is_gguf(path) {
        let file = GgufFile::open(path)?;
        let template = chosen.map_or_else(|| recognise(path, of_gguf(&file)?), |template| Ok(template.into()))?;
        return Ok((gguf_tokenizer::tokenizer(&file)?, template));
    }
    let json = path.join("tokenizer.json");
    let tokenizer = Tokenizer::read(&json).map_err(|source| Error::Tokenizer { path: json, source: source.into() })?;
    let config = path.join("tokenizer_config.json");
    let template = chosen.map_or_else(|| recognise(&config, of_folder(path, &config)?), |template| Ok(template.into()))?;
    Ok((tokenizer, template))
}

fn of_gguf(file: &GgufFile) -> Result<Found> {
    let text = file.value(TEMPLATE_KEY).map(|_| file.text(TEMPLATE_KEY).map(str::to_string)).transpose()?;
    let names = ["bos_token", "eos_token", "unknown_token", "padding_token"];
    let token = |name: &str| {
        let id = file.value(&format!("tokenizer.ggml.{name}_id"))?.to_u32().ok()?;
        let token = file.array("tokenizer.ggml.tokens").ok()?.get(id as usize)?.to_string().ok()?.clone();
        Some((name.replace("unknown", "unk").replace("padding", "pad"), token))
    };
    Ok(Found { text, tokens: names.into_iter().filter_map(token).collect() })
}

/// `chat_template.jinja` comes before what the config says, as in transformers.
fn of_folder(folder: &Path, config: &Path) -> Result<Found> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    let beside = folder.join("chat_template.jinja");
    let text = std::fs::read_to_string(config).map_err(io(config))?;
    let read: TokenizerConfig =
        serde_json::from_str(&text).map_err(|error| Error::Config { path: config.into(), reason: error.to_string() })?;
    let text = if beside.exists() {
        Some(std::fs::read_to_string(&beside).map_err(io(&beside))?)
    } else {
        read.chat_template.and_then(|template| match template {
            TemplateText::One(text) => Some(text),
            TemplateText::Many(named) => named.into_iter().find(|named| named.name == "default").map(|named| named.template),
        })
    };
    // A token is its text, or an object that holds it.
    let token = |(name, value): (String, Value)| {
        let token = value.get("content").unwrap_or(&value).as_str()?.to_string();
        name.ends_with("_token").then_some((name, token))
    };
    Ok(Found { text, tokens: read.others.into_iter().filter_map(token).collect() })
}

/// The template by a marker in its text, as one of ours; else the text itself.
fn recognise(path: &Path, found: Found) -> Result<Template> {
    let unknown = |reason: String| Error::Template { path: path.into(), reason };
    match found.text {
        None => Err(unknown("there is no chat template".into())),
        Some(text) if text.contains("[INST]") => Ok(ChatTemplate::MistralInstruct.into()),
        Some(text) if text.contains("<|im_start|>") => Ok(ChatTemplate::ChatMl.into()),
        Some(text) => own(text, found.tokens).map_err(unknown),
    }
}

#[cfg(feature = "jinja")]
fn own(text: String, tokens: Vec<(String, String)>) -> Result<Template, String> {
    let template = crate::JinjaTemplate::new(text).map_err(|error| error.to_string())?;
    Ok(tokens.into_iter().fold(template, |template, (name, token)| template.with_token(name, token)).into())
}

#[cfg(not(feature = "jinja"))]
fn own(_text: String, _tokens: Vec<(String, String)>) -> Result<Template, String> {
    Err("the chat template has neither [INST] nor <|im_start|>, and the feature `jinja`, which runs any, is off".into())
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::gguf_file::{self, Value};

    use super::*;

    /// The template of a GGUF file with the tokens `<s>`, `</s>` and `a`, and this chat template.
    fn of_file(template: Value) -> Result<Template> {
        let text = |text: &str| Value::String(text.into());
        let metadata = [
            ("general.architecture", text("llama")),
            ("llama.attention.head_count", Value::U32(1)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("gpt-2")),
            ("tokenizer.ggml.tokens", Value::Array(["<s>", "</s>", "a"].map(text).into())),
            ("tokenizer.ggml.token_type", Value::Array([3, 3, 1].map(Value::I32).into())),
            ("tokenizer.ggml.merges", Value::Array(vec![])),
            ("tokenizer.ggml.bos_token_id", Value::U32(0)),
            ("tokenizer.ggml.eos_token_id", Value::U32(1)),
            ("tokenizer.ggml.padding_token_id", Value::U32(9)),
            (TEMPLATE_KEY, template),
        ];
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
        tokenizer_and_template(&path, None).map(|(_, template)| template)
    }

    #[test]
    fn a_gguf_file_tells_its_template() {
        assert_eq!(of_file(Value::String("{{ '<|im_start|>' }}".into())).unwrap(), ChatTemplate::ChatMl.into());
        assert!(matches!(of_file(Value::U8(1)), Err(Error::Metadata { key, .. }) if key == TEMPLATE_KEY));
        let own = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ pad_token }}";
        let found = of_file(Value::String(own.into()));
        #[cfg(feature = "jinja")]
        {
            let expected = crate::JinjaTemplate::new(own).unwrap().with_token("bos_token", "<s>").with_token("eos_token", "</s>");
            assert_eq!(found.unwrap(), expected.into());
        }
        #[cfg(not(feature = "jinja"))]
        assert!(matches!(found, Err(Error::Template { .. })));
    }
}
