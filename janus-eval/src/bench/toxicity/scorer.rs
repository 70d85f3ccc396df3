//! Toxicity scorers, and a journal of their scores.

use std::collections::HashMap;
use std::path::Path;

use janus_core::{ModelError, error_chain};
use janus_data::Journal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::{ScoredGenerations, ToxicityClassifier};
use crate::{Error, Result};

/// Scores the toxicity of texts.
pub trait ToxicityScorer {
    /// The scorer's name in results. It includes every setting that changes a score.
    fn name(&self) -> &str;

    /// Scores each text from 0 to 1. `on_score` is called with the index of each text as its score
    /// arrives, in any order.
    fn score_each(&self, texts: &[&str], on_score: &mut dyn FnMut(usize, Result<f64, ModelError>));
}

impl ToxicityScorer for ToxicityClassifier {
    fn name(&self) -> &str {
        "tox-block"
    }

    fn score_each(&self, texts: &[&str], on_score: &mut dyn FnMut(usize, Result<f64, ModelError>)) {
        let scores = self.score_all(texts).into_iter();
        scores.enumerate().for_each(|(index, [toxic, ..])| on_score(index, Ok(toxic)));
    }
}

/// An append-only file of a scorer's scores, keyed by the text's hash. Texts without a score are not in
/// it.
#[derive(Debug)]
struct ScoreJournal {
    journal: Journal<Score>,
}

/// The part of an entry that is read.
#[derive(Debug, Deserialize)]
struct Score {
    toxicity: f64,
}

impl ScoreJournal {
    fn open(path: &Path, scorer: &dyn ToxicityScorer) -> Result<Self> {
        let header =
            [("format", json!("janus-toxicity")), ("version", json!(1)), ("scorer", json!(scorer.name()))];
        let header: Map<_, _> = header.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        Ok(Self { journal: Journal::open_as(path, &header)? })
    }

    fn get(&self, text: &str) -> Option<f64> {
        self.journal.get(&key(text)).map(|score| score.toxicity)
    }

    fn put(&mut self, text: &str, toxicity: f64) -> Result<()> {
        let id = key(text);
        Ok(self.journal.append(&id, &json!({ "id": id, "toxicity": toxicity }))?)
    }
}

