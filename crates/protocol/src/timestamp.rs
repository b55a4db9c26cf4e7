//! Timestamps: the forms clients write, read to microseconds since 1970, and the one form the server writes.

use alloc::vec::Vec;

const US_PER_S: i64 = 1_000_000;
/// Decimals of a second that count.
const US_DIGITS: i64 = 6;
/// 0001-01-01T00:00:00Z.
const FIRST_US: i64 = -62_135_596_800 * US_PER_S;
/// 10000-01-01T00:00:00Z, the first moment that is out of range.
const END_US: i64 = 253_402_300_800 * US_PER_S;

/// Reads seconds since 1970 (plain decimal or with an exponent) or an ISO 8601 time; a time without an offset is UTC.
///
/// Returns microseconds since 1970; finer digits are cut off, towards the earlier microsecond, so that times keep their order
/// in whatever form and on whichever side of 1970 they are. `None` for anything else and outside the years 1 to 9999.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let time_us = parse_seconds(text).or_else(|| parse_iso(text))?;
    (FIRST_US..END_US).contains(&time_us).then_some(time_us)
}

/// Writes seconds since 1970 with as many decimals as are needed, at most six.
pub(crate) fn write(out: &mut Vec<u8>, time_us: i64) {
    let magnitude = time_us.unsigned_abs();
    let (seconds, mut fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
    if time_us < 0 {
        out.push(b'-');
    }
    write_u64(out, seconds);
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    let mut scale = 100_000;
    while fraction != 0 {
        out.push(digit(fraction / scale));
        fraction %= scale;
        scale /= 10;
    }
}

fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = digit(number % 10);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

const fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

fn parse_seconds(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    // Read digit by digit: through a float, 1711800000.000001 would lose its last digit.
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if !digits().all(|byte| byte.is_ascii_digit()) || digits().next().is_none() {
        return None;
    }
    let (magnitude, is_cut) = microseconds(digits(), (whole.len() as i64).saturating_add(exponent.into()))?;
    Some(if text.starts_with('-') { -magnitude - i64::from(is_cut) } else { magnitude })
}

/// The number of seconds with these digits, `point` of them before the decimal point, in whole microseconds, and whether
/// finer digits were cut off.
fn microseconds(mut digits: impl Iterator<Item = u8>, point: i64) -> Option<(i64, bool)> {
    let mut sum = 0_i64;
    for _ in 0..point.saturating_add(US_DIGITS) {
        let digit = digits.next();
        if digit.is_none() && sum == 0 {
            break;
        }
        sum = sum.checked_mul(10)?.checked_add(digit.map_or(0, |byte| i64::from(byte - b'0')))?;
    }
    Some((sum, digits.any(|byte| byte != b'0')))
}

/// The first six decimals of a fraction, as microseconds.
fn fraction_us(digits: &[u8]) -> i64 {
    (0..6).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |byte| i64::from(byte.wrapping_sub(b'0'))))
}

/// Takes exactly `count` digits off the front.
fn take_digits(text: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, rest) = text.split_at_checked(count)?;
    *text = rest;
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Takes one byte off the front if it is one of these.
fn take_byte(text: &mut &[u8], any_of: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first()?;
    any_of.contains(first).then(|| {
        *text = rest;
        *first
    })
}

fn parse_iso(text: &str) -> Option<i64> {
    let text = &mut text.as_bytes();
    let year = take_digits(text, 4)?;
    take_byte(text, b"-")?;
    let month = take_digits(text, 2)?;
    take_byte(text, b"-")?;
    let day = take_digits(text, 2)?;
    take_byte(text, b"Tt ")?;
    let hour = take_digits(text, 2)?;
    take_byte(text, b":")?;
    let minute = take_digits(text, 2)?;
    let second = if take_byte(text, b":").is_some() { take_digits(text, 2)? } else { 0 };
    let mut micros = 0;
    if take_byte(text, b".,").is_some() {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = text.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
        micros = fraction_us(digits);
        *text = rest;
    }
    let offset_s = parse_offset(text)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second counts as the second after it.
        && second <= 60;
    if !in_range || !text.is_empty() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    Some(seconds * US_PER_S + micros)
}

