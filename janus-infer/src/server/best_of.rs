//! The best of several candidates by a reward model.

use std::cmp::Ordering;
use std::sync::Arc;

use janus_core::{Generation, Message, ModelError, RewardModel};
use tokio::sync::{Mutex, OwnedSemaphorePermit, oneshot};

use super::error::ApiError;

/// Candidates that are scored in one call; between two calls, a client that has disconnected is noticed.
const PASS: usize = 16;

/// A reward model that works on one request at a time, since it uses all cores.
pub(super) struct Scorer {
    model: Arc<dyn RewardModel + Send + Sync>,
    lock: Arc<Mutex<()>>,
}

impl Scorer {
    pub fn new(model: Box<dyn RewardModel + Send + Sync>) -> Self {
        Self { model: model.into(), lock: Arc::default() }
    }

    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// The rewards of the candidates as answers to `messages`. The request keeps its place in the queue
    /// until the work is done: a call cannot be cancelled when its client disconnects, and no other one
    /// may run at the same time.
    pub async fn rewards(
        &self,
        messages: &[Message],
        candidates: &[Generation],
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<f32>, ApiError> {
        let conversation =
            |candidate: &Generation| [messages, &[Message::assistant(candidate.text.as_str())]].concat();
        let conversations: Vec<_> = candidates.iter().map(conversation).collect();
        let guard = Arc::clone(&self.lock).lock_owned().await;
        let model = Arc::clone(&self.model);
        let (sender, receiver) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _until_done = (guard, place);
            let mut rewards = Vec::with_capacity(conversations.len());
            for pass in conversations.chunks(PASS) {
                if sender.is_closed() {
                    return;
                }
                rewards.extend(model.rewards(pass));
            }
            let _ = sender.send(rewards);
        });
        // A panic of the reward model drops the sender.
        let rewards: Result<Vec<f32>, ModelError> =
            receiver.await.map_err(|_| failed("it panicked"))?.into_iter().collect();
        let rewards = rewards.map_err(|error| match &error {
            ModelError::TooLong { .. } => ApiError::model(&error, "messages"),
            error => failed(&error.to_string()),
        })?;
        if rewards.len() != candidates.len() {
            return Err(failed(&format!(
                "it returned {} rewards for {} candidates",
                rewards.len(),
                candidates.len()
            )));
        }
        // Choosing among the other candidates would be a different sampler.
        match rewards.iter().position(|reward| reward.is_nan()) {
            Some(index) => Err(failed(&format!("the reward of candidate {index} is NaN"))),
            None => Ok(rewards),
        }
    }
}

fn failed(reason: &str) -> ApiError {
    ApiError::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, format!("the reward model failed: {reason}"))
}

/// The indices of the candidates, best first; ties keep their order.
pub(super) fn ranking(rewards: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rewards.len()).collect();
    order.sort_by(|&a, &b| rewards[b].partial_cmp(&rewards[a]).unwrap_or(Ordering::Equal));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_keep_their_order() {
        assert_eq!(ranking(&[1.0, 3.0, -0.0, 3.0, 0.0, f32::NEG_INFINITY]), [1, 3, 0, 2, 4, 5]);
        assert!(ranking(&[]).is_empty());
    }
}
