//! The judge's prompts: texts with slots, filled in one pass.

use std::path::Path;

use janus_core::Message;
use serde::{Deserialize, Serialize};

use crate::files::read_text;
use crate::{Error, Result};

/// A system message and a user's message with slots such as `{response}`.
///
/// ```
/// use janus_eval::judge::PromptTemplate;
///
/// let template = PromptTemplate::parse("id: mine/1\n=== system\nBe fair.\n=== user\n{question} - {answer}\n", "mine")?;
/// let messages = template.fill(&[("question", "What is {answer}?"), ("answer", "{question}")])?;
/// // A value is never searched for slots.
/// assert_eq!(messages[1].content, "What is {answer}? - {question}");
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate {
    id: String,
    system: String,
    user: String,
}

/// Identifies the template of a result: its id, and the fingerprint of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateId {
    /// The template's id, with its version.
    pub id: String,
    /// The first 16 hex digits of the BLAKE3 hash of both texts.
    pub fingerprint: String,
}

/// A published prompt file. The aliases are the field names of the different publishers.
#[derive(Deserialize)]
struct Published {
    #[serde(alias = "name")]
    id: Option<String>,
    #[serde(alias = "system_prompt")]
    system: String,
    #[serde(alias = "user_template", alias = "prompt_template")]
    user: String,
}

impl PromptTemplate {
    /// A template from its texts.
    pub fn new(id: impl Into<String>, system: impl Into<String>, user: impl Into<String>) -> Self {
        Self { id: id.into(), system: system.into(), user: user.into() }
    }

    /// Reads a template from a file, in a layout of [`parse`](Self::parse). If the text has no id, the
    /// id is the file's name.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, [`Error::Prompt`] for text in another layout.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&read_text(path)?, &name)
    }

    /// Parses a template: this crate's layout (`id:`, `=== system`, `=== user`), a JSON object with a
    /// system and a user text (Janus, Arena-Hard-Auto, MT-Bench), or ChatML (AlpacaEval). If the text
    /// has no id, the id is `name`.
    ///
    /// # Errors
    /// [`Error::Prompt`] for text in another layout.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let problem = |problem: String| Error::Prompt { id: name.into(), problem };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            let Published { id, system, user } =
                serde_json::from_str(text).map_err(|error| problem(error.to_string()))?;
            return Ok(Self { id: id.unwrap_or_else(|| name.into()), system, user });
        }
        if text.trim_start().starts_with("<|im_start|>") {
            let part = |role: &str| {
                let rest = text.split_once(&format!("<|im_start|>{role}\n"))?.1;
                rest.split_once("<|im_end|>").map(|(part, _)| part.trim_matches('\n').to_string())
            };
            let user = part("user").ok_or_else(|| problem("it has no user message in ChatML".into()))?;
            return Ok(Self { id: name.into(), system: part("system").unwrap_or_default(), user });
        }
        let layouts =
            "expected `id:`, `=== system` and `=== user`, a JSON object with system and user text, or ChatML";
        Self::sections(text, name).ok_or_else(|| problem(layouts.into()))
    }

    /// This crate's layout.
    fn sections(text: &str, name: &str) -> Option<Self> {
        let (head, rest) = text.split_once("=== system\n")?;
        let (system, user) = rest.split_once("=== user\n")?;
        let id = head.lines().find_map(|line| line.strip_prefix("id:")).map_or(name, str::trim);
        Some(Self::new(id, system.trim(), user.trim_end_matches('\n')))
    }

    /// A prompt of this crate. All are in this crate's layout, which the test
    /// `every_built_in_prompt_is_parsed` checks.
    fn built_in(text: &str) -> Self {
        Self::sections(text, "").unwrap_or_else(|| Self::new("", "", text))
    }

    /// The template of this name in a text with one JSON object per line, as MT-Bench publishes its
    /// prompts.
    ///
    /// # Errors
    /// [`Error::Prompt`] if no line has the name, or a line is not a template.
    pub(crate) fn named(lines: &str, name: &str) -> Result<Self> {
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let template = Self::parse(line, "")?;
            if template.id == name {
                return Ok(template);
            }
        }
        Err(Error::Prompt { id: name.into(), problem: "the file has no prompt of this name".into() })
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Id and fingerprint, to record with results.
    pub(crate) fn version(&self) -> TemplateId {
        let hash = blake3::hash(format!("{}\n{}\n{}", self.system.len(), self.system, self.user).as_bytes());
        TemplateId { id: self.id.clone(), fingerprint: hash.to_hex()[..16].into() }
    }

    /// Whether one of the texts has the slot.
    pub(crate) fn has(&self, slot: &str) -> bool {
        slots(&self.system).chain(slots(&self.user)).any(|(_, name)| name == slot)
    }

    /// Checks that all `needed` slots are present, and that every other slot is in `known`.
    ///
    /// # Errors
    /// [`Error::Prompt`] for the first missing or unknown slot.
    pub(crate) fn check(&self, needed: &[&str], known: &[&str]) -> Result<()> {
        let problem = |problem: String| Err(Error::Prompt { id: self.id.clone(), problem });
        if let Some(missing) = needed.iter().find(|slot| !self.has(slot)) {
            return problem(format!("it has no slot {{{missing}}}, so the judge would not see it"));
        }
        let unknown = slots(&self.system)
            .chain(slots(&self.user))
            .find(|(_, name)| !needed.contains(name) && !known.contains(name));
        match unknown {
            Some((_, name)) => problem(format!(
                "nothing fills its slot {{{name}}}: expected {}",
                [needed, known].concat().join(", ")
            )),
            None => Ok(()),
        }
    }

    /// Fills both texts. If the system text is empty, there is no system message. Each text is filled in
    /// a single pass, so a value that contains a slot's name is not filled again.
    ///
    /// # Errors
    /// [`Error::Prompt`] if a slot has no value.
    pub fn fill(&self, values: &[(&str, &str)]) -> Result<Vec<Message>> {
        let fill = |text: &str| -> Result<String> {
            let (mut out, mut done) = (String::with_capacity(text.len() * 2), 0);
            for (start, name) in slots(text) {
                let Some((_, value)) = values.iter().find(|(slot, _)| *slot == name) else {
                    return Err(Error::Prompt {
                        id: self.id.clone(),
                        problem: format!("nothing fills its slot {{{name}}}"),
                    });
                };
                out.push_str(&text[done..start]);
                out.push_str(value);
                done = start + name.len() + 2;
            }
            out.push_str(&text[done..]);
            Ok(out)
        };
        let system = fill(&self.system)?;
        let system = (!system.is_empty()).then(|| Message::system(system));
        Ok(system.into_iter().chain([Message::user(fill(&self.user)?)]).collect())
    }
}

