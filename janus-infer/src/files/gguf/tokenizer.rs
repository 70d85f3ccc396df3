//! The tokenizer that a GGUF file's metadata describes.
//!
//! The file only names a pre-tokenizer (`tokenizer.ggml.pre`), whose rules are in llama.cpp's source.
//! This module has the rules of those that Llama-family models use. An unknown name is an error: with
//! wrong rules a text would still become ids, but not the ids that the model was trained on.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use janus_data::Tokenizer;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Inner};

use super::GgufFile;
use super::header::of_type;
use crate::{FormatProblem, Result};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const MODEL: &str = "tokenizer.ggml.model";
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const PRE: &str = "tokenizer.ggml.pre";

/// A `tokenizer.ggml.token_type`: the token for text that no other token covers.
const UNKNOWN: i32 = 2;
/// A special token: the template or the model writes it, and text never becomes it.
const CONTROL: i32 = 3;
/// A token that is matched before the text is split.
const USER_DEFINED: i32 = 4;

/// Maximum length of a SentencePiece token, in bytes. It is limited because every split of a token into
/// two is tried.
const MAX_TOKEN_BYTES: usize = 1024;

/// The character for a space in SentencePiece's vocabularies.
const SPACE: &str = "▁";

/// Builds the tokenizer.
pub(crate) fn tokenizer(file: &GgufFile) -> Result<Tokenizer> {
    let tokens = file.texts(TOKENS)?;
    let mut kinds = match file.value(TYPES) {
        Some(_) => numbers(file, TYPES, tokens.len(), |value| value.to_i32().ok())?,
        None => vec![1; tokens.len()],
    };
    mark_special(file, &tokens, &mut kinds)?;
    let mut tokenizer = match file.text(MODEL)? {
        "gpt2" => byte_level(file, &tokens)?,
        "llama" => sentencepiece(file, &tokens, &kinds)?,
        other => {
            let expected = "gpt2 (byte-level BPE) or llama (SentencePiece BPE)";
            return Err(file.metadata(MODEL, FormatProblem::value("it", format!("\"{other}\""), expected)));
        }
    };
    let added = |wanted: i32| {
        let found = tokens.iter().zip(&kinds).filter(move |(_, kind)| **kind == wanted);
        found.map(move |(token, _)| AddedToken::from(*token, wanted != USER_DEFINED).normalized(false))
    };
    let failed = |error: tokenizers::Error| file.metadata(TOKENS, FormatProblem::refused(error));
    tokenizer.add_special_tokens(added(CONTROL).chain(added(UNKNOWN))).map_err(failed)?;
    tokenizer.add_tokens(added(USER_DEFINED)).map_err(failed)?;
    Ok(Tokenizer::from_tokenizers(tokenizer))
}

/// Whether a text begins with the model's first token: as the file says, or, as in llama.cpp, if the tokenizer
/// is SentencePiece's or Llama 3's. `None` if nothing says so.
pub(crate) fn adds_bos(file: &GgufFile) -> Option<bool> {
    let stated = file.value("tokenizer.ggml.add_bos_token").and_then(|stated| stated.to_bool().ok());
    let is = |key: &str, text: &str| file.text(key).is_ok_and(|found| found == text);
    stated.or((is(MODEL, "llama") || is(PRE, "llama-bpe")).then_some(true))
}

/// Makes the first token and those that end an answer special, whatever their types say, as llama.cpp does. A
/// mark of turns that the chat template writes and that would become text is refused.
fn mark_special(file: &GgufFile, tokens: &[&str], kinds: &mut [i32]) -> Result<()> {
    for name in ["bos", "eos", "eot", "eom"] {
        let id = file.value(&format!("tokenizer.ggml.{name}_token_id")).and_then(|id| id.to_u32().ok());
        if let Some(kind) = id.and_then(|id| kinds.get_mut(id as usize)).filter(|kind| is_text(**kind)) {
            *kind = CONTROL;
        }
    }
    let Some(template) = file.value("tokenizer.chat_template").and_then(|text| text.to_string().ok()) else {
        return Ok(());
    };
    let marks =
        |token: &str| token.starts_with("<|") && token.ends_with("|>") || token.ends_with("_of_turn>");
    let lost = tokens
        .iter()
        .zip(kinds.iter())
        .find(|(token, kind)| is_text(**kind) && marks(token) && template.contains(**token));
    lost.map_or(Ok(()), |(token, kind)| {
        let expected = format!("{CONTROL} (special), since the chat template writes it");
        Err(file.metadata(TYPES, FormatProblem::value(format!("the type of {token}"), kind, expected)))
    })
}

