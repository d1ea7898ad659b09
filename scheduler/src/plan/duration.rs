//! Durations as people write them.

/// The longest duration: a schedule is at most yearly.
const SECONDS_MAX: i64 = 400 * 86_400;

/// Reads `90s`, `15m`, `1h30m`, `2d`, `1w`.
pub fn parse_seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration: write 90s, 15m, 1h30m, 2d or 1w");
    let (mut total, mut digits) = (0_i64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let count: i64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if text.is_empty() || !digits.is_empty() {
        return Err(wrong());
    }
    if total > SECONDS_MAX {
        return Err(format!("{text:?} is longer than 400 days"));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("1w", 604_800),
            ("0s", 0),
            ("400d", 34_560_000),
        ] {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for text in ["", "5", "m", "1x", "-5m", "1.5h", "5 m", "401d", "99999999999999999999s", "9223372036854775807w"]
        {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
