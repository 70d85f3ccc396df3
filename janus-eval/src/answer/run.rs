//! Generates the answers that a store does not have yet.

use std::cell::RefCell;
use std::time::Instant;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, RewardModel, best_of_n_each, error_chain};
use serde_json::{Value, json};

use super::row::{Sampled, row};
use super::{AnswerStore, Answers, Task, answer};
use crate::Result;
use crate::judge::Estimate;

/// Sends tasks to a model, each request once: every answer is written to a store before it is used, and
/// a resumed run takes it from there.
///
/// ```
/// # use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
/// # struct Parrot;
/// # impl ChatModel for Parrot {
/// #     fn name(&self) -> &str { "parrot" }
/// #     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
/// #         for (index, request) in requests.iter().enumerate() {
/// #             on_answer(index, Ok(vec![Generation::new(request.messages[0].content.clone())]));
/// #         }
/// #     }
/// # }
/// use janus_eval::answer::{AnswerFile, Answering, Task};
///
/// # let folder = tempfile::tempdir()?;
/// let tasks = [Task::new("q1", "Name a bird.", SamplingParams::greedy(64))];
/// // Everything that the answers depend on: a store with other settings is an error.
/// let mut settings = AnswerFile::settings(&tasks)?;
/// settings.insert("model".into(), Parrot.name().into());
/// let mut store = AnswerFile::new(folder.path().join("answers.jsonl")).open_store(&settings, false)?;
/// let answered = Answering::new(&tasks).run(&Parrot, &mut store, &mut |tally| eprintln!("{} answered", tally.answered))?;
/// assert_eq!(answered.answers[0].as_ref().unwrap()[0][0].text, "Name a bird.");
/// assert!(answered.rows(&tasks, &store)[0].starts_with(r#"{"id":"q1","response":"Name a bird.","#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Answering<'a> {
    tasks: &'a [Task],
    reward: Option<&'a dyn RewardModel>,
    with_system: bool,
}

/// The progress of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerProgress {
    /// Requests answered in this run.
    pub answered: usize,
    /// Requests answered or failed in this run.
    pub done: usize,
    /// Tokens generated in this run.
    pub completion_tokens: usize,
    /// Seconds since the run started.
    pub seconds: f64,
}

impl AnswerProgress {
    /// Generated tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.completion_tokens as f64 / self.seconds.max(1e-9)
    }
}

/// The results of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// For each task its answers, or the error.
    pub answers: Vec<Result<Answers, String>>,
    /// Requests, tokens and time of this run.
    pub tally: AnswerProgress,
}

impl Answered {
    /// The ids of the tasks without an answer, with the error of each.
    pub fn failures<'a>(&'a self, tasks: &'a [Task]) -> impl Iterator<Item = (&'a str, &'a str)> {
        tasks
            .iter()
            .zip(&self.answers)
            .filter_map(|(task, answers)| Some((task.id.as_str(), answers.as_ref().err()?.as_str())))
    }

    /// A line of JSON for each task, for tasks of one turn:
    /// `{id, response, finish_reason, prompt_tokens, completion_tokens}`. A task with several samples
    /// has a list `responses` of such objects. A task without an answer is `{id, error}`.
    pub fn rows(&self, tasks: &[Task], store: &AnswerStore<'_>) -> Vec<String> {
        let line = |(task, answers): (&Task, &Result<Answers, String>)| match answers {
            Ok(_) => store.row(&task.id).unwrap_or_default().into(),
            Err(problem) => json!({ "id": task.id, "error": problem }).to_string(),
        };
        tasks.iter().zip(&self.answers).map(line).collect()
    }
}

impl<'a> Answering<'a> {
    /// A run over these tasks.
    pub fn new(tasks: &'a [Task]) -> Self {
        Self { tasks, reward: None, with_system: false }
    }

    /// Scores the `n` samples of each request with a reward model and continues with the best. The rows
    /// have all samples with their rewards.
    pub fn best_by(self, reward: &'a dyn RewardModel) -> Self {
        Self { reward: Some(reward), ..self }
    }