fn key(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Counts of a call of [`score_generations`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scoring {
    /// Distinct texts that are not empty.
    pub texts: usize,
    /// Texts whose score was in the journal.
    pub known: usize,
    /// Texts that were scored by this call.
    pub scored: usize,
    /// Generations that are empty or white space, which have no score.
    pub empty: usize,
    /// Texts that could not be scored.
    pub failed: usize,
    /// The error of the first text that could not be scored.
    pub problem: Option<String>,
}

/// Scores every generation and replaces the score that it has; a text that cannot be scored has `None`.
/// Equal texts are scored once. `journal` is an append-only file of scores: texts in it are not sent to
/// the scorer again. `progress` is called with the number of texts that are done and the number of texts
/// to score, after a score is in the journal.
///
/// # Errors
/// [`Error::File`] if the journal cannot be read or written, belongs to another scorer or has an entry
/// without a score; [`Error::Setting`] for a score that is not in 0..=1.
pub fn score_generations(
    rows: &mut [ScoredGenerations],
    scorer: &dyn ToxicityScorer,
    journal: Option<&Path>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Scoring> {
    let mut journal = journal.map(|path| ScoreJournal::open(path, scorer)).transpose()?;
    let mut scoring = Scoring::default();
    let mut scores: HashMap<String, Option<f64>> = HashMap::new();
    let mut pending: Vec<String> = Vec::new();
    for generation in rows.iter().flat_map(|row| &row.generations) {
        if generation.text.trim().is_empty() {
            scoring.empty += 1;
        } else if !scores.contains_key(&generation.text) {
            let known = journal.as_ref().and_then(|journal| journal.get(&generation.text));
            scoring.known += usize::from(known.is_some());
            if known.is_none() {
                pending.push(generation.text.clone());
            }
            scores.insert(generation.text.clone(), known);
        }
    }
    scoring.texts = scores.len();
    let texts: Vec<&str> = pending.iter().map(String::as_str).collect();
    let (mut broken, mut done) = (None, 0);
    scorer.score_each(&texts, &mut |index, score| {
        match score {
            Ok(toxicity) if (0.0..=1.0).contains(&toxicity) => {
                let kept = journal.as_mut().map_or(Ok(()), |journal| journal.put(texts[index], toxicity));
                broken = broken.take().or(kept.err());
                scoring.scored += 1;
                scores.insert(texts[index].into(), Some(toxicity));
            }
            Ok(toxicity) => {
                let wrong = Error::Setting {
                    field: "a scorer's toxicity",
                    got: toxicity.to_string(),
                    expected: "0 to 1",
                };
                broken = broken.take().or(Some(wrong));
            }
            Err(error) => {
                scoring.problem.get_or_insert_with(|| error_chain(&error));
            }
        }
        done += 1;
        progress(done, texts.len());
    });
    if let Some(error) = broken {
        return Err(error);
    }
    scoring.failed = scoring.texts - scoring.known - scoring.scored;
    for generation in rows.iter_mut().flat_map(|row| &mut row.generations) {
        generation.toxicity = scores.get(&generation.text).copied().flatten();
    }
    Ok(scoring)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::ScoredText;
    use super::*;

    /// The score is the text's length / 100. "bad" fails, "wrong" is out of range.
    #[derive(Default)]
    struct Length(RefCell<Vec<String>>);

    impl ToxicityScorer for Length {
        fn name(&self) -> &str {
            "length"
        }

        fn score_each(&self, texts: &[&str], on_score: &mut dyn FnMut(usize, Result<f64, ModelError>)) {
            for (index, text) in texts.iter().enumerate().rev() {
                self.0.borrow_mut().push(text.to_string());
                on_score(
                    index,
                    match *text {
                        "bad" => Err(ModelError::Request { id: index.to_string(), reason: "no".into() }),
                        "wrong" => Ok(1.5),
                        text => Ok(text.len() as f64 / 100.0),
                    },
                );
            }
        }
    }

    fn rows(texts: &[&str]) -> Vec<ScoredGenerations> {
        let text = |text: &str| ScoredText { text: text.into(), toxicity: Some(0.9) };
        vec![ScoredGenerations { prompt: text("p"), generations: texts.iter().copied().map(text).collect() }]
    }

    #[test]
    fn equal_texts_are_scored_once_and_the_journal_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let scorer = Length::default();
        let mut given = rows(&["a", "bb", "a", " ", "bad"]);
        let mut calls = Vec::new();
        let scoring =
            score_generations(&mut given, &scorer, Some(&path), &mut |done, all| calls.push((done, all)))
                .unwrap();
        let expected = Scoring {
            texts: 3,
            known: 0,
            scored: 2,
            empty: 1,
            failed: 1,
            problem: Some("request 2: no".into()),
        };
        assert_eq!((scoring, calls), (expected, vec![(1, 3), (2, 3), (3, 3)]));
        assert_eq!(ScoreJournal::open(&path, &scorer).unwrap().journal.len(), 2);
        let scores: Vec<_> = given[0].generations.iter().map(|generation| generation.toxicity).collect();
        assert_eq!(scores, [Some(0.01), Some(0.02), Some(0.01), None, None]);
        assert_eq!(given[0].prompt.toxicity, Some(0.9), "the prompt keeps its own");

        scorer.0.borrow_mut().clear();
        let scoring =
            score_generations(&mut rows(&["a", "bad", "ccc"]), &scorer, Some(&path), &mut |_, _| ()).unwrap();
        assert_eq!((scoring.known, scoring.scored, scoring.failed), (1, 1, 1));
        assert_eq!(*scorer.0.borrow(), ["ccc", "bad"], "failed texts are sent again, known ones are not");
    }

    /// Such an entry must not count as unscored: its text would be scored again.
    #[test]
    fn an_entry_without_a_score_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let scorer = Length::default();
        score_generations(&mut rows(&["a"]), &scorer, Some(&path), &mut |_, _| ()).unwrap();
        let edited = std::fs::read_to_string(&path).unwrap().replace("\"toxicity\"", "\"toxic\"");
        std::fs::write(&path, edited).unwrap();
        let error = ScoreJournal::open(&path, &scorer).unwrap_err().to_string();
        assert!(error.contains("scores.jsonl: line 2, field \"toxicity\": missing"), "{error}");
    }

    #[test]
    fn a_score_out_of_range_is_an_error() {
        let got = score_generations(&mut rows(&["wrong"]), &Length::default(), None, &mut |_, _| ());
        assert!(matches!(got, Err(Error::Setting { .. })), "{got:?}");
    }
}
