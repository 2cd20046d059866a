//! The name of an owner.

use std::fmt;
use std::ops::Deref;

/// The longest name that needs no memory of its own, bytes.
const SHORT: usize = 38;

/// The name of an owner, as text.
#[derive(Clone)]
pub struct Owner(Text);

#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(String),
}

impl Owner {
    /// Becomes this name; memory that it has is used again.
    #[inline]
    pub(super) fn set(&mut self, name: &str) {
        match &mut self.0 {
            Text::Long(text) => {
                text.clear();
                text.push_str(name);
            }
            Text::Short { len, bytes } => match u8::try_from(name.len()) {
                Ok(short) if name.len() <= SHORT => {
                    *len = short;
                    bytes[..name.len()].copy_from_slice(name.as_bytes());
                }
                _ => self.0 = Text::Long(name.into()),
            },
        }
    }

    /// The name's bytes, which are UTF-8.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => &bytes[..usize::from(*len)],
            Text::Long(text) => text.as_bytes(),
        }
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self(Text::Short { len: 0, bytes: [0; SHORT] })
    }
}

impl From<&str> for Owner {
    fn from(name: &str) -> Self {
        let mut owner = Self::default();
        owner.set(name);
        owner
    }
}

impl Deref for Owner {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Long(text) => text,
            Text::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("it was a str"),
        }
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Owner {}

impl PartialEq<str> for Owner {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
