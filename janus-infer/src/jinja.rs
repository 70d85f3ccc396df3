//! A model's own chat template in Jinja, rendered as transformers renders it.

mod clock;
mod generation;
mod json;
mod methods;
mod training;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use janus_core::{Message, Role};
use janus_data::Tokenizer;
use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, escape_formatter};

use crate::Result;

/// The template's name in error messages.
const NAME: &str = "chat_template";

/// The limit of a rendering: about this many instructions, or 64 bytes of text for each. An untrusted
/// file may have a template that never ends.
const FUEL: u64 = 4_000_000;

/// Characters of the private use planes, which texts do not contain. They stand for text that must not
/// become special tokens.
const MARKS: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{10FFFD}';

/// A chat template in Jinja.
///
/// It has the environment of transformers' `apply_chat_template`:
///
/// * the variables `messages`, `add_generation_prompt` (true if the last message is the user's), `tools`
///   and `documents` (both `none`), and the tokenizer's special tokens by name;
/// * `raise_exception`, `strftime_now` (in local time), `tojson` without HTML escapes, `break` and
///   `continue`, and Python's methods of strings, lists and dicts;
/// * `trim_blocks` and `lstrip_blocks`; `{% generation %}`, which marks what a model is trained to produce.
///
/// It cannot read files, and its running time is limited.
///
/// ```
/// use janus_core::Message;
/// use janus_infer::JinjaTemplate;
///
/// let template = JinjaTemplate::new("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}{{ eos_token }}\n{% endfor %}")?
///     .with_token("eos_token", "</s>");
/// assert_eq!(template.render(&[Message::user(" Hi? ")])?, "<|user|>\nHi?</s>\n");
/// # Ok::<(), janus_infer::Error>(())
/// ```
#[derive(Clone)]
pub struct JinjaTemplate {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
    tokens: BTreeMap<String, String>,
}

