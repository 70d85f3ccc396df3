//! Tasks, and the requests made from them.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, Message, ModelError, SamplingParams};

use crate::{Error, Result};

/// A row of a benchmark as a model sees it: the user's side of a conversation.
///
/// ```
/// use janus_core::SamplingParams;
/// use janus_eval::answer::Task;
///
/// let turns = vec!["Name a bird.".to_string(), "And one that swims?".to_string()];
/// let task = Task { id: "81".into(), system: None, turns, sampling: SamplingParams::greedy(1024) };
/// assert_eq!(task.request(&[]).unwrap().id, "81/turn-1");
/// let second = task.request(&["A wren."]).unwrap();
/// assert_eq!(second.messages[1].content, "A wren.");
/// assert!(task.request(&["A wren.", "A duck."]).is_none());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The row's id.
    pub id: String,
    /// The system message. An empty one is not sent.
    pub system: Option<String>,
    /// The user's messages, one per turn.
    pub turns: Vec<String>,
    /// How each turn is sampled.
    pub sampling: SamplingParams,
}

/// A model's answers to a [`Task`]: for each turn, its generations.
pub type Answers = Vec<Vec<Generation>>;

impl Task {
    /// A task of one turn.
    pub fn new(id: impl Into<String>, prompt: impl Into<String>, sampling: SamplingParams) -> Self {
        Self { id: id.into(), system: None, turns: vec![prompt.into()], sampling }
    }

    /// The ids of the requests: the task's id if it has one turn, else `81/turn-1`, `81/turn-2`.
    pub(crate) fn request_ids(&self) -> impl Iterator<Item = String> {
        (0..self.turns.len()).map(|turn| self.request_id(turn))
    }

    fn request_id(&self, turn: usize) -> String {
        if self.turns.len() == 1 { self.id.clone() } else { format!("{}/turn-{}", self.id, turn + 1) }
    }

    /// The request for the next turn, with the previous turns and their answers in the conversation;
    /// `None` if every turn has an answer.
    pub fn request(&self, answers: &[&str]) -> Option<ChatRequest> {
        let next = self.turns.get(answers.len())?;
        let system = self.system.as_deref().filter(|system| !system.is_empty()).map(Message::system);
        let before = self
            .turns
            .iter()
            .zip(answers)
            .flat_map(|(prompt, answer)| [Message::user(prompt), Message::assistant(*answer)]);
        let messages: Vec<Message> = system.into_iter().chain(before).chain([Message::user(next)]).collect();
        Some(ChatRequest::new(self.request_id(answers.len()), messages).with_sampling(self.sampling.clone()))
    }
}

/// Sends every turn of every task to a model: first all first turns, then all second turns after the
/// model's own first answers, which are trimmed, and so on. A task ends with its first failure. If a
/// turn has several generations, the conversation continues with the first.
///
/// If the model is wrapped in a [`janus_data::Journaled`], a run that is started again after an
/// interruption sends only the requests that have no answer yet.
///
/// ```
/// use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
/// use janus_eval::answer::{Task, answer};
///
/// /// Answers with the number of messages in the request.
/// struct Counting;
/// impl ChatModel for Counting {
///     fn name(&self) -> &str { "counting" }
///     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
///         for (index, request) in requests.iter().enumerate() {
///             let text = request.messages.len().to_string();
///             on_answer(index, Ok(vec![Generation::new(text)]));
///         }
///     }
/// }
///
/// let turns = vec!["Write a verse.".into(), "Another.".into()];
/// let task = Task { id: "81".into(), system: None, turns, sampling: SamplingParams::greedy(64) };
/// let answers = answer(&[task], &Counting).remove(0)?;
/// assert_eq!(answers.iter().map(|turn| turn[0].text.as_str()).collect::<Vec<_>>(), ["1", "3"]);
/// # Ok::<(), ModelError>(())
/// ```
pub fn answer(tasks: &[Task], model: &dyn ChatModel) -> Vec<Result<Answers, ModelError>> {
    let mut answers: Vec<Result<Answers, ModelError>> = tasks.iter().map(|_| Ok(Vec::new())).collect();
    loop {
        let next = |(place, (task, so_far)): (usize, (&Task, &Result<Answers, ModelError>))| {
            let texts: Vec<&str> = so_far
                .as_ref()
                .ok()?
                .iter()
                .filter_map(|turn| turn.first())
                .map(|first| first.text.trim())
                .collect();
            Some((place, task.request(&texts)?))
        };
        let (places, requests): (Vec<usize>, Vec<ChatRequest>) =
            tasks.iter().zip(&answers).enumerate().filter_map(next).unzip();
        if requests.is_empty() {
            return answers;
        }
        for ((place, request), generated) in places.into_iter().zip(&requests).zip(model.generate(&requests))
        {
            let silent = || ModelError::NoAnswer { id: request.id.clone() };
            match generated
                .and_then(|generations| if generations.is_empty() { Err(silent()) } else { Ok(generations) })
            {
                Ok(generations) => {
                    if let Ok(turns) = &mut answers[place] {
                        turns.push(generations);
                    }
                }
                Err(error) => answers[place] = Err(error),
            }
        }
    }
}

