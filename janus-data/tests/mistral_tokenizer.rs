//! The tokenizer of Mistral 7B against sentencepiece's own ids (`goldens/README.md`, item 8).
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, Message};
use janus_data::{Error, Tokenizer, read_all};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
    special_texts: Vec<SpecialText>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct SpecialText {
    text: String,
    tokenizer_json_ids: Vec<u32>,
    sentencepiece_ids: Vec<u32>,
}

fn shared(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens").join(name)
}

fn goldens() -> (Goldens, Tokenizer) {
    let goldens = serde_json::from_slice(&std::fs::read(shared("mistral_tokenizer.json")).unwrap()).unwrap();
    (goldens, Tokenizer::read(shared("mistral_v0.2_tokenizer.json")).unwrap())
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn ids_and_texts_are_sentencepieces() {
    let (goldens, tokenizer) = goldens();
    assert_eq!(tokenizer.vocab_size(), 32000);
    assert_eq!(goldens.cases.len(), 228);
    for Case { text, ids, decoded } in &goldens.cases {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.decode(ids).unwrap(), decoded, "{text:?}");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn special_tokens_in_text_are_text_unless_asked_for() {
    let (goldens, tokenizer) = goldens();
    assert_eq!(goldens.special_texts.len(), 8);
    for SpecialText { text, tokenizer_json_ids, sentencepiece_ids } in &goldens.special_texts {
        assert_eq!(&tokenizer.encode(text).unwrap(), sentencepiece_ids, "{text:?}");
        assert_eq!(&tokenizer.encode_with_specials(text).unwrap(), tokenizer_json_ids, "{text:?}");
    }
}

/// The reference tokenises the response on its own, which gives its first word a leading blank (paper notes, section 7).
#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn a_conversation_is_one_bos_prompt_response_eos() {
    let (_, tokenizer) = goldens();
    let messages = [Message::system("Be brief."), Message::user("Why </s>?"), Message::assistant("Light scatters.")];
    let row = tokenizer.conversation(ChatTemplate::MistralInstruct, &messages).unwrap();

    let mut expected = vec![1];
    expected.extend(tokenizer.encode("[INST] Be brief.\nWhy </s>? [/INST]").unwrap());
    let prompt = expected.len();
    expected.extend(tokenizer.encode("Light scatters.").unwrap());
    expected.push(2);
    assert_eq!(row.ids, expected);
    assert_eq!(row.ids.iter().filter(|&&id| id < 3).count(), 2, "one <s>, one </s>, though the user typed another");
    assert_eq!(row.loss_mask.iter().position(|&trained| trained), Some(prompt));
    assert!(row.loss_mask[prompt..].iter().all(|&trained| trained));
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn a_template_of_another_vocabulary_is_refused() {
    let (_, tokenizer) = goldens();
    let error = tokenizer.conversation(ChatTemplate::ChatMl, &[Message::user("q"), Message::assistant("a")]).unwrap_err();
    assert!(matches!(&error, Error::NoSuchToken { token } if token == "<|im_start|>"), "{error}");
    assert!(read_all::<serde_json::Value>(shared("none.jsonl")).is_err());
}
