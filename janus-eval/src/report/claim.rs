//! A claim of a report, with its numbers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::verdict;
use crate::stats::Interval;

/// A statement, the estimate that supports or contradicts it, and whether it holds.
///
/// The field names are those of `claims` in a report's JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The id: short, stable, unique in a report.
    pub id: String,
    /// The claim as a sentence.
    pub statement: String,
    /// Number of rows of the estimate.
    pub n: usize,
    /// The estimate.
    pub estimate: f64,
    /// Lower end of its confidence interval.
    pub ci_low: f64,
    /// Upper end of its confidence interval.
    pub ci_high: f64,
    /// Whether the statement holds; `None` for a claim that is not decided.
    pub holds: Option<bool>,
    /// Further numbers, as an object by name; `null` if there are none.
    #[serde(default)]
    pub values: Value,
}

impl fmt::Display for Claim {
    /// One line: the id, the estimate with its interval, and the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, estimate, ci_low, ci_high, holds, .. } = self;
        write!(f, "{id:15} {estimate:7.3} [{ci_low:.3}, {ci_high:.3}]  {}", verdict(*holds))
    }
}

impl Claim {
    /// An undecided claim with the estimate `interval`.
    pub fn new(id: impl Into<String>, statement: impl Into<String>, interval: &Interval) -> Self {
        Self {
            id: id.into(),
            statement: statement.into(),
            n: interval.n,
            estimate: interval.estimate,
            ci_low: interval.low,
            ci_high: interval.high,
            holds: None,
            values: Value::Null,
        }
    }

    /// A claim that the estimated quantity is greater than `bound`. It holds if the whole interval is
    /// above `bound`.
    pub fn above(
        id: impl Into<String>,
        statement: impl Into<String>,
        interval: &Interval,
        bound: f64,
    ) -> Self {
        Self { holds: Some(interval.low > bound), ..Self::new(id, statement, interval) }
    }

    /// Sets further numbers.
    pub fn with_values(mut self, values: impl Into<Value>) -> Self {
        self.values = values.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(low: f64, high: f64) -> Claim {
        Claim::above(
            "gain",
            "B is better than A",
            &Interval { estimate: 0.5, low, high, level: 0.95, n: 7 },
            0.0,
        )
    }

    #[test]
    fn a_claim_above_a_bound_holds_only_if_the_whole_interval_is_above() {
        assert_eq!(claim(0.1, 0.9).holds, Some(true));
        assert_eq!(claim(0.0, 0.9).holds, Some(false));
        assert_eq!(claim(-0.9, 0.1).holds, Some(false));
    }

    /// Regression: the terminal had "measured" where the page has "not decided".
    #[test]
    fn an_undecided_claim_has_the_same_text_on_the_terminal_and_in_the_report() {
        let open = Claim::new(
            "gain",
            "B against A",
            &Interval { estimate: 0.5, low: 0.1, high: 0.9, level: 0.95, n: 7 },
        );
        assert_eq!(
            (open.holds, open.to_string()),
            (None, "gain              0.500 [0.100, 0.900]  not decided".to_string())
        );
    }

    #[test]
    fn the_names_in_json_are_fixed() {
        let text =
            serde_json::to_string(&claim(0.25, 0.75).with_values(serde_json::json!({"a": 1}))).unwrap();
        let expected = concat!(
            r#"{"id":"gain","statement":"B is better than A","n":7,"estimate":0.5,"ci_low":0.25,"#,
            r#""ci_high":0.75,"holds":true,"values":{"a":1}}"#
        );
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_str::<Claim>(&text).unwrap(),
            claim(0.25, 0.75).with_values(serde_json::json!({"a": 1}))
        );
    }
}
