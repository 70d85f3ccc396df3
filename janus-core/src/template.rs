//! Chat templates: the only place where a conversation becomes the text that a model receives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Message, Result, Role};

/// How a conversation is laid out for a model.
///
/// A template writes all special tokens itself: the tokenizer never adds any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChatTemplate {
    /// Janus' variant of Mistral-instruct: `<s>[INST] {system}\n{user} [/INST]`, the response tokenised on
    /// its own, `</s>`. Without a system message its line is left out; the markers stay.
    #[serde(rename = "mistral-instruct")]
    MistralInstruct,
    /// ChatML: `<|im_start|>{role}\n{content}<|im_end|>\n` for each message.
    #[serde(rename = "chatml")]
    ChatMl,
}

/// Where a Jinja template writes a space, so that the whole text has the ids of its segments; see
/// [`ChatTemplate::jinja_for`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JinjaSpaces {
    /// Before an answer.
    pub before_answer: bool,
    /// Before text that follows a special token.
    pub after_special: bool,
    /// Whether a text that begins with a space gets none before it.
    pub unless_spaced: bool,
}

/// A segment of a rendered conversation.
///
/// Segments are tokenised one by one and their ids concatenated. So the ids of a prompt are exactly the first
/// ids of the conversation that continues it, whatever the tokenizer merges.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// The text; for a special token, its spelling in the vocabulary.
    pub text: String,
    /// Whether this is one special token of the vocabulary, not text.
    pub special: bool,
    /// Whether the model is trained to produce this: its tokens are in the loss mask.
    pub trained: bool,
    /// The index of its message; that of the next message for what asks the model to begin.
    pub message: usize,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// The segments in order.
    pub segments: Vec<Segment>,
}

impl Rendered {
    /// The segments joined, with special tokens as they are spelt in the vocabulary.
    pub fn text(&self) -> String {
        self.segments.iter().map(|segment| segment.text.as_str()).collect()
    }

    fn special(&mut self, message: usize, text: &str, trained: bool) {
        self.segments.push(Segment { text: text.into(), special: true, trained, message });
    }

    fn text_segment(&mut self, message: usize, text: String, trained: bool) {
        if !text.is_empty() {
            self.segments.push(Segment { text, special: false, trained, message });
        }
    }
}

