//! The chat template of a model: one that is built in, or its own in Jinja.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, JinjaSpaces, Message};
use janus_data::{ConversationFormat, TokenRow, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

use super::config_file::parse;
use super::gguf::GgufFile;
#[cfg(feature = "jinja")]
use crate::JinjaTemplate;
use crate::{Error, Result};

const TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// Why a model's files have no usable chat template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateProblem {
    /// The files have none.
    #[error("no chat template")]
    Missing,
    /// It is not one of [`ChatTemplate`], and this crate was built without the feature `jinja`.
    #[error(
        "its chat template is neither mistral-instruct nor chatml: build janus-infer with the feature `jinja` to use any template"
    )]
    NeedsJinja,
    /// It fails on an ordinary conversation.
    #[error("its chat template cannot be rendered: {reason}")]
    Fails {
        /// Why.
        reason: String,
    },
    /// It is not valid Jinja.
    #[error("its chat template is not valid Jinja: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
}

/// A chat template of an engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Template {
    /// A built-in template, which can be used in training too.
    Typed(ChatTemplate),
    /// A model's own template, in Jinja.
    #[cfg(feature = "jinja")]
    Jinja(JinjaTemplate),
    /// None: a base model, which continues texts. Its files are at this path.
    Absent(PathBuf),
}

impl Template {
    /// The template of a GGUF file.
    pub(super) fn of_gguf(path: &Path, file: &GgufFile, tokenizer: &Tokenizer) -> Result<Self> {
        recognise(path, of_gguf(file)?, tokenizer)
    }

    /// The template of a model folder.
    pub(super) fn of_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let config = folder.join("tokenizer_config.json");
        recognise(&config, of_folder(folder, &config)?, tokenizer)
    }

    /// The ids of a conversation. If the last message is the user's, they end with the generation prompt.
    ///
    /// # Errors
    /// [`Error::Data`] for a conversation that the template refuses, or a token that the tokenizer does
    /// not have; [`Error::Jinja`](crate::Error) from a template in Jinja.
    pub fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Self::Typed(template) => {
                let rendered = template.render(messages).map_err(janus_data::Error::from)?;
                Ok(tokenizer.encode_rendered(&rendered)?)
            }
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.encode(messages, tokenizer),
            Self::Absent(path) => Err(absent(path)),
        }
    }

    /// The ids of a prompt: the conversation so far, whoever wrote the last message, and the generation
    /// prompt.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_prompt(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Self::Typed(template) => {
                let rendered = template.render_prompt(messages).map_err(janus_data::Error::from)?;
                Ok(tokenizer.encode_rendered(&rendered)?)
            }
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.encode_prompt(messages, tokenizer),
            Self::Absent(path) => Err(absent(path)),
        }
    }

    /// The ids of a conversation up to the end of the last message's content, so that the model continues
    /// that message.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_unfinished(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Self::Typed(template) => {
                let rendered = template.render_unfinished(messages).map_err(janus_data::Error::from)?;
                Ok(tokenizer.encode_rendered(&rendered)?)
            }
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.encode_unfinished(messages, tokenizer),
            Self::Absent(path) => Err(absent(path)),
        }
    }

    /// Refuses a model without a template.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn check_present(&self) -> Result<()> {
        match self {
            Self::Absent(path) => Err(absent(path)),
            _ => Ok(()),
        }
    }

    /// The text of the template in Jinja; empty for a base model.
    pub fn jinja(&self) -> &str {
        match self {
            Self::Typed(template) => template.jinja(),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.source(),
            Self::Absent(_) => "",
        }
    }

    /// The ids that end an answer.
    pub fn end_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        match self {
            Self::Typed(template) => tokenizer.token_id(template.end_of_turn()).into_iter().collect(),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.end_ids(tokenizer),
            Self::Absent(_) => Vec::new(),
        }
    }
}

