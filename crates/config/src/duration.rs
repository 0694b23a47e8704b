//! Durations as Go writes and reads them, which is how they stand in BGPPeers: `90s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration; `None` where it is none, is negative, or is longer than Go's longest, about 292 years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" || rest == "-0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(amount(number, *nanoseconds)?)?;
        rest = after;
    }
    i64::try_from(total).ok()?;
    Some(Duration::from_nanos(u64::try_from(total).ok()?))
}

/// A number such as `1`, `1.5` or `.5`, times the unit.
fn amount(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    // Digits beyond these are less than a nanosecond of an hour.
    let digits = &fraction[..fraction.len().min(15)];
    let parts: u128 = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()?.into() };
    let scale = 10_u128.pow(u32::try_from(digits.len()).expect("at most 15"));
    Some(whole * unit + parts * unit / scale)
}

/// Writes a duration: `1m30s`, `1.5s`, `300ms`.
pub(crate) fn show(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let with_fraction = |unit: u128| {
        let (whole, rest) = (nanoseconds / unit, nanoseconds % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if rest == 0 { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", with_fraction(1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", with_fraction(1_000_000)),
        _ => {
            let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
            let seconds = Duration::new(duration.as_secs() % 60, duration.subsec_nanos()).as_nanos();
            let fraction = format!("{:09}", seconds % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let dot = if fraction.is_empty() { "" } else { "." };
            let seconds = format!("{}{dot}{fraction}s", seconds / 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, milliseconds, shown) in [
            ("90s", 90_000, "1m30s"),
            ("1m30s", 90_000, "1m30s"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            (".5s", 500, "500ms"),
            ("2.75s", 2_750, "2.75s"),
            ("+3000ms", 3_000, "3s"),
            ("1000us", 1, "1ms"),
            ("1.0625s", 1_062, "1.0625s"),
        ] {
            let read = parse(text).expect(text);
            assert_eq!(read.as_millis(), milliseconds, "{text}");
            assert_eq!(show(read), shown, "{text}");
        }
        assert_eq!(show(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(show(Duration::from_nanos(7)), "7ns");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "90", "s", "-3s", "1x", "1.2.3s", ".s", "9999999h", "1s ", "1d", "99999999999999999999999s"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
