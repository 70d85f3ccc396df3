//! The engine's thread, which runs all generations.
//!
//! Jobs arrive through one channel, and each job has a channel for its updates. The engine never waits
//! for a reader: the channels are unbounded, but `max_tokens` bounds what a request can produce. A
//! reader that is gone is noticed before the next step.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use janus_core::{Generation, ModelError, SamplingParams, TokenLogprob};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::metrics::Metrics;
use crate::{Engine, Event, RequestId, Session};

/// The id of every request. It determines the random numbers together with the seed, so that a request
/// with a seed always has the same answer.
pub(super) const REQUEST_ID: &str = "api";

/// A request for the engine.
pub(super) struct Job {
    /// The prompts, each with the same number of samples.
    pub prompts: Vec<(Vec<u32>, SamplingParams)>,
    pub updates: UnboundedSender<Update>,
    /// Its place in the queue.
    pub place: Place,
    /// When the request arrived.
    pub arrived: Instant,
}

/// A place in the queue, which is free again when the last clone is dropped.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// The progress of a job. `Done` and `Failed` are the last updates. Samples are numbered over all
/// prompts, those of the first prompt first.
pub(super) enum Update {
    /// All prompts are valid, and are queued or being prefilled.
    Accepted,
    Text {
        sample: usize,
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    Finished {
        sample: usize,
        generation: Generation,
    },
    Done,
    /// One of the prompts cannot be answered, and so the job fails.
    Failed {
        prompt: usize,
        error: ModelError,
    },
}

/// A job in the session.
struct Running {
    updates: UnboundedSender<Update>,
    arrived: Instant,
    has_text: Cell<bool>,
    /// Prompts that are not answered yet.
    left: Cell<usize>,
    /// `None` when the job is over.
    place: Cell<Option<Place>>,
}

/// A prompt of a job.
struct Part {
    job: Rc<Running>,
    prompt: usize,
    /// The number of its first sample.
    first: usize,
}

/// Runs until no more jobs can arrive and all are answered.
pub(super) fn work(engine: &Engine, jobs: &Receiver<Job>, metrics: &Metrics) {
    let mut session = engine.session();
    let mut running = HashMap::new();
    loop {
        if session.is_idle() {
            match jobs.recv() {
                Ok(job) => submit(job, &mut session, &mut running),
                Err(_) => return,
            }
        }
        while let Ok(job) = jobs.try_recv() {
            submit(job, &mut session, &mut running);
        }
        for (id, part) in running.extract_if(|_, part: &mut Part| part.job.updates.is_closed()) {
            session.cancel(id);
            if part.job.place.take().is_some() {
                metrics.cancelled();
            }
        }
        if !session.is_idle() {
            session.step(&mut |event| pass_on(event, &mut running, metrics));
        }
        metrics.engine(session.stats());
    }
}

fn submit(job: Job, session: &mut Session<'_>, running: &mut HashMap<RequestId, Part>) {
    let Job { prompts, updates, place, arrived } = job;
    let job = Running {
        updates,
        arrived,
        has_text: Cell::new(false),
        left: Cell::new(prompts.len()),
        place: Cell::new(Some(place)),
    };
    let (job, mut first) = (Rc::new(job), 0);
    for (prompt, (ids, sampling)) in prompts.into_iter().enumerate() {
        let samples = sampling.n;
        match session.submit_ids(REQUEST_ID.into(), ids, sampling) {
            Ok(id) => drop(running.insert(id, Part { job: Rc::clone(&job), prompt, first })),
            // The reader then drops the channel, which cancels the prompts before this one.
            Err(error) => {
                drop(job.place.take());
                return drop(job.updates.send(Update::Failed { prompt, error }));
            }
        }
        first += samples;
    }
    // A reader that is gone by now is noticed before the next step.
    let _ = job.updates.send(Update::Accepted);
}

/// Sends an event to the reader of its job.
fn pass_on(event: Event, running: &mut HashMap<RequestId, Part>, metrics: &Metrics) {
    let (request, answered) = match event {
        Event::Text { request, sample, text, logprobs } => {
            let Some(Part { job, first, .. }) = running.get(&request) else { return };
            if !job.has_text.replace(true) {
                metrics.first_text(job.arrived.elapsed());
            }
            let _ = job.updates.send(Update::Text { sample: first + sample, text, logprobs });
            return;
        }
        Event::Finished { request, sample, generation } => {
            let Some(Part { job, first, .. }) = running.get(&request) else { return };
            let _ = job.updates.send(Update::Finished { sample: first + sample, generation });
            return;
        }
        Event::Answered { request, result } => (request, result),
    };
    let Some(Part { job, prompt, .. }) = running.remove(&request) else { return };
    job.left.set(job.left.get() - 1);
    let update = match answered {
        Ok(()) if job.left.get() > 0 => return,
        Ok(()) => Update::Done,
        Err(error) => Update::Failed { prompt, error },
    };
    // Before the client has the answer, it is counted and the place is free.
    if let Some(place) = job.place.take() {
        metrics.answered(job.arrived.elapsed());
        drop(place);
        let _ = job.updates.send(update);
    }
}
