//! Requests that come and go while others run: continuous batching within a budget of tokens and of memory.
//!
//! Each step reads some of the prompts that wait, in pieces if they are long, and advances every running sequence
//! by one token, all in one forward pass. A prompt is read once however many samples are asked of it, and its beginning not
//! at all if another prompt had the same. Where memory does not suffice, requests wait; if running sequences need more
//! than there is, the youngest gives up its cache and is read again later. None of this changes an answer: a
//! sequence's tokens are the same bits however they are fed, on a device but for rounding (see
//! [`Model::forward`](crate::Model::forward)).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use janus_core::{ChatRequest, Generation, ModelError, SamplingParams, TokenLogprob};

use super::sequence::Sequence;
use crate::batch::{LogitsWanted, SequenceInput};
use crate::kv::{BLOCK, KvCache, PrefixCache};
use crate::{Engine, Error, Result, Sampler};

/// Names a request of a [`Session`].
pub type Ticket = u64;

/// Share of the cache's memory that blocks may have which no sequence uses.
const IDLE_SHARE: usize = 16;

/// What happens to the requests of a [`Session`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A sample grew.
    Text {
        /// The request.
        ticket: Ticket,
        /// Index of the sample.
        sample: usize,
        /// The text that is new: whole characters, and never a part of a stop text.
        text: String,
        /// The log-probabilities of the tokens since the last event, if they were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// A sample is complete.
    Finished {
        /// The request.
        ticket: Ticket,
        /// Index of the sample.
        sample: usize,
        /// All of it.
        generation: Generation,
    },
    /// A request is over: nothing more follows for its ticket.
    Answered {
        /// The request.
        ticket: Ticket,
        /// Every sample is complete, or why not.
        result: Result<(), ModelError>,
    },
}

/// What a [`Session`] is doing and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Requests of which samples have not begun.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Blocks of 32 positions in memory.
    pub cache_blocks: usize,
    /// Blocks that may be in memory.
    pub cache_blocks_limit: usize,
    /// Tokens of prompts that were read.
    pub prompt_tokens: u64,
    /// Tokens that need not be read, because another prompt began with them or they had been read before.
    pub shared_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Sequences that gave up their cache to others.
    pub preemptions: u64,
}

/// Requests that come and go while others run, on one [`Engine`].
///
/// ```no_run
/// # use janus_core::{ChatRequest, Message};
/// # use janus_infer::{Engine, EngineOptions, Event};
/// # let engine = Engine::load("smollm2.gguf", &candle_core::Device::Cpu, EngineOptions::default())?;
/// # let request = ChatRequest::new("1", [Message::user("Hello")]);
/// let mut session = engine.session();
/// let ticket = session.submit(request)?;
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
    /// Whether texts are told as they grow.
    streams: bool,
    next_ticket: Ticket,
    requests: BTreeMap<Ticket, Request>,
    /// Prompts, and sequences that gave up their cache, in the order in which they are read.
    reading: VecDeque<Reading>,
    running: Vec<Sequence>,
    prefixes: PrefixCache,
    logits: Vec<f32>,
    stats: SessionStats,
}

/// A request that is not answered.
struct Request {
    id: String,
    sampling: SamplingParams,
    finished: usize,
}

/// Tokens on their way into a cache.
struct Reading {
    ticket: Ticket,
    tokens: Arc<[u32]>,
    /// None before the first piece.
    cache: Option<KvCache>,
    next: Next,
}

/// What follows when all is read.
enum Next {
    /// Samples, from this one on, that begin with the prompt's logits once there are any.
    Samples { from: usize, logits: Option<Vec<f32>> },
    /// A sequence goes on.
    Resume(Box<Sequence>),
}

impl Reading {
    fn read(&self) -> usize {
        self.cache.as_ref().map_or(0, KvCache::len)
    }

    fn left(&self) -> usize {
        self.tokens.len() - self.read()
    }

    /// Forgets what was read.
    fn give_up(&mut self) {
        self.cache = None;
        if let Next::Samples { logits, .. } = &mut self.next {
            *logits = None;
        }
    }
}

