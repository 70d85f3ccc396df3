//! A Multifaceted Collection from any chat model (paper, section 3): preferences for each instruction, three preference
//! sets of them, a system message for each set, the gold response, and for the bench a rubric for each preference.
//!
//! ```text
//! instruction ─▶ 4 × preferences ─▶ 3 sets ─▶ system message ─▶ response ─▶ SFT, SFT small, DPO, ORPO, RM
//!                                                                     └───▶ 4 × rubric ─▶ bench
//! ```
//!
//! Prompts are files with versioned ids ([`prompt_ids`]). Every answer is checked; one that cannot be used is asked for
//! again with what was wrong, and after that rejected and counted. Every answer stands in a journal before it is used,
//! under everything that it depends on (model, messages, sampling), so a run that is cut off asks only for what it lacks,
//! and a run over more instructions only for what is new.

mod answer;
mod ask;
mod check;
mod price;
mod prompt;
mod quality;
mod sets;
mod split;
pub(crate) mod words;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use janus_core::{BenchRecord, ChatModel, Dimension, Message, PairRecord, Preference, PreferenceSet, RewardRecord, SftRecord, Taxonomy};
use janus_core::{Rubric, SamplingParams};
use serde::Serialize;

use crate::instructions::{Instruction, normalised};
use crate::{CallJournal, Error, Journaled, Result, write_file, write_records};
use ask::{Asker, Question};

pub use ask::StepTally;
pub use price::{Estimate, StepEstimate};
pub use quality::{Coverage, Lengths, Likeness, Quality};

/// A step that asks the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Three preferences of one dimension for an instruction.
    Preferences,
    /// The system message of a preference set.
    System,
    /// The gold response to a system message and an instruction.
    Response,
    /// The rubric of a preference of a bench row.
    Rubric,
}

impl Step {
    /// In the order in which they run.
    pub const ALL: [Step; 4] = [Step::Preferences, Step::System, Step::Response, Step::Rubric];

    /// The step's name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Preferences => "preferences",
            Step::System => "system",
            Step::Response => "response",
            Step::Rubric => "rubric",
        }
    }
}

/// The ids of the prompts, with their versions: `preferences/1`.
pub fn prompt_ids() -> Vec<&'static str> {
    prompt::Prompt::ALL.iter().map(|prompt| prompt.id).collect()
}

/// How a collection is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Construction {
    /// Seed of the examples in prompts, the sets, the bench's share, the pairs, and the model's sampling.
    pub seed: u64,
    /// How often an answer that cannot be used is asked for again.
    pub retries: usize,
    /// How to sample; `max_tokens` bounds every step, `seed` and `n` are set by the construction. The default is the
    /// reference's for its rubrics: temperature 1, top-p 0.9.
    pub sampling: SamplingParams,
    /// Share of the instructions that become bench rows, 0 to 1; the others are trained on.
    pub bench_share: f64,
    /// Where the examples in prompts come from.
    pub tree: Taxonomy,
}

impl Default for Construction {
    fn default() -> Self {
        let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::paper() };
        Self { seed: 0, retries: 2, sampling, bench_share: 0.1, tree: seed_tree() }
    }
}

/// The written tree that examples are drawn from: five preferences for each of the twenty published subdimensions, all in
/// our own words. Two of them are those of [`Taxonomy::seed`].
pub fn seed_tree() -> Taxonomy {
    let mut tree = Taxonomy::seed();
    // The file is part of the program, and a test reads it.
    tree.merge(Taxonomy::from_json(include_str!("seed.json")).unwrap_or_default());
    tree
}

/// A finished collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Constructed {
    /// Every accepted system message of the instructions to train on, with its response.
    pub sft: Vec<SftRecord>,
    /// One row of each of these instructions.
    pub sft_small: Vec<SftRecord>,
    /// One pair of each instruction with two different responses: rejected is a response written for another system
    /// message of the same instruction.
    pub dpo: Vec<PairRecord>,
    /// The same, drawn anew.
    pub orpo: Vec<PairRecord>,
    /// The same, drawn anew, as plain strings.
    pub rm: Vec<RewardRecord>,
    /// The rows of the other instructions that have all four rubrics.
    pub bench: Vec<BenchRecord>,
    /// What was asked and what became of it.
    pub summary: Summary,
}

