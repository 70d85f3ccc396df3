//! The basic types of personalised alignment: what a user values, the system message that states it, and what
//! models and judges return.
//!
//! Everything here is plain data and traits: no file I/O, no tensors, no async. A program that only needs the
//! taxonomy, the chat templates or the [`ChatModel`] trait depends on this crate alone.
//!
//! * [`Dimension`], [`Preference`], [`PreferenceSet`], [`Taxonomy`]: what a user values
//!   (Janus, arXiv 2405.17977, section 3).
//! * [`Composer`]: a system message from a preference set, without any model.
//! * [`Message`], [`ChatTemplate`]: the only renderer of prompts; training and inference share it.
//! * [`SftRecord`], [`PairRecord`], [`RewardRecord`], [`BenchRecord`]: rows with the field names of
//!   the released datasets.
//! * [`ChatModel`], [`RewardModel`], [`Judge`]: the traits to implement for your own model or judge.
//!   [`best_of_n`] combines the first two. [`TextModel`] and [`TextLosses`] are for plain text without a chat
//!   template.
//! * [`ChatRequest`], [`SamplingParams`], [`Generation`]: what a chat model takes and returns.
//!   [`Conversation`]: the requests of a chat.
//!
//! ```
//! use janus_core::{ChatTemplate, Composer, Dimension, Message, Preference, PreferenceSet};
//!
//! let set = PreferenceSet::new([
//!     Preference::new(Dimension::Style, "format", "bullet list", "Answer as a bullet list."),
//!     Preference::new(Dimension::BackgroundKnowledge, "novice", "no jargon", "Avoid jargon."),
//!     Preference::new(Dimension::Informativeness, "practicality", "one tip", "Give one tip to try."),
//!     Preference::new(Dimension::Harmlessness, "safety", "a caution", "Name one risk."),
//! ])?;
//! let system = Composer::standard().compose_set(&set, 7);
//! let prompt = ChatTemplate::MistralInstruct
//!     .render(&[Message::system(system), Message::user("What is a kite?")])?;
//! assert!(prompt.text().starts_with("<s>[INST] "));
//! # Ok::<(), janus_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod best_of_n;
mod compose;
mod conversation;
mod error;
mod message;
mod model;
mod preference;
mod record;
mod rng;
mod sampling;
mod taxonomy;
mod template;
mod text_model;

pub use best_of_n::{BestOfN, best_of_n, best_of_n_each};
pub use compose::{Composer, SentencePlan};
pub use conversation::Conversation;
pub use error::{Error, Result, error_chain};
pub use message::{Message, Role};
pub use model::{
    ChatModel, ChatRequest, FinishReason, Generation, Judge, JudgeRequest, ModelError, RewardModel,
    RubricVerdict, TokenLogprob, TopLogprob, Verdict, without_reasoning,
};
pub use preference::{Preference, PreferenceSet};
pub use record::{BenchRecord, PairRecord, RewardRecord, Rubric, Score, ScoreDescriptions, SftRecord};
pub use rng::{derive_seed, stream};
pub use sampling::SamplingParams;
pub use taxonomy::{Dimension, PUBLISHED_SUBDIMENSIONS, Taxonomy};
pub use template::{ChatTemplate, JinjaSpaces, Rendered, Segment};
pub use text_model::{Continuing, TextLoss, TextLosses, TextModel, TextRequest};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
