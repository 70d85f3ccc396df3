//! A journal of calls to chat models: an answered call is never repeated, a failed one is retried.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError};
use serde::Deserialize;
use serde_json::{Map, json};

use crate::{Journal, Result};

/// The answers of chat models, by everything that changes them: the model's name, the messages, the sampling
/// parameters and the [endpoint](Self::of_endpoint), if it is stated: state it for a model behind an API, as
/// two services may call different models by one name. The request's id is not part of the key: the same
/// request under another id finds the answer. For another sample of the same prompt, change the seed.
///
/// Threads may share one journal; its file is locked while it is open.
#[derive(Debug)]
pub struct CallJournal {
    journal: Mutex<Journal<Answer>>,
    endpoint: Option<String>,
    or_untagged: bool,
}

/// The part of an entry that is read back. An entry also holds the key, the model and the request's id.
#[derive(Debug, Deserialize)]
struct Answer {
    generations: Vec<Generation>,
}

impl CallJournal {
    /// Opens the journal at a path, or creates it, with the folder that it lies in.
    ///
    /// # Errors
    /// Those of [`Journal::open_as`]. An entry that cannot be read is an error: if it were dropped, its
    /// answer would be paid for again.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let header: Map<_, _> =
            [("format".to_string(), json!("janus-calls")), ("version".to_string(), json!(1))]
                .into_iter()
                .collect();
        Ok(Self { journal: Mutex::new(Journal::open_as(path, &header)?), endpoint: None, or_untagged: false })
    }

    /// Sets the endpoint of the calls that follow. The same message may be a question for a chat endpoint and
    /// a text to complete for another, so the endpoint is part of the key. Calls without an endpoint are chat
    /// calls.
    pub fn of_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Falls back to an answer that was stored without an endpoint if this endpoint has no answer of its own.
    /// This is for a journal that was begun without endpoints, so that nothing in it is paid for again. New
    /// answers are stored under the endpoint.
    pub fn or_untagged(mut self) -> Self {
        self.or_untagged = true;
        self
    }

    /// The key of a call without an endpoint: BLAKE3, in hex, of model, messages and sampling parameters.
    pub fn key(model: &str, request: &ChatRequest) -> String {
        key(None, model, request)
    }

    fn own_key(&self, model: &str, request: &ChatRequest) -> String {
        key(self.endpoint.as_deref(), model, request)
    }

    /// The answer to a request, if the journal has it.
    pub fn get(&self, model: &str, request: &ChatRequest) -> Option<Vec<Generation>> {
        let journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // An entry of fewer samples than asked for is no answer to this request.
        let answer = |key: &str| {
            journal.get(key).map(|entry| &entry.generations).filter(|all| all.len() == request.sampling.n)
        };
        let untagged = || self.or_untagged.then(|| answer(&Self::key(model, request))).flatten();
        answer(&self.own_key(model, request)).or_else(untagged).cloned()
    }

    /// Adds an answer. It is written to the file before this returns.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it cannot be written.
    pub fn put(&self, model: &str, request: &ChatRequest, generations: &[Generation]) -> Result<()> {
        let id = self.own_key(model, request);
        let entry = json!({ "id": id, "model": model, "request": request.id, "generations": generations });
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&id, &entry)
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// Whether the journal has no answers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn key(endpoint: Option<&str>, model: &str, request: &ChatRequest) -> String {
    let mut content = json!({ "model": model, "messages": request.messages, "sampling": request.sampling });
    if let Some(endpoint) = endpoint {
        content["endpoint"] = json!(endpoint);
    }
    blake3::hash(content.to_string().as_bytes()).to_hex().to_string()
}

