//! Checks of a tokenizer's ids and decoded texts.

use std::path::Path;

use janus_data::Tokenizer;
use serde::Deserialize;

use super::Checks;
use super::files::{exact, json, text};

#[derive(Deserialize)]
struct Tokens {
    vocab_size: usize,
    cases: Vec<Text>,
    #[serde(default)]
    special_texts: Vec<SpecialText>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct SpecialText {
    text: String,
    #[serde(alias = "tokenizer_json_ids")]
    ids_as_tokens: Vec<u32>,
    #[serde(alias = "sentencepiece_ids")]
    ids_as_text: Vec<u32>,
}

/// Checks `tokens.json` or `mistral_tokenizer.json` with the tokenizer that it was made with.
pub(super) fn check(name: &str, path: &Path, tokenizer: &Path, checks: &mut Checks) -> Result<(), String> {
    let tokens: Tokens = serde_json::from_value(json(path)?).map_err(text)?;
    let tokenizer = Tokenizer::read(tokenizer).map_err(text)?;
    let differ = |matches: &dyn Fn(&Text) -> bool| {
        exact(tokens.cases.iter().filter(|case| !matches(case)).count(), tokens.cases.len())
    };
    checks.add(
        format!("{name} vocabulary"),
        exact(tokenizer.vocab_size().abs_diff(tokens.vocab_size), tokens.vocab_size),
    );
    checks.add(
        format!("{name} ids"),
        differ(&|case| tokenizer.encode(&case.text).is_ok_and(|ids| ids == case.ids)),
    );
    checks.add(
        format!("{name} texts"),
        differ(&|case| tokenizer.decode(&case.ids).is_ok_and(|text| text == case.decoded)),
    );
    if tokens.special_texts.is_empty() {
        return Ok(());
    }
    let plain = |case: &&SpecialText| tokenizer.encode(&case.text).is_ok_and(|ids| ids == case.ids_as_text);
    let spelt = |case: &&SpecialText| {
        tokenizer.encode_with_specials(&case.text).is_ok_and(|ids| ids == case.ids_as_tokens)
    };
    let of = tokens.special_texts.len();
    checks.add(
        format!("{name} special tokens as text"),
        exact(of - tokens.special_texts.iter().filter(plain).count(), of),
    );
    checks.add(
        format!("{name} special tokens as tokens"),
        exact(of - tokens.special_texts.iter().filter(spelt).count(), of),
    );
    Ok(())
}
