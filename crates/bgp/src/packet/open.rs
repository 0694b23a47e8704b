//! OPEN: who a speaker is, and what it is able to do (RFC 4271 §4.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+
//! |  version (4)  |
//! +---------------+---------------+
//! |             AS                |
//! +-------------------------------+
//! |        hold time, s           |
//! +-------------------------------+-------------------------------+
//! |                       BGP identifier                          |
//! +---------------+-----------------------------------------------+
//! | params length |   { type (1)  length (1)  value } …
//! +---------------+
//!
//! with more than 255 bytes of parameters (RFC 9072):
//! +---------------+---------------+-------------------------------+
//! |      255      |      255      |        params length          |
//! +---------------+---------------+-------------------------------+
//! |   { type (1)  length (2)  value } …
//! ```

use std::net::Ipv4Addr;

use thiserror::Error;

use super::capability::Capability;
use super::code::ErrorCode;
use super::notification::Notification;
use super::reader::Reader;
use super::{AS_TRANS, HEADER_LEN, MAX_MESSAGE, MessageType, fill_length, finish, header};

const VERSION: u8 = 4;
const PARAMETER_CAPABILITIES: u8 = 2;
const EXTENDED: u8 = 255;

/// An OPEN message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    /// The AS number in two bytes; see [`asn`](Self::asn).
    pub my_as: u16,
    /// The hold time that is proposed, in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// The BGP identifier, not 0.
    pub identifier: Ipv4Addr,
    /// The capabilities, in the order of the message.
    pub capabilities: Vec<Capability>,
}

/// Why an OPEN is refused, whatever session it is for (RFC 4271 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The message ends too early, or a length in it is wrong.
    #[error("the OPEN cannot be read: a length in it is wrong")]
    Malformed,
    /// Not BGP-4.
    #[error("the OPEN is of BGP version {0}, not 4")]
    Version(u8),
    /// AS number 0 (RFC 7607).
    #[error("the OPEN says AS 0, which nobody has")]
    AsZero,
    /// An identifier of 0 (RFC 6286).
    #[error("the OPEN has the BGP identifier 0.0.0.0: give the router an ID")]
    Identifier,
    /// 1 or 2 s.
    #[error("the OPEN proposes a hold time of {0} s; it must be 0 or at least 3 s")]
    HoldTime(u16),
    /// An optional parameter that is not of capabilities.
    #[error("the OPEN has an optional parameter of type {0}, which is not supported")]
    Parameter(u8),
    /// A capability of a wrong length.
    #[error("the capability {0} in the OPEN has a wrong length")]
    Capability(u8),
}

impl OpenError {
    /// What is told to the sender.
    pub fn notification(&self) -> Notification {
        let code = match self {
            Self::Malformed | Self::Capability(_) => ErrorCode::OPEN_UNSPECIFIC,
            Self::Version(_) => {
                let supported = u16::from(VERSION).to_be_bytes();
                return Notification::with_data(ErrorCode::UNSUPPORTED_VERSION, &supported);
            }
            Self::AsZero => ErrorCode::BAD_PEER_AS,
            Self::Identifier => ErrorCode::BAD_BGP_IDENTIFIER,
            Self::HoldTime(_) => ErrorCode::UNACCEPTABLE_HOLD_TIME,
            Self::Parameter(_) => ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER,
        };
        Notification::new(code)
    }
}

impl Open {
    /// An OPEN of a speaker of this AS. Where `capabilities` has [`Capability::FourOctetAs`], that decides.
    pub fn new(asn: u32, hold_time: u16, identifier: Ipv4Addr, capabilities: Vec<Capability>) -> Self {
        Self { my_as: u16::try_from(asn).unwrap_or(AS_TRANS), hold_time, identifier, capabilities }
    }

    /// The AS number: that of four bytes where there is one (RFC 6793).
    pub fn asn(&self) -> u32 {
        self.four_octet_as().unwrap_or(u32::from(self.my_as))
    }

    /// The AS number of the capability for those of four bytes.
    pub fn four_octet_as(&self) -> Option<u32> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// Whether the capability is there in exactly this form.
    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// Reads the body of a message: all that follows the header.
    pub fn parse(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or(OpenError::Malformed)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let open = Self::parse_fields(&mut reader)?;
        if open.my_as == 0 || open.asn() == 0 {
            return Err(OpenError::AsZero);
        }
        if open.identifier.is_unspecified() {
            return Err(OpenError::Identifier);
        }
        if let hold_time @ 1..=2 = open.hold_time {
            return Err(OpenError::HoldTime(hold_time));
        }
        Ok(open)
    }

    fn parse_fields(reader: &mut Reader<'_>) -> Result<Self, OpenError> {
        let mut fixed = || Some((reader.u16()?, reader.u16()?, reader.u32()?, reader.u8()?));
        let (my_as, hold_time, identifier, length) = fixed().ok_or(OpenError::Malformed)?;
        let mut parameters = Reader::new(reader.rest());
        // Told by the type alone; the length before it is only to be not 0 (RFC 9072 §2).
        let extended = length != 0 && parameters.u8() == Some(EXTENDED);
        let length = if extended {
            parameters.u16().map(usize::from).ok_or(OpenError::Malformed)?
        } else {
            parameters = *reader;
            usize::from(length)
        };
        if parameters.rest().len() != length {
            return Err(OpenError::Malformed);
        }
        let mut capabilities = Vec::new();
        while let Some(kind) = parameters.u8() {
            let length =
                if extended { parameters.u16().map(usize::from) } else { parameters.u8().map(usize::from) };
            let value = length.and_then(|length| parameters.take(length)).ok_or(OpenError::Malformed)?;
            if kind != PARAMETER_CAPABILITIES {
                return Err(OpenError::Parameter(kind));
            }
            parse_capabilities(value, &mut capabilities)?;
        }
        Ok(Self { my_as, hold_time, identifier: Ipv4Addr::from_bits(identifier), capabilities })
    }

