//! ROUTE-REFRESH: a request for all routes of a family (RFC 2918), and where they begin and end (RFC 7313).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+---------------+---------------+
//! |             AFI               |    subtype    |     SAFI      |
//! +-------------------------------+---------------+---------------+
//! ```

use thiserror::Error;

use super::code::ErrorCode;
use super::family::AfiSafi;
use super::notification::Notification;
use super::{HEADER_LEN, LENGTH, MAX_MESSAGE, MessageType, finish, header};

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// Of which routes it speaks.
    pub family: AfiSafi,
    /// What it says of them.
    pub subtype: Subtype,
}

/// What a ROUTE-REFRESH says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subtype {
    /// "Send me all your routes."
    Request,
    /// "All my routes follow" (BoRR).
    Begin,
    /// "These were all my routes" (EoRR).
    End,
    /// Something else, to be ignored.
    Unknown(u8),
}

/// Why a ROUTE-REFRESH is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a ROUTE-REFRESH of {length} bytes instead of 4")]
pub struct RefreshError {
    /// The length of the body.
    length: usize,
    /// As much of the body as fits an answer.
    start: Vec<u8>,
}

impl RefreshError {
    /// What is told to the sender: the whole message is returned (RFC 7313 §5).
    pub fn notification(&self) -> Notification {
        let mut message = header(MessageType::RouteRefresh);
        let length = u16::try_from(HEADER_LEN + self.length).unwrap_or(u16::MAX);
        message.splice(LENGTH, length.to_be_bytes());
        message.extend_from_slice(&self.start);
        Notification::with_data(ErrorCode::INVALID_REFRESH_LENGTH, &message)
    }
}

impl RouteRefresh {
    /// Reads the body of a message: all that follows the header.
    pub fn parse(body: &[u8]) -> Result<Self, RefreshError> {
        let &[high, low, subtype, safi] = body else {
            let start = body.iter().copied().take(MAX_MESSAGE).collect();
            return Err(RefreshError { length: body.len(), start });
        };
        let subtype = match subtype {
            0 => Subtype::Request,
            1 => Subtype::Begin,
            2 => Subtype::End,
            other => Subtype::Unknown(other),
        };
        Ok(Self { family: AfiSafi { afi: u16::from_be_bytes([high, low]), safi }, subtype })
    }

    /// The whole message, header included.
    pub fn build(&self) -> Vec<u8> {
        let subtype = match self.subtype {
            Subtype::Request => 0,
            Subtype::Begin => 1,
            Subtype::End => 2,
            Subtype::Unknown(other) => other,
        };
        let mut message = header(MessageType::RouteRefresh);
        message.extend(self.family.afi.to_be_bytes());
        message.extend([subtype, self.family.safi]);
        finish(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_a_wrong_length_is_returned_to_its_sender() {
        let error = RouteRefresh::parse(&[0, 1, 0]).expect_err("short");
        let notification = error.notification();
        assert_eq!(notification.error, ErrorCode::INVALID_REFRESH_LENGTH);
        assert_eq!(notification.data.len(), 19 + 3);
        assert_eq!(notification.data.get(16..), Some(&[0, 22, 5, 0, 1, 0][..]));
    }
}
