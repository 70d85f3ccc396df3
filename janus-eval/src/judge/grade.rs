//! A rating from 1 to 10 for each turn of a conversation: MT-Bench's single-answer grading (Zheng et al., arXiv 2306.05685).

use janus_core::{ChatRequest, Generation, SamplingParams};
use serde::{Deserialize, Serialize};

use super::prompt::own;
use super::{Asker, Counts, Estimate, PromptTemplate, TemplateId, rating};
use crate::join::unique;
use crate::{Error, Result};

/// A conversation of up to two turns with a model's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation<'t> {
    /// The question's id; all different.
    pub id: String,
    /// What the user asks, turn by turn.
    pub questions: Vec<&'t str>,
    /// What the model answers.
    pub answers: Vec<&'t str>,
    /// Right answers, turn by turn, where the question has them: it is graded against them then.
    pub references: Option<Vec<&'t str>>,
}

/// The prompts for the first and the second turn, without and with reference answers.
#[derive(Debug, Clone, PartialEq)]
pub struct GradePrompts {
    /// First turn: `question`, `answer`.
    pub single: PromptTemplate,
    /// First turn with `ref_answer_1`.
    pub single_reference: PromptTemplate,
    /// Second turn: `question_1`, `answer_1`, `question_2`, `answer_2`.
    pub turns: PromptTemplate,
    /// Second turn with `ref_answer_1` and `ref_answer_2`.
    pub turns_reference: PromptTemplate,
}

impl GradePrompts {
    /// The prompts of this crate.
    ///
    /// # Errors
    /// None.
    pub fn own() -> Result<Self> {
        Ok(Self {
            single: own!("grade")?,
            single_reference: own!("grade_reference")?,
            turns: own!("grade_turns")?,
            turns_reference: own!("grade_turns_reference")?,
        })
    }

    /// MT-Bench's own, from its file of prompts.
    ///
    /// # Errors
    /// [`Error::Prompt`] if one is missing.
    pub fn published(lines: &str) -> Result<Self> {
        let named = |name| PromptTemplate::named(lines, name);
        Ok(Self {
            single: named("single-v1")?,
            single_reference: named("single-math-v1")?,
            turns: named("single-v1-multi-turn")?,
            turns_reference: named("single-math-v1-multi-turn")?,
        })
    }
}

/// How a grading judge works.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeOptions {
    /// What it is asked.
    pub prompts: GradePrompts,
    /// How it samples.
    pub sampling: SamplingParams,
}

impl GradeOptions {
    /// MT-Bench's protocol with our prompts: temperature 0, at most 2,048 tokens.
    ///
    /// # Errors
    /// None.
    pub fn mt_bench() -> Result<Self> {
        Ok(Self { prompts: GradePrompts::own()?, sampling: SamplingParams::greedy(2048) })
    }
}

/// A graded turn, in the layout of MT-Bench's judgment files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeRow {
    /// The question's id.
    pub question_id: String,
    /// The turn, from 1.
    pub turn: usize,
    /// The judge's model and its prompt.
    pub judge: [String; 2],
    /// What the judge wrote.
    pub judgment: Option<String>,
    /// The rating; none if the text has none.
    pub score: Option<f64>,
    /// Why there is no rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a grading judge made of a model's answers.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeJudgement {
    /// The judge's model.
    pub judge: String,
    /// The graded turns, by conversation.
    pub rows: Vec<GradeRow>,
    /// The prompts that were used.
    pub prompts: Vec<TemplateId>,
    /// How many calls came to what.
    pub counts: Counts,
}

impl GradeJudgement {
    /// The plain mean over the graded turns, without those that have no rating.
    ///
    /// # Errors
    /// [`Error::Empty`] if none has one.
    pub fn mean(&self) -> Result<f64> {
        let scores: Vec<f64> = self.rows.iter().filter_map(|row| row.score).collect();
        if scores.is_empty() { Err(Error::Empty { what: "a mean rating" }) } else { Ok(scores.iter().sum::<f64>() / scores.len() as f64) }
    }
}

/// Grades the turns of conversations, each turn by a call of its own.
#[derive(Debug)]
pub struct GradeJudge<'a> {
    asker: Asker<'a>,
    options: GradeOptions,
}

