//! Conversations and pairs of several turns: written in any layout and format, they are read back equal.

use std::path::Path;

use janus_core::{Message, Role};
use janus_data::sources::{Comparison, Conversation, RowContent, Source};
use janus_data::{Converted, Row, Target, convert, read};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arbitrary;

const TEXT_FORMATS: [&str; 7] = ["jsonl", "json", "csv", "jsonl.gz", "json.zst", "csv.gz", "csv.zst"];
const RECORD_FORMATS: [&str; 4] = ["parquet", "arrow", "parquet.gz", "arrow.zst"];

/// Converts contents to a layout, and reads the file with the source of the same name.
fn there_and_back(
    contents: &[RowContent],
    target: &str,
    folder: &Path,
    format: &str,
) -> (Converted, Vec<RowContent>) {
    let openai: Source = "openai".parse().unwrap();
    let row = |content: &RowContent| -> Row {
        let value = match content {
            RowContent::Conversation(conversation) => conversation.openai(),
            RowContent::Comparison(pair) => pair.openai(),
            other => panic!("{other:?}"),
        };
        value.as_object().unwrap().clone()
    };
    let out = folder.join(format!("rows.{format}"));
    let rows = contents.iter().map(|content| Ok(row(content)));
    let layout: Target = target.parse().unwrap();
    let converted = convert(rows, (&*openai, Path::new("rows.jsonl")), layout, &out, None).unwrap();
    let source: Source = target.parse().unwrap();
    // The name of the layout, which `hh-rlhf` gives to rows without a source, is no part of the content.
    let without_source = |content| match content {
        RowContent::Comparison(pair) => {
            RowContent::Comparison(Comparison { main_source: String::new(), ..pair })
        }
        RowContent::Conversation(all) => {
            RowContent::Conversation(Conversation { main_source: String::new(), ..all })
        }
        other => other,
    };
    let read = read::<Row>(&out)
        .unwrap()
        .map(|row| without_source(source.content(&row.unwrap()).unwrap()))
        .collect();
    (converted, read)
}

/// Whether `part` has some elements of `all`, in their order.
fn is_subsequence(part: &[RowContent], all: &[RowContent]) -> bool {
    let mut rest = all.iter();
    part.iter().all(|content| rest.any(|other| other == content))
}

fn messages(rows: Vec<(Role, String)>) -> Vec<Message> {
    rows.into_iter().map(|(role, content)| Message { role, content }).collect()
}

/// Messages in the order of a dialogue: a system message or none, then users and assistants in turn; the last
/// is the user's.
fn dialogue() -> impl Strategy<Value = Vec<Message>> {
    let turns = prop::collection::vec((arbitrary::text(), arbitrary::text()), 0..4);
    (prop::option::of(arbitrary::text()), turns, arbitrary::text()).prop_map(|(system, turns, question)| {
        let turns =
            turns.into_iter().flat_map(|(user, answer)| [(Role::User, user), (Role::Assistant, answer)]);
        messages(
            system
                .map(|system| (Role::System, system))
                .into_iter()
                .chain(turns)
                .chain([(Role::User, question)])
                .collect(),
        )
    })
}

/// Messages in any order.
fn disorder() -> impl Strategy<Value = Vec<Message>> {
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant]);
    prop::collection::vec((role, arbitrary::text()), 0..5).prop_map(messages)
}

fn content() -> impl Strategy<Value = RowContent> {
    let prompt = prop_oneof![3 => dialogue(), 1 => disorder()];
    (prompt, arbitrary::text(), prop::option::of(arbitrary::text())).prop_map(
        |(mut prompt, chosen, rejected)| {
            while prompt.first().is_some_and(|first| first.role == Role::System && first.content.is_empty()) {
                prompt.remove(0);
            }
            match rejected {
                Some(rejected) => {
                    RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() })
                }
                None => {
                    prompt.push(Message::assistant(chosen));
                    RowContent::Conversation(Conversation { messages: prompt, ..Conversation::default() })
                }
            }
        },
    )
}

/// A pair of one turn as a file of rewards has it: the system message stands in the user's.
fn one_message(pair: &Comparison) -> Comparison {
    let prompt = match pair.prompt.as_slice() {
        [system, user]
            if (system.role, user.role) == (Role::System, Role::User) && !system.content.is_empty() =>
        {
            vec![Message::user(format!("{}\n{}", system.content, user.content))]
        }
        prompt => prompt.to_vec(),
    };
    Comparison { prompt, ..pair.clone() }
}

