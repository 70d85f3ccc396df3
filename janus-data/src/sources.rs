//! Reads the rows of other datasets and layouts.
//!
//! Each module below reads the rows of one dataset, or of a layout that many datasets share, with a type that
//! implements
//! [`RowSource`]. [`Source`] finds the type by its name.
//!
//! To add a dataset to this crate, write its file and add it to the list of modules and to `SOURCES`. A
//! dataset outside this crate needs neither: implement [`RowSource`] and pass it to
//! [`convert`](crate::convert).
//!
//! ```
//! use janus_data::sources::{Comparison, Fields, RowContent, RowError, RowSource};
//! # use serde_json::json;
//!
//! /// Rows `{question, good, bad}`.
//! struct Ranked;
//!
//! impl RowSource for Ranked {
//!     fn name(&self) -> &str {
//!         "ranked"
//!     }
//!
//!     fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
//!         let prompt = vec![janus_core::Message::user(row.text("question")?)];
//!         let (chosen, rejected) = (row.text("good")?, row.text("bad")?);
//!         Ok(RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() }))
//!     }
//! }
//!
//! let row = json!({"question": "Why?", "good": "Because.", "bad": 3});
//! let error = Ranked.content(row.as_object().unwrap()).unwrap_err();
//! assert_eq!(error.to_string(), "field \"bad\": expected a string, got a number");
//! ```

mod columns;
mod content;
mod dialogue;
mod fields;
mod row_error;
mod unread;

pub mod alpaca;
pub mod alpaca_eval;
pub mod chatbot_arena;
pub mod dsp;
pub mod flask;
pub mod hh_rlhf;
pub mod koala;
pub mod mt_bench;
pub mod nectar;
pub mod oasst1_pairwise;
pub mod openai;
pub mod openhermes;
pub mod pairs;
pub mod prompt_completion;
pub mod reward;
pub mod self_instruct;
pub mod sft;
pub mod sharegpt;
pub mod ultrafeedback;
pub mod webgpt;

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use janus_core::{Message, Role};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::instructions::Instruction;
use crate::{RecordKind, Row};
use fields::whole_number;

pub use content::{Comparison, Conversation, RowContent};
pub use fields::Fields;
pub use row_error::RowError;
pub use unread::UnreadFields;
pub(crate) use unread::{changes_what_is_learned, is_empty};

use unread::Seen;

/// All sources, in the order of help texts.
static SOURCES: &[&dyn RowSource] = &[
    &sft::Sft,
    &pairs::Pairs,
    &reward::Reward,
    &sharegpt::ShareGpt,
    &alpaca::Alpaca,
    &openai::OpenAi,
    &prompt_completion::PromptCompletion,
    &hh_rlhf::HhRlhf,
    &oasst1_pairwise::Oasst1Pairwise,
    &webgpt::WebGpt,
    &ultrafeedback::UltraFeedback,
    &nectar::Nectar,
    &openhermes::OpenHermes,
    &chatbot_arena::ChatbotArena,
    &dsp::Dsp,
    &flask::Flask,
    &koala::Koala,
    &self_instruct::SelfInstruct,
    &mt_bench::MtBench,
    &alpaca_eval::AlpacaEval,
];

/// Reads the rows of a dataset, or of a layout that many datasets share.
pub trait RowSource: Sync {
    /// The source's name: lower case, with hyphens.
    fn name(&self) -> &str;

    /// The `main_source` of rows that do not have one: the source's name, or an empty text for a layout.
    fn main_source(&self) -> &str {
        self.name()
    }

    /// Reads the content of a row.
    ///
    /// # Errors
    /// [`RowError`] names the field that is missing or has the wrong type.
    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError>;

