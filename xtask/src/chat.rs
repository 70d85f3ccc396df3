//! `cargo xtask chat`: a conversation with a model in the terminal.

use std::io::{BufRead, IsTerminal as _};
use std::path::PathBuf;
use std::time::Instant;

use janus_core::{
    BestOfN, ChatModel, ChatRequest, Composer, Error, Generation, Message, ModelError, Preference, PreferenceSet, RewardModel,
    SamplingParams, Taxonomy, best_of_n,
};
use janus_eval::answer::rewarded;
use janus_infer::{Event, Session};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome, print_now};
use crate::device::DeviceArg;
use crate::generate::{BestArgs, SamplingArgs};
use crate::model::EngineArgs;

/// Talk with a model
///
/// Reads one message a line and answers each under the system message, with all that was said before.
/// The system message is given with --system, or written from what you value with --preference, or
/// there is none. Answers appear as they are made; with --best-of, once one is chosen. Works with lines
/// from a file too: answers go to stdout, everything else to stderr.
///
///   /reset         forget the conversation, keep the system message
///   /system TEXT   another system message from here on; without TEXT, show it
///   /quit          end (so does the end of the input)
///
/// A preference is DIMENSION/SUBDIMENSION=NAME, one for each dimension at the most; the dimensions are
/// style, background_knowledge, informativeness and harmlessness. NAME is one of the seed taxonomy (a
/// wrong one is answered with those that there are) or "NAME: what it asks for", in your own words.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors, tokenizer.json and
///          tokenizer_config.json. Messages from stdin.
/// Writes:  nothing. With --json one object at the end: the system message and every turn, with
///          --best-of all answers and their rewards. Exit code 1 if a message had no answer.
/// Example: cargo xtask chat --model models/smollm2-135m-instruct-q4_1.gguf
///          --preference style/format="bullet list" --preference harmlessness/safety="name the risk"
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
    /// What you value, for a system message that says it; may be given several times
    #[arg(long, value_name = "DIMENSION/SUBDIMENSION=NAME", value_parser = preference)]
    preference: Vec<Preference>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    best: BestArgs,
}

/// Runs the command; with `json`, stdout is left to the report.
///
/// # Errors
/// Bad input for settings or models that cannot be used, and for input that is no text.
pub fn run(args: &Args, json: bool) -> Result<Outcome, CommandError> {
    let sampling = args.sampling.resolve(args.best.n())?;
    let system = match &args.preference[..] {
        [] => args.system.clone(),
        preferences => Some(system_message(preferences, sampling.seed).bad_input().map_err(|error| error.at("--preference"))?),
    };
    if let Some(system) = &system {
        eprintln!("chat: system message: {system}");
    }
    eprintln!("chat: loading {}", args.model.display());
    let device = args.device.open()?;
    let model = args.engine.load(&args.model, &device)?;
    let reward = args.best.load(&device)?;
    // One session for all turns: what was said before need not be read again.
    let mut session = model.session();
    let mut chat = Chat {
        model: match &reward {
            Some(reward) => Box::new(|request, say| chosen(&model, reward, request, say)),
            None => Box::new(|request, say| streamed(&mut session, request, say)),
        },
        sampling,
        system: system.filter(|system| !system.is_empty()),
        said: Vec::new(),
        turns: Vec::new(),
    };
    let stdin = std::io::stdin();
    let prompt = if stdin.is_terminal() { "> " } else { "" };
    let mut say = |text: &str| if json { eprint!("{text}") } else { print_now(text) };
    chat.talk(stdin.lock(), prompt, &mut say)?;
    Ok(chat.outcome())
}

/// A preference of the seed taxonomy, or one in own words.
fn preference(text: &str) -> Result<Preference, Error> {
    Taxonomy::seed().parse_preference(text)
}

/// A system message with the preferences, one for each dimension at the most; the same seed gives the same words.
fn system_message(preferences: &[Preference], seed: u64) -> Result<String, Error> {
    Ok(Composer::standard().compose_set(&PreferenceSet::new(preferences.to_vec())?, seed))
}

/// Answers a request and says the answer, without outer blanks, as far as it is known.
type Model<'a> = dyn FnMut(ChatRequest, &mut dyn FnMut(&str)) -> Result<Answer, ModelError> + 'a;

/// A conversation and what was said in it.
struct Chat<'a> {
    model: Box<Model<'a>>,
    sampling: SamplingParams,
    system: Option<String>,
    /// User and assistant in turn.
    said: Vec<Message>,
    turns: Vec<Turn>,
}

/// One message and its answer.
struct Turn {
    system: Option<String>,
    user: String,
    answer: Result<Answer, String>,
}

enum Answer {
    One(Generation),
    Best(BestOfN),
}

impl Answer {
    fn text(&self) -> &str {
        match self {
            Self::One(generation) => &generation.text,
            Self::Best(best) => &best.best().text,
        }
    }

