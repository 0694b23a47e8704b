//! Ethernet II headers (IEEE 802.3 §3, with a type in place of a length).

use net::MacAddr;
use thiserror::Error;

/// Length of the header in bytes: two addresses and a type.
pub const HEADER_LEN: usize = 14;
/// The type of frames that carry ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// The type of frames that carry IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;

/// A frame without preamble and check sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The station or group it is for.
    pub destination: MacAddr,
    /// The station that sent it.
    pub source: MacAddr,
    /// What the payload is: [`TYPE_ARP`], [`TYPE_IPV6`] or something else.
    pub ether_type: u16,
    /// What follows the header, padding included.
    pub payload: &'a [u8],
}

/// The frame ends before its header does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("frame of {0} bytes is shorter than an Ethernet header")]
pub struct FrameTooShort(pub usize);

impl<'a> Frame<'a> {
    /// Reads the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameTooShort> {
        let short = || FrameTooShort(bytes.len());
        let (destination, rest) = bytes.split_first_chunk::<6>().ok_or_else(short)?;
        let (source, rest) = rest.split_first_chunk::<6>().ok_or_else(short)?;
        let (ether_type, payload) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        Ok(Self {
            destination: MacAddr(*destination),
            source: MacAddr(*source),
            ether_type: u16::from_be_bytes(*ether_type),
            payload,
        })
    }

    /// The bytes as they go to the link. Short frames are not padded: the driver of the device does that.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.payload.len());
        bytes.extend_from_slice(&self.destination.0);
        bytes.extend_from_slice(&self.source.0);
        bytes.extend_from_slice(&self.ether_type.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_without_a_whole_header_is_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Frame::parse(&vec![0; len]), Err(FrameTooShort(len)));
        }
        assert!(Frame::parse(&[0; HEADER_LEN]).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_built_is_what_was_parsed(bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN..120)) {
            prop_assert_eq!(Frame::parse(&bytes).expect("long enough").build(), bytes);
        }
    }
}
