//! Player strengths from pairwise comparisons (Bradley and Terry 1952, Biometrika 39).

use crate::{Error, Result};

/// Comparisons between players, and their maximum likelihood strengths: player i beats player j with
/// probability 1 / (1 + e^(θⱼ − θᵢ)). A tie is half a win for each side.
///
/// The fit is that of Arena-Hard, a logistic regression without penalty. It works for any graph of
/// comparisons that has a finite maximum.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BradleyTerry {
    players: usize,
    /// Wins of the row's player over the column's.
    wins: Vec<f64>,
}

impl BradleyTerry {
    const ITERATIONS: usize = 100;

    /// A graph without comparisons.
    pub(crate) fn new(players: usize) -> Self {
        Self { players, wins: vec![0.0; players * players] }
    }

    /// Adds `times` wins of one player over another.
    ///
    /// # Errors
    /// [`Error::Setting`] for a player that does not exist, a player against itself, or `times` that is
    /// negative or not finite.
    pub(crate) fn add_win(&mut self, winner: usize, loser: usize, times: f64) -> Result<()> {
        for player in [winner, loser] {
            if player >= self.players {
                return Err(Error::Setting {
                    field: "player",
                    got: player.to_string(),
                    expected: "less than the number of players",
                });
            }
        }
        if winner == loser {
            return Err(Error::Setting {
                field: "player",
                got: winner.to_string(),
                expected: "a player other than the opponent",
            });
        }
        if !times.is_finite() || times < 0.0 {
            return Err(Error::Setting {
                field: "times",
                got: times.to_string(),
                expected: "a finite number of 0 or more",
            });
        }
        self.wins[winner * self.players + loser] += times;
        Ok(())
    }

    /// Adds `times` ties.
    ///
    /// # Errors
    /// As [`BradleyTerry::add_win`].
    pub(crate) fn add_tie(&mut self, a: usize, b: usize, times: f64) -> Result<()> {
        self.add_win(a, b, times / 2.0)?;
        self.add_win(b, a, times / 2.0)
    }

    /// The strengths θ in log-odds (natural logarithm), with that of `anchor` at 0. Newton's method
    /// maximises the log-likelihood, which is concave.
    ///
    /// # Errors
    /// [`Error::NoStrength`] if a group of players only ever won or only ever lost against the rest
    /// (Ford 1957): the likelihood then has no finite maximum. [`Error::Setting`] for an anchor that
    /// does not exist, [`Error::NotConverged`].
    pub(crate) fn strengths(&self, anchor: usize) -> Result<Vec<f64>> {
        let n = self.players;
        if anchor >= n {
            return Err(Error::Setting {
                field: "anchor",
                got: anchor.to_string(),
                expected: "less than the number of players",
            });
        }
        self.check_finite(anchor)?;
        let mut theta = vec![0.0; n];
        let mut likelihood = self.log_likelihood(&theta);
        for _ in 0..Self::ITERATIONS {
            let (gradient, mut information) = self.derivatives(&theta, anchor);
            let mut step = gradient.clone();
            solve_positive(&mut information, &mut step);
            let predicted: f64 = gradient.iter().zip(&step).map(|(g, s)| g * s).sum();
            if predicted <= 1e-20 * (1.0 + likelihood.abs()) {
                return Ok(moved(&theta, &step, 1.0));
            }
            let mut share = 1.0;
            loop {
                let next = moved(&theta, &step, share);
                let there = self.log_likelihood(&next);
                if there >= likelihood + 1e-4 * share * predicted {
                    (theta, likelihood) = (next, there);
                    break;
                }
                share *= 0.5;
                if share * predicted < 1e-14 * (1.0 + likelihood.abs()) {
                    // The predicted increase is below the rounding error: take the full step and stop.
                    return Ok(moved(&theta, &step, 1.0));
                }
            }
        }
        Err(Error::NotConverged { what: "a Bradley-Terry fit", iterations: Self::ITERATIONS })
    }

    /// Checks that every player can be reached from the anchor along wins, and along losses.
    fn check_finite(&self, anchor: usize) -> Result<()> {
        for (beats, why) in
            [(true, "its group never lost to the others"), (false, "its group never won against the others")]
        {
            let mut reached = vec![false; self.players];
            reached[anchor] = true;
            let mut open = vec![anchor];
            while let Some(from) = open.pop() {
                for (to, reached) in reached.iter_mut().enumerate() {
                    let place = if beats { from * self.players + to } else { to * self.players + from };
                    if !*reached && self.wins[place] > 0.0 {
                        *reached = true;
                        open.push(to);
                    }
                }
            }
            if let Some(player) = reached.iter().position(|reached| !reached) {
                return Err(Error::NoStrength { player, why });
            }
        }
        Ok(())
    }

    fn log_likelihood(&self, theta: &[f64]) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.players {
            for j in 0..self.players {
                let wins = self.wins[i * self.players + j];
                if wins > 0.0 {
                    // ln of the winner's probability.
                    let behind = theta[j] - theta[i];
                    sum -= wins * (behind.max(0.0) + (-behind.abs()).exp().ln_1p());
                }
            }
        }
        sum
    }

    /// Gradient and negative Hessian. The anchor's row and column are those of the identity, so it stays
    /// fixed.
    fn derivatives(&self, theta: &[f64], anchor: usize) -> (Vec<f64>, Vec<f64>) {
        let n = self.players;
        let (mut gradient, mut information) = (vec![0.0; n], vec![0.0; n * n]);
        for i in 0..n {
            for j in 0..i {
                let (won, lost) = (self.wins[i * n + j], self.wins[j * n + i]);
                if won + lost == 0.0 {
                    continue;
                }
                let p = 1.0 / (1.0 + (theta[j] - theta[i]).exp());
                let surplus = won - (won + lost) * p;
                gradient[i] += surplus;
                gradient[j] -= surplus;
                let curvature = (won + lost) * p * (1.0 - p);
                information[i * n + i] += curvature;
                information[j * n + j] += curvature;
                information[i * n + j] -= curvature;
                information[j * n + i] -= curvature;
            }
        }
        gradient[anchor] = 0.0;
        for k in 0..n {
            information[anchor * n + k] = 0.0;
            information[k * n + anchor] = 0.0;
        }
        information[anchor * n + anchor] = 1.0;
        (gradient, information)
    }
}

