//! Parses the command line's words for the treatment of connections and requests.

use local_lambda::{Answer, Cut, End, Moment, Pace};

use super::span::positive;

/// The treatment of a request: an answer, or an earlier end of its connection.
#[derive(Clone)]
pub struct Course {
    pub cut: Option<Cut>,
    pub answer: Answer,
}

/// The treatment of a connection before anything is read.
#[derive(Clone, Copy)]
pub struct Admission(pub Option<End>);

/// Enough bytes for the status line, but not for the head.
const HALF_BYTES: usize = 20;

pub fn parse_course(text: &str) -> Result<Course, String> {
    if let Some((end, moment)) = text.split_once('@') {
        let cut = end_of(end).zip(moment_of(moment)).map(|(end, moment)| Cut::at(moment, end));
        return cut
            .map(|cut| Course { cut: Some(cut), answer: Answer::ok() })
            .ok_or(format!("neither {ENDS}, nor @ and {MOMENTS} behind it"));
    }
    let answer = match (text, text.parse()) {
        ("hang", _) => Answer::Hang,
        ("reset", _) => Answer::Reset,
        ("half", _) => Answer::ok().cut_after(HALF_BYTES, End::Close),
        ("half-reset", _) => Answer::ok().cut_after(HALF_BYTES, End::Reset),
        (_, Ok(200)) => Answer::ok(),
        (_, Ok(status @ 200..=599)) => Answer::status(status),
        _ => return Err(format!("neither a status from 200 to 599 nor {ANSWERS}")),
    };
    Ok(Course { cut: None, answer })
}

pub fn parse_admission(text: &str) -> Result<Admission, String> {
    match (text, end_of(text)) {
        ("serve", _) => Ok(Admission(None)),
        (_, Some(end)) => Ok(Admission(Some(end))),
        _ => Err(format!("neither `serve` nor {ENDS}")),
    }
}

/// Parses a pace such as `64/10ms`.
pub fn parse_pace(text: &str) -> Result<Pace, String> {
    let (bytes, pause) = text.split_once('/').ok_or("not BYTES/PAUSE, such as 64/10ms")?;
    match bytes.parse() {
        Ok(bytes) if bytes > 0 => Ok(Pace::new(bytes, positive(pause)?)),
        _ => Err(format!("{bytes:?} is not a number of bytes above 0")),
    }
}

const ANSWERS: &str = "`hang`, `reset`, `half`, `half-reset` or END@MOMENT";
const ENDS: &str = "`close`, `reset` or `hang`";
const MOMENTS: &str = "`bytes:N`, `head`, `body:N`, `answer` or `answered`";

fn end_of(text: &str) -> Option<End> {
    match text {
        "close" => Some(End::Close),
        "reset" => Some(End::Reset),
        "hang" => Some(End::Hang),
        _ => None,
    }
}

fn moment_of(text: &str) -> Option<Moment> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count.parse().ok()?)),
        None => (text, None),
    };
    match (name, count) {
        ("bytes", Some(count)) if count > 0 => Some(Moment::BytesRead(count)),
        ("head", None) => Some(Moment::HeadRead),
        ("body", Some(count)) => Some(Moment::BodyRead(count)),
        ("answer", None) => Some(Moment::BeforeAnswer),
        ("answered", None) => Some(Moment::AfterAnswer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(text: &str, cut: Option<Cut>, answer: &Answer) {
        let course = parse_course(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((course.cut, &course.answer), (cut, answer), "{text}");
    }

    #[test]
    fn each_word_of_the_command_is_one_of_the_library() {
        check("200", None, &Answer::ok());
        check("503", None, &Answer::status(503));
        check("hang", None, &Answer::Hang);
        check("reset", None, &Answer::Reset);
        check("half", None, &Answer::ok().cut_after(HALF_BYTES, End::Close));
        check("half-reset", None, &Answer::ok().cut_after(HALF_BYTES, End::Reset));
        for (word, moment) in [
            ("bytes:1", Moment::BytesRead(1)),
            ("head", Moment::HeadRead),
            ("body:0", Moment::BodyRead(0)),
            ("answer", Moment::BeforeAnswer),
            ("answered", Moment::AfterAnswer),
        ] {
            for (name, end) in [("reset", End::Reset), ("close", End::Close), ("hang", End::Hang)] {
                check(&format!("{name}@{word}"), Some(Cut::at(moment, end)), &Answer::ok());
            }
        }
    }

    #[test]
    fn an_unknown_word_is_refused() {
        for text in ["", "never", "199", "600", "-1", "reset@", "half@head", "reset@bytes:0"] {
            assert!(parse_course(text).is_err(), "{text}");
        }
        for text in ["reset@head:1", "reset@body", "reset@body:x", "200@head", "close"] {
            assert!(parse_course(text).is_err(), "{text}");
        }
        for text in ["", "64", "0/1ms", "x/1ms", "64/", "64/1"] {
            assert!(parse_pace(text).is_err(), "{text}");
        }
        assert!(parse_admission("refuse").is_err());
    }

    #[test]
    fn a_pace_has_a_unit() {
        assert_eq!(parse_pace("64/10ms"), Ok(Pace::new(64, Duration::from_millis(10))));
    }
}
