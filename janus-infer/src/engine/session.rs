//! Continuous batching: requests are added and cancelled while others run, within budgets of tokens and
//! memory.
//!
//! Each step is one forward pass. It prefills some of the queued prompts, long ones in chunks, and
//! decodes one token of every running sequence. A prompt is prefilled once for all its samples, and a
//! prefix once for all prompts that share it. When the cache is full, requests wait. When running
//! sequences need more blocks than there are, the youngest is preempted: its cache is evicted, and
//! prefilled again later. None of this changes an answer: a sequence's logits do not depend on how it is
//! batched, except for rounding on a device (see [`Model::forward`](crate::Model::forward)).

mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use janus_core::{ChatRequest, ModelError, SamplingParams};

use super::queue::{Chunk, Prefill, Queue, Then};
use super::request::{Event, RequestId, SessionStats};
use super::sequence::Sequence;
use crate::batch::{LogitsWanted, SequenceInput};
use crate::kv::{BLOCK, PrefixCache};
use crate::{Engine, Error, Result, Sampler};

/// At most one block in this many holds a prefix that no sequence uses.
const BLOCKS_PER_IDLE: usize = 16;

/// A continuous-batching session on one [`Engine`]: requests can be added or cancelled at any time, and
/// text is streamed.
///
/// ```no_run
/// # use janus_core::{ChatRequest, Message};
/// # use janus_infer::{Engine, EngineOptions, Event};
/// # let engine = Engine::load("smollm2.gguf", &candle_core::Device::Cpu, EngineOptions::default())?;
/// # let request = ChatRequest::new("1", [Message::user("Hello")]);
/// let mut session = engine.session();
/// session.submit(request)?;
/// while !session.is_idle() {
///     session.step(&mut |event| {
///         if let Event::Text { text, .. } = event {
///             print!("{text}");
///         }
///     });
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<'e> {
    engine: &'e Engine,
    /// Whether text is streamed, as [`Event::Text`].
    streams: bool,
    last_id: RequestId,
    requests: BTreeMap<RequestId, Request>,
    queue: Queue,
    running: Vec<Sequence>,
    prefixes: PrefixCache,
    logits: Vec<f32>,
    stats: SessionStats,
}

/// A request that is not answered yet.
struct Request {
    id: String,
    sampling: SamplingParams,
    finished: usize,
}

impl Engine {
    /// An empty session, which streams text.
    pub fn session(&self) -> Session<'_> {
        Session::new(self, true)
    }
}

impl<'e> Session<'e> {
    pub(super) fn new(engine: &'e Engine, streams: bool) -> Self {
        Self {
            engine,
            streams,
            last_id: RequestId::default(),
            requests: BTreeMap::new(),
            queue: Queue::default(),
            running: Vec::new(),
            prefixes: PrefixCache::default(),
            logits: Vec::new(),
            stats: SessionStats::default(),
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// What is wrong with the request: its messages, its sampling parameters, a prompt that leaves no
    /// room in the context, or more tokens than the cache may hold.
    pub fn submit(&mut self, request: ChatRequest) -> Result<RequestId, ModelError> {
        let ids = self.engine.prompt(&request)?;
        self.enqueue(request.id, ids, request.sampling)
    }

    /// Queues a request whose prompt is given as token ids.
    ///
    /// # Errors
    /// As for [`Session::submit`].
    pub fn submit_ids(
        &mut self,
        id: String,
        ids: Vec<u32>,
        sampling: SamplingParams,
    ) -> Result<RequestId, ModelError> {
        self.engine.check(&id, &ids, &sampling)?;
        self.enqueue(id, ids, sampling)
    }

    fn enqueue(
        &mut self,
        id: String,
        ids: Vec<u32>,
        sampling: SamplingParams,
    ) -> Result<RequestId, ModelError> {
        let most = ids.len().saturating_add(sampling.max_tokens).min(self.engine.context());
        let (needed, limit) = (most.div_ceil(BLOCK), self.engine.block_limit());
        // One more for the copy that each sample makes of its prompt's last block.
        if needed + 1 > limit {
            let reason = format!(
                "prompt and answer of up to {most} tokens need {needed} blocks of the KV cache and one for a copy, but it \
                 may hold {limit}: request fewer tokens, or give the engine more memory (cache_bytes)"
            );
            return Err(ModelError::Request { id, reason });
        }
        self.last_id = self.last_id.next();
        let request = self.last_id;
        self.requests.insert(request, Request { id, sampling, finished: 0 });
        self.queue.0.push_back(Prefill {
            request,
            tokens: ids.into(),
            cache: None,
            then: Then::Sample { next: 0, logits: None },
        });
        Ok(request)
    }

    /// Cancels a request and frees its KV cache: no further events are emitted for it. An id whose
    /// request is over is ignored.
    pub fn cancel(&mut self, request: RequestId) {
        self.requests.remove(&request);
        self.queue.0.retain(|prefill| prefill.request != request);
        self.running.retain(|sequence| sequence.request != request);
    }

    /// Whether no request waits or runs.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Its load, and its totals so far.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            waiting: self.queue.waiting(),
            running: self.running.len(),
            cache_blocks: self.engine.model().blocks().live(),
            cache_blocks_limit: self.engine.block_limit(),
            ..self.stats
        }
    }

