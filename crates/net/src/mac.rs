//! Ethernet MAC addresses.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A 48-bit Ethernet address, in the order of its bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The all-zero address: "unknown" in an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the address names a group of stations: the lowest bit of its first byte (IEEE 802-2014 §8.2).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A text that is not six colon-separated pairs of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid MAC address {0:?}: expected six hexadecimal bytes such as 02:00:5e:10:00:01")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(error)?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_as_the_same_address() {
        let mac = MacAddr([0x02, 0, 0x5e, 0xab, 0, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in
            ["", "02:00", "02:00:5e:10:00:01:02", "2:0:5e:10:0:1", "02-00-5e-10-00-01", "+2:00:5e:10:00:01"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?} was accepted");
        }
    }
}
