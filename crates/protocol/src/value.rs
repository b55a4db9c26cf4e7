//! Values on the wire: `{"kind":K,"value":V}`.
//!
//! A value passes only when every deployed client can read it: their parser drops the whole entry on a type that
//! does not fit the kind, and the whole frame on a number out of range or on half a surrogate pair.

use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use bytestring::ByteString;

use crate::json::{self, Members};

/// Checks a value as it is written in the text of `base`, and yields its wire bytes: the same bytes where it is
/// a plain kind object, a kind object wrapped around it where it is bare. The error says why, without the value.
pub(crate) fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
    match raw.as_bytes().first() {
        Some(b'{') => check_object(base, raw),
        Some(b'"') if !json::is_text(raw) => Err(NOT_TEXT),
        Some(b'"') => Ok(wrap("2", raw)),
        Some(b't') => Ok(wrap("1", "1")),
        Some(b'f') => Ok(wrap("1", "0")),
        Some(b'n') => Ok(null()),
        Some(b'-' | b'0'..=b'9') if raw.parse::<i64>().is_ok() => Ok(wrap("1", raw)),
        Some(b'-' | b'0'..=b'9') if is_double(raw) => Ok(wrap("7", raw)),
        Some(b'-' | b'0'..=b'9') => Err("a number that is out of range"),
        _ => Err("neither an object with a kind nor a plain value"),
    }
}

/// Reads one JSON text as a value, bare or as a kind object, by the same rules as values in frames. `None` where a
/// frame with it would be refused.
#[must_use]
pub fn from_json(text: &Bytes) -> Option<Bytes> {
    let text = ByteString::try_from(text.clone()).ok()?;
    let raw: &serde_json::value::RawValue = serde_json::from_str(&text).ok()?;
    check(&text, raw.get()).ok()
}

/// The decoded text of a value of kind 2. `None` for other kinds and for null.
#[must_use]
pub fn string_value(wire: &[u8]) -> Option<String> {
    let (_, value) = parts(wire).filter(|(kind, _)| *kind == "2")?;
    json::decode_string(value).map(Into::into)
}

/// Whether two values are the same to a native client that has stored the one and sends the other: numbers of any kind by
/// value, to the 15 digits that clients write, and binary data as hex of either case.
#[must_use]
pub fn is_alike(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let (Some((kind, value)), Some((other_kind, other_value))) = (parts(one), parts(other)) else {
        return false;
    };
    let is_data = |kind: &str| kind == "6" || kind == "2";
    match (value, other_value) {
        ("null", "null") => true,
        ("null", _) | (_, "null") => false,
        (text, other) if text.starts_with('"') || other.starts_with('"') => {
            let alike = json::decode_string(text).zip(json::decode_string(other));
            alike.is_some_and(|(text, other)| match kind == other_kind && kind != "6" {
                true => text == other,
                false => is_data(kind) && is_data(other_kind) && text.eq_ignore_ascii_case(&other),
            })
        }
        (number, other) => match (number.parse::<i64>(), other.parse::<i64>()) {
            (Ok(number), Ok(other)) => number == other,
            _ => {
                let short = kind == "5" || other_kind == "5";
                rounded(number, short).is_some_and(|number| Some(number) == rounded(other, short))
            }
        },
    }
}

/// A number as clients write it.
fn rounded(number: &str, short: bool) -> Option<String> {
    let number: f64 = number.parse().ok()?;
    // -0.0 is 0.0 to whoever compares.
    let number = if number == 0.0 { 0.0 } else { number };
    Some(if short { alloc::format!("{:.6e}", number as f32) } else { alloc::format!("{number:.14e}") })
}

/// Kind and value as they are written; a value that is absent is null.
fn parts(wire: &[u8]) -> Option<(&str, &str)> {
    let (mut kind, mut value) = (None, None);
    for (key, raw) in Members::of(core::str::from_utf8(wire).ok()?.trim_ascii_start())? {
        match key {
            "\"kind\"" => kind = Some(raw),
            "\"value\"" => value = Some(raw),
            _ => {}
        }
    }
    let kind = kind?;
    Some((kind, if kind == "4" { "null" } else { value.unwrap_or("null") }))
}

/// A value of kind 2.
#[must_use]
pub fn text(text: &str) -> Bytes {
    wrap("2", &json::to_string(text))
}

/// A value of kind 1.
#[must_use]
pub fn integer(number: i64) -> Bytes {
    wrap("1", &alloc::string::ToString::to_string(&number))
}

