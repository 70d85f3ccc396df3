//! Asks a model what was not answered before.

use std::cell::RefCell;
use std::collections::HashMap;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, RewardModel};
use janus_data::{CallJournal, Journal};
use janus_eval::bench::{self, Answers, Task};
use janus_eval::judge::Estimate;
use janus_infer::best_of_n_each;
use serde_json::{Value, json};

use super::rows::{Answer, generations, row};
use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};

/// What one call did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Requests that got an answer now.
    pub answered: usize,
    /// Tokens generated now.
    pub completion_tokens: usize,
    /// Seconds that the model took.
    pub seconds: f64,
}

impl Tally {
    /// Generated tokens a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.completion_tokens as f64 / self.seconds.max(1e-9)
    }
}

/// What became of each task: its answers, or why it has none.
pub type Answered = Vec<Result<Answers, String>>;

/// Where a run's answers stand before they are written as its output.
#[derive(Debug)]
pub enum Kept<'c> {
    /// A local run's rows by the ids of their requests, until the run is finished.
    Rows(Journal),
    /// What a service answered, by all that was asked: it is paid once, whatever the run. The rows follow from it.
    Calls {
        /// The journal; the service's model writes it.
        calls: &'c CallJournal,
        /// The model's name there.
        model: String,
        /// The rows of this run by the ids of their requests.
        rows: HashMap<String, String>,
    },
}

impl<'c> Kept<'c> {
    /// What this model of a service answered.
    pub fn calls(calls: &'c CallJournal, model: impl Into<String>) -> Self {
        Self::Calls { calls, model: model.into(), rows: HashMap::new() }
    }

    /// The answer to a request, if it was given before.
    pub fn answer(&self, request: &ChatRequest) -> Option<Vec<Generation>> {
        match self {
            Self::Rows(journal) => generations(journal.get(&request.id)?),
            Self::Calls { calls, model, .. } => calls.get(model, request),
        }
    }

    fn row(&self, id: &str) -> Option<&str> {
        match self {
            Self::Rows(journal) => journal.get(id),
            Self::Calls { rows, .. } => rows.get(id).map(String::as_str),
        }
    }

    /// Adds the row of an answer: of one that is new, or that a service gave before.
    fn put(&mut self, id: &str, row: &Value) -> Result<(), CommandError> {
        match self {
            Self::Rows(journal) => journal.append(id, row).failure(),
            Self::Calls { rows, .. } => {
                rows.insert(id.into(), row.to_string());
                Ok(())
            }
        }
    }

    /// The run is finished, and its rows stand in its output.
    ///
    /// # Errors
    /// A failure if the journal cannot be removed.
    pub fn finish(self) -> Result<(), CommandError> {
        match self {
            Self::Rows(journal) => journal.remove().failure(),
            Self::Calls { .. } => Ok(()),
        }
    }
}

/// What is to be asked, if these answers were given before. A later turn's prompt is reckoned with the longest answers before it.
pub fn estimate(tasks: &[Task], known: impl Fn(&ChatRequest) -> Option<Vec<Generation>>) -> Estimate {
    let mut estimate = Estimate::default();
    for task in tasks {
        let (mut said, mut unknown) = (Vec::<String>::new(), 0);
        while let Some(request) = task.request(&said.iter().map(String::as_str).collect::<Vec<_>>()) {
            let answer = if unknown == 0 { known(&request).filter(|generations| !generations.is_empty()) } else { None };
            let most = request.sampling.max_tokens;
            estimate.calls += 1;
            match &answer {
                Some(_) => estimate.answered += 1,
                None => {
                    let characters: usize = request.messages.iter().map(|message| message.content.chars().count()).sum();
                    let prompt = characters.div_ceil(4) + 4 * request.messages.len() + unknown * most;
                    estimate.prompt_tokens += prompt as u64;
                    estimate.completion_tokens += (most * request.sampling.n) as u64;
                    unknown += 1;
                }
            }
            let first = answer.iter().flatten().next();
            said.push(first.map(|generation| generation.text.trim().into()).unwrap_or_default());
        }
    }
    estimate
}

