//! One of five labels for a pair of answers, in two games with the sides exchanged: Arena-Hard-Auto v0.1 (Li et al., arXiv 2406.11939).

use janus_core::{ChatRequest, Generation, Message, SamplingParams};
use serde::{Deserialize, Serialize};

use super::prompt::own;
use super::{ArenaLabel, Asker, Counts, Estimate, PromptTemplate, Reply, TemplateId, arena_label, arena_labels};
use crate::Result;
use crate::join::unique;

/// A prompt with the answers of the baseline and of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaBattle<'t> {
    /// The question's id; all different.
    pub id: String,
    /// The prompt.
    pub question: &'t str,
    /// What the baseline answered.
    pub baseline: &'t str,
    /// What the model answered.
    pub model: &'t str,
}

/// How an arena judge works.
#[derive(Debug, Clone, PartialEq)]
pub struct ArenaOptions {
    /// What it is asked: slots `question_1`, `answer_1`, `answer_2`.
    pub prompt: PromptTemplate,
    /// What it is told if its text has no label.
    pub retry: String,
    /// How it samples.
    pub sampling: SamplingParams,
}

impl ArenaOptions {
    /// The protocol of version 0.1 with our prompt: temperature 0, at most 4,096 tokens, one more try.
    ///
    /// # Errors
    /// None.
    pub fn v01() -> Result<Self> {
        let retry = "Go on with your judgment, and end it with one of the verdict labels.".into();
        Ok(Self { prompt: own!("arena")?, retry, sampling: SamplingParams::greedy(4096) })
    }
}

/// A game of a battle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArenaGame {
    /// The verdict; none if the text has no label or several.
    pub score: Option<ArenaLabel>,
    /// What the judge wrote, its second try after a line break.
    pub judgment: Option<String>,
    /// Why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A judged battle: in game 1 the baseline is A, in game 2 the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArenaRow {
    /// The question's id.
    pub question_id: String,
    /// The two games.
    pub games: [ArenaGame; 2],
}

impl ArenaRow {
    /// The row's battles: `a` baseline wins, `b` model wins, `t` tie; a significant verdict stands three times, a game without
    /// verdict not at all.
    pub fn outcomes(&self) -> String {
        let of = |game: &ArenaGame, [a, b]: [char; 2]| match game.score {
            Some(ArenaLabel::MuchA) => a.to_string().repeat(3),
            Some(ArenaLabel::A) => a.to_string(),
            Some(ArenaLabel::Tie) => "t".into(),
            Some(ArenaLabel::B) => b.to_string(),
            Some(ArenaLabel::MuchB) => b.to_string().repeat(3),
            None => String::new(),
        };
        of(&self.games[0], ['a', 'b']) + &of(&self.games[1], ['b', 'a'])
    }
}

/// What an arena judge made of a model's battles.
#[derive(Debug, Clone, PartialEq)]
pub struct ArenaJudgement {
    /// The judge's model.
    pub judge: String,
    /// The prompt.
    pub prompt: TemplateId,
    /// The battles, in their order.
    pub rows: Vec<ArenaRow>,
    /// How many games came to what.
    pub counts: Counts,
}

/// Judges battles between a model and a baseline.
#[derive(Debug)]
pub struct ArenaJudge<'a> {
    asker: Asker<'a>,
    options: ArenaOptions,
}

/// What a judge wrote, and what it says.
type Game = Reply<(String, Option<ArenaLabel>)>;

impl<'a> ArenaJudge<'a> {
    /// A judge that asks by these options.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for a prompt that lacks an answer or has a slot that nothing fills.
    pub fn new(asker: Asker<'a>, options: ArenaOptions) -> Result<Self> {
        options.prompt.check(&["question_1", "answer_1", "answer_2"], &[])?;
        Ok(Self { asker, options })
    }

