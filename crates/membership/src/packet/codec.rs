//! Bytes of packets. The parser is total: any bytes give a packet or a reason, and no list exceeds its bound.

use std::net::IpAddr;

use net::MacAddr;

use super::{
    Ack, Beat, Body, Change, Electorate, Flags, HEADER, Header, Incarnation, Life, LinkId, MAX_EPOCHS,
    MAX_LINKS, MAX_LIST, MAX_MACS, MAX_VOTERS, MAX_WATCHERS, NodeId, OLDEST_VERSION, Packet, Sync, Vote,
};

const MAGIC: [u8; 2] = *b"ML";
const BEAT: u8 = 1;
const ACK: u8 = 2;
const VOTE: u8 = 3;
const HOLDING: u8 = 4;
const DRAINING: u8 = 1;
const FOUNDING: u8 = 2;
/// From this version on a heartbeat ends with hardware addresses.
const WITH_MACS: u8 = 2;
/// The longest time between heartbeats that a packet may claim, in milliseconds.
const MAX_SPAN: u32 = 60_000;

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within a field.
    #[error("the packet is truncated")]
    Truncated,
    /// It is of another protocol.
    #[error("the packet is not one of the membership protocol")]
    Foreign,
    /// It is of a version that this speaker does not speak: more than one release lies between the two.
    #[error(
        "the packet has protocol version {version}, this speaker understands {OLDEST_VERSION} to {latest}: update one release at a time"
    )]
    Version {
        /// Its version.
        version: u8,
        /// The latest that is understood.
        latest: u8,
    },
    /// A field has a value that no speaker sends.
    #[error("the field {0} of the packet has a value outside its bounds")]
    Field(&'static str),
}

/// Reads the header, as a speaker of version `speaks` does, and returns what follows it. The version in it is one that
/// this speaker knows the fields of.
pub fn parse_header(bytes: &[u8], speaks: u8) -> Result<(Header, &[u8]), Malformed> {
    let mut r = Reader(bytes);
    if r.take::<2>()? != MAGIC {
        return Err(Malformed::Foreign);
    }
    let version = r.u8()?;
    // The next version only adds at the end: what is known of it can be read.
    let latest = speaks.saturating_add(1);
    if !(OLDEST_VERSION..=latest).contains(&version) {
        return Err(Malformed::Version { version, latest });
    }
    r.u8()?;
    let header = Header { version: version.min(speaks), from: r.life()?, sequence: r.u64()? };
    Ok((header, r.0))
}

/// Appends the header.
pub fn write_header(header: &Header, out: &mut Vec<u8>) {
    out.reserve(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[header.version, 0]);
    put_life(out, header.from);
    out.extend_from_slice(&header.sequence.to_be_bytes());
}

/// Reads what was sealed, into the packet with that header.
pub fn parse_body(header: &Header, bytes: &[u8]) -> Result<Packet, Malformed> {
    let mut r = Reader(bytes);
    let to = NodeId(r.u64()?);
    let link = LinkId(r.u32()?);
    let echo = match r.u8()? {
        0 => None,
        1 => Some((Incarnation(r.u64()?), r.u64()?)),
        _ => return Err(Malformed::Field("echo")),
    };
    let bits = r.u8()?;
    let flags = Flags { draining: bits & DRAINING != 0, founding: bits & FOUNDING != 0 };
    let chain = r.list(MAX_EPOCHS, "chain", |r| {
        let (revision, speakers) = (r.u64()?, r.u16()?);
        let voters = r.list(MAX_VOTERS, "voters", |r| r.u64().map(NodeId))?;
        if !voters.is_sorted_by(|a, b| a < b) || voters.is_empty() {
            return Err(Malformed::Field("voters"));
        }
        Ok(Electorate { revision, speakers, voters })
    })?;
    if !chain.is_sorted_by(|a, b| a.revision < b.revision) {
        return Err(Malformed::Field("chain"));
    }
    let body = match r.u8()? {
        BEAT => Body::Beat(r.beat(header.version)?),
        ACK => Body::Ack(r.ack()?),
        VOTE => Body::Vote(Vote { down: r.life()?, watch: r.u32()?, watchers: r.watchers()? }),
        HOLDING => Body::Holding(r.list(MAX_LIST, "holding", Reader::address)?),
        _ => return Err(Malformed::Field("kind")),
    };
    Ok(Packet { from: header.from, sequence: header.sequence, to, link, echo, flags, chain, body })
}

/// Appends what is to be sealed, as a speaker of that version writes it.
pub fn write_body(version: u8, packet: &Packet, out: &mut Vec<u8>) {
    out.extend_from_slice(&packet.to.0.to_be_bytes());
    out.extend_from_slice(&packet.link.0.to_be_bytes());
    match packet.echo {
        None => out.push(0),
        Some((incarnation, sequence)) => {
            out.push(1);
            out.extend_from_slice(&incarnation.0.to_be_bytes());
            out.extend_from_slice(&sequence.to_be_bytes());
        }
    }
    let Flags { draining, founding } = packet.flags;
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(bit(draining, DRAINING) | bit(founding, FOUNDING));
    put_list(out, &packet.chain, |out, epoch| {
        out.extend_from_slice(&epoch.revision.to_be_bytes());
        out.extend_from_slice(&epoch.speakers.to_be_bytes());
        put_list(out, &epoch.voters, |out, node| out.extend_from_slice(&node.0.to_be_bytes()));
    });
    match &packet.body {
        Body::Beat(beat) => put_beat(version, beat, out),
        Body::Ack(ack) => put_ack(out, ack),
        Body::Vote(vote) => {
            out.push(VOTE);
            put_life(out, vote.down);
            out.extend_from_slice(&vote.watch.to_be_bytes());
            put_list(out, &vote.watchers, |out, life| put_life(out, *life));
        }
        Body::Holding(addresses) => {
            out.push(HOLDING);
            put_list(out, addresses, |out, address| put_address(out, *address));
        }
    }
}