/// A piece that is read in this step.
struct Piece {
    /// Index in `reading`.
    index: usize,
    tokens: usize,
}

impl<'e> Session<'e> {
    pub(crate) fn new(engine: &'e Engine, streams: bool) -> Self {
        Self {
            engine,
            streams,
            next_ticket: 0,
            requests: BTreeMap::new(),
            reading: VecDeque::new(),
            running: Vec::new(),
            prefixes: PrefixCache::default(),
            logits: Vec::new(),
            stats: SessionStats::default(),
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// What is wrong with the request: its messages, its sampling parameters, a prompt that leaves no room in the context, more
    /// tokens than the cache may hold.
    pub fn submit(&mut self, request: ChatRequest) -> Result<Ticket, ModelError> {
        let ids = self.engine.prompt(&request)?;
        self.queue(request.id, ids, request.sampling)
    }

    /// Queues a prompt that is given by its token ids.
    ///
    /// # Errors
    /// As for [`Session::submit`].
    pub fn submit_ids(&mut self, id: String, ids: Vec<u32>, sampling: SamplingParams) -> Result<Ticket, ModelError> {
        self.engine.check(&id, &ids, &sampling)?;
        self.queue(id, ids, sampling)
    }

    fn queue(&mut self, id: String, ids: Vec<u32>, sampling: SamplingParams) -> Result<Ticket, ModelError> {
        let most = ids.len().saturating_add(sampling.max_tokens).min(self.engine.context());
        let (needed, limit) = (most.div_ceil(BLOCK), self.engine.block_limit());
        // One more, for the copy that a sample makes of its prompt's last block.
        if needed + 1 > limit {
            let reason = format!(
                "prompt and answer of up to {most} tokens need {needed} blocks of keys and values, and one to copy, but the cache may hold \
                 {limit}: ask for fewer tokens, or give the engine more memory (cache_bytes)"
            );
            return Err(ModelError::Request { id, reason });
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.requests.insert(ticket, Request { id, sampling, finished: 0 });
        self.reading.push_back(Reading { ticket, tokens: ids.into(), cache: None, next: Next::Samples { from: 0, logits: None } });
        Ok(ticket)
    }

    /// Forgets a request: nothing is told about it any more, and its memory is free.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.requests.remove(&ticket);
        self.reading.retain(|reading| reading.ticket != ticket);
        self.running.retain(|sequence| sequence.ticket != ticket);
    }

    /// Nothing waits or runs.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// What it is doing and has done.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            waiting: self.reading.iter().filter(|reading| matches!(reading.next, Next::Samples { .. })).count(),
            running: self.running.len(),
            cache_blocks: self.engine.model().blocks().live(),
            cache_blocks_limit: self.engine.block_limit(),
            ..self.stats
        }
    }

    /// Reads prompts and advances every running sequence by one token.
    pub fn step(&mut self, on_event: &mut dyn FnMut(Event)) {
        self.make_room_to_run();
        let pieces = self.plan();
        if let Err(error) = self.forward(&pieces) {
            self.fail(error, on_event);
            return;
        }
        self.begin_samples();
        self.tell(on_event);
        if !pieces.is_empty() {
            self.prefixes.shrink(self.engine.block_limit() / IDLE_SHARE);
        }
    }

    /// Blocks that are neither in memory nor promised.
    fn free_blocks(&self) -> usize {
        self.engine.block_limit().saturating_sub(self.engine.model().blocks().live())
    }

    /// Frees blocks until `needed` can be had: such as no sequence uses, as far as they go.
    fn free(&mut self, needed: usize) -> bool {
        if self.free_blocks() < needed {
            let missing = needed - self.free_blocks();
            let idle = self.prefixes.idle_blocks();
            self.prefixes.shrink(idle.saturating_sub(missing));
        }
        self.free_blocks() >= needed
    }

    /// Blocks that running sequences need for their next token.
    fn needed_to_run(&self) -> usize {
        self.running.iter().filter(|sequence| sequence.needs_block()).count()
    }

