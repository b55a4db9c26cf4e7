//! What values are compared as.

use alloc::{borrow::Cow, vec::Vec};
use core::cmp::Ordering;

use crate::{
    json,
    plain::values::{Wire, is_integer, tagged},
};

/// A value, as far as conditions can tell values apart.
#[derive(Clone, Debug)]
pub(super) enum Operand<'a> {
    Null,
    Integer(i64),
    /// Finite, and no integer of 64 bits: those are always [`Operand::Integer`].
    Real(f64),
    Text(Cow<'a, str>),
    /// A value of kind 6. No operand is one, so it equals none.
    Data,
}

impl<'a> Operand<'a> {
    /// A number. `None` when it is not finite.
    fn number(raw: &str) -> Option<Self> {
        // Of what JSON allows here only numbers start with these; Rust alone would read "inf" and "nan" too.
        if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        if let Ok(integer) = raw.parse() {
            return Some(Self::Integer(integer));
        }
        let real: f64 = raw.parse().ok().filter(|real: &f64| real.is_finite())?;
        let integer = real as i64;
        // The greatest integer is no double: the cast would have saturated.
        let is_integer = integer as f64 == real && integer != i64::MAX;
        Some(if is_integer { Self::Integer(integer) } else { Self::Real(real) })
    }

    /// Reads an operand as it is written in a filter.
    pub(super) fn parse(raw: &'a str) -> Option<Self> {
        match raw.as_bytes().first()? {
            b'"' => json::decode_string(raw).map(Self::Text),
            b'n' => Some(Self::Null),
            b't' => Some(Self::Integer(1)),
            b'f' => Some(Self::Integer(0)),
            b'{' => match tagged(raw).ok()?? {
                (tag, inner) if tag == "$int" => {
                    let text = json::decode_string(inner).filter(|text| is_integer(text))?;
                    text.parse().ok().map(Self::Integer)
                }
                (tag, inner) if tag == "$date" => Self::number(inner),
                _ => None,
            },
            _ => Self::number(raw),
        }
    }

    /// Reads a wire value.
    pub(super) fn of_wire(wire: Option<&'a [u8]>) -> Self {
        let Some(wire) = wire.and_then(Wire::read).filter(|wire| wire.raw != "null") else {
            return Self::Null;
        };
        match wire.kind {
            b'2' => json::decode_string(wire.raw).map_or(Self::Null, Self::Text),
            b'6' => Self::Data,
            _ => Self::number(wire.raw).unwrap_or(Self::Null),
        }
    }

    /// Whether both are the same bytes of kind 6, or of the hex digits that binary columns come as.
    pub(super) fn same_bytes(a: &[u8], b: &[u8]) -> bool {
        let digits = |wire| {
            let wire = Wire::read(wire).filter(|wire| matches!(wire.kind, b'2' | b'6'))?;
            json::decode_string(wire.raw).map(|text| (text, wire.kind))
        };
        let (Some((a, a_kind)), Some((b, b_kind))) = (digits(a), digits(b)) else { return false };
        (a_kind == b'6' || b_kind == b'6') && a.eq_ignore_ascii_case(&b)
    }

    pub(super) fn into_owned(self) -> Operand<'static> {
        match self {
            Self::Null => Operand::Null,
            Self::Integer(integer) => Operand::Integer(integer),
            Self::Real(real) => Operand::Real(real),
            Self::Text(text) => Operand::Text(Cow::Owned(text.into_owned())),
            Self::Data => Operand::Data,
        }
    }

    /// The order of two numbers, by value, or of two texts, by their bytes. Nothing else has one.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b),
            (Self::Integer(a), Self::Real(b)) => Some(integer_and_real(*a, *b)),
            (Self::Real(a), Self::Integer(b)) => Some(integer_and_real(*b, *a).reverse()),
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            _ => None,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Integer(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
            Self::Data => 3,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null | Self::Data => out.extend_from_slice(b"null"),
            Self::Integer(integer) => {
                out.extend_from_slice(alloc::string::ToString::to_string(integer).as_bytes());
            }
            // The shortest text that reads back as this number.
            Self::Real(real) => out.extend_from_slice(alloc::format!("{real:e}").as_bytes()),
            Self::Text(text) => json::write_string(out, text),
        }
    }
}

/// Compares without rounding the integer, which a double might not hold.
fn integer_and_real(integer: i64, real: f64) -> Ordering {
    // Exact: a power of two. Beyond these every double is greater, or smaller, than every integer.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if real >= LIMIT {
        return Ordering::Less;
    }
    if real < -LIMIT {
        return Ordering::Greater;
    }
    let whole = real as i64;
    // What the cast cut off decides between equal whole parts.
    integer.cmp(&whole).then_with(|| (whole as f64).partial_cmp(&real).unwrap_or(Ordering::Equal))
}

impl Ord for Operand<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| self.compare(other).unwrap_or(Ordering::Equal))
    }
}

impl PartialOrd for Operand<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Operand<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Operand<'_> {}
