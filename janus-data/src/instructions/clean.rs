//! Cleans instructions: drops copies, unfit ones and near-copies, and reports what each step dropped.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Filter, Instruction, NearDuplicates, exact_duplicates, stratified};

/// The steps that clean instructions, in this order: exact copies, a filter, near-copies, a sample.
///
/// ```
/// use janus_data::instructions::{Cleaning, Instruction};
/// let instruction = |id: &str, prompt: &str| Instruction {
///     id: id.into(), prompt: prompt.into(), main_source: String::new(), original_source: String::new(),
/// };
/// let cleaned = Cleaning::default().clean(vec![
///     instruction("1", "What is the best way to fly a kite?"),
///     instruction("2", "what is the best way  to fly a kite?"),
///     instruction("3", "Kite?"),
/// ]);
/// assert_eq!((cleaned.read, cleaned.kept.len()), (3, 1));
/// assert_eq!((cleaned.steps[0].step.as_str(), cleaned.steps[0].dropped), ("exact copies", 1));
/// assert_eq!(cleaned.steps[0].examples[0].repeats.as_deref(), Some("1"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cleaning {
    /// The filter that drops unfit instructions; `None` keeps them.
    pub filter: Option<Filter>,
    /// How near-copies are found.
    pub near: NearDuplicates,
    /// Number of instructions to draw from the rest, as evenly over the sources as possible, and the seed;
    /// `None` keeps all.
    pub sample: Option<(usize, u64)>,
    /// Number of examples for each step.
    pub examples: usize,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self { filter: Some(Filter::default()), near: NearDuplicates::default(), sample: None, examples: 3 }
    }
}

/// Cleaned instructions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cleaned {
    /// Instructions before the first step.
    pub read: usize,
    /// The remaining instructions, in their original order.
    pub kept: Vec<Instruction>,
    /// What each step dropped.
    pub steps: Vec<Dropped>,
}

/// What a step dropped.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Dropped {
    /// The step.
    pub step: String,
    /// Instructions that it dropped.
    pub dropped: usize,
    /// The first of them, as examples.
    pub examples: Vec<DroppedExample>,
}

/// A dropped instruction.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DroppedExample {
    /// Its id.
    pub id: String,
    /// The beginning of its text, on one line.
    pub text: String,
    /// The id of the instruction that it is a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// The beginning of that instruction's text.
    #[serde(rename = "which is", skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
}

impl Cleaning {
    /// Cleans instructions.
    pub fn clean(&self, instructions: Vec<Instruction>) -> Cleaned {
        let mut cleaned = Cleaned { read: instructions.len(), kept: instructions, steps: Vec::new() };
        let exact = exact_duplicates(&cleaned.texts());
        cleaned.drop_copies("exact copies", &exact, self.examples);
        if let Some(filter) = &self.filter {
            cleaned.drop_unfit(filter, self.examples);
        }
        let near = self.near.find(&cleaned.texts());
        cleaned.drop_copies("near-copies", &near, self.examples);
        if let Some((count, seed)) = self.sample {
            let sources: Vec<&str> =
                cleaned.kept.iter().map(|instruction| instruction.main_source.as_str()).collect();
            let drawn = stratified(&sources, count, seed);
            let dropped = cleaned.kept.len() - drawn.len();
            cleaned.steps.push(Dropped { step: "not drawn".into(), dropped, examples: Vec::new() });
            cleaned.keep(drawn.into_iter());
        }
        cleaned
    }
}

impl Cleaned {
    fn texts(&self) -> Vec<&str> {
        self.kept.iter().map(|instruction| instruction.prompt.as_str()).collect()
    }

    /// Keeps the instructions at these positions, which are in ascending order.
    fn keep(&mut self, positions: impl Iterator<Item = usize>) {
        let mut positions = positions.peekable();
        let all = std::mem::take(&mut self.kept).into_iter().enumerate();
        self.kept = all
            .filter(|(at, _)| positions.next_if_eq(at).is_some())
            .map(|(_, instruction)| instruction)
            .collect();
    }

    fn drop_copies(&mut self, step: &str, found: &super::Duplicates, examples: usize) {
        let example = |(first, copy): (usize, usize)| {
            let [first, copy] = [first, copy].map(|at| &self.kept[at]);
            let original = Some(excerpt(&first.prompt));
            DroppedExample {
                id: copy.id.clone(),
                text: excerpt(&copy.prompt),
                repeats: Some(first.id.clone()),
                original,
            }
        };
        let examples = found.examples(examples).into_iter().map(example).collect();
        self.steps.push(Dropped { step: step.into(), dropped: found.count(), examples });
        self.keep(found.kept());
    }

    fn drop_unfit(&mut self, filter: &Filter, examples: usize) {
        let mut unfit: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, instruction) in self.kept.iter().enumerate() {
            if let Some(reason) = filter.check(&instruction.prompt) {
                unfit.entry(reason.as_str()).or_default().push(at);
            }
        }
        let example = |&at: &usize| {
            let Instruction { id, prompt, .. } = &self.kept[at];
            DroppedExample { id: id.clone(), text: excerpt(prompt), repeats: None, original: None }
        };
        let step = |(reason, found): (&&str, &Vec<usize>)| Dropped {
            step: format!("unfit: {reason}"),
            dropped: found.len(),
            examples: found.iter().take(examples).map(example).collect(),
        };
        let steps: Vec<Dropped> = unfit.iter().map(step).collect();
        let dropped: BTreeSet<usize> = unfit.into_values().flatten().collect();
        self.steps.extend(steps);
        self.keep((0..self.kept.len()).filter(|at| !dropped.contains(at)));
    }
}

fn excerpt(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 100 {
        line = line.chars().take(99).chain(['…']).collect();
    }
    line
}