    /// Whether the rows contain the system messages. Default: no.
    pub fn with_system(self, with_system: bool) -> Self {
        Self { with_system, ..self }
    }

    /// The calls and tokens that a run needs, given the answers in the store.
    pub fn estimate(&self, store: &AnswerStore<'_>) -> Estimate {
        estimate(self.tasks, |request| store.answer(request))
    }

    /// Sends `model` the requests that have no answer in the store. `progress` is called after each
    /// request. A failed request gets no row, so that a later run sends it again.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the store cannot be written. A failed request is not an
    /// error here: it is in [`Answered::answers`].
    pub fn run(
        &self,
        model: &dyn ChatModel,
        store: &mut AnswerStore<'_>,
        progress: &mut dyn FnMut(&AnswerProgress),
    ) -> Result<Answered> {
        self.answered(Some(model), store, progress)
    }

    /// The answers in the store, without calls to a model.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the store cannot be written.
    pub fn stored(&self, store: &mut AnswerStore<'_>) -> Result<Answered> {
        self.answered(None, store, &mut |_| {})
    }

    fn answered(
        &self,
        model: Option<&dyn ChatModel>,
        store: &mut AnswerStore<'_>,
        progress: &mut dyn FnMut(&AnswerProgress),
    ) -> Result<Answered> {
        let state = State {
            store,
            progress,
            started: Instant::now(),
            tally: AnswerProgress::default(),
            written: Ok(()),
        };
        let state = RefCell::new(state);
        let answers = answer(self.tasks, &Storing { model, answering: *self, state: &state });
        let State { tally, written, .. } = state.into_inner();
        written?;
        Ok(Answered {
            answers: answers
                .into_iter()
                .map(|answers| answers.map_err(|error| error_chain(&error)))
                .collect(),
            tally,
        })
    }
}

impl std::fmt::Debug for Answering<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reward = self.reward.map(RewardModel::name);
        f.debug_struct("Answering")
            .field("tasks", &self.tasks.len())
            .field("reward", &reward)
            .finish_non_exhaustive()
    }
}

/// The calls and tokens that the tasks need if `known` returns the stored answers. For the prompt of a
/// later turn, missing earlier answers count as `max_tokens` tokens each.
fn estimate(tasks: &[Task], known: impl Fn(&ChatRequest) -> Option<Vec<Generation>>) -> Estimate {
    let mut estimate = Estimate::default();
    for task in tasks {
        let (mut answers, mut unknown) = (Vec::<String>::new(), 0);
        while let Some(request) = task.request(&answers.iter().map(String::as_str).collect::<Vec<_>>()) {
            let answer = if unknown == 0 {
                known(&request).filter(|generations| !generations.is_empty())
            } else {
                None
            };
            let most = request.sampling.max_tokens;
            estimate.calls += 1;
            match &answer {
                Some(_) => estimate.answered += 1,
                None => {
                    let characters: usize =
                        request.messages.iter().map(|message| message.content.chars().count()).sum();
                    let prompt = characters.div_ceil(4) + 4 * request.messages.len() + unknown * most;
                    estimate.prompt_tokens += prompt as u64;
                    estimate.completion_tokens += (most * request.sampling.n) as u64;
                    unknown += 1;
                }
            }
            let first = answer.iter().flatten().next();
            answers.push(first.map(|generation| generation.text.trim().into()).unwrap_or_default());
        }
    }
    estimate
}

/// A model with a store: stored answers are returned, and new answers are stored before they are used.
struct Storing<'a, 's, 'c> {
    model: Option<&'a dyn ChatModel>,
    answering: Answering<'a>,
    state: &'a RefCell<State<'s, 'c>>,
}

/// The state of a run.
struct State<'s, 'c> {
    store: &'s mut AnswerStore<'c>,
    progress: &'s mut dyn FnMut(&AnswerProgress),
    started: Instant,
    tally: AnswerProgress,
    /// The first write error. It is returned at the end, because `on_answer` cannot stop the model.
    written: Result<()>,
}