/// The value of kind 4.
#[must_use]
pub fn null() -> Bytes {
    Bytes::from_static(br#"{"kind":4,"value":null}"#)
}

const NOT_TEXT: &str = "a string with half a surrogate pair";

fn check_object(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
    let (mut kind, mut value, mut plain) = (None, None, true);
    for (key, member) in Members::of(raw).into_iter().flatten() {
        let slot = match key {
            "\"kind\"" => &mut kind,
            "\"value\"" => &mut value,
            _ => {
                plain = false;
                // A key that is spelled with escapes is the same key to clients.
                match json::decode_string(key).as_deref() {
                    Some("kind") => &mut kind,
                    Some("value") => &mut value,
                    _ => continue,
                }
            }
        };
        if slot.replace(member).is_some() {
            return Err("an object that names kind or value twice");
        }
    }
    let kind = kind.ok_or("an object without a kind")?;
    let value = value.unwrap_or("null");
    check_kind(kind, value)?;
    // Whatever else the object held was not checked, and must not reach clients.
    Ok(if plain { json::share(base, raw).into_bytes() } else { wrap(kind, value) })
}

pub(crate) fn check_kind(kind: &str, value: &str) -> Result<(), &'static str> {
    let (fits, or_else) = match kind {
        "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" if value == "null" => return Ok(()),
        "0" => (value.parse::<i32>().is_ok(), "not an integer of 32 bits"),
        "1" => (value.parse::<i64>().is_ok(), "not an integer of 64 bits"),
        "2" if value.starts_with('"') => (json::is_text(value), NOT_TEXT),
        "2" => (false, "not a string"),
        "3" | "7" => (is_double(value), "not a finite number"),
        "4" => (false, "not null"),
        "5" => {
            let fits = parse_double(value).is_some_and(|number| number.abs() <= f64::from(f32::MAX));
            (fits, "not a number of 32 bits")
        }
        "6" => (json::decode_string(value).is_some_and(|text| is_hex(&text)), "not a string of hex digits"),
        _ => (false, "of an unknown kind"),
    };
    if fits { Ok(()) } else { Err(or_else) }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_double(raw: &str) -> bool {
    parse_double(raw).is_some()
}

/// The number, if it is a JSON number and finite.
fn parse_double(raw: &str) -> Option<f64> {
    // Of what JSON allows here only numbers start with these; Rust alone would read "inf" and "nan" too.
    if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    raw.parse::<f64>().ok().filter(|number| number.is_finite())
}

pub(crate) fn wrap(kind: &str, value: &str) -> Bytes {
    let mut out = Vec::with_capacity(br#"{"kind":0,"value":}"#.len() + value.len());
    for part in [r#"{"kind":"#, kind, r#","value":"#, value, "}"] {
        out.extend_from_slice(part.as_bytes());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Option<String> {
        from_json(&Bytes::copy_from_slice(text.as_bytes()))
            .map(|wire| String::from_utf8(wire.to_vec()).unwrap())
    }

    #[test]
    fn what_clients_can_read_passes_byte_for_byte() {
        for same in [
            r#"{"kind":0,"value":2147483647}"#,
            r#"{"kind":0,"value":-2147483648}"#,
            r#"{"kind":0,"value":-0}"#,
            r#"{"kind":1,"value":9223372036854775807}"#,
            r#"{"kind":1,"value":-9223372036854775808}"#,
            r#"{"kind":2,"value":""}"#,
            r#"{"kind":2,"value":"a\n\ud83d\ude00\u0000 é 😀"}"#,
            r#"{"kind":3,"value":-1.5e-300}"#,
            r#"{"kind":3,"value":1711800000}"#,
            r#"{"kind":4,"value":null}"#,
            r#"{"kind":4}"#,
            r#"{"kind":5,"value":3.4028234663852886e38}"#,
            r#"{"kind":5,"value":1e-300}"#,
            r#"{"kind":6,"value":"00fFA1"}"#,
            r#"{"kind":6,"value":""}"#,
            r#"{"kind":6,"value":"\u0030\u0031"}"#,
            r#"{"kind":7,"value":1e308}"#,
            r#"{"kind":7,"value":1e-400}"#,
            r#"{"kind":7,"value":99999999999999999999999999}"#,
            r#"{"value":3,"kind":1}"#,
            "{ \"kind\" :\t1 ,\r\n\"value\" : 3 }",
            r#"{"kind":0,"value":null}"#,
            r#"{"kind":1,"value":null}"#,
            r#"{"kind":2,"value":null}"#,
            r#"{"kind":3,"value":null}"#,
            r#"{"kind":5,"value":null}"#,
            r#"{"kind":6,"value":null}"#,
            r#"{"kind":7,"value":null}"#,
            r#"{"kind":7}"#,
        ] {
            assert_eq!(checked(same).as_deref(), Some(same));
        }
    }

    #[test]
    fn bare_values_and_strange_objects_are_rebuilt() {
        for (text, expected) in [
            (r#""Costa Rica""#, r#"{"kind":2,"value":"Costa Rica"}"#),
            (r#""\"\\\u00e9""#, r#"{"kind":2,"value":"\"\\\u00e9"}"#),
            ("10", r#"{"kind":1,"value":10}"#),
            ("-0", r#"{"kind":1,"value":-0}"#),
            ("9223372036854775807", r#"{"kind":1,"value":9223372036854775807}"#),
            ("9223372036854775808", r#"{"kind":7,"value":9223372036854775808}"#),
            ("3.0", r#"{"kind":7,"value":3.0}"#),
            ("1e3", r#"{"kind":7,"value":1e3}"#),
            ("null", r#"{"kind":4,"value":null}"#),
            ("true", r#"{"kind":1,"value":1}"#),
            (" false ", r#"{"kind":1,"value":0}"#),
            (r#"{"kind":1,"value":3,"x":1e400}"#, r#"{"kind":1,"value":3}"#),
            (r#"{"x":{"kind":9},"kind":2,"value":"a"}"#, r#"{"kind":2,"value":"a"}"#),
            (r#"{"k\u0069nd":1,"value":3}"#, r#"{"kind":1,"value":3}"#),
            (r#"{"\ud800":1,"kind":4}"#, r#"{"kind":4,"value":null}"#),
        ] {
            assert_eq!(checked(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_would_break_clients_is_refused() {
        for bad in [
            r#"{"kind":0,"value":2147483648}"#,
            r#"{"kind":0,"value":-2147483649}"#,
            r#"{"kind":0,"value":1.0}"#,
            r#"{"kind":0,"value":true}"#,
            r#"{"kind":0,"value":"1"}"#,
            r#"{"kind":1,"value":9223372036854775808}"#,
            r#"{"kind":1,"value":-9223372036854775809}"#,
            r#"{"kind":1,"value":3.0}"#,
            r#"{"kind":1,"value":1e3}"#,
            r#"{"kind":1,"value":true}"#,
            r#"{"kind":1,"value":"3"}"#,
            r#"{"kind":1,"value":[]}"#,
            r#"{"kind":2,"value":3}"#,
            r#"{"kind":2,"value":true}"#,
            r#"{"kind":2,"value":{}}"#,
            r#"{"kind":2,"value":"\ud800"}"#,
            r#"{"kind":2,"value":"\udc00"}"#,
            r#"{"kind":2,"value":"\ud800\ud800"}"#,
            r#"{"kind":2,"value":"\ud800x"}"#,
            r#"{"kind":2,"value":"\udc00\ud800"}"#,
            r#"{"kind":3,"value":"1"}"#,
            r#"{"kind":3,"value":1e400}"#,
            r#"{"kind":3,"value":true}"#,
            r#"{"kind":4,"value":0}"#,
            r#"{"kind":4,"value":""}"#,
            r#"{"kind":5,"value":1e39}"#,
            r#"{"kind":5,"value":-3.5e38}"#,
            r#"{"kind":5,"value":"x"}"#,
            r#"{"kind":6,"value":"0"}"#,
            r#"{"kind":6,"value":"0g"}"#,
            r#"{"kind":6,"value":"é"}"#,
            r#"{"kind":6,"value":1}"#,
            r#"{"kind":7,"value":-1e400}"#,
            r#"{"kind":7,"value":"NaN"}"#,
            r#"{"kind":8,"value":1}"#,
            r#"{"kind":-1,"value":1}"#,
            r#"{"kind":1.0,"value":1}"#,
            r#"{"kind":"1","value":1}"#,
            r#"{"kind":null,"value":1}"#,
            r#"{"kind":true,"value":1}"#,
            r#"{"kind":{},"value":1}"#,
            r#"{"kind":1,"kind":1,"value":1}"#,
            r#"{"kind":1,"value":1,"value":1}"#,
            r#"{"kind":1,"value":1,"valu\u0065":1}"#,
            r#"{"value":1}"#,
            "{}",
            "[]",
            "[1]",
            "1e400",
            r#""\ud800""#,
        ] {
            assert_eq!(checked(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_comes_back() {
        for original in ["", "a", "\"\\\n\u{0}\u{1f}", "é😀", "c826f997-76af-4625-80d1-fe91c95e0878"] {
            assert_eq!(string_value(&text(original)).as_deref(), Some(original));
            assert_eq!(from_json(&text(original)), Some(text(original)));
        }
        assert_eq!(string_value(b"{ \"value\" : \"\\u00e9\" , \"kind\" : 2 }").as_deref(), Some("é"));
        for none in [
            &integer(3)[..],
            &null(),
            br#"{"kind":2,"value":null}"#,
            br#"{"kind":2}"#,
            b"",
            b"{",
            b"\xff",
            b"{\"kind",
        ] {
            assert_eq!(string_value(none), None);
        }
    }
}
