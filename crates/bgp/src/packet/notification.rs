//! NOTIFICATION: why a session ends (RFC 4271 §4.5).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |  error code   |    subcode    |   data (variable)             |
//! +---------------+---------------+-------------------------------+
//!
//! data of an administrative shutdown or reset (RFC 9003):
//! +---------------+-----------------------------------------------+
//! |  length       |   what the operator says, UTF-8               |
//! +---------------+-----------------------------------------------+
//!
//! data of a Hard Reset (RFC 8538):
//! +---------------+---------------+-------------------------------+
//! |  error code   |    subcode    |   data of that error          |
//! +---------------+---------------+-------------------------------+
//! ```

use std::fmt;

use super::code::ErrorCode;
use super::reader::Reader;

/// The longest shutdown communication, in bytes (RFC 9003).
pub const MAX_COMMUNICATION: usize = 255;

/// The longest data that is sent: the whole message stays within 4,096 bytes.
const MAX_DATA: usize = super::MAX_MESSAGE - super::HEADER_LEN - 2;

/// The end of a session, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The error.
    pub error: ErrorCode,
    /// What helps to find the cause; its form depends on the error.
    pub data: Vec<u8>,
}

impl Notification {
    /// An error with nothing further to say.
    pub fn new(error: ErrorCode) -> Self {
        Self { error, data: Vec::new() }
    }

    /// An error with data; what would not fit a message is cut off.
    pub fn with_data(error: ErrorCode, data: &[u8]) -> Self {
        let (data, _) = data.split_at_checked(MAX_DATA).unwrap_or((data, &[]));
        Self { error, data: data.to_vec() }
    }

    /// An administrative shutdown or reset with a word of the operator (RFC 9003), of which at most
    /// [`MAX_COMMUNICATION`] bytes are said.
    pub fn with_communication(error: ErrorCode, text: &str) -> Self {
        let end = text.floor_char_boundary(MAX_COMMUNICATION);
        let text = text.get(..end).unwrap_or_default();
        let mut data = Vec::with_capacity(text.len() + 1);
        if !text.is_empty() {
            // At most 255, as cut above.
            data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            data.extend_from_slice(text.as_bytes());
        }
        Self { error, data }
    }

    /// The same error as a Hard Reset: a peer that negotiated it keeps no routes (RFC 8538 §3).
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut data = vec![self.error.code, self.error.subcode];
        data.extend_from_slice(&self.data);
        Self::with_data(ErrorCode::HARD_RESET, &data)
    }

    /// The error that a Hard Reset carries; for other notifications, themselves.
    #[must_use]
    pub fn inner(&self) -> Self {
        let mut reader = Reader::new(&self.data);
        match (self.error, reader.u8(), reader.u8()) {
            (ErrorCode::HARD_RESET, Some(code), Some(subcode)) => {
                Self { error: ErrorCode::new(code, subcode), data: reader.rest().to_vec() }
            }
            _ => self.clone(),
        }
    }

    /// What the peer's operator says with a shutdown or reset: one line of printable text (RFC 9003).
    pub fn communication(&self) -> Option<String> {
        if ![ErrorCode::ADMINISTRATIVE_SHUTDOWN, ErrorCode::ADMINISTRATIVE_RESET].contains(&self.error) {
            return None;
        }
        let mut reader = Reader::new(&self.data);
        let length = reader.u8().filter(|length| *length > 0)?;
        let text = reader.take(usize::from(length))?;
        // It goes to logs and terminals: control characters have no business there.
        let text: String =
            String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(text)
    }

    /// Reads the body of a message: all that follows the header.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let error = ErrorCode::new(reader.u8()?, reader.u8()?);
        Some(Self { error, data: reader.rest().to_vec() })
    }

    /// The whole message, header included.
    pub fn build(&self) -> Vec<u8> {
        let mut message = super::header(super::MessageType::Notification);
        message.extend([self.error.code, self.error.subcode]);
        let (data, _) = self.data.split_at_checked(MAX_DATA).unwrap_or((&self.data, &[]));
        message.extend_from_slice(data);
        super::finish(message)
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        write!(f, "{}", inner.error)?;
        if let Some(text) = inner.communication() {
            write!(f, ", with the words \u{201c}{text}\u{201d}")?;
        }
        if self.error == ErrorCode::HARD_RESET { f.write_str(" (hard reset)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_communication_is_cut_between_characters_and_read_back() {
        let long = "é".repeat(200);
        let notification = Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, &long);
        assert_eq!(notification.data.len(), 1 + 254);
        assert_eq!(notification.communication(), Some("é".repeat(127)));
    }

    #[test]
    fn what_is_no_shutdown_communication_is_not_shown_as_one() {
        for (error, data) in [
            (ErrorCode::ADMINISTRATIVE_SHUTDOWN, vec![]),
            (ErrorCode::ADMINISTRATIVE_SHUTDOWN, vec![0]),
            (ErrorCode::ADMINISTRATIVE_SHUTDOWN, vec![9, b'x']),
            (ErrorCode::BAD_PEER_AS, vec![1, b'x']),
        ] {
            assert_eq!(Notification { error, data }.communication(), None);
        }
    }

    #[test]
    fn control_characters_of_a_peer_do_not_reach_the_log() {
        let notification =
            Notification { error: ErrorCode::ADMINISTRATIVE_RESET, data: vec![4, b'a', 0x1b, b'\n', 0xff] };
        assert_eq!(notification.communication().as_deref(), Some("a  \u{fffd}"));
    }

    #[test]
    fn notifications_say_what_they_mean_in_words() {
        let shutdown = Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, "node drain");
        for (notification, words) in [
            (Notification::new(ErrorCode::BAD_PEER_AS), "OPEN error, bad peer AS"),
            (Notification::new(ErrorCode::new(2, 77)), "OPEN error, subcode 77"),
            (Notification::new(ErrorCode::new(99, 1)), "error code 99 subcode 1"),
            (shutdown.clone(), "Cease, administrative shutdown, with the words “node drain”"),
            (
                shutdown.into_hard_reset(),
                "Cease, administrative shutdown, with the words “node drain” (hard reset)",
            ),
        ] {
            assert_eq!(notification.to_string(), words);
        }
    }
}