impl<'a> GradeJudge<'a> {
    /// A judge that asks by these options.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a prompt that lacks an answer or has a slot that nothing fills.
    pub fn new(asker: Asker<'a>, options: GradeOptions) -> Result<Self> {
        let GradePrompts { single, single_reference, turns, turns_reference } = &options.prompts;
        single.check(&["question", "answer"], &[])?;
        single_reference.check(&["question", "answer", "ref_answer_1"], &[])?;
        let two = ["question_1", "question_2", "answer_1", "answer_2"];
        turns.check(&two, &[])?;
        turns_reference.check(&two, &["ref_answer_1", "ref_answer_2"])?;
        Ok(Self { asker, options })
    }

    /// The calls for these conversations: one for each turn.
    ///
    /// # Errors
    /// [`Error::DoubledId`], [`Error::Setting`] for a conversation that has not one or two turns, as many answers as questions, and
    /// references for none or all of them.
    pub fn calls(&self, conversations: &[Conversation<'_>]) -> Result<Vec<ChatRequest>> {
        unique("conversations", conversations.iter().map(|conversation| conversation.id.as_str()))?;
        let mut calls = Vec::new();
        for conversation in conversations {
            for turn in 0..conversation.questions.len().max(1) {
                calls.push(self.call(conversation, turn)?);
            }
        }
        Ok(calls)
    }

    /// What grading these conversations will take.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn estimate(&self, conversations: &[Conversation<'_>]) -> Result<Estimate> {
        Ok(self.asker.estimate(&self.calls(conversations)?, read))
    }

    /// The calls that the journal has no readable answer to: what goes into a batch file.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn unasked(&self, conversations: &[Conversation<'_>]) -> Result<Vec<ChatRequest>> {
        Ok(self.asker.unasked(&self.calls(conversations)?, read))
    }

    /// Grades the conversations.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn judge(&self, conversations: &[Conversation<'_>]) -> Result<GradeJudgement> {
        let calls = self.calls(conversations)?;
        let replies = self.asker.ask(&calls, 1, read);
        let counts = Counts::of(&replies);
        let (mut rows, mut prompts) = (Vec::new(), Vec::<TemplateId>::new());
        let mut replies = replies.into_iter();
        for conversation in conversations {
            for (turn, reply) in (0..conversation.questions.len()).zip(replies.by_ref()) {
                let prompt = self.prompt(conversation, turn);
                if !prompts.contains(&prompt.version()) {
                    prompts.push(prompt.version());
                }
                rows.push(GradeRow {
                    question_id: conversation.id.clone(),
                    turn: turn + 1,
                    judge: [self.asker.name().into(), prompt.id().into()],
                    judgment: reply.text,
                    score: reply.value,
                    problem: reply.problem,
                });
            }
        }
        Ok(GradeJudgement { judge: self.asker.name().into(), rows, prompts, counts })
    }

    fn prompt(&self, conversation: &Conversation<'_>, turn: usize) -> &PromptTemplate {
        let prompts = &self.options.prompts;
        match (turn, conversation.references.is_some()) {
            (0, false) => &prompts.single,
            (0, true) => &prompts.single_reference,
            (_, false) => &prompts.turns,
            (_, true) => &prompts.turns_reference,
        }
    }

    fn call(&self, conversation: &Conversation<'_>, turn: usize) -> Result<ChatRequest> {
        let Conversation { id, questions, answers, references } = conversation;
        let fits = (1..=2).contains(&questions.len())
            && answers.len() == questions.len()
            && references.as_ref().is_none_or(|references| references.len() == questions.len());
        if !fits {
            let got =
                format!("{} questions, {} answers, {} references", questions.len(), answers.len(), references.as_ref().map_or(0, Vec::len));
            return Err(Error::Setting {
                field: "a conversation",
                got: format!("{id}: {got}"),
                expected: "one or two turns, each with its answer",
            });
        }
        let reference = |turn: usize| references.as_ref().and_then(|references| references.get(turn)).copied().unwrap_or_default();
        let values = if turn == 0 {
            vec![("question", questions[0]), ("answer", answers[0]), ("ref_answer_1", reference(0))]
        } else {
            vec![
                ("question_1", questions[0]),
                ("question_2", questions[1]),
                ("answer_1", answers[0]),
                ("answer_2", answers[1]),
                ("ref_answer_1", reference(0)),
                ("ref_answer_2", reference(1)),
            ]
        };
        let messages = self.prompt(conversation, turn).fill(&values)?;
        Ok(ChatRequest::new(format!("{id}/turn-{}", turn + 1), messages).with_sampling(self.options.sampling.clone()))
    }
}

/// The rating of an answer.
fn read(generation: &Generation) -> Result<f64, String> {
    rating(&generation.text).ok_or_else(|| "the text has no [[rating]]".into())
}
