//! What our definitions have beyond MetalLB's. The one list of it: a test fails over anything that is not here, and
//! over anything here that the definitions do not have.

use Addition::{Field, MaxItems, MaxLength, Rule};

/// Something in a schema that MetalLB's lacks. None of it may refuse what MetalLB accepts.
#[derive(Debug)]
pub(crate) enum Addition {
    /// A bound for the API server's estimate of what the rules cost.
    MaxItems(u64),
    /// The same for the length of a text.
    MaxLength(u64),
    /// An optional field.
    Field,
    /// A CEL rule, by the beginning of its message.
    Rule(&'static str),
}

/// Kind, version, place in the object (`[]` is each item of a list), what is there.
pub(crate) const ADDITIONS: &[(&str, &str, &str, Addition)] = &[
    ("MetalLB", "v1beta1", "spec.controllerReplicas", Field),
    ("MetalLB", "v1beta1", "spec.failover", Field),
    ("MetalLB", "v1beta1", "spec.bgp", Field),
    ("ServiceL2Status", "v1beta1", "status.cause", Field),
    ("ServiceL2Status", "v1beta1", "status.formerNode", Field),
    ("IPAddressPool", "v1beta1", "spec.addresses", MaxItems(10_000)),
    ("IPAddressPool", "v1beta1", "spec.addresses", Rule("pool has no prefixes defined")),
    ("IPAddressPool", "v1beta1", "spec.addresses[]", MaxLength(96)),
    ("IPAddressPool", "v1beta1", "spec.addresses[]", Rule("invalid CIDR: ")),
    ("IPAddressPool", "v1beta1", "spec.addresses[]", Rule("invalid IP range: invalid start IP")),
    ("IPAddressPool", "v1beta1", "spec.addresses[]", Rule("invalid IP range: invalid end IP")),
    ("IPAddressPool", "v1beta1", "spec.addresses[]", Rule("invalid CIDR or IP range")),
    ("BGPAdvertisement", "v1beta1", "spec.aggregationLength", Rule("invalid aggregation length for IPv4")),
    ("BGPAdvertisement", "v1beta1", "spec.aggregationLengthV6", Rule("invalid aggregation length for IPv6")),
    ("BGPAdvertisement", "v1beta1", "spec.communities", MaxItems(1_024)),
    ("BGPAdvertisement", "v1beta1", "spec.communities[]", MaxLength(253)),
    ("BGPAdvertisement", "v1beta1", "spec.communities[]", Rule("invalid community format")),
    (
        "BGPAdvertisement",
        "v1beta1",
        "spec.communities[]",
        Rule("invalid community value: invalid section: expected two"),
    ),
    (
        "BGPAdvertisement",
        "v1beta1",
        "spec.communities[]",
        Rule("invalid community value: invalid marker for large"),
    ),
    (
        "BGPAdvertisement",
        "v1beta1",
        "spec.communities[]",
        Rule("invalid community value: invalid section: expected large"),
    ),
    ("Community", "v1beta1", "spec.communities", MaxItems(4_096)),
    ("Community", "v1beta1", "spec.communities[]", Rule("invalid community format: value is missing")),
    ("Community", "v1beta1", "spec.communities[].value", MaxLength(64)),
    ("Community", "v1beta1", "spec.communities[].value", Rule("invalid community format")),
    (
        "Community",
        "v1beta1",
        "spec.communities[].value",
        Rule("invalid community value: invalid section: expected two"),
    ),
    (
        "Community",
        "v1beta1",
        "spec.communities[].value",
        Rule("invalid community value: invalid marker for large"),
    ),
    (
        "Community",
        "v1beta1",
        "spec.communities[].value",
        Rule("invalid community value: invalid section: expected large"),
    ),
    ("BGPPeer", "v1beta1", "spec", Rule("invalid ebgp-multihop parameter set for an ibgp peer")),
    ("BGPPeer", "v1beta1", "spec", Rule("invalid keepaliveTime: must be lower than holdTime")),
    ("BGPPeer", "v1beta1", "spec.myASN", Rule("missing local ASN")),
    ("BGPPeer", "v1beta1", "spec.peerAddress", Rule("invalid BGPPeer address")),
    ("BGPPeer", "v1beta1", "spec.sourceAddress", Rule("invalid source IP")),
    ("BGPPeer", "v1beta1", "spec.routerID", Rule("invalid router ID")),
    ("BGPPeer", "v1beta1", "spec.holdTime", Rule("invalid hold time: expected a duration")),
    ("BGPPeer", "v1beta1", "spec.holdTime", Rule("invalid hold time: must be 0 or >=3s")),
    ("BGPPeer", "v1beta1", "spec.keepaliveTime", Rule("invalid keepaliveTime: expected a duration")),
    ("BGPPeer", "v1beta2", "spec", Rule("peer has no Address or Interface specified")),
    ("BGPPeer", "v1beta2", "spec", Rule("peer has both Address and Interface specified")),
    ("BGPPeer", "v1beta2", "spec", Rule("missing peer ASN and dynamicASN")),
    ("BGPPeer", "v1beta2", "spec", Rule("both peer ASN and dynamicASN specified")),
    ("BGPPeer", "v1beta2", "spec", Rule("can not have both password and secret ref set in peer config")),
    ("BGPPeer", "v1beta2", "spec", Rule("invalid ebgp-multihop parameter set for an ibgp peer")),
    ("BGPPeer", "v1beta2", "spec", Rule("invalid keepaliveTime: must be lower than holdTime")),
    ("BGPPeer", "v1beta2", "spec.myASN", Rule("missing local ASN")),
    ("BGPPeer", "v1beta2", "spec.peerAddress", Rule("invalid BGPPeer address")),
    ("BGPPeer", "v1beta2", "spec.sourceAddress", Rule("invalid source IP")),
    ("BGPPeer", "v1beta2", "spec.routerID", Rule("invalid router ID")),
    ("BGPPeer", "v1beta2", "spec.holdTime", Rule("invalid hold time: expected a duration")),
    ("BGPPeer", "v1beta2", "spec.holdTime", Rule("invalid hold time: must be 0 or >=3s")),
    ("BGPPeer", "v1beta2", "spec.keepaliveTime", Rule("invalid keepaliveTime: expected a duration")),
];
