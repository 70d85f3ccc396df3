//! What a model folder, or a GGUF file, says beside its weights: the tokenizer and the chat template.

use std::collections::BTreeMap;
use std::path::Path;

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use serde::Deserialize;
use serde_json::Value;

use super::gguf::{self, GgufFile, is_gguf};
use crate::{Error, Result, Template};

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
        let tokenizer = gguf::tokenizer(&file)?;
        let template = chosen.map_or_else(|| recognise(path, of_gguf(&file)?, &tokenizer), |template| Ok(template.into()))?;
        return Ok((tokenizer, template));
    }
    let json = path.join("tokenizer.json");
    let tokenizer = Tokenizer::read(&json).map_err(|source| Error::Tokenizer { path: json, source: source.into() })?;
    let config = path.join("tokenizer_config.json");
    let template = chosen.map_or_else(|| recognise(&config, of_folder(path, &config)?, &tokenizer), |template| Ok(template.into()))?;
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

/// One of ours if the text is known to lay out conversations as that does; else the text itself.
fn recognise(path: &Path, found: Found, tokenizer: &Tokenizer) -> Result<Template> {
    let unknown = |reason: String| Error::Template { path: path.into(), reason };
    let text = found.text.ok_or_else(|| unknown("there is no chat template".into()))?;
    // A folder that was written here.
    if let Some(ours) = OURS.into_iter().find(|ours| without_inner_blanks(&text) == without_inner_blanks(ours.jinja())) {
        return Ok(ours.into());
    }
    own(text, found.tokens, tokenizer).map_err(unknown)
}

const OURS: [ChatTemplate; 2] = [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl];

/// Blanks beside Jinja's brackets mean nothing.
fn without_inner_blanks(text: &str) -> String {
    [("{{ ", "{{"), (" }}", "}}"), ("{% ", "{%"), (" %}", "%}")].iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(feature = "jinja")]
fn own(text: String, tokens: Vec<(String, String)>, tokenizer: &Tokenizer) -> Result<Template, String> {
    let template = crate::JinjaTemplate::new(text).map_err(|error| error.to_string())?;
    let own = tokens.into_iter().fold(template, |template, (name, token)| template.with_token(name, token));
    let ours = OURS.into_iter().find(|ours| agree(*ours, &own, tokenizer));
    Ok(ours.map_or_else(|| own.into(), Template::from))
}

#[cfg(not(feature = "jinja"))]
fn own(_text: String, _tokens: Vec<(String, String)>, _tokenizer: &Tokenizer) -> Result<Template, String> {
    let reason = "the chat template is not one that janus-infer writes itself, and the feature `jinja`, which runs any, is off: turn it on";
    Err(reason.into())
}

/// Whether a template of ours lays out conversations as the model's own does. They are tried on a few: with a system message, with an
/// empty one and without (many templates then have one of their own), one turn and two, with the answer last.
///
/// All texts must be the same; of ids those up to the first answer, which here is tokenised on its own, as in training. Where
/// the model's own template refuses a system message, as Mistral's did when Janus was made, ours may have a place for it.
#[cfg(feature = "jinja")]
fn agree(ours: ChatTemplate, own: &crate::JinjaTemplate, tokenizer: &Tokenizer) -> bool {
    use janus_core::{Message, Role};

    let (user, answer) = (Message::user("What is a kite?"), Message::assistant("A toy.\nIt flies."));
    let turns = [user.clone(), answer, Message::user("3 more words, \"please\".")];
    let with = |system: &str, turns: &[Message]| [&[Message::system(system)], turns].concat();
    let probes = [
        turns[..1].to_vec(),
        turns[..2].to_vec(),
        turns.to_vec(),
        with("Be brief.", &turns[..1]),
        with("Be brief.", &turns),
        with("", &turns[..1]),
    ];
    let alike = |messages: &Vec<Message>| {
        let Ok(expected) = own.render(messages) else { return messages[0].role == Role::System };
        if !ours.render(messages).is_ok_and(|rendered| rendered.text() == expected) {
            return false;
        }
        let ids = |template: Template| template.encode(messages, tokenizer).ok();
        let expected = ids(own.clone().into());
        messages.iter().any(|message| message.role == Role::Assistant) || expected.is_some() && ids(ours.into()) == expected
    };
    // Mistral's layout is stripped of outer blanks here, as the reference's inference does; ChatML takes a content as it is.
    let blanks = [Message::system(" a "), Message::user("\n b \n")];
    let keeps_blanks = || own.render(&blanks).ok() == ours.render(&blanks).ok().map(|rendered| rendered.text());
    probes.iter().all(alike) && (ours != ChatTemplate::ChatMl || keeps_blanks())
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
        assert_eq!(of_file(Value::String(ChatTemplate::ChatMl.jinja().into())).unwrap(), ChatTemplate::ChatMl.into());
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
