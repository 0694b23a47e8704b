//! Messages cut out of the bytes of a connection, however the network fragments them.

use thiserror::Error;

use super::code::ErrorCode;
use super::notification::Notification;
use super::reader::Reader;
use super::{HEADER_LEN, MAX_MESSAGE, MessageType};

/// Why bytes are no BGP message (RFC 4271 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The first 16 bytes are not all ones.
    #[error("the marker of a message is not all ones: what comes is no BGP, or bytes were lost")]
    Marker,
    /// No message of this type is so long or short.
    #[error("a message of type {kind} cannot be {length} bytes long")]
    Length {
        /// The length field.
        length: u16,
        /// The type field.
        kind: u8,
    },
    /// No such type.
    #[error("there is no message of type {0}")]
    Type(u8),
}

impl HeaderError {
    /// What is told to the sender.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Marker => Notification::new(ErrorCode::NOT_SYNCHRONIZED),
            Self::Length { length, .. } => {
                Notification::with_data(ErrorCode::BAD_LENGTH, &length.to_be_bytes())
            }
            Self::Type(kind) => Notification::with_data(ErrorCode::BAD_TYPE, &[*kind]),
        }
    }
}

/// One message: its type, and what follows the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: MessageType,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// The bytes of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Stream {
    bytes: Vec<u8>,
    /// How many of `bytes` were given out.
    taken: usize,
    limit: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self { bytes: Vec::new(), taken: 0, limit: MAX_MESSAGE }
    }
}

impl Stream {
    /// A connection of which nothing came yet, with messages of up to 4,096 bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on messages may have so many bytes (RFC 8654).
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes in what came. Memory stays bounded where [`next`](Self::next) is then called until it has no more: what
    /// is left is less than one message.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come. The header is judged as soon as it is there. After an
    /// error there is nothing to be had any more.
    #[expect(clippy::should_implement_trait, reason = "that it gives `None` now does not mean that it ends")]
    pub fn next(&mut self) -> Result<Option<Frame>, HeaderError> {
        let mut reader = Reader::new(self.bytes.get(self.taken..).unwrap_or_default());
        let (Some(marker), Some(length), Some(kind)) = (reader.array::<16>(), reader.u16(), reader.u8())
        else {
            return Ok(None);
        };
        if marker != [0xff; 16] {
            return Err(HeaderError::Marker);
        }
        let bad_length = HeaderError::Length { length, kind };
        let whole = usize::from(length);
        if whole < HEADER_LEN || whole > self.limit {
            return Err(bad_length);
        }
        let kind = MessageType::of(kind).ok_or(HeaderError::Type(kind))?;
        if whole < kind.shortest() || whole > kind.longest(self.limit) {
            return Err(bad_length);
        }
        let Some(body) = reader.take(whole - HEADER_LEN) else { return Ok(None) };
        let frame = Frame { kind, body: body.to_vec() };
        self.taken += whole;
        if self.taken == self.bytes.len() {
            // An idle connection holds no memory.
            *self = Self { limit: self.limit, ..Self::default() };
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{finish, header, keepalive};
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Frame>, HeaderError> {
        let mut stream = Stream::new();
        stream.push(bytes);
        stream.next()
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let mut update = header(MessageType::Update);
        update.extend([0; 4]);
        let bytes: Vec<u8> = [keepalive(), finish(update), keepalive()].concat();
        for size in 1..=bytes.len() {
            let (mut stream, mut kinds) = (Stream::new(), Vec::new());
            for part in bytes.chunks(size) {
                stream.push(part);
                while let Some(frame) = stream.next().expect("valid") {
                    kinds.push(frame.kind);
                }
            }
            assert_eq!(kinds, [MessageType::Keepalive, MessageType::Update, MessageType::Keepalive]);
        }
    }

    #[test]
    fn bad_headers_are_told_apart_with_the_data_that_the_rfc_asks_for() {
        let with = |length: u16, kind: u8| {
            let mut bytes = vec![0xff; 16];
            bytes.extend(length.to_be_bytes());
            bytes.push(kind);
            bytes
        };
        let marker = with(19, 4).into_iter().map(|byte| byte & 0x7f).collect();
        for (bytes, code, data) in [
            (marker, ErrorCode::NOT_SYNCHRONIZED, vec![]),
            (with(18, 4), ErrorCode::BAD_LENGTH, vec![0, 18]),
            (with(20, 4), ErrorCode::BAD_LENGTH, vec![0, 20]),
            (with(28, 1), ErrorCode::BAD_LENGTH, vec![0, 28]),
            (with(22, 2), ErrorCode::BAD_LENGTH, vec![0, 22]),
            (with(20, 3), ErrorCode::BAD_LENGTH, vec![0, 20]),
            (with(4_097, 2), ErrorCode::BAD_LENGTH, vec![0x10, 0x01]),
            (with(19, 0), ErrorCode::BAD_TYPE, vec![0]),
            (with(19, 6), ErrorCode::BAD_TYPE, vec![6]),
        ] {
            let notification = first(&bytes).expect_err("bad").notification();
            assert_eq!(notification, Notification { error: code, data });
        }
    }

    #[test]
    fn only_updates_and_the_like_may_be_long_where_long_messages_were_negotiated() {
        let mut stream = Stream::new();
        stream.set_limit(super::super::MAX_EXTENDED_MESSAGE);
        let mut long = header(MessageType::Update);
        long.resize(5_000, 0);
        let long = finish(long);
        stream.push(&long);
        assert_eq!(stream.next().expect("valid").map(|frame| frame.body.len()), Some(5_000 - HEADER_LEN));
        let mut open = header(MessageType::Open);
        open.resize(5_000, 0);
        stream.push(&finish(open));
        assert!(stream.next().is_err());
    }
}