    /// The first calls for these battles: two each.
    ///
    /// # Errors
    /// [`Error::DoubledId`](crate::Error::DoubledId).
    pub fn calls(&self, battles: &[ArenaBattle<'_>]) -> Result<Vec<ChatRequest>> {
        unique("battles", battles.iter().map(|battle| battle.id.as_str()))?;
        let mut calls = Vec::with_capacity(2 * battles.len());
        for ArenaBattle { id, question, baseline, model } in battles {
            for (game, [first, second]) in [[baseline, model], [model, baseline]].into_iter().enumerate() {
                let messages = self.options.prompt.fill(&[("question_1", question), ("answer_1", first), ("answer_2", second)])?;
                calls.push(ChatRequest::new(format!("{id}/game-{}", game + 1), messages).with_sampling(self.options.sampling.clone()));
            }
        }
        Ok(calls)
    }

    /// What judging these battles will take, second tries left out.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn estimate(&self, battles: &[ArenaBattle<'_>]) -> Result<Estimate> {
        Ok(self.asker.estimate(&self.calls(battles)?, |generation| Ok(generation.text.clone())))
    }

    /// The calls that the journal has no answer to: what goes into a batch file. A game whose recorded text has no label is
    /// among them with its second try.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn unasked(&self, battles: &[ArenaBattle<'_>]) -> Result<Vec<ChatRequest>> {
        let calls = self.calls(battles)?;
        let text = |generation: &Generation| Ok(generation.text.clone());
        let silent = |(call, text): (&ChatRequest, Option<String>)| {
            text.filter(|text| arena_labels(text).is_empty()).map(|text| self.again(call, &text))
        };
        let again: Vec<ChatRequest> = calls.iter().zip(self.asker.known(&calls, text)).filter_map(silent).collect();
        let mut open = self.asker.unasked(&calls, text);
        open.extend(self.asker.unasked(&again, text));
        Ok(open)
    }

    /// Judges the battles.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn judge(&self, battles: &[ArenaBattle<'_>]) -> Result<ArenaJudgement> {
        let calls = self.calls(battles)?;
        // A text without a label is not asked again as such: the conversation goes on.
        let mut games: Vec<Game> = self.asker.ask(&calls, 1, |generation| Ok((generation.text.clone(), arena_label(&generation.text))));
        let silent: Vec<usize> =
            (0..games.len()).filter(|&game| games[game].value.as_ref().is_some_and(|(text, _)| arena_labels(text).is_empty())).collect();
        let again: Vec<ChatRequest> =
            silent.iter().map(|&game| self.again(&calls[game], games[game].text.as_deref().unwrap_or_default())).collect();
        let second = self.asker.ask(&again, 1, |generation| Ok(generation.text.clone()));
        for (&game, reply) in silent.iter().zip(second) {
            games[game].problem = reply.problem;
            if let (Some((text, label)), Some(more)) = (&mut games[game].value, reply.value) {
                *text = format!("{text}\n{more}");
                *label = arena_label(text);
            }
        }
        let games: Vec<Reply<ArenaLabel>> = games.into_iter().map(read).collect();
        let counts = Counts::of(&games);
        let mut games = games.into_iter().map(|reply| ArenaGame { score: reply.value, judgment: reply.text, problem: reply.problem });
        let none = || ArenaGame { score: None, judgment: None, problem: Some("the game was not played".into()) };
        let row = |battle: &ArenaBattle<'_>| ArenaRow {
            question_id: battle.id.clone(),
            games: [games.next().unwrap_or_else(none), games.next().unwrap_or_else(none)],
        };
        Ok(ArenaJudgement {
            judge: self.asker.name().into(),
            prompt: self.options.prompt.version(),
            rows: battles.iter().map(row).collect(),
            counts,
        })
    }

    fn again(&self, call: &ChatRequest, text: &str) -> ChatRequest {
        let mut again = call.clone();
        again.id = format!("{}/second-try", call.id);
        again.messages.extend([Message::assistant(text), Message::user(self.options.retry.clone())]);
        again
    }
}

/// A game's verdict, or why there is none.
fn read(game: Game) -> Reply<ArenaLabel> {
    let Reply { value, text, unreadable, problem } = game;
    let Some((text, label)) = value else { return Reply { value: None, text, unreadable, problem } };
    let problem = problem.or_else(|| match (label, arena_labels(&text).as_slice()) {
        (Some(_), _) => None,
        (None, []) => Some("the text has no label".into()),
        (None, labels) => Some(format!("the text has no single known label, but {}", labels.join(", "))),
    });
    Reply { value: label, text: Some(text), unreadable: unreadable + usize::from(label.is_none()), problem }
}
