//! The journal's file: records, the first of which is a pool, and each other one a change of it.
//!
//! ```text
//! length u32 LE | CRC-32 of the body u32 LE | body: msgpack
//! ```
//!
//! What follows the first damaged record was never completed and is left out: a record counts from
//! when all of it is written, or, if that is asked for, synced.

use serde_bytes::Bytes;

use super::super::pool::AddressPool;
use super::change::Change;
use crate::codec::{self, CodecError};

const KIND: &str = "address-pool-journal";
const VERSION: u32 = 1;
const HEADER: usize = 8;

/// Adds a record to what is to be written.
///
/// # Panics
/// If the body has 4 GiB or more.
fn put(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER]);
    body(out);
    let (head, body) = out[start..].split_at_mut(HEADER);
    let length = u32::try_from(body.len()).expect("a pool's bytes are fewer than 4 GiB");
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// A journal that begins with a pool as it is.
pub(super) fn begin(pool: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pool.len() + 64);
    put(&mut out, |out| out.extend(codec::to_bytes(KIND, VERSION, &Bytes::new(pool))));
    out
}

/// Adds changes that happen together or not at all.
pub(super) fn append(out: &mut Vec<u8>, changes: &[Change<'_>]) {
    put(out, |out| rmp_serde::encode::write(out, changes).expect("plain data, written to memory"));
}

/// The body of the first record and what is behind it, `None` if it is not complete.
fn take(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = data.split_at_checked(HEADER)?;
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four of them"));
    let (length, crc) = (number(&head[..4]) as usize, number(&head[4..]));
    let (body, rest) = rest.split_at_checked(length)?;
    // Zeros, as a crash may leave them, have the right checksum of nothing.
    (length > 0 && crc32fast::hash(body) == crc).then_some((body, rest))
}

/// What a journal holds.
#[derive(Debug)]
pub(super) struct Replayed {
    /// The pool after all changes that are complete.
    pub pool: AddressPool,
    /// The bytes of the first record.
    pub first: usize,
    /// The bytes up to the last one that is complete.
    pub sound: usize,
}

/// Reads a journal.
///
/// # Errors
/// If its first record is damaged, or records that are not say what cannot be.
pub(super) fn replay(data: &[u8]) -> Result<Replayed, CodecError> {
    let (first, mut rest) =
        take(data).ok_or_else(|| CodecError::malformed("the journal's first record is damaged"))?;
    let pool: serde_bytes::ByteBuf = codec::from_bytes(KIND, VERSION, first)?;
    let mut pool = AddressPool::from_bytes(&pool)?;
    let begun = data.len() - rest.len();
    while let Some((body, behind)) = take(rest) {
        let record: Vec<Change<'_>> = rmp_serde::from_slice(body).map_err(CodecError::malformed)?;
        record.iter().try_for_each(|change| change.apply(&mut pool))?;
        rest = behind;
    }
    Ok(Replayed { pool, first: begun, sound: data.len() - rest.len() })
}
