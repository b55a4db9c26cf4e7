//! A walker over JSON text that `serde_json` has already found well formed, and the writing of JSON strings.
//!
//! Validating once and then only walking is what makes decoding fast. The walker itself trusts nothing: on text
//! that is not JSON it yields less or yields nonsense, but it never panics and never leaves the text.

use alloc::{borrow::Cow, string::String, vec::Vec};
use bytestring::ByteString;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The high bit of the lowest byte of `word` that equals `byte`; bits above it may be wrong.
const fn matches(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * byte as u64);
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

/// Where the string that opens at `at` ends: the offset after its closing quote.
#[inline]
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        // Eight bytes at a time: texts of a megabyte pass here.
        while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let quote = matches(word, b'"');
            let found = quote | matches(word, b'\\');
            if found == 0 {
                at += 8;
                continue;
            }
            let first = found & found.wrapping_neg();
            at += first.trailing_zeros() as usize / 8;
            if quote & first != 0 {
                return at + 1;
            }
            at += 2;
        }
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// Where the value that starts at `at` ends.
fn value_end(text: &[u8], mut at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            while let Some(byte) = text.get(at) {
                match byte {
                    b'"' => {
                        at = string_end(text, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            text.len()
        }
        _ => {
            while text.get(at).is_some_and(|byte| !matches!(byte, b',' | b']' | b'}') && !is_space(*byte)) {
                at += 1;
            }
            at
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).copied().is_some_and(is_space) {
        at += 1;
    }
    at
}

/// The members of an object: key (with its quotes) and value, both as they are written.
pub(crate) struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    /// `None` unless the text is an object.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        text.starts_with('{').then_some(Self { text, at: 1 })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let key = skip_space(bytes, self.at);
        if bytes.get(key) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(bytes, key);
        let colon = skip_space(bytes, key_end);
        let value = skip_space(bytes, colon + 1);
        let value_end = value_end(bytes, value);
        let comma = skip_space(bytes, value_end);
        self.at = comma + 1;
        Some((self.text.get(key..key_end)?, self.text.get(value..value_end)?))
    }
}

/// The elements of an array, as they are written.
pub(crate) struct Elements<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Elements<'a> {
    /// `None` unless the text is an array.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        text.starts_with('[').then_some(Self { text, at: 1 })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let start = skip_space(bytes, self.at);
        if matches!(bytes.get(start), None | Some(b']')) {
            return None;
        }
        let end = value_end(bytes, start);
        self.at = skip_space(bytes, end) + 1;
        self.text.get(start..end)
    }
}

/// What a JSON string says. `None` when it is no string, or holds half a surrogate pair, which is no text.
pub(crate) fn decode_string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if has_escape(inner) {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

fn has_escape(text: &str) -> bool {
    let (chunks, rest) = text.as_bytes().as_chunks::<8>();
    chunks.iter().any(|chunk| matches(u64::from_le_bytes(*chunk), b'\\') != 0) || rest.contains(&b'\\')
}

/// Whether this is a JSON string that holds no half of a surrogate pair, so that all parsers can read it.
///
/// Only looks at the escapes: unescaping a text of a megabyte just to throw the result away would be slow.
pub(crate) fn is_text(json: &str) -> bool {
    let Some(mut rest) = json.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) else {
        return false;
    };
    if !has_escape(rest) {
        return true;
    }
    while let Some((_, escaped)) = rest.split_once('\\') {
        let Some(unit) = unicode_escape(escaped) else {
            // Another escape: its letter, perhaps a backslash, belongs to it.
            rest = escaped.get(1..).unwrap_or_default();
            continue;
        };
        rest = &escaped[5..];
        match unit {
            0xD800..=0xDBFF => {
                let low = rest.strip_prefix('\\').and_then(unicode_escape);
                if !low.is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) {
                    return false;
                }
                rest = &rest[6..];
            }
            0xDC00..=0xDFFF => return false,
            _ => {}
        }
    }
    true
}

/// The code unit of `uXXXX` at the front of the text.
fn unicode_escape(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix('u')?.get(..4)?, 16).ok()
}

/// `part` as a slice of `base` that shares its memory, or as a copy where it lies elsewhere.
pub(crate) fn share(base: &ByteString, part: &str) -> ByteString {
    let (base_start, part_start) = (base.as_ptr() as usize, part.as_ptr() as usize);
    // `slice_ref` panics on a part from elsewhere; such parts are texts that had to be unescaped.
    if part_start >= base_start && part_start + part.len() <= base_start + base.len() {
        base.slice_ref(part)
    } else {
        part.into()
    }
}

/// Like [`share`], without a copy when the text was unescaped and is owned already.
pub(crate) fn keep(base: &ByteString, part: Cow<'_, str>) -> ByteString {
    match part {
        Cow::Borrowed(part) => share(base, part),
        Cow::Owned(part) => ByteString::from(part),
    }
}

/// Writes `text` as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes what stands between the quotes of a JSON string.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str) {
    write_escaped_bytes(out, text.as_bytes());
}

/// Like [`write_escaped`], for text that is at hand as bytes.
pub(crate) fn write_escaped_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// `text` as a JSON string.
pub(crate) fn to_string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    // The input was text and every byte added is ASCII.
    String::from_utf8_lossy(&out).into_owned()
}
