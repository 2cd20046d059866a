//! The tables as bytes: msgpack `[kind, version, body]`, read as hostile.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Deep enough for what is nested on purpose, shallow enough for any stack.
const MAX_DEPTH: usize = 64;

/// msgpack's first byte of an array of three items.
const ARRAY_OF_THREE: u8 = 0x93;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// Not msgpack, not of the expected shape, or something follows.
    Malformed(String),
    /// The bytes of something else.
    Kind {
        /// What they have to be of.
        expected: &'static str,
        /// What they say they are of.
        found: String,
    },
    /// Written by a version that is not understood here.
    Version {
        /// The newest that is understood.
        known: u32,
        /// What they say.
        found: u32,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(out, "malformed bytes: {why}"),
            Self::Kind { expected, found } => {
                write!(out, "bytes of {found:?}, not of {expected:?}")
            }
            Self::Version { known, found } => {
                write!(out, "bytes of version {found}: versions 1 to {known} are understood")
            }
        }
    }
}

impl std::error::Error for CodecError {}

impl CodecError {
    /// What is wrong with a value that the shape alone allows.
    pub fn malformed(why: impl fmt::Display) -> Self {
        Self::Malformed(why.to_string())
    }
}

/// Write a body of this kind and version.
///
/// # Panics
/// Never for bodies of plain structs, sequences and numbers: writing to memory does not fail.
pub fn to_bytes<T: Serialize>(kind: &'static str, version: u32, body: &T) -> Vec<u8> {
    rmp_serde::to_vec(&(kind, version, body)).expect("plain data, written to memory")
}

/// Read a body of this kind and version; nothing may follow it.
///
/// What is read is of the right shape; what its values mean is for the caller to check.
///
/// # Errors
/// If it is anything else.
pub fn from_bytes<T: DeserializeOwned>(
    kind: &'static str,
    version: u32,
    bytes: &[u8],
) -> Result<T, CodecError> {
    let (found, rest) = header(bytes).ok_or_else(|| CodecError::malformed("no header"))?;
    if found.0 != kind {
        return Err(CodecError::Kind { expected: kind, found: found.0 });
    }
    if found.1 != version {
        return Err(CodecError::Version { known: version, found: found.1 });
    }
    let mut reader = rmp_serde::Deserializer::new(rest);
    reader.set_max_depth(MAX_DEPTH);
    let body = T::deserialize(&mut reader).map_err(CodecError::malformed)?;
    match reader.into_inner() {
        [] => Ok(body),
        left => Err(CodecError::malformed(format!("{} bytes follow the end", left.len()))),
    }
}

/// Kind and version, and the bytes behind them: the body is read only once both are known.
fn header(bytes: &[u8]) -> Option<((String, u32), &[u8])> {
    let items = bytes.strip_prefix(&[ARRAY_OF_THREE])?;
    let mut reader = rmp_serde::Deserializer::new(items);
    let kind = Deserialize::deserialize(&mut reader).ok()?;
    let version = Deserialize::deserialize(&mut reader).ok()?;
    Some(((kind, version), reader.into_inner()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Body = (Vec<u32>, Option<String>);

    fn read(bytes: &[u8]) -> Result<Body, CodecError> {
        from_bytes("test", 1, bytes)
    }

    #[test]
    fn what_is_wrong_is_said() {
        let body: Body = (vec![1, 2], Some("x".into()));
        let good = to_bytes("test", 1, &body);
        assert_eq!(read(&good), Ok(body.clone()));
        let other = to_bytes("other", 1, &body);
        let kind = CodecError::Kind { expected: "test", found: "other".into() };
        assert_eq!(read(&other), Err(kind));
        let newer = to_bytes("test", 2, &"anything");
        assert_eq!(read(&newer), Err(CodecError::Version { known: 1, found: 2 }));
        let trailing = [good.as_slice(), &[0]].concat();
        assert_eq!(
            read(&trailing).unwrap_err().to_string(),
            "malformed bytes: 1 bytes follow the end"
        );
        for end in 0..good.len() {
            assert!(matches!(read(&good[..end]), Err(CodecError::Malformed(_))), "{end}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        // An array that says it has 2^32 - 1 items.
        let mut bytes = to_bytes("test", 1, &());
        bytes.pop();
        bytes.extend([0x92, 0xdd, 0xff, 0xff, 0xff, 0xff, 1]);
        assert!(matches!(read(&bytes), Err(CodecError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[to_bytes("test", 1, &()).as_slice(), &bytes].concat());
        }
    }
}
