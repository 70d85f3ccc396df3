//! The contents of rows, and their conversion to other layouts.

use janus_core::{Message, PairRecord, PreferenceSet, RewardRecord, Role, SftRecord};
use serde_json::{Value, json};

use super::{RowError, dialogue};
use crate::instructions::Instruction;

/// The content of a row of a source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RowContent {
    /// An instruction without an answer.
    Instruction(Instruction),
    /// A conversation that ends with the assistant.
    Conversation(Conversation),
    /// Two answers, the better one first.
    Comparison(Comparison),
    /// Nothing to train on, with the reason: "tie".
    Skip(&'static str),
}

impl RowContent {
    /// An instruction without an answer.
    pub fn instruction(
        id: impl Into<String>,
        prompt: impl Into<String>,
        original_source: impl Into<String>,
    ) -> Self {
        let (id, prompt, original_source) = (id.into(), prompt.into(), original_source.into());
        Self::Instruction(Instruction { id, prompt, main_source: String::new(), original_source })
    }

    /// A conversation, which is skipped unless it ends with the assistant.
    pub fn conversation(original_source: impl Into<String>, messages: Vec<Message>) -> Self {
        Self::weighted_conversation(original_source, messages, Vec::new())
    }

    /// A conversation of which some messages carry no loss.
    pub(super) fn weighted_conversation(
        original_source: impl Into<String>,
        messages: Vec<Message>,
        without_loss: Vec<usize>,
    ) -> Self {
        let original_source = original_source.into();
        match messages.last() {
            Some(last) if last.role == Role::Assistant => Self::Conversation(Conversation {
                original_source,
                messages,
                without_loss,
                ..Conversation::default()
            }),
            _ => Self::Skip("a conversation that does not end with the assistant"),
        }
    }

    /// A comparison of two dialogues. Dialogues that end without an answer, or that differ before their last
    /// turn, are skipped.
    pub(super) fn of_dialogues(chosen: Vec<Message>, rejected: Vec<Message>) -> Result<Self, RowError> {
        let has_answer = |dialogue: &[Message]| {
            dialogue.last().is_some_and(|last| last.role == Role::Assistant && !last.content.is_empty())
        };
        if !has_answer(&chosen) || !has_answer(&rejected) {
            return Ok(Self::Skip("an answer is missing"));
        }
        if chosen[..chosen.len() - 1] != rejected[..rejected.len() - 1] {
            return Ok(Self::Skip("the dialogues differ before their last turn"));
        }
        Ok(Self::Comparison(Comparison::of(chosen, rejected)?))
    }

    /// The conversation to train on: for a comparison, the one with the better answer.
    ///
    /// # Errors
    /// Why the row has no such content: "tie".
    pub fn into_conversation(self) -> Result<Conversation, &'static str> {
        match self {
            Self::Conversation(conversation) => Ok(conversation),
            Self::Comparison(pair) => Ok(pair.better()),
            Self::Instruction(_) => Err("an instruction without an answer"),
            Self::Skip(reason) => Err(reason),
        }
    }

    /// The comparison.
    ///
    /// # Errors
    /// Why the row has no such content: "tie".
    pub fn into_comparison(self) -> Result<Comparison, &'static str> {
        match self {
            Self::Comparison(pair) => Ok(pair),
            Self::Conversation(_) => Err("a conversation without a second answer"),
            Self::Instruction(_) => Err("an instruction without an answer"),
            Self::Skip(reason) => Err(reason),
        }
    }

    /// Removes an empty system message: no layout tells it from none.
    pub(super) fn drop_empty_system(&mut self) {
        let messages = match self {
            Self::Conversation(conversation) => &mut conversation.messages,
            Self::Comparison(pair) => &mut pair.prompt,
            Self::Instruction(_) | Self::Skip(_) => return,
        };
        if messages.first().is_none_or(|first| first.role != Role::System || !first.content.is_empty()) {
            return;
        }
        messages.remove(0);
        if let Self::Conversation(conversation) = self {
            conversation.without_loss.iter_mut().for_each(|index| *index -= 1);
        }
    }

    pub(super) fn main_source_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Instruction(instruction) => Some(&mut instruction.main_source),
            Self::Conversation(conversation) => Some(&mut conversation.main_source),
            Self::Comparison(pair) => Some(&mut pair.main_source),
            Self::Skip(_) => None,
        }
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// The collection that it was taken from.
    pub main_source: String,
    /// Where that collection took it from.
    pub original_source: String,
    /// The preferences behind the system message.
    pub preference_set: Option<PreferenceSet>,
    /// An optional system message, then user and assistant messages, alternating; the last one is the
    /// assistant's.
    pub messages: Vec<Message>,
    /// Indices of the assistant's messages that carry no loss, whatever [`LossMessages`](crate::LossMessages)
    /// says.
    pub without_loss: Vec<usize>,
}

