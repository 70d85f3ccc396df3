//! Scores, ratings and intervals.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::battle::{ArenaBattles, Battles};
use crate::bench::evaluation::{Evaluation, Numbers, ends, flat, in_file, part, shown};
use crate::protocol::PairOutcome;
use crate::run::PairTally;
use crate::stats::{Bootstrap, BradleyTerry, Interval, Method, Sample, below, quantile};
use crate::{Error, Result};

/// The rating of the baseline.
const ANCHOR: f64 = 1000.0;
/// Rating points for a factor of 10 in odds.
const SCALE: f64 = 400.0;

/// How the published interval is resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampling {
    /// Number of resamples; the published interval uses 100.
    pub rounds: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Resampling {
    /// The published 100 rounds, seed 0.
    fn default() -> Self {
        Self { rounds: 100, seed: 0 }
    }
}

/// The published kind of interval, in percent: the 2.5 and 97.5 percentiles of a model's rating, as win
/// rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct PublishedInterval {
    /// Lower end.
    pub rating_q025: f64,
    /// Upper end.
    pub rating_q975: f64,
}

/// A model's score against the baseline, with its two intervals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ArenaScore {
    /// Rows of the file.
    pub questions: usize,
    /// Battles, a significant verdict counted three times.
    pub battles: usize,
    /// Battles that the model won.
    pub model_wins: usize,
    /// Ties.
    pub ties: usize,
    /// Battles that the baseline won.
    pub baseline_wins: usize,
    /// Win probability against the baseline in percent, 0 to 100.
    pub score: f64,
    /// Rating with the baseline at 1000; `None` for a model that only won or only lost, whose rating is
    /// infinite.
    pub rating: Option<f64>,
    /// The published interval. It treats the battles as independent, so it is somewhat too narrow.
    #[serde(flatten)]
    pub published: PublishedInterval,
    /// Percentile interval over questions in percent: all battles of a question are resampled together.
    /// `None` for a single question with battles.
    pub by_question: Option<Interval>,
    /// How the intervals were resampled.
    #[serde(skip)]
    pub resampling: Resampling,
}

/// The score of the battles in a file of `{question_id, outcomes}` rows. `outcomes` is a text of one
/// letter for each battle: `a` if the baseline wins, `b` if the model wins, `t` for a tie.
///
/// # Errors
/// [`Error::File`]; with the file's path [`Error::Row`] for another letter or a question that occurs
/// twice; [`Error::Empty`] without a battle; [`Error::Setting`] for 0 rounds.
pub fn evaluate(battles: impl AsRef<Path>, resampling: Resampling) -> Result<Evaluation> {
    let path = battles.as_ref();
    let rows: Vec<ArenaBattles> = read_all(path)?;
    in_file(path, ArenaScore::of(&rows, resampling))?.evaluation()
}

impl ArenaScore {
    /// The score of one model.
    pub(crate) fn of(rows: &[ArenaBattles], resampling: Resampling) -> Result<Self> {
        let battles = Battles::new(rows)?;
        let published = published_interval(&battles, resampling)?;
        let (model_wins, ties, baseline_wins) = (
            battles.count(PairOutcome::Win),
            battles.count(PairOutcome::Tie),
            battles.count(PairOutcome::Loss),
        );
        let n = model_wins + ties + baseline_wins;
        let score = 100.0 * (model_wins as f64 + ties as f64 / 2.0) / n as f64;
        let rows = battles
            .questions
            .iter()
            .enumerate()
            .flat_map(|(q, battles)| battles.iter().map(move |battle| (q, battle.value())));
        let bootstrap =
            Bootstrap { resamples: 1_000, level: 0.95, seed: resampling.seed, method: Method::Percentile };
        let by_question = match bootstrap.mean(&Sample::clustered(rows)?) {
            Err(Error::TooFewUnits { .. }) => None,
            interval => Some(interval?.scaled(100.0)),
        };
        Ok(Self {
            questions: battles.questions.len(),
            battles: n,
            model_wins,
            ties,
            baseline_wins,
            score,
            rating: rating_of_score(score),
            published,
            by_question,
            resampling,
        })
    }
}