impl ChatTemplate {
    /// The special token that ends a response.
    pub fn end_of_turn(self) -> &'static str {
        match self {
            ChatTemplate::MistralInstruct => "</s>",
            ChatTemplate::ChatMl => "<|im_end|>",
        }
    }

    /// The special token that begins a conversation, if there is one.
    pub fn bos(self) -> Option<&'static str> {
        match self {
            ChatTemplate::MistralInstruct => Some("<s>"),
            ChatTemplate::ChatMl => None,
        }
    }

    /// Every special token that the template writes.
    pub fn special_tokens(self) -> &'static [&'static str] {
        match self {
            ChatTemplate::MistralInstruct => &["<s>", "</s>"],
            ChatTemplate::ChatMl => &["<|im_start|>", "<|im_end|>"],
        }
    }

    /// The same layout as a Jinja template, for the `chat_template` of a `tokenizer_config.json`, so that
    /// other programs render prompts as in training. [`jinja_for`](Self::jinja_for) has the spaces that some
    /// tokenizers need.
    pub fn jinja(self) -> &'static str {
        match self {
            ChatTemplate::MistralInstruct => {
                "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}\
                 {% if message['role'] == 'system' %}{% if message['content'] %}{% set ns.system = message['content'] + '\n' %}{% endif %}\
                 {% elif message['role'] == 'user' %}{{ '[INST] ' + (ns.system + message['content']) | trim + ' [/INST]' }}{% set ns.system = '' %}\
                 {% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
            }
            ChatTemplate::ChatMl => {
                "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
            }
        }
    }

    /// [`jinja`](Self::jinja) for programs that tokenise the rendered text as a whole, where this crate
    /// tokenises segment by segment. A SentencePiece tokenizer puts a space before each segment; where it
    /// puts none within a whole text, the template writes it: before an answer, which follows other text, and
    /// after a special token.
    pub fn jinja_for(self, spaces: JinjaSpaces) -> String {
        let mut text = self.jinja().to_string();
        let condition = match spaces.unless_spaced {
            false => "message['content']",
            true => "message['content'] and message['content'][0] != ' '",
        };
        let mut replace = |from: &str, to: &str| text = text.replace(from, to);
        match self {
            ChatTemplate::MistralInstruct => {
                if spaces.before_answer {
                    let space =
                        format!("{{{{ (' ' if {condition} else '') + message['content'] + eos_token }}}}");
                    replace("{{ message['content'] + eos_token }}", &space);
                }
                if spaces.after_special {
                    replace("'[INST] '", "' [INST] '");
                }
            }
            ChatTemplate::ChatMl => {
                if spaces.before_answer {
                    let space = format!(
                        "(' ' if message['role'] == 'assistant' and {condition} else '') + message['content'] + '<|im_end|>'"
                    );
                    replace("message['content'] + '<|im_end|>'", &space);
                }
                if spaces.after_special {
                    replace("'<|im_start|>' + message", "'<|im_start|> ' + message");
                    replace("'<|im_start|>assistant\n'", "'<|im_start|> assistant\n'");
                    replace("'<|im_end|>' + '\n'", "'<|im_end|>' + ' \n'");
                }
            }
        }
        text
    }

    /// Renders a prompt: the conversation so far, whoever wrote the last message, up to where the model
    /// starts to generate. ChatML takes any order of messages, as the template that models ship with does.
    /// `mistral-instruct` needs that of [`render`](Self::render).
    ///
    /// ```
    /// use janus_core::{ChatTemplate, Message};
    /// let text = ChatTemplate::ChatMl.render_prompt(&[Message::system("Greet me.")])?.text();
    /// assert_eq!(text, "<|im_start|>system\nGreet me.<|im_end|>\n<|im_start|>assistant\n");
    /// # Ok::<(), janus_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`render`](Self::render); for ChatML only [`Error::NoUserMessage`] without any message.
    pub fn render_prompt(self, messages: &[Message]) -> Result<Rendered> {
        let mut out = Rendered { segments: Vec::new() };
        match self {
            ChatTemplate::MistralInstruct => return self.render(messages),
            ChatTemplate::ChatMl if messages.is_empty() => return Err(Error::NoUserMessage),
            ChatTemplate::ChatMl => render_chatml(messages, true, &mut out),
        }
        Ok(out)
    }

    /// Renders a conversation up to the end of the last message's content, so that the model continues that
    /// message.
    ///
    /// # Errors
    /// Those of [`render_prompt`](Self::render_prompt).
    pub fn render_unfinished(self, messages: &[Message]) -> Result<Rendered> {
        let mut rendered = self.render_prompt(messages)?;
        let ends_last = |segment: &Segment| {
            segment.special && segment.message + 1 == messages.len() && segment.text == self.end_of_turn()
        };
        if let Some(end) = rendered.segments.iter().rposition(ends_last) {
            rendered.segments.truncate(end);
        }
        Ok(rendered)
    }

    /// Recognises a Jinja template by its markers, `[INST]` or `<|im_start|>`; `None` for any other template.
    pub fn of_jinja(text: &str) -> Option<Self> {
        match (text.contains("[INST]"), text.contains("<|im_start|>")) {
            (true, false) => Some(ChatTemplate::MistralInstruct),
            (false, true) => Some(ChatTemplate::ChatMl),
            _ => None,
        }
    }

    /// Renders a conversation: an optional system message, then user and assistant messages, alternating.
    ///
    /// If the last message is the user's, the result ends where the model starts to generate. If it is the
    /// assistant's, the result is the whole conversation. Assistant messages and the tokens that end
    /// them are [`Segment::trained`].
    ///
    /// ```
    /// use janus_core::{ChatTemplate, Message};
    /// let prompt = [Message::system("Be brief."), Message::user("Why is the sky blue?")];
    /// let text = ChatTemplate::MistralInstruct.render(&prompt)?.text();
    /// assert_eq!(text, "<s>[INST] Be brief.\nWhy is the sky blue? [/INST]");
    /// # Ok::<(), janus_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoUserMessage`] or [`Error::MessageOrder`] for a conversation that does not alternate.
    pub fn render(self, messages: &[Message]) -> Result<Rendered> {
        check_order(messages)?;
        let mut out = Rendered { segments: Vec::new() };
        match self {
            ChatTemplate::MistralInstruct => render_mistral(messages, &mut out),
            ChatTemplate::ChatMl => {
                let user_is_last = messages.last().is_some_and(|last| last.role == Role::User);
                render_chatml(messages, user_is_last, &mut out);
            }
        }
        Ok(out)
    }
}

