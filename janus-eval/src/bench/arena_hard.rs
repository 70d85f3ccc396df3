//! Arena-Hard-Auto v0.1: 500 questions, two games each against `gpt-4-0314` (Li et al. 2024, arXiv
//! 2406.11939).
//!
//! [`ArenaHard`](crate::protocol::ArenaHard) judges the [`cases`]. The judge's text contains a label,
//! and a label stands for one battle, or three if the verdict is significant. [`write()`] converts a
//! judged run to the benchmark's file of battles. [`evaluate`] computes the model's win rate from it,
//! with two intervals: the published one, which resamples battles as if they were independent, and one
//! that resamples all battles of a question together.
//!
//! Since every battle is against the same baseline, the Bradley-Terry fit has a closed form: the share
//! of wins, with a tie as half a win. [`ratings`] is the iterative fit for battles between any pairs.

mod battle;
mod question;
mod score;

pub(crate) use battle::ArenaBattles;
pub use battle::write;
pub use question::cases;
pub(super) use question::{ArenaAnswer, ArenaQuestion, tasks};
pub(crate) use score::ArenaScore;
pub use score::{Resampling, evaluate, ratings};