/// What was asked and what became of it. The same run gives the same summary, whether or not it was cut off in between.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Instructions that were worked on.
    pub instructions: u64,
    /// Instructions that were passed over, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Things asked for: dimensions of instructions, system messages, responses, rubrics. `accepted` and `rejected` add up
    /// to it.
    pub requests: u64,
    /// Calls on top of it, after an answer that could not be used.
    pub retried: u64,
    /// Things that were got.
    pub accepted: u64,
    /// Things that were given up, by the reason of the last answer.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Rows by file.
    pub rows: BTreeMap<&'static str, u64>,
    /// Preference sets that were given up because two of their preferences ask for opposite things.
    pub contradictory_sets: u64,
    /// The same counts by step.
    pub steps: BTreeMap<&'static str, StepTally>,
    /// The model's name.
    pub model: String,
    /// The seed.
    pub seed: u64,
    /// The prompts' ids.
    pub prompts: Vec<&'static str>,
}

/// One row in the making.
struct Draft<'a> {
    instruction: &'a Instruction,
    /// The set's position among the instruction's, from 0.
    number: usize,
    set: PreferenceSet,
    system: String,
    response: String,
    rubrics: Vec<Rubric>,
}

/// Told after each answer: the step, how many of its things are settled, how many there are.
pub type OnProgress<'a> = &'a mut dyn FnMut(Step, usize, usize);

impl Construction {
    /// Makes a collection. Journals lie in `folder`, one for each step, and are used again by the next run there, with
    /// whatever instructions and settings.
    ///
    /// # Errors
    /// [`Error::Journal`] or [`Error::Io`] of the journals, [`Error::Domain`] for sampling parameters out of range. A
    /// model that fails is no error: its answers are counted as missing, and asked for by the next run.
    pub fn run(&self, model: &dyn ChatModel, instructions: &[Instruction], folder: &Path, progress: OnProgress<'_>) -> Result<Constructed> {
        self.sampling.validate()?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let mut summary = Summary { model: model.name().into(), seed: self.seed, prompts: prompt_ids(), ..Summary::default() };
        let instructions = self.worked_on(instructions, &mut summary);
        let bench = split::bench(&instructions, self.bench_share, self.seed);

        let sets = self.preference_sets(model, &instructions, folder, progress, &mut summary)?;
        let mut drafts = self.system_messages(model, &instructions, sets, folder, progress, &mut summary)?;
        self.responses(model, &mut drafts, folder, progress, &mut summary)?;
        self.rubrics(model, &mut drafts, &bench, folder, progress, &mut summary)?;

        for tally in summary.steps.values() {
            summary.requests += tally.requests;
            summary.retried += tally.retried;
            summary.accepted += tally.accepted;
            for (reason, count) in &tally.rejected {
                *summary.rejected.entry(reason).or_default() += count;
            }
        }
        Ok(split::split(&drafts, &bench, self.seed, summary))
    }

