//! A preference from the probabilities of one token: AlpacaEval 2.0's weighted annotator (Dubois et al., arXiv 2404.04475).

use janus_core::{ChatRequest, Generation, SamplingParams, TopLogprob};
use serde::{Deserialize, Serialize};

use super::prompt::own;
use super::{Asker, Counts, Estimate, PromptTemplate, Reply, TemplateId};
use crate::join::unique;
use crate::{Error, Result};

/// An instruction with the outputs of the baseline and of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogprobTask<'t> {
    /// Names the task; all different.
    pub id: String,
    /// The instruction.
    pub instruction: &'t str,
    /// The baseline's output.
    pub baseline: &'t str,
    /// The model's output.
    pub model: &'t str,
}

/// How a log-probability judge works.
#[derive(Debug, Clone, PartialEq)]
pub struct LogprobOptions {
    /// What it is asked: slots `instruction`, `output_1` (known as `m`), `output_2` (known as `M`).
    pub prompt: PromptTemplate,
    /// How it samples.
    pub sampling: SamplingParams,
}

impl LogprobOptions {
    /// The published protocol with our prompt: one token, the five most likely with their log-probabilities.
    ///
    /// # Errors
    /// None.
    pub fn alpaca_eval() -> Result<Self> {
        let sampling = SamplingParams { temperature: 1.0, logprobs: true, top_logprobs: 5, ..SamplingParams::greedy(1) };
        Ok(Self { prompt: own!("prefer")?, sampling })
    }
}

/// A judged task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogprobRow {
    /// The task's id.
    pub id: String,
    /// Whether the model's output was shown first.
    pub switched: bool,
    /// From 1, the baseline is better, to 2, the model is better; none if neither `m` nor `M` was among the likely tokens.
    pub preference: Option<f64>,
    /// The likely tokens; none where both outputs are the same text and nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<Vec<TopLogprob>>,
    /// Why there is no preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a log-probability judge made of a model's outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogprobJudgement {
    /// The judge's model.
    pub judge: String,
    /// The prompt.
    pub prompt: TemplateId,
    /// The tasks, in their order.
    pub rows: Vec<LogprobRow>,
    /// How many calls came to what. Tasks with equal outputs are no calls.
    pub counts: Counts,
}

/// The preference for the output shown second, 1 to 2, from the likely tokens: with a the probability of `m` and b that of `M`, it is
/// 2 - a/(a+b). A token that is not among them counts as 0; none if neither is. Only the exact tokens count: ` M` is another one.
///
/// ```
/// use janus_core::TopLogprob;
/// use janus_eval::judge::preference;
///
/// let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
/// let preferred = preference(&[token("m", 0.25), token("M", 0.5), token(" M", 0.2)]).unwrap();
/// assert!((preferred - (2.0 - 0.25 / 0.75)).abs() < 1e-12);
/// assert_eq!(preference(&[token("m", 0.1)]), Some(1.0));
/// assert_eq!(preference(&[token(" M", 0.2)]), None);
/// ```
pub fn preference(top: &[TopLogprob]) -> Option<f64> {
    let logprob = |name: &str| top.iter().find(|top| top.token == name && !top.logprob.is_nan()).map(|top| top.logprob);
    let share = match (logprob("m"), logprob("M")) {
        (Some(m), Some(other)) => 1.0 / (1.0 + (other - m).exp()),
        (Some(_), None) => 1.0,
        (None, Some(_)) => 0.0,
        (None, None) => return None,
    };
    // Both impossible: nothing was preferred.
    (!f64::is_nan(share)).then_some(2.0 - share)
}

/// Judges outputs against a baseline's.
///
/// Which output is shown first is decided by `switched`: true shows the model's first. AlpacaEval draws it from a coin that is seeded with
/// the instruction.
#[derive(Debug)]
pub struct LogprobJudge<'a, F> {
    asker: Asker<'a>,
    options: LogprobOptions,
    switched: F,
}