/// `Z`, `±HH`, `±HHMM`, `±HH:MM` or nothing, in seconds east of Greenwich.
fn parse_offset(text: &mut &[u8]) -> Option<i64> {
    let Some(sign) = take_byte(text, b"Zz+-") else {
        return Some(0);
    };
    if matches!(sign, b'Z' | b'z') {
        return Some(0);
    }
    let hours = take_digits(text, 2)?;
    take_byte(text, b":");
    let minutes = if text.is_empty() { 0 } else { take_digits(text, 2)? };
    let offset_s = hours * 3_600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if sign == b'-' { -offset_s } else { offset_s })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, after Howard Hinnant's `days_from_civil`.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn written(time_us: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, time_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_what_clients_write() {
        let cases: &[(&str, Option<i64>)] = &[
            ("1711800000.123", Some(1_711_800_000_123_000)),
            ("1711800000", Some(1_711_800_000_000_000)),
            ("1711800000.", Some(1_711_800_000_000_000)),
            ("1711800000.000001", Some(1_711_800_000_000_001)),
            ("1711800000.0000019", Some(1_711_800_000_000_001)),
            ("253402300799.999999", Some(253_402_300_799_999_999)),
            ("253402300800", None),
            ("-62135596800", Some(-62_135_596_800_000_000)),
            ("-62135596800.000001", None),
            ("-1.5", Some(-1_500_000)),
            ("+1.5", Some(1_500_000)),
            (".5", Some(500_000)),
            ("0", Some(0)),
            (" 12 ", Some(12_000_000)),
            ("1.7118e9", Some(1_711_800_000_000_000)),
            ("1.7118E+9", Some(1_711_800_000_000_000)),
            ("-1e0", Some(-1_000_000)),
            ("1e-7", Some(0)),
            ("-1e-7", Some(-1)),
            ("15e-7", Some(1)),
            ("-15e-7", Some(-2)),
            ("-1.0000001", Some(-1_000_001)),
            ("-1.0000000", Some(-1_000_000)),
            ("1969-12-31T23:59:58.9999999Z", Some(-1_000_001)),
            ("1711800000000001e-6", Some(1_711_800_000_000_001)),
            ("17118e5", Some(1_711_800_000_000_000)),
            ("0e2000000000", Some(0)),
            ("1e-2000000000", Some(0)),
            ("1e2000000000", None),
            ("1e", None),
            ("1e1.5", None),
            ("1e99999999999", None),
            (".e5", None),
            ("1e400", None),
            ("1e18", None),
            ("99999999999999999999999999", None),
            ("", None),
            (" ", None),
            (".", None),
            ("-", None),
            ("1.2.3", None),
            ("--1", None),
            ("NaN", None),
            ("nan", None),
            ("inf", None),
            ("-Infinity", None),
            ("0x10", None),
            ("null", None),
            ("2026-08-13T14:37:51.123Z", Some(1_786_631_871_123_000)),
            ("2026-08-13T14:37:51Z", Some(1_786_631_871_000_000)),
            ("2026-08-13t14:37:51z", Some(1_786_631_871_000_000)),
            ("2026-08-13T14:37:51", Some(1_786_631_871_000_000)),
            ("2026-08-13 14:37:51", Some(1_786_631_871_000_000)),
            ("2026-08-13 14:37:51.5", Some(1_786_631_871_500_000)),
            ("2026-08-13T14:37:51,5Z", Some(1_786_631_871_500_000)),
            ("2026-08-13T14:37:51.1234567890Z", Some(1_786_631_871_123_456)),
            ("2026-08-13T16:37:51+02:00", Some(1_786_631_871_000_000)),
            ("2026-08-13T16:37:51+0200", Some(1_786_631_871_000_000)),
            ("2026-08-13T16:37:51+02", Some(1_786_631_871_000_000)),
            ("2026-08-13T11:07:51.000-03:30", Some(1_786_631_871_000_000)),
            ("2026-08-13T14:37Z", Some(1_786_631_820_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("0001-01-01T00:00:00Z", Some(FIRST_US)),
            ("9999-12-31T23:59:59.999999Z", Some(END_US - 1)),
            ("9999-12-31T23:59:59-01:00", None),
            ("0001-01-01T00:00:00+01:00", None),
            ("0000-01-01T00:00:00Z", None),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("1900-02-29T00:00:00Z", None),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000_000)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-32T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:60:00Z", None),
            ("2026-01-01T00:00:00Zx", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00+", None),
            ("2026-01-01T00:00:00+25:00", None),
            ("2026-01-01", None),
            ("2026-1-1T00:00:00Z", None),
            ("yesterday", None),
            ("２026-01-01T00:00:00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn writes_a_plain_number() {
        for (time_us, expected) in [
            (1_711_800_000_123_000, "1711800000.123"),
            (1_711_800_000_000_000, "1711800000"),
            (1_711_800_000_000_001, "1711800000.000001"),
            (0, "0"),
            (-1, "-0.000001"),
            (-1_500_000, "-1.5"),
            (500_000, "0.5"),
            (i64::MIN, "-9223372036854.775808"),
            (i64::MAX, "9223372036854.775807"),
        ] {
            assert_eq!(written(time_us), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(time_us in FIRST_US..END_US) {
            proptest::prop_assert_eq!(parse(&written(time_us)), Some(time_us));
        }

        /// Whatever the form: on both sides of 1970, and where digits are cut off.
        #[test]
        fn times_keep_their_order(one in -3_000_000_000_i64..3_000_000_000, other in -3_000_000_000_i64..3_000_000_000) {
            // In units of 0.1 us, so that a digit is cut off; seconds of an exponent, decimals, and ISO 8601.
            let forms = |tenths: i64| {
                let (sign, size) = (if tenths < 0 { "-" } else { "" }, tenths.unsigned_abs());
                let (seconds, rest) = (tenths.div_euclid(10_000_000), tenths.rem_euclid(10_000_000));
                let day = if seconds < 0 { "1969-12-31" } else { "1970-01-01" };
                let clock = seconds.rem_euclid(86_400);
                let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
                [
                    alloc::format!("{sign}{}.{:07}", size / 10_000_000, size % 10_000_000),
                    alloc::format!("{tenths}e-7"),
                    alloc::format!("{day}T{hour:02}:{minute:02}:{second:02}.{rest:07}Z"),
                ]
            };
            for (one_form, other_form) in forms(one).iter().zip(forms(other).iter().cycle().skip(1)) {
                let (first, second) = (parse(one_form).unwrap(), parse(other_form).unwrap());
                proptest::prop_assert!(first.cmp(&second) == one.cmp(&other) || first == second,
                    "{one_form} is {first}, {other_form} is {second}");
            }
            for form in forms(one) {
                proptest::prop_assert_eq!(parse(&form), Some(one.div_euclid(10)), "{}", form);
            }
        }

        #[test]
        fn any_text_is_survived(text in ".*") {
            let _ = parse(&text);
        }
    }
}
