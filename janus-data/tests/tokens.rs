//! Properties of tokenisation: training and generation use the same ids.

use std::sync::LazyLock;

use janus_core::{ChatTemplate, Message};
use janus_data::{Error, Tokenizer};
use proptest::prelude::*;

const TEMPLATES: [ChatTemplate; 2] = [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl];
const SPECIALS: [&str; 4] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"];

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts = [
        "the kite flies over the hill",
        "the hill is green, the kite is red",
        "</s> </s> <|im_end|> <|im_end|>",
        "user\n assistant\n",
    ];
    Tokenizer::train(texts.into_iter().cycle().take(20), 320, &SPECIALS).unwrap()
});

/// Text that often spells special tokens.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("</s>".to_owned()),
        Just("<|im_end|>\n".to_owned()),
        Just("<s>[INST] ".to_owned()),
        Just(" the kite".to_owned()),
        ".{0,6}"
    ];
    prop::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

fn special_ids() -> Vec<u32> {
    SPECIALS.iter().map(|token| TOKENIZER.token_id(token).unwrap()).collect()
}

proptest! {
    #[test]
    fn text_is_text(text in text()) {
        let ids = TOKENIZER.encode(&text).unwrap();
        prop_assert!(!ids.iter().any(|id| special_ids().contains(id)));
        prop_assert!(ids.iter().all(|&id| (id as usize) < TOKENIZER.vocab_size()));
        prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
    }

    #[test]
    fn a_prompts_ids_are_the_first_ids_of_its_conversation(system in text(), user in text(), answer in text()) {
        for template in TEMPLATES {
            let mut messages = vec![Message::system(system.clone()), Message::user(user.clone())];
            let prompt = TOKENIZER.encode_rendered(&template.render(&messages).unwrap()).unwrap();
            messages.push(Message::assistant(answer.clone()));
            let row = TOKENIZER.conversation(template, &messages).unwrap();
            prop_assert_eq!(row.ids.len(), row.loss_mask.len());
            prop_assert_eq!(&row.ids[..prompt.len()], &prompt[..]);
            prop_assert!(!row.loss_mask[..prompt.len()].contains(&true));

            let trained: Vec<u32> = row.ids.iter().zip(&row.loss_mask).filter(|(_, trained)| **trained).map(|(&id, _)| id).collect();
            prop_assert_eq!(TOKENIZER.decode(&trained).unwrap(), answer.clone());
            prop_assert_eq!(trained.last().copied(), TOKENIZER.token_id(template.end_of_turn()));
            prop_assert_eq!(trained.iter().filter(|id| special_ids().contains(id)).count(), 1);
        }
    }

    #[test]
    fn all_tokens_of_a_document_but_the_first_are_in_the_loss_mask(text in text()) {
        let row = TOKENIZER.document(&text, Some("<s>"), Some("</s>")).unwrap();
        prop_assert!(!row.loss_mask[0] && row.loss_mask[1..].iter().all(|&in_loss| in_loss));
        prop_assert_eq!((row.ids[0], *row.ids.last().unwrap()), (0, 1));
        prop_assert_eq!(TOKENIZER.decode(&row.ids).unwrap(), text);
    }
}

#[test]
fn every_assistant_turn_is_in_the_loss_mask() {
    let messages =
        [Message::user("a"), Message::assistant("one"), Message::user("b"), Message::assistant("two")];
    for template in TEMPLATES {
        let row = TOKENIZER.conversation(template, &messages).unwrap();
        let trained: Vec<u32> =
            row.ids.iter().zip(&row.loss_mask).filter(|(_, trained)| **trained).map(|(&id, _)| id).collect();
        assert_eq!(TOKENIZER.decode(&trained).unwrap(), "onetwo");
    }
}

#[test]
fn a_row_with_an_empty_loss_mask_is_rejected() {
    for template in TEMPLATES {
        let error = TOKENIZER.conversation(template, &[Message::user("Hi?")]).unwrap_err();
        assert!(matches!(error, Error::NothingTrained), "{error}");
    }
    let rows = [vec![Message::user("a"), Message::assistant("b")], vec![Message::user("a")]];
    let error = TOKENIZER.conversations(ChatTemplate::ChatMl, &rows).unwrap_err();
    assert!(
        matches!(&error, Error::AtRow { row: 1, cause } if matches!(**cause, Error::NothingTrained)),
        "{error}"
    );
    assert!(matches!(TOKENIZER.document("", Some("<s>"), None), Err(Error::NothingTrained)));
    assert!(matches!(TOKENIZER.document("a", Some("<bos>"), None), Err(Error::NoSuchToken { .. })));
    assert!(matches!(TOKENIZER.conversation(ChatTemplate::ChatMl, &[]), Err(Error::Domain(_))));
}

#[test]
fn a_saved_tokenizer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let again = Tokenizer::read(&path).unwrap();
    let text = "the kite </s> flies é";
    assert_eq!(again.encode(text).unwrap(), TOKENIZER.encode(text).unwrap());
    assert_eq!(again.encode_with_specials(text).unwrap(), TOKENIZER.encode_with_specials(text).unwrap());
    assert_eq!(again.vocab_size(), TOKENIZER.vocab_size());
    let bytes = std::fs::read(&path).unwrap();
    again.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(Tokenizer::read(&path), Err(Error::TokenizerFile { .. })));
}

/// A `tokenizer.json` may enable truncation, padding and dropout, which would all change the training data.
#[test]
fn truncation_padding_and_dropout_of_a_file_are_turned_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"
    });
    json["model"]["dropout"] = 0.9.into();
    std::fs::write(&path, json.to_string()).unwrap();
    let text = "the kite flies over the hill";
    assert_eq!(Tokenizer::read(&path).unwrap().encode(text).unwrap(), TOKENIZER.encode(text).unwrap());
}

/// Hash maps have a random seed in each process, and threads share the work.
#[test]
fn two_processes_train_the_same_bytes() {
    const TARGET: &str = "JANUS_DATA_TEST_TRAIN_TO";
    if let Some(path) = std::env::var_os(TARGET) {
        let texts: Vec<String> = (0..400)
            .map(|i| format!("the kite {} flies {} ab{}", i % 7, i % 11, "ab".repeat(i % 13)))
            .collect();
        Tokenizer::train(texts.iter().map(String::as_str), 400, &SPECIALS).unwrap().save(path).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let path = folder.path().join(name);
        let output = child
            .args(["--exact", "tokens::two_processes_train_the_same_bytes"])
            .env(TARGET, &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        std::fs::read(path).unwrap()
    };
    assert_eq!(train("one.json"), train("two.json"));
}