/// Number of cases; `PROPTEST_CASES` sets another.
fn config(cases: u32) -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default()
    } else {
        ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(6))]

    /// What a layout cannot hold is left out and counted; everything else comes back as it was.
    #[test]
    fn what_is_written_in_a_layout_is_read_back_equal(contents in prop::collection::vec(content(), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        for target in ["openai", "sharegpt", "alpaca", "hh-rlhf", "sft", "pairs", "reward"] {
            let records = ["sft", "pairs", "reward"].contains(&target);
            let formats = TEXT_FORMATS.iter().chain(RECORD_FORMATS.iter().filter(|_| records));
            // Layouts of conversations keep the better answer of a pair.
            let held: Vec<RowContent> = contents.iter().map(|content| match content {
                RowContent::Comparison(pair) if ["alpaca", "sft"].contains(&target) => RowContent::Conversation(pair.better()),
                RowContent::Comparison(pair) if target == "reward" => RowContent::Comparison(one_message(pair)),
                other => other.clone(),
            }).collect();
            for format in formats {
                let (converted, read) = there_and_back(&contents, target, folder.path(), format);
                prop_assert_eq!(converted.written + converted.left_out.values().sum::<u64>(), converted.read, "{} {}", target, format);
                prop_assert_eq!(converted.written, read.len() as u64, "{} {}", target, format);
                prop_assert!(is_subsequence(&read, &held), "{} {}: {:?}", target, format, read);
                if target == "openai" {
                    prop_assert_eq!(converted.written, converted.read, "{} {}", target, format);
                }
            }
        }
    }
}

/// Dialogues as people write them fit every layout that has turns.
#[test]
fn a_dialogue_of_four_turns_is_left_out_by_no_layout_that_has_turns() {
    let prompt = [
        Message::system("Be kind."),
        Message::user("My name is Ada."),
        Message::assistant("Hello, Ada."),
        Message::user("What is my name?"),
    ];
    let pair = Comparison {
        prompt: prompt.to_vec(),
        chosen: "Ada.".into(),
        rejected: "I forgot.".into(),
        ..Comparison::default()
    };
    let folder = tempfile::tempdir().unwrap();
    for target in ["openai", "sharegpt", "hh-rlhf", "pairs", "reward"] {
        for format in TEXT_FORMATS {
            let contents = [RowContent::Comparison(pair.clone())];
            assert_eq!(
                there_and_back(&contents, target, folder.path(), format).1,
                contents,
                "{target} {format}"
            );
        }
    }
    let contents = [RowContent::Conversation(pair.better())];
    for target in ["openai", "sharegpt", "alpaca"] {
        for format in TEXT_FORMATS {
            assert_eq!(
                there_and_back(&contents, target, folder.path(), format).1,
                contents,
                "{target} {format}"
            );
        }
    }
}

#[test]
fn turns_that_do_not_alternate_are_not_exchanged_in_a_layout_without_roles() {
    let begins = messages(vec![
        (Role::Assistant, "Hi!".into()),
        (Role::User, "Hello.".into()),
        (Role::Assistant, "How are you?".into()),
    ]);
    let contents = [RowContent::Conversation(Conversation { messages: begins, ..Conversation::default() })];
    let folder = tempfile::tempdir().unwrap();
    let (converted, read) = there_and_back(&contents, "alpaca", folder.path(), "jsonl");
    assert_eq!((converted.written, read.len()), (0, 0));
    assert_eq!(
        converted.left_out.into_iter().collect::<Vec<_>>(),
        [("turns that do not alternate, or without loss, which this layout cannot hold", 1)]
    );
}