/// Two answers to one conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// The collection that it was taken from.
    pub main_source: String,
    /// Where that collection took it from.
    pub original_source: String,
    /// An optional system message, then user and assistant messages, alternating; the last one is the user's.
    pub prompt: Vec<Message>,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
}

/// An instruction with its input, if it has one.
pub(super) fn joined(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() { instruction.into() } else { format!("{instruction}\n{input}") }
}

/// Puts the system message of a field of its own before the messages, unless it is empty; `indices` follow
/// their messages.
pub(super) fn begin_with(
    system: &str,
    messages: &mut Vec<Message>,
    indices: &mut [usize],
) -> Result<(), RowError> {
    match messages.first() {
        _ if system.is_empty() => {}
        Some(first) if first.role == Role::System && first.content != system => {
            return Err(RowError::rule("system", "the conversation begins with another system message"));
        }
        Some(first) if first.role == Role::System => {}
        _ => {
            messages.insert(0, Message::system(system));
            indices.iter_mut().for_each(|index| *index += 1);
        }
    }
    Ok(())
}

/// A conversation of one turn, with the system message unless it is empty.
pub(super) fn turns(system: &str, prompt: &str, output: &str) -> Vec<Message> {
    let system = (!system.is_empty()).then(|| Message::system(system));
    system.into_iter().chain([Message::user(prompt), Message::assistant(output)]).collect()
}

/// The system message and the user message of a prompt with one turn; `None` for several turns.
fn one_turn(messages: &[Message]) -> Option<(&str, &str)> {
    match messages {
        [user] if user.role == Role::User => Some(("", &user.content)),
        [system, user] if system.role == Role::System && user.role == Role::User => {
            Some((&system.content, &user.content))
        }
        _ => None,
    }
}

impl Conversation {
    /// Converts to a record; `None` for several turns, or an answer without loss, which the record cannot
    /// hold.
    pub fn sft(&self) -> Option<SftRecord> {
        let (last, prompt) = self.messages.split_last()?;
        let (system, prompt) = one_turn(prompt).filter(|_| self.without_loss.is_empty())?;
        Some(SftRecord {
            main_source: self.main_source.clone(),
            original_source: self.original_source.clone(),
            preference_set: self.preference_set.clone(),
            system: system.into(),
            prompt: prompt.into(),
            output: last.content.clone(),
        })
    }

    /// Converts to `{messages: [{role, content}]}`, with `weight` 0 where a message carries no loss.
    pub fn openai(&self) -> Value {
        json!({ "messages": self.weighted(|message| json!(message)) })
    }

    /// Converts to `{conversations: [{from, value}]}`, with `weight` 0 where a message carries no loss.
    pub fn sharegpt(&self) -> Value {
        json!({ "conversations": self.weighted(dialogue::sharegpt) })
    }

    fn weighted(&self, write: impl Fn(&Message) -> Value) -> Vec<Value> {
        let mut messages: Vec<Value> = self.messages.iter().map(write).collect();
        for &index in &self.without_loss {
            messages[index]["weight"] = json!(0);
        }
        messages
    }

    /// Converts to `{instruction, input, output, system, history}`; `None` unless user and assistant
    /// alternate after the system message, the user first, and every answer is in the loss.
    pub fn alpaca(&self) -> Option<Value> {
        let (system, turns) = match self.messages.split_first() {
            Some((first, turns)) if first.role == Role::System => (first.content.as_str(), turns),
            _ => ("", self.messages.as_slice()),
        };
        let (turns, rest) = turns.as_chunks::<2>();
        let alternates =
            turns.iter().all(|[user, answer]| user.role == Role::User && answer.role == Role::Assistant);
        if !rest.is_empty() || !alternates || !self.without_loss.is_empty() {
            return None;
        }
        let ([user, answer], history) = turns.split_last()?;
        let history: Vec<[&str; 2]> =
            history.iter().map(|turn| turn.each_ref().map(|message| message.content.as_str())).collect();
        Some(
            json!({ "instruction": user.content, "input": "", "output": answer.content, "system": system, "history": history }),
        )
    }
}