impl Numbers for ArenaScore {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let settings = json!({ "rounds": self.resampling.rounds, "seed": self.resampling.seed });
        let mut fields = flat([part(self), ends("question", self.by_question.as_ref()), Ok(settings)])?;
        // Replaced by its ends, `question_low` and `question_high`.
        fields.shift_remove("by_question");
        Ok(fields)
    }
}

impl fmt::Display for ArenaScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rating = match self.rating {
            Some(rating) => format!("rating {rating:.0}"),
            None => "no finite rating: the model only won or only lost".into(),
        };
        let (low, high) = (self.published.rating_q025, self.published.rating_q975);
        writeln!(
            f,
            "score {:.2} [{low:.2}, {high:.2}], by question{} ({rating})",
            self.score,
            shown(self.by_question.as_ref(), 2)
        )?;
        let (wins, ties, losses) = (self.model_wins, self.ties, self.baseline_wins);
        write!(
            f,
            "{wins} wins, {ties} ties, {losses} losses in {} battles over {} questions",
            self.battles, self.questions
        )
    }
}

/// The rating of a score in percent; `None` for 0 and 100.
fn rating_of_score(score: f64) -> Option<f64> {
    let share = score / 100.0;
    (share > 0.0 && share < 1.0).then(|| ANCHOR + SCALE * (share / (1.0 - share)).log10())
}

/// The published interval of a model: its battles are resampled with replacement.
fn published_interval(battles: &Battles, resampling: Resampling) -> Result<PublishedInterval> {
    if resampling.rounds == 0 {
        return Err(Error::Setting {
            field: "rounds",
            got: "0".into(),
            expected: "1 or more, 100 as published",
        });
    }
    let pooled: Vec<PairOutcome> = battles.iter().collect();
    let rounds = (0..resampling.rounds).into_par_iter().map(|round| {
        let mut rng = janus_core::stream(resampling.seed, "arena-hard battles");
        // Each round reads its own section of the stream: two words per draw.
        rng.set_word_pos(2 * round as u128 * pooled.len() as u128);
        let mut tally = PairTally::default();
        (0..pooled.len()).for_each(|_| tally.count(pooled[below(&mut rng, pooled.len())]));
        log_odds(tally)
    });
    let mut drawn: Vec<f64> = rounds.collect();
    drawn.sort_by(f64::total_cmp);
    let share = |p: f64| 100.0 / (1.0 + (-quantile(&drawn, p)).exp());
    Ok(PublishedInterval { rating_q025: share(0.025), rating_q975: share(0.975) })
}

/// Log-odds of one or more battles, clamped to be finite.
fn log_odds(tally: PairTally) -> f64 {
    let [lost, tied, won] = [tally.loss, tally.tie, tally.win].map(|count| count as f64);
    let n = lost + tied + won;
    // A resample of wins only has an infinite rating; the clamped one rounds to a score of 100.
    let share = ((won + tied / 2.0) / n).clamp(1e-9, 1.0 - 1e-9);
    (share / (1.0 - share)).ln()
}

