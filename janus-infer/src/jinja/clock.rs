//! `strftime_now`: the date, in UTC and in English.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// Seconds since 1970-01-01 in UTC.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Formats a time with the directives of Python's `strftime`; `%-d` has no leading zero, as on Linux.
pub(super) fn format(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let of_year = days - days_before(year);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let (weekday, month_name) = (DAYS[(days % 7 + 4) as usize % 7], MONTHS[month as usize - 1]);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = characters.next();
        let padded = directive != Some('-');
        if !padded {
            directive = characters.next();
        }
        let number = |value: u64, width: usize| if padded { format!("{value:0width$}") } else { value.to_string() };
        out += &match directive {
            Some('a') => weekday[..3].to_string(),
            Some('A') => weekday.into(),
            Some('b') => month_name[..3].to_string(),
            Some('B') => month_name.into(),
            Some('d') => number(day, 2),
            Some('H') => number(hour, 2),
            Some('I') => number(hour12, 2),
            Some('j') => number(of_year + 1, 3),
            Some('m') => number(month, 2),
            Some('M') => number(minute, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('S') => number(second, 2),
            Some('y') => number(year % 100, 2),
            Some('Y') => year.to_string(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".into(),
            other => {
                let directive = other.map_or_else(|| "% at the end".into(), |other| format!("%{other}"));
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now: unknown directive {directive} in \"{format}\""),
                ));
            }
        };
    }
    Ok(out)
}

/// Days from 1970-01-01 to the first day of a year.
fn days_before(year: u64) -> u64 {
    let before = year - 1;
    let leap = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leap(before) - leap(1969)
}

/// Year, month and day, from 1, of a day since 1970-01-01 (Gregorian).
fn date(days: u64) -> (u64, u64, u64) {
    // A year has at most 366 days, so this may be too early but not too late.
    let mut year = 1970 + days / 366;
    while days >= days_before(year + 1) {
        year += 1;
    }
    let leap = days_before(year + 1) - days_before(year) == 366;
    let mut day = days - days_before(year);
    for (month, length) in (1..).zip([31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if day < length {
            return (year, month, day + 1);
        }
        day -= length;
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(format("%a %A %d %b %B %Y %y %m %j %H:%M:%S %I %p %-d", seconds).unwrap(), expected);
        }
        assert_eq!(format("100%% %F %T", 86_399).unwrap(), "100% 1970-01-01 23:59:59");
        assert!(format("%Q", 0).unwrap_err().to_string().contains("%Q"));
        assert!(format("%", 0).is_err());
        // A date in the far future is found quickly.
        assert!(format("%Y", u64::from(u32::MAX) * 1000).unwrap().parse::<u64>().unwrap() > 130_000);
    }
}
