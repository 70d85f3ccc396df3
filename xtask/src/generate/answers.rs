//! Asks a model what the journal does not hold yet.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, RewardModel};
use janus_data::Journal;
use janus_infer::{BestOfN, best_of_n_each};
use serde_json::{Value, json};

use super::prompts::Prompt;
use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};

/// What one call did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Rows that got an answer now.
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

/// The prompts that the journal holds no answer to, by their positions.
pub fn unanswered(prompts: &[Prompt], journal: &Journal) -> Vec<usize> {
    (0..prompts.len()).filter(|&index| journal.get(&prompts[index].request.id).is_none()).collect()
}

/// Why prompts got no answer, by their positions.
pub type Problems = BTreeMap<usize, String>;

/// What a prompt got.
enum Answer {
    Drawn(Vec<Generation>),
    Chosen(BestOfN),
}

impl Answer {
    fn generations(&self) -> &[Generation] {
        match self {
            Self::Drawn(generations) => generations,
            Self::Chosen(best) => &best.candidates,
        }
    }
}

/// Asks `model` for the prompts at the positions `asked`, has the answers to each rewarded and one chosen if there is a `reward`
/// model, and writes each row into the journal as it comes. A prompt that the model has no answer to is a problem and gets no row there, so that a later
/// run asks it again.
///
/// # Errors
/// A failure if the journal cannot be written.
pub fn answer(
    model: &dyn ChatModel,
    reward: Option<&dyn RewardModel>,
    prompts: &[Prompt],
    asked: &[usize],
    journal: &mut Journal,
) -> Result<(Problems, Tally), CommandError> {
    let requests: Vec<ChatRequest> = asked.iter().map(|&index| prompts[index].request.clone()).collect();
    let mut problems = Problems::new();
    let mut progress =
        Progress::new("generate", Unit::Count("rows"), prompts.len() as u64).resumed_at((prompts.len() - asked.len()) as u64);
    let mut tally = Tally::default();
    let mut journalled = Ok(());
    let mut on_answer = |position: usize, answer: Result<Answer, ModelError>| {
        let (index, prompt) = (asked[position], &prompts[asked[position]]);
        match answer {
            Ok(answer) => {
                tally.answered += 1;
                tally.completion_tokens += answer.generations().iter().map(|generation| generation.completion_tokens).sum::<usize>();
                // The first failure to write is the one to tell; the model cannot be stopped from here.
                if journalled.is_ok() {
                    journalled = journal.append(&prompt.request.id, &row(prompt, &answer)).failure();
                }
            }
            Err(error) => drop(problems.insert(index, CommandError::failure(error).to_string())),
        }
        tally.seconds = progress.elapsed().as_secs_f64();
        progress.note(format!("{:.1} tokens/s", tally.tokens_per_second()));
        progress.advance(1);
    };
    match reward {
        None => model.generate_each(&requests, &mut |position, answer| on_answer(position, answer.map(Answer::Drawn))),
        Some(reward) => best_of_n_each(model, reward, &requests, &mut |position, answer| on_answer(position, answer.map(Answer::Chosen))),
    }
    progress.finish();
    journalled?;
    Ok((problems, tally))
}

/// The output's lines, in the order of the prompts: the journal's rows, and `{id, error}` for the rest.
pub fn lines(prompts: &[Prompt], problems: &Problems, journal: &Journal) -> Vec<String> {
    let line = |(index, prompt): (usize, &Prompt)| {
        let id = &prompt.request.id;
        journal.get(id).map(String::from).unwrap_or_else(|| {
            let problem = problems.get(&index).map_or("the model gave no answer", String::as_str);
            json!({ "id": id, "error": problem }).to_string()
        })
    };
    prompts.iter().enumerate().map(line).collect()
}

/// An answered row of the output.
fn row(prompt: &Prompt, answer: &Answer) -> Value {
    let mut row = json!({ "id": prompt.request.id });
    if let Some(system) = &prompt.composed_system {
        row["system"] = json!(system);
    }
    match answer {
        Answer::Drawn(generations) if prompt.request.sampling.n == 1 => generations.iter().for_each(|one| add(&mut row, one)),
        Answer::Drawn(generations) => row["responses"] = generations.iter().map(fields).collect(),
        Answer::Chosen(best) => {
            add(&mut row, best.best());
            row["reward"] = json!(best.best_reward());
            row["best"] = json!(best.best);
            row["responses"] = rewarded(best);
        }
    }
    row
}

fn add(row: &mut Value, generation: &Generation) {
    for (key, value) in fields(generation).as_object().into_iter().flatten() {
        row[key] = value.clone();
    }
}

fn fields(generation: &Generation) -> Value {
    json!({
        "response": generation.text,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
    })
}