/// Bradley-Terry ratings from battles between any models, `(first, second, outcome)`. The outcome is the
/// second model's: [`PairOutcome::Win`] if the second wins. The result is in alphabetical order;
/// `anchor` has a rating of 1000.
///
/// # Errors
/// [`Error::Reference`] for an anchor without a battle; [`Error::NoStrength`] if a model only won or
/// only lost.
///
/// ```
/// use janus_eval::bench::arena_hard::ratings;
/// use janus_eval::protocol::PairOutcome::{Loss, Tie, Win};
/// let battles = [("gpt", "janus", Win), ("gpt", "janus", Loss), ("janus", "base", Tie)];
/// let rated = ratings(&battles, "gpt")?;
/// assert!(rated.iter().all(|(_, rating)| (rating - 1000.0).abs() < 1e-9));
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn ratings(battles: &[(&str, &str, PairOutcome)], anchor: &str) -> Result<Vec<(String, f64)>> {
    let mut names: Vec<&str> = battles.iter().flat_map(|&(first, second, _)| [first, second]).collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: &str| names.binary_search(&name).ok();
    let mut games = BradleyTerry::new(names.len());
    for &(first, second, outcome) in battles {
        if let (Some(first), Some(second)) = (place(first), place(second)) {
            match outcome {
                PairOutcome::Loss => games.add_win(first, second, 1.0)?,
                PairOutcome::Win => games.add_win(second, first, 1.0)?,
                PairOutcome::Tie => games.add_tie(first, second, 1.0)?,
            }
        }
    }
    let anchor = place(anchor)
        .ok_or_else(|| Error::reference("the anchor of the ratings", "a model with battles", anchor))?;
    let strengths = games.strengths(anchor)?;
    let rating = |strength: f64| ANCHOR + SCALE * strength / std::f64::consts::LN_10;
    Ok(names.into_iter().map(String::from).zip(strengths.into_iter().map(rating)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn battles(rows: &[&str]) -> Vec<ArenaBattles> {
        rows.iter()
            .enumerate()
            .map(|(i, o)| ArenaBattles { question_id: i.to_string(), outcomes: o.to_string() })
            .collect()
    }

    fn score(rows: &[&str]) -> Result<ArenaScore> {
        ArenaScore::of(&battles(rows), Resampling::default())
    }

    #[test]
    fn bad_rows_are_named() {
        assert!(matches!(score(&["ab", "c"]), Err(Error::Row { row: 2, field: "outcomes", .. })));
        assert!(matches!(score(&["", ""]), Err(Error::Empty { .. })));
        let row = ArenaBattles { question_id: "x".into(), outcomes: "a".into() };
        assert!(matches!(
            ArenaScore::of(&[row.clone(), row], Resampling::default()),
            Err(Error::Row { row: 2, field: "question_id", .. })
        ));
    }

    #[test]
    fn a_model_that_only_wins_has_100_and_no_rating() {
        let score = score(&["bbb", "b"]).unwrap();
        assert_eq!((score.score, score.rating), (100.0, None));
        assert!(score.published.rating_q025 > 99.999 && score.published.rating_q975 <= 100.0);
        assert_eq!(score.by_question.map(|i| (i.low, i.high)), Some((100.0, 100.0)));
    }

    #[test]
    fn the_iterative_fit_and_the_closed_form_agree() {
        let rows = ["abt", "bbb", "aa", "tb"];
        let (score, battles) = (score(&rows).unwrap(), Battles::new(&battles(&rows)).unwrap());
        let rows: Vec<_> = battles.iter().map(|battle| ("base", "model", battle)).collect();
        let rated = ratings(&rows, "base").unwrap();
        assert!((rated[1].1 - score.rating.unwrap()).abs() < 1e-8);
        assert!(ratings(&rows, "nobody").is_err());
    }

    proptest! {
        #[test]
        fn swapping_the_sides_mirrors_the_score(rows in proptest::collection::vec("[abt]{1,6}", 1..20)) {
            let mirrored: Vec<String> =
                rows.iter().map(|row| row.chars().map(|c| match c { 'a' => 'b', 'b' => 'a', c => c }).collect()).collect();
            let score = |rows: &[String]| {
                let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
                ArenaScore::of(&battles(&rows), Resampling { rounds: 5, seed: 1 }).unwrap()
            };
            let (there, back) = (score(&rows), score(&mirrored));
            prop_assert!((there.score + back.score - 100.0).abs() < 1e-9);
            prop_assert_eq!(there.model_wins, back.baseline_wins);
        }

        #[test]
        fn any_number_of_threads_gives_the_same_interval(rows in proptest::collection::vec("[abt]{1,6}", 1..20), threads in 1_usize..5) {
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let battles = battles(&rows);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let here = ArenaScore::of(&battles, Resampling::default()).unwrap();
            prop_assert_eq!(pool.install(|| ArenaScore::of(&battles, Resampling::default()).unwrap()), here);
        }
    }
}