/// Whether a token of this type is found only by splitting and merging text.
fn is_text(kind: i32) -> bool {
    ![CONTROL, UNKNOWN, USER_DEFINED].contains(&kind)
}

/// Byte-level BPE, whose merges are in the file.
fn byte_level(file: &GgufFile, tokens: &[&str]) -> Result<Inner> {
    let pairs = file.texts(MERGES)?;
    let merge = |pair: &&str| match pair.split_once(' ') {
        Some((left, right)) => Ok((left.to_string(), right.to_string())),
        None => Err(file.metadata(
            MERGES,
            FormatProblem::value("a merge", format!("\"{pair}\""), "two tokens with a space between"),
        )),
    };
    let merges: Merges = pairs.iter().map(merge).collect::<Result<_>>()?;
    let pre = file.text(PRE)?;
    let unknown = || FormatProblem::value("it", format!("\"{pre}\""), "smollm, gpt-2, llama-bpe or default");
    let steps = pre_tokenizer(pre).ok_or_else(|| file.metadata(PRE, unknown()))?;
    // Llama 3 keeps a word that is a token, whatever the merges say.
    let model = bpe(file, tokens, merges)?.ignore_merges(pre == "llama-bpe");
    let mut tokenizer = Inner::new(build(file, model)?);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

/// The steps of one of llama.cpp's pre-tokenizers; `None` for an unknown name.
fn pre_tokenizer(kind: &str) -> Option<Vec<PreTokenizerWrapper>> {
    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = |pattern: &str| {
        Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Isolated, false)
            .ok()
            .map(PreTokenizerWrapper::from)
    };
    let bytes = PreTokenizerWrapper::from(ByteLevel::new(false, true, false));
    Some(match kind {
        "gpt-2" => vec![split(GPT2)?, bytes],
        "smollm" => vec![Digits::new(true).into(), split(GPT2)?, bytes],
        "llama-bpe" => vec![split(LLAMA3)?, bytes],
        "default" => vec![
            split(r"[\p{P}\$\+<=>\^~\|]+")?,
            split(GPT2)?,
            split(r"\p{N}+")?,
            split("[0-9][0-9][0-9]")?,
            bytes,
        ],
        _ => return None,
    })
}