    /// The prompt of a row that [`parse`](Self::parse) skips, such as a tie; empty if it has none.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    fn skipped_prompt(&self, row: Fields<'_>) -> Result<Vec<Message>, RowError> {
        let _ = row;
        Ok(Vec::new())
    }

    /// The content of a row, as [`content_and_unread`](Self::content_and_unread) gives it.
    ///
    /// # Errors
    /// Those of [`content_and_unread`](Self::content_and_unread).
    fn content(&self, row: &Row) -> Result<RowContent, RowError> {
        self.content_and_unread(row, &mut UnreadFields::default())
    }

    /// The content of a row, with [`main_source`](Self::main_source) filled in if the row has none. An empty
    /// system message is left out. Fields that [`parse`](Self::parse) does not read are counted in `unread`;
    /// a row that is labelled as unwanted (`label` or `kto_tag` false, `weight` 0) is skipped.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse); [`RowError`] for a field that is not read and would change what is
    /// learned, such as `system`, `tools` or `images`.
    fn content_and_unread(&self, row: &Row, unread: &mut UnreadFields) -> Result<RowContent, RowError> {
        let seen = Seen::default();
        let content = self.parse(Fields::seen(row, &seen))?;
        let mut content = seen.account(self, row, content, unread)?;
        content.drop_empty_system();
        if let Some(main_source) = content.main_source_mut().filter(|main_source| main_source.is_empty()) {
            *main_source = self.main_source().into();
        }
        Ok(content)
    }

    /// The instruction of a row, as [`instruction_and_unread`](Self::instruction_and_unread) gives it.
    ///
    /// # Errors
    /// Those of [`content_and_unread`](Self::content_and_unread).
    fn instruction(&self, row: &Row) -> Result<Option<Instruction>, RowError> {
        self.instruction_and_unread(row, &mut UnreadFields::default())
    }

    /// The instruction of a row: the user's message, if there is only one, and the id of the row, if it has
    /// one. Skipped rows may have an instruction too. Fields that are not read are counted in `unread`.
    ///
    /// # Errors
    /// Those of [`content_and_unread`](Self::content_and_unread).
    fn instruction_and_unread(
        &self,
        row: &Row,
        unread: &mut UnreadFields,
    ) -> Result<Option<Instruction>, RowError> {
        let id = ["id", "idx", "question_id", "index", "prompt_id"]
            .into_iter()
            .find_map(|name| Some((name, row.get(name).and_then(whole_number)?)));
        let mut others = UnreadFields::default();
        let content = self.content_and_unread(row, &mut others)?;
        if let Some((name, _)) = id {
            others.remove(name);
        }
        unread.add_all(others);
        let (main_source, original_source, messages) = match content {
            RowContent::Instruction(instruction) => return Ok(Some(instruction)),
            RowContent::Conversation(all) => (all.main_source, all.original_source, all.messages),
            RowContent::Comparison(pair) => (pair.main_source, pair.original_source, pair.prompt),
            RowContent::Skip(_) => {
                (self.main_source().into(), String::new(), self.skipped_prompt(Fields::new(row))?)
            }
        };
        let mut user_messages = messages.into_iter().filter(|message| message.role == Role::User);
        let (Some(prompt), None) = (user_messages.next(), user_messages.next()) else { return Ok(None) };
        Ok(Some(Instruction {
            id: id.map(|(_, id)| id).unwrap_or_default(),
            prompt: prompt.content,
            main_source,
            original_source,
        }))
    }
}

/// One of the sources of this module, found by its name: `"hh-rlhf".parse::<Source>()`.
///
/// ```
/// use janus_data::sources::{RowContent, Source};
/// # use serde_json::json;
/// let hh_rlhf: Source = "hh-rlhf".parse()?;
/// let row = json!({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What."});
/// let RowContent::Comparison(pair) = hh_rlhf.content(row.as_object().unwrap())? else { panic!() };
/// assert_eq!((pair.prompt[0].content.as_str(), pair.chosen.as_str(), pair.rejected.as_str()), ("Hi", "Hello!", "What."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Source(&'static dyn RowSource);

impl Source {
    /// The source of the rows of a kind of record; `None` for bench rows.
    pub fn of_records(kind: RecordKind) -> Option<Self> {
        kind.as_str().parse().ok()
    }