fn render_mistral(messages: &[Message], out: &mut Rendered) {
    out.special(0, "<s>", false);
    let mut system = None;
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => system = Some(message.content.as_str()),
            Role::User => {
                let content = match system.take().filter(|system| !system.is_empty()) {
                    Some(system) => format!("{system}\n{}", message.content),
                    None => message.content.clone(),
                };
                // Trimmed, as in the authors' inference code; their training data has no outer
                // whitespace.
                out.text_segment(index, format!("[INST] {} [/INST]", strip(&content)), false);
            }
            Role::Assistant => {
                out.text_segment(index, message.content.clone(), true);
                out.special(index, "</s>", true);
            }
        }
    }
}

fn render_chatml(messages: &[Message], begins: bool, out: &mut Rendered) {
    for (index, message) in messages.iter().enumerate() {
        let trained = message.role == Role::Assistant;
        out.special(index, "<|im_start|>", false);
        // Only an answer is a segment of its own: other text has the ids that it has in other programs, which
        // tokenise it with its header.
        if trained {
            out.text_segment(index, format!("{}\n", message.role), false);
            out.text_segment(index, message.content.clone(), true);
        } else {
            out.text_segment(index, format!("{}\n{}", message.role, message.content), false);
        }
        out.special(index, "<|im_end|>", trained);
        out.text_segment(index, "\n".into(), false);
    }
    if begins {
        out.special(messages.len(), "<|im_start|>", false);
        out.text_segment(messages.len(), "assistant\n".into(), false);
    }
}

fn check_order(messages: &[Message]) -> Result<()> {
    if !messages.iter().any(|message| message.role == Role::User) {
        return Err(Error::NoUserMessage);
    }
    let mut previous = None;
    for (index, message) in messages.iter().enumerate() {
        let wrong = |rule| Err(Error::MessageOrder { index, role: message.role, rule });
        match (previous, message.role) {
            (None, Role::System | Role::User)
            | (Some(Role::System | Role::Assistant), Role::User)
            | (Some(Role::User), Role::Assistant) => {}
            (_, Role::System) => return wrong("a system message is only allowed as the first message"),
            (_, Role::User) => return wrong("two user messages follow each other; join them"),
            (_, Role::Assistant) => return wrong("an assistant message must follow a user message"),
        }
        previous = Some(message.role);
    }
    Ok(())
}

impl fmt::Display for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChatTemplate::MistralInstruct => "mistral-instruct",
            ChatTemplate::ChatMl => "chatml",
        })
    }
}

impl FromStr for ChatTemplate {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mistral-instruct" => Ok(ChatTemplate::MistralInstruct),
            "chatml" => Ok(ChatTemplate::ChatMl),
            _ => Err(Error::UnknownTemplate { got: name.into() }),
        }
    }
}

