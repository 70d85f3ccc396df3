//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// Shape of the learning rate after the warm-up. Every shape rises linearly from 0 at step 0 to 1 at
/// step `warmup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Schedule {
    /// Stays at 1.
    Constant,
    /// Falls linearly to 0 at the last step.
    Linear,
    /// Falls to 0 along half a cosine (Loshchilov & Hutter, arXiv 1608.03983, equation 5, one cycle).
    Cosine,
}

impl Schedule {
    /// The factor by which the peak learning rate is multiplied in optimiser step `step` (from 0) of
    /// `total`.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - progress).max(0.0),
            Self::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_from_zero_peaks_and_ends_at_zero() {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine] {
            assert_eq!([0, 5, 10].map(|step| schedule.factor(step, 10, 30)), [0.0, 0.5, 1.0]);
            assert_eq!(schedule.factor(0, 0, 0), 1.0, "no step, no division by zero");
        }
        assert_eq!(Schedule::Constant.factor(29, 10, 30), 1.0);
        assert_eq!(Schedule::Linear.factor(20, 10, 30), 0.5);
        assert_eq!(Schedule::Linear.factor(31, 10, 30), 0.0);
        assert!((Schedule::Cosine.factor(20, 10, 30) - 0.5).abs() < 1e-15);
        assert_eq!(Schedule::Cosine.factor(30, 10, 30), 0.0);
    }
}
