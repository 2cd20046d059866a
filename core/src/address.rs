//! Addresses as text, as the standard library reads them, in less than half the time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of a text: four decimal parts, or as of RFC 4291 section 2.2.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    if let Some(v4) = four_parts(text.as_bytes()) {
        return Some(v4.into());
    }
    // What has IPv4 at its end, and all that is wrong, is left to the standard library.
    groups(text.as_bytes()).map_or_else(|| text.parse().ok(), |v6| Some(v6.into()))
}

/// The address of four decimal parts.
fn four_parts(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut bits, mut part, mut digits, mut dots) = (0u32, 0u32, 0, 0);
    for &byte in text {
        if byte == b'.' && digits > 0 && dots < 3 {
            bits = bits << 8 | part;
            (part, digits, dots) = (0, 0, dots + 1);
        } else if byte.is_ascii_digit() && (digits == 0 || part > 0) {
            part = part * 10 + u32::from(byte - b'0');
            digits += 1;
            if part > 255 {
                return None;
            }
        } else {
            return None;
        }
    }
    (dots == 3 && digits > 0).then(|| Ipv4Addr::from_bits(bits << 8 | part))
}

/// Groups that an address has.
const GROUPS: u32 = 8;

/// The address of hexadecimal groups, of which a run of zeros may be left out.
fn groups(text: &[u8]) -> Option<Ipv6Addr> {
    let (mut bits, mut count) = (0u128, 0);
    // What is before those left out, and how many groups that is.
    let mut first: Option<(u128, u32)> = None;
    let mut rest = text;
    if let Some(after) = text.strip_prefix(b"::") {
        (first, rest) = (Some((0, 0)), after);
    }
    while !rest.is_empty() {
        let (group, after) = group(rest)?;
        (bits, count) = (bits << 16 | u128::from(group), count + 1);
        rest = match after {
            [] => after,
            [b':', b':', after @ ..] if first.is_none() => {
                first = Some((std::mem::take(&mut bits), count));
                after
            }
            [b':', after @ ..] if !after.is_empty() && count < GROUPS => after,
            _ => return None,
        };
    }
    match first {
        None => (count == GROUPS).then(|| Ipv6Addr::from_bits(bits)),
        Some((first, before)) => {
            let first = first.checked_shl(16 * (GROUPS - before)).unwrap_or(0);
            (count < GROUPS).then(|| Ipv6Addr::from_bits(first | bits))
        }
    }
}

/// The number of one to four digits, and what is behind them.
fn group(text: &[u8]) -> Option<(u16, &[u8])> {
    let (mut number, mut digits) = (0, 0);
    for &byte in text {
        let digit = DIGITS[usize::from(byte)];
        if digit == NO_DIGIT {
            break;
        }
        if digits == 4 {
            return None;
        }
        (number, digits) = (number << 4 | u16::from(digit), digits + 1);
    }
    (digits > 0).then(|| (number, &text[digits..]))
}

const NO_DIGIT: u8 = u8::MAX;

/// What each byte is as a hexadecimal digit.
#[allow(clippy::cast_possible_truncation)] // of bytes
static DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digits[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a text is read as the standard library does; by our own if it is of a plain form.
    fn check(text: &str) {
        assert_eq!(parse(text), text.parse().ok(), "{text}");
    }

    #[test]
    fn parts_are_what_the_standard_library_says() {
        let parts =
            ["0", "1", "9", "10", "99", "100", "255", "256", "01", "00", "", "1000", "a", "-1"];
        for a in parts {
            for b in parts {
                check(&format!("{a}.{b}.1.2"));
                check(&format!("1.2.{a}.{b}"));
                check(&format!("{a}.{b}"));
                check(&format!("{a}.{b}.3"));
                check(&format!("{a}.{b}.3.4.5"));
                check(&format!("{a}.{b}.3."));
                check(&format!(".{a}.{b}.3"));
                check(&format!("{a}.{b}.3.4 "));
            }
        }
    }

    /// All texts of up to ten pieces of few kinds.
    #[test]
    fn groups_are_what_the_standard_library_says() {
        for length in 0..=10 {
            for number in 0..3_u32.pow(length) {
                let piece = |place| ["", "1", "abCD"][(number / 3_u32.pow(place) % 3) as usize];
                let text = (0..length).map(piece).collect::<Vec<_>>().join(":");
                check(&text);
            }
        }
        for text in ["12345::", "::g", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "fe80::1%eth0", " ::"] {
            check(text);
        }
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_they_are_written(address: IpAddr) {
            prop_assert_eq!(parse(&address.to_string()), Some(address));
        }

        #[test]
        fn texts_are_what_the_standard_library_says(text in "[0-9a-fA-F:.%]{0,40}|.{0,20}") {
            prop_assert_eq!(parse(&text), text.parse().ok());
        }
    }
}