/// A text without the white space around it, as Python's `str.strip` leaves it: four control characters are
/// white space there and not in Unicode.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conversation() -> Vec<Message> {
        vec![
            Message::system("Be kind."),
            Message::user("Hi?"),
            Message::assistant("Hello."),
            Message::user("Bye?"),
        ]
    }

    #[test]
    fn mistral_layout() {
        let text = |messages: &[Message]| ChatTemplate::MistralInstruct.render(messages).unwrap().text();
        let all = conversation();
        assert_eq!(text(&all), "<s>[INST] Be kind.\nHi? [/INST]Hello.</s>[INST] Bye? [/INST]");
        assert_eq!(text(&all[1..2]), "<s>[INST] Hi? [/INST]");
        // The reference drops the opening marker with an empty system message; this crate keeps it.
        assert_eq!(text(&[Message::system(""), Message::user("Hi?")]), "<s>[INST] Hi? [/INST]");
    }

    #[test]
    fn chatml_layout() {
        let text = |messages: &[Message]| ChatTemplate::ChatMl.render(messages).unwrap().text();
        let all = conversation();
        assert_eq!(
            text(&all[..2]),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            text(&all[1..3]),
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        );
    }

    #[test]
    fn the_jinja_template_has_the_spaces_of_the_tokenizer() {
        for template in [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl] {
            assert_eq!(template.jinja_for(JinjaSpaces::default()), template.jinja());
            let spaces =
                [(false, true, false), (true, false, false), (true, true, false), (true, true, true)];
            let texts: std::collections::BTreeSet<String> = spaces
                .into_iter()
                .map(|(before_answer, after_special, unless_spaced)| {
                    template.jinja_for(JinjaSpaces { before_answer, after_special, unless_spaced })
                })
                .collect();
            assert_eq!(texts.len(), 4, "{template}");
            assert!(texts.iter().all(|text| text.len() > template.jinja().len()));
        }
    }

    #[test]
    fn a_jinja_template_is_recognised_by_its_markers() {
        for template in [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl] {
            assert_eq!(ChatTemplate::of_jinja(template.jinja()), Some(template));
            assert_eq!(template.to_string().parse::<ChatTemplate>().unwrap(), template);
        }
        assert_eq!(ChatTemplate::of_jinja("{{ messages }}"), None);
    }

    #[test]
    fn only_assistant_messages_and_their_end_of_turn_are_trained() {
        for template in [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl] {
            let rendered = template.render(&conversation()[..3]).unwrap();
            let trained: Vec<_> =
                rendered.segments.iter().filter(|s| s.trained).map(|s| s.text.as_str()).collect();
            assert_eq!(trained, ["Hello.", template.end_of_turn()]);
        }
    }

    #[test]
    fn a_prompt_asks_for_an_answer_or_leaves_the_last_message_open() {
        let (user, answer) = (Message::user("Count."), Message::assistant("1, 2,"));
        let messages = [user.clone(), answer.clone()];
        let chatml = ChatTemplate::ChatMl;
        let whole = "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\n1, 2,<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(chatml.render_prompt(&messages).unwrap().text(), whole);
        assert_eq!(
            chatml.render_unfinished(&messages).unwrap().text(),
            "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\n1, 2,"
        );
        let open = chatml.render_unfinished(&[user.clone(), Message::assistant("")]).unwrap();
        assert_eq!(open.segments, chatml.render_prompt(std::slice::from_ref(&user)).unwrap().segments);
        assert!(chatml.render_prompt(&[answer, user.clone(), user.clone()]).is_ok(), "any order");
        assert_eq!(chatml.render_prompt(&[]), Err(Error::NoUserMessage));

        let mistral = ChatTemplate::MistralInstruct;
        assert_eq!(mistral.render_prompt(&messages).unwrap().text(), "<s>[INST] Count. [/INST]1, 2,</s>");
        assert_eq!(mistral.render_unfinished(&messages).unwrap().text(), "<s>[INST] Count. [/INST]1, 2,");
        assert!(mistral.render_prompt(&[user.clone(), user]).is_err());
    }

    #[test]
    fn the_message_that_is_out_of_order_is_named() {
        let render = |messages: &[Message]| ChatTemplate::ChatMl.render(messages).unwrap_err();
        assert_eq!(render(&[Message::system("x")]), Error::NoUserMessage);
        let error = render(&[Message::user("a"), Message::user("b")]);
        assert!(matches!(error, Error::MessageOrder { index: 1, role: Role::User, .. }), "{error}");
        let error = render(&[Message::user("a"), Message::system("b")]);
        assert!(matches!(error, Error::MessageOrder { index: 1, role: Role::System, .. }), "{error}");
    }

    proptest! {
        /// The segments that generation starts from are a prefix of the segments that training sees.
        #[test]
        fn a_prompt_is_a_prefix_of_its_conversation(system in ".{0,20}", user in ".{0,20}", answer in ".{1,20}") {
            for template in [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl] {
                let mut messages = vec![Message::system(system.clone()), Message::user(user.clone())];
                let prompt = template.render(&messages).unwrap().segments;
                messages.push(Message::assistant(answer.clone()));
                let whole = template.render(&messages).unwrap().segments;
                prop_assert_eq!(&whole[..prompt.len()], &prompt[..]);
                prop_assert!(whole[prompt.len()].trained && whole[prompt.len()].text == answer);
            }
        }
    }
}
