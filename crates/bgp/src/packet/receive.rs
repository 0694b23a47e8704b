//! How the attributes of an UPDATE are read, and what is done about each error (RFC 7606).

use std::net::Ipv4Addr;

use net::Family;

use super::attribute::{
    AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, ATOMIC_AGGREGATE, Aggregator, CLUSTER_LIST, COMMUNITIES,
    Community, EXTENDED_COMMUNITIES, FLAG_EXTENDED, FLAG_OPTIONAL, FLAG_PARTIAL, FLAG_TRANSITIVE,
    LARGE_COMMUNITIES, LOCAL_PREF, LargeCommunity, MP_REACH_NLRI, MP_UNREACH_NLRI, MULTI_EXIT_DISC, NEXT_HOP,
    ORIGIN, ORIGINATOR_ID, Origin, UnknownAttribute, flags_of,
};
use super::attributes::{Attributes, MpReach, MpUnreach, NextHop};
use super::family::AfiSafi;
use super::nlri;
use super::path::AsPath;
use super::reader::Reader;
use super::update::{Context, Disposition, UpdateError};

/// One attribute before its value is looked at.
struct Raw<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// With flags, code and length.
    whole: &'a [u8],
}

/// Why the attributes cannot be told apart any further.
struct Overrun {
    code: u8,
}

/// Reads all attributes. `announces` tells whether IPv4 prefixes follow them. Of errors that can be helped, `faults`
/// tells.
pub(super) fn attributes(
    bytes: &[u8],
    context: Context,
    announces: bool,
    faults: &mut Vec<UpdateError>,
) -> Result<Attributes, UpdateError> {
    let mut reader = Reader::new(bytes);
    let mut attributes = Attributes::default();
    let mut seen = [0_u128; 2];
    while !reader.is_empty() {
        let raw = match next(&mut reader) {
            Ok(raw) => raw,
            // Without the prefixes of these two nobody knows what to withdraw.
            Err(Overrun { code: code @ (MP_REACH_NLRI | MP_UNREACH_NLRI) }) => {
                return Err(UpdateError::Multiprotocol { code, attribute: Vec::new() });
            }
            Err(Overrun { code }) => {
                faults.push(UpdateError::Overrun(code));
                break;
            }
        };
        if !first(&mut seen, raw.code) {
            if matches!(raw.code, MP_REACH_NLRI | MP_UNREACH_NLRI) {
                return Err(UpdateError::DuplicateMultiprotocol(raw.code));
            }
            faults.push(UpdateError::Duplicate(raw.code));
            continue;
        }
        match flags_of(raw.code) {
            // The routes are read all the same: they are what is to be withdrawn.
            Some(flags) if !suits(raw.flags, flags) => faults.push(UpdateError::Flags(raw.code)),
            None if raw.flags & FLAG_OPTIONAL == 0 => {
                let attribute = raw.whole.to_vec();
                return Err(UpdateError::UnknownWellKnown { code: raw.code, attribute });
            }
            _ => {}
        }
        if let Err(error) = attributes.read(&raw, context) {
            if error.disposition() == Disposition::SessionReset {
                return Err(error);
            }
            faults.push(error);
        }
    }
    let reaches = attributes.mp_reach.is_some();
    if announces || reaches {
        let missing = [
            (ORIGIN, attributes.origin.is_none()),
            (AS_PATH, attributes.as_path.is_none()),
            (NEXT_HOP, announces && attributes.next_hop.is_none()),
            (LOCAL_PREF, context.internal && attributes.local_pref.is_none()),
        ];
        // What is there but cannot be read was told of already.
        let absent = missing.into_iter().filter(|(code, missing)| *missing && first(&mut seen, *code));
        faults.extend(absent.map(|(code, _)| UpdateError::Missing(code)));
    }
    Ok(attributes)
}

/// Whether an attribute may have these flags whose own are `expected`. Only what is handed on by those who do not know it
/// may be marked as partial (RFC 4271 §4.3).
fn suits(flags: u8, expected: u8) -> bool {
    let kept = FLAG_OPTIONAL | FLAG_TRANSITIVE;
    flags & kept == expected && (expected == kept || flags & FLAG_PARTIAL == 0)
}