impl JinjaTemplate {
    /// Compiles a template's text.
    ///
    /// # Errors
    /// [`Error::Jinja`](crate::Error::Jinja) if the text is not valid Jinja.
    pub fn new(source: impl Into<String>) -> Result<Self> {
        let source: String = source.into();
        // Jinja reads every line end as a line feed.
        let text = source.replace("\r\n", "\n").replace('\r', "\n");
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(methods::call);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, state, value| match python_name(value) {
            Some(name) => out.write_str(name).map_err(minijinja::Error::from),
            None => escape_formatter(out, state, value),
        });
        environment.add_filter("tojson", json::dumps);
        // As in Python, `none` is not iterable and a string is; templates test `tools` and contents.
        environment.add_test("iterable", |value: &Value| {
            !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
        });
        // In Python a string is a sequence too.
        environment.add_test("sequence", |value: &Value| {
            value.as_str().is_some() || matches!(value.kind(), ValueKind::Seq | ValueKind::Map)
        });
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
        });
        environment.add_function("strftime_now", |format: &str| clock::format(format, &Zoned::now()));
        environment.add_filter(generation::FILTER, generation::mark);
        environment.add_template_owned(NAME, generation::as_filter(&text))?;
        Ok(Self { source: source.into(), environment: Arc::new(environment), tokens: BTreeMap::new() })
    }

    /// Adds a special token under the name that templates use for it: `bos_token`, `eos_token`, ...
    #[must_use]
    pub fn with_token(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.tokens.insert(name.into(), token.into());
        self
    }

    /// The special tokens by the names that the template uses.
    pub fn tokens(&self) -> &BTreeMap<String, String> {
        &self.tokens
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text, including special tokens: byte for byte the output of transformers.
    ///
    /// # Errors
    /// [`Error::Jinja`](crate::Error::Jinja) if the template refuses the conversation
    /// (`raise_exception`), fails, or does not end.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        Ok(self.render_text(messages, messages.last().is_some_and(|last| last.role == Role::User))?)
    }

    fn render_text(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        self.render_with(messages, add_generation_prompt, false)
    }

    /// Renders a conversation; `marks` puts a character before and after each part that the template marks as
    /// generated.
    fn render_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        marks: bool,
    ) -> Result<String, minijinja::Error> {
        let fields = |message: &Message| {
            Value::from_pairs([("role", message.role.as_str()), ("content", &message.content)])
        };
        let given = [
            ("messages", messages.iter().map(fields).collect()),
            ("add_generation_prompt", add_generation_prompt.into()),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            (generation::MARKS_GENERATION, marks.into()),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        self.environment.get_template(NAME)?.render(Value::from_pairs(given.into_iter().chain(tokens)))
    }

    /// Renders a few conversations: with and without a system message, with one turn and two. A template may
    /// refuse some of them (`raise_exception`), but none may fail.
    ///
    /// # Errors
    /// The first failure, such as a method or an operator that this crate does not have.
    pub fn check(&self) -> Result<()> {
        let [system, user, answer] =
            [Message::system("s"), Message::user("What is a kite?"), Message::assistant("a")];
        let question = user.content.clone();
        let conversations = [
            vec![user.clone()],
            vec![system.clone(), user.clone()],
            vec![user.clone(), answer.clone(), user.clone()],
            vec![system, user.clone(), answer, user],
        ];
        let refused = |error: &minijinja::Error| {
            let source = |error: &(dyn std::error::Error + 'static)| error.is::<Refusal>();
            std::iter::successors(std::error::Error::source(error), |error| error.source()).any(source)
        };
        for messages in &conversations {
            match self.render_text(messages, messages.last().is_some_and(|last| last.role == Role::User)) {
                Err(error) if !refused(&error) => return Err(error.into()),
                Ok(text) if !text.contains(&question) => {
                    let problem = "the user's message is not in what it renders";
                    return Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The ids of a conversation.
    ///
    /// Only the template itself can write special tokens. The text of a special token in a message's
    /// content stays text, wherever the template puts the content: while the template runs, a
    /// private-use character replaces it. This has two consequences. A template that searches a content
    /// for such a text does not find it. And a template that builds the text of a special token around a
    /// content (`'<|' + content + '|>'`) can still produce the token; no known template does.
    ///
    /// # Errors
    /// Those of [`JinjaTemplate::render`]; [`Error::Data`](crate::Error::Data) if the tokenizer fails.
    pub fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        self.encode_with(messages, tokenizer, |messages| self.render(messages))
    }

    /// The ids of a prompt: the conversation so far with the generation prompt, whoever wrote the last
    /// message.
    ///
    /// # Errors
    /// Those of [`JinjaTemplate::encode`].
    pub fn encode_prompt(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        self.encode_with(messages, tokenizer, |messages| Ok(self.render_text(messages, true)?))
    }

    /// The ids of a conversation up to the end of the last message's content, so that the model continues
    /// that message.
    ///
    /// # Errors
    /// Those of [`JinjaTemplate::encode`].
    pub fn encode_unfinished(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        self.encode_with(messages, tokenizer, |messages| {
            let mut text = self.render_text(messages, false)?;
            // Templates trim contents.
            let content = messages.last().map_or("", |last| last.content.trim());
            if let Some(at) = text.rfind(content) {
                text.truncate(at + content.len());
            }
            Ok(text)
        })
    }

    fn encode_with(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
        render: impl Fn(&[Message]) -> Result<String>,
    ) -> Result<Vec<u32>> {
        let escaped = Escaped::new(messages, tokenizer);
        Ok(escaped.encode(&render(&escaped.messages)?, tokenizer)?)
    }

    /// The ids that end an answer: the special token that follows an assistant's content, and `eos_token`.
    pub fn end_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let content = MARKS.start().to_string();
        let rendered =
            self.render(&[Message::user("?"), Message::assistant(content.as_str())]).unwrap_or_default();
        let after = rendered.split_once(&content).map_or("", |(_, after)| after.trim_start());
        let special = tokenizer.special_tokens();
        let following = special
            .iter()
            .filter(|(_, token)| after.starts_with(token.as_str()))
            .max_by_key(|(_, token)| token.len());
        let mut ids: Vec<u32> = following.map(|(id, _)| *id).into_iter().collect();
        let eos = self.tokens.get("eos_token").and_then(|token| tokenizer.token_id(token));
        ids.extend(eos.filter(|id| !ids.contains(id)));
        ids
    }
}

/// Messages in which the texts of special tokens are replaced by characters of [`MARKS`].
struct Escaped {
    messages: Vec<Message>,
    /// Each character, and what it stands for.
    marks: Vec<(char, String)>,
}

impl Escaped {
    fn new(messages: &[Message], tokenizer: &Tokenizer) -> Self {
        let contains = |token: &str| messages.iter().any(|message| message.content.contains(token));
        let special = tokenizer.special_tokens().into_iter().map(|(_, token)| token);
        let mut found: Vec<String> = special.filter(|token| contains(token)).collect();
        // The longest first, because one may be a part of another.
        found.sort_by_key(|token| std::cmp::Reverse(token.len()));
        let free = MARKS.filter(|mark| !messages.iter().any(|message| message.content.contains(*mark)));
        let marks: Vec<(char, String)> = free.zip(found).collect();
        let marked = |message: &Message| {
            let content = marks.iter().fold(message.content.clone(), |content, (mark, token)| {
                content.replace(token, &mark.to_string())
            });
            Message { role: message.role, content }
        };
        Self { messages: messages.iter().map(marked).collect(), marks }
    }

    /// The ids of a text that was rendered from these messages.
    fn encode(&self, text: &str, tokenizer: &Tokenizer) -> janus_data::Result<Vec<u32>> {
        let marks: Vec<(char, &str)> =
            self.marks.iter().map(|(mark, token)| (*mark, token.as_str())).collect();
        tokenizer.encode_escaped(text, &marks)
    }
}

/// Marks the error of `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("the template refuses the conversation")]
struct Refusal;

impl fmt::Debug for JinjaTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JinjaTemplate")
            .field("source", &self.source)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// Equal in text and tokens.
impl PartialEq for JinjaTemplate {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.tokens) == (&other.source, &other.tokens)
    }
}

/// Python's spelling of a value that Jinja spells differently.
fn python_name(value: &Value) -> Option<&'static str> {
    match bool::try_from(value.clone()) {
        Ok(true) if value.kind() == ValueKind::Bool => Some("True"),
        Ok(false) if value.kind() == ValueKind::Bool => Some("False"),
        _ => value.is_none().then_some("None"),
    }
}