/// Has `model` answer what was not answered before. A request that it has no answer to gets no row, so that a later run asks it
/// again. Without a model, what was answered before is all there is. With a `reward` model the answers to a request are rewarded
/// and the best is taken. `tells_system`: the rows tell their system messages.
///
/// # Errors
/// A failure if the journal cannot be written.
pub fn answer(
    model: Option<&dyn ChatModel>,
    reward: Option<&dyn RewardModel>,
    tasks: &[Task],
    tells_system: bool,
    kept: &mut Kept<'_>,
) -> Result<(Answered, Tally), CommandError> {
    let Estimate { calls: all, answered: before, .. } = estimate(tasks, |request| kept.answer(request));
    let progress = Progress::new("generate", Unit::Count("answers"), all as u64).resumed_at(before as u64);
    let run = RefCell::new(Run { kept, progress, tally: Tally::default(), written: Ok(()) });
    let answers = bench::answer(tasks, &Keeping { model, reward, tells_system, run: &run });
    let Run { progress, tally, written, .. } = run.into_inner();
    if before < all {
        progress.finish();
    }
    written?;
    Ok((answers.into_iter().map(|answers| answers.map_err(|error| CommandError::failure(error).to_string())).collect(), tally))
}

/// A model whose answers are kept before they are used, and taken from there if they are there.
struct Keeping<'a, 'k, 'c> {
    model: Option<&'a dyn ChatModel>,
    reward: Option<&'a dyn RewardModel>,
    tells_system: bool,
    run: &'a RefCell<Run<'k, 'c>>,
}

/// A run as far as it came.
struct Run<'k, 'c> {
    kept: &'k mut Kept<'c>,
    progress: Progress,
    tally: Tally,
    /// The first failure to write is the one to tell; the model cannot be stopped from there.
    written: Result<(), CommandError>,
}

impl Run<'_, '_> {
    fn put(&mut self, id: &str, row: &Value) {
        if self.written.is_ok() {
            self.written = self.kept.put(id, row);
        }
    }

    /// What was answered before, with its row at its place.
    fn known(&mut self, request: &ChatRequest, tells_system: bool) -> Option<Vec<Generation>> {
        let generations = self.kept.answer(request)?;
        if self.kept.row(&request.id).is_none() {
            self.put(&request.id, &row(request, tells_system, &Answer::Drawn(generations.clone())));
        }
        Some(generations)
    }

    fn answered(&mut self, generations: &[Generation]) {
        self.tally.answered += 1;
        self.tally.completion_tokens += generations.iter().map(|generation| generation.completion_tokens).sum::<usize>();
    }

    fn advance(&mut self) {
        self.tally.seconds = self.progress.elapsed().as_secs_f64();
        self.progress.note(format!("{:.1} tokens/s", self.tally.tokens_per_second()));
        self.progress.advance(1);
    }
}

impl ChatModel for Keeping<'_, '_, '_> {
    fn name(&self) -> &str {
        self.model.map_or("nobody", ChatModel::name)
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        let (mut places, mut asked) = (Vec::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            let known = self.run.borrow_mut().known(request, self.tells_system);
            match known {
                Some(generations) => on_answer(place, Ok(generations)),
                None => {
                    places.push(place);
                    asked.push(request.clone());
                }
            }
        }
        let Some(model) = self.model.filter(|_| !asked.is_empty()) else { return };
        let mut each = |position: usize, answer: Result<Answer, ModelError>| {
            let mut run = self.run.borrow_mut();
            if let Ok(answer) = &answer {
                let request = &asked[position];
                run.put(&request.id, &row(request, self.tells_system, answer));
                run.answered(answer.generations());
            }
            run.advance();
            drop(run);
            on_answer(places[position], answer.map(Answer::taken));
        };
        match self.reward {
            None => model.generate_each(&asked, &mut |position, answer| each(position, answer.map(Answer::Drawn))),
            Some(reward) => best_of_n_each(model, reward, &asked, &mut |position, answer| each(position, answer.map(Answer::Chosen))),
        }
    }
}

