//! Models of plain text: they continue a text instead of answering it, or score how likely it is.

use crate::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};

/// A text to continue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TextRequest {
    /// Identifies the request in results. With the seed it determines the random stream, so two requests
    /// with the same id, text and sampling have the same continuations.
    pub id: String,
    /// The text.
    pub text: String,
    /// How to sample.
    pub sampling: SamplingParams,
}

impl TextRequest {
    /// A text to continue with these sampling parameters.
    pub fn new(id: impl Into<String>, text: impl Into<String>, sampling: SamplingParams) -> Self {
        Self { id: id.into(), text: text.into(), sampling }
    }
}

/// A model that continues a plain text: no template, no turns.
pub trait TextModel {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// Continues every text, in any order: `on_answer(index, answer)` is called exactly once for each index
    /// of `requests`, with `sampling.n` continuations (without the text itself) or the request's own error.
    fn continue_each(
        &self,
        requests: &[TextRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    );
}

/// The loss of a text under a language model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextLoss {
    /// Negative log-likelihood in nats, summed over all tokens but the first.
    pub loss: f64,
    /// Number of tokens, the first included.
    pub tokens: usize,
}

/// A language model that scores how likely texts are, as needed for perplexity.
pub trait TextLosses {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// The loss of each text, in order.
    fn losses(&self, texts: &[String]) -> Vec<Result<TextLoss, ModelError>>;
}

/// Adapts a [`TextModel`] to [`ChatModel`]: the user's message is continued as plain text, without a
/// template.
///
/// A request with a system message or several turns is an error, because without a template it cannot be
/// rendered.
#[derive(Debug, Clone, Copy)]
pub struct Continuing<M>(pub M);

impl<M: TextModel> ChatModel for Continuing<M> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        let (mut indices, mut texts) = (Vec::new(), Vec::new());
        for (index, request) in requests.iter().enumerate() {
            let id = request.id.clone();
            match &request.messages[..] {
                [text] => {
                    indices.push(index);
                    texts.push(TextRequest {
                        id,
                        text: text.content.clone(),
                        sampling: request.sampling.clone(),
                    });
                }
                messages => {
                    let reason = format!(
                        "expected one message and no system message, because a text model has no chat template; got {} messages",
                        messages.len()
                    );
                    on_answer(index, Err(ModelError::Request { id, reason }));
                }
            }
        }
        self.0.continue_each(&texts, &mut |index, answer| on_answer(indices[index], answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FinishReason, Message};

    struct More;

    impl TextModel for More {
        fn name(&self) -> &str {
            "more"
        }

        fn continue_each(
            &self,
            requests: &[TextRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            for (index, request) in requests.iter().enumerate().rev() {
                let text = format!(" and more of {}", request.text);
                let generation =
                    Generation::new(text).with_finish_reason(FinishReason::Length).with_tokens(1, 1);
                on_answer(index, Ok(vec![generation; request.sampling.n]));
            }
        }
    }

    #[test]
    fn each_text_is_continued_and_a_conversation_is_rejected() {
        let request = |id: &str, messages: Vec<Message>| {
            ChatRequest::new(id, messages).with_sampling(SamplingParams { n: 2, ..SamplingParams::default() })
        };
        let requests = [
            request("a", vec![Message::system("s"), Message::user("x")]),
            request("b", vec![Message::user("y")]),
            request("c", vec![]),
            request("d", vec![Message::user("z")]),
        ];
        let answers = Continuing(More).generate(&requests);
        let texts_of = |index: usize| {
            answers[index].as_ref().map(|all| all.iter().map(|one| one.text.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(texts_of(1).unwrap(), [" and more of y"; 2]);
        assert_eq!(texts_of(3).unwrap(), [" and more of z"; 2]);
        assert!(
            texts_of(0).unwrap_err().to_string().contains("got 2")
                && texts_of(2).unwrap_err().to_string().contains("got 0")
        );
    }
}
