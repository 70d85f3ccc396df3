//! Rows of other datasets as ours: which field is what in each of them, and what becomes of it.

mod dialogue;
mod field;

use std::fmt;
use std::str::FromStr;

use janus_core::{Message, PairRecord, PreferenceSet, RewardRecord, Role, SftRecord};
use serde_json::{Value, json};

use crate::instructions::Instruction;
use crate::{Problem, Row};
use dialogue::{marked, transcript, unanswered};
use field::{FieldError, Fields, whole_number};

/// A dataset, or a layout that many datasets share.
///
/// | source | fields read | becomes |
/// |---|---|---|
/// | `sft` | ours: `system`, `prompt`, `output`, `preference_set` | conversation |
/// | `pairs` | ours: `system`, `prompt`, `chosen`, `rejected` (messages) | comparison |
/// | `reward` | ours: `input`, `chosen`, `rejected` (texts) | comparison |
/// | `sharegpt` | `conversations` [{`from`, `value`}], `system`; with `chosen`, `rejected` {`from`, `value`} | conversation, or comparison |
/// | `alpaca` | `instruction`, `input`, `output`, `system`, `history` | conversation |
/// | `openai` | `messages`; or `input.messages`, `preferred_output`, `non_preferred_output` | conversation, or comparison |
/// | `hh-rlhf` | `chosen`, `rejected`: dialogues after `Human:` and `Assistant:`; or two of `text` and `score` | comparison |
/// | `oasst1-pairwise` | `prompt` after `prompter:` and `assistant:`, `chosen`, `rejected`, `lang` | comparison |
/// | `webgpt` | `question.full_text`, `answer_0`, `answer_1`, `score_0`, `score_1`; or two of `text` and `score`; ties are left out | comparison |
/// | `ultrafeedback` | `prompt`, `chosen`, `rejected` (messages), `source` | comparison |
/// | `nectar` | `prompt` (a dialogue), `answers` [{`answer`, `rank`}], `source`: the first rank against the last | comparison |
/// | `openhermes` | `prompt`, `chosen`, `rejected` (messages), `source` | comparison |
/// | `chatbot-arena` | `conversation_a`, `conversation_b` (messages), `winner`; ties are left out | comparison |
/// | `dsp` | `query`, `responses` {domain: text}: no order among them | instruction |
/// | `flask` | `idx`, `instruction`, `answer`, `task` | conversation |
/// | `koala` | `id`, `prompt` | instruction |
/// | `self-instruct` | `id`, `instruction`, `instances[0]` {`input`, `output`} | conversation |
/// | `mt-bench` | `question_id`, `category`, `turns`: the first one | instruction |
/// | `alpaca-eval` | `index`, `instruction`, `dataset`, `reference_output` | conversation |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Source {
    Sft,
    Pairs,
    Reward,
    ShareGpt,
    Alpaca,
    OpenAi,
    HhRlhf,
    Oasst1Pairwise,
    WebGpt,
    UltraFeedback,
    Nectar,
    OpenHermesPreferences,
    ChatbotArena,
    Dsp,
    Flask,
    Koala,
    SelfInstruct,
    MtBench,
    AlpacaEval,
}

/// What a row of a source holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Example {
    /// An instruction without an answer.
    Instruction(Instruction),
    /// A conversation that ends with the assistant.
    Conversation(Conversation),
    /// Two answers, of which the first is better.
    Comparison(Comparison),
    /// Nothing to learn from, for a reason: a tie.
    Nothing(&'static str),
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// The collection that it was taken from.
    pub main_source: String,
    /// That collection's own source.
    pub original_source: String,
    /// The preferences behind the system message.
    pub preference_set: Option<PreferenceSet>,
    /// An optional system message, then user and assistant in turn; the last one is the assistant's.
    pub messages: Vec<Message>,
}