    fn completion_tokens(&self) -> usize {
        match self {
            Self::One(generation) => generation.completion_tokens,
            Self::Best(best) => best.candidates.iter().map(|generation| generation.completion_tokens).sum(),
        }
    }
}

impl Chat<'_> {
    /// Answers line after line.
    fn talk(&mut self, input: impl BufRead, prompt: &str, say: &mut dyn FnMut(&str)) -> Result<(), CommandError> {
        eprint!("{prompt}");
        for line in input.lines() {
            let line = line.bad_input().map_err(|error| error.at("stdin"))?;
            match line.trim() {
                "" => {}
                "/quit" => return Ok(()),
                "/reset" => {
                    self.said.clear();
                    eprintln!("chat: what was said is forgotten");
                }
                "/system" => eprintln!("chat: system message: {}", self.system.as_deref().unwrap_or("none")),
                text => match text.strip_prefix("/system ") {
                    Some(system) => self.system = Some(system.trim().into()),
                    None if text.starts_with('/') => eprintln!("chat: {text} is not one of /reset, /system and /quit"),
                    None => self.turn(text, say),
                },
            }
            eprint!("{prompt}");
        }
        Ok(())
    }

    fn turn(&mut self, user: &str, say: &mut dyn FnMut(&str)) {
        let begun = Instant::now();
        let answer = self.ask(user, say).map_err(|error| CommandError::failure(error).to_string());
        match &answer {
            Ok(answer) => {
                say("\n");
                self.said.extend([Message::user(user), Message::assistant(answer.text().trim())]);
                if let Answer::Best(best) = answer {
                    let rewards: Vec<String> = best.rewards.iter().map(|reward| format!("{reward:.3}")).collect();
                    eprintln!("chat: answer {} of {}, by their rewards {}", best.best + 1, rewards.len(), rewards.join(", "));
                }
                let (tokens, seconds) = (answer.completion_tokens(), begun.elapsed().as_secs_f64());
                eprintln!("chat: {tokens} tokens, {:.1} tokens/s", tokens as f64 / seconds.max(1e-9));
            }
            Err(error) => eprintln!("chat: no answer: {error}"),
        }
        self.turns.push(Turn { system: self.system.clone(), user: user.into(), answer });
    }

    fn ask(&mut self, user: &str, say: &mut dyn FnMut(&str)) -> Result<Answer, ModelError> {
        let system = self.system.iter().map(Message::system);
        let messages: Vec<Message> = system.chain(self.said.iter().cloned()).chain([Message::user(user)]).collect();
        // Turns draw from streams of their own, so that a question that is asked twice may be answered differently.
        let id = format!("turn {}", self.turns.len() + 1);
        (self.model)(ChatRequest::new(id, messages).with_sampling(self.sampling.clone()), say)
    }

    fn outcome(&self) -> Outcome {
        let turns: Vec<Value> = self.turns.iter().map(Turn::report).collect();
        let report = json!({ "command": "chat", "turns": turns });
        let failed: Vec<&str> = self.turns.iter().filter_map(|turn| turn.answer.as_ref().err()).map(String::as_str).collect();
        match failed[..] {
            [] => Outcome::done("", report),
            [first, ..] => Outcome::failed(format!("{} of {} messages have no answer: {first}", failed.len(), turns.len()), report),
        }
    }
}

/// Says an answer as it grows.
fn streamed(session: &mut Session<'_>, request: ChatRequest, say: &mut dyn FnMut(&str)) -> Result<Answer, ModelError> {
    let nothing = ModelError::NoAnswer { id: request.id.clone() };
    session.submit(request)?;
    let mut answer = Err(nothing);
    let mut said = Said::default();
    while !session.is_idle() {
        session.step(&mut |event| match event {
            Event::Text { text, .. } => say(&said.next(&text)),
            Event::Finished { generation, .. } => answer = Ok(Answer::One(generation)),
            Event::Answered { result: Err(error), .. } => answer = Err(error),
            _ => {}
        });
    }
    answer
}

/// What was said of a text whose outer blanks are not.
#[derive(Default)]
struct Said {
    begun: bool,
    /// Blanks that are said if something follows.
    blanks: String,
}

impl Said {
    /// What can be said once `text` is known.
    fn next(&mut self, text: &str) -> String {
        let text = if self.begun { text } else { text.trim_start() };
        let kept = text.trim_end();
        if kept.is_empty() {
            self.blanks += text;
            return String::new();
        }
        self.begun = true;
        std::mem::replace(&mut self.blanks, text[kept.len()..].into()) + kept
    }
}

/// Draws several answers and says the best.
fn chosen(model: &dyn ChatModel, reward: &dyn RewardModel, request: ChatRequest, say: &mut dyn FnMut(&str)) -> Result<Answer, ModelError> {
    let nothing = ModelError::NoAnswer { id: request.id.clone() };
    let best = best_of_n(model, reward, &[request]).pop().unwrap_or(Err(nothing))?;
    say(best.best().text.trim());
    Ok(Answer::Best(best))
}

