//! Batched generation: an answer must not depend on the other requests of the batch.

use std::path::Path;

use candle_core::Device;
use janus_core::{
    ChatModel, ChatRequest, ChatTemplate, FinishReason, Generation, ModelError, SamplingParams,
};
use janus_infer::{Engine, EngineOptions, Error, LogitsWanted, SequenceInput};
use proptest::prelude::*;
use rand::seq::SliceRandom as _;

use crate::tiny::{engine, engine_ending_at, model, options, request, tokenizer_json};

fn requests(count: usize) -> Vec<ChatRequest> {
    let one = |i: usize| {
        let sampling = SamplingParams {
            n: 1 + i % 3,
            max_tokens: 5 + 7 * (i % 4),
            seed: 11,
            logprobs: i.is_multiple_of(2),
            ..SamplingParams::paper()
        };
        request(&i.to_string(), &"na ".repeat(1 + i % 5), sampling)
    };
    (0..count).map(one).collect()
}

fn answers(engine: &Engine, requests: &[ChatRequest]) -> Vec<Vec<Generation>> {
    engine.generate(requests).into_iter().map(Result::unwrap).collect()
}

#[test]
fn an_answer_does_not_depend_on_batch_or_threads() {
    let requests = requests(24);
    let reference: Vec<_> = requests
        .iter()
        .flat_map(|request| answers(&engine(options(1)), std::slice::from_ref(request)))
        .collect();
    assert!(reference.iter().zip(&requests).all(|(samples, request)| samples.len() == request.sampling.n));
    for max_sequences in [1, 3, 16, 64] {
        assert_eq!(
            answers(&engine(options(max_sequences)), &requests),
            reference,
            "{max_sequences} sequences at a time"
        );
    }
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| answers(&engine(options(64)), &requests)), reference, "{threads} threads");
    }
    let samples = answers(&engine(options(8)), &requests[2..3]).remove(0);
    assert!(samples[0] != samples[1] && samples[1] != samples[2], "samples repeat each other");
}

/// Checks that requests get the same answers alone, together and in other orders.
fn check_order(requests: &[ChatRequest], single: &Engine, batched: &Engine) {
    let alone: Vec<_> =
        requests.iter().flat_map(|request| answers(single, std::slice::from_ref(request))).collect();
    assert_eq!(answers(batched, requests), alone, "together");
    let mut rng = janus_core::stream(1, "order");
    for _ in 0..2 {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.shuffle(&mut rng);
        let shuffled: Vec<_> = order.iter().map(|index| requests[*index].clone()).collect();
        let expected: Vec<_> = order.iter().map(|index| alone[*index].clone()).collect();
        assert!(expected != alone && answers(batched, &shuffled) == expected, "in the order {order:?}");
    }
}