/// Two answers to one conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// The collection that it was taken from.
    pub main_source: String,
    /// That collection's own source.
    pub original_source: String,
    /// An optional system message, then user and assistant in turn; the last one is the user's.
    pub prompt: Vec<Message>,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// A row that is not what its source's rows are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field \"{field}\": {problem}")]
pub struct RowError {
    /// The field, with its way through lists and objects.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

type Taken<T> = Result<T, RowError>;

impl Source {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Source); 19] = [
        ("sft", Source::Sft),
        ("pairs", Source::Pairs),
        ("reward", Source::Reward),
        ("sharegpt", Source::ShareGpt),
        ("alpaca", Source::Alpaca),
        ("openai", Source::OpenAi),
        ("hh-rlhf", Source::HhRlhf),
        ("oasst1-pairwise", Source::Oasst1Pairwise),
        ("webgpt", Source::WebGpt),
        ("ultrafeedback", Source::UltraFeedback),
        ("nectar", Source::Nectar),
        ("openhermes", Source::OpenHermesPreferences),
        ("chatbot-arena", Source::ChatbotArena),
        ("dsp", Source::Dsp),
        ("flask", Source::Flask),
        ("koala", Source::Koala),
        ("self-instruct", Source::SelfInstruct),
        ("mt-bench", Source::MtBench),
        ("alpaca-eval", Source::AlpacaEval),
    ];

    /// The source's name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, source)| *source == self).map_or("", |(name, _)| name)
    }

    /// Reads a row.
    ///
    /// ```
    /// use janus_data::sources::{Example, Source};
    /// # use serde_json::json;
    /// let row = json!({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What."});
    /// let Example::Comparison(pair) = Source::HhRlhf.example(row.as_object().unwrap())? else { panic!() };
    /// assert_eq!((pair.prompt[0].content.as_str(), pair.chosen.as_str(), pair.rejected.as_str()), ("Hi", "Hello!", "What."));
    /// # Ok::<(), janus_data::sources::RowError>(())
    /// ```
    ///
    /// # Errors
    /// [`RowError`] names the field that is missing or of another kind.
    pub fn example(self, row: &Row) -> Taken<Example> {
        let fields = Fields(row);
        let text = |name| fields.text(name);
        let optional = |name| fields.optional_text(name);
        let main = |default: &str| optional("main_source").map(|given| if given.is_empty() { default.to_string() } else { given });
        match self {
            Source::Sft => {
                let preference_set = match row.get("preference_set") {
                    None | Some(Value::Null) => None,
                    Some(set) => Some(fields.preference_set("preference_set", set)?),
                };
                let messages = turns(&text("system")?, &fields.first_text(&["prompt", "instruction"])?, &text("output")?);
                let (main_source, original_source) = (main("")?, optional("original_source")?);
                Ok(Example::Conversation(Conversation { main_source, original_source, preference_set, messages }))
            }
            Source::Pairs => {
                let system = optional("system")?;
                let comparison = compared(self, fields.messages("chosen")?, fields.messages("rejected")?)?;
                let mut comparison = Comparison { main_source: main("")?, original_source: optional("original_source")?, ..comparison };
                if !system.is_empty() && comparison.prompt.first().is_some_and(|first| first.role != Role::System) {
                    comparison.prompt.insert(0, Message::system(system));
                }
                Ok(Example::Comparison(comparison))
            }
            Source::Reward => self.pair(optional("main_source")?, vec![Message::user(text("input")?)], text("chosen")?, text("rejected")?),
            Source::ShareGpt => self.sharegpt(fields),
            Source::Alpaca => {
                let mut messages = turns(&optional("system")?, &joined(&text("instruction")?, &optional("input")?), &text("output")?);
                let at = usize::from(messages[0].role == Role::System);
                messages.splice(at..at, fields.history("history")?);
                self.conversation(String::new(), messages)
            }
            Source::OpenAi => match row.contains_key("messages") {
                true => self.conversation(String::new(), fields.messages("messages")?),
                false => {
                    let last = |name| Ok(fields.messages(name)?.pop().map(|message| message.content).unwrap_or_default());
                    let input = fields.object("input")?;
                    self.pair(
                        String::new(),
                        Fields(input).messages("messages").map_err(|error| error.within("input"))?,
                        last("preferred_output")?,
                        last("non_preferred_output")?,
                    )
                }
            },
            Source::HhRlhf => {
                let (chosen, rejected) = match row.contains_key("text") {
                    true => match fields.scored()? {
                        Some(pair) => pair,
                        None => return Ok(Example::Nothing("tie")),
                    },
                    false => (text("chosen")?, text("rejected")?),
                };
                let dialogue = |name, text: &str| transcript(text).map_err(|problem| FieldError::rule(name, problem));
                self.dialogues(dialogue("chosen", &chosen)?, dialogue("rejected", &rejected)?)
            }
            Source::Oasst1Pairwise => {
                let prompt = marked(&text("prompt")?, "prompter:", "assistant:").map_err(|problem| FieldError::rule("prompt", problem))?;
                self.pair(optional("lang")?, unanswered(prompt), text("chosen")?, text("rejected")?)
            }
            Source::WebGpt => self.webgpt(fields),
            Source::UltraFeedback | Source::OpenHermesPreferences => {
                let comparison = compared(self, fields.messages("chosen")?, fields.messages("rejected")?)?;
                Ok(Example::Comparison(Comparison { original_source: optional("source")?, ..comparison }))
            }
            Source::Nectar => self.nectar(fields),
            Source::ChatbotArena => {
                let (a, b) = (fields.messages("conversation_a")?, fields.messages("conversation_b")?);
                let (chosen, rejected) = match text("winner")?.as_str() {
                    "model_a" => (a, b),
                    "model_b" => (b, a),
                    winner if winner.starts_with("tie") => return Ok(Example::Nothing("tie")),
                    winner => return Err(FieldError::mismatch("winner", "model_a, model_b or a tie", winner)),
                };
                // Two models of one battle answer each other's turns only as long as there is one.
                match chosen.len() == 2 && rejected.len() == 2 {
                    true => Ok(Example::Comparison(compared(self, chosen, rejected)?)),
                    false => Ok(Example::Nothing("several turns, in which the two conversations differ")),
                }
            }
            Source::Dsp => self.instruction_of(String::new(), text("query")?, String::new()),
            Source::Koala => self.instruction_of(fields.id("id")?, text("prompt")?, String::new()),
            Source::MtBench => {
                let turns = fields.list("turns")?;
                let Some(first) = turns.first().and_then(Value::as_str) else {
                    return Err(FieldError::mismatch("turns", "a list of texts", "a list without a text"));
                };
                self.instruction_of(fields.id("question_id")?, first.into(), optional("category")?)
            }
            Source::Flask => self.conversation(text("task")?, turns("", &text("instruction")?, &text("answer")?)),
            Source::SelfInstruct => {
                let instance = fields.list("instances")?.first().and_then(Value::as_object);
                let Some(instance) = instance else { return Err(FieldError::mismatch("instances", "a list of objects", "none")) };
                let within = |name| Fields(instance).text(name).map_err(|error| error.within("instances[0]"));
                self.conversation(
                    optional("motivation_app")?,
                    turns("", &joined(&text("instruction")?, &within("input")?), &within("output")?),
                )
            }
            Source::AlpacaEval => self
                .conversation(optional("dataset")?, turns("", &text("instruction")?, &fields.first_text(&["reference_output", "output"])?)),
        }
    }

    /// The instruction of a row: the user's message, if there is one only, and the id of the row where it has one.
    /// Ties have instructions too.
    ///
    /// # Errors
    /// Those of [`Source::example`].
    pub fn instruction(self, row: &Row) -> Taken<Option<Instruction>> {
        let fields = Fields(row);
        let (main_source, original_source, messages) = match self.example(row)? {
            Example::Instruction(instruction) => return Ok(Some(instruction)),
            Example::Conversation(Conversation { main_source, original_source, messages, .. }) => (main_source, original_source, messages),
            Example::Comparison(Comparison { main_source, original_source, prompt, .. }) => (main_source, original_source, prompt),
            Example::Nothing(_) => {
                let messages = match self {
                    Source::ChatbotArena => fields.messages("conversation_a")?,
                    Source::WebGpt if row.contains_key("question") => {
                        vec![Message::user(Fields(fields.object("question")?).text("full_text")?)]
                    }
                    _ => return Ok(None),
                };
                (self.as_str().into(), String::new(), messages)
            }
        };
        let mut asked = messages.into_iter().filter(|message| message.role == Role::User);
        let (Some(prompt), None) = (asked.next(), asked.next()) else { return Ok(None) };
        let id = ["id", "idx", "question_id", "index", "prompt_id"].iter().find_map(|name| row.get(*name).and_then(whole_number));
        Ok(Some(Instruction { id: id.unwrap_or_default(), prompt: prompt.content, main_source, original_source }))
    }

    /// A comparison of two dialogues, as files of dialogues have them: some end without an answer, some part earlier.
    fn dialogues(self, chosen: Vec<Message>, rejected: Vec<Message>) -> Taken<Example> {
        let answered = |dialogue: &[Message]| dialogue.last().is_some_and(|last| last.role == Role::Assistant && !last.content.is_empty());
        if !answered(&chosen) || !answered(&rejected) {
            return Ok(Example::Nothing("an answer is missing"));
        }
        if chosen[..chosen.len() - 1] != rejected[..rejected.len() - 1] {
            return Ok(Example::Nothing("the dialogues differ before their last turn"));
        }
        Ok(Example::Comparison(compared(self, chosen, rejected)?))
    }

    fn pair(self, original_source: String, prompt: Vec<Message>, chosen: String, rejected: String) -> Taken<Example> {
        Ok(Example::Comparison(Comparison { main_source: self.main(), original_source, prompt, chosen, rejected }))
    }

    fn conversation(self, original_source: String, messages: Vec<Message>) -> Taken<Example> {
        match messages.last() {
            Some(last) if last.role == Role::Assistant => {
                Ok(Example::Conversation(Conversation { main_source: self.main(), original_source, preference_set: None, messages }))
            }
            _ => Ok(Example::Nothing("a conversation that does not end with the assistant")),
        }
    }

    fn instruction_of(self, id: String, prompt: String, original_source: String) -> Taken<Example> {
        Ok(Example::Instruction(Instruction { id, prompt, main_source: self.main(), original_source }))
    }

    /// Layouts are no places that data comes from.
    fn main(self) -> String {
        match self {
            Source::Sft | Source::Pairs | Source::Reward | Source::ShareGpt | Source::Alpaca | Source::OpenAi => String::new(),
            source => source.as_str().into(),
        }
    }

    fn sharegpt(self, fields: Fields<'_>) -> Taken<Example> {
        let mut messages = fields.messages("conversations")?;
        let system = fields.optional_text("system")?;
        if !system.is_empty() && messages.first().is_none_or(|first| first.role != Role::System) {
            messages.insert(0, Message::system(system));
        }
        if !fields.0.contains_key("chosen") {
            return self.conversation(String::new(), messages);
        }
        // The conversation stands before the answers; some writers put a first answer at its end.
        while messages.last().is_some_and(|last| last.role == Role::Assistant) {
            messages.pop();
        }
        let answer = |name| fields.message(name).map(|message| message.content);
        self.pair(String::new(), messages, answer("chosen")?, answer("rejected")?)
    }

    fn webgpt(self, fields: Fields<'_>) -> Taken<Example> {
        if fields.0.contains_key("text") {
            let Some((chosen, rejected)) = fields.scored()? else { return Ok(Example::Nothing("tie")) };
            let dialogue = |text: &str| marked(text, "## Human:", "## Assistant:").map_err(|problem| FieldError::rule("text", problem));
            return self.dialogues(dialogue(&chosen)?, dialogue(&rejected)?);
        }
        let question = Fields(fields.object("question")?).text("full_text").map_err(|error| error.within("question"))?;
        let (first, second) = (fields.number("score_0")?, fields.number("score_1")?);
        let (mut chosen, mut rejected) = (fields.text("answer_0")?, fields.text("answer_1")?);
        if first == second {
            return Ok(Example::Nothing("tie"));
        }
        if second > first {
            (chosen, rejected) = (rejected, chosen);
        }
        self.pair(String::new(), vec![Message::user(question)], chosen, rejected)
    }

    fn nectar(self, fields: Fields<'_>) -> Taken<Example> {
        let prompt = transcript(&fields.text("prompt")?).map_err(|problem| FieldError::rule("prompt", problem))?;
        let prompt = unanswered(prompt);
        let mut ranked = Vec::new();
        for (at, answer) in fields.list("answers")?.iter().enumerate() {
            let place = format!("answers[{at}]");
            let Some(answer) = answer.as_object() else { return Err(FieldError::mismatch(&place, "an object", "something else")) };
            let answer = Fields(answer);
            ranked.push((answer.number("rank").map_err(|e| e.within(&place))?, answer.text("answer").map_err(|e| e.within(&place))?));
        }
        ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
        let source = match fields.0.get("source") {
            Some(Value::Array(list)) => list.first().and_then(Value::as_str).unwrap_or_default().to_string(),
            _ => fields.optional_text("source")?,
        };
        match &ranked[..] {
            [(best, chosen), .., (worst, rejected)] if best < worst => {
                self.pair(source, prompt, chosen.trim().into(), rejected.trim().into())
            }
            _ => Ok(Example::Nothing("no two ranks")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, source)| *source).ok_or_else(|| format!("expected one of {}", known()))
    }
}

