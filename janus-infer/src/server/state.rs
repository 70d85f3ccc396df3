//! The state that all requests to a service share.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use janus_core::ChatModel as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::ServerOptions;
use super::best_of::Scorer;
use super::metrics::Metrics;
use super::request::ServedModel;
use super::worker::Job;
use crate::Engine;

/// The engine, the options and the counters of one service.
pub(super) struct State {
    pub engine: Arc<Engine>,
    pub reward: Option<Scorer>,
    pub options: ServerOptions,
    pub jobs: Sender<Job>,
    pub metrics: Arc<Metrics>,
    /// The free places of the queue; a request that waits or runs takes one.
    pub places: Arc<Semaphore>,
    /// The source of ids and seeds.
    random: RandomState,
    drawn: AtomicU64,
    /// When the service started, in seconds since 1970.
    created: u64,
}

impl State {
    pub fn new(
        engine: Arc<Engine>,
        reward: Option<Scorer>,
        options: ServerOptions,
        jobs: Sender<Job>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(options.queue));
        let (random, drawn) = (RandomState::new(), AtomicU64::new(0));
        Self { engine, reward, options, jobs, metrics, places, random, drawn, created: now() }
    }

    /// A random number that clients cannot predict.
    pub fn draw(&self) -> u64 {
        self.random.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    pub fn served(&self) -> ServedModel<'_> {
        ServedModel {
            model: self.engine.name(),
            context: self.engine.context(),
            vocab: self.engine.model().config().vocab_size,
            has_reward: self.reward.is_some(),
            defaults: &self.options.sampling,
        }
    }

    /// The model's entry in `/v1/models`.
    pub fn model(&self) -> Value {
        json!({
            "id": self.engine.name(),
            "object": "model",
            "created": self.created,
            "owned_by": "janus",
            "max_model_len": self.engine.context(),
            "reward_model": self.reward.as_ref().map(Scorer::name),
        })
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
