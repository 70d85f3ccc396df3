//! Measures the quality of a finished collection.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use janus_core::{Dimension, PUBLISHED_SUBDIMENSIONS, Preference, SftRecord, stream};
use rand::Rng;
use serde::Serialize;

use super::check::contradiction;
use super::words::{rouge_l, words};
use crate::{Error, Result, write_file};

/// A report on the rows of a collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Quality {
    /// Rows.
    pub rows: u64,
    /// Distinct instructions.
    pub instructions: u64,
    /// Distinct system messages.
    pub system_messages: u64,
    /// Rows with a preference set.
    pub with_preference_set: u64,
    /// Of these, rows whose preferences contradict each other.
    pub contradictions: u64,
    /// How well the rows cover each dimension.
    pub coverage: BTreeMap<Dimension, Coverage>,
    /// ROUGE-L between the system messages of an instruction; lower is more distinct.
    pub system_likeness: Likeness,
    /// ROUGE-L between the responses of an instruction (the paper's measure of personalised answers).
    pub response_likeness: Likeness,
    /// Words of a system message.
    pub system_words: Lengths,
    /// Words of a response.
    pub response_words: Lengths,
}

/// How well the rows cover a dimension.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// Distinct subdimensions.
    pub subdimensions: u64,
    /// Published subdimensions that no row has.
    pub missing: Vec<String>,
    /// Rows of each of the most frequent subdimensions, at most twenty.
    pub most_frequent: Vec<(String, u64)>,
    /// Distinct preferences (label and description).
    pub preferences: u64,
    /// ROUGE-L between descriptions of one subdimension.
    pub likeness: Likeness,
}

/// How similar pairs of texts are.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Likeness {
    /// Pairs compared.
    pub pairs: u64,
    /// Mean ROUGE-L; 0 without pairs.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

/// Lengths of texts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Lengths {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}

/// Pairs that are compared for each metric, at most. The standard error of a mean of values in 0..1 is then
/// below 0.005.
const PAIRS: usize = 10_000;
/// Subdimensions that are listed for each dimension, at most.
const FREQUENT: usize = 20;

impl Likeness {
    fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut likeness = Self::default();
        let mut sum = 0.0;
        for (one, other) in pairs {
            let value = rouge_l(&words(one), &words(other));
            sum += value;
            likeness.max = likeness.max.max(value);
            likeness.pairs += 1;
        }
        likeness.mean = sum / likeness.pairs.max(1) as f64;
        likeness
    }
}

impl Lengths {
    fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let (mut min, mut max, mut sum, mut count) = (usize::MAX, 0, 0, 0usize);
        for length in lengths {
            (min, max, sum, count) = (min.min(length), max.max(length), sum + length, count + 1);
        }
        if count == 0 {
            Self::default()
        } else {
            Self { min: min as u64, mean: sum as f64 / count as f64, max: max as u64 }
        }
    }
}

/// All pairs of members of the same group, or a sample of [`PAIRS`] of them.
fn pairs<'a>(groups: &[Vec<&'a str>], seed: u64, purpose: &str) -> Vec<(&'a str, &'a str)> {
    let of = |group: &Vec<&str>| group.len() * group.len().saturating_sub(1) / 2;
    let total: usize = groups.iter().map(of).sum();
    if total <= PAIRS {
        let mut all = Vec::with_capacity(total);
        for group in groups {
            for (at, &one) in group.iter().enumerate() {
                all.extend(group[at + 1..].iter().map(|&other| (one, other)));
            }
        }
        return all;
    }
    // Groups are drawn in proportion to their number of pairs, so that all pairs are equally likely.
    let mut ends = Vec::with_capacity(groups.len());
    let mut end = 0;
    for group in groups {
        end += of(group);
        ends.push(end);
    }
    let mut rng = stream(seed, purpose);
    let mut draw = || {
        let at = rng.random_range(0..total);
        let group = &groups[ends.partition_point(|&end| end <= at)];
        let first = rng.random_range(0..group.len());
        (group[first], group[(first + rng.random_range(1..group.len())) % group.len()])
    };
    (0..PAIRS).map(|_| draw()).collect()
}

