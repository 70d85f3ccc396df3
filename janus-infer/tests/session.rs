//! Continuous batching: sharing of prefixes, waiting, preemption, cancelling and events.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_infer::{Engine, EngineOptions, Event, RequestId, Session, SessionStats};
use proptest::prelude::*;

use crate::tiny::{engine, request};

/// Bytes of a block of the tiny model: 2 layers, 2 heads, 2 panels of 10 rows for keys, one of 32 for values.
const BLOCK_BYTES: usize = 2 * 2 * (2 * 10 + 32) * 16 * 4;

fn free(max_tokens: usize) -> SamplingParams {
    SamplingParams { max_tokens, seed: 5, ..SamplingParams::paper() }
}

/// The events of each sample: the pieces of text, and the generation.
type Emitted = BTreeMap<(RequestId, usize), (Vec<String>, Option<Generation>)>;

/// Runs until the session is idle, and calls `after_step` after every step.
fn run(session: &mut Session<'_>, mut after_step: impl FnMut(&SessionStats)) -> Emitted {
    let mut emitted = Emitted::new();
    let mut answered = Vec::new();
    while !session.is_idle() {
        session.step(&mut |event| match event {
            Event::Text { request, sample, text, .. } => {
                emitted.entry((request, sample)).or_default().0.push(text)
            }
            Event::Finished { request, sample, generation } => {
                assert!(emitted.entry((request, sample)).or_default().1.replace(generation).is_none());
            }
            Event::Answered { request, result } => {
                result.unwrap();
                assert!(!answered.contains(&request));
                answered.push(request);
            }
            other => panic!("{other:?}"),
        });
        after_step(&session.stats());
    }
    emitted
}

fn generations(engine: &Engine, requests: &[ChatRequest]) -> Vec<Vec<Generation>> {
    engine.generate(requests).into_iter().map(Result::unwrap).collect()
}

/// Prompts of different lengths, some with a common prefix.
fn requests() -> Vec<ChatRequest> {
    let user = |i: usize| format!("{}{}", "shared beginning ".repeat(i % 4), "x".repeat(i * 5 % 23 + 1));
    (0..14)
        .map(|i| request(&i.to_string(), &user(i), SamplingParams { n: 1 + i % 3, ..free(6 + i * 7 % 40) }))
        .collect()
}

#[test]
fn answers_are_the_same_with_little_memory_and_the_limit_holds() {
    let requests = requests();
    let expected = generations(&engine(EngineOptions::default()), &requests);
    let mut preemptions = 0;
    for blocks in [7, 9, 14, 40] {
        for prefill_tokens in [1, 13, 1024] {
            let engine = engine(EngineOptions::default().with(|options| {
                options.cache_bytes = blocks * BLOCK_BYTES;
                options.prefill_tokens = prefill_tokens;
            }));
            let mut session = engine.session();
            let ids: Vec<_> =
                requests.iter().map(|request| session.submit(request.clone()).unwrap()).collect();
            let mut most = 0;
            let emitted = run(&mut session, |stats| {
                assert_eq!(stats.cache_blocks_limit, blocks);
                most = most.max(stats.cache_blocks);
            });
            assert!(most <= blocks, "{most} blocks of {blocks}");
            for (id, expected) in ids.iter().zip(&expected) {
                for (sample, expected) in expected.iter().enumerate() {
                    assert_eq!(
                        emitted[&(*id, sample)].1.as_ref(),
                        Some(expected),
                        "{blocks} blocks, {prefill_tokens} tokens per step"
                    );
                }
            }
            preemptions += session.stats().preemptions;
        }
    }
    assert!(preemptions > 0, "no sequence was preempted");
}

#[test]
fn a_prompt_is_prefilled_once_for_all_its_samples_and_a_prefix_once_for_all_prompts() {
    let engine = engine(EngineOptions::default());
    let long = "a system message that all have in common, long enough for three blocks of thirty-two tokens each, and a bit";
    let mut session = engine.session();
    let first =
        session.submit(request("a", &format!("{long} one"), SamplingParams { n: 16, ..free(3) })).unwrap();
    session.submit(request("b", &format!("{long} two"), free(3))).unwrap();
    session.submit(request("c", &format!("{long} three"), free(3))).unwrap();
    let emitted = run(&mut session, |_| ());
    let prompt = |user: &str| {
        let messages = [janus_core::Message::user(format!("{long}{user}"))];
        engine.template().encode(&messages, engine.tokenizer()).unwrap().len() as u64
    };
    assert_eq!(emitted.keys().filter(|(id, _)| *id == first).count(), 16);
    let stats = session.stats();
    // The beginning of the template and of the message are three whole blocks.
    assert_eq!(stats.shared_tokens, 2 * 96);
    assert_eq!(stats.prompt_tokens, prompt(" one") + prompt(" two") + prompt(" three") - stats.shared_tokens);
    assert_eq!((stats.running, stats.waiting), (0, 0));
    // A later request shares the blocks that earlier ones left.
    session.submit(request("d", &format!("{long} four"), free(3))).unwrap();
    run(&mut session, |_| ());
    assert_eq!(session.stats().shared_tokens, 3 * 96);
}