    /// Lets others give up their caches until the oldest sequences have room for their next token: first prompts of which no
    /// sample has room, then the youngest sequences. One alone always has room: `queue` saw to it.
    fn make_room_to_run(&mut self) {
        while !self.free(self.needed_to_run()) {
            if let Some(reading) = self.reading.iter_mut().rfind(|reading| reading.cache.is_some()) {
                reading.give_up();
            } else if self.running.len() > 1
                && let Some(mut sequence) = self.running.pop()
            {
                self.stats.preemptions += 1;
                let tokens = sequence.give_up(self.engine.model().cache());
                self.reading.push_front(Reading { ticket: sequence.ticket, tokens, cache: None, next: Next::Resume(Box::new(sequence)) });
            } else {
                return;
            }
        }
    }

    /// The pieces to read in this step.
    fn plan(&mut self) -> Vec<Piece> {
        let options = &self.engine.options;
        let mut budget = options.prefill_tokens.max(1);
        let mut room = options.max_sequences.max(1).saturating_sub(self.running.len());
        let mut promised = self.needed_to_run();
        let mut pieces: Vec<Piece> = Vec::new();
        for index in 0..self.reading.len() {
            if budget == 0 || room == 0 {
                break;
            }
            let samples = match &self.reading[index].next {
                Next::Samples { from, .. } => self.requests.get(&self.reading[index].ticket).map_or(1, |request| request.sampling.n - from),
                Next::Resume(_) => 1,
            };
            room = room.saturating_sub(samples);
            if self.reading[index].left() == 0 {
                continue;
            }
            if self.reading[index].cache.is_none() {
                if self.is_being_read(index) {
                    continue;
                }
                let reading = &mut self.reading[index];
                // The last token is always read, for its logits.
                let shared = self.prefixes.find(&reading.tokens[..reading.tokens.len() - 1]);
                self.stats.shared_tokens += (shared.len() * BLOCK) as u64;
                reading.cache = Some(KvCache::from_blocks(self.engine.model().blocks(), shared));
            }
            let reading = &self.reading[index];
            let tokens = reading.left().min(budget);
            let (before, after) = (reading.read().div_ceil(BLOCK), (reading.read() + tokens).div_ceil(BLOCK));
            // A sample will need a block of its own.
            let needed = after - before + 1;
            if !self.free(promised + needed) {
                if !(self.running.is_empty() && pieces.is_empty()) {
                    // Whoever is at work goes on; this one waits.
                    if self.reading[index].read() == 0 {
                        self.reading[index].cache = None;
                    }
                    break;
                }
                // Nobody is at work: the others are in the way.
                let others = self.reading.iter_mut().enumerate().filter(|(other, _)| *other != index);
                others.for_each(|(_, reading)| reading.give_up());
                self.free(needed);
            }
            promised += needed;
            budget -= tokens;
            pieces.push(Piece { index, tokens });
        }
        pieces
    }

    /// Another prompt with the same next block is being read: this one waits, and shares it.
    fn is_being_read(&self, index: usize) -> bool {
        let tokens = &self.reading[index].tokens;
        let shared = |other: &Reading| other.tokens.iter().zip(tokens.iter()).take_while(|(a, b)| a == b).count();
        self.reading.iter().take(index).any(|other| {
            let whole = shared(other).min(tokens.len() - 1) / BLOCK * BLOCK;
            whole > other.read()
        })
    }

