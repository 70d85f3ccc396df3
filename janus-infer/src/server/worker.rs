//! The engine's thread: the one place where tokens are made.
//!
//! Jobs come in over a channel; what becomes of each goes out over its own. The engine never waits for a reader: a
//! channel takes whatever a request can produce, which its `max_tokens` bounds, and a reader that is gone is seen before
//! the next step.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use janus_core::{Generation, ModelError, SamplingParams, TokenLogprob};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::metrics::Metrics;
use crate::{Engine, Event, Session, Ticket};

/// The id of every request: with the seed it fixes the draws, so that one request with one seed has one answer.
pub(super) const REQUEST_ID: &str = "api";

/// A request for the engine.
pub(super) struct Job {
    /// The prompt.
    pub ids: Vec<u32>,
    pub sampling: SamplingParams,
    pub updates: UnboundedSender<Update>,
    /// Its place in the queue.
    pub place: Place,
    /// When it arrived.
    pub arrived: Instant,
}

/// A place in the queue, free again when the last holder lets go.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// What becomes of a job. After `Done` and `Failed` nothing follows.
pub(super) enum Update {
    /// The prompt can be answered; it waits or is read.
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
    Failed(ModelError),
}

/// A job that the session has.
struct Running {
    updates: UnboundedSender<Update>,
    arrived: Instant,
    has_text: bool,
    place: Place,
}

/// Works until no more job can come and all are answered.
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
        for (ticket, _) in running.extract_if(|_, job: &mut Running| job.updates.is_closed()) {
            session.cancel(ticket);
            metrics.cancelled();
        }
        if !session.is_idle() {
            session.step(&mut |event| tell(event, &mut running, metrics));
        }
        metrics.engine(session.stats());
    }
}

fn submit(job: Job, session: &mut Session<'_>, running: &mut HashMap<Ticket, Running>) {
    let Job { ids, sampling, updates, place, arrived } = job;
    // A reader that is gone by now is found before the next step.
    match session.submit_ids(REQUEST_ID.into(), ids, sampling) {
        Ok(ticket) => {
            let _ = updates.send(Update::Accepted);
            running.insert(ticket, Running { updates, arrived, has_text: false, place });
        }
        Err(error) => drop(updates.send(Update::Failed(error))),
    }
}

fn tell(event: Event, running: &mut HashMap<Ticket, Running>, metrics: &Metrics) {
    let (ticket, update) = match event {
        Event::Text { ticket, sample, text, logprobs } => (ticket, Update::Text { sample, text, logprobs }),
        Event::Finished { ticket, sample, generation } => (ticket, Update::Finished { sample, generation }),
        Event::Answered { ticket, result } => (ticket, result.map_or_else(Update::Failed, |()| Update::Done)),
    };
    if matches!(update, Update::Done | Update::Failed(_)) {
        if let Some(Running { updates, arrived, place, .. }) = running.remove(&ticket) {
            // Whoever has the answer finds it counted and the place free.
            metrics.answered(arrived.elapsed());
            drop(place);
            let _ = updates.send(update);
        }
        return;
    }
    let Some(job) = running.get_mut(&ticket) else { return };
    if matches!(update, Update::Text { .. }) && !std::mem::replace(&mut job.has_text, true) {
        metrics.first_text(job.arrived.elapsed());
    }
    let _ = job.updates.send(update);
}