#[test]
fn a_cancelled_request_emits_nothing_and_frees_its_memory() {
    let engine = engine(EngineOptions::default().with(|options| options.cache_bytes = 40 * BLOCK_BYTES));
    let mut session = engine.session();
    let expected = generations(&engine, &[request("keep", "hello", free(30))]);
    let keep = session.submit(request("keep", "hello", free(30))).unwrap();
    let gone: Vec<_> = (0..6)
        .map(|i| {
            session.submit(request(&i.to_string(), "goodbye", SamplingParams { n: 2, ..free(100) })).unwrap()
        })
        .collect();
    for _ in 0..3 {
        session.step(&mut |_| ());
    }
    let before = session.stats();
    gone.iter().for_each(|id| session.cancel(*id));
    session.cancel(gone[0]);
    let after = session.stats();
    assert!(
        after.running == 1 && after.waiting == 0 && after.cache_blocks < before.cache_blocks,
        "{before:?} {after:?}"
    );
    let emitted = run(&mut session, |_| ());
    assert_eq!(emitted.keys().map(|(id, _)| *id).collect::<Vec<_>>(), [keep]);
    assert_eq!(emitted[&(keep, 0)].1.as_ref(), Some(&expected[0][0]));
    drop(session);
    assert_eq!(engine.session().stats().cache_blocks, 0);
}

#[test]
fn a_request_that_the_cache_can_never_hold_is_refused_with_the_option_to_change() {
    let engine = engine(EngineOptions::default().with(|options| options.cache_bytes = 3 * BLOCK_BYTES));
    let mut session = engine.session();
    let error = session.submit(request("big", "x", free(120))).unwrap_err();
    assert!(
        matches!(&error, ModelError::Request { id, reason } if id == "big" && reason.contains("cache_bytes")),
        "{error}"
    );
    assert!(session.is_idle());
    session.submit(request("small", "x", free(20))).unwrap();
    run(&mut session, |_| ());
}

#[test]
fn token_ids_can_be_a_prompt() {
    let engine = engine(EngineOptions::default());
    let ids = engine.template().encode(&[janus_core::Message::user("hello")], engine.tokenizer()).unwrap();
    let mut session = engine.session();
    let id = session.submit_ids("r".into(), ids, free(9)).unwrap();
    let emitted = run(&mut session, |_| ());
    assert_eq!(
        emitted[&(id, 0)].1.as_ref(),
        Some(&generations(&engine, &[request("r", "hello", free(9))])[0][0])
    );
    assert!(matches!(session.submit_ids("r".into(), vec![], free(9)), Err(ModelError::Request { .. })));
    assert!(matches!(session.submit_ids("r".into(), vec![258], free(9)), Err(ModelError::Request { .. })));
    assert!(matches!(session.submit_ids("r".into(), vec![1; 256], free(9)), Err(ModelError::TooLong { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// The emitted pieces form the text, without any part of a stop text, and each log-probability is
    /// emitted once.
    #[test]
    fn the_streamed_pieces_form_the_text(seed: u64, stop in "[ a-z]{1,3}", stops in any::<bool>(), max_tokens in 1usize..60) {
        let engine = engine(EngineOptions::default());
        let stop = if stops { vec![stop] } else { vec![] };
        let sampling = SamplingParams { seed, stop, logprobs: true, n: 2, top_k: 60, ..free(max_tokens) };
        let mut session = engine.session();
        session.submit(request("r", "tell me", sampling)).unwrap();
        let (mut texts, mut counts, mut generations) = ([String::new(), String::new()], [0, 0], Vec::new());
        while !session.is_idle() {
            session.step(&mut |event| match event {
                Event::Text { sample, text, logprobs, .. } => {
                    texts[sample].push_str(&text);
                    counts[sample] += logprobs.len();
                }
                Event::Finished { sample, generation, .. } => generations.push((sample, generation)),
                _ => {}
            });
        }
        prop_assert_eq!(generations.len(), 2);
        for (sample, generation) in generations {
            prop_assert_eq!(&texts[sample], &generation.text);
            prop_assert_eq!(counts[sample], generation.completion_tokens);
        }
    }
}
