//! One run of a construction, step by step.

use std::collections::HashSet;
use std::path::Path;

use janus_core::{ChatModel, Dimension, Message, Preference, PreferenceSet, SamplingParams};

use super::collection::{Constructed, Summary};
use super::draft::Draft;
use super::request::{Item, Requester, StepTally};
use super::{Construction, OnProgress, Step, check, prompt, prompt_ids, sets, split};
use crate::instructions::{Instruction, normalised};
use crate::{CallJournal, Error, Journaled, Result};

/// The state that all steps of a run share.
pub(super) struct Run<'a> {
    construction: &'a Construction,
    model: &'a dyn ChatModel,
    /// The folder of the journals.
    folder: &'a Path,
    progress: OnProgress<'a>,
    summary: Summary,
}

impl<'a> Run<'a> {
    pub(super) fn begin(
        construction: &'a Construction,
        model: &'a dyn ChatModel,
        folder: &'a Path,
        progress: OnProgress<'a>,
    ) -> Result<Self> {
        construction.sampling.validate()?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let summary = Summary {
            model: model.name().into(),
            seed: construction.seed,
            prompts: prompt_ids(),
            ..Summary::default()
        };
        Ok(Self { construction, model, folder, progress, summary })
    }

    /// Constructs the collection of these instructions.
    pub(super) fn over(mut self, instructions: &[Instruction]) -> Result<Constructed> {
        let instructions = usable(instructions, &mut self.summary);
        let bench = split::bench(&instructions, self.construction);

        let sets = self.preference_sets(&instructions)?;
        let mut drafts = self.system_messages(&instructions, sets)?;
        self.responses(&mut drafts)?;
        self.rubrics(&mut drafts, &bench)?;

        self.summary.add_up();
        Ok(split::split(&drafts, &bench, self.construction.seed, self.summary))
    }

