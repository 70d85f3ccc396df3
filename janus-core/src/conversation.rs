//! A conversation with a chat model, turn by turn.

use crate::{ChatRequest, Message, SamplingParams};

/// The messages exchanged so far, with the system message and sampling parameters of the next turns.
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
    /// The system message, if there is one.
    pub system: Option<String>,
    /// How answers are sampled.
    pub sampling: SamplingParams,
    /// User and assistant messages, alternating.
    messages: Vec<Message>,
    turns: usize,
}

impl Conversation {
    /// An empty conversation without a system message.
    pub fn new(sampling: SamplingParams) -> Self {
        Self { system: None, sampling, messages: Vec::new(), turns: 0 }
    }

    /// The request of the next turn. Its id contains the number of the turn, so that a repeated question can
    /// get a different answer.
    pub fn request(&mut self, user: &str) -> ChatRequest {
        self.turns += 1;
        let system = self.system.iter().map(Message::system);
        let messages: Vec<Message> =
            system.chain(self.messages.iter().cloned()).chain([Message::user(user)]).collect();
        ChatRequest::new(format!("turn {}", self.turns), messages).with_sampling(self.sampling.clone())
    }

    /// Adds a user message and the model's answer to it. A message whose request failed is not added, so it
    /// leaves no trace.
    pub fn answered(&mut self, user: &str, answer: &str) {
        self.messages.extend([Message::user(user), Message::assistant(answer)]);
    }

    /// Removes all messages; the system message stays.
    pub fn reset(&mut self) {
        self.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_all_answered_turns_under_the_current_system_message() {
        let mut conversation = Conversation::new(SamplingParams::default());
        conversation.system = Some("S".into());
        assert_eq!(conversation.request("one").messages, [Message::system("S"), Message::user("one")]);
        conversation.answered("one", "1");
        conversation.request("fails");
        conversation.system = Some("T".into());
        let request = conversation.request("two");
        assert_eq!(request.id, "turn 3");
        assert_eq!(
            request.messages,
            [Message::system("T"), Message::user("one"), Message::assistant("1"), Message::user("two")]
        );
        conversation.reset();
        assert_eq!(conversation.request("three").messages, [Message::system("T"), Message::user("three")]);
    }
}