/// The output's lines, in the order of the tasks, each of one turn: the answers' rows, and `{id, error}` for the rest.
pub fn lines(tasks: &[Task], answered: &Answered, kept: &Kept<'_>) -> Vec<String> {
    let line = |(task, answers): (&Task, &Result<Answers, String>)| match answers {
        Ok(_) => kept.row(&task.id).unwrap_or_default().into(),
        Err(problem) => json!({ "id": task.id, "error": problem }).to_string(),
    };
    tasks.iter().zip(answered).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use janus_core::{Message, ModelError, SamplingParams};
    use janus_data::Journaled;
    use serde_json::Map;

    use super::*;

    /// Answers the last request first, and stops dead after `answers` of them.
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

        fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
            self.waves.borrow_mut().push(requests.len());
            for (done, (index, request)) in requests.iter().enumerate().rev().enumerate() {
                assert!(done < self.answers, "killed");
                if self.refuses == Some(request.id.as_str()) {
                    on_answer(index, Err(ModelError::TooLong { id: request.id.clone(), prompt_tokens: 9, context: 8 }));
                    continue;
                }
                let last = &request.messages.last().unwrap().content;
                let generation = |sample| Generation::new(format!("{} to {last}, ä \"{sample}\"\n", request.id)).with_tokens(3, 5);
                on_answer(index, Ok((0..request.sampling.n).map(generation).collect()));
            }
        }
    }

    fn tasks(count: usize, n: usize) -> Vec<Task> {
        let sampling = SamplingParams { n, ..SamplingParams::default() };
        (0..count).map(|index| Task::new(format!("q{index}"), format!("question {index}"), sampling.clone())).collect()
    }

    fn run(model: &Scripted, tasks: &[Task], journal: &Path) -> (Vec<String>, Tally) {
        let mut journal = Kept::Rows(Journal::open(journal, &Map::new()).unwrap());
        let (answered, tally) = answer(Some(model), None, tasks, true, &mut journal).unwrap();
        (lines(tasks, &answered, &journal), tally)
    }

    #[test]
    fn a_run_killed_after_any_answer_and_resumed_gives_the_same_bytes() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(5, 1));
        let (whole, tally) = run(&Scripted::new(5), &tasks, &folder.path().join("whole"));
        assert_eq!((tally.answered, tally.completion_tokens), (5, 25));
        assert!(whole[0].starts_with(r#"{"id":"q0","response":"q0 to question 0, ä \"0\"\n","finish_reason":"stop","#), "{}", whole[0]);
        for answers in 0..5 {
            let path = folder.path().join(answers.to_string());
            catch_unwind(AssertUnwindSafe(|| run(&Scripted::new(answers), &tasks, &path))).unwrap_err();
            fs::File::options().append(true).open(&path).unwrap().write_all(br#"{"id":"q0","resp"#).unwrap();
            let model = Scripted::new(5);
            let (lines, tally) = run(&model, &tasks, &path);
            assert_eq!((lines, tally.answered, model.waves.take()), (whole.clone(), 5 - answers, vec![5 - answers]));
        }
    }

    #[test]
    fn a_refused_row_is_told_in_its_place_and_asked_again() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(3, 1));
        let path = folder.path().join("journal");
        let model = Scripted { refuses: Some("q1"), ..Scripted::new(3) };
        let (lines, tally) = run(&model, &tasks, &path);
        assert_eq!(tally.answered, 2);
        assert!(lines[1].starts_with(r#"{"id":"q1","error":"request q1: the prompt has 9 tokens"#), "{}", lines[1]);
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
        let texts: Vec<&Value> = row["responses"].as_array().unwrap().iter().map(|response| &response["response"]).collect();
        assert_eq!(texts, ["q0 to question 0, ä \"0\"\n", "q0 to question 0, ä \"1\"\n"]);
    }

    /// Likes the second sample best, and the fourth as well.
    struct Even;

    impl RewardModel for Even {
        fn name(&self) -> &str {
            "even"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            let reward =
                |messages: &Vec<Message>| Ok(f32::from(u8::from(["\"1\"", "\"3\""].iter().any(|id| messages[1].content.contains(id)))));
            conversations.iter().map(reward).collect()
        }
    }

    #[test]
    fn the_best_is_given_and_all_are_kept_with_their_rewards() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(1, 4));
        let mut journal = Kept::Rows(Journal::open(folder.path().join("journal"), &Map::new()).unwrap());
        let (answered, tally) = answer(Some(&Scripted::new(1)), Some(&Even), &tasks, false, &mut journal).unwrap();
        assert_eq!(answered[0].as_ref().unwrap()[0][0].text, "q0 to question 0, ä \"1\"\n", "the best goes on");
        let row: Value = serde_json::from_str(&lines(&tasks, &answered, &journal)[0]).unwrap();
        assert_eq!((&row["best"], &row["reward"], &row["completion_tokens"]), (&json!(1), &json!(1.0), &json!(5)));
        assert_eq!(row["response"], "q0 to question 0, ä \"1\"\n");
        let rewards: Vec<&Value> = row["responses"].as_array().unwrap().iter().map(|response| &response["reward"]).collect();
        assert_eq!(rewards, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(row["responses"][1]["response"], row["response"]);
        assert_eq!((tally.answered, tally.completion_tokens), (1, 20));
        // What stands in the journal is the same answer, and needs no model.
        let (again, tally) = answer(None, None, &tasks, false, &mut journal).unwrap();
        assert_eq!((&again, tally.answered), (&answered, 0));
    }

    #[test]
    fn a_conversation_killed_between_its_turns_goes_on_with_the_second() {
        let folder = tempfile::tempdir().unwrap();
        let turns = |task: Task| Task { turns: vec!["first".into(), "second".into()], ..task };
        let tasks: Vec<Task> = tasks(2, 1).into_iter().map(turns).collect();
        let run = |model: &Scripted, path: &Path| {
            let mut journal = Kept::Rows(Journal::open(path, &Map::new()).unwrap());
            answer(Some(model), None, &tasks, false, &mut journal).unwrap().0
        };
        let whole = run(&Scripted::new(2), &folder.path().join("whole"));
        let texts: Vec<&str> = whole[1].as_ref().unwrap().iter().map(|turn| turn[0].text.as_str()).collect();
        assert_eq!(texts, ["q1/turn-1 to first, ä \"0\"\n", "q1/turn-2 to second, ä \"0\"\n"]);
        let path = folder.path().join("cut");
        let journal = fs::read_to_string(folder.path().join("whole")).unwrap();
        // Header, both first turns (the last request is answered first), and the second turn of the second task.
        for (rows, left) in [(1, [2, 2]), (2, [1, 2]), (3, [0, 2]), (4, [0, 1])] {
            fs::write(&path, journal.split_inclusive('\n').take(rows).collect::<String>()).unwrap();
            let model = Scripted::new(2);
            assert_eq!(run(&model, &path), whole);
            let asked: Vec<usize> = left.into_iter().filter(|asked| *asked > 0).collect();
            assert_eq!(*model.waves.borrow(), asked, "{rows}");
        }
    }

    #[test]
    fn what_a_service_answered_is_not_asked_by_any_run() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), tasks(3, 1));
        let calls = CallJournal::open(folder.path().join("calls")).unwrap();
        let run = |model: &Scripted, tasks: &[Task]| {
            let mut kept = Kept::calls(&calls, "scripted");
            let estimated = estimate(tasks, |request| kept.answer(request));
            let (answered, tally) = answer(Some(&Journaled::new(model, &calls)), None, tasks, false, &mut kept).unwrap();
            assert_eq!(estimated.calls - estimated.answered, tally.answered);
            lines(tasks, &answered, &kept)
        };
        let first = run(&Scripted::new(2), &tasks[..2]);
        let more = Scripted::new(1);
        let second = run(&more, &tasks);
        assert_eq!((&second[..2], more.waves.take()), (&first[..], vec![1]), "a row more is one question more");
        let none = Scripted::new(0);
        assert_eq!((run(&none, &tasks[1..2]), none.waves.take()), (first[1..].to_vec(), Vec::new()), "and a row less is none");
    }

    #[test]
    fn an_estimate_counts_what_later_turns_may_carry() {
        let sampling = SamplingParams { n: 2, ..SamplingParams::greedy(100) };
        let task = Task { turns: vec!["12345678".into(), "1234".into()], ..Task::new("q", "", sampling) };
        let whole = estimate(std::slice::from_ref(&task), |_| None);
        assert_eq!(whole, Estimate { calls: 2, answered: 0, prompt_tokens: (2 + 4) + (3 + 12 + 100), completion_tokens: 400 });
        let said = Generation::new(" 12345678\n");
        let rest = estimate(&[task], |request| (request.messages.len() == 1).then(|| vec![said.clone(); 2]));
        assert_eq!(rest, Estimate { calls: 2, answered: 1, prompt_tokens: 5 + 12, completion_tokens: 200 });
    }
}