    /// Runs one step: prefills prompts, and decodes one token of every running sequence.
    pub fn step(&mut self, on_event: &mut dyn FnMut(Event)) {
        self.make_room_to_run();
        let chunks = self.plan();
        if let Err(error) = self.forward(&chunks) {
            self.fail(error, on_event);
            return;
        }
        self.start_samples();
        self.emit(on_event);
        if !chunks.is_empty() {
            self.prefixes.shrink(self.engine.block_limit() / BLOCKS_PER_IDLE);
        }
    }

    /// One forward pass over the running sequences and the chunks of prefills.
    fn forward(&mut self, chunks: &[Chunk]) -> Result<()> {
        let Self { engine, queue, running, logits, .. } = self;
        let mut inputs: Vec<_> = running.iter_mut().map(Sequence::input).collect();
        let mut planned = chunks.iter().peekable();
        for (index, prefill) in queue.0.iter_mut().enumerate() {
            let Some(chunk) = planned.next_if(|chunk| chunk.index == index) else { continue };
            let Prefill { tokens, cache: Some(cache), then, .. } = prefill else { continue };
            let from = cache.len();
            let last = from + chunk.tokens == tokens.len() && matches!(then, Then::Sample { .. });
            let logits = if last { LogitsWanted::Last } else { LogitsWanted::None };
            inputs.push(SequenceInput { tokens: &tokens[from..from + chunk.tokens], cache, logits });
        }
        engine.model().forward(&mut inputs, logits)?;
        let vocab_size = engine.model().config().vocab_size;
        let (decoded, prefilled) = logits.split_at_mut(running.len() * vocab_size);
        Sequence::advance_all(running, decoded, engine);
        let mut prefilled = prefilled.chunks_exact(vocab_size);
        self.stats.generated_tokens += running.len() as u64;
        for chunk in chunks {
            let Prefill { tokens, cache: Some(cache), then, .. } = &mut queue.0[chunk.index] else {
                continue;
            };
            self.stats.prompt_tokens += chunk.tokens as u64;
            self.prefixes.insert(&tokens[..cache.len()], cache);
            if let Then::Sample { logits, .. } = then
                && cache.len() == tokens.len()
            {
                *logits = prefilled.next().map(<[f32]>::to_vec);
            }
        }
        Ok(())
    }

    /// Starts the samples of prompts that are prefilled, and resumes preempted sequences that are.
    fn start_samples(&mut self) {
        let limit = self.engine.options.max_sequences.max(1);
        let mut index = 0;
        while index < self.queue.0.len() && self.running.len() < limit {
            if self.queue.0[index].left() > 0 {
                index += 1;
                continue;
            }
            // One sample always runs; more do while there are blocks for their next tokens.
            if !self.running.is_empty() && self.free_blocks() < self.needed_to_run() + 1 {
                return;
            }
            let Prefill { request: id, tokens, cache: Some(cache), then } = &mut self.queue.0[index] else {
                index += 1;
                continue;
            };
            let done = match (then, self.requests.get(id)) {
                (Then::Sample { next, logits: Some(logits) }, Some(request)) => {
                    let sampler = Sampler::new(&request.sampling, &request.id, *next, tokens)
                        .with_ends(self.engine.end_ids());
                    let mut sequence = Sequence::new(
                        *id,
                        *next,
                        &request.sampling,
                        Arc::clone(tokens),
                        cache.clone(),
                        sampler,
                    );
                    sequence.advance(&mut logits.clone(), self.engine);
                    self.stats.generated_tokens += 1;
                    self.running.push(sequence);
                    *next += 1;
                    *next == request.sampling.n
                }
                _ => true,
            };
            if done
                && let Some(Prefill { cache: Some(cache), then: Then::Resume(mut sequence), .. }) =
                    self.queue.0.remove(index)
            {
                sequence.resume(cache);
                self.running.push(*sequence);
            }
        }
    }

    /// Emits new text, and removes the sequences that have ended.
    fn emit(&mut self, on_event: &mut dyn FnMut(Event)) {
        if self.streams {
            for sequence in &mut self.running {
                if let Some((text, logprobs)) = sequence.take_delta(self.engine) {
                    on_event(Event::Text {
                        request: sequence.request,
                        sample: sequence.sample,
                        text,
                        logprobs,
                    });
                }
            }
        }
        let ended: Vec<_> = self.running.extract_if(.., |sequence| sequence.ended()).collect();
        for sequence in ended {
            let (id, sample) = (sequence.request, sequence.sample);
            // Another sample of the request may have failed in this step.
            let Some(request) = self.requests.get_mut(&id) else { continue };
            match sequence.finish(self.engine) {
                Ok(generation) => {
                    request.finished += 1;
                    let all = request.finished == request.sampling.n;
                    on_event(Event::Finished { request: id, sample, generation });
                    if all {
                        self.requests.remove(&id);
                        on_event(Event::Answered { request: id, result: Ok(()) });
                    }
                }
                Err(source) => {
                    let failed = ModelError::Failed { id: request.id.clone(), source };
                    self.cancel(id);
                    on_event(Event::Answered { request: id, result: Err(failed) });
                }
            }
        }
    }

    /// Ends every request with an error.
    fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) {
        let error = Arc::new(error);
        self.queue.0.clear();
        self.running.clear();
        for (id, request) in std::mem::take(&mut self.requests) {
            let failed = ModelError::Failed { id: request.id, source: Box::new(Arc::clone(&error)) };
            on_event(Event::Answered { request: id, result: Err(failed) });
        }
    }
}