/// The slots of a text: the position of each, and its name (lower-case letters, digits and underscores).
fn slots(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('{').filter_map(move |(start, _)| {
        let rest = &text[start + 1..];
        let name = &rest[..rest.find('}')?];
        let named = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        named.then_some((start, name))
    })
}

/// Defines a function for each prompt of this crate, named like its file.
macro_rules! built_in {
    ($($name:ident),*) => {
        $(pub(crate) fn $name() -> PromptTemplate {
            PromptTemplate::built_in(include_str!(concat!("../../prompts/", stringify!($name), ".txt")))
        })*
        #[cfg(test)]
        const BUILT_IN: &[(&str, fn() -> PromptTemplate, &str)] =
            &[$((stringify!($name), $name, include_str!(concat!("../../prompts/", stringify!($name), ".txt")))),*];
    };
}

built_in!(
    arena,
    grade,
    grade_reference,
    grade_turns,
    grade_turns_reference,
    pair,
    pair_reference,
    pair_turns,
    pair_turns_reference,
    prefer,
    rubric,
    rubric_no_reference
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_layouts_are_parsed() {
        let own = PromptTemplate::parse("id: a/2\n=== system\nS\n=== user\nU {x}\n", "f").unwrap();
        assert_eq!(own, PromptTemplate::new("a/2", "S", "U {x}"));
        let json =
            PromptTemplate::parse(r#"{"system_prompt": "S", "prompt_template": "U {x}\n", "more": 1}"#, "f")
                .unwrap();
        assert_eq!(json, PromptTemplate::new("f", "S", "U {x}\n"));
        let chatml = PromptTemplate::parse(
            "<|im_start|>system\nS\n<|im_end|>\n<|im_start|>user\nU {x}\n<|im_end|>\n",
            "f",
        )
        .unwrap();
        assert_eq!(chatml, PromptTemplate::new("f", "S", "U {x}"));
        for wrong in ["", "hello", "{}", "<|im_start|>system\nS", "=== user\nU\n=== system\nS"] {
            assert!(matches!(PromptTemplate::parse(wrong, "f"), Err(Error::Prompt { .. })), "{wrong}");
        }
    }

    #[test]
    fn every_built_in_prompt_is_parsed() {
        for (name, built_in, text) in BUILT_IN {
            let template = built_in();
            assert_eq!(template, PromptTemplate::parse(text, name).unwrap(), "{name}");
            assert!(
                template.id.starts_with("janus-") && template.id.contains('/') && !template.user.is_empty(),
                "{name}"
            );
        }
    }

    #[test]
    fn errors_name_missing_and_unknown_slots() {
        let template = PromptTemplate::new("t", "", "{\n \"a\": {response} } {oops} {} {A} {a b}");
        assert!(
            template
                .check(&["response", "rubric"], &[])
                .unwrap_err()
                .to_string()
                .contains("no slot {rubric}")
        );
        let unknown = template.check(&["response"], &["system"]).unwrap_err().to_string();
        assert!(unknown.contains("nothing fills its slot {oops}: expected response, system"), "{unknown}");
        assert!(template.fill(&[("response", "r")]).is_err());
        let filled = template.fill(&[("response", "r"), ("oops", "o")]).unwrap();
        assert_eq!(filled, [Message::user("{\n \"a\": r } o {} {A} {a b}")]);
    }

    #[test]
    fn a_changed_text_changes_the_fingerprint() {
        let version =
            |system: &str, user: &str| PromptTemplate::new("t/1", system, user).version().fingerprint;
        assert_eq!(version("a", "b"), version("a", "b"));
        assert_ne!(version("a", "b"), version("a", "c"));
        assert_ne!(version("ab", "c"), version("a", "bc"));
        assert_eq!(version("a", "b").len(), 16);
    }

    proptest! {
        #[test]
        fn values_are_never_searched_for_slots(question in "(\\{answer\\}|\\PC){0,20}", answer in "(\\{question\\}|\\PC){0,20}") {
            let template = PromptTemplate::new("t", "s", "<{question}|{answer}>");
            let filled = template.fill(&[("question", &question), ("answer", &answer)]).unwrap();
            prop_assert_eq!(&filled[1].content, &format!("<{question}|{answer}>"));
        }

        #[test]
        fn any_text_is_parsed_or_an_error(text in "(\\PC|[\\{\\}a-z_]|=== user\\n|=== system\\n|<\\|im_start\\|>user\\n){0,30}") {
            if let Ok(template) = PromptTemplate::parse(&text, "f") {
                let _ = template.fill(&[("a", "b")]);
                let _ = template.check(&["a"], &[]);
            }
        }
    }
}