/// Whether it is the first attribute of this number; the next one is not.
fn first(seen: &mut [u128; 2], code: u8) -> bool {
    let Some(bits) = seen.get_mut(usize::from(code >> 7)) else { return false };
    let bit = 1 << (code & 0x7f);
    let first = *bits & bit == 0;
    *bits |= bit;
    first
}

fn next<'a>(reader: &mut Reader<'a>) -> Result<Raw<'a>, Overrun> {
    let start = reader.rest();
    let flags = reader.u8().unwrap_or_default();
    let code = reader.u8().unwrap_or_default();
    let length = if flags & FLAG_EXTENDED == 0 { reader.u8().map(u16::from) } else { reader.u16() };
    let value = length.and_then(|length| reader.take(usize::from(length))).ok_or(Overrun { code })?;
    let whole = start.get(..start.len() - reader.rest().len()).unwrap_or_default();
    Ok(Raw { flags, code, value, whole })
}

/// A value of exactly this length.
fn exact<const N: usize>(raw: &Raw<'_>, disposition: Disposition) -> Result<[u8; N], UpdateError> {
    raw.value.try_into().map_err(|_| UpdateError::Length { code: raw.code, disposition })
}

/// A list of at least one value of this length each.
fn list<const N: usize, T>(raw: &Raw<'_>, item: impl Fn([u8; N]) -> T) -> Result<Vec<T>, UpdateError> {
    let (chunks, rest) = raw.value.as_chunks::<N>();
    if chunks.is_empty() || !rest.is_empty() {
        return Err(UpdateError::Length { code: raw.code, disposition: Disposition::TreatAsWithdraw });
    }
    Ok(chunks.iter().map(|chunk| item(*chunk)).collect())
}

impl Attributes {
    /// Reads the value of one attribute.
    fn read(&mut self, raw: &Raw<'_>, context: Context) -> Result<(), UpdateError> {
        const WITHDRAW: Disposition = Disposition::TreatAsWithdraw;
        const DISCARD: Disposition = Disposition::AttributeDiscard;
        let internal_only = matches!(raw.code, LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST);
        if internal_only && !context.internal {
            return Err(UpdateError::FromExternal(raw.code));
        }
        match raw.code {
            ORIGIN => {
                let [number] = exact(raw, WITHDRAW)?;
                self.origin = Some(Origin::of(number).ok_or(UpdateError::Origin(number))?);
            }
            AS_PATH => {
                let path = AsPath::parse(raw.value, context.four_octet_as).ok_or(UpdateError::AsPath)?;
                if path.asns().any(|asn| asn == 0) {
                    return Err(UpdateError::AsPath);
                }
                self.as_path = Some(path);
            }
            NEXT_HOP => {
                let address = Ipv4Addr::from(exact::<4>(raw, WITHDRAW)?);
                if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
                    return Err(UpdateError::NextHop(address));
                }
                self.next_hop = Some(address);
            }
            MULTI_EXIT_DISC => self.med = Some(u32::from_be_bytes(exact(raw, WITHDRAW)?)),
            LOCAL_PREF => self.local_pref = Some(u32::from_be_bytes(exact(raw, WITHDRAW)?)),
            ATOMIC_AGGREGATE => {
                let [] = exact(raw, DISCARD)?;
                self.atomic_aggregate = true;
            }
            AGGREGATOR if context.four_octet_as => self.aggregator = Some(aggregator(raw)?),
            AGGREGATOR => {
                let [high, low, a, b, c, d] = exact(raw, DISCARD)?;
                let asn = u32::from(u16::from_be_bytes([high, low]));
                if asn == 0 {
                    return Err(UpdateError::AsZero(raw.code));
                }
                self.aggregator = Some(Aggregator { asn, identifier: Ipv4Addr::new(a, b, c, d) });
            }
            COMMUNITIES => self.communities = list(raw, |bytes| Community(u32::from_be_bytes(bytes)))?,
            ORIGINATOR_ID => self.originator_id = Some(Ipv4Addr::from(exact::<4>(raw, WITHDRAW)?)),
            CLUSTER_LIST => self.cluster_list = list(raw, |bytes: [u8; 4]| Ipv4Addr::from(bytes))?,
            EXTENDED_COMMUNITIES => self.extended_communities = list(raw, |bytes| bytes)?,
            LARGE_COMMUNITIES => {
                self.large_communities = list(raw, |[a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12]| {
                    let [global, one, two] =
                        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_be_bytes);
                    LargeCommunity { global, one, two }
                })?;
            }
            AS4_PATH | AS4_AGGREGATOR if context.four_octet_as => return Err(UpdateError::As4(raw.code)),
            AS4_PATH => {
                let path = AsPath::parse(raw.value, true).filter(|path| path.asns().all(|asn| asn != 0));
                self.as4_path = Some(path.ok_or(UpdateError::As4(raw.code))?);
            }
            AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(raw)?),
            MP_REACH_NLRI => self.mp_reach = Some(reach(raw, context)?),
            MP_UNREACH_NLRI => self.mp_unreach = Some(unreach(raw, context)?),
            code => self.unknown.push(UnknownAttribute {
                flags: raw.flags & !FLAG_EXTENDED,
                code,
                value: raw.value.to_vec(),
            }),
        }
        Ok(())
    }
}

