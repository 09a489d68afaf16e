//! Parses dates in HTTP headers (RFC 9110, 5.6.7). A library for them would add more code than this file.

use std::time::{Duration, SystemTime};

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// Parses a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`.
pub fn parse(text: &str) -> Option<SystemTime> {
    let (mut numbers, mut count, mut month, mut is_month_first) = ([0_u64; 5], 0, None, false);
    for word in text.split(|it: char| !it.is_ascii_alphanumeric()) {
        if let Ok(number) = word.parse::<u16>() {
            *numbers.get_mut(count)? = number.into();
            count += 1;
        } else if let (None, Some(found)) = (month, month_of(word)) {
            (month, is_month_first) = (Some(found), count == 0);
        }
    }
    if count < numbers.len() {
        return None;
    }
    let [day, year, time @ ..] = match numbers {
        [day, hour, minute, second, year] if is_month_first => [day, year, hour, minute, second],
        numbers => numbers,
    };
    let seconds = days(whole(year), month?, day)? * 86_400 + seconds(time)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The number of a month. January is 0.
fn month_of(word: &str) -> Option<u64> {
    let at = MONTHS.find(word).filter(|at| word.len() == 3 && at % 3 == 0)?;
    u64::try_from(at / 3).ok()
}

/// The year with its century. The text may have only its last two digits.
fn whole(year: u64) -> u64 {
    match year {
        0..70 => year + 2_000,
        70..100 => year + 1_900,
        year => year,
    }
}

fn seconds([hour, minute, second]: [u64; 3]) -> Option<u64> {
    // A leap second has the number 60.
    let is_time = hour < 24 && minute < 60 && second <= 60;
    is_time.then_some(hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01, by Howard Hinnant's `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1_970 || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_parsed_as_another_library_formats_it() {
        for day in 0..60_000 {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + 45_296);
            let text = httpdate::fmt_http_date(at);
            assert_eq!(parse(&text), Some(at), "{text}");
        }
    }

    #[test]
    fn the_two_older_forms_are_parsed() {
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), httpdate::parse_http_date(text).ok(), "{text}");
        }
    }

    #[test]
    fn an_invalid_date_is_refused() {
        for text in [
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