    /// One pass over the running sequences and the pieces.
    fn forward(&mut self, pieces: &[Piece]) -> Result<()> {
        let Self { engine, reading, running, logits, .. } = self;
        let mut inputs: Vec<_> = running.iter_mut().map(Sequence::input).collect();
        let mut wanted = pieces.iter().peekable();
        for (index, reading) in reading.iter_mut().enumerate() {
            let Some(piece) = wanted.next_if(|piece| piece.index == index) else { continue };
            let Reading { tokens, cache: Some(cache), next, .. } = reading else { continue };
            let from = cache.len();
            let last = from + piece.tokens == tokens.len() && matches!(next, Next::Samples { .. });
            let rows = if last { LogitsWanted::Last } else { LogitsWanted::None };
            inputs.push(SequenceInput { tokens: &tokens[from..from + piece.tokens], cache, logits: rows });
        }
        engine.model().forward(&mut inputs, logits)?;
        let vocab_size = engine.model().config().vocab_size;
        let (run, read) = logits.split_at_mut(running.len() * vocab_size);
        Sequence::advance_all(running, run, engine);
        let mut read = read.chunks_exact(vocab_size);
        self.stats.generated_tokens += running.len() as u64;
        for piece in pieces {
            let Reading { tokens, cache: Some(cache), next, .. } = &mut reading[piece.index] else { continue };
            self.stats.prompt_tokens += piece.tokens as u64;
            self.prefixes.insert(&tokens[..cache.len()], cache);
            if let Next::Samples { logits, .. } = next
                && cache.len() == tokens.len()
            {
                *logits = read.next().map(<[f32]>::to_vec);
            }
        }
        Ok(())
    }

    /// Begins samples of prompts that are read, and goes on with sequences that are.
    fn begin_samples(&mut self) {
        let limit = self.engine.options.max_sequences.max(1);
        let mut index = 0;
        while index < self.reading.len() && self.running.len() < limit {
            if self.reading[index].left() > 0 {
                index += 1;
                continue;
            }
            // One sample always runs; more, where there is room for their next tokens.
            if !self.running.is_empty() && self.free_blocks() < self.needed_to_run() + 1 {
                return;
            }
            let Reading { ticket, tokens, cache: Some(cache), next } = &mut self.reading[index] else {
                index += 1;
                continue;
            };
            let done = match (next, self.requests.get(ticket)) {
                (Next::Samples { from, logits: Some(logits) }, Some(request)) => {
                    let sampler = Sampler::new(&request.sampling, &request.id, *from, tokens);
                    let mut sequence = Sequence::new(*ticket, *from, &request.sampling, Arc::clone(tokens), cache.clone(), sampler);
                    sequence.advance(&mut logits.clone(), self.engine);
                    self.stats.generated_tokens += 1;
                    self.running.push(sequence);
                    *from += 1;
                    *from == request.sampling.n
                }
                (Next::Resume(_), Some(_)) => true,
                _ => true,
            };
            if done && let Some(Reading { cache: Some(cache), next: Next::Resume(mut sequence), .. }) = self.reading.remove(index) {
                sequence.go_on(cache);
                self.running.push(*sequence);
            }
        }
    }

    /// Tells what is new, and takes out what has ended.
    fn tell(&mut self, on_event: &mut dyn FnMut(Event)) {
        if self.streams {
            for sequence in &mut self.running {
                if let Some((text, logprobs)) = sequence.news(self.engine) {
                    on_event(Event::Text { ticket: sequence.ticket, sample: sequence.sample, text, logprobs });
                }
            }
        }
        let ended: Vec<_> = self.running.extract_if(.., |sequence| sequence.ended()).collect();
        for sequence in ended {
            let (ticket, sample) = (sequence.ticket, sequence.sample);
            // Another sample of it may have failed in this step.
            let Some(request) = self.requests.get_mut(&ticket) else { continue };
            match sequence.finish(self.engine) {
                Ok(generation) => {
                    request.finished += 1;
                    let all = request.finished == request.sampling.n;
                    on_event(Event::Finished { ticket, sample, generation });
                    if all {
                        self.requests.remove(&ticket);
                        on_event(Event::Answered { ticket, result: Ok(()) });
                    }
                }
                Err(error) => {
                    let id = request.id.clone();
                    self.cancel(ticket);
                    let error = ModelError::Failed { id, source: error };
                    on_event(Event::Answered { ticket, result: Err(error) });
                }
            }
        }
    }

    /// Gives up on everything.
    fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) {
        let error = Arc::new(error);
        self.reading.clear();
        self.running.clear();
        for (ticket, request) in std::mem::take(&mut self.requests) {
            let failed = ModelError::Failed { id: request.id, source: Box::new(Arc::clone(&error)) };
            on_event(Event::Answered { ticket, result: Err(failed) });
        }
    }
}