/// A chat model behind a [`CallJournal`]. Each answer is written to the journal before it is returned,
/// requests that the journal answers are not sent, and equal requests are sent once. Failures are not
/// journalled.
///
/// ```
/// # use janus_core::{ChatModel, ChatRequest, Generation, Message, ModelError};
/// # struct Echo(std::cell::Cell<usize>);
/// # impl ChatModel for Echo {
/// #     fn name(&self) -> &str { "echo" }
/// #     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
/// #         for (index, request) in requests.iter().enumerate() {
/// #             self.0.set(self.0.get() + 1);
/// #             let text = request.messages[0].content.clone();
/// #             on_answer(index, Ok(vec![Generation::new(text)]));
/// #         }
/// #     }
/// # }
/// use janus_data::{CallJournal, Journaled};
///
/// # let folder = tempfile::tempdir()?;
/// let journal = CallJournal::open(folder.path().join("calls.jsonl"))?;
/// let model = Journaled::new(Echo(Default::default()), &journal);
/// let request = |id: &str| ChatRequest::new(id, [Message::user("Hi")]);
/// let answers = model.generate(&[request("a"), request("b")]);
/// assert_eq!(answers[1].as_ref().unwrap()[0].text, "Hi");
/// assert_eq!(journal.len(), 1); // the two requests are equal
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Journaled<'a, M> {
    model: M,
    journal: &'a CallJournal,
}

impl<'a, M: ChatModel> Journaled<'a, M> {
    /// Puts the model behind the journal.
    pub fn new(model: M, journal: &'a CallJournal) -> Self {
        Self { model, journal }
    }

    /// The model itself.
    pub fn model(&self) -> &M {
        &self.model
    }
}

