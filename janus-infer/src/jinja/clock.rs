//! `strftime_now`: the date, in English.

use jiff::Zoned;
use minijinja::{Error, ErrorKind};

/// Formats a time with the directives of Python's `strftime`; `%-d` has no leading zero, as on Linux.
pub(super) fn format(format: &str, time: &Zoned) -> Result<String, Error> {
    let unknown = |error: jiff::Error| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: \"{format}\": {error}"))
    };
    jiff::fmt::strtime::format(format, time).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    fn at(seconds: i64, hours: i8) -> Zoned {
        Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::fixed(Offset::constant(hours)))
    }

    #[test]
    fn dates_are_formatted_as_by_python() {
        // datetime.fromtimestamp(t, timezone.utc).strftime(...)
        for (seconds, expected) in [
            (0, "Thu Thursday 01 Jan January 1970 70 01 001 00:00:00 12 AM 1"),
            (951_782_400, "Tue Tuesday 29 Feb February 2000 00 02 060 00:00:00 12 AM 29"),
            (1_735_689_599, "Tue Tuesday 31 Dec December 2024 24 12 366 23:59:59 11 PM 31"),
            (1_735_689_600, "Wed Wednesday 01 Jan January 2025 25 01 001 00:00:00 12 AM 1"),
            (4_107_542_400, "Mon Monday 01 Mar March 2100 00 03 060 00:00:00 12 AM 1"),
            (1_764_021_845, "Mon Monday 24 Nov November 2025 25 11 328 22:04:05 10 PM 24"),
        ] {
            assert_eq!(
                format("%a %A %d %b %B %Y %y %m %j %H:%M:%S %I %p %-d", &at(seconds, 0)).unwrap(),
                expected
            );
        }
        assert_eq!(format("100%% %F %T", &at(86_399, 0)).unwrap(), "100% 1970-01-01 23:59:59");
        assert_eq!(format("%F %H", &at(86_399, 2)).unwrap(), "1970-01-02 01", "in the zone of the time");
        assert!(format("%!", &at(0, 0)).unwrap_err().to_string().contains("%!"));
        assert!(format("%", &at(0, 0)).is_err());
    }
}
