//! Prefixes, as UPDATE messages list them (RFC 4271 §4.3, RFC 4760 §5).
//!
//! ```text
//! +---------------+-------------------------------------------+
//! | length, bits  |  as many bytes as the length needs        |
//! +---------------+-------------------------------------------+
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::Family;

use super::reader::Reader;

/// A list of prefixes cannot be read: one is too long, or the list ends within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPrefix;

/// Reads a list of prefixes; bits beyond a prefix's length mean nothing and become zero.
pub(crate) fn parse(family: Family, bytes: &[u8]) -> Result<Vec<IpNet>, BadPrefix> {
    let mut reader = Reader::new(bytes);
    let mut prefixes = Vec::with_capacity(bytes.len() / 5);
    while let Some(length) = reader.u8() {
        let bytes = reader.take(usize::from(length).div_ceil(8)).ok_or(BadPrefix)?;
        prefixes.push(prefix(family, length, bytes).ok_or(BadPrefix)?);
    }
    Ok(prefixes)
}

fn prefix(family: Family, length: u8, bytes: &[u8]) -> Option<IpNet> {
    let net = match family {
        Family::V4 => {
            let mut octets = [0; 4];
            octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from(octets), length).ok()?)
        }
        Family::V6 => {
            let mut octets = [0; 16];
            octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from(octets), length).ok()?)
        }
    };
    Some(net.trunc())
}

/// Appends a prefix to a list.
pub(crate) fn put(out: &mut Vec<u8>, prefix: &IpNet) {
    let bytes = usize::from(prefix.prefix_len()).div_ceil(8);
    out.push(prefix.prefix_len());
    match prefix.trunc() {
        IpNet::V4(net) => out.extend(net.addr().octets().into_iter().take(bytes)),
        IpNet::V6(net) => out.extend(net.addr().octets().into_iter().take(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_take_as_few_bytes_as_their_length_needs() {
        for (text, bytes) in [
            ("0.0.0.0/0", vec![0]),
            ("10.0.0.0/8", vec![8, 10]),
            ("192.0.2.128/25", vec![25, 192, 0, 2, 128]),
            ("2001:db8::/33", vec![33, 0x20, 0x01, 0x0d, 0xb8, 0]),
        ] {
            let prefix: IpNet = text.parse().expect("a prefix");
            let mut out = Vec::new();
            put(&mut out, &prefix);
            assert_eq!(out, bytes);
            assert_eq!(parse(Family::of(prefix.addr()), &bytes), Ok(vec![prefix]));
        }
    }

    #[test]
    fn lists_with_too_long_or_broken_prefixes_are_refused_and_stray_bits_ignored() {
        for (family, bytes) in [
            (Family::V4, &[33, 1, 2, 3, 4, 5][..]),
            (Family::V4, &[32, 1, 2, 3]),
            (Family::V4, &[255]),
            (Family::V6, &[129]),
            (Family::V6, &[64, 1, 2, 3, 4, 5, 6, 7]),
        ] {
            assert_eq!(parse(family, bytes), Err(BadPrefix), "{bytes:?}");
        }
        let net: IpNet = "10.128.0.0/9".parse().expect("a prefix");
        assert_eq!(parse(Family::V4, &[9, 10, 0xff]), Ok(vec![net]));
    }
}