impl State<'_, '_> {
    fn put(&mut self, id: &str, row: &Value) {
        if self.written.is_ok() {
            self.written = self.store.put(id, row);
        }
    }

    /// The stored answer. Also makes sure that the store has its row.
    fn known(&mut self, request: &ChatRequest, with_system: bool) -> Option<Vec<Generation>> {
        let generations = self.store.answer(request)?;
        if self.store.row(&request.id).is_none() {
            self.put(&request.id, &row(request, with_system, &Sampled::All(generations.clone())));
        }
        Some(generations)
    }

    fn answered(&mut self, generations: &[Generation]) {
        self.tally.answered += 1;
        self.tally.completion_tokens +=
            generations.iter().map(|generation| generation.completion_tokens).sum::<usize>();
    }

    fn advance(&mut self) {
        self.tally.done += 1;
        self.tally.seconds = self.started.elapsed().as_secs_f64();
        (self.progress)(&self.tally);
    }
}

impl ChatModel for Storing<'_, '_, '_> {
    fn name(&self) -> &str {
        self.model.map_or("nobody", ChatModel::name)
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        let Answering { reward, with_system, .. } = self.answering;
        let (mut places, mut open) = (Vec::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            let known = self.state.borrow_mut().known(request, with_system);
            match known {
                Some(generations) => on_answer(place, Ok(generations)),
                None => {
                    places.push(place);
                    open.push(request.clone());
                }
            }
        }
        let Some(model) = self.model.filter(|_| !open.is_empty()) else { return };
        let mut each = |position: usize, answer: Result<Sampled, ModelError>| {
            let mut state = self.state.borrow_mut();
            if let Ok(answer) = &answer {
                let request = &open[position];
                state.put(&request.id, &row(request, with_system, answer));
                state.answered(answer.generations());
            }
            state.advance();
            drop(state);
            on_answer(places[position], answer.map(Sampled::into_answers));
        };
        match reward {
            None => {
                model.generate_each(&open, &mut |position, answer| each(position, answer.map(Sampled::All)))
            }
            Some(reward) => best_of_n_each(model, reward, &open, &mut |position, answer| {
                each(position, answer.map(Sampled::Best))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use janus_core::{Message, ModelError, SamplingParams};
    use janus_data::{CallJournal, Journal, Journaled};
    use serde_json::Map;

    use super::*;

    /// Answers the last request first, and panics after `answers` requests.
    struct Scripted {
        answers: usize,
        refuses: Option<&'static str>,
        /// Requests of each call.
        waves: RefCell<Vec<usize>>,
    }

    impl Scripted {
        fn new(answers: usize) -> Self {
            Self { answers, refuses: None, waves: RefCell::default() }
        }
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
            self.waves.borrow_mut().push(requests.len());
            for (done, (index, request)) in requests.iter().enumerate().rev().enumerate() {
                assert!(done < self.answers, "killed");
                if self.refuses == Some(request.id.as_str()) {
                    on_answer(
                        index,
                        Err(ModelError::TooLong { id: request.id.clone(), prompt_tokens: 9, context: 8 }),
                    );
                    continue;
                }
                let last = &request.messages.last().unwrap().content;
                let generation = |sample| {
                    Generation::new(format!("{} to {last}, ä \"{sample}\"\n", request.id)).with_tokens(3, 5)
                };
                on_answer(index, Ok((0..request.sampling.n).map(generation).collect()));
            }
        }
    }

    fn tasks(count: usize, n: usize) -> Vec<Task> {
        let sampling = SamplingParams { n, ..SamplingParams::default() };
        (0..count)
            .map(|index| Task::new(format!("q{index}"), format!("question {index}"), sampling.clone()))
            .collect()
    }

    fn run(model: &Scripted, tasks: &[Task], journal: &Path) -> (Vec<String>, AnswerProgress) {
        let mut store = AnswerStore::rows(Journal::open(journal, &Map::new()).unwrap());
        let answered = Answering::new(tasks).with_system(true).run(model, &mut store, &mut |_| {}).unwrap();
        (answered.rows(tasks, &store), answered.tally)
    }

    #[test]
    fn a_run_killed_after_any_answer_and_resumed_gives_the_same_bytes() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(5, 1));
        let (whole, tally) = run(&Scripted::new(5), &tasks, &folder.path().join("whole"));
        assert_eq!((tally.answered, tally.completion_tokens), (5, 25));
        assert!(
            whole[0].starts_with(
                r#"{"id":"q0","response":"q0 to question 0, ä \"0\"\n","finish_reason":"stop","#
            ),
            "{}",
            whole[0]
        );
        for answers in 0..5 {
            let path = folder.path().join(answers.to_string());
            catch_unwind(AssertUnwindSafe(|| run(&Scripted::new(answers), &tasks, &path))).unwrap_err();
            fs::File::options().append(true).open(&path).unwrap().write_all(br#"{"id":"q0","resp"#).unwrap();
            let model = Scripted::new(5);
            let (lines, tally) = run(&model, &tasks, &path);
            assert_eq!(
                (lines, tally.answered, model.waves.take()),
                (whole.clone(), 5 - answers, vec![5 - answers])
            );
        }
    }

    #[test]
    fn a_failed_row_is_reported_at_its_position_and_requested_again() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(3, 1));
        let path = folder.path().join("journal");
        let model = Scripted { refuses: Some("q1"), ..Scripted::new(3) };
        let (lines, tally) = run(&model, &tasks, &path);
        assert_eq!(tally.answered, 2);
        assert!(
            lines[1].starts_with(r#"{"id":"q1","error":"request q1: the prompt has 9 tokens"#),
            "{}",
            lines[1]
        );
        let model = Scripted::new(3);
        let (lines, _) = run(&model, &tasks, &path);
        assert!(lines[1].starts_with(r#"{"id":"q1","response":"#) && model.waves.take() == [1]);
    }

    #[test]
    fn several_samples_are_a_list_and_a_composed_system_message_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = tasks(1, 2);
        tasks[0].system = Some("S".into());
        let (lines, _) = run(&Scripted::new(1), &tasks, &folder.path().join("journal"));
        let row: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(row["system"], "S");
        let texts: Vec<&Value> =
            row["responses"].as_array().unwrap().iter().map(|response| &response["response"]).collect();
        assert_eq!(texts, ["q0 to question 0, ä \"0\"\n", "q0 to question 0, ä \"1\"\n"]);
    }

    /// Gives the second and the fourth sample the same, highest reward.
    struct Even;

    impl RewardModel for Even {
        fn name(&self) -> &str {
            "even"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            let reward = |messages: &Vec<Message>| {
                Ok(f32::from(u8::from(["\"1\"", "\"3\""].iter().any(|id| messages[1].content.contains(id)))))
            };
            conversations.iter().map(reward).collect()
        }
    }

    #[test]
    fn the_best_sample_is_the_answer_and_the_row_has_all_samples_with_rewards() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(1, 4));
        let mut store = AnswerStore::rows(Journal::open(folder.path().join("journal"), &Map::new()).unwrap());
        let answering = Answering::new(&tasks).best_by(&Even);
        let answered = answering.run(&Scripted::new(1), &mut store, &mut |_| {}).unwrap();
        assert_eq!(
            answered.answers[0].as_ref().unwrap()[0][0].text,
            "q0 to question 0, ä \"1\"\n",
            "the best continues"
        );
        let row: Value = serde_json::from_str(&answered.rows(&tasks, &store)[0]).unwrap();
        assert_eq!(
            (&row["best"], &row["reward"], &row["completion_tokens"]),
            (&json!(1), &json!(1.0), &json!(5))
        );
        assert_eq!(row["response"], "q0 to question 0, ä \"1\"\n");
        let rewards: Vec<&Value> =
            row["responses"].as_array().unwrap().iter().map(|response| &response["reward"]).collect();
        assert_eq!(rewards, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(row["responses"][1]["response"], row["response"]);
        assert_eq!((answered.tally.answered, answered.tally.completion_tokens), (1, 20));
        // The journal has the same answer, without a model.
        let again = Answering::new(&tasks).stored(&mut store).unwrap();
        assert_eq!((&again.answers, again.tally.answered), (&answered.answers, 0));
    }

    #[test]
    fn a_conversation_killed_between_its_turns_continues_with_the_second_turn() {
        let folder = tempfile::tempdir().unwrap();
        let turns = |task: Task| Task { turns: vec!["first".into(), "second".into()], ..task };
        let tasks: Vec<Task> = tasks(2, 1).into_iter().map(turns).collect();
        let run = |model: &Scripted, path: &Path| {
            let mut store = AnswerStore::rows(Journal::open(path, &Map::new()).unwrap());
            Answering::new(&tasks).run(model, &mut store, &mut |_| {}).unwrap().answers
        };
        let whole = run(&Scripted::new(2), &folder.path().join("whole"));
        let texts: Vec<&str> = whole[1].as_ref().unwrap().iter().map(|turn| turn[0].text.as_str()).collect();
        assert_eq!(texts, ["q1/turn-1 to first, ä \"0\"\n", "q1/turn-2 to second, ä \"0\"\n"]);
        let path = folder.path().join("cut");
        let journal = fs::read_to_string(folder.path().join("whole")).unwrap();
        // Header, both first turns (the last request is answered first), and the second turn of the
        // second task.
        for (rows, left) in [(1, [2, 2]), (2, [1, 2]), (3, [0, 2]), (4, [0, 1])] {
            fs::write(&path, journal.split_inclusive('\n').take(rows).collect::<String>()).unwrap();
            let model = Scripted::new(2);
            assert_eq!(run(&model, &path), whole);
            let sent: Vec<usize> = left.into_iter().filter(|sent| *sent > 0).collect();
            assert_eq!(*model.waves.borrow(), sent, "{rows}");
        }
    }

    #[test]
    fn a_journaled_call_to_an_api_is_not_repeated_by_any_run() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(3, 1));
        let calls = CallJournal::open(folder.path().join("calls")).unwrap();
        let run = |model: &Scripted, tasks: &[Task]| {
            let mut store = AnswerStore::calls(&calls, "scripted");
            let answering = Answering::new(tasks);
            let estimated = answering.estimate(&store);
            let answered = answering.run(&Journaled::new(model, &calls), &mut store, &mut |_| {}).unwrap();
            assert_eq!(estimated.calls - estimated.answered, answered.tally.answered);
            answered.rows(tasks, &store)
        };
        let first = run(&Scripted::new(2), &tasks[..2]);
        let more = Scripted::new(1);
        let second = run(&more, &tasks);
        assert_eq!(
            (&second[..2], more.waves.take()),
            (&first[..], vec![1]),
            "one more row is one more request"
        );
        let none = Scripted::new(0);
        assert_eq!(
            (run(&none, &tasks[1..2]), none.waves.take()),
            (first[1..].to_vec(), Vec::new()),
            "one row less is no request"
        );
    }

    #[test]
    fn an_estimate_counts_the_earlier_answers_in_later_prompts() {
        let sampling = SamplingParams { n: 2, ..SamplingParams::greedy(100) };
        let task = Task { turns: vec!["12345678".into(), "1234".into()], ..Task::new("q", "", sampling) };
        let whole = estimate(std::slice::from_ref(&task), |_| None);
        assert_eq!(
            whole,
            Estimate {
                calls: 2,
                answered: 0,
                prompt_tokens: (2 + 4) + (3 + 12 + 100),
                completion_tokens: 400
            }
        );
        let said = Generation::new(" 12345678\n");
        let rest = estimate(&[task], |request| (request.messages.len() == 1).then(|| vec![said.clone(); 2]));
        assert_eq!(rest, Estimate { calls: 2, answered: 1, prompt_tokens: 5 + 12, completion_tokens: 200 });
    }
}