/// The tasks, if every turn has text and the ids are unique. `id` and `text` are the names of these
/// fields in the benchmark's rows.
///
/// # Errors
/// [`Error::Row`].
pub(crate) fn checked(tasks: Vec<Task>, id: &'static str, text: &'static str) -> Result<Vec<Task>> {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for (row, task) in tasks.iter().enumerate() {
        if task.turns.is_empty() {
            return Err(Error::row(row, text, "at least one turn", "none"));
        }
        if task.turns.iter().any(|turn| turn.trim().is_empty()) {
            return Err(Error::row(row, text, "the user's message", "an empty text"));
        }
        // The id of a task and the ids of its requests must all be unique.
        for name in task.request_ids().filter(|request| *request != task.id).chain([task.id.clone()]) {
            if let Some(first) = rows.insert(name, row) {
                let got = format!("\"{}\", the id of row {}", task.id, first + 1);
                return Err(Error::row(row, id, "an id that no other row has", got));
            }
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Answers with the whole conversation, with whitespace around it. Fails on the message "fail", and
    /// returns no generation on "nothing".
    #[derive(Default)]
    struct Echo {
        sent: RefCell<Vec<Vec<String>>>,
    }

    impl ChatModel for Echo {
        fn name(&self) -> &str {
            "echo"
        }

        fn generate_each(
            &self,
            requests: &[ChatRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            self.sent.borrow_mut().push(requests.iter().map(|request| request.id.clone()).collect());
            for (index, request) in requests.iter().enumerate().rev() {
                let texts: Vec<&str> =
                    request.messages.iter().map(|message| message.content.as_str()).collect();
                let generation = |sample: usize| {
                    Generation::new(format!(" ({})\n", [&texts.join(","), ["", " again"][sample]].concat()))
                };
                on_answer(
                    index,
                    match texts.last().copied() {
                        Some("fail") => {
                            Err(ModelError::Request { id: request.id.clone(), reason: "asked to".into() })
                        }
                        Some("nothing") => Ok(Vec::new()),
                        _ => Ok((0..request.sampling.n).map(generation).collect()),
                    },
                );
            }
        }
    }

    fn task(id: &str, turns: &[&str]) -> Task {
        Task {
            turns: turns.iter().map(|turn| turn.to_string()).collect(),
            ..Task::new(id, "", SamplingParams::default())
        }
    }

    #[test]
    fn turns_are_sent_in_waves_and_contain_the_answers_before_them() {
        let model = Echo::default();
        let two = SamplingParams { n: 2, ..SamplingParams::default() };
        let tasks = [
            Task { system: Some("s".into()), ..task("1", &["a", "b", "c"]) },
            task("2", &["a", "fail", "c"]),
            Task { sampling: two, ..task("3", &["x"]) },
            task("4", &["nothing", "b"]),
            Task { system: Some(String::new()), ..task("5", &["y"]) },
        ];
        let answers = answer(&tasks, &model);
        let texts = |index: usize| -> Vec<&str> {
            answers[index]
                .as_ref()
                .unwrap()
                .iter()
                .flat_map(|turn: &Vec<Generation>| turn.iter().map(|one| one.text.as_str()))
                .collect()
        };
        assert_eq!(texts(0), [" (s,a)\n", " (s,a,(s,a),b)\n", " (s,a,(s,a),b,(s,a,(s,a),b),c)\n"]);
        assert!(matches!(&answers[1], Err(ModelError::Request { id, .. }) if id == "2/turn-2"));
        assert_eq!(texts(2), [" (x)\n", " (x again)\n"]);
        assert!(matches!(&answers[3], Err(ModelError::NoAnswer { id }) if id == "4/turn-1"));
        assert_eq!(texts(4), [" (y)\n"]);
        let sent = model.sent.borrow();
        assert_eq!(sent[0], ["1/turn-1", "2/turn-1", "3", "4/turn-1", "5"]);
        assert_eq!(
            (&sent[1][..], &sent[2][..]),
            (&["1/turn-2".to_string(), "2/turn-2".into()][..], &["1/turn-3".to_string()][..])
        );
        assert!(answer(&[], &model).is_empty());
    }

    #[test]
    fn errors_name_the_row_and_the_field() {
        let problem =
            |tasks: &[Task]| checked(tasks.to_vec(), "question_id", "turns").unwrap_err().to_string();
        assert_eq!(
            problem(&[task("1", &["a"]), task("2", &[])]),
            r#"row 2, field "turns": expected at least one turn, got none"#
        );
        assert_eq!(
            problem(&[task("1", &["a", " \n"])]),
            r#"row 1, field "turns": expected the user's message, got an empty text"#
        );
        let doubled =
            r#"row 3, field "question_id": expected an id that no other row has, got "1", the id of row 1"#;
        assert_eq!(problem(&[task("1", &["a"]), task("2", &["a"]), task("1", &["b"])]), doubled);
        assert_eq!(problem(&[task("1", &["a", "b"]), task("2", &["a"]), task("1", &["a", "b"])]), doubled);
        assert_eq!(problem(&[task("1", &["a", "b"]), task("2", &["a"]), task("1", &["a"])]), doubled);
        assert!(checked(vec![task("1", &["a", "b"]), task("1/turn-2", &["a"])], "id", "turns").is_err());
        assert!(checked(vec![task("1", &["a", "b"]), task("2", &["a"])], "id", "turns").is_ok());
    }
}
