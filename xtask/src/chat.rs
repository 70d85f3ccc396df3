//! `cargo xtask chat`: a conversation with a model in the terminal.

use std::io::{BufRead, IsTerminal as _};
use std::path::PathBuf;
use std::time::Instant;

use janus_core::{
    BestOfN, ChatRequest, Composer, Conversation, Error, Generation, ModelError, Preference, PreferenceSet,
    Taxonomy, best_of_n, error_chain,
};
use janus_eval::answer::rewarded;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome, print_now};
use crate::device::DeviceArg;
use crate::generate::{BestArgs, SamplingArgs};
use crate::model::EngineArgs;

/// Talk with a model
///
/// Reads one message per line and answers it in the conversation so far. The system
/// message is that of --system, or composed from your --preference arguments, or
/// absent. Answers are streamed; with --best-of an answer is printed once the best
/// is chosen. Input may come from a file: answers go to stdout, everything else to
/// stderr.
///
///   /reset         clear the conversation, keep the system message
///   /system TEXT   change the system message from here on; without TEXT, show it
///   /quit          end, as does the end of the input
///
/// A preference is DIMENSION/SUBDIMENSION=NAME, at most one for each dimension:
/// style, background_knowledge, informativeness, harmlessness. NAME is one of the
/// seed taxonomy (the error for an unknown name lists them), or
/// "NAME: description" in your own words.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors,
///          tokenizer.json and tokenizer_config.json. Messages from stdin.
/// Writes:  nothing. With --json, one object at the end: the system message and
///          every turn, and with --best-of all answers and their rewards. Exit code
///          1 if a message got no answer.
/// Example: cargo xtask chat --model models/smollm2-135m-instruct-q4_1.gguf \
///          --preference style/format="bullet list" \
///          --preference harmlessness/safety="name the risk"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file or model folder
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
    /// System message
    #[arg(long, value_name = "TEXT", conflicts_with = "preference")]
    system: Option<String>,
    /// A preference from which the system message is composed; repeatable
    #[arg(long, value_name = "DIMENSION/SUBDIMENSION=NAME", value_parser = preference)]
    preference: Vec<Preference>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    best: BestArgs,
}

/// With `json`, only the report goes to stdout.
pub fn run(args: &Args, json: bool) -> Result<Outcome, CommandError> {
    let sampling = args.sampling.resolve(args.best.n())?;
    let composed = |preferences: &[Preference]| -> Result<String, Error> {
        Ok(Composer::standard().compose_set(&PreferenceSet::new(preferences.to_vec())?, sampling.seed))
    };
    let system = match &args.preference[..] {
        [] => args.system.clone(),
        preferences => Some(composed(preferences).bad_input().map_err(|error| error.at("--preference"))?),
    };
    if let Some(system) = &system {
        eprintln!("chat: system message: {system}");
    }
    eprintln!("chat: loading {}", args.model.display());
    let device = args.device.open()?;
    let model = args.engine.load_chat(&args.model, &device)?;
    let reward = args.best.load(&device)?;
    // One session for all turns: earlier turns stay in the KV cache and are not prefilled again.
    let mut session = model.session();
    let mut print = |text: &str| if json { eprint!("{text}") } else { print_now(text) };
    let mut answer = |request: ChatRequest| -> Result<Answer, ModelError> {
        let answer = match &reward {
            None => {
                let generation = session.generate(request, &mut print)?;
                Answer::new(&generation.text, std::slice::from_ref(&generation))
            }
            Some(reward) => {
                let nothing = ModelError::NoAnswer { id: request.id.clone() };
                let best = best_of_n(&model, reward, &[request]).pop().unwrap_or(Err(nothing))?;
                let answer = Answer::new(&best.best().text, &best.candidates);
                print(&answer.text);
                Answer { best: Some(best), ..answer }
            }
        };
        print("\n");
        Ok(answer)
    };
    let mut conversation = Conversation::new(sampling);
    conversation.system = system.filter(|system| !system.is_empty());
    let stdin = std::io::stdin();
    let prompt = if stdin.is_terminal() { "> " } else { "" };
    let turns = talk(conversation, stdin.lock(), prompt, &mut answer)?;
    let report = json!({ "command": "chat", "turns": turns });
    let failed: Vec<&str> = turns.iter().filter_map(|turn| turn["error"].as_str()).collect();
    Ok(match failed[..] {
        [] => Outcome::done("", report),
        [first, ..] => Outcome::failed(
            format!("{} of {} messages have no answer: {first}", failed.len(), turns.len()),
            report,
        ),
    })
}