/// A comparison of two conversations that differ in their last message.
fn compared(source: Source, mut chosen: Vec<Message>, mut rejected: Vec<Message>) -> Taken<Comparison> {
    let (Some(better), Some(worse)) = (chosen.pop(), rejected.pop()) else {
        return Err(FieldError::mismatch("chosen", "a conversation", "no message"));
    };
    for (name, last) in [("chosen", &better), ("rejected", &worse)] {
        if last.role != Role::Assistant {
            return Err(FieldError::mismatch(name, "an assistant's message at the end", last.role.as_str()));
        }
    }
    if chosen != rejected {
        return Err(FieldError::rule("rejected", "the conversations differ before their last message".into()));
    }
    let main_source = source.main();
    Ok(Comparison { main_source, original_source: String::new(), prompt: chosen, chosen: better.content, rejected: worse.content })
}

fn joined(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() { instruction.into() } else { format!("{instruction}\n{input}") }
}

fn turns(system: &str, prompt: &str, output: &str) -> Vec<Message> {
    let system = (!system.is_empty()).then(|| Message::system(system));
    system.into_iter().chain([Message::user(prompt), Message::assistant(output)]).collect()
}

/// The system message and the user's, of a prompt with one turn.
fn one_turn(messages: &[Message]) -> Option<(&str, &str)> {
    match messages {
        [user] if user.role == Role::User => Some(("", &user.content)),
        [system, user] if system.role == Role::System && user.role == Role::User => Some((&system.content, &user.content)),
        _ => None,
    }
}

