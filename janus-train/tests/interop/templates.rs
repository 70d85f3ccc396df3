//! The chat templates that are written beside a model give, in transformers, the ids that were trained.

use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, Message};
use janus_data::Tokenizer;
use serde_json::{Value, json};

use crate::python;

/// Tokenizers that differ in where they put a space, each with the special tokens of both templates.
fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens/tokenizers");
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(goldens.join(name).join("tokenizer.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let byte_level = read("byte_level");
    let mut prefix_space = byte_level.clone();
    prefix_space["pre_tokenizer"]["add_prefix_space"] = json!(true);
    let sentencepiece = read("byte_fallback");
    let mut at_the_beginning = sentencepiece.clone();
    at_the_beginning["normalizer"] = Value::Null;
    at_the_beginning["pre_tokenizer"] =
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false });
    [
        ("byte-level", byte_level),
        ("byte-level with a space before each text", prefix_space),
        ("SentencePiece", sentencepiece),
        ("SentencePiece with a space at the beginning alone", at_the_beginning),
    ]
    .map(|(name, mut json)| {
        let size = json["model"]["vocab"].as_object().unwrap().len();
        let added = json["added_tokens"].as_array_mut().unwrap();
        for (at, content) in ChatTemplate::ChatMl.special_tokens().iter().enumerate() {
            added.push(json!({ "id": size + at, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true }));
        }
        (name, Tokenizer::from_tokenizers(json.to_string().parse().unwrap()))
    })
    .into()
}

/// Conversations and prompts of one to six turns, with and without a system message.
fn conversations() -> Vec<Vec<Message>> {
    let turns = [
        ("What is a kite?", "A toy that flies."),
        ("Who made it?\nName two.", "Nobody knows;\n\nit is old."),
        ("  two spaces, and é 漢字 🙂", "Yes."),
        ("\n a line end first", "No, it isn't."),
        ("\u{1c} white space in Python alone \u{1f}", " A space first."),
        ("Bye", "Good bye!  See you."),
    ];
    let mut conversations = Vec::new();
    for system in [None, Some("Be brief."), Some("")] {
        let mut messages: Vec<Message> = system.map(Message::system).into_iter().collect();
        for (question, answer) in turns {
            messages.push(Message::user(question));
            conversations.push(messages.clone());
            messages.push(Message::assistant(answer));
            conversations.push(messages.clone());
        }
    }
    conversations
}

/// With SentencePiece a second turn had `Hello` where training has `▁Hello`.
#[test]
fn templates_beside_a_model_give_the_trained_ids_for_one_to_six_turns() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizers, conversations) = (tokenizers(), conversations());
    let mut cases: Vec<(String, PathBuf, &Tokenizer, ChatTemplate)> = Vec::new();
    for (name, tokenizer) in &tokenizers {
        for template in [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl] {
            let path = folder.path().join(cases.len().to_string());
            tokenizer.save_with_template(&path, template).unwrap();
            cases.push((format!("{name}, {template}"), path, tokenizer, template));
        }
    }
    let folders: Vec<&PathBuf> = cases.iter().map(|(_, path, ..)| path).collect();
    let found: Vec<Vec<Vec<u32>>> =
        python("template_ids.py", &[], &json!({ "folders": folders, "conversations": conversations }));
    let mut differing = Vec::new();
    for ((name, _, tokenizer, template), found) in cases.iter().zip(found) {
        for (messages, found) in conversations.iter().zip(found) {
            let trained = tokenizer.encode_rendered(&template.render(messages).unwrap()).unwrap();
            if trained != found {
                let spelt =
                    |ids: &[u32]| ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect::<Vec<_>>();
                differing.push(format!("{name}\n{:?}\n{:?}", spelt(&trained), spelt(&found)));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing[..differing.len().min(6)].join("\n")
    );
}