impl ConversationFormat for Template {
    fn row(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        in_loss: &dyn Fn(usize) -> bool,
    ) -> janus_data::Result<TokenRow> {
        match self {
            Self::Typed(template) => template.row(tokenizer, messages, in_loss),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.row(tokenizer, messages, in_loss),
            Self::Absent(path) => Err(janus_data::Error::Format { cause: absent(path).into() }),
        }
    }

    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> janus_data::Result<Vec<u32>> {
        match self {
            Self::Typed(template) => template.prompt(tokenizer, messages),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.prompt(tokenizer, messages),
            Self::Absent(path) => Err(janus_data::Error::Format { cause: absent(path).into() }),
        }
    }
}

impl From<ChatTemplate> for Template {
    fn from(template: ChatTemplate) -> Self {
        Self::Typed(template)
    }
}

#[cfg(feature = "jinja")]
impl From<JinjaTemplate> for Template {
    fn from(template: JinjaTemplate) -> Self {
        Self::Jinja(template)
    }
}

/// The error of a conversation without a template.
fn absent(path: &Path) -> Error {
    Error::Template { path: path.into(), problem: TemplateProblem::Missing }
}

/// The part of `tokenizer_config.json` that is used: `chat_template`, and the special tokens that
/// templates refer to by name.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    chat_template: Option<TemplateText>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// One template, or several with names.
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

/// The text of a chat template, and the special tokens, each with the name that templates use for it.
struct Found {
    text: Option<String>,
    tokens: Vec<(String, String)>,
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

/// `chat_template.jinja` takes precedence over the config, as in transformers.
fn of_folder(folder: &Path, config: &Path) -> Result<Found> {
    let jinja = folder.join("chat_template.jinja");
    let read: TokenizerConfig = if config.exists() {
        let text = std::fs::read_to_string(config).map_err(Error::io(config))?;
        parse(&text).map_err(|problem| Error::Config { path: config.into(), problem })?
    } else {
        TokenizerConfig::default()
    };
    let text = if jinja.exists() {
        Some(std::fs::read_to_string(&jinja).map_err(Error::io(&jinja))?)
    } else {
        read.chat_template.and_then(|template| match template {
            TemplateText::One(text) => Some(text),
            TemplateText::Many(named) => {
                named.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
        })
    };
    // A token is a text, or an object with the text.
    let token = |(name, value): (String, Value)| {
        let token = value.get("content").unwrap_or(&value).as_str()?.to_string();
        name.ends_with("_token").then_some((name, token))
    };
    Ok(Found { text, tokens: read.others.into_iter().filter_map(token).collect() })
}

/// A built-in template if the text formats conversations in the same way; else the text itself.
fn recognise(path: &Path, found: Found, tokenizer: &Tokenizer) -> Result<Template> {
    let unknown = |problem| Error::Template { path: path.into(), problem };
    let text = found.text.filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| unknown(TemplateProblem::Missing))?;
    // Folders that this crate writes have the text of a built-in template.
    let spaces = (0..8u8).map(|bits| JinjaSpaces {
        before_answer: bits & 1 > 0,
        after_special: bits & 2 > 0,
        unless_spaced: bits & 4 > 0,
    });
    let stated = without_inner_spaces(&text);
    let same_text = |built_in: &ChatTemplate| {
        spaces.clone().any(|spaces| stated == without_inner_spaces(&built_in.jinja_for(spaces)))
    };
    if let Some(built_in) = BUILT_IN.into_iter().find(same_text) {
        return Ok(built_in.into());
    }
    own(text, found.tokens, tokenizer).map_err(unknown)
}

const BUILT_IN: [ChatTemplate; 2] = [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl];

/// Removes the spaces inside Jinja's brackets, which have no meaning.
fn without_inner_spaces(text: &str) -> String {
    [("{{ ", "{{"), (" }}", "}}"), ("{% ", "{%"), (" %}", "%}")]
        .iter()
        .fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(feature = "jinja")]
fn own(
    text: String,
    tokens: Vec<(String, String)>,
    tokenizer: &Tokenizer,
) -> Result<Template, TemplateProblem> {
    let template =
        JinjaTemplate::new(text).map_err(|error| TemplateProblem::Invalid { reason: error.to_string() })?;
    let own = tokens.into_iter().fold(template, |template, (name, token)| template.with_token(name, token));
    own.check().map_err(|error| TemplateProblem::Fails { reason: error.to_string() })?;
    let built_in = BUILT_IN.into_iter().find(|built_in| agree(*built_in, &own, tokenizer));
    Ok(built_in.map_or_else(|| own.into(), Template::from))
}

#[cfg(not(feature = "jinja"))]
fn own(
    _text: String,
    _tokens: Vec<(String, String)>,
    _tokenizer: &Tokenizer,
) -> Result<Template, TemplateProblem> {
    Err(TemplateProblem::NeedsJinja)
}

/// Whether a built-in template formats conversations as the model's own does. Both are tried on a few
/// conversations: with a system message, with an empty one and without one (for which many templates
/// insert a default), with one turn and two, and with the answer last.
///
/// All texts must be the same, and the ids of conversations without an answer. (A built-in template
/// tokenises an answer on its own, as in training.) Where the model's own template refuses a system
/// message, as Mistral's did when the paper was written, the built-in one may accept it.
#[cfg(feature = "jinja")]
fn agree(built_in: ChatTemplate, own: &JinjaTemplate, tokenizer: &Tokenizer) -> bool {
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
        if !built_in.render(messages).is_ok_and(|rendered| rendered.text() == expected) {
            return false;
        }
        let ids = |template: Template| template.encode(messages, tokenizer).ok();
        let expected = ids(own.clone().into());
        messages.iter().any(|message| message.role == Role::Assistant)
            || expected.is_some() && ids(built_in.into()) == expected
    };
    // The built-in Mistral template strips the whitespace around contents, as the paper's inference
    // does; ChatML keeps it.
    let spaces = [Message::system(" a "), Message::user("\n b \n")];
    let keeps_spaces =
        || own.render(&spaces).ok() == built_in.render(&spaces).ok().map(|rendered| rendered.text());
    probes.iter().all(alike) && (built_in != ChatTemplate::ChatMl || keeps_spaces())
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::gguf_file::{self, Value};

