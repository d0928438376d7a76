//! Durations as people write them: `90m`, `36h`, `7d`, `1d12h`.

use std::time::Duration;

pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is not a duration, write it in w, d, h, m or s, as 7d or 1d12h");
    let mut seconds: u64 = 0;
    let mut number = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let unit: u64 = match character {
            'w' => 7 * 24 * 3_600,
            'd' => 24 * 3_600,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_no_number| wrong())?;
        number.clear();
        seconds = count
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
    }
    if seconds == 0 || !number.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// In the largest units, as `1d12h`.
pub fn in_words(mut seconds: u64) -> String {
    let mut words = String::new();
    for (unit, name) in [(24 * 3_600, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        let count = seconds / unit;
        seconds %= unit;
        if count > 0 {
            words.push_str(&format!("{count}{name}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_its_units() {
        for (text, seconds) in [
            ("90m", 5_400),
            ("7d", 604_800),
            ("1d12h", 129_600),
            ("1w", 604_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(in_words(129_601), "1d12h1s");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "7",
            "d",
            "7y",
            "0s",
            "1.5h",
            "-1d",
            "99999999999999999w",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
