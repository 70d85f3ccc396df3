//! When a request is retried.

use std::time::{Duration, SystemTime};

/// Exponential back-off: the pause doubles with each attempt. Each client draws its own jitter of up to half
/// the pause and also adds it to a pause that the server requests, so that many clients do not retry at the
/// same moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause, and the longest that a server may request. If a server requests a longer one, no
    /// request is sent until it is over: each fails immediately with
    /// [`HttpError::Paused`](super::HttpError::Paused).
    pub longest: Duration,
}

impl Default for Backoff {
    /// From one second to one minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause after attempt number `attempt`, from 1. `jitter` is drawn from 0 to 1, and `requested` is
    /// the pause that the server requests.
    pub(super) fn pause(&self, jitter: f64, attempt: usize, requested: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt as u32 - 1).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest) / 2;
        half.max(requested.unwrap_or_default()).saturating_add(half.mul_f64(jitter))
    }
}

/// Whether a request that failed with this HTTP status may succeed later: after a time-out, a conflict, too
/// many requests or a server error.
pub fn helps_status(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..)
}

/// The pause that a server requests, in milliseconds, in seconds or as an HTTP date.
pub(super) fn retry_after(milliseconds: Option<&str>, value: Option<&str>) -> Option<Duration> {
    let number = |text: &str| {
        text.trim().parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number).ok())
    };
    if let Some(pause) = milliseconds.and_then(number) {
        return Some(pause / 1000);
    }
    let value = value?;
    number(value).or_else(|| {
        let until = httpdate::parse_http_date(value.trim()).ok()?;
        Some(until.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_numbers_are_read() {
        assert_eq!(retry_after(None, Some("2")), Some(Duration::from_secs(2)));
        assert_eq!(retry_after(Some("250"), Some("2")), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(None, Some("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        let later = retry_after(None, Some("Fri, 31 Dec 9999 23:59:59 GMT")).unwrap();
        assert!(later > Duration::from_secs(200_000_000_000), "{later:?}");
        for wrong in [
            "-1",
            "nan",
            "inf",
            "1e300",
            "",
            "soon",
            "Sun, 06 Nob 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
        ] {
            assert_eq!(retry_after(None, Some(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(20) };
        let pause = |jitter, attempt, requested: Option<u64>| {
            backoff.pause(jitter, attempt, requested.map(Duration::from_secs)).as_secs_f64()
        };
        for attempt in 1..80 {
            let whole = 2_f64.powi(attempt as i32 - 1).min(20.0);
            assert_eq!(
                [0.0, 0.5, 1.0].map(|jitter| pause(jitter, attempt, None)),
                [0.5, 0.75, 1.0].map(|share| share * whole),
                "{attempt}"
            );
        }
        // The requested pause is a minimum.
        assert_eq!(
            [pause(0.0, 1, Some(15)), pause(1.0, 1, Some(15)), pause(1.0, 5, Some(15))],
            [15.0, 15.5, 23.0]
        );
        assert_eq!(pause(1.0, 5, Some(1)), 16.0);
    }
}