fn pair(row: Value) -> Result<Comparison, String> {
    let pairs: Source = "pairs".parse().unwrap();
    match pairs.content(row.as_object().unwrap()).map_err(|error| error.to_string())? {
        RowContent::Comparison(pair) => Ok(pair),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pair_whose_answers_do_not_repeat_the_prompt_has_the_prompt_of_its_own_field() {
    let answer = |text: &str| json!([{ "role": "assistant", "content": text }]);
    let asked = [Message::user("Why?")];
    let explicit = json!({ "prompt": [{ "role": "user", "content": "Why?" }], "chosen": answer("Because."), "rejected": answer("No.") });
    assert_eq!(pair(explicit).unwrap().prompt, asked);
    let text = json!({ "prompt": "Why?", "chosen": answer("Because."), "rejected": answer("No.") });
    assert_eq!(pair(text).unwrap().prompt, asked);
    let texts = json!({ "system": "Be kind.", "prompt": "Why?", "chosen": "Because.", "rejected": "[No.]" });
    let texts = pair(texts).unwrap();
    assert_eq!(
        (texts.prompt.len(), texts.prompt[0].content.as_str(), texts.rejected.as_str()),
        (2, "Be kind.", "[No.]")
    );
    let error = pair(json!({ "chosen": answer("Because."), "rejected": answer("No.") })).unwrap_err();
    assert_eq!(error, "field \"prompt\": missing");
}

#[test]
fn two_system_messages_of_a_pair_are_refused_unless_they_are_equal() {
    let side = |text: &str| json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Why?" }, { "role": "assistant", "content": text }]);
    let row = |system: &str| json!({ "system": system, "prompt": "Why?", "chosen": side("Because."), "rejected": side("No.") });
    for system in ["", "Be kind."] {
        assert_eq!(pair(row(system)).unwrap().prompt, [Message::system("Be kind."), Message::user("Why?")]);
    }
    assert_eq!(
        pair(row("Be rude.")).unwrap_err(),
        "field \"system\": the conversation begins with another system message"
    );
}

#[test]
fn messages_have_the_roles_and_contents_that_services_write() {
    let openai: Source = "openai".parse().unwrap();
    let read = |messages: Value| {
        openai
            .content(json!({ "messages": messages }).as_object().unwrap())
            .map_err(|error| error.to_string())
    };
    let parts = json!([{ "type": "text", "text": "Why" }, { "type": "text", "text": "?" }]);
    let answer = json!({ "role": "assistant", "content": "Because.", "tool_calls": null, "refusal": null });
    let content = read(
        json!([{ "role": "developer", "content": "Be kind." }, { "role": "user", "content": parts }, answer]),
    )
    .unwrap();
    let expected = [Message::system("Be kind."), Message::user("Why?"), Message::assistant("Because.")];
    assert_eq!(content.into_conversation().unwrap().messages, expected);

    let picture = json!([{ "type": "image_url", "image_url": { "url": "x" } }]);
    let error = read(json!([{ "role": "user", "content": picture }, answer])).unwrap_err();
    assert_eq!(error, "field \"messages[0].content[0].type\": expected text, got image_url");
    let call = json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "1" }] });
    let error = read(json!([{ "role": "user", "content": "Why?" }, call])).unwrap_err();
    assert_eq!(error, "field \"messages[1].tool_calls\": calls of tools cannot be trained");
}

#[test]
fn json_lines_under_the_name_of_json_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    let rows = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read::<Row>(&path)
            .unwrap()
            .map(|row| row.map(Value::from).map_err(|error| error.to_string()))
            .collect::<Vec<_>>()
    };
    let two = [Ok(json!({ "messages": [] })), Ok(json!({ "messages": [1] }))];
    assert_eq!(rows("{\"messages\": []}\n{\"messages\": [1]}\n"), two);
    assert_eq!(rows("\u{feff}\n{\"messages\": []}\r\n\r\n{\"messages\": [1]}"), two);
    assert_eq!(rows("{\"messages\": []}\n"), two[..1], "one row");
    assert_eq!(
        rows("{\"input\": {}}\n{\"input\": {}}"),
        [Ok(json!({ "input": {} })), Ok(json!({ "input": {} }))]
    );
    assert_eq!(rows("{\"7\": {\"a\": 1}}\n"), [Ok(json!({ "a": 1, "id": "7" }))], "rows by id");
    assert_eq!(rows("{\n\"7\": {\"a\": 1},\n\"8\": {\"a\": 2}}").len(), 2, "rows by id, on several lines");
    assert_eq!(rows("{}"), []);
    let broken = rows("{\"a\": 1}\n{\"a\": }\n{\"a\": 3}\n");
    assert!(broken.len() == 3 && broken[1].as_ref().unwrap_err().contains("row 2"), "{broken:?}");
}