    /// Instructions with a text, each text once.
    fn worked_on<'a>(&self, instructions: &'a [Instruction], summary: &mut Summary) -> Vec<&'a Instruction> {
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for instruction in instructions {
            let text = normalised(&instruction.prompt);
            if text.is_empty() {
                *summary.skipped.entry("empty").or_default() += 1;
            } else if !seen.insert(text) {
                *summary.skipped.entry("duplicate").or_default() += 1;
            } else {
                kept.push(instruction);
            }
        }
        summary.instructions = kept.len() as u64;
        kept
    }

    /// Asks the questions of a step, through its journal.
    fn ask<'q, T>(
        &self,
        model: &dyn ChatModel,
        step: Step,
        count: usize,
        question: impl Fn(usize) -> Question<'q, T>,
        (folder, progress, summary): (&Path, OnProgress<'_>, &mut Summary),
    ) -> Result<Vec<Option<T>>> {
        let journal = CallJournal::open(folder.join(format!("{}.journal", step.as_str())))?;
        let model = Journaled::new(model, &journal);
        let mut sampling = SamplingParams { n: 1, logprobs: false, ..self.sampling.clone() };
        sampling.max_tokens = sampling.max_tokens.min(step.most_tokens());
        let mut asker = Asker { model: &model, sampling, seed: self.seed, retries: self.retries, tally: StepTally::default() };
        let answers = asker.ask(count, question, &mut |done| progress(step, done, count));
        summary.steps.insert(step.as_str(), asker.tally);
        Ok(answers)
    }

    /// For each instruction its preference sets, none where a dimension got no preferences.
    fn preference_sets(
        &self,
        model: &dyn ChatModel,
        instructions: &[&Instruction],
        folder: &Path,
        progress: OnProgress<'_>,
        summary: &mut Summary,
    ) -> Result<Vec<Vec<PreferenceSet>>> {
        let dimensions = Dimension::ALL.len();
        let question = |index: usize| {
            let (instruction, dimension) = (instructions[index / dimensions], Dimension::ALL[index % dimensions]);
            let prompt = prompt::preferences(&self.tree, dimension, &instruction.id, &instruction.prompt, self.seed);
            Question {
                id: format!("{}/{dimension}", instruction.id),
                messages: vec![Message::user(prompt.clone())],
                check: Box::new(move |answer| check::preferences(answer, dimension, &instruction.prompt, &prompt)),
            }
        };
        let count = instructions.len() * dimensions;
        let answers = self.ask(model, Step::Preferences, count, question, (folder, progress, summary))?;
        let mut made = Vec::with_capacity(instructions.len());
        let mut use_of = sets::Use::default();
        for (instruction, answers) in instructions.iter().zip(answers.chunks(dimensions)) {
            let all: Option<Vec<&[Preference]>> = answers.iter().map(|answer| answer.as_deref()).collect();
            let (sets, contradictory) = match all {
                Some(all) => sets::arrange(&all, &mut use_of, self.seed, &instruction.id)?,
                None => (Vec::new(), 0),
            };
            summary.contradictory_sets += contradictory;
            made.push(sets);
        }
        Ok(made)
    }

    fn system_messages<'a>(
        &self,
        model: &dyn ChatModel,
        instructions: &[&'a Instruction],
        sets: Vec<Vec<PreferenceSet>>,
        folder: &Path,
        progress: OnProgress<'_>,
        summary: &mut Summary,
    ) -> Result<Vec<Draft<'a>>> {
        let number = |(instruction, sets): (&&'a Instruction, Vec<PreferenceSet>)| {
            let instruction = *instruction;
            sets.into_iter().enumerate().map(move |(number, set)| (instruction, number, set))
        };
        let asked: Vec<(&Instruction, usize, PreferenceSet)> = instructions.iter().zip(sets).flat_map(number).collect();
        let question = |index: usize| {
            let (instruction, number, set) = &asked[index];
            Question {
                id: format!("{}/{number}", instruction.id),
                messages: vec![Message::user(prompt::system(set, &instruction.prompt, check::SYSTEM))],
                check: Box::new(|answer| check::system(answer, set, &instruction.prompt)),
            }
        };
        let answers = self.ask(model, Step::System, asked.len(), question, (folder, progress, summary))?;
        let draft = |((instruction, number, set), system): ((&'a Instruction, usize, PreferenceSet), Option<String>)| {
            Some(Draft { instruction, number, set, system: system?, response: String::new(), rubrics: Vec::new() })
        };
        Ok(asked.into_iter().zip(answers).filter_map(draft).collect())
    }

    fn responses(
        &self,
        model: &dyn ChatModel,
        drafts: &mut Vec<Draft<'_>>,
        folder: &Path,
        progress: OnProgress<'_>,
        summary: &mut Summary,
    ) -> Result<()> {
        let question = |index: usize| {
            let draft = &drafts[index];
            Question {
                id: format!("{}/{}", draft.instruction.id, draft.number),
                messages: vec![Message::system(draft.system.clone()), Message::user(draft.instruction.prompt.clone())],
                check: Box::new(|answer| check::response(answer, &draft.set, &draft.instruction.prompt)),
            }
        };
        let answers = self.ask(model, Step::Response, drafts.len(), question, (folder, progress, summary))?;
        let mut answers = answers.into_iter();
        drafts.retain_mut(|draft| match answers.next().flatten() {
            Some(response) => {
                draft.response = response;
                true
            }
            None => false,
        });
        Ok(())
    }

    fn rubrics(
        &self,
        model: &dyn ChatModel,
        drafts: &mut [Draft<'_>],
        bench: &HashSet<String>,
        folder: &Path,
        progress: OnProgress<'_>,
        summary: &mut Summary,
    ) -> Result<()> {
        let wanted: Vec<usize> = (0..drafts.len()).filter(|&draft| bench.contains(&drafts[draft].instruction.id)).collect();
        let dimensions = Dimension::ALL.len();
        let sets: Vec<[&Preference; 4]> = wanted.iter().map(|&draft| drafts[draft].set.complete()).collect::<janus_core::Result<_>>()?;
        let question = |index: usize| {
            let (draft, preference) = (&drafts[wanted[index / dimensions]], sets[index / dimensions][index % dimensions]);
            Question {
                id: format!("{}/{}/{}", draft.instruction.id, draft.number, preference.dimension),
                messages: vec![Message::user(prompt::rubric(preference))],
                check: Box::new(check::rubric),
            }
        };
        let answers = self.ask(model, Step::Rubric, wanted.len() * dimensions, question, (folder, progress, summary))?;
        for (draft, rubrics) in wanted.iter().zip(answers.chunks(dimensions)) {
            drafts[*draft].rubrics = rubrics.iter().flatten().cloned().collect();
        }
        Ok(())
    }
}