/// An aggregator with an AS number of 4 bytes.
fn aggregator(raw: &Raw<'_>) -> Result<Aggregator, UpdateError> {
    let [a, b, c, d, identifier @ ..] = exact::<8>(raw, Disposition::AttributeDiscard)?;
    match u32::from_be_bytes([a, b, c, d]) {
        0 => Err(UpdateError::AsZero(raw.code)),
        asn => Ok(Aggregator { asn, identifier: Ipv4Addr::from(identifier) }),
    }
}

/// The family of a multiprotocol attribute, where it was negotiated.
fn family(raw: &Raw<'_>, reader: &mut Reader<'_>, context: Context) -> Result<Family, UpdateError> {
    let mut read = || Some(AfiSafi { afi: reader.u16()?, safi: reader.u8()? });
    let family = read().ok_or_else(|| too_short(raw))?;
    let negotiated = family.family().filter(|family| context.families.contains(*family));
    negotiated.ok_or(UpdateError::NotNegotiated(family))
}

fn too_short(raw: &Raw<'_>) -> UpdateError {
    UpdateError::Multiprotocol { code: raw.code, attribute: raw.whole.to_vec() }
}

fn reach(raw: &Raw<'_>, context: Context) -> Result<MpReach, UpdateError> {
    let mut reader = Reader::new(raw.value);
    let family = family(raw, &mut reader, context)?;
    let number = AfiSafi::unicast(family);
    let length = reader.u8().ok_or_else(|| too_short(raw))?;
    let allowed = match family {
        Family::V4 if context.extended_next_hop => &[4, 16, 32][..],
        Family::V4 => &[4],
        Family::V6 => &[16, 32],
    };
    if !allowed.contains(&length) {
        return Err(UpdateError::MultiprotocolNextHop(number));
    }
    let next_hop = reader.take(usize::from(length)).and_then(NextHop::parse);
    let next_hop = next_hop.ok_or(UpdateError::MultiprotocolNextHop(number))?;
    // What used to be a count of attachment points means nothing (RFC 4760 §3).
    reader.u8().ok_or_else(|| too_short(raw))?;
    let prefixes = nlri::parse(family, reader.rest());
    let prefixes = prefixes.map_err(|_| UpdateError::MultiprotocolNetwork(number))?;
    Ok(MpReach { next_hop, family, prefixes })
}

fn unreach(raw: &Raw<'_>, context: Context) -> Result<MpUnreach, UpdateError> {
    let mut reader = Reader::new(raw.value);
    let family = family(raw, &mut reader, context)?;
    let prefixes = nlri::parse(family, reader.rest());
    let prefixes = prefixes.map_err(|_| UpdateError::MultiprotocolNetwork(AfiSafi::unicast(family)))?;
    Ok(MpUnreach { family, prefixes })
}