impl Conversation {
    /// As a record; none for several turns, which it cannot hold.
    pub fn sft(&self) -> Option<SftRecord> {
        let (last, prompt) = self.messages.split_last()?;
        let (system, prompt) = one_turn(prompt)?;
        Some(SftRecord {
            main_source: self.main_source.clone(),
            original_source: self.original_source.clone(),
            preference_set: self.preference_set.clone(),
            system: system.into(),
            prompt: prompt.into(),
            output: last.content.clone(),
        })
    }

    /// As `{messages: [{role, content}]}`.
    pub fn openai(&self) -> Value {
        json!({ "messages": self.messages })
    }

    /// As `{conversations: [{from, value}]}`.
    pub fn sharegpt(&self) -> Value {
        json!({ "conversations": self.messages.iter().map(dialogue::sharegpt).collect::<Vec<_>>() })
    }

    /// As `{instruction, input, output, system, history}`.
    pub fn alpaca(&self) -> Option<Value> {
        let (last, before) = self.messages.split_last()?;
        let (asked, before) = before.split_last()?;
        let (system, turns) = match before.split_first() {
            Some((first, turns)) if first.role == Role::System => (first.content.as_str(), turns),
            _ => ("", before),
        };
        let history: Vec<[&str; 2]> = turns.chunks_exact(2).map(|turn| [turn[0].content.as_str(), turn[1].content.as_str()]).collect();
        Some(json!({ "instruction": asked.content, "input": "", "output": last.content, "system": system, "history": history }))
    }
}