    use super::*;
    use crate::ModelFolder;

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
        let folder = ModelFolder::new(path);
        folder.template(&folder.tokenizer()?)
    }

    /// Both loaded, and every answer was to a prompt without the user's words.
    #[test]
    fn a_template_that_leaves_out_the_message_is_refused_and_an_empty_one_is_none() {
        let error = |text: &str| of_file(Value::String(text.into())).unwrap_err().to_string();
        for empty in ["", " \n"] {
            assert!(error(empty).contains("no chat template"), "{}", error(empty));
        }
        #[cfg(feature = "jinja")]
        for without in [
            "chatml",
            "{% for m in messages %}{{ m.role }}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        ] {
            assert!(
                error(without).contains("the user's message is not in what it renders"),
                "{}",
                error(without)
            );
        }
    }

    #[test]
    fn the_template_of_a_gguf_file_is_read() {
        assert_eq!(
            of_file(Value::String(ChatTemplate::ChatMl.jinja().into())).unwrap(),
            ChatTemplate::ChatMl.into()
        );
        assert!(matches!(of_file(Value::U8(1)), Err(Error::Metadata { key, .. }) if key == TEMPLATE_KEY));
        let own =
            "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ pad_token }}";
        let found = of_file(Value::String(own.into()));
        #[cfg(feature = "jinja")]
        {
            let expected = JinjaTemplate::new(own)
                .unwrap()
                .with_token("bos_token", "<s>")
                .with_token("eos_token", "</s>");
            assert_eq!(found.unwrap(), expected.into());
        }
        #[cfg(not(feature = "jinja"))]
        assert!(matches!(found, Err(Error::Template { .. })));
    }
}
