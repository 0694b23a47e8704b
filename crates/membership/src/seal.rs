//! Keeping strangers out: every packet is sealed with a key of the cluster's Secret.
//!
//! XChaCha20-Poly1305. The nonce is (incarnation, receiver, sequence): a life draws its incarnation at random and
//! counts its packets to each receiver, so none comes twice. The header is authenticated with the body.

use std::collections::BTreeSet;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::id::NodeId;
use crate::packet::{self, HEADER, Header, MAX_PACKET, Malformed, OLDEST_VERSION, Packet, VERSION};

/// What the key is for: no other use of the same Secret gives the same key.
const CONTEXT: &[u8] = b"metallb-rs membership 1\0";

/// Why received bytes are no packet for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The bytes are no packet.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No key that is accepted opens it.
    #[error(
        "no key opens the packet: the speakers' memberlist Secret differs between nodes, or somebody else sends to this port"
    )]
    Key,
    /// It is larger than any speaker sends.
    #[error("the packet is larger than {MAX_PACKET} bytes")]
    Oversized,
}

/// The keys of this node.
#[derive(Clone)]
pub struct Keyring {
    node: NodeId,
    /// The version of the protocol that is spoken.
    version: u8,
    current: XChaCha20Poly1305,
    former: Option<XChaCha20Poly1305>,
    /// Whether packets are sealed with the former key still, except to those who have shown the current one.
    holds_back: bool,
    /// Who has shown the current key while there is a former one.
    upgraded: BTreeSet<NodeId>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys do not belong into a log.
        f.debug_struct("Keyring").field("node", &self.node).finish_non_exhaustive()
    }
}

fn cipher(secret: &[u8]) -> XChaCha20Poly1305 {
    let key = Sha256::new().chain_update(CONTEXT).chain_update(secret).finalize();
    XChaCha20Poly1305::new(&key)
}

fn nonce(header: &Header, to: NodeId) -> XNonce {
    let mut bytes = [0; 24];
    let parts = [header.from.incarnation.0, to.0, header.sequence];
    for (chunk, part) in bytes.chunks_exact_mut(8).zip(parts) {
        chunk.copy_from_slice(&part.to_be_bytes());
    }
    XNonce::from(bytes)
}

impl Keyring {
    /// The keys of `node` under the Secret's value.
    pub fn new(node: NodeId, secret: &[u8]) -> Self {
        Self {
            node,
            version: VERSION,
            current: cipher(secret),
            former: None,
            holds_back: false,
            upgraded: BTreeSet::new(),
        }
    }

    /// The same for a node that speaks this version of the protocol, or the nearest one that this crate speaks: what it
    /// sends, and what it takes of others' packets, is as in the release that brought that version.
    #[must_use]
    pub fn speaking(self, version: u8) -> Self {
        Self { version: version.clamp(OLDEST_VERSION, VERSION), ..self }
    }

    /// The Secret has this value now. Packets under the one before are still accepted until [`Self::forget`]: the
    /// kubelets bring a changed Secret to the nodes one after the other, within about two minutes.
    ///
    /// A node that has the new value first is not understood by the others until they have it. It therefore goes on
    /// sealing with the former one until [`Self::switch`], except to nodes that have used the new one: those that were
    /// restarted meanwhile know no other.
    pub fn rotate(&mut self, secret: &[u8]) {
        let next = cipher(secret);
        // Sealing stays with `former`, where there is one; a second rotation before the end of the first replaces
        // what was not in use yet.
        if self.former.is_none() || !self.holds_back {
            self.former = Some(self.current.clone());
        }
        self.current = next;
        self.holds_back = true;
        self.upgraded.clear();
    }

    /// Every node has the latest value by now: it is used from here on. The former one is still accepted, because
    /// others may do this later.
    pub fn switch(&mut self) {
        self.holds_back = false;
    }

    /// Every node uses the latest value by now: only that counts.
    pub fn forget(&mut self) {
        self.former = None;
        self.holds_back = false;
        self.upgraded.clear();
    }

    /// The bytes of the packet.
    pub fn seal(&self, packet: &Packet) -> Vec<u8> {
        let header = Header { version: self.version, from: packet.from, sequence: packet.sequence };
        let mut bytes = Vec::with_capacity(256);
        packet::write_header(&header, &mut bytes);
        let mut body = Vec::with_capacity(256);
        packet::write_body(self.version, packet, &mut body);
        let former = self.former.as_ref().filter(|_| self.holds_back && !self.upgraded.contains(&packet.to));
        let key = former.unwrap_or(&self.current);
        let sealed = key
            .encrypt(&nonce(&header, packet.to), Payload { msg: &body, aad: &bytes })
            .expect("a packet is far below the cipher's limit");
        bytes.extend_from_slice(&sealed);
        bytes
    }

    /// The packet in those bytes, where a key opens it and it is for this node.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Packet, Rejected> {
        if bytes.len() > MAX_PACKET {
            return Err(Rejected::Oversized);
        }
        let (header, sealed) = packet::parse_header(bytes, self.version)?;
        let aad = bytes.get(..HEADER).ok_or(Malformed::Truncated)?;
        let nonce = nonce(&header, self.node);
        let open = |key: &XChaCha20Poly1305| key.decrypt(&nonce, Payload { msg: sealed, aad }).ok();
        let with_current = open(&self.current);
        let upgraded = self.former.is_some() && with_current.is_some();
        let body = with_current.or_else(|| self.former.as_ref().and_then(open)).ok_or(Rejected::Key)?;
        let packet = packet::parse_body(&header, &body)?;
        // The nonce has the receiver, so only a node that shares this one's identifier sealed it otherwise.
        if packet.to != self.node {
            return Err(Rejected::Key);
        }
        if upgraded {
            self.upgraded.insert(packet.from.node);
        }
        Ok(packet)
    }
}
