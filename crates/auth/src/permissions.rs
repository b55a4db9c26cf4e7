//! What a token may be used for, whatever its user may do.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

const READ: &str = "read";
const WRITE: &str = "write";

/// What a token may be used for. It never permits more than its user may do. As JSON a list of names; those that are not known
/// here permit nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Permissions {
    read: bool,
    write: bool,
}

impl Permissions {
    /// Everything that its user may do.
    pub const ALL: Self = Self { read: true, write: true };

    /// What these names permit together: `read` and `write`.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::default(), |permissions, name| Self {
            read: permissions.read || name == READ,
            write: permissions.write || name == WRITE,
        })
    }

    /// Whether something may be read. Without that a token is good for nothing.
    #[must_use]
    pub const fn can_read(self) -> bool {
        self.read
    }

    /// Whether something may be changed.
    #[must_use]
    pub const fn can_write(self) -> bool {
        self.write
    }

    /// All of them, for tokens that do not say.
    pub(crate) const fn all() -> Self {
        Self::ALL
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (has, name) in [(self.read, READ), (self.write, WRITE)] {
            if has {
                list.serialize_element(name)?;
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Permissions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of permissions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Permissions, A::Error> {
                let mut permissions = Permissions::default();
                while let Some(name) = list.next_element::<String>()? {
                    let more = Permissions::of_names([name.as_str()]);
                    permissions.read |= more.read;
                    permissions.write |= more.write;
                }
                Ok(permissions)
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::Permissions;

    #[test]
    fn names_are_a_list() {
        for (json, can_read, can_write) in [
            (r#"["read","write"]"#, true, true),
            (r#"["read"]"#, true, false),
            (r#"["write"]"#, false, true),
            ("[]", false, false),
        ] {
            let read: Permissions = serde_json::from_str(json).expect("permissions");
            assert_eq!((read.can_read(), read.can_write()), (can_read, can_write));
            assert_eq!(serde_json::to_string(&read).expect("JSON"), json);
        }
        let read: Permissions = serde_json::from_str(r#"["admin","READ","read:all"]"#).expect("a list");
        assert_eq!(read, Permissions::default());
        for bad in ["null", "{}", "\"read\"", "[1]"] {
            assert!(serde_json::from_str::<Permissions>(bad).is_err(), "{bad}");
        }
    }
}
