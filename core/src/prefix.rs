//! Addresses and prefixes as all the tables take them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address;

/// A prefix in canonical form: no bit is set behind its length (RFC 4632, RFC 4291 section 2.3).
///
/// Ordered by family (IPv4 first), address, length: a prefix comes right before what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why something is no prefix. The text names the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Not of the form `address/length`.
    Form(String),
    /// The part before the slash is no address.
    Address(String),
    /// The length is no number, or greater than the family's bits.
    Length(String),
    /// Bits are set behind the length.
    HostBits {
        /// As it was given.
        given: String,
        /// The prefix of the same length that covers it.
        canonical: Prefix,
    },
}

impl fmt::Display for PrefixError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(given) => {
                write!(out, "{given:?} is no prefix: it has to be address/length, as 10.0.0.0/24")
            }
            Self::Address(given) => {
                write!(out, "{given:?} is no prefix: an IPv4 or IPv6 address has to come before /")
            }
            Self::Length(given) => write!(
                out,
                "{given:?} is no prefix: its length has to be 0 to 32 for IPv4, 0 to 128 for IPv6"
            ),
            Self::HostBits { given, canonical } => write!(
                out,
                "{given:?} has bits set behind its length: the prefix that covers it is {canonical}"
            ),
        }
    }
}

impl std::error::Error for PrefixError {}

impl Prefix {
    /// The prefix of an address without bits behind the length.
    ///
    /// # Errors
    /// If the length is greater than the family's bits, or bits are set behind it.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let covering = Self::covering(address, length)?;
        if covering.address == address {
            return Ok(covering);
        }
        let given = format!("{address}/{length}");
        Err(PrefixError::HostBits { given, canonical: covering })
    }

    /// The prefix of this length that covers the address: bits behind the length are cleared.
    ///
    /// # Errors
    /// If the length is greater than the family's bits.
    pub fn covering(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        if length > bits(address) {
            return Err(PrefixError::Length(format!("{address}/{length}")));
        }
        let address = match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !host_mask4(length)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !host_mask6(length)).into(),
        };
        Ok(Self { address, length })
    }

    /// The prefix of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: bits(address) }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Its last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() | host_mask4(self.length)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() | host_mask6(self.length)).into(),
        }
    }

    /// Whether the address is one of the prefix's.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && (self.address..=self.last()).contains(&address)
    }

    /// Whether every address of the other one is one of this one's.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (base, length) =
            text.split_once('/').ok_or_else(|| PrefixError::Form(text.to_owned()))?;
        let address = address::parse(base).ok_or_else(|| PrefixError::Address(text.to_owned()))?;
        // One spelling for each length: no sign, no leading zero.
        let plain = length.bytes().all(|digit| digit.is_ascii_digit());
        let short = length == "0" || !length.starts_with('0');
        let length =
            length.parse().ok().filter(|&length| plain && short && length <= bits(address));
        Self::new(address, length.ok_or_else(|| PrefixError::Length(text.to_owned()))?)
    }
}

/// How many bits an address of this family has.
#[must_use]
pub const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Ones behind the length; the length is at most 32.
#[must_use]
pub const fn host_mask4(length: u8) -> u32 {
    match u32::MAX.checked_shr(length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Ones behind the length; the length is at most 128.
#[must_use]
pub const fn host_mask6(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Prefix, PrefixError> {
        text.parse()
    }

    #[test]
    fn one_spelling() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in ["", "/", "10.0.0.0", "10.0.0.0/", "10.0.0/8", "x/8", "10.0.0.0/8/8"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for length in ["33", "+8", "08", "00", "-1", " 8", "256", "8 "] {
            let text = format!("10.0.0.0/{length}");
            assert_eq!(parse(&text), Err(PrefixError::Length(text)));
        }
        assert_eq!(parse("::/129"), Err(PrefixError::Length("::/129".into())));
    }

    #[test]
    fn host_bits_are_named() {
        let error = parse("10.0.0.1/24").unwrap_err().to_string();
        assert!(error.contains("\"10.0.0.1/24\"") && error.ends_with("10.0.0.0/24"), "{error}");
    }

    #[test]
    fn families_do_not_mix() {
        let v4 = parse("0.0.0.0/0").unwrap();
        let v6 = parse("::/0").unwrap();
        assert!(!v4.contains("::".parse().unwrap()) && !v6.covers(&v4) && v4 < v6);
    }

    proptest! {
        #[test]
        fn an_address_is_in_its_covering_prefix(address: IpAddr, length: u8, other: IpAddr) {
            prop_assume!(length <= bits(address));
            let prefix = Prefix::covering(address, length).unwrap();
            prop_assert!(prefix.contains(address) && prefix.covers(&Prefix::host(address)));
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert_eq!(Prefix::new(prefix.address(), length), Ok(prefix));
            let same = Prefix::covering(other, length).is_ok_and(|covering| covering == prefix);
            prop_assert_eq!(prefix.contains(other), same);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
