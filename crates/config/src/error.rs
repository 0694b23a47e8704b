//! Why an object is not valid, in MetalLB's words where it has some, and what to do about it.

use thiserror::Error;

use crate::Kind;
use crate::community::ParseCommunityError;
use crate::selector::SelectorError;

/// Why an object is not valid. The text is MetalLB's own; [`cure`](Self::cure) says what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum ConfigError {
    /// Something wrong with a BGPPeer.
    #[error("parsing peer {peer} {source}")]
    Peer {
        /// The name of the BGPPeer.
        peer: String,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// Something wrong with a BFDProfile.
    #[error("parsing bfd profile #{place}: {source}")]
    BfdProfile {
        /// Its place, from 1, among all BFDProfiles by name.
        place: usize,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// A BFDProfile without a name.
    #[error("missing bfd profile name")]
    MissingBfdProfileName,
    /// A setting of a BFDProfile out of its range.
    #[error("invalid value {value}, must be in {first}-{last} range\ninvalid {what} value")]
    BfdRange {
        /// The value.
        value: i32,
        /// The least that is allowed.
        first: i32,
        /// The most that is allowed.
        last: i32,
        /// Which setting, in words.
        what: &'static str,
    },
    /// Two BFDProfiles of one name.
    #[error("found duplicate bfd profile name {0}")]
    DuplicateBfdProfile(String),
    /// Two BGPPeers of one name.
    #[error("peer {0} already exists")]
    DuplicatePeer(String),
    /// A BGPPeer without `myASN`.
    #[error("missing local ASN")]
    MissingLocalAsn,
    /// A BGPPeer with neither `peerASN` nor `dynamicASN`.
    #[error("missing peer ASN and dynamicASN")]
    MissingPeerAsn,
    /// A BGPPeer with both of them.
    #[error("both peer ASN and dynamicASN specified")]
    BothPeerAsns,
    /// An AS number that does not fit into 32 bits.
    #[error("invalid {field} {value}, must be in 1-4294967295 range")]
    Asn {
        /// The field of the spec.
        field: &'static str,
        /// The value.
        value: i64,
    },
    /// A port that does not exist.
    #[error("invalid peerPort {0}, must be in 1-65535 range")]
    Port(i32),
    /// Multihop for a peer of the same AS.
    #[error("invalid ebgp-multihop parameter set for an ibgp peer")]
    MultiHopOfIbgp,
    /// A BGPPeer with neither `peerAddress` nor `interface`.
    #[error("peer has no Address or Interface specified")]
    NoEndpoint,
    /// A BGPPeer with both of them.
    #[error("peer has both Address and Interface specified")]
    BothEndpoints,
    /// `peerAddress` is no address.
    #[error("invalid BGPPeer address {0:?}")]
    PeerAddress(String),
    /// `routerID` is no address.
    #[error("invalid router ID {0:?}")]
    RouterId(String),
    /// `sourceAddress` is no address.
    #[error("invalid source IP {0:?}")]
    SourceAddress(String),
    /// A time that cannot be read.
    #[error("invalid {field} {value:?}")]
    Duration {
        /// The field of the spec.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// A hold time of 1 s or 2 s, or less than nothing.
    #[error("invalid BGPPeer timers: invalid hold time {0:?}: must be 0 or >=3s")]
    HoldTime(String),
    /// More time between keepalives than the session lives without.
    #[error(
        "invalid BGPPeer timers: invalid keepaliveTime {keepalive:?}, must be lower than holdTime {hold:?}"
    )]
    KeepaliveTime {
        /// The keepalive time.
        keepalive: String,
        /// The hold time.
        hold: String,
    },
    /// A connect time out of its range.
    #[error("connect time should be between 1 seconds to 65535")]
    ConnectTime,
    /// A connect time with parts of a second.
    #[error("connect time should contain a whole number of seconds")]
    ConnectTimeFraction,
    /// A node selector of a BGPPeer that cannot be read.
    #[error("{source}\nfailed to convert peer {peer} node selector")]
    PeerSelector {
        /// The name of the BGPPeer.
        peer: String,
        /// What is wrong.
        source: SelectorError,
    },
    /// A BGPPeer with both `password` and `passwordSecret`.
    #[error("can not have both password and secret ref set in peer config {namespace:?}/{peer:?}")]
    BothPasswords {
        /// The namespace of the BGPPeer.
        namespace: String,
        /// Its name.
        peer: String,
    },
    /// The Secret of a BGPPeer does not exist.
    #[error(
        "secret ref not found for peer config {namespace:?}/{peer:?}\nfailed to parse peer {peer} password secret"
    )]
    NoSecret {
        /// The namespace of the BGPPeer.
        namespace: String,
        /// Its name.
        peer: String,
        /// The name of the Secret.
        secret: String,
    },
    /// The Secret of a BGPPeer has another type.
    #[error(
        "secret type mismatch on {namespace:?}/{secret:?}, type \"kubernetes.io/basic-auth\" is expected \nfailed to parse peer {peer} password secret"
    )]
    SecretType {
        /// The namespace of the Secret.
        namespace: String,
        /// The name of the Secret.
        secret: String,
        /// The name of the BGPPeer.
        peer: String,
    },
    /// The Secret of a BGPPeer has no password.
    #[error(
        "password not specified in the secret {namespace:?}/{secret:?}\nfailed to parse peer {peer} password secret"
    )]
    NoPassword {
        /// The namespace of the Secret.
        namespace: String,
        /// The name of the Secret.
        secret: String,
        /// The name of the BGPPeer.
        peer: String,
    },
    /// The BFDProfile of a BGPPeer does not exist, or has no valid version.
    #[error("peer {peer} referencing non existing bfd profile {profile}")]
    NoBfdProfile {
        /// The name of the BGPPeer.
        peer: String,
        /// The name of the BFDProfile.
        profile: String,
    },
    /// A BFDProfile that is to be deleted is in use.
    #[error("failed to delete BFDProfile {profile}, used by BGPPeer {peer}")]
    BfdProfileInUse {
        /// The name of the BFDProfile.
        profile: String,
        /// The first BGPPeer that names it.
        peer: String,
    },
    /// An IPAddressPool without a name.
    #[error("missing pool name")]
    MissingPoolName,
    /// Two objects of one kind and name.
    #[error("duplicate definition of {what} {name:?}")]
    DuplicateObject {
        /// The kind, in a word.
        what: &'static str,
        /// The name that both have.
        name: String,
    },
    /// Two BGPAdvertisements of one name.
    #[error("duplicate definition of bgpadvertisements. advertisement {first} and {second} are equal")]
    DuplicateBgpAdvertisement {
        /// The place, from 1, of the one among all by name.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// Nothing in `spec.addresses`.
    #[error("pool has no prefixes defined")]
    NoPrefixes,
    /// An entry of `spec.addresses` is no range.
    #[error("invalid CIDR {entry:?} in pool {pool:?}: {reason}")]
    Range {
        /// The entry as it was written.
        entry: String,
        /// The pool that has it.
        pool: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two ranges have addresses in common.
    #[error("CIDR {range:?} in pool {pool:?} overlaps with already defined CIDR {other:?}")]
    Overlap {
        /// The range that is refused.
        range: String,
        /// Its pool.
        pool: String,
        /// The range that was there first.
        other: String,
        /// The pool of that range.
        other_pool: String,
    },
    /// A namespace is named twice.
    #[error("duplicate definition in namespaces field")]
    DuplicateNamespace(String),
    /// A name stands twice in a list.
    #[error("duplicate definition of {field} {name:?}")]
    DuplicateName {
        /// What the list holds.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A selector stands twice in a list.
    #[error("duplicate definition of {field}")]
    DuplicateSelector {
        /// The field of the spec that holds the list.
        field: &'static str,
        /// Its second place in the list, from 1.
        place: usize,
    },
    /// A label selector says something twice.
    #[error("{source}")]
    Repetition {
        /// The field of the spec that holds it.
        field: &'static str,
        /// What it says twice.
        source: SelectorError,
    },
    /// A label selector cannot be read.
    #[error("invalid label selector in {field}: {source}")]
    Selector {
        /// The field of the spec that holds it.
        field: &'static str,
        /// What is wrong with it.
        source: SelectorError,
    },
    /// A preference outside the range that the API allows.
    #[error("invalid weight {0} in preferredNodeSelectors: must be in 1-100 range")]
    Weight(i32),
    /// A name is given to a text that is no community.
    #[error("parsing community {name:?}: {source}")]
    CommunityValue {
        /// The name.
        name: String,
        /// What is wrong with the text.
        source: ParseCommunityError,
    },
    /// A name is given to two communities.
    #[error("duplicate definition of community {name:?}")]
    DuplicateCommunity {
        /// The name.
        name: String,
        /// The Community that had it first, where that is another.
        other: Option<String>,
    },
    /// What a BGPAdvertisement has among its communities is no community, and nobody's name for one.
    #[error(transparent)]
    Community(#[from] ParseCommunityError),
    /// Services cannot be selected where addresses are announced together.
    #[error("serviceSelectors and {field} are mutually exclusive, both cannot be set in {advertisement}")]
    SelectorsWithAggregation {
        /// aggregationLength or aggregationLengthV6.
        field: &'static str,
        /// The name of the BGPAdvertisement.
        advertisement: String,
    },
    /// A prefix length that does not exist.
    #[error("invalid aggregation length {length:?} for {family}", length = length.to_string())]
    AggregationLength {
        /// The value.
        length: i32,
        /// IPv4 or IPv6.
        family: net::Family,
    },
    /// Routes would cover addresses that the pool does not have.
    #[error(
        "invalid aggregation length {length}: prefix {prefix} in this pool is more specific than the aggregation length for addresses {addresses}"
    )]
    Aggregation {
        /// The prefix length of the routes.
        length: u8,
        /// The prefix length of the largest part of the range.
        prefix: u8,
        /// The range, as it was written.
        addresses: String,
        /// The pool that has it.
        pool: String,
        /// The BGPAdvertisement that is at fault.
        advertisement: String,
    },
    /// A LOCAL_PREF out of its range.
    #[error("invalid localPref {0}, must be in 0-4294967295 range")]
    LocalPref(i64),
    /// One route would have two local preferences.
    #[error(
        "invalid local preference {local_pref}: local preferernce {other_pref} was already set for the same type of BGP update. Check existing BGP advertisements with common pools and aggregation lengths"
    )]
    LocalPrefCollision {
        /// The local preference that is refused.
        local_pref: u32,
        /// The one that was there first.
        other_pref: u32,
        /// The BGPAdvertisement that was there first.
        other: String,
    },
    /// An advertisement names a pool that is not in force.
    #[error("{kind} {advertisement:?} refers to IPAddressPool {pool:?}, which {}", if *exists { "is not valid" } else { "does not exist" })]
    UnknownPool {
        /// The kind of the advertisement.
        kind: Kind,
        /// Its name.
        advertisement: String,
        /// The name of the pool.
        pool: String,
        /// Whether there is such an IPAddressPool.
        exists: bool,
    },
    /// BFD echo packets are for IPv4 only.
    #[error(
        "pool {pool} has bgpadvertisement {advertisement} which references peer {peer} which has bfd echo enabled, which is not possible"
    )]
    EchoWithIpv6 {
        /// A pool with IPv6 addresses.
        pool: String,
        /// A BGPAdvertisement that announces it.
        advertisement: String,
        /// A BGPPeer that it is announced to.
        peer: String,
    },
}

