//! Results of comparing two models: the bars of the paper's Figure 3.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{AnnotationKey, AnnotationMode, Annotations, check};
use crate::bench::Numbers;
use crate::report::{Cell, Figure, Report, Section, ShareChart, ShareRow, Table};
use crate::score::{Outcome, Tally};
use crate::stats::{Interval, LevelOfMeasurement, Sample, krippendorff_alpha};
use crate::{Error, Result};

/// One annotator's outcomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct AnnotatorTally {
    /// The annotator's name.
    annotator: String,
    /// The outcomes, from the model's side.
    tally: Tally,
    /// Items without an annotation.
    open: usize,
}

/// The results of comparing a model with its opponent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Compared {
    /// The model and its opponent.
    models: [String; 2],
    /// Number of items of the page.
    items: usize,
    /// The outcomes of all annotations: the bars of Figure 3.
    tally: Tally,
    /// The paper's tie+win rate.
    tie_win: f64,
    /// Its interval, by bootstrap over items; `None` for a single item.
    interval: Option<Interval>,
    /// The outcomes of each annotator.
    annotators: Vec<AnnotatorTally>,
    /// Items with more than one annotation.
    shared: usize,
    /// Of the pairs of annotations of one item, the share that are equal; `None` without such a pair.
    agreement: Option<f64>,
    /// Krippendorff's alpha of the four outcomes, as nominal data; `None` if it is undefined.
    alpha: Option<f64>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([model, opponent], n) = (&self.models, self.tally.n());
        let agreement = self.agreement.map_or("no item has two annotations".into(), |share| {
            format!("{:.1} % of pairs agree", 100.0 * share)
        });
        write!(
            f,
            "{model} against {opponent}: tie+win {:.1} % of {n} annotations; {agreement}",
            100.0 * self.tie_win
        )
    }
}

impl Numbers for Compared {
    fn numbers(&self) -> Result<Map<String, Value>> {
        Ok(Map::from_iter([
            ("compared".to_string(), json!(self)),
            ("rates".to_string(), json!(self.tally.rates()?)),
        ]))
    }
}

const CHOICES: [&str; 4] = ["a", "both_good", "both_bad", "b"];

impl Compared {
    /// Evaluates the results of one or more annotators.
    pub(super) fn of(key: &AnnotationKey, results: &[(&Path, Annotations)]) -> Result<Self> {
        check(results, key, AnnotationMode::Compare, &[("choice", &CHOICES)])?;
        let swapped: BTreeMap<&str, bool> =
            key.items.iter().map(|item| (item.id.as_str(), item.swapped.unwrap_or_default())).collect();
        let models = key.models.clone().ok_or(Error::Empty { what: "the models of an annotation key" })?;
        let mut by_item: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
        let (mut tally, mut annotators) = (Tally::default(), Vec::new());
        for (_, result) in results {
            let mut own = Tally::default();
            for answer in &result.answers {
                let swapped = swapped.get(answer.id.as_str()).copied().unwrap_or_default();
                let outcome = match (answer.values.get("choice").map(String::as_str), swapped) {
                    (Some("both_good"), _) => Outcome::BothGood,
                    (Some("both_bad"), _) => Outcome::BothBad,
                    (Some("a"), false) | (Some("b"), true) => Outcome::Win,
                    _ => Outcome::Loss,
                };
                own.count(outcome);
                tally.count(outcome);
                by_item.entry(&answer.id).or_default().push(outcome);
            }
            annotators.push(AnnotatorTally {
                annotator: result.annotator.trim().into(),
                tally: own,
                open: key.items.len() - result.answers.len(),
            });
        }
        let tie_win = tally.rates()?.tie_win;
        let hits = by_item.iter().flat_map(|(id, outcomes)| {
            outcomes.iter().map(|outcome| (*id, f64::from(u8::from(outcome.is_tie_win()))))
        });
        let interval = match crate::stats::Bootstrap::default().mean(&Sample::clustered(hits)?) {
            Err(Error::TooFewUnits { .. }) => None,
            interval => Some(interval?),
        };
        let units: Vec<Vec<f64>> = by_item
            .values()
            .map(|outcomes| outcomes.iter().map(|outcome| f64::from(*outcome as u8)).collect())
            .collect();
        let shared = units.iter().filter(|unit| unit.len() > 1).count();
        let (agreement, alpha) =
            (agreement(&units), krippendorff_alpha(&units, LevelOfMeasurement::Nominal).ok());
        Ok(Self {
            models,
            items: key.items.len(),
            tally,
            tie_win,
            interval,
            annotators,
            shared,
            agreement,
            alpha,
        })
    }

    /// The report: the bars and the agreement.
    pub(super) fn report(&self) -> Report {
        let [model, opponent] = &self.models;
        let mut report = Report::new(format!("{model} against {opponent}, judged by people"));
        let counts = |tally: &Tally| vec![tally.win, tally.both_good, tally.both_bad, tally.loss];
        let all = ShareRow {
            label: format!("{model} against {opponent}, all annotations"),
            counts: counts(&self.tally),
        };
        let own = self.annotators.iter().filter(|annotator| annotator.tally.n() > 0);
        let own = own.map(|annotator| ShareRow {
            label: annotator.annotator.clone(),
            counts: counts(&annotator.tally),
        });
        let parts = [
            format!("{model} wins"),
            "both are good".into(),
            "both are bad".into(),
            format!("{opponent} wins"),
        ]
        .to_vec();
        let chart = ShareChart { parts, rows: std::iter::once(all).chain(own).collect() };
        let figure = Figure::shares(
            "Outcomes",
            "As the paper's Figure 3: four choices, answers in random order, models not named.",
            chart,
        );
        let share =
            |value: Option<f64>, decimals| value.map_or(Cell::Empty, |value| Cell::number(value, decimals));
        let tie_win = self.interval.map_or(Cell::number(100.0 * self.tie_win, 1), |interval| {
            Cell::interval(interval.scaled(100.0), 1)
        });
        let table = Table::new("Rates and agreement", ["measure", "value"])
            .row(["tie+win, % (wins and both good)".into(), tie_win])
            .row(["annotations".into(), self.tally.n().into()])
            .row(["items of the page".into(), self.items.into()])
            .row(["items with more than one annotation".into(), self.shared.into()])
            .row([
                "equal pairs of annotations on one item, %".into(),
                share(self.agreement.map(|share| 100.0 * share), 1),
            ])
            .row(["Krippendorff's alpha, nominal".into(), share(self.alpha, 3)]);
        let mut people = Table::new(
            "By annotator",
            ["annotator", "done", "open", "wins", "both good", "both bad", "losses"],
        );
        for AnnotatorTally { annotator, tally, open } in &self.annotators {
            let cells = [annotator.as_str().into(), tally.n().into(), (*open).into()];
            people = people
                .row([&cells[..], &counts(tally).into_iter().map(Cell::from).collect::<Vec<_>>()].concat());
        }
        report.sections.push(Section::new("Outcomes").figure(figure).table(table).table(people));
        report
    }
}

/// Of the pairs of ratings of one unit, the share that are equal; `None` without such a pair.
pub(super) fn agreement(units: &[Vec<f64>]) -> Option<f64> {
    let (mut equal, mut pairs) = (0_usize, 0_usize);
    for unit in units {
        for (index, rating) in unit.iter().enumerate() {
            pairs += unit.len() - index - 1;
            equal += unit[index + 1..].iter().filter(|other| *other == rating).count();
        }
    }
    (pairs > 0).then(|| equal as f64 / pairs as f64)
}
