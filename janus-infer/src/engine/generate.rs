//! An engine as a [`ChatModel`]: all requests of a call share one session. A session that answers one request as its text grows.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError};

use super::request::{Event, RequestId};
use super::session::Session;
use super::stream::Trimmed;
use crate::Engine;

impl ChatModel for Engine {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        let mut session = Session::new(self, false);
        let mut samples: BTreeMap<RequestId, (usize, Vec<Option<Generation>>)> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            match session.submit(request.clone()) {
                Ok(id) => {
                    samples.insert(id, (index, vec![None; request.sampling.n]));
                }
                Err(error) => on_answer(index, Err(error)),
            }
        }
        while !session.is_idle() {
            session.step(&mut |event| match event {
                Event::Text { .. } => {}
                Event::Finished { request, sample, generation } => {
                    if let Some((_, samples)) = samples.get_mut(&request) {
                        samples[sample] = Some(generation);
                    }
                }
                Event::Answered { request, result } => {
                    if let Some((index, samples)) = samples.remove(&request) {
                        on_answer(index, result.map(|()| samples.into_iter().flatten().collect()));
                    }
                }
            });
        }
    }
}

impl Session<'_> {
    /// Answers one request of one sample and emits its text as it grows, without the whitespace around it. What the session
    /// prefilled for earlier requests is not prefilled again.
    ///
    /// # Errors
    /// [`Session::submit`]'s, and the model's.
    pub fn generate(&mut self, request: ChatRequest, on_text: &mut dyn FnMut(&str)) -> Result<Generation, ModelError> {
        let mut answer = Err(ModelError::NoAnswer { id: request.id.clone() });
        let id = self.submit(request)?;
        let mut trimmed = Trimmed::default();
        while !self.is_idle() {
            self.step(&mut |event| match event {
                Event::Text { request, text, .. } if request == id => on_text(&trimmed.next(&text)),
                Event::Finished { request, generation, .. } if request == id => answer = Ok(generation),
                Event::Answered { request, result: Err(error) } if request == id => answer = Err(error),
                _ => {}
            });
        }
        answer
    }
}