impl Comparison {
    /// Compares two conversations that differ only in their last message, the assistant's.
    ///
    /// # Errors
    /// [`RowError`] if one is empty, ends with another role, or differs from the other before its last
    /// message.
    pub fn of(mut chosen: Vec<Message>, mut rejected: Vec<Message>) -> Result<Self, RowError> {
        let (Some(better), Some(worse)) = (chosen.pop(), rejected.pop()) else {
            return Err(RowError::mismatch("chosen", "a conversation", "no message"));
        };
        for (name, last) in [("chosen", &better), ("rejected", &worse)] {
            if last.role != Role::Assistant {
                return Err(RowError::mismatch(
                    name,
                    "an assistant's message at the end",
                    last.role.as_str(),
                ));
            }
        }
        if chosen != rejected {
            return Err(RowError::rule("rejected", "the conversations differ before their last message"));
        }
        Ok(Self { prompt: chosen, chosen: better.content, rejected: worse.content, ..Self::default() })
    }

    /// The conversations with the better and with the worse answer.
    pub fn conversations(&self) -> (Vec<Message>, Vec<Message>) {
        let side = |answer: &str| self.prompt.iter().cloned().chain([Message::assistant(answer)]).collect();
        (side(&self.chosen), side(&self.rejected))
    }

    /// The conversation with the better answer.
    pub fn better(&self) -> Conversation {
        let mut messages = self.prompt.clone();
        messages.push(Message::assistant(self.chosen.clone()));
        let (main_source, original_source) = (self.main_source.clone(), self.original_source.clone());
        Conversation { main_source, original_source, messages, ..Conversation::default() }
    }

    /// Converts to a record. `chosen` and `rejected` have all turns, `prompt` the last message before the
    /// answer. `None` if a system message comes later than first, or there is no other message.
    pub fn pair(&self) -> Option<PairRecord> {
        let (system, turns) = match self.prompt.split_first() {
            Some((first, turns)) if first.role == Role::System => (first.content.as_str(), turns),
            _ => ("", self.prompt.as_slice()),
        };
        if turns.iter().any(|message| message.role == Role::System) {
            return None;
        }
        let conversation = |answer: &str| turns.iter().cloned().chain([Message::assistant(answer)]).collect();
        Some(PairRecord {
            main_source: self.main_source.clone(),
            original_source: self.original_source.clone(),
            system: system.into(),
            prompt: turns.last()?.content.clone(),
            chosen: conversation(&self.chosen),
            rejected: conversation(&self.rejected),
        })
    }

    /// Converts to a record. For one turn, `input` is the system message, a line break and the instruction;
    /// for several, it is the last user message, and the messages before it are the history. `None` if the
    /// prompt does not end with a user message.
    pub fn reward(&self) -> Option<RewardRecord> {
        let (history, input) = match one_turn(&self.prompt) {
            Some(("", prompt)) => (Vec::new(), prompt.into()),
            Some((system, prompt)) => (Vec::new(), format!("{system}\n{prompt}")),
            None => {
                let (last, history) = self.prompt.split_last()?;
                (last.role == Role::User).then(|| (history.to_vec(), last.content.clone()))?
            }
        };
        let (chosen, rejected) = (self.chosen.clone(), self.rejected.clone());
        Some(RewardRecord { history: Some(history), input, chosen, rejected })
    }

    /// Converts to two dialogues marked with `Human:` and `Assistant:`; `None` for texts that these marks
    /// cannot hold, such as one that contains a mark or begins with a space.
    pub fn hh_rlhf(&self) -> Option<Value> {
        let text = |answer: &str| {
            let text = dialogue::write_transcript(&self.prompt, answer);
            let read = dialogue::transcript(&text).ok()?;
            let (last, prompt) = read.split_last()?;
            // A reader takes an empty answer for a missing one.
            (prompt == self.prompt && *last == Message::assistant(answer) && !answer.is_empty())
                .then_some(text)
        };
        Some(json!({ "chosen": text(&self.chosen)?, "rejected": text(&self.rejected)? }))
    }

    /// Converts to `{input: {messages}, preferred_output, non_preferred_output}`.
    pub fn openai(&self) -> Value {
        let answer = |text: &str| [Message::assistant(text)];
        json!({ "input": { "messages": self.prompt }, "preferred_output": answer(&self.chosen), "non_preferred_output": answer(&self.rejected) })
    }

    /// Converts to `{conversations, chosen, rejected}`; `None` if the prompt ends with the assistant, because
    /// readers take such a message for an answer.
    pub fn sharegpt(&self) -> Option<Value> {
        if self.prompt.last().is_some_and(|last| last.role == Role::Assistant) {
            return None;
        }
        let answer = |text: &str| dialogue::sharegpt(&Message::assistant(text));
        let prompt: Vec<Value> = self.prompt.iter().map(dialogue::sharegpt).collect();
        Some(
            json!({ "conversations": prompt, "chosen": answer(&self.chosen), "rejected": answer(&self.rejected) }),
        )
    }
}