impl Comparison {
    /// The conversation with the better answer.
    pub fn better(&self) -> Conversation {
        let mut messages = self.prompt.clone();
        messages.push(Message::assistant(self.chosen.clone()));
        let (main_source, original_source) = (self.main_source.clone(), self.original_source.clone());
        Conversation { main_source, original_source, preference_set: None, messages }
    }

    /// As a record. Several turns stand in `chosen` and `rejected`, the last of the user's messages in `prompt`.
    pub fn pair(&self) -> PairRecord {
        let system = self.prompt.first().filter(|first| first.role == Role::System).map(|first| first.content.clone());
        let turns: Vec<Message> = self.prompt.iter().filter(|message| message.role != Role::System).cloned().collect();
        let answered = |answer: &str| turns.iter().cloned().chain([Message::assistant(answer)]).collect();
        PairRecord {
            main_source: self.main_source.clone(),
            original_source: self.original_source.clone(),
            system: system.unwrap_or_default(),
            prompt: turns.last().map(|last| last.content.clone()).unwrap_or_default(),
            chosen: answered(&self.chosen),
            rejected: answered(&self.rejected),
        }
    }

    /// As a record of plain strings, in the canonical form of its `input`: system message, line break, instruction. None
    /// for several turns, which it cannot hold.
    pub fn reward(&self) -> Option<RewardRecord> {
        let (system, prompt) = one_turn(&self.prompt)?;
        let input = if system.is_empty() { prompt.into() } else { format!("{system}\n{prompt}") };
        Some(RewardRecord { input, chosen: self.chosen.clone(), rejected: self.rejected.clone() })
    }

    /// As two dialogues after `Human:` and `Assistant:`.
    pub fn hh_rlhf(&self) -> Value {
        let text = |answer: &str| dialogue::write_transcript(&self.prompt, answer);
        json!({ "chosen": text(&self.chosen), "rejected": text(&self.rejected) })
    }

    /// As `{input: {messages}, preferred_output, non_preferred_output}`.
    pub fn openai(&self) -> Value {
        let answer = |text: &str| [Message::assistant(text)];
        json!({ "input": { "messages": self.prompt }, "preferred_output": answer(&self.chosen), "non_preferred_output": answer(&self.rejected) })
    }

    /// As `{conversations, chosen, rejected}`.
    pub fn sharegpt(&self) -> Value {
        let answer = |text: &str| dialogue::sharegpt(&Message::assistant(text));
        let prompt: Vec<Value> = self.prompt.iter().map(dialogue::sharegpt).collect();
        json!({ "conversations": prompt, "chosen": answer(&self.chosen), "rejected": answer(&self.rejected) })
    }
}