fn moved(theta: &[f64], step: &[f64], share: f64) -> Vec<f64> {
    theta.iter().zip(step).map(|(theta, step)| theta + share * step).collect()
}

/// Solves A x = b for a symmetric positive definite A by Cholesky's decomposition, in place; b becomes
/// x.
fn solve_positive(a: &mut [f64], b: &mut [f64]) {
    let n = b.len();
    for j in 0..n {
        for i in j..n {
            let sum: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - sum;
            a[i * n + j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / a[j * n + j] };
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i * n + i];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_wins_of_four_are_a_strength_of_ln_3() {
        let mut games = BradleyTerry::new(3);
        for (winner, loser, times) in [(0, 1, 3.0), (1, 0, 1.0), (1, 2, 3.0), (2, 1, 1.0)] {
            games.add_win(winner, loser, times).unwrap();
        }
        let strengths = games.strengths(2).unwrap();
        assert!((strengths[1] - 3.0_f64.ln()).abs() < 1e-9 && strengths[2] == 0.0);
    }

    #[test]
    fn two_players_match_the_closed_form() {
        let mut games = BradleyTerry::new(2);
        games.add_win(1, 0, 258.0).unwrap();
        games.add_win(0, 1, 1012.0).unwrap();
        games.add_tie(0, 1, 144.0).unwrap();
        let share: f64 = (258.0 + 72.0) / 1414.0;
        assert!((games.strengths(0).unwrap()[1] - (share / (1.0 - share)).ln()).abs() < 1e-12);
    }

    #[test]
    fn a_published_table_is_reproduced() {
        // Agresti, Categorical Data Analysis, 2nd edition, table 10.10: home games of the American
        // League's East, 1987, and its fit with Baltimore at 0: Milwaukee 1.581, Detroit 1.436, Toronto
        // 1.294, New York 1.248, Boston 1.108, Cleveland 0.684.
        const WINS: [[f64; 7]; 7] = [
            [0.0, 7.0, 9.0, 7.0, 7.0, 9.0, 11.0],
            [6.0, 0.0, 7.0, 5.0, 11.0, 9.0, 9.0],
            [4.0, 6.0, 0.0, 7.0, 7.0, 8.0, 12.0],
            [6.0, 8.0, 6.0, 0.0, 6.0, 7.0, 10.0],
            [6.0, 2.0, 6.0, 7.0, 0.0, 7.0, 12.0],
            [4.0, 4.0, 5.0, 6.0, 6.0, 0.0, 6.0],
            [2.0, 4.0, 1.0, 3.0, 1.0, 7.0, 0.0],
        ];
        let mut games = BradleyTerry::new(7);
        for (i, row) in WINS.iter().enumerate() {
            for (j, &wins) in row.iter().enumerate().filter(|&(j, _)| i != j) {
                games.add_win(i, j, wins).unwrap();
            }
        }
        let fitted = games.strengths(6).unwrap();
        for (fitted, published) in fitted.iter().zip([1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0]) {
            assert!((fitted - published).abs() < 6e-4, "{fitted} for {published}");
        }
    }

    #[test]
    fn a_player_who_only_wins_has_no_finite_strength() {
        let mut games = BradleyTerry::new(3);
        games.add_win(0, 1, 1.0).unwrap();
        games.add_win(1, 0, 1.0).unwrap();
        games.add_win(2, 1, 5.0).unwrap();
        assert!(
            matches!(games.strengths(0), Err(Error::NoStrength { player: 2, why }) if why.contains("never lost"))
        );
        assert!(
            matches!(games.strengths(2), Err(Error::NoStrength { player: 0, why }) if why.contains("never won"))
        );
        assert!(matches!(BradleyTerry::new(2).strengths(0), Err(Error::NoStrength { player: 1, .. })));
        for wrong in [
            games.add_win(0, 0, 1.0),
            games.add_win(0, 3, 1.0),
            games.add_win(0, 1, f64::NAN),
            games.add_win(0, 1, -1.0),
        ] {
            assert!(matches!(wrong, Err(Error::Setting { .. })));
        }
    }

    proptest! {
        #[test]
        fn expected_wins_equal_the_wins(games in proptest::collection::vec(0.5_f64..30.0, 20)) {
            let mut fit = BradleyTerry::new(5);
            let mut pairs = (0..5).flat_map(|i| (0..5).map(move |j| (i, j))).filter(|(i, j)| i != j);
            for &times in &games {
                let (i, j) = pairs.next().unwrap();
                fit.add_win(i, j, times).unwrap();
            }
            let theta = fit.strengths(3).unwrap();
            for i in 0..5 {
                let (mut won, mut expected) = (0.0, 0.0);
                for j in (0..5).filter(|&j| j != i) {
                    let (ij, ji) = (fit.wins[i * 5 + j], fit.wins[j * 5 + i]);
                    won += ij;
                    expected += (ij + ji) / (1.0 + (theta[j] - theta[i]).exp());
                }
                prop_assert!((won - expected).abs() < 1e-6, "{won} and {expected}");
            }
        }
    }
}
