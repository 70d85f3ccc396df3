//! Best-of-N sampling: of N answers, the one with the highest reward.

use serde::{Deserialize, Serialize};

use crate::{ChatModel, ChatRequest, Generation, Message, ModelError, RewardModel};

/// All answers to a request, with their rewards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BestOfN {
    /// Every answer, in the order in which they were drawn; at least one.
    pub candidates: Vec<Generation>,
    /// The reward of each.
    pub rewards: Vec<f32>,
    /// The index of the answer with the highest reward; ties go to the first.
    pub best: usize,
}

impl BestOfN {
    /// The answer with the highest reward.
    pub fn best(&self) -> &Generation {
        &self.candidates[self.best]
    }

    /// Its reward.
    pub fn best_reward(&self) -> f32 {
        self.rewards[self.best]
    }
}

/// Samples `sampling.n` answers to each request and scores all of them, each as the end of its request's
/// conversation.
///
/// `on_answer(index, answer)` is called exactly once for each index of `requests`, in the order in which
/// answers complete. If the reward of any candidate fails or is NaN, the request fails: a choice among the
/// rest would be best-of-N with a smaller N.
///
/// ```
/// # use janus_core::{ChatModel, ChatRequest, Generation, Message, ModelError, RewardModel, SamplingParams};
/// # struct Counting;
/// # impl ChatModel for Counting {
/// #     fn name(&self) -> &str { "counting" }
/// #     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
/// #         let answer = |i: usize| Generation::new("a".repeat(i)).with_tokens(1, i);
/// #         requests.iter().enumerate().for_each(|(index, request)| on_answer(index, Ok((0..request.sampling.n).map(answer).collect())));
/// #     }
/// # }
/// # let model = Counting;
/// /// Prefers answers of three letters.
/// struct Three;
/// impl RewardModel for Three {
///     fn name(&self) -> &str { "three" }
///     fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
///         conversations.iter().map(|messages| Ok(-(messages[1].content.len() as f32 - 3.0).abs())).collect()
///     }
/// }
/// let sampling = SamplingParams { n: 5, ..SamplingParams::default() };
/// let request = ChatRequest::new("1", [Message::user("Say something.")]).with_sampling(sampling);
/// let answers = janus_core::best_of_n(&model, &Three, &[request]);
/// let answer = answers[0].as_ref().unwrap();
/// assert_eq!((answer.best().text.as_str(), answer.candidates.len()), ("aaa", 5));
/// ```
pub fn best_of_n_each(
    model: &(impl ChatModel + ?Sized),
    reward: &(impl RewardModel + ?Sized),
    requests: &[ChatRequest],
    on_answer: &mut dyn FnMut(usize, Result<BestOfN, ModelError>),
) {
    model.generate_each(requests, &mut |index, answer| {
        on_answer(index, answer.and_then(|candidates| choose(reward, &requests[index], candidates)))
    });
}

/// [`best_of_n_each`], with the answers in the order of the requests.
pub fn best_of_n(
    model: &(impl ChatModel + ?Sized),
    reward: &(impl RewardModel + ?Sized),
    requests: &[ChatRequest],
) -> Vec<Result<BestOfN, ModelError>> {
    let mut answers: Vec<_> =
        requests.iter().map(|request| Err(ModelError::NoAnswer { id: request.id.clone() })).collect();
    best_of_n_each(model, reward, requests, &mut |index, answer| answers[index] = answer);
    answers
}

fn choose(
    reward: &(impl RewardModel + ?Sized),
    request: &ChatRequest,
    candidates: Vec<Generation>,
) -> Result<BestOfN, ModelError> {
    let conversation = |generation: &Generation| {
        let answer = Message::assistant(generation.text.clone());
        request.messages.iter().cloned().chain([answer]).collect()
    };
    let conversations: Vec<Vec<Message>> = candidates.iter().map(conversation).collect();
    let rewards =
        reward.rewards(&conversations).into_iter().enumerate().map(|(candidate, reward)| match reward {
            Ok(reward) if reward.is_nan() => {
                Err(request_error(request, format!("the reward of answer {candidate} is NaN")))
            }
            Ok(reward) => Ok(reward),
            Err(source) => Err(ModelError::Failed { id: request.id.clone(), source: Box::new(source) }),
        });
    let rewards: Vec<f32> = rewards.collect::<Result<_, _>>()?;
    if candidates.is_empty() || rewards.len() != candidates.len() {
        return Err(request_error(
            request,
            format!("{} answers have {} rewards", candidates.len(), rewards.len()),
        ));
    }
    let best = (1..rewards.len())
        .fold(0, |best, candidate| if rewards[candidate] > rewards[best] { candidate } else { best });
    Ok(BestOfN { candidates, rewards, best })
}

fn request_error(request: &ChatRequest, reason: impl Into<String>) -> ModelError {
    ModelError::Request { id: request.id.clone(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplingParams;

    /// Answers with the letters a, b, c, ...
    struct Letters;

    impl ChatModel for Letters {
        fn name(&self) -> &str {
            "letters"
        }

        fn generate_each(
            &self,
            requests: &[ChatRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            for (index, request) in requests.iter().enumerate().rev() {
                let generation =
                    |letter: u8| Generation::new(char::from(b'a' + letter).to_string()).with_tokens(1, 1);
                on_answer(index, Ok((0..request.sampling.n as u8).map(generation).collect()));
            }
        }
    }

    /// Looks up the reward by the letter of the answer.
    struct Table([f32; 4]);

    impl RewardModel for Table {
        fn name(&self) -> &str {
            "table"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            let reward = |messages: &Vec<Message>| {
                assert_eq!(messages[0], Message::user("question"));
                let letter = usize::from(messages[1].content.as_bytes()[0] - b'a');
                let refused = || ModelError::Request { id: letter.to_string(), reason: "refused".into() };
                self.0.get(letter).copied().ok_or_else(refused)
            };
            conversations.iter().map(reward).collect()
        }
    }

    fn answers_of(rewards: [f32; 4], n: &[usize]) -> Vec<Result<BestOfN, ModelError>> {
        let request = |(index, &n): (usize, &usize)| {
            ChatRequest::new(format!("q{index}"), [Message::user("question")])
                .with_sampling(SamplingParams { n, ..SamplingParams::default() })
        };
        let requests: Vec<_> = n.iter().enumerate().map(request).collect();
        best_of_n(&Letters, &Table(rewards), &requests)
    }

    #[test]
    fn ties_go_to_the_first_and_all_candidates_are_kept() {
        let answers = answers_of([1.0, 3.0, 3.0, -2.0], &[4, 1]);
        let first = answers[0].as_ref().unwrap();
        assert_eq!((first.best().text.as_str(), first.best_reward()), ("b", 3.0));
        let texts: Vec<&str> = first.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
        assert_eq!((texts, &first.rewards[..]), (vec!["a", "b", "c", "d"], &[1.0, 3.0, 3.0, -2.0][..]));
        assert_eq!(answers[1].as_ref().unwrap().best, 0);
    }

    #[test]
    fn a_candidate_without_a_reward_fails_the_request() {
        let answers = answers_of([f32::NEG_INFINITY, 0.0, f32::NAN, 0.0], &[2, 3, 5]);
        assert_eq!(answers[0].as_ref().unwrap().best, 1);
        let error = answers[1].as_ref().unwrap_err().to_string();
        assert_eq!(error, "request q1: the reward of answer 2 is NaN");
        assert!(
            matches!(&answers[2], Err(ModelError::Request { id, .. } | ModelError::Failed { id, .. }) if id == "q2")
        );
    }
}
