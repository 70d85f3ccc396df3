//! A conversation with a chat model, turn by turn.

use crate::{ChatRequest, Message, SamplingParams};

/// What a user and a model said, and the system message and sampling of the turns to come.
///
/// ```
/// use janus_core::{Conversation, SamplingParams};
///
/// let mut conversation = Conversation::new(SamplingParams::greedy(64));
/// conversation.system = Some("Be brief.".into());
/// let request = conversation.request("What is a kite?");
/// assert_eq!((request.id.as_str(), request.messages.len()), ("turn 1", 2));
/// conversation.answered("What is a kite?", "A toy that flies.");
/// assert_eq!(conversation.request("Who made it?").messages.len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The system message; `None` for none.
    pub system: Option<String>,
    /// How answers are sampled.
    pub sampling: SamplingParams,
    /// User and assistant in turn.
    messages: Vec<Message>,
    turns: usize,
}

impl Conversation {
    /// A conversation in which nothing was said, without a system message.
    pub fn new(sampling: SamplingParams) -> Self {
        Self { system: None, sampling, messages: Vec::new(), turns: 0 }
    }

    /// The request of the next turn. Its id is the number of the turn, so that a question that is asked twice may be answered
    /// differently.
    pub fn request(&mut self, user: &str) -> ChatRequest {
        self.turns += 1;
        let system = self.system.iter().map(Message::system);
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).chain([Message::user(user)]).collect();
        ChatRequest::new(format!("turn {}", self.turns), messages).with_sampling(self.sampling.clone())
    }

    /// Adds a message and its answer. A message without an answer is not part of the conversation.
    pub fn answered(&mut self, user: &str, answer: &str) {
        self.messages.extend([Message::user(user), Message::assistant(answer)]);
    }

    /// Forgets what was said; the system message stays.
    pub fn reset(&mut self) {
        self.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_all_that_was_answered_under_the_system_message_of_now() {
        let mut conversation = Conversation::new(SamplingParams::default());
        conversation.system = Some("S".into());
        assert_eq!(conversation.request("one").messages, [Message::system("S"), Message::user("one")]);
        conversation.answered("one", "1");
        conversation.request("fails");
        conversation.system = Some("T".into());
        let request = conversation.request("two");
        assert_eq!(request.id, "turn 3");
        assert_eq!(request.messages, [Message::system("T"), Message::user("one"), Message::assistant("1"), Message::user("two")]);
        conversation.reset();
        assert_eq!(conversation.request("three").messages, [Message::system("T"), Message::user("three")]);
    }
}