/// SentencePiece's BPE, which has scores instead of merges: of all neighbouring tokens that can be
/// merged, those that form the token with the best score are merged first. The equivalent merges are all
/// splits of a token into two tokens, best score first.
fn sentencepiece(file: &GgufFile, tokens: &[&str], kinds: &[i32]) -> Result<Inner> {
    let scores = numbers(file, SCORES, tokens.len(), |value| value.to_f32().ok())?;
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    if let Some((id, token)) = tokens.iter().enumerate().find(|(_, token)| token.len() > MAX_TOKEN_BYTES) {
        let what = format!("the length of token {id}");
        return Err(file.metadata(
            TOKENS,
            FormatProblem::value(
                what,
                format!("{} bytes", token.len()),
                format!("at most {MAX_TOKEN_BYTES}"),
            ),
        ));
    }
    let mut splits = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(&left), Some(&right)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                splits.push((scores[id], left, right));
            }
        }
    }
    splits.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let merges = splits
        .into_iter()
        .map(|(_, left, right)| (tokens[left].to_string(), tokens[right].to_string()))
        .collect();
    let mut model = bpe(file, tokens, merges)?.byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = kinds.iter().position(|kind| *kind == UNKNOWN) {
        model = model.unk_token(tokens[unknown].into());
    }
    let mut tokenizer = Inner::new(build(file, model)?);
    let failed = |error: tokenizers::Error| file.metadata(MODEL, FormatProblem::refused(error));
    let prefix = match file.value(SPACE_PREFIX) {
        Some(value) => value.to_bool().map_err(|_| file.mismatch(SPACE_PREFIX, value, "true or false"))?,
        None => true,
    };
    let spaces = Replace::new(" ", SPACE).map_err(failed)?;
    let mut normalizers = vec![spaces.into()];
    let mut decoders = vec![
        Replace::new(SPACE, " ").map_err(failed)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        normalizers.insert(0, Prepend::new(SPACE.into()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(failed)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The builder of the BPE model. Merges are checked here, since the tokenizers crate assumes that their
/// tokens exist.
fn bpe(file: &GgufFile, tokens: &[&str], merges: Merges) -> Result<BpeBuilder> {
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.to_string(), id)).collect();
    if let Some((left, right)) = merges.iter().find(|(left, right)| {
        !(vocab.contains_key(left)
            && vocab.contains_key(right)
            && vocab.contains_key(&format!("{left}{right}")))
    }) {
        let got = format!("\"{left} {right}\"");
        return Err(file.metadata(
            MERGES,
            FormatProblem::value("a merge", got, "tokens of the vocabulary that form a token"),
        ));
    }
    Ok(BPE::builder().vocab_and_merges(vocab, merges))
}

fn build(file: &GgufFile, builder: BpeBuilder) -> Result<BPE> {
    builder.build().map_err(|error| file.metadata(MODEL, FormatProblem::refused(error)))
}

/// A list of numbers, one for each token.
fn numbers<T>(
    file: &GgufFile,
    key: &str,
    expected: usize,
    convert: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>> {
    let values = file.array(key)?;
    if values.len() != expected {
        let expected = format!("{expected}, one for each token");
        return Err(
            file.metadata(key, FormatProblem::value("the number of its elements", values.len(), expected))
        );
    }
    let number = |value: &Value| {
        convert(value)
            .ok_or_else(|| file.metadata(key, FormatProblem::value("an element", of_type(value), "a number")))
    };
    values.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use candle_core::quantized::gguf_file;

    use super::*;
    use crate::Error;
    use crate::support::{goldens, json};

    /// A file without tensors.
    fn file(extra: Vec<(&str, Value)>) -> GgufFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.gguf");
        let mut metadata = vec![
            ("general.architecture", Value::String("llama".into())),
            ("llama.attention.head_count", Value::U32(1)),
        ];
        metadata.extend(extra);
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &[]).unwrap();
        GgufFile::open(&path).unwrap()
    }

    fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
        Value::Array(texts.into_iter().map(|text| Value::String(text.into())).collect())
    }

    /// A vocabulary of all bytes and the merged tokens, in GPT-2's byte alphabet.
    fn byte_level_file(pre: &str, merges: &[&str]) -> GgufFile {
        let alphabet: std::collections::BTreeSet<String> =
            ByteLevel::alphabet().iter().map(char::to_string).collect();
        let words = merges.iter().map(|merge| merge.replace(' ', ""));
        let tokens: Vec<String> = alphabet.into_iter().chain(words).collect();
        file(vec![
            (MODEL, Value::String("gpt2".into())),
            (PRE, Value::String(pre.into())),
            (TOKENS, texts(tokens.iter().map(String::as_str))),
            (MERGES, texts(merges.iter().copied())),
        ])
    }

    /// Llama 3's files say nothing about `<|begin_of_text|>`, which llama.cpp writes.
    #[test]
    fn texts_begin_with_the_first_token_as_in_llama_cpp() {
        let text = |text: &str| Value::String(text.into());
        for (model, pre, stated, expected) in [
            ("gpt2", "llama-bpe", None, Some(true)),
            ("gpt2", "llama-bpe", Some(false), Some(false)),
            ("gpt2", "smollm", None, None),
            ("gpt2", "smollm", Some(true), Some(true)),
            ("llama", "default", None, Some(true)),
            ("llama", "default", Some(false), Some(false)),
        ] {
            let mut metadata = vec![(MODEL, text(model)), (PRE, text(pre))];
            metadata.extend(stated.map(|stated| ("tokenizer.ggml.add_bos_token", Value::Bool(stated))));
            assert_eq!(adds_bos(&file(metadata)), expected, "{model} {pre} {stated:?}");
        }
    }

    fn count_tokens(pre: &str, text: &str) -> usize {
        tokenizer(&byte_level_file(pre, &["1 2", "12 3", "123 4", "a b", "! !"]))
            .unwrap()
            .encode(text)
            .unwrap()
            .len()
    }

    #[test]
    fn digits_are_split_as_the_pre_tokenizer_says() {
        assert_eq!(
            [
                count_tokens("smollm", "1234"),
                count_tokens("gpt-2", "1234"),
                count_tokens("llama-bpe", "1234"),
                count_tokens("default", "1234")
            ],
            [4, 1, 2, 2]
        );
        assert_eq!(
            [
                count_tokens("smollm", "ab!!"),
                count_tokens("gpt-2", "ab!!"),
                count_tokens("llama-bpe", "ab!!"),
                count_tokens("default", "ab!!")
            ],
            [2; 4]
        );
    }

    #[test]
    fn an_unknown_pre_tokenizer_or_model_and_a_merge_of_unknown_tokens_are_errors() {
        let error = |file: GgufFile| tokenizer(&file).err().unwrap();
        assert!(matches!(error(byte_level_file("qwen2", &[])), Error::Metadata { key, .. } if key == PRE));
        // A missing name was taken for "default", which splits differently.
        let silent = vec![(MODEL, Value::String("gpt2".into())), (TOKENS, texts(["a"])), (MERGES, texts([]))];
        assert!(
            matches!(error(file(silent)), Error::Metadata { key, problem: FormatProblem::Missing, .. } if key == PRE)
        );
        let unigram = file(vec![(MODEL, Value::String("t5".into())), (TOKENS, texts(["a"]))]);
        assert!(matches!(error(unigram), Error::Metadata { key, .. } if key == MODEL));
        let endless = "a".repeat(MAX_TOKEN_BYTES + 1);
        let endless = vec![
            (MODEL, Value::String("llama".into())),
            (TOKENS, texts([&*endless])),
            (SCORES, Value::Array(vec![Value::F32(0.0)])),
        ];
        assert!(
            matches!(error(file(endless)), Error::Metadata { key, problem, .. } if key == TOKENS && problem.to_string().contains("1025 bytes"))
        );
        let longer = vec![
            (MODEL, Value::String("gpt2".into())),
            (PRE, Value::String("gpt-2".into())),
            (TOKENS, texts(["a", "b"])),
            (MERGES, texts(["a b"])),
        ];
        assert!(matches!(error(file(longer)), Error::Metadata { key, .. } if key == MERGES));
    }

    /// `<|im_end|>` with the type of ordinary text was cut into pieces in every prompt, and ended no answer.
    #[test]
    fn a_mark_of_turns_that_would_become_text_is_special_or_refused() {
        let chatml = "{{ '<|im_start|>' }}{{ '<|im_end|>' }}";
        let special = |types: Option<[i32; 3]>, eos: u32, template: &str| {
            let mut metadata = vec![
                (MODEL, Value::String("gpt2".into())),
                (PRE, Value::String("gpt-2".into())),
                (TOKENS, texts(["a", "<|im_start|>", "<|im_end|>"])),
                (MERGES, texts([])),
                ("tokenizer.ggml.eos_token_id", Value::U32(eos)),
                ("tokenizer.chat_template", Value::String(template.into())),
            ];
            let types = types.map(|types| Value::Array(types.map(Value::I32).into()));
            metadata.extend(types.map(|types| (TYPES, types)));
            tokenizer(&file(metadata)).map(|tokenizer| {
                let special = tokenizer.special_tokens();
                ["<|im_start|>", "<|im_end|>"]
                    .map(|token| special.iter().any(|(_, special)| special == token))
            })
        };
        for kind in [0, 1, 5] {
            assert_eq!(special(Some([1, 3, kind]), 2, chatml).unwrap(), [true, true], "type {kind}");
            let error = special(Some([1, kind, 3]), 2, chatml).unwrap_err().to_string();
            assert!(error.contains("the type of <|im_start|>") && error.contains("3 (special)"), "{error}");
        }
        assert!(special(None, 2, chatml).is_err(), "no types");
        assert_eq!(special(None, 2, "{{ 'a' }}").unwrap(), [false, true], "a template without marks");
    }

    #[test]
    fn merges_from_scores_give_the_ids_of_the_tokenizer() {
        let folder = goldens().join("tokenizers/byte_fallback");
        let reference = json(folder.join("tokenizer.json"));
        let vocab = reference["model"]["vocab"].as_object().unwrap();
        let mut tokens = vec![""; vocab.len()];
        vocab.iter().for_each(|(token, id)| tokens[id.as_u64().unwrap() as usize] = token);
        // The original tokenizer's merges are sorted by score, so the rank of the first merge that forms
        // a token gives its score.
        let mut scores = vec![0f32; tokens.len()];
        for (rank, merge) in reference["model"]["merges"].as_array().unwrap().iter().enumerate().rev() {
            let piece = match merge.as_str() {
                Some(pair) => pair.replacen(' ', "", 1),
                None => format!("{}{}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()),
            };
            scores[vocab[&piece].as_u64().unwrap() as usize] = -(rank as f32);
        }
        let kind = |id: usize| match id {
            0 => UNKNOWN,
            1 | 2 => CONTROL,
            3..259 => 6,
            _ => 1,
        };
        let tokenizer = tokenizer(&file(vec![
            (MODEL, Value::String("llama".into())),
            (TOKENS, texts(tokens.iter().copied())),
            (SCORES, Value::Array(scores.into_iter().map(Value::F32).collect())),
            (TYPES, Value::Array((0..tokens.len()).map(|id| Value::I32(kind(id))).collect())),
        ]))
        .unwrap();
        let cases = json(folder.join("tokens.json"));
        let cases = cases["cases"].as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> =
                case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
        }
        assert_eq!(tokenizer.token_id("</s>"), Some(2));
    }
}
