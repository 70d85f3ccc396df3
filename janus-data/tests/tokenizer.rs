//! Tokenizers against the ids and texts of the `tokenizers` library in Python (`goldens/README.md`).

use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, Message};
use janus_data::{Error, Tokenizer, read_all};
use serde::Deserialize;

#[derive(Deserialize)]
struct Tokens {
    vocab_size: usize,
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
    ids_as_tokens: Vec<u32>,
    ids_as_text: Vec<u32>,
}

/// As GPT-2's, and as sentencepiece's with a token for each byte.
const NAMES: [&str; 2] = ["byte_level", "byte_fallback"];

/// In the folder that `JANUS_GOLDENS` names, else in the repository's.
fn folder(name: &str) -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens");
    std::env::var_os("JANUS_GOLDENS").map_or_else(own, PathBuf::from).join("tokenizers").join(name)
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(folder(name).join("tokenizer.json")).unwrap()
}

fn tokens(name: &str) -> Tokens {
    serde_json::from_slice(&std::fs::read(folder(name).join("tokens.json")).unwrap()).unwrap()
}

#[test]
fn ids_and_texts_are_those_of_the_library() {
    for name in NAMES {
        let (tokenizer, tokens) = (tokenizer(name), tokens(name));
        assert_eq!(tokenizer.vocab_size(), tokens.vocab_size);
        // The library takes the ids of added tokens from the vocabulary, and none from beside them.
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder(name).join("tokenizer.json")).unwrap()).unwrap();
        for added in file["added_tokens"].as_array().unwrap() {
            assert_eq!(
                file["model"]["vocab"][added["content"].as_str().unwrap()],
                added["id"],
                "{name}: {added}"
            );
        }
        for id in 0..tokens.vocab_size as u32 {
            assert_eq!(tokenizer.token(id).and_then(|token| tokenizer.token_id(&token)), Some(id), "{name}");
        }
        assert!(tokens.cases.len() > 80);
        for Case { text, ids, decoded } in &tokens.cases {
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.decode(ids).unwrap(), decoded, "{name}: {text:?}");
        }
    }
}

#[test]
fn special_tokens_in_text_are_text_unless_asked_for() {
    for name in NAMES {
        let (tokenizer, tokens) = (tokenizer(name), tokens(name));
        assert_eq!(tokens.special_texts.len(), 10);
        for SpecialText { text, ids_as_tokens, ids_as_text } in &tokens.special_texts {
            assert_eq!(&tokenizer.encode(text).unwrap(), ids_as_text, "{name}: {text:?}");
            assert_eq!(&tokenizer.encode_with_specials(text).unwrap(), ids_as_tokens, "{name}: {text:?}");
        }
    }
}

/// The reference tokenises the response on its own, which gives its first word a leading space.
#[test]
fn a_conversation_is_one_bos_prompt_response_eos() {
    let tokenizer = tokenizer("byte_fallback");
    let messages =
        [Message::system("Be brief."), Message::user("Why </s>?"), Message::assistant("Light scatters.")];
    let row = tokenizer.conversation(ChatTemplate::MistralInstruct, &messages).unwrap();

    let mut expected = vec![1];
    expected.extend(tokenizer.encode("[INST] Be brief.\nWhy </s>? [/INST]").unwrap());
    let prompt = expected.len();
    expected.extend(tokenizer.encode("Light scatters.").unwrap());
    expected.push(2);
    assert_eq!(row.ids, expected);
    assert_eq!(
        row.ids.iter().filter(|&&id| id < 3).count(),
        2,
        "one <s>, one </s>, though the user typed another"
    );
    assert_eq!(row.loss_mask.iter().position(|&trained| trained), Some(prompt));
    assert!(row.loss_mask[prompt..].iter().all(|&trained| trained));
}

/// The library panics at a merge that is shorter than the prefix of words.
#[test]
fn a_tokenizer_whose_parts_contradict_each_other_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let text = r###"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "continuing_subword_prefix": "##", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}"###;
    std::fs::write(&path, text).unwrap();
    let error = Tokenizer::read(&path).err().expect("the file is refused");
    assert!(matches!(&error, Error::TokenizerFile { path: found, .. } if *found == path), "{error}");
}

#[test]
fn a_template_of_another_vocabulary_is_refused() {
    let tokenizer = tokenizer("byte_fallback");
    let error = tokenizer
        .conversation(ChatTemplate::ChatMl, &[Message::user("q"), Message::assistant("a")])
        .unwrap_err();
    assert!(matches!(&error, Error::NoSuchToken { token } if token == "<|im_start|>"), "{error}");
    assert!(read_all::<serde_json::Value>(folder("none.jsonl")).is_err());
}