#[test]
fn an_answer_does_not_depend_on_the_order_of_requests() {
    check_order(&requests(32), &engine(options(1)), &engine(options(32)));
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn an_answer_of_smollm2_does_not_depend_on_the_order_of_requests() {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m-instruct-q4_1.gguf");
    let path = std::env::var_os("JANUS_SMOLLM2").map_or_else(fetched, std::path::PathBuf::from);
    let load = |max_sequences| {
        let options = EngineOptions::default().with(|options| {
            options.max_sequences = max_sequences;
            options.template = Some(ChatTemplate::ChatMl);
        });
        Engine::load(&path, &Device::Cpu, options).unwrap()
    };
    let one = |i: usize| {
        let sampling =
            SamplingParams { max_tokens: 4 + i % 3, seed: 5, logprobs: true, ..SamplingParams::paper() };
        request(
            &i.to_string(),
            &format!("Tell me about the number {i}{}", ", please".repeat(i % 4)),
            sampling,
        )
    };
    check_order(&(0..32).map(one).collect::<Vec<_>>(), &load(1), &load(32));
}

/// Damaged weights always gave token 0, and an answer that looked valid.
#[test]
fn an_answer_from_nan_logits_fails() {
    let intact = model(1, None);
    let broken = janus_infer::Model::from_weights(intact.config().clone(), |_, shape| {
        Ok(vec![f32::NAN; shape.iter().product()])
    })
    .unwrap();
    let inner = tokenizer_json().parse::<tokenizers::Tokenizer>().unwrap();
    let engine =
        Engine::new(broken, janus_data::Tokenizer::from_tokenizers(inner), ChatTemplate::ChatMl, options(4));
    for sampling in [
        SamplingParams::greedy(5),
        SamplingParams { logprobs: true, top_logprobs: 3, ..SamplingParams::paper() },
    ] {
        let answer = engine.generate(&[request("r", "hello", sampling)]).remove(0).unwrap_err();
        let ModelError::Failed { id, source } = &answer else { panic!("{answer}") };
        assert!(
            id == "r" && source.to_string().contains("no token can be sampled from the logits: one is NaN"),
            "{source}"
        );
    }
}

#[test]
fn answers_arrive_as_they_finish_and_once_each() {
    let engine = engine(options(2));
    let long = SamplingParams::greedy(60);
    let short = SamplingParams { max_tokens: 1, ..long.clone() };
    let requests =
        [request("long", "a", long), request("short", "b", short.clone()), request("late", "c", short)];
    let mut order = Vec::new();
    engine.generate_each(&requests, &mut |index, answer| {
        answer.unwrap();
        order.push(index);
    });
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn an_invalid_request_fails_and_the_others_succeed() {
    let engine = engine(options(4).with(|options| options.max_context = Some(40)));
    let greedy = SamplingParams::greedy(100);
    let requests = [
        request("long", &"x".repeat(50), greedy.clone()),
        request("good", "x", greedy.clone()),
        ChatRequest::new("empty", Vec::new()).with_sampling(greedy.clone()),
        request("bad", "x", SamplingParams { top_p: 0.0, ..greedy }),
    ];
    let answers = engine.generate(&requests);
    assert!(
        matches!(&answers[0], Err(ModelError::TooLong { id, context: 40, prompt_tokens }) if id == "long" && *prompt_tokens > 50)
    );
    let good = &answers[1].as_ref().unwrap()[0];
    assert!(
        good.finish_reason == FinishReason::Stop || good.prompt_tokens + good.completion_tokens == 40,
        "{good:?}"
    );
    assert!(matches!(&answers[2], Err(ModelError::Request { id, .. }) if id == "empty"));
    assert!(matches!(
        &answers[3],
        Err(ModelError::Invalid { rule: janus_core::Error::Sampling { field: "top_p", .. }, .. })
    ));
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let engine = engine(options(4));
    let free = SamplingParams { max_tokens: 40, ..SamplingParams::paper() };
    let whole = answers(&engine, &[request("r", "hello", free.clone())]).remove(0).remove(0);
    let (at, _) = whole.text.char_indices().nth(9).unwrap();
    let stop: String = whole.text[at..].chars().take(3).collect();
    let before = &whole.text[..whole.text.find(&stop).unwrap()];
    let stopped = answers(
        &engine,
        &[request("r", "hello", SamplingParams { stop: vec!["never generated".into(), stop], ..free })],
    )
    .remove(0)
    .remove(0);
    assert_eq!((stopped.text.as_str(), stopped.finish_reason), (before, FinishReason::Stop));
    assert!(stopped.completion_tokens < whole.completion_tokens);
}

#[test]
fn an_answer_ends_at_any_end_of_sequence_token_of_the_config() {
    let free = SamplingParams { max_tokens: 40, logprobs: true, ..SamplingParams::paper() };
    let requests = [request("r", "hello", free)];
    let whole = answers(&engine(options(4)), &requests).remove(0).remove(0);
    let ids: Vec<u32> = whole.logprobs.unwrap().iter().map(|token| token.id.unwrap()).collect();
    for at in [12, 5] {
        let first = ids.iter().position(|id| *id == ids[at]).unwrap();
        let ended = answers(&engine_ending_at(&[255, ids[at]]), &requests).remove(0).remove(0);
        assert_eq!((ended.finish_reason, ended.completion_tokens), (FinishReason::Stop, first + 1));
        assert!(whole.text.starts_with(&ended.text) && ended.text.len() < whole.text.len());
    }
}

#[test]
fn logprobs_equal_those_of_a_prefill_of_the_same_tokens() {
    let engine = engine(options(4));
    let sampling = SamplingParams { max_tokens: 20, logprobs: true, ..SamplingParams::paper() };
    let request = request("r", "hello", sampling);
    let generation = answers(&engine, std::slice::from_ref(&request)).remove(0).remove(0);
    let logprobs = generation.logprobs.unwrap();
    assert_eq!(logprobs.len(), generation.completion_tokens);

    let mut ids = engine.template().encode(&request.messages, engine.tokenizer()).unwrap();
    let prompt = ids.len();
    ids.extend(logprobs.iter().map(|token| token.id.unwrap()));
    let model = engine.model();
    let mut logits = Vec::new();
    model
        .forward(&mut [SequenceInput::new(&ids, &mut model.cache(), LogitsWanted::All)], &mut logits)
        .unwrap();
    for (row, token) in logits.chunks(258).skip(prompt - 1).zip(&logprobs) {
        let normaliser = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        assert!((f64::from(row[token.id.unwrap() as usize]) - normaliser - token.logprob).abs() < 1e-5);
    }
}

#[test]
fn the_template_comes_from_the_folder_or_the_options() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("tokenizer.json", &tokenizer_json());
    write("tokenizer_config.json", r#"{"chat_template": "{{ USER"}"#);
    let load = |options: EngineOptions| Engine::load(folder.path(), &Device::Cpu, options).err().unwrap();
    assert!(matches!(load(EngineOptions::default()), Error::Template { .. }));
    // With a template from the options or the folder, the weights are the next thing that is missing.
    let chosen = EngineOptions::default().with(|options| options.template = Some(ChatTemplate::ChatMl));
    assert!(matches!(load(chosen), Error::Io { path, .. } if path.ends_with("model.safetensors")));
    let chatml =
        serde_json::json!({"chat_template": [{"name": "default", "template": ChatTemplate::ChatMl.jinja()}]});
    write("tokenizer_config.json", &chatml.to_string());
    assert!(
        matches!(load(EngineOptions::default()), Error::Io { path, .. } if path.ends_with("model.safetensors"))
    );
    assert!(matches!(
        Engine::load(Path::new("nowhere"), &Device::Cpu, EngineOptions::default()),
        Err(Error::Data(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Tokens that run in one call, in several calls, and with other sequences give the same bits.
    #[test]
    fn logits_do_not_depend_on_how_tokens_are_split_into_calls(length in 2usize..90, cut in 1usize..89, others in 0usize..40, window in prop::option::of(1usize..40)) {
        let cut = cut.min(length - 1);
        let model = model(1, window);
        let tokens: Vec<u32> = (0..length as u32).map(|i| i * i % 251).collect();
        let mut whole = Vec::new();
        model.forward(&mut [SequenceInput::new(&tokens, &mut model.cache(), LogitsWanted::All)], &mut whole).unwrap();

        let (mut cache, mut logits) = (model.cache(), Vec::new());
        model.forward(&mut [SequenceInput::new(&tokens[..cut], &mut cache, LogitsWanted::Last)], &mut logits).unwrap();
        prop_assert_eq!(&logits[..], &whole[(cut - 1) * 258..cut * 258]);
        let mut caches: Vec<_> = (0..others).map(|_| model.cache()).collect();
        let mut inputs: Vec<_> = caches.iter_mut().map(|cache| SequenceInput::new(&tokens[..3.min(length)], cache, LogitsWanted::Last)).collect();
        inputs.push(SequenceInput::new(&tokens[cut..], &mut cache, LogitsWanted::All));
        model.forward(&mut inputs, &mut logits).unwrap();
        prop_assert_eq!(&logits[others * 258..], &whole[cut * 258..]);
    }
}

#[test]
fn ids_outside_the_vocabulary_are_refused_before_anything_runs() {
    let model = model(1, None);
    let mut cache = model.cache();
    let error = model
        .forward(&mut [SequenceInput::new(&[1, 258], &mut cache, LogitsWanted::Last)], &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, Error::TokenId { id: 258, vocab_size: 258 }));
    assert!(cache.is_empty());
    let error = model
        .forward(&mut [SequenceInput::new(&[], &mut cache, LogitsWanted::Last)], &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, Error::NoTokens));
}
