//! Arena-Hard-Auto v0.1: 500 questions, two games each against `gpt-4-0314` (Li et al. 2024, arXiv 2406.11939).
//!
//! [`tasks`] is what a model is asked, [`Answer`] a row of its answers; [`ArenaHard`](crate::protocol::ArenaHard) judges the
//! [`cases`].
//!
//! A judge's text becomes a label ([`arena_label`](crate::judge::read::arena_label)), a label becomes up to three battles
//! ([`QuestionBattles::of`]): a significant verdict counts three times. [`Battles`] holds
//! those of one model, [`ArenaScore`] is the model's win rate in them with two intervals: the published one, which resamples battles as if they were
//! independent, and one that keeps the battles of a question together.
//!
//! Since every battle is against the same baseline, the Bradley-Terry maximum has a closed form: the share of wins,
//! with a tie as half. [`ratings`] is the iterative fit for battles between any pairs.

mod battle;
mod question;
mod score;

pub use battle::{Battle, Battles, QuestionBattles};
pub use question::{Answer, Choice, Question, Turn, cases, tasks};
pub use score::{ArenaScore, PublishedInterval, Resampling, published_intervals, rating_of_score, ratings};
