//! Score of Arena-Hard-Auto v0.1.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use serde_json::{Map, Value, json};

use super::{Evaluation, ends, flat, in_file, part, shown};
use crate::Result;
use crate::bench::arena_hard::{ArenaScore, Battles, QuestionBattles, Resampling};

/// The score of a model with its two intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct ArenaHardResult {
    /// The numbers.
    pub score: ArenaScore,
    /// How the intervals were resampled.
    pub resampling: Resampling,
}

impl ArenaHardResult {
    /// The score of the battles in a file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`Battles::new`] and [`ArenaScore::of`], with the file's path.
    pub fn of_file(path: impl AsRef<Path>, resampling: Resampling) -> Result<Self> {
        let path = path.as_ref();
        let rows: Vec<QuestionBattles> = read_all(path)?;
        let battles = in_file(path, Battles::new(&rows))?;
        Ok(Self { score: in_file(path, ArenaScore::of(&battles, resampling))?, resampling })
    }
}

impl Evaluation for ArenaHardResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        let Self { score, resampling } = self;
        let settings = json!({ "rounds": resampling.rounds, "seed": resampling.seed });
        let mut fields = flat([part(score), ends("question", score.by_question.as_ref()), Ok(settings)])?;
        // Its ends are on the level of the rest.
        fields.shift_remove("by_question");
        Ok(fields)
    }
}

impl fmt::Display for ArenaHardResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let score = &self.score;
        let rating = match score.rating {
            Some(rating) => format!("rating {rating:.0}"),
            None => "no finite rating: the model only won or only lost".into(),
        };
        let (low, high) = (score.published.rating_q025, score.published.rating_q975);
        writeln!(f, "score {:.2} [{low:.2}, {high:.2}], by question{} ({rating})", score.score, shown(score.by_question.as_ref(), 2))?;
        let (wins, ties, losses) = (score.model_wins, score.ties, score.baseline_wins);
        write!(f, "{wins} wins, {ties} ties, {losses} losses in {} battles over {} questions", score.battles, score.questions)
    }
}