    /// The layout that the fields of a row show: that of a record, `alpaca`, `openai`, `sharegpt`,
    /// `prompt-completion` or `hh-rlhf`; `None` if they show none of these, as the fields of a bench row.
    pub fn of_row(row: &Row) -> Option<Self> {
        let layout = |name: &str| name.parse().ok();
        let has = |name: &str| row.contains_key(name);
        let has_messages = Fields::new(row).is_messages("chosen");
        if has("conversations") {
            return layout("sharegpt");
        }
        match RecordKind::of_row(row) {
            // An older release of the pairs has an instruction too, and lists of messages.
            Some(RecordKind::Pairs | RecordKind::Reward) if has("instruction") && !has_messages => {
                layout("alpaca")
            }
            Some(RecordKind::Pairs) if !has("prompt") && row["chosen"].is_string() && !has_messages => {
                layout("hh-rlhf")
            }
            Some(RecordKind::Sft)
                if has("instruction") && (!has("system") || has("input") || has("history")) =>
            {
                layout("alpaca")
            }
            Some(kind) => Self::of_records(kind),
            None if has("messages") || has("preferred_output") => layout("openai"),
            None if has("prompt") && has("completion") => layout("prompt-completion"),
            None => None,
        }
    }

    /// All sources.
    pub fn all() -> impl Iterator<Item = Self> {
        SOURCES.iter().map(|source| Self(*source))
    }
}

impl Deref for Source {
    type Target = dyn RowSource;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name())
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unknown name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown source \"{got}\": expected one of {}", Source::all().map(|source| source.to_string()).collect::<Vec<_>>().join(", "))]
#[non_exhaustive]
pub struct UnknownSource {
    /// The name as written.
    pub got: String,
}

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(name: &str) -> Result<Self, UnknownSource> {
        Self::all().find(|source| source.name() == name).ok_or_else(|| UnknownSource { got: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_row_show_its_layout() {
        for (fields, name) in [
            (r#"{"system": "", "prompt": "", "output": ""}"#, "sft"),
            (r#"{"instruction": "", "input": "", "output": ""}"#, "alpaca"),
            (r#"{"prompt": "", "chosen": [], "rejected": []}"#, "pairs"),
            (r#"{"prompt": "", "chosen": "", "rejected": ""}"#, "pairs"),
            (r#"{"chosen": [], "rejected": []}"#, "pairs"),
            (r#"{"input": "", "chosen": "", "rejected": ""}"#, "reward"),
            (r#"{"chosen": "", "rejected": ""}"#, "hh-rlhf"),
            (r#"{"chosen": "[{\"role\": \"user\", \"content\": \"\"}]", "rejected": ""}"#, "pairs"),
            (r#"{"system": "", "instruction": "", "output": ""}"#, "sft"),
            (r#"{"system": "", "instruction": "", "input": "", "output": ""}"#, "alpaca"),
            (r#"{"system": "", "instruction": "", "history": [], "output": ""}"#, "alpaca"),
            (r#"{"instruction": "", "input": "", "chosen": "", "rejected": ""}"#, "alpaca"),
            (r#"{"system": "", "input": "", "chosen": "", "rejected": ""}"#, "reward"),
            (r#"{"system": "", "instruction": "", "chosen": [], "rejected": []}"#, "pairs"),
            (
                r#"{"instruction": "", "chosen": "[{\"role\": \"user\", \"content\": \"\"}]", "rejected": ""}"#,
                "pairs",
            ),
            (r#"{"instruction": "", "chosen": "", "rejected": ""}"#, "alpaca"),
            (r#"{"prompt": "", "completion": ""}"#, "prompt-completion"),
            (r#"{"messages": []}"#, "openai"),
            (r#"{"input": {}, "preferred_output": [], "non_preferred_output": []}"#, "openai"),
            (r#"{"conversations": [], "chosen": {}, "rejected": {}}"#, "sharegpt"),
        ] {
            let found = Source::of_row(&serde_json::from_str(fields).unwrap());
            assert_eq!(found.map(|source| source.to_string()).as_deref(), Some(name), "{fields}");
        }
        assert!(Source::of_row(&serde_json::from_str(r#"{"rubrics": []}"#).unwrap()).is_none());
    }

    #[test]
    fn a_source_is_found_by_its_name() {
        for source in Source::all() {
            assert_eq!(source.to_string().parse::<Source>().unwrap().name(), source.name());
            assert_eq!(Source::all().filter(|other| other.name() == source.name()).count(), 1, "{source}");
        }
        let error = "hhrlhf".parse::<Source>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown source \"hhrlhf\": expected one of sft, pairs, reward, sharegpt,"),
            "{error}"
        );
    }
}