impl ConfigError {
    /// What to do about it, where the text does not say it all.
    pub fn cure(&self) -> Option<String> {
        let cure = match self {
            Self::Peer { source, .. } | Self::BfdProfile { source, .. } => return source.cure(),
            Self::MissingLocalAsn => "set myASN to the AS number of the speakers",
            Self::MissingPeerAsn => {
                "set peerASN to the AS number of the router, or dynamicASN to internal or external"
            }
            Self::BothPeerAsns => "remove one of peerASN and dynamicASN",
            Self::MultiHopOfIbgp => "remove ebgpMultiHop, or set peerASN to another AS than myASN",
            Self::NoEndpoint => "set peerAddress, or interface for a session without addresses",
            Self::BothEndpoints => "remove one of peerAddress and interface",
            Self::PeerAddress(_) | Self::SourceAddress(_) => {
                "write an IP address such as 192.0.2.1 or 2001:db8::1, without prefix length or port"
            }
            Self::RouterId(_) => "write it in the form of an IP address such as 192.0.2.1",
            Self::Duration { .. } => "write a duration such as 90s or 1m30s",
            Self::BothPasswords { .. } => "remove one of password and passwordSecret",
            Self::NoSecret { secret, .. } => {
                return Some(format!(
                    "create the Secret {secret:?} of type kubernetes.io/basic-auth with the key password in the same namespace"
                ));
            }
            Self::SecretType { .. } => {
                "create the Secret anew with that type: the type of a Secret cannot be changed"
            }
            Self::NoPassword { .. } => "put the password under the key password",
            Self::NoBfdProfile { .. } => "create the BFDProfile in the same namespace, or correct bfdProfile",
            Self::BfdProfileInUse { .. } => "remove bfdProfile from the BGPPeer first",
            Self::NoPrefixes => "list at least one CIDR or range in spec.addresses",
            Self::Overlap { other_pool, .. } => {
                return Some(format!(
                    "that one is of pool {other_pool:?}: give each address to one pool only"
                ));
            }
            Self::DuplicateNamespace(name) => {
                return Some(format!("{name:?} stands twice: remove one of them"));
            }
            Self::DuplicateName { .. } => "remove one of them",
            Self::DuplicateSelector { place, .. } => {
                return Some(format!(
                    "selector {place} of the list says what another one says: remove one of them"
                ));
            }
            Self::Repetition { field, source } => {
                return source.cure().map(|cure| format!("{cure} in {field}"));
            }
            Self::Selector { source, .. } | Self::PeerSelector { source, .. } => return source.cure(),
            Self::DuplicateCommunity { other: Some(other), .. } => {
                return Some(format!("Community {other:?} has that name: choose another"));
            }
            Self::DuplicateCommunity { .. } => "each name can stand for one community only",
            Self::CommunityValue { .. } | Self::Community(ParseCommunityError::Section { .. }) => {
                "write two numbers up to 65535 such as 65000:100, or large: and three up to 4294967295 such as large:65000:1:2"
            }
            Self::Community(ParseCommunityError::Format(_)) => {
                "write a value such as 65000:100 or large:65000:1:2, or create a Community that has this name"
            }
            Self::SelectorsWithAggregation { .. } => {
                "leave out one of them: a part of the Services cannot be announced as a whole prefix"
            }
            Self::AggregationLength { .. } => {
                "a prefix of IPv4 has a length of 1 to 32, one of IPv6 of 0 to 128"
            }
            Self::Aggregation { pool, advertisement, .. } => {
                return Some(format!(
                    "in BGPAdvertisement {advertisement:?} raise the aggregation length, or leave out IPAddressPool {pool:?}"
                ));
            }
            Self::LocalPrefCollision { other, .. } => {
                return Some(format!(
                    "BGPAdvertisement {other:?} has the other: give both the same localPref, or different pools, peers or nodes"
                ));
            }
            Self::UnknownPool { exists: true, .. } => "correct that pool, its events say how",
            Self::UnknownPool { .. } => "create it in the same namespace or correct spec.ipAddressPools",
            Self::EchoWithIpv6 { .. } => {
                "turn off echoMode in the BFDProfile, or announce the pool to other peers"
            }
            _ => return None,
        };
        Some(cure.to_owned())
    }

    /// The text, and what to do about it: what to answer to who asks for the change.
    pub fn explained(&self) -> String {
        self.cure().map_or_else(|| self.to_string(), |cure| format!("{self}; {cure}"))
    }

    /// Whether its cause is an object that may still appear, so that there is no fault in the object itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Peer { source, .. } => source.is_transient(),
            Self::NoSecret { .. } | Self::NoBfdProfile { .. } | Self::UnknownPool { .. } => true,
            // A name of a community has no colon: whatever has one is meant as a value.
            Self::Community(ParseCommunityError::Format(text)) => !text.contains(':'),
            _ => false,
        }
    }
}
