//! Dialogues that are stored as one text.

use janus_core::{Message, Role};
use serde_json::{Value, json};

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Parses a dialogue of HH-RLHF, with turns marked by `\n\nHuman:` and `\n\nAssistant:`. A text before the
/// first mark is the system message.
pub(super) fn transcript(text: &str) -> Result<Vec<Message>, String> {
    let text = format!("\n\n{}", text.trim_start());
    let first = [HUMAN, ASSISTANT].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(0);
    let (system, turns) = text.split_at(first);
    let system = Some(system.trim()).filter(|system| !system.is_empty()).map(Message::system);
    Ok(system.into_iter().chain(parse_turns(turns, HUMAN, ASSISTANT)?).collect())
}

/// Parses a dialogue whose turns begin with one of two markers. Consecutive turns of the same side are
/// joined, because these files split long turns.
pub(super) fn parse_turns(text: &str, human: &str, assistant: &str) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    let first = [text.find(human), text.find(assistant)]
        .into_iter()
        .flatten()
        .min()
        .filter(|&first| text[..first].trim().is_empty());
    let Some(first) = first else {
        return Err(format!("the dialogue does not begin with \"{}\"", human.trim()));
    };
    let mut rest = &text[first..];
    while !rest.is_empty() {
        let (role, after) = match rest.strip_prefix(human) {
            Some(after) => (Role::User, after),
            None => (Role::Assistant, rest.strip_prefix(assistant).unwrap_or_default()),
        };
        let end =
            [after.find(human), after.find(assistant)].into_iter().flatten().min().unwrap_or(after.len());
        let content = after[..end].trim();
        match messages.last_mut() {
            Some(last) if last.role == role => {
                last.content = format!("{}\n\n{content}", last.content).trim().into();
            }
            _ => messages.push(Message { role, content: content.into() }),
        }
        rest = &after[end..];
    }
    match messages.first() {
        Some(first) if first.role == Role::User => Ok(messages),
        _ => Err("the dialogue does not begin with the user".into()),
    }
}

/// Removes an empty assistant turn at the end of a dialogue, which only marks where the answer would follow.
pub(super) fn without_empty_answer(mut messages: Vec<Message>) -> Vec<Message> {
    if messages.last().is_some_and(|last| last.role == Role::Assistant && last.content.is_empty()) {
        messages.pop();
    }
    messages
}

/// Writes a dialogue of HH-RLHF. A system message is written unchanged before the first turn.
pub(super) fn write_transcript(prompt: &[Message], answer: &str) -> String {
    let mut text = String::new();
    for message in prompt {
        text += &match message.role {
            Role::System => message.content.clone(),
            Role::User => format!("{HUMAN} {}", message.content),
            Role::Assistant => format!("{ASSISTANT} {}", message.content),
        };
    }
    text + ASSISTANT + " " + answer
}

/// A message in ShareGPT's layout.
pub(super) fn sharegpt(message: &Message) -> Value {
    let from = match message.role {
        Role::System => "system",
        Role::User => "human",
        Role::Assistant => "gpt",
    };
    json!({ "from": from, "value": message.content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_found_and_an_empty_answer_is_removed() {
        let text =
            "\n\nHuman: Hi\n\nAssistant: Hello.\n\nMore?\n\nHuman: No.\n\nHuman: Or yes.\n\nAssistant:";
        let turns = without_empty_answer(transcript(text).unwrap());
        assert_eq!(
            turns,
            [Message::user("Hi"), Message::assistant("Hello.\n\nMore?"), Message::user("No.\n\nOr yes.")]
        );
        let written = write_transcript(&turns, "Fine.");
        assert_eq!(transcript(&written).unwrap(), [&turns[..], &[Message::assistant("Fine.")]].concat());
        let persona =
            [Message::system("Be kind.\nBe brief."), Message::user("Hi"), Message::assistant("Hello.")];
        assert_eq!(transcript(&write_transcript(&persona[..2], "Hello.")).unwrap(), persona);
        assert!(transcript("Hello").unwrap_err().contains("does not begin with \"Human:\""));
        assert!(transcript("\n\nAssistant: I begin").is_err());
        assert_eq!(
            parse_turns("prompter: A assistant: B prompter: C", "prompter:", "assistant:").unwrap().len(),
            3
        );
    }
}