impl Quality {
    /// Writes `quality.md` and `quality.json` into a folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Encode`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_file(folder.join("quality.md"), self.to_markdown().as_bytes())?;
        let path = folder.join("quality.json");
        let encode =
            |cause: serde_json::Error| Error::Encode { path: path.clone(), row: 1, cause: cause.into() };
        let text = serde_json::to_string_pretty(self).map_err(encode)?;
        write_file(path, format!("{text}\n").as_bytes())
    }

    /// Measures a collection. Each similarity is measured on at most 10,000 pairs, drawn with the seed.
    pub fn of(rows: &[SftRecord], seed: u64) -> Self {
        let mut by_prompt: HashMap<&str, Vec<&SftRecord>> = HashMap::new();
        let mut prompts = Vec::new();
        for row in rows {
            let rows = by_prompt.entry(row.prompt.as_str()).or_default();
            if rows.is_empty() {
                prompts.push(row.prompt.as_str());
            }
            rows.push(row);
        }
        // In the order of the rows: the order of a hash map would change the sample.
        let groups = |text: fn(&SftRecord) -> &str| -> Vec<Vec<&str>> {
            prompts.iter().map(|prompt| by_prompt[prompt].iter().map(|row| text(row)).collect()).collect()
        };
        let likeness = |text: fn(&SftRecord) -> &str, purpose: &str| {
            Likeness::of(pairs(&groups(text), seed, purpose).into_iter())
        };
        let sets = || rows.iter().filter_map(|row| row.preference_set.as_ref());
        let contradicts =
            |set: &&janus_core::PreferenceSet| contradiction(&set.iter().collect::<Vec<_>>()).is_some();
        Self {
            rows: rows.len() as u64,
            instructions: prompts.len() as u64,
            system_messages: rows.iter().map(|row| row.system.as_str()).collect::<HashSet<_>>().len() as u64,
            with_preference_set: sets().count() as u64,
            contradictions: sets().filter(contradicts).count() as u64,
            coverage: Dimension::ALL
                .into_iter()
                .map(|dimension| (dimension, Coverage::of(rows, dimension, seed)))
                .collect(),
            system_likeness: likeness(|row| &row.system, "quality systems"),
            response_likeness: likeness(|row| &row.output, "quality responses"),
            system_words: Lengths::of(rows.iter().map(|row| words(&row.system).len())),
            response_words: Lengths::of(rows.iter().map(|row| words(&row.output).len())),
        }
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{} rows of {} instructions, {} different system messages; {} rows with a preference set, {} of them contradictory.\n",
            self.rows, self.instructions, self.system_messages, self.with_preference_set, self.contradictions
        );
        let _ = writeln!(
            out,
            "| dimension | subdimensions | published ones missing | preferences | ROUGE-L within a subdimension, mean (max) |"
        );
        let _ = writeln!(out, "| --- | --- | --- | --- | --- |");
        for (dimension, found) in &self.coverage {
            let missing = if found.missing.is_empty() { "none".into() } else { found.missing.join(", ") };
            let Likeness { mean, max, .. } = found.likeness;
            let _ = writeln!(
                out,
                "| {dimension} | {} | {missing} | {} | {mean:.3} ({max:.3}) |",
                found.subdimensions, found.preferences
            );
        }
        let _ = writeln!(
            out,
            "\n| of one instruction | pairs | ROUGE-L, mean (max) | words, mean (min to max) |\n| --- | --- | --- | --- |"
        );
        for (name, likeness, lengths) in [
            ("system messages", self.system_likeness, self.system_words),
            ("responses", self.response_likeness, self.response_words),
        ] {
            let (Likeness { pairs, mean, max }, Lengths { min, mean: words, max: longest }) =
                (likeness, lengths);
            let _ = writeln!(
                out,
                "| {name} | {pairs} | {mean:.3} ({max:.3}) | {words:.0} ({min} to {longest}) |"
            );
        }
        out
    }
}

impl Coverage {
    fn of(rows: &[SftRecord], dimension: Dimension, seed: u64) -> Self {
        let preferences =
            || rows.iter().filter_map(|row| row.preference_set.as_ref()).filter_map(|set| set.get(dimension));
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut distinct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut seen: HashSet<&Preference> = HashSet::new();
        for preference in preferences() {
            *counts.entry(&preference.subdimension).or_default() += 1;
            if seen.insert(preference) {
                distinct.entry(&preference.subdimension).or_default().push(&preference.description);
            }
        }
        let published =
            PUBLISHED_SUBDIMENSIONS.iter().filter(|(of, _)| *of == dimension).flat_map(|(_, names)| names);
        let missing =
            published.filter(|name| !counts.contains_key(**name)).map(ToString::to_string).collect();
        let mut most_frequent: Vec<(String, u64)> =
            counts.iter().map(|(name, count)| (name.to_string(), *count)).collect();
        // Already sorted by name, so equal counts keep that order.
        most_frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most_frequent.truncate(FREQUENT);
        let groups: Vec<Vec<&str>> = distinct.into_values().collect();
        let likeness = Likeness::of(pairs(&groups, seed, &format!("quality {dimension}")).into_iter());
        Self {
            subdimensions: counts.len() as u64,
            missing,
            most_frequent,
            preferences: seen.len() as u64,
            likeness,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: usize, system: &str, output: &str) -> SftRecord {
        let set = janus_core::Taxonomy::seed().sample(&mut stream(prompt as u64, "t")).unwrap();
        SftRecord {
            main_source: String::new(),
            original_source: String::new(),
            preference_set: Some(set),
            system: system.into(),
            prompt: format!("prompt {prompt}"),
            output: output.into(),
        }
    }

    #[test]
    fn pairs_stay_within_an_instruction() {
        let rows = [
            row(0, "You are kind", "a b c d"),
            row(0, "You are stern", "a b x y"),
            row(1, "You are kind", "a b c d"),
        ];
        let quality = Quality::of(&rows, 0);
        assert_eq!((quality.rows, quality.instructions, quality.system_messages), (3, 2, 2));
        assert_eq!(quality.response_likeness, Likeness { pairs: 1, mean: 0.5, max: 0.5 });
        assert_eq!(quality.system_likeness.pairs, 1);
        assert_eq!(quality.response_words, Lengths { min: 4, mean: 4.0, max: 4 });
        assert!(quality.coverage[&Dimension::Style].subdimensions >= 1);
        assert!(quality.to_markdown().contains("3 rows of 2 instructions"));
        assert_eq!(Quality::of(&[], 0).to_markdown().matches("none").count(), 0);
    }

    #[test]
    fn pairs_are_sampled_in_proportion_to_the_pairs_of_each_group() {
        let text: Vec<String> = (0..300).map(|i| i.to_string()).collect();
        let large: Vec<&str> = text[..200].iter().map(String::as_str).collect();
        let small: Vec<&str> = text[200..].iter().map(String::as_str).collect();
        let drawn = pairs(&[vec!["alone"], large.clone(), small.clone()], 0, "t");
        assert_eq!(drawn.len(), PAIRS);
        assert!(
            drawn.iter().all(|(one, other)| one != other && large.contains(one) == large.contains(other))
        );
        let of_small = drawn.iter().filter(|(one, _)| small.contains(one)).count();
        // 4,950 of 24,850 pairs are in the small group.
        assert!((1850..2150).contains(&of_small), "{of_small}");
    }
}