impl Step {
    /// What an accepted answer of the step can need; more is never paid for.
    fn most_tokens(self) -> usize {
        match self {
            Step::Preferences => 512,
            Step::System => 640,
            Step::Response => usize::MAX,
            Step::Rubric => 768,
        }
    }
}

/// The format of the files of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// JSON lines.
    #[default]
    JsonLines,
    /// Parquet in the released schemas.
    Parquet,
}

impl Constructed {
    /// Writes `sft`, `sft_small`, `dpo`, `orpo`, `rm` and `bench` in the format, empty ones too, and at last
    /// `summary.json`: where it stands, the others are whole.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Encode`].
    pub fn write(&self, folder: &Path, format: OutputFormat) -> Result<()> {
        let ending = match format {
            OutputFormat::JsonLines => "jsonl",
            OutputFormat::Parquet => "parquet",
        };
        let path = |name: &str| folder.join(format!("{name}.{ending}"));
        write_records(path("sft"), &self.sft)?;
        write_records(path("sft_small"), &self.sft_small)?;
        write_records(path("dpo"), &self.dpo)?;
        write_records(path("orpo"), &self.orpo)?;
        write_records(path("rm"), &self.rm)?;
        write_records(path("bench"), &self.bench)?;
        let summary = folder.join("summary.json");
        let text = serde_json::to_string_pretty(&self.summary).map_err(|source| Error::Encode {
            path: summary.clone(),
            row: 1,
            source: source.into(),
        })?;
        write_file(summary, format!("{text}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use janus_core::PUBLISHED_SUBDIMENSIONS;

    use super::*;

    #[test]
    fn the_seed_tree_has_five_preferences_of_each_published_subdimension() {
        let tree = seed_tree();
        assert_eq!(tree.len(), 100);
        for (dimension, names) in PUBLISHED_SUBDIMENSIONS {
            for name in names {
                assert_eq!(tree.preferences(dimension, name).len(), 5, "{name}");
            }
        }
        let descriptions: HashSet<&str> = tree.iter().map(|preference| preference.description.as_str()).collect();
        assert_eq!(descriptions.len(), 100);
        assert!(descriptions.iter().all(|description| description.ends_with('.')));
    }
}