/// All answers with their rewards.
pub(crate) fn rewarded(best: &BestOfN) -> Value {
    let with_reward = |(generation, reward): (&Generation, &f32)| {
        let mut all = fields(generation);
        all["reward"] = json!(reward);
        all
    };
    best.candidates.iter().zip(&best.rewards).map(with_reward).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::io::Write as _;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use janus_core::{FinishReason, Message, ModelError, SamplingParams};
    use serde_json::Map;

    use super::*;

    /// Answers the last request first, and stops dead after `answers` of them.
    struct Scripted {
        answers: usize,
        refuses: Option<&'static str>,
        asked: Cell<usize>,
    }

    impl Scripted {
        fn new(answers: usize) -> Self {
            Self { answers, refuses: None, asked: Cell::new(0) }
        }
    }

    impl ChatModel for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
            self.asked.set(requests.len());
            for (done, (index, request)) in requests.iter().enumerate().rev().enumerate() {
                assert!(done < self.answers, "killed");
                if self.refuses == Some(request.id.as_str()) {
                    on_answer(index, Err(ModelError::TooLong { id: request.id.clone(), prompt_tokens: 9, context: 8 }));
                    continue;
                }
                let generation = |sample| Generation {
                    text: format!("{} to {}, ä \"{sample}\"\n", request.id, request.messages.last().unwrap().content),
                    finish_reason: FinishReason::Stop,
                    prompt_tokens: 3,
                    completion_tokens: 5,
                    logprobs: None,
                };
                on_answer(index, Ok((0..request.sampling.n).map(generation).collect()));
            }
        }
    }

    fn prompts(count: usize, n: usize) -> Vec<Prompt> {
        let sampling = SamplingParams { n, ..SamplingParams::default() };
        let request = |index: usize| ChatRequest {
            id: format!("q{index}"),
            messages: vec![Message::user(format!("question {index}"))],
            sampling: sampling.clone(),
        };
        (0..count).map(|index| Prompt { request: request(index), composed_system: None }).collect()
    }

    fn run(model: &Scripted, prompts: &[Prompt], journal: &Path) -> (Vec<String>, Tally) {
        let mut journal = Journal::open(journal, &Map::new(), false).unwrap();
        let asked = unanswered(prompts, &journal);
        let (problems, tally) = answer(model, None, prompts, &asked, &mut journal).unwrap();
        (lines(prompts, &problems, &journal), tally)
    }

    #[test]
    fn a_run_killed_after_any_answer_and_resumed_gives_the_same_bytes() {
        let (folder, prompts) = (tempfile::tempdir().unwrap(), prompts(5, 1));
        let (whole, tally) = run(&Scripted::new(5), &prompts, &folder.path().join("whole"));
        assert_eq!((tally.answered, tally.completion_tokens), (5, 25));
        assert!(whole[0].starts_with(r#"{"id":"q0","response":"q0 to question 0, ä \"0\"\n","finish_reason":"stop","#), "{}", whole[0]);
        for answers in 0..5 {
            let path = folder.path().join(answers.to_string());
            catch_unwind(AssertUnwindSafe(|| run(&Scripted::new(answers), &prompts, &path))).unwrap_err();
            fs::File::options().append(true).open(&path).unwrap().write_all(br#"{"id":"q0","resp"#).unwrap();
            let model = Scripted::new(5);
            let (lines, tally) = run(&model, &prompts, &path);
            assert_eq!((lines, tally.answered, model.asked.get()), (whole.clone(), 5 - answers, 5 - answers));
        }
    }

    #[test]
    fn a_refused_row_is_told_in_its_place_and_asked_again() {
        let (folder, prompts) = (tempfile::tempdir().unwrap(), prompts(3, 1));
        let path = folder.path().join("journal");
        let model = Scripted { refuses: Some("q1"), ..Scripted::new(3) };
        let (lines, tally) = run(&model, &prompts, &path);
        assert_eq!(tally.answered, 2);
        assert!(lines[1].starts_with(r#"{"id":"q1","error":"request q1: the prompt has 9 tokens"#), "{}", lines[1]);
        let model = Scripted::new(3);
        let (lines, _) = run(&model, &prompts, &path);
        assert!(lines[1].starts_with(r#"{"id":"q1","response":"#) && model.asked.get() == 1);
    }

    #[test]
    fn several_samples_are_a_list_and_a_composed_system_message_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mut prompts = prompts(1, 2);
        prompts[0].composed_system = Some("S".into());
        let (lines, _) = run(&Scripted::new(1), &prompts, &folder.path().join("journal"));
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
        let (folder, prompts) = (tempfile::tempdir().unwrap(), prompts(1, 4));
        let mut journal = Journal::open(folder.path().join("journal"), &Map::new(), false).unwrap();
        let (problems, tally) = answer(&Scripted::new(1), Some(&Even), &prompts, &[0], &mut journal).unwrap();
        let row: Value = serde_json::from_str(&lines(&prompts, &problems, &journal)[0]).unwrap();
        assert_eq!((&row["best"], &row["reward"], &row["completion_tokens"]), (&json!(1), &json!(1.0), &json!(5)));
        assert_eq!(row["response"], "q0 to question 0, ä \"1\"\n");
        let rewards: Vec<&Value> = row["responses"].as_array().unwrap().iter().map(|response| &response["reward"]).collect();
        assert_eq!(rewards, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(row["responses"][1]["response"], row["response"]);
        assert_eq!((tally.answered, tally.completion_tokens), (1, 20));
    }
}
