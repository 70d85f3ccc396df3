//! When to try again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exponential back-off: the pause doubles from attempt to attempt. Its upper half, and as much on top of a pause that the
/// service asks for, is drawn anew by each client, so that many clients do not come back at the same moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause that is doubled to, and the longest that a service can ask for: of one that asks for more, nothing
    /// is asked before its pause is over, and requests until then fail at once.
    pub most: Duration,
}

impl Default for Backoff {
    /// From one second to one minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The pause after the attempt of this number, from 1, with `jitter` drawn from 0 to 1, if the service asks for one of
    /// `asked`.
    pub(super) fn pause(&self, jitter: f64, attempt: usize, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt as u32 - 1).unwrap_or(u32::MAX));
        let half = doubled.min(self.most) / 2;
        half.max(asked.unwrap_or_default()).saturating_add(half.mul_f64(jitter))
    }
}

/// Whether the same request may be answered later, by the HTTP status: a time-out, a conflict, too many
/// requests, a fault of the service.
pub fn helps_status(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..)
}

/// The pause that a service asks for: milliseconds, seconds or an HTTP date.
pub(super) fn retry_after(milliseconds: Option<&str>, value: Option<&str>) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    if let Some(pause) = milliseconds.and_then(number) {
        return Some(pause / 1000);
    }
    let value = value?;
    number(value).or_else(|| {
        let until = UNIX_EPOCH + Duration::from_secs(http_date(value)?);
        Some(until.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_whitespace().collect();
    let &[_, day, month, year, clock, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[hours, minutes, seconds] = clock.as_slice() else { return None };
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    // Days since 1970 by counting years from March, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1 - 719_468;
    Some(u64::try_from(days).ok()? * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_numbers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for wrong in ["", "soon", "Sun, 06 Nob 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(None, Some("2")), Some(Duration::from_secs(2)));
        assert_eq!(retry_after(Some("250"), Some("2")), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(None, Some("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        for wrong in ["-1", "nan", "inf", "1e300", "soon"] {
            assert_eq!(retry_after(None, Some(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_drawn() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(20) };
        let pause = |jitter, attempt, asked: Option<u64>| backoff.pause(jitter, attempt, asked.map(Duration::from_secs)).as_secs_f64();
        for attempt in 1..80 {
            let whole = 2_f64.powi(attempt as i32 - 1).min(20.0);
            assert_eq!(
                [0.0, 0.5, 1.0].map(|jitter| pause(jitter, attempt, None)),
                [0.5, 0.75, 1.0].map(|share| share * whole),
                "{attempt}"
            );
        }
        // What is asked for is the least.
        assert_eq!([pause(0.0, 1, Some(15)), pause(1.0, 1, Some(15)), pause(1.0, 5, Some(15))], [15.0, 15.5, 23.0]);
        assert_eq!(pause(1.0, 5, Some(1)), 16.0);
    }
}