    /// The whole message, header included. Capabilities are one optional parameter; those beyond 4,096 bytes are left
    /// out, which no set of capabilities that exists comes near.
    pub fn build(&self) -> Vec<u8> {
        const FIXED: usize = HEADER_LEN + 10;
        const EXTENDED_OVERHEAD: usize = 6;
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let end = capabilities.len();
            capability.put(&mut capabilities);
            if capabilities.len() > MAX_MESSAGE - FIXED - EXTENDED_OVERHEAD {
                capabilities.truncate(end);
            }
        }
        let mut message = header(MessageType::Open);
        message.push(VERSION);
        message.extend(self.my_as.to_be_bytes());
        message.extend(self.hold_time.to_be_bytes());
        message.extend(self.identifier.octets());
        // The parameter's own header has two bytes.
        match u8::try_from(capabilities.len() + 2) {
            Ok(2) => message.push(0),
            Ok(length) if length < EXTENDED => {
                message.extend([length, PARAMETER_CAPABILITIES, length - 2]);
                message.extend(capabilities);
            }
            _ => {
                message.extend([EXTENDED, EXTENDED, 0, 0, PARAMETER_CAPABILITIES, 0, 0]);
                let start = message.len();
                message.extend(capabilities);
                fill_length(&mut message, start - 5, start - 3);
                fill_length(&mut message, start - 2, start);
            }
        }
        finish(message)
    }
}

fn parse_capabilities(value: &[u8], capabilities: &mut Vec<Capability>) -> Result<(), OpenError> {
    let mut reader = Reader::new(value);
    while let Some(code) = reader.u8() {
        let value = reader.u8().and_then(|length| reader.take(usize::from(length)));
        let value = value.ok_or(OpenError::Malformed)?;
        let capability = Capability::parse(code, value).map_err(|bad| OpenError::Capability(bad.code))?;
        capabilities.push(capability);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(open: &Open) -> Vec<u8> {
        open.build().split_off(HEADER_LEN)
    }

    fn plain() -> Open {
        Open::new(64_512, 180, Ipv4Addr::new(192, 0, 2, 1), vec![Capability::RouteRefresh])
    }

    #[test]
    fn what_is_wrong_with_an_open_leads_to_the_right_notification() {
        let cases: [(usize, &[u8], Notification); 9] = [
            (0, &[3], Notification::with_data(ErrorCode::UNSUPPORTED_VERSION, &[0, 4])),
            (1, &[0, 0], Notification::new(ErrorCode::BAD_PEER_AS)),
            (3, &[0, 2], Notification::new(ErrorCode::UNACCEPTABLE_HOLD_TIME)),
            (5, &[0; 4], Notification::new(ErrorCode::BAD_BGP_IDENTIFIER)),
            (9, &[3], Notification::new(ErrorCode::OPEN_UNSPECIFIC)),
            (9, &[5], Notification::new(ErrorCode::OPEN_UNSPECIFIC)),
            (10, &[1], Notification::new(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER)),
            (11, &[9], Notification::new(ErrorCode::OPEN_UNSPECIFIC)),
            // A capability for four-octet AS numbers that has none.
            (12, &[65], Notification::new(ErrorCode::OPEN_UNSPECIFIC)),
        ];
        for (at, wrong, notification) in cases {
            let mut bytes = body(&plain());
            assert_eq!(Open::parse(&bytes).as_ref(), Ok(&plain()));
            bytes.splice(at..at + wrong.len(), wrong.iter().copied());
            let error = Open::parse(&bytes).expect_err("spoiled");
            assert_eq!(error.notification(), notification, "{wrong:?} at {at}: {error}");
        }
    }

    #[test]
    fn an_as_number_of_four_bytes_is_told_by_the_capability_and_never_zero() {
        let open = |asn| Open::new(70_000, 9, Ipv4Addr::LOCALHOST, vec![Capability::FourOctetAs(asn)]);
        assert_eq!((open(70_000).my_as, open(70_000).asn()), (AS_TRANS, 70_000));
        assert_eq!(Open::parse(&body(&open(0))), Err(OpenError::AsZero));
    }

    #[test]
    fn parameters_of_the_extended_form_are_read_and_written_where_they_are_long() {
        let value = vec![7; 200];
        let capabilities = vec![Capability::Unknown { code: 99, value }; 3];
        let open = Open { capabilities, ..plain() };
        let bytes = body(&open);
        assert_eq!(bytes.get(9..11), Some(&[EXTENDED, EXTENDED][..]));
        assert_eq!(Open::parse(&bytes), Ok(open));
        // The same form with little in it, and a length before it that is not 255.
        let mut short = body(&plain());
        short.splice(9.., [1, EXTENDED, 0, 5, PARAMETER_CAPABILITIES, 0, 2, 2, 0]);
        assert_eq!(Open::parse(&short), Ok(plain()));
    }
}