impl Turn {
    fn report(&self) -> Value {
        let mut report = json!({ "system": self.system, "user": self.user });
        match &self.answer {
            Ok(answer) => report["response"] = json!(answer.text().trim()),
            Err(error) => report["error"] = json!(error),
        }
        if let Ok(Answer::Best(best)) = &self.answer {
            report["reward"] = json!(best.best_reward());
            report["best"] = json!(best.best);
            report["responses"] = rewarded(best);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was asked, all of it.
    struct Parrot;

    impl ChatModel for Parrot {
        fn name(&self) -> &str {
            "parrot"
        }

        fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
            for (index, request) in requests.iter().enumerate() {
                let said: Vec<_> = request.messages.iter().map(|message| format!("{}={}", message.role, message.content)).collect();
                if said.len() > 6 {
                    let id = request.id.clone();
                    on_answer(index, Err(ModelError::TooLong { id, prompt_tokens: said.len(), context: 6 }));
                    continue;
                }
                let generation = |sample| Generation::new(format!(" {} {sample}\n", said.join("|"))).with_tokens(said.len(), 1);
                on_answer(index, Ok((0..request.sampling.n).map(generation).collect()));
            }
        }
    }

    /// Likes what was said last.
    struct Last;

    impl RewardModel for Last {
        fn name(&self) -> &str {
            "last"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            (0..conversations.len()).map(|index| Ok(index as f32)).collect()
        }
    }

    fn talk(lines: &str, n: usize) -> (String, Outcome) {
        let sampling = SamplingParams { n, ..SamplingParams::default() };
        let model = Box::new(|request, say: &mut dyn FnMut(&str)| chosen(&Parrot, &Last, request, say));
        let mut chat = Chat { model, sampling, system: Some("S".into()), said: vec![], turns: vec![] };
        let mut said = String::new();
        chat.talk(lines.as_bytes(), "", &mut |text| said += text).unwrap();
        (said, chat.outcome())
    }

    #[test]
    fn each_line_is_answered_after_all_that_was_said() {
        let (said, outcome) = talk("one\n\n  two \n/reset\n/system T\n/nonsense\nthree\n/quit\nfour\n", 1);
        let first = "system=S|user=one 0";
        assert_eq!(said, format!("{first}\nsystem=S|user=one|assistant={first}|user=two 0\nsystem=T|user=three 0\n"));
        assert!(matches!(&outcome, outcome if format!("{outcome:?}").contains("failed: false")), "{outcome:?}");
    }

    #[test]
    fn a_message_without_an_answer_is_not_part_of_the_conversation() {
        let (said, outcome) = talk("1\n2\n3\n4\n/reset\n5\n", 1);
        assert_eq!(said.lines().count(), 3 + 1, "{said}");
        assert!(said.ends_with("system=S|user=5 0\n"), "{said}");
        assert!(format!("{outcome:?}").contains("1 of 5 messages have no answer: request turn 4"), "{outcome:?}");
    }

    #[test]
    fn the_best_answer_is_said_and_goes_on_in_the_conversation() {
        let (said, _) = talk("one\ntwo\n", 3);
        assert_eq!(said, "system=S|user=one 2\nsystem=S|user=one|assistant=system=S|user=one 2|user=two 2\n");
    }

    #[test]
    fn the_system_message_has_every_preference() {
        let read = |texts: &[&str]| -> Vec<Preference> { texts.iter().map(|text| preference(text).unwrap()).collect() };
        let one = read(&["style/format=bullet list"]);
        assert_eq!(system_message(&one, 1).unwrap(), "Write the answer as a bullet list.");
        let four = read(&[
            "style/tone=warm",
            "background_knowledge/basic=everyday words",
            "informativeness/depth=causes",
            "harmlessness/safety=gently: Be gentle.",
        ]);
        let message = system_message(&four, 3).unwrap();
        for part in ["ound warm", "child of ten", "ay why things are so", "e gentle"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert_eq!(system_message(&four, 3).unwrap(), message);
        let twice = read(&["style/tone=warm", "style/format=bullet list"]);
        assert!(system_message(&twice, 1).unwrap_err().to_string().contains("two style preferences"));
    }

    #[test]
    fn a_growing_text_is_said_without_its_outer_blanks() {
        for pieces in
            [&["  ", " a", " ", "\n b", "c  ", "\n"][..], &[" a \n b", "c"], &["a", "", " \n bc\n"], &["", " "], &["\u{2003}ü \n", "b "]]
        {
            let mut said = Said::default();
            let all: String = pieces.iter().map(|piece| said.next(piece)).collect();
            assert_eq!(all, pieces.concat().trim());
        }
    }
}
