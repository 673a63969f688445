//! `shard-{000..010}.tar`: the shards of a data set in one line.

use super::super::error::LoadError;

/// More shards than this are a slip of the pen.
const MAX_NAMES: usize = 100_000;
/// Digits of `u64::MAX`; leading zeros count, so that no name is longer than the pattern lets expect.
const MAX_DIGITS: usize = 20;

/// Every name that a pattern with ranges stands for, in order; a pattern without braces stands for itself.
///
/// `{000..010}` counts up, both ends included, with as many digits as its first number has. With several ranges the
/// last one counts fastest.
///
/// # Errors
/// [`LoadError::Settings`] for braces that are not a range, a range that counts down, or more than 100,000 names.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, LoadError> {
    let fault = |what: String| LoadError::Settings {
        faults: vec![format!(
            "`{pattern}`: {what}, expected a range as in {{000..010}}"
        )],
    };
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| fault("found { without }".into()))?;
        let (digits, first, last) =
            range(inside).ok_or_else(|| fault(format!("found {{{inside}}}")))?;
        if first > last {
            return Err(fault(format!("{{{inside}}} counts down")));
        }
        let count = (last - first).saturating_add(1);
        if count.saturating_mul(names.len() as u64) > MAX_NAMES as u64 {
            return Err(fault(format!("more than {MAX_NAMES} names")));
        }
        names = names
            .iter()
            .flat_map(|name| (first..=last).map(move |n| format!("{name}{before}{n:0digits$}")))
            .collect();
        rest = after;
    }
    if rest.contains('}') {
        return Err(fault("found } without {".into()));
    }
    Ok(names.iter().map(|name| name.clone() + rest).collect())
}

/// The digits of the first number, and both numbers.
fn range(text: &str) -> Option<(usize, u64, u64)> {
    let (first, last) = text.split_once("..")?;
    Some((first.len(), number(first)?, number(last)?))
}

/// A number of decimal digits alone, of which there are not more than the largest number has.
fn number(text: &str) -> Option<u64> {
    let digits =
        (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::expand_braces;

    #[test]
    fn ranges_count_with_their_digits_and_the_last_fastest() {
        let names = |pattern| expand_braces(pattern).unwrap();
        assert_eq!(names("a.tar"), ["a.tar"]);
        assert_eq!(
            names("s-{008..010}.tar"),
            ["s-008.tar", "s-009.tar", "s-010.tar"]
        );
        assert_eq!(names("{0..1}/{9..10}"), ["0/9", "0/10", "1/9", "1/10"]);
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_pattern() {
        let cases = [
            ("a{1..2", "found { without }"),
            ("a}1", "found } without {"),
            ("{a,b}", "found {a,b}"),
            ("{..3}", "found {..3}"),
            ("{+1..3}", "found {+1..3}"),
            (
                "{000000000000000000001..3}",
                "found {000000000000000000001..3}",
            ),
            ("{3..1}", "{3..1} counts down"),
            ("{0..999999}", "more than 100000 names"),
            ("{0..18446744073709551615}", "more than 100000 names"),
        ];
        for (pattern, expected) in cases {
            let error = expand_braces(pattern).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains(pattern),
                "{error}"
            );
        }
    }
}
