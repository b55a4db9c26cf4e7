//! Plain values and what they are on the wire.

use alloc::{borrow::Cow, format, string::String, vec::Vec};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    json::{self, Members},
    value,
};

/// The greatest integer up to which every one is a JavaScript number of its own.
pub(super) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Standard Base64. Padding is written, and may be left out in what is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads one JSON text as a plain value, or as an object with a kind, and yields its wire bytes. `None` where a change with
/// it would be refused with [`crate::Code::BadValue`].
#[must_use]
pub fn from_plain(text: &Bytes) -> Option<Bytes> {
    let text = ByteString::try_from(text.clone()).ok()?;
    let raw: &serde_json::value::RawValue = serde_json::from_str(&text).ok()?;
    check(&text, raw.get()).ok()
}

/// Checks a plain value as it is written in the text of `base`, and yields its wire bytes. Whatever passes would pass in
/// the native dialect.
pub(super) fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
    let Some((tag, inner)) = tagged(raw)? else {
        return value::check(base, raw);
    };
    match &*tag {
        "$int" => {
            let text = json::decode_string(inner).filter(|text| is_integer(text));
            let text = text.ok_or("not an integer of 64 bits in a string")?;
            Ok(value::wrap("1", &text))
        }
        "$date" => {
            value::check_kind("3", inner)?;
            if inner == "null" { Err("not a finite number") } else { Ok(value::wrap("3", inner)) }
        }
        "$data" => {
            let text = json::decode_string(inner).ok_or("not a string of Base64")?;
            let bytes = BASE64.decode(&*text).map_err(|_| "not a string of Base64")?;
            Ok(data(&bytes))
        }
        _ => Err("an object with an unknown tag"),
    }
}

/// The tag and what it holds, if the first key of this value starts with `$`.
pub(super) fn tagged(raw: &str) -> Result<Option<(Cow<'_, str>, &str)>, &'static str> {
    let Some(mut members) = Members::of(raw) else { return Ok(None) };
    let Some((key, inner)) = members.next() else { return Ok(None) };
    let Some(tag) = json::decode_string(key).filter(|tag| tag.starts_with('$')) else {
        return Ok(None);
    };
    if members.next().is_some() {
        return Err("an object with more than its tag");
    }
    Ok(Some((tag, inner)))
}

/// Whether this is an integer of 64 bits as JSON writes one.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leads_with_zero = digits.starts_with('0') && digits.len() > 1;
    digits.bytes().all(|byte| byte.is_ascii_digit()) && !leads_with_zero && text.parse::<i64>().is_ok()
}

