//! A local model as what goes on from a plain text.

use std::collections::BTreeMap;

use janus_core::{ChatModel as _, Generation, Message, ModelError};
use janus_eval::bench::toxicity::{TextModel, TextRequest};
use janus_infer::{Engine, Event, RequestId};

/// An engine without its template. In front of a text stands the token with which the model's conversations begin, if
/// it stands nowhere else in them: a model is trained with it in front of every text (`<s>` is such a one, ChatML's
/// `<|im_start|>`, which begins each turn, is not).
pub(super) struct LocalText(pub Engine);

impl LocalText {
    fn beginning(&self) -> Option<u32> {
        let Self(engine) = self;
        let conversation = [Message::user("a"), Message::assistant("b"), Message::user("c")];
        let ids = engine.template().encode(&conversation, engine.tokenizer()).ok()?;
        let (&first, rest) = ids.split_first()?;
        let special = engine.tokenizer().special_tokens().iter().any(|(id, _)| *id == first);
        (special && !rest.contains(&first)).then_some(first)
    }
}

impl TextModel for LocalText {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn continue_each(&self, requests: &[TextRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        let Self(engine) = self;
        let beginning = self.beginning();
        let mut session = engine.session();
        let mut samples: BTreeMap<RequestId, (usize, Vec<Option<Generation>>)> = BTreeMap::new();
        for (index, TextRequest { id, text, sampling }) in requests.iter().enumerate() {
            let failed = |source| ModelError::Failed { id: id.clone(), source: Box::new(source) };
            let ids = engine.tokenizer().encode(text).map_err(failed);
            let submitted = ids.and_then(|ids| {
                let ids = beginning.into_iter().chain(ids).collect();
                session.submit_ids(id.clone(), ids, sampling.clone())
            });
            match submitted {
                Ok(id) => drop(samples.insert(id, (index, vec![None; sampling.n]))),
                Err(error) => on_answer(index, Err(error)),
            }
        }
        while !session.is_idle() {
            session.step(&mut |event| match event {
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
                _ => {}
            });
        }
    }
}