/// A preference of the seed taxonomy, or one in the user's own words.
fn preference(text: &str) -> Result<Preference, Error> {
    Taxonomy::seed().parse_preference(text)
}

struct Answer {
    text: String,
    completion_tokens: usize,
    /// All candidates, if the answer is the best of several.
    best: Option<BestOfN>,
}

impl Answer {
    fn new(text: &str, drawn: &[Generation]) -> Self {
        let completion_tokens = drawn.iter().map(|generation| generation.completion_tokens).sum();
        Self { text: text.trim().into(), completion_tokens, best: None }
    }
}

/// Answers a request and prints the answer.
type Answering<'a> = dyn FnMut(ChatRequest) -> Result<Answer, ModelError> + 'a;

/// Answers the messages line by line. Returns a report of each turn.
fn talk(
    mut conversation: Conversation,
    input: impl BufRead,
    prompt: &str,
    answer: &mut Answering<'_>,
) -> Result<Vec<Value>, CommandError> {
    let mut turns = Vec::new();
    eprint!("{prompt}");
    for line in input.lines() {
        let line = line.bad_input().map_err(|error| error.at("stdin"))?;
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/reset" => {
                conversation.reset();
                eprintln!("chat: the conversation is cleared");
            }
            "/system" => {
                eprintln!("chat: system message: {}", conversation.system.as_deref().unwrap_or("none"))
            }
            text => match text.strip_prefix("/system ") {
                Some(system) => conversation.system = Some(system.trim().into()),
                None if text.starts_with('/') => {
                    eprintln!("chat: {text} is not one of /reset, /system and /quit")
                }
                None => turns.push(turn(&mut conversation, text, answer)),
            },
        }
        eprint!("{prompt}");
    }
    Ok(turns)
}

fn turn(conversation: &mut Conversation, user: &str, answer: &mut Answering<'_>) -> Value {
    let begun = Instant::now();
    let mut report = json!({ "system": conversation.system, "user": user });
    match answer(conversation.request(user)) {
        Ok(answer) => {
            conversation.answered(user, &answer.text);
            report["response"] = json!(answer.text);
            if let Some(best) = &answer.best {
                let rewards: Vec<String> = best.rewards.iter().map(|reward| format!("{reward:.3}")).collect();
                eprintln!(
                    "chat: answer {} of {} has the highest reward of {}",
                    best.best + 1,
                    rewards.len(),
                    rewards.join(", ")
                );
                report["reward"] = json!(best.best_reward());
                report["best"] = json!(best.best);
                report["responses"] = rewarded(best);
            }
            let (tokens, seconds) = (answer.completion_tokens, begun.elapsed().as_secs_f64());
            eprintln!("chat: {tokens} tokens, {:.1} tokens/s", tokens as f64 / seconds.max(1e-9));
        }
        Err(error) => {
            let error = error_chain(&error);
            eprintln!("chat: no answer: {error}");
            report["error"] = json!(error);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use janus_core::SamplingParams;

    use super::*;

    /// A conversation with a model that repeats the whole request and refuses more than six messages.
    fn talked(lines: &str) -> Vec<Value> {
        let mut conversation = Conversation::new(SamplingParams::default());
        conversation.system = Some("S".into());
        let mut parrot = |request: ChatRequest| {
            let messages: Vec<_> = request
                .messages
                .iter()
                .map(|message| format!("{}={}", message.role, message.content))
                .collect();
            match messages.len() {
                prompt_tokens @ 7.. => Err(ModelError::TooLong { id: request.id, prompt_tokens, context: 6 }),
                _ => Ok(Answer::new(&format!(" {}\n", messages.join("|")), &[])),
            }
        };
        talk(conversation, lines.as_bytes(), "", &mut parrot).unwrap()
    }

    #[test]
    fn each_line_is_answered_with_the_whole_conversation() {
        let turns = talked("one\n\n  two \n/reset\n/system T\n/nonsense\nthree\n/quit\nfour\n");
        let answers: Vec<_> = turns.iter().map(|turn| turn["response"].as_str().unwrap()).collect();
        let first = "system=S|user=one";
        assert_eq!(answers, [first, &format!("{first}|assistant={first}|user=two"), "system=T|user=three"]);
    }

    #[test]
    fn a_message_without_an_answer_is_not_part_of_the_conversation() {
        let turns = talked("1\n2\n3\n4\n/reset\n5\n");
        assert!(turns[3]["error"].as_str().unwrap().contains("request turn 4"), "{}", turns[3]);
        assert_eq!((turns.len(), turns[4]["response"].as_str()), (5, Some("system=S|user=5")));
    }
}