    /// Requests the items of a step, through the step's journal.
    fn request<'q, T>(
        &mut self,
        step: Step,
        count: usize,
        item: impl Fn(usize) -> Item<'q, T>,
    ) -> Result<Vec<Option<T>>> {
        let Construction { seed, retries, ref sampling, .. } = *self.construction;
        let mut journal = CallJournal::open(self.folder.join(format!("{}.journal", step.as_str())))?;
        if let Some(endpoint) = &self.construction.endpoint {
            // Older journals do not store the address: their answers are used too.
            journal = journal.of_endpoint(endpoint.as_str()).or_untagged();
        }
        let model = Journaled::new(self.model, &journal);
        let mut sampling = SamplingParams { n: 1, logprobs: false, ..sampling.clone() };
        sampling.max_tokens = sampling.max_tokens.min(step.token_limit());
        let mut requester = Requester { model: &model, sampling, seed, retries, tally: StepTally::default() };
        let answers = requester.request(count, item, &mut |done| (self.progress)(step, done, count));
        self.summary.steps.insert(step.as_str(), requester.tally);
        Ok(answers)
    }

    /// The preference sets of each instruction; empty if the preferences of a dimension were rejected.
    fn preference_sets(&mut self, instructions: &[&Instruction]) -> Result<Vec<Vec<PreferenceSet>>> {
        let Construction { seed, sets: count_of_sets, ref tree, .. } = *self.construction;
        let dimensions = Dimension::ALL.len();
        let item = |index: usize| {
            let (instruction, dimension) =
                (instructions[index / dimensions], Dimension::ALL[index % dimensions]);
            let prompt = prompt::preferences(tree, dimension, &instruction.id, &instruction.prompt, seed);
            Item {
                id: format!("{}/{dimension}", instruction.id),
                messages: vec![Message::user(prompt.clone())],
                check: Box::new(move |answer| {
                    check::preferences(answer, dimension, &instruction.prompt, &prompt)
                }),
            }
        };
        let count = instructions.len() * dimensions;
        let answers = self.request(Step::Preferences, count, item)?;
        let mut all_sets = Vec::with_capacity(instructions.len());
        let mut pair_counts = sets::PairCounts::default();
        for (instruction, answers) in instructions.iter().zip(answers.chunks(dimensions)) {
            let all: Option<Vec<&[Preference]>> = answers.iter().map(|answer| answer.as_deref()).collect();
            let (mut sets, contradictory) = match all {
                Some(all) => sets::arrange(&all, &mut pair_counts, seed, &instruction.id)?,
                None => (Vec::new(), 0),
            };
            sets.truncate(count_of_sets);
            self.summary.contradictory_sets += contradictory;
            all_sets.push(sets);
        }
        Ok(all_sets)
    }

    /// A draft for each set whose system message was accepted.
    fn system_messages<'i>(
        &mut self,
        instructions: &[&'i Instruction],
        sets: Vec<Vec<PreferenceSet>>,
    ) -> Result<Vec<Draft<'i>>> {
        let number = |(instruction, sets): (&&'i Instruction, Vec<PreferenceSet>)| {
            let instruction = *instruction;
            sets.into_iter().enumerate().map(move |(number, set)| (instruction, number, set))
        };
        let requested: Vec<(&Instruction, usize, PreferenceSet)> =
            instructions.iter().zip(sets).flat_map(number).collect();
        let item = |index: usize| {
            let (instruction, number, set) = &requested[index];
            Item {
                id: format!("{}/{number}", instruction.id),
                messages: vec![Message::user(prompt::system(set, &instruction.prompt, check::SYSTEM))],
                check: Box::new(|answer| check::system(answer, set, &instruction.prompt)),
            }
        };
        let answers = self.request(Step::System, requested.len(), item)?;
        let draft = |((instruction, number, set), system): (
            (&'i Instruction, usize, PreferenceSet),
            Option<String>,
        )| {
            Some(Draft {
                instruction,
                number,
                set,
                system: system?,
                response: String::new(),
                rubrics: Vec::new(),
            })
        };
        Ok(requested.into_iter().zip(answers).filter_map(draft).collect())
    }

    /// Adds the responses; drafts without one are dropped.
    fn responses(&mut self, drafts: &mut Vec<Draft<'_>>) -> Result<()> {
        let item = |index: usize| {
            let draft = &drafts[index];
            Item {
                id: format!("{}/{}", draft.instruction.id, draft.number),
                messages: vec![
                    Message::system(draft.system.clone()),
                    Message::user(draft.instruction.prompt.clone()),
                ],
                check: Box::new(|answer| check::response(answer, &draft.set, &draft.instruction.prompt)),
            }
        };
        let answers = self.request(Step::Response, drafts.len(), item)?;
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

    /// Adds the rubrics to the drafts of bench rows.
    fn rubrics(&mut self, drafts: &mut [Draft<'_>], bench: &HashSet<String>) -> Result<()> {
        let bench_drafts: Vec<usize> =
            (0..drafts.len()).filter(|&draft| bench.contains(&drafts[draft].instruction.id)).collect();
        let dimensions = Dimension::ALL.len();
        let sets: Vec<[&Preference; 4]> = bench_drafts
            .iter()
            .map(|&draft| drafts[draft].set.complete())
            .collect::<janus_core::Result<_>>()?;
        let item = |index: usize| {
            let (draft, preference) =
                (&drafts[bench_drafts[index / dimensions]], sets[index / dimensions][index % dimensions]);
            Item {
                id: format!("{}/{}/{}", draft.instruction.id, draft.number, preference.dimension),
                messages: vec![Message::user(prompt::rubric(preference))],
                check: Box::new(check::rubric),
            }
        };
        let answers = self.request(Step::Rubric, bench_drafts.len() * dimensions, item)?;
        for (draft, rubrics) in bench_drafts.iter().zip(answers.chunks(dimensions)) {
            drafts[*draft].rubrics = rubrics.iter().flatten().cloned().collect();
        }
        Ok(())
    }
}

/// The instructions that are not empty and not duplicates; the others are counted as skipped.
pub(super) fn usable<'i>(instructions: &'i [Instruction], summary: &mut Summary) -> Vec<&'i Instruction> {
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