/// A value of kind 6.
fn data(bytes: &[u8]) -> Bytes {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(24 + 2 * bytes.len());
    out.extend_from_slice(br#"{"kind":6,"value":""#);
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    out.extend_from_slice(br#""}"#);
    out.into()
}

/// A wire value, taken apart.
pub(super) struct Wire<'a> {
    /// The digit.
    pub(super) kind: u8,
    /// The value as JSON.
    pub(super) raw: &'a str,
}

impl<'a> Wire<'a> {
    /// `None` for what is no wire value.
    pub(super) fn read(wire: &'a [u8]) -> Option<Self> {
        let (mut kind, mut value) = (None, "null");
        for (key, raw) in Members::of(core::str::from_utf8(wire).ok()?.trim_ascii_start())? {
            match key {
                "\"kind\"" => kind = Some(raw),
                "\"value\"" => value = raw,
                _ => {}
            }
        }
        match kind?.as_bytes() {
            [kind @ b'0'..=b'7'] => {
                Some(Self { kind: *kind, raw: if *kind == b'4' { "null" } else { value } })
            }
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.raw == "null"
    }

    fn integer(&self) -> Option<i64> {
        self.raw.parse().ok()
    }
}

/// Writes a wire value as the plain value that it stands for. What is no wire value is written as null.
///
/// With `integers_as_text` integers that a JavaScript number cannot hold are written as strings.
pub fn write_plain(out: &mut Vec<u8>, wire: &[u8], integers_as_text: bool) {
    let Some(wire) = Wire::read(wire).filter(|wire| !wire.is_null()) else {
        out.extend_from_slice(b"null");
        return;
    };
    let wrapped = |out: &mut Vec<u8>, opening: &str, closing: &str| {
        for part in [opening, wire.raw, closing] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    match wire.kind {
        b'0' | b'1' if integers_as_text => {
            let quote = if wire.integer().is_some_and(is_safe) { "" } else { "\"" };
            wrapped(out, quote, quote);
        }
        b'3' => wrapped(out, r#"{"$date":"#, "}"),
        b'6' => {
            out.extend_from_slice(br#"{"$data":""#);
            let bytes = json::decode_string(wire.raw).map(|hex| from_hex(&hex)).unwrap_or_default();
            out.extend_from_slice(BASE64.encode(bytes).as_bytes());
            out.extend_from_slice(br#""}"#);
        }
        _ => wrapped(out, "", ""),
    }
}

fn is_safe(integer: i64) -> bool {
    integer.unsigned_abs() <= MAX_SAFE_INTEGER
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// The incoming value of a column in the kind that the column has, where it fits without loss; else unchanged.
///
/// A plain value says less than a kind: JavaScript writes the double 3 like the integer 3. So the last known kind wins:
///
/// | stored | incoming | becomes |
/// | --- | --- | --- |
/// | 0 | integer of 32 bits | kind 0 |
/// | 0, 1 | kind 7 without a fraction that is an integer of 53 bits | kind 0 or 1 |
/// | 0, 1 | text that is an integer beyond 53 bits, as [`write_plain`] writes one | kind 1 |
/// | 3, 7 | integer that is a double | the stored kind |
/// | 3 | kind 7 | kind 3 |
/// | 5 | integer or kind 7 that is a float, exactly or in its shortest decimal form | kind 5 |
/// | 2, upper-case hex of whole bytes, or empty: how clients send a binary column | kind 6 | kind 2, upper-case hex |
/// | 0, 1, 3, 5, 6, 7 | null | the stored kind, so that it stays known |
#[must_use]
pub fn rekind(stored: &[u8], incoming: &Bytes) -> Bytes {
    let as_stored = || {
        let (stored, incoming) = (Wire::read(stored)?, Wire::read(incoming)?);
        refit(&stored, &incoming)
    };
    as_stored().unwrap_or_else(|| incoming.clone())
}

fn refit(stored: &Wire<'_>, incoming: &Wire<'_>) -> Option<Bytes> {
    if stored.kind == incoming.kind {
        return None;
    }
    if incoming.is_null() {
        return match stored.kind {
            b'2' | b'4' => None,
            kind => Some(wrap(kind, "null")),
        };
    }
    match (stored.kind, incoming.kind) {
        (b'0', b'1') => incoming.raw.parse::<i32>().ok().map(|_| wrap(b'0', incoming.raw)),
        (b'0' | b'1', b'7') => {
            let number: f64 = incoming.raw.parse().ok()?;
            let integer = number as i64;
            let exact =
                is_safe(integer) && integer as f64 == number && !(integer == 0 && number.is_sign_negative());
            let fits = exact && (stored.kind == b'1' || i32::try_from(integer).is_ok());
            fits.then(|| wrap(stored.kind, &format!("{integer}")))
        }
        (b'0' | b'1', b'2') => {
            let text = json::decode_string(incoming.raw).filter(|text| is_integer(text))?;
            (!is_safe(text.parse().ok()?)).then(|| wrap(b'1', &text))
        }
        (b'3' | b'7', b'1') => {
            let integer = incoming.integer()?;
            (integer as f64 as i128 == i128::from(integer)).then(|| wrap(stored.kind, incoming.raw))
        }
        (b'3', b'7') => Some(wrap(b'3', incoming.raw)),
        (b'5', b'1' | b'7') => {
            let number: f64 = incoming.raw.parse().ok()?;
            // Not through a double first: an integer of 64 bits would be rounded twice.
            let float: f32 = incoming.raw.parse().ok().filter(|float: &f32| float.is_finite())?;
            let fits = match incoming.integer() {
                Some(integer) => float as i128 == i128::from(integer),
                None => f64::from(float) == number || format!("{float:e}").parse() == Ok(number),
            };
            fits.then(|| wrap(b'5', incoming.raw))
        }
        (b'2', b'6') => {
            let held = json::decode_string(stored.raw)?;
            let is_binary = held.len().is_multiple_of(2)
                && held.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
            let hex: String = json::decode_string(incoming.raw)?.to_ascii_uppercase();
            is_binary.then(|| value::text(&hex))
        }
        _ => None,
    }
}

fn wrap(kind: u8, raw: &str) -> Bytes {
    value::wrap(core::str::from_utf8(&[kind]).unwrap_or_default(), raw)
}
