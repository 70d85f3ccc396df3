//! Generation: [`ChatModel`] for an engine, where all requests of a call share a session, and one
//! streamed request of a session.

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

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
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
    /// Answers one request for one sample and streams its text, without leading and trailing whitespace.
    /// A prefix that earlier requests left in the session's cache is not prefilled again.
    ///
    /// # Errors
    /// Those of [`Session::submit`], and those of the model.
    pub fn generate(
        &mut self,
        request: ChatRequest,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Generation, ModelError> {
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
