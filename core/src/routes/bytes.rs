//! A table as bytes.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::bits::{Bits, Entry, Key};
use super::family::{Family, View};
use super::{NO_VALUE, RouteTable, Snapshot};
use crate::codec::{self, CodecError};

const KIND: &str = "route-table";
const VERSION: u32 = 1;

/// One family, in the order of its routes: addresses and values in network order.
#[derive(Serialize, Deserialize)]
struct Columns {
    addresses: ByteBuf,
    lengths: ByteBuf,
    values: ByteBuf,
}

impl Snapshot {
    /// The table as bytes; equal tables have equal ones.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let version = self.version();
        codec::to_bytes(KIND, VERSION, &(columns(&version.v4), columns(&version.v6)))
    }
}

impl RouteTable {
    /// The table of these bytes.
    ///
    /// # Errors
    /// If the bytes are not what [`Snapshot::to_bytes`] makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let (v4, v6): (Columns, Columns) = codec::from_bytes(KIND, VERSION, bytes)?;
        let v4 = Family::of(&entries::<u32>(&v4)?);
        let v6 = Family::of(&entries::<u128>(&v6)?);
        Ok(Self::of(v4, v6))
    }
}

fn columns<B: Bits>(view: &View<B>) -> Columns {
    let entries = view.entries();
    let words = |entry: &Entry<B>| {
        let bits = entry.key.bits;
        (0..B::WORDS).flat_map(move |place| bits.word(place).to_be_bytes())
    };
    Columns {
        addresses: entries.iter().flat_map(words).collect::<Vec<u8>>().into(),
        lengths: entries.iter().map(|entry| entry.key.length).collect::<Vec<u8>>().into(),
        values: (entries.iter().flat_map(|entry| entry.value.to_be_bytes()))
            .collect::<Vec<u8>>()
            .into(),
    }
}

fn entries<B: Bits>(columns: &Columns) -> Result<Vec<Entry<B>>, CodecError> {
    let Columns { addresses, lengths, values } = columns;
    let count = lengths.len();
    if addresses.len() != count * B::WORDS * 4 || values.len() != count * 4 {
        return Err(CodecError::malformed("columns of different lengths"));
    }
    let word = |column: &[u8], at: usize| {
        u32::from_be_bytes(column[4 * at..4 * at + 4].try_into().expect("four bytes"))
    };
    let mut entries: Vec<Entry<B>> = Vec::with_capacity(count);
    for (place, &length) in lengths.iter().enumerate() {
        let bits = B::of_words(|at| word(addresses, place * B::WORDS + at));
        let entry = Entry { key: Key { bits, length }, value: word(values, place) };
        let ascending = entries.last().is_none_or(|last| last.key < entry.key);
        if length > B::WIDTH || bits.clear(length) != bits || !ascending || entry.value == NO_VALUE
        {
            return Err(CodecError::malformed(format!("route {place} cannot be")));
        }
        entries.push(entry);
    }
    Ok(entries)
}