impl<M: ChatModel> ChatModel for Journaled<'_, M> {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        let name = self.model.name();
        // Only the first request of each key is sent; its answer goes to all requests of that key.
        let (mut sent, mut sharing, mut slots) = (Vec::new(), Vec::<Vec<usize>>::new(), HashMap::new());
        for (index, request) in requests.iter().enumerate() {
            if let Some(answer) = self.journal.get(name, request) {
                on_answer(index, Ok(answer));
                continue;
            }
            let slot = *slots.entry(self.journal.own_key(name, request)).or_insert(sent.len());
            if slot == sent.len() {
                sent.push(request.clone());
                sharing.push(Vec::new());
            }
            sharing[slot].push(index);
        }
        if sent.is_empty() {
            return;
        }
        self.model.generate_each(&sent, &mut |slot, answer| {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>, id: &str| ModelError::Failed {
                id: id.into(),
                source,
            };
            let answer =
                answer.and_then(|generations| match self.journal.put(name, &sent[slot], &generations) {
                    Ok(()) => Ok(generations),
                    Err(error) => Err(failed(error.into(), &sent[slot].id)),
                });
            // An error cannot be cloned: the requests that share the call get its text.
            let reason = answer.as_ref().err().map(ToString::to_string);
            let (first, others) =
                sharing[slot].split_first().map_or((0, &[][..]), |(first, others)| (*first, others));
            for &index in others {
                match (&answer, &reason) {
                    (Ok(generations), _) => on_answer(index, Ok(generations.clone())),
                    (_, reason) => on_answer(
                        index,
                        Err(failed(reason.clone().unwrap_or_default().into(), &requests[index].id)),
                    ),
                }
            }
            on_answer(first, answer);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use janus_core::{Message, SamplingParams};

    use super::*;

    /// Answers with the first message; with `refuses`, fails on the message "no".
    #[derive(Default)]
    struct Scripted {
        sent: RefCell<Vec<String>>,
        refuses: bool,
    }

    impl ChatModel for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn generate_each(
            &self,
            requests: &[ChatRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            for (index, request) in requests.iter().enumerate().rev() {
                self.sent.borrow_mut().push(request.id.clone());
                let text = request.messages[0].content.clone();
                if text == "no" && self.refuses {
                    on_answer(
                        index,
                        Err(ModelError::Request { id: request.id.clone(), reason: "refused".into() }),
                    );
                    continue;
                }
                let generation = Generation::new(text).with_tokens(3, 5);
                on_answer(index, Ok(vec![generation; request.sampling.n]));
            }
        }
    }

    fn request(id: &str, text: &str, seed: u64) -> ChatRequest {
        ChatRequest::new(id, [Message::user(text)])
            .with_sampling(SamplingParams { seed, ..SamplingParams::greedy(8) })
    }

    #[test]
    fn answered_requests_are_sent_once_and_failed_ones_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let requests = [
            request("a", "x", 0),
            request("b", "no", 0),
            request("c", "x", 0),
            request("d", "x", 1),
            request("e", "no", 0),
        ];
        {
            let journal = CallJournal::open(&path).unwrap();
            let model = Journaled::new(Scripted { refuses: true, ..Scripted::default() }, &journal);
            let answers = model.generate(&requests);
            assert_eq!(
                answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
                [true, false, true, true, false]
            );
            assert_eq!(answers[4].as_ref().unwrap_err().to_string(), "request e: the model failed");
            assert_eq!(*model.model().sent.borrow(), ["d", "b", "a"], "equal requests are sent once");
            assert_eq!(journal.len(), 2);
        }
        let journal = CallJournal::open(&path).unwrap();
        let model = Journaled::new(Scripted::default(), &journal);
        let answers = model.generate(&requests);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(*model.model().sent.borrow(), ["b"], "only the failed request");
        assert_eq!(answers[0].as_ref().unwrap()[0].completion_tokens, 5);
    }

    /// Such an entry once counted as missing, and its answer was paid for again.
    #[test]
    fn an_unreadable_entry_is_an_error_but_a_partial_last_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let (first, second) = (request("a", "x", 0), request("b", "y", 0));
        let answer = vec![Generation::new("yes").with_tokens(3, 5)];
        let journal = CallJournal::open(&path).unwrap();
        journal.put("m", &first, &answer).unwrap();
        journal.put("m", &second, &answer).unwrap();
        drop(journal);
        let whole = fs::read_to_string(&path).unwrap();
        let edited = whole.replacen("\"yes\"", "7", 1);
        fs::write(&path, &edited).unwrap();
        let error = CallJournal::open(&path).unwrap_err().to_string();
        let place = format!(
            "{}: line 2, field \"generations[0].text\": expected a string, got integer `7`",
            path.display()
        );
        assert_eq!(error, format!("{place}: fix the line, or delete it to request its answer again"));
        assert_eq!(fs::read_to_string(&path).unwrap(), edited, "nothing is written to it");
        // As after a kill during the last write.
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let journal = CallJournal::open(&path).unwrap();
        assert_eq!((journal.get("m", &first), journal.get("m", &second)), (Some(answer.clone()), None));
        journal.put("m", &second, &answer).unwrap();
        drop(journal);
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn everything_that_affects_the_answer_is_in_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let base = request("a", "x", 0);
        let journal = CallJournal::open(folder.path().join("calls.jsonl")).unwrap();
        let key = |model: &str, request: &ChatRequest| journal.own_key(model, request);
        let renamed = request("other", "x", 0);
        assert_eq!(key("m", &base), key("m", &renamed));
        let sampling = |sampling| base.clone().with_sampling(sampling);
        let as_system = ChatRequest::new("a", [Message::system("x")]).with_sampling(base.sampling.clone());
        for other in [
            request("a", "y", 0),
            request("a", "x", 1),
            as_system,
            sampling(SamplingParams { temperature: 0.5, ..base.sampling.clone() }),
            sampling(SamplingParams { max_tokens: 9, ..base.sampling.clone() }),
            sampling(SamplingParams { stop: vec!["s".into()], ..base.sampling.clone() }),
            sampling(SamplingParams { logprobs: true, ..base.sampling.clone() }),
        ] {
            assert_ne!(key("m", &base), key("m", &other), "{other:?}");
        }
        assert_ne!(key("m", &base), key("n", &base));
    }

    /// Keys of journals written at revision 0a1c55a. If they changed, every answer would be paid for again.
    #[test]
    fn a_call_keeps_its_key() {
        let greedy = request("a", "x", 0);
        assert_eq!(
            CallJournal::key("m", &greedy),
            "0cccd0b232ce2a4f6d08c519f2b37971d489160c9dbfc8c8fdbe1c66673624de"
        );
        let messages = vec![Message::system("Be brief."), Message::user("Why is the sky blue?")];
        let paper = ChatRequest::new("b", messages).with_sampling(SamplingParams::paper());
        assert_eq!(
            CallJournal::key("gpt-4", &paper),
            "1e5d2137f52ddac143cba246841f249774274a8c20b466dda9957bb0a20d3f66"
        );
    }

    #[test]
    fn a_question_and_the_same_text_to_complete_have_different_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (path, request) = (folder.path().join("calls.jsonl"), request("a", "x", 0));
        let answer = |text: &str| {
            let generation = Generation::new(text).with_tokens(3, 5);
            vec![generation]
        };
        let chat = CallJournal::open(&path).unwrap();
        // The content that journals of earlier versions hash.
        let content = concat!(
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"sampling":{"temperature":0.0,"top_p":1.0,"top_k":0,"#,
            r#""min_p":0.0,"repetition_penalty":1.0,"max_tokens":8,"n":1,"seed":0,"stop":[],"logprobs":false,"top_logprobs":0}}"#
        );
        assert_eq!(chat.own_key("m", &request), blake3::hash(content.as_bytes()).to_hex().to_string());
        assert_eq!(chat.own_key("m", &request), CallJournal::key("m", &request));
        chat.put("m", &request, &answer("said")).unwrap();
        drop(chat);
        let texts = CallJournal::open(&path).unwrap().of_endpoint("/completions");
        assert_eq!(texts.get("m", &request), None);
        texts.put("m", &request, &answer("continued")).unwrap();
        assert_eq!(texts.get("m", &request), Some(answer("continued")));
        drop(texts);
        assert_eq!(CallJournal::open(&path).unwrap().get("m", &request), Some(answer("said")));
    }

    /// Judges' journals did not state the service's address: a verdict paid for at one was taken for
    /// another's.
    #[test]
    fn two_services_of_one_models_name_do_not_share_answers_and_untagged_ones_are_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let answer = |text: &str| vec![Generation::new(text).with_tokens(3, 5)];
        let [old, new] = ["x", "y"].map(|text| request("a", text, 0));
        // As revision 0a1c55a wrote it.
        CallJournal::open(&path).unwrap().put("scripted", &old, &answer("old")).unwrap();

        let at = |address: &str| CallJournal::open(&path).unwrap().of_endpoint(address).or_untagged();
        let one = at("http://one");
        assert_eq!((one.get("scripted", &old), one.get("scripted", &new)), (Some(answer("old")), None));
        let model = Journaled::new(Scripted::default(), &one);
        assert_eq!(model.generate(std::slice::from_ref(&old)).remove(0).unwrap(), answer("old"));
        assert!(model.model().sent.borrow().is_empty(), "it is paid for");
        one.put("scripted", &new, &answer("one")).unwrap();
        drop(one);

        let two = at("http://two");
        assert_eq!(
            (two.get("scripted", &old), two.get("scripted", &new)),
            (Some(answer("old")), None),
            "what one was paid for is not two's"
        );
        two.put("scripted", &new, &answer("two")).unwrap();
        two.put("scripted", &old, &answer("newer")).unwrap();
        assert_eq!(
            (two.get("scripted", &old), two.get("scripted", &new)),
            (Some(answer("newer")), Some(answer("two"))),
            "its own comes first"
        );
        drop(two);
        assert_eq!(at("http://one").get("scripted", &new), Some(answer("one")));
        let strict = CallJournal::open(&path).unwrap().of_endpoint("http://three");
        assert_eq!(strict.get("scripted", &old), None, "only where it is asked for");
    }

    /// `open` failed without the folder, which some other writers made.
    #[test]
    fn a_journal_in_a_folder_that_is_not_there_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/calls.jsonl");
        CallJournal::open(&path).unwrap().put("m", &request("a", "x", 0), &[Generation::new("yes")]).unwrap();
        assert_eq!(CallJournal::open(&path).unwrap().len(), 1);
    }
}
