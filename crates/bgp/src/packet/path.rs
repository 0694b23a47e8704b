//! AS paths (RFC 4271 §4.3, RFC 6793).
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! | segment type  | count of ASes |  ASes of 2 or 4 bytes each …
//! +---------------+---------------+-------------------------------+
//! ```

use super::AS_TRANS;
use super::reader::Reader;

/// The ASes that a route came through, the nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath {
    /// The parts of the path; none within the AS where the route starts.
    pub segments: Vec<Segment>,
}

/// A part of an AS path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// What the list means.
    pub kind: SegmentKind,
    /// The ASes: 1 to 255.
    pub asns: Vec<u32>,
}

/// What a list of ASes means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// In no order.
    Set,
    /// One after the other.
    Sequence,
    /// One after the other, members of a confederation (RFC 5065).
    ConfederationSequence,
    /// In no order, members of a confederation.
    ConfederationSet,
}

impl SegmentKind {
    fn number(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfederationSequence => 3,
            Self::ConfederationSet => 4,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Set, Self::Sequence, Self::ConfederationSequence, Self::ConfederationSet]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

impl AsPath {
    /// The path of a route that starts in the AS of this number, as its neighbours see it.
    pub fn of(asn: u32) -> Self {
        Self { segments: vec![Segment { kind: SegmentKind::Sequence, asns: vec![asn] }] }
    }

    /// All ASes, whatever segment they are in.
    pub fn asns(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().flat_map(|segment| segment.asns.iter().copied())
    }

    /// Reads a path with AS numbers of 4 bytes or of 2. `None` where a segment is of no known type, empty, or longer
    /// than what is there.
    pub(crate) fn parse(bytes: &[u8], four_octet: bool) -> Option<Self> {
        let (mut reader, mut segments) = (Reader::new(bytes), Vec::new());
        while let Some(kind) = reader.u8() {
            let (kind, count) = (SegmentKind::of(kind)?, reader.u8()?);
            let asn = |reader: &mut Reader<'_>| {
                if four_octet { reader.u32() } else { reader.u16().map(u32::from) }
            };
            let asns = (0..count).map(|_| asn(&mut reader)).collect::<Option<Vec<_>>>()?;
            if asns.is_empty() {
                return None;
            }
            segments.push(Segment { kind, asns });
        }
        Some(Self { segments })
    }

    /// Appends the path; with numbers of 2 bytes, AS_TRANS stands for those that need 4.
    pub(crate) fn put(&self, out: &mut Vec<u8>, four_octet: bool) {
        let parts = self.segments.iter().flat_map(|segment| {
            segment.asns.chunks(usize::from(u8::MAX)).map(move |asns| (segment.kind, asns))
        });
        for (kind, asns) in parts {
            let count = u8::try_from(asns.len()).expect("chunks have at most 255");
            out.extend([kind.number(), count]);
            for &asn in asns {
                if four_octet {
                    out.extend(asn.to_be_bytes());
                } else {
                    out.extend(u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
                }
            }
        }
    }
}