impl<'a, F: Fn(&LogprobTask<'_>) -> bool> LogprobJudge<'a, F> {
    /// A judge that asks by these options.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a prompt that lacks an output or has a slot that nothing fills, [`Error::Setting`] for sampling without
    /// `top_logprobs`.
    pub fn new(asker: Asker<'a>, options: LogprobOptions, switched: F) -> Result<Self> {
        options.prompt.check(&["instruction", "output_1", "output_2"], &[])?;
        if options.sampling.top_logprobs == 0 {
            return Err(Error::Setting {
                field: "top_logprobs",
                got: "0".into(),
                expected: "at least 1, as the preference is read from them",
            });
        }
        Ok(Self { asker, options, switched })
    }

    /// The calls for these tasks; equal outputs need none.
    ///
    /// # Errors
    /// [`Error::DoubledId`].
    pub fn calls(&self, tasks: &[LogprobTask<'_>]) -> Result<Vec<ChatRequest>> {
        unique("tasks", tasks.iter().map(|task| task.id.as_str()))?;
        let call = |task: &LogprobTask<'_>| {
            let [first, second] = if (self.switched)(task) { [task.model, task.baseline] } else { [task.baseline, task.model] };
            let messages = self.options.prompt.fill(&[("instruction", task.instruction), ("output_1", first), ("output_2", second)])?;
            Ok(ChatRequest::new(task.id.clone(), messages).with_sampling(self.options.sampling.clone()))
        };
        tasks.iter().filter(|task| task.baseline != task.model).map(call).collect()
    }

    /// What judging these tasks will take.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn estimate(&self, tasks: &[LogprobTask<'_>]) -> Result<Estimate> {
        Ok(self.asker.estimate(&self.calls(tasks)?, top))
    }

    /// The calls that the journal has no readable answer to: what goes into a batch file.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn unasked(&self, tasks: &[LogprobTask<'_>]) -> Result<Vec<ChatRequest>> {
        Ok(self.asker.unasked(&self.calls(tasks)?, top))
    }

    /// Judges the tasks.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn judge(&self, tasks: &[LogprobTask<'_>]) -> Result<LogprobJudgement> {
        let calls = self.calls(tasks)?;
        let replies = self.asker.ask(&calls, 1, top);
        let likely = |reply: &Reply<Vec<TopLogprob>>| reply.value.as_deref().and_then(preference);
        let mut counts = Counts::of(&replies);
        let unread = replies.iter().filter(|reply| reply.value.is_some() && likely(reply).is_none()).count();
        (counts.parsed, counts.failed, counts.unreadable) = (counts.parsed - unread, counts.failed + unread, counts.unreadable + unread);
        let mut replies = replies.into_iter();
        let row = |task: &LogprobTask<'_>| {
            let (id, switched) = (task.id.clone(), (self.switched)(task));
            if task.baseline == task.model {
                return LogprobRow { id, switched, preference: Some(1.5), top_logprobs: None, problem: None };
            }
            let Some(reply) = replies.next() else {
                return LogprobRow { id, switched, preference: None, top_logprobs: None, problem: Some("it was not asked".into()) };
            };
            let second = likely(&reply);
            let neither = || reply.value.is_some().then(|| "neither m nor M is among the likely tokens".to_string());
            let problem = if second.is_some() { None } else { reply.problem.clone().or_else(neither) };
            let preference = second.map(|second| if switched { 3.0 - second } else { second });
            LogprobRow { id, switched, preference, top_logprobs: reply.value, problem }
        };
        let rows = tasks.iter().map(row).collect();
        Ok(LogprobJudgement { judge: self.asker.name().into(), prompt: self.options.prompt.version(), rows, counts })
    }
}

/// A judge with a SentencePiece vocabulary begins with a token that has a blank before it. If the likeliest token is such, the tokens
/// with the blank, without it; else all as they are. Taken away here, where tokens come in, so that whoever reads the rows
/// later finds the preference that the judge's report has.
fn without_blank(top: Vec<TopLogprob>) -> Vec<TopLogprob> {
    let likeliest = top.iter().filter(|top| !top.logprob.is_nan()).max_by(|a, b| a.logprob.total_cmp(&b.logprob));
    if !likeliest.is_some_and(|top| top.token.starts_with(' ')) {
        return top;
    }
    let bare = |top: TopLogprob| top.token.strip_prefix(' ').map(|token| TopLogprob::new(token, top.logprob));
    top.into_iter().filter_map(bare).collect()
}

/// The likely tokens at the first place.
fn top(generation: &Generation) -> Result<Vec<TopLogprob>, String> {
    let first = generation.logprobs.as_ref().and_then(|logprobs| logprobs.first());
    let top = first.map(|first| without_blank(first.top.clone())).filter(|top| !top.is_empty());
    top.ok_or_else(|| "the model gave no log-probabilities of likely tokens".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(top: &[TopLogprob]) -> Option<f64> {
        preference(&without_blank(top.to_vec()))
    }

    #[test]
    fn the_blank_before_a_sentencepiece_judges_first_token_is_no_other_verdict() {
        let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
        let preferred = read(&[token(" m", 0.6), token(" M", 0.2), token("M", 0.01)]);
        assert!(preferred.is_some_and(|preferred| (preferred - (2.0 - 0.6 / 0.8)).abs() < 1e-12), "{preferred:?}");
        // A judge that says the bare token is read as the published program reads it.
        assert_eq!(read(&[token("m", 0.6), token(" M", 0.3)]), Some(1.0));
        assert_eq!(read(&[token("The", 0.6), token(" M", 0.3)]), None);
        assert_eq!(read(&[]), None);
    }
}