fn put_beat(version: u8, beat: &Beat, out: &mut Vec<u8>) {
    out.push(BEAT);
    out.extend_from_slice(&beat.interval.to_be_bytes());
    out.extend_from_slice(&beat.span.to_be_bytes());
    out.extend_from_slice(&beat.watch.to_be_bytes());
    put_list(out, &beat.watchers, |out, life| put_life(out, *life));
    put_list(out, &beat.links, |out, (link, leased)| {
        out.extend_from_slice(&link.0.to_be_bytes());
        out.push(u8::from(*leased));
    });
    match &beat.sync {
        None => out.push(0),
        Some(sync) => put_sync(out, sync),
    }
    if version >= WITH_MACS {
        put_list(out, &beat.macs, |out, mac| out.extend_from_slice(&mac.0));
    }
}

fn put_sync(out: &mut Vec<u8>, sync: &Sync) {
    out.push(1);
    for number in [sync.generation, sync.base, sync.upto] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    put_list(out, &sync.changes, |out, change| {
        out.push(u8::from(change.wanted));
        put_address(out, change.address);
    });
    put_list(out, &sync.again, |out, address| put_address(out, *address));
}

fn put_ack(out: &mut Vec<u8>, ack: &Ack) {
    out.push(ACK);
    // Sequences start at 1.
    for number in [ack.of.unwrap_or(0), ack.generation, ack.version] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&ack.voted.to_be_bytes());
    put_list(out, &ack.refused, |out, (address, node)| {
        put_address(out, *address);
        out.extend_from_slice(&node.0.to_be_bytes());
    });
    put_list(out, &ack.granted, |out, address| put_address(out, *address));
}

fn put_life(out: &mut Vec<u8>, life: Life) {
    out.extend_from_slice(&life.node.0.to_be_bytes());
    out.extend_from_slice(&life.incarnation.0.to_be_bytes());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    let count = u8::try_from(items.len()).expect("every list of a packet is bounded below 256");
    out.push(count);
    for item in items {
        put(out, item);
    }
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Field(name)),
        }
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    fn life(&mut self) -> Result<Life, Malformed> {
        Ok(Life { node: NodeId(self.u64()?), incarnation: Incarnation(self.u64()?) })
    }

    fn address(&mut self) -> Result<IpAddr, Malformed> {
        match self.u8()? {
            4 => self.take::<4>().map(IpAddr::from),
            6 => self.take::<16>().map(IpAddr::from),
            _ => Err(Malformed::Field("address")),
        }
    }

    fn list<T>(
        &mut self,
        most: usize,
        name: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u8()?);
        if count > most {
            return Err(Malformed::Field(name));
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn watchers(&mut self) -> Result<Vec<Life>, Malformed> {
        self.list(MAX_WATCHERS, "watchers", Self::life)
    }

    fn beat(&mut self, version: u8) -> Result<Beat, Malformed> {
        let (interval, span, watch) = (self.u16()?, self.u32()?, self.u32()?);
        if interval == 0 || span == 0 || span > MAX_SPAN || span < u32::from(interval) {
            return Err(Malformed::Field("span"));
        }
        let watchers = self.watchers()?;
        let links = self.list(MAX_LINKS, "links", |r| Ok((LinkId(r.u32()?), r.flag("leased")?)))?;
        let sync = match self.u8()? {
            0 => None,
            1 => Some(Sync {
                generation: self.u64()?,
                base: self.u64()?,
                upto: self.u64()?,
                changes: self.list(MAX_LIST, "changes", |r| {
                    Ok(Change { wanted: r.flag("wanted")?, address: r.address()? })
                })?,
                again: self.list(MAX_LIST, "again", Self::address)?,
            }),
            _ => return Err(Malformed::Field("sync")),
        };
        if sync.as_ref().is_some_and(|sync| sync.upto < sync.base) {
            return Err(Malformed::Field("upto"));
        }
        let macs = match version {
            ..WITH_MACS => Vec::new(),
            _ => self.list(MAX_MACS, "macs", |r| r.take().map(MacAddr))?,
        };
        Ok(Beat { interval, span, watch, watchers, links, sync, macs })
    }

    fn ack(&mut self) -> Result<Ack, Malformed> {
        let of = self.u64()?;
        Ok(Ack {
            of: (of != 0).then_some(of),
            generation: self.u64()?,
            version: self.u64()?,
            voted: self.u32()?,
            refused: self.list(MAX_LIST, "refused", |r| Ok((r.address()?, NodeId(r.u64()?))))?,
            granted: self.list(MAX_LIST, "granted", Self::address)?,
        })
    }
}
