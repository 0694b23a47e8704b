//! CEL rules of the definitions: mistakes that the API server itself refuses, with a message that says the cure.
//!
//! Two principles hold. A rule refuses nothing that MetalLB accepts: where it cannot be exact it is lenient, and
//! the crate `config` decides (order and overlap of ranges, everything that needs a second object). And a rule
//! uses no function that is younger than Kubernetes 1.26, as an API server refuses the whole definition over a
//! function that it does not know; hence regular expressions in place of `isIP` and `isCIDR` (1.31), which would also
//! refuse IPv4-mapped addresses.
//!
//! The API server multiplies the cost of a rule by the number and length of the items that it is for, so those are
//! bounded, far above what anyone uses.

use serde_json::{Value, json};

/// The most lines of a pool.
pub(crate) const MAX_ADDRESS_LINES: u32 = 10_000;
/// The longest line of a pool; two addresses written out in full have 79 characters, or 91 if they are IPv4-mapped.
pub(crate) const MAX_ADDRESS_LINE_LENGTH: u32 = 96;
/// The most communities of an advertisement; no more than about 1,000 fit into a BGP message (RFC 4271).
pub(crate) const MAX_ADVERTISED_COMMUNITIES: u32 = 1_024;
/// The longest name of a community.
pub(crate) const MAX_COMMUNITY_NAME_LENGTH: u32 = 253;
/// The most names that one Community can give.
pub(crate) const MAX_ALIASES: u32 = 4_096;
/// The longest community by value; the longest without leading zeros has 38 characters.
pub(crate) const MAX_COMMUNITY_VALUE_LENGTH: u32 = 64;

/// An IPv4 address: four numbers up to 255 without leading zeros.
const IPV4: &str = r"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
/// Four numbers with dots, where [`OVER_255`] is looked for apart: the longer an expression, the more it costs.
const FOUR_NUMBERS: &str = r"(\d+\.){3}\d+";
/// A number above 255 with at least three digits.
const OVER_255: &str = r"25[6-9]|2[6-9]\d|[3-9]\d\d|[1-9]\d{3}";
/// Whatever has the looks of an IPv6 address, perhaps with an IPv4 address at its end.
const IPV6: &str = r"([\da-fA-F]{0,4}:){2,8}[\da-fA-F.]{0,15}";
/// Blanks of every kind, as they come along when text is copied from a page.
const BLANKS: &str = r"[\s\pZ]*";
/// A number above 65535 with five digits.
const OVER_U16: &str = r"[7-9]\d{4}|6[6-9]\d{3}|65[6-9]\d\d|655[4-9]\d|6553[6-9]";
/// A number above 4294967295 with ten digits.
const OVER_U32: &str =
    r"[5-9]\d{9}|4[3-9]\d{8}|429[5-9]\d{6}|42949[7-9]\d{4}|429496[89]\d{3}|4294967[3-9]\d\d|429496729[6-9]";
/// A duration as Go reads it: numbers with units.
const DURATION: &str = r"^[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$";

/// A rule: what must hold, and what to say where it does not.
type Rule = (String, &'static str);

fn validations(rules: impl IntoIterator<Item = Rule>) -> Value {
    rules.into_iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// CEL for: the text matches. The expressions here have no quote, and need none escaped.
fn matches(text: &str, expression: &str) -> String {
    format!("{text}.matches(r'{expression}')")
}

/// CEL for: this field is there and not empty.
fn given(field: &str) -> String {
    format!("(has({field}) && {field} != '')")
}

/// Of the list of an IPAddressPool.
pub(crate) fn address_lines() -> Value {
    validations([(
        "size(self) > 0".to_owned(),
        "pool has no prefixes defined: list at least one CIDR or range, such as 198.51.100.0/24",
    )])
}

/// Of each line of an IPAddressPool. The order of the ends of a range is left to `config`.
pub(crate) fn address_line() -> Value {
    let v4 = matches("self", &format!(r"^{FOUR_NUMBERS}/0*([12]?\d|3[0-2])$"));
    let v6 = matches("self", &format!(r"^{IPV6}/0*(\d\d?|1[01]\d|12[0-8])$"));
    let start = matches("self", &format!("^{BLANKS}({FOUR_NUMBERS}|{IPV6}){BLANKS}-"));
    let end = matches("self", &format!("^[^-]*-{BLANKS}({FOUR_NUMBERS}|{IPV6}){BLANKS}$"));
    validations([
        (
            format!("self.contains('-') || (self.contains(':') ? {v6} : {v4})"),
            "invalid CIDR: expected a prefix such as 198.51.100.0/24, one address such as 198.51.100.10/32, or a range such as 198.51.100.10-198.51.100.20",
        ),
        (
            format!("!self.contains('-') || {start}"),
            "invalid IP range: invalid start IP: expected two addresses, such as 198.51.100.10-198.51.100.20",
        ),
        (
            format!("!self.contains('-') || {end}"),
            "invalid IP range: invalid end IP: expected two addresses, such as 198.51.100.10-198.51.100.20",
        ),
        (
            format!("self.contains(':') || !{}", matches("self", OVER_255)),
            "invalid CIDR or IP range: the parts of an IPv4 address are numbers from 0 to 255",
        ),
    ])
}

/// Of the spec of a BGPAdvertisement: MetalLB's own rule, word for word.
pub(crate) fn advertisement() -> Value {
    validations([(
        "!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))".to_owned(),
        "serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default aggregationLength (32) and aggregationLengthV6 (128)",
    )])
}

/// Of the aggregation length for IPv4; the schema has its minimum.
pub(crate) fn aggregation_length_v4() -> Value {
    validations([(
        "self <= 32".to_owned(),
        "invalid aggregation length for IPv4: a prefix of IPv4 has a length of at most 32",
    )])
}

/// Of the aggregation length for IPv6.
pub(crate) fn aggregation_length_v6() -> Value {
    validations([(
        "self <= 128".to_owned(),
        "invalid aggregation length for IPv6: a prefix of IPv6 has a length of at most 128",
    )])
}

/// Of each community of a BGPAdvertisement that is clearly given by value. Anything else may be the name of one.
pub(crate) fn advertised_community() -> Value {
    community(Some(r"^(large)?[\d:]*:[\d:]*$"))
}

/// Of the value of a name in a Community.
pub(crate) fn community_value() -> Value {
    community(None)
}

/// Rules for a community by value, for all texts or only for those that match `only`.
fn community(only: Option<&str>) -> Value {
    let unless = only.map(|only| format!("!{} || ", matches("self", only))).unwrap_or_default();
    let two = matches("self", "^[^:]*:[^:]*$");
    let four = matches("self", "^[^:]*(:[^:]*){3}$");
    let small = matches("self", r"^0*\d{1,5}:0*\d{1,5}$");
    let large = matches("self", r"^large(:0*\d{1,10}){3}$");
    validations([
        (
            format!("{unless}{two} || {four}"),
            "invalid community format: expected two numbers such as 65000:100, or a large community such as large:65000:1:2",
        ),
        (
            format!("{unless}!{two} || ({small} && !{})", matches("self", OVER_U16)),
            "invalid community value: invalid section: expected two numbers from 0 to 65535, such as 65000:100",
        ),
        (
            format!("{unless}!{four} || self.startsWith('large:')"),
            "invalid community value: invalid marker for large community, expected community to be of format large:<uint32>:<uint32>:<uint32>",
        ),
        (
            format!(
                "{unless}!{four} || !self.startsWith('large:') || ({large} && !{})",
                matches("self", OVER_U32)
            ),
            "invalid community value: invalid section: expected large: and three numbers from 0 to 4294967295, such as large:65000:1:2",
        ),
    ])
}

/// Of each name in a Community.
pub(crate) fn alias() -> Value {
    validations([(
        "has(self.value)".to_owned(),
        "invalid community format: value is missing, set it to two numbers such as 65000:100, or to a large community such as large:65000:1:2",
    )])
}

/// Of the AS number of the speakers.
pub(crate) fn my_asn() -> Value {
    validations([(
        "self != 0".to_owned(),
        "missing local ASN: set myASN to the AS number of the speakers, from 1 to 4294967295",
    )])
}

/// Of the address of a peer. Empty means none.
pub(crate) fn peer_address() -> Value {
    address(
        "invalid BGPPeer address: expected an IP address such as 192.0.2.1 or 2001:db8::1, without prefix length or port",
    )
}

/// Of the address that sessions are made from.
pub(crate) fn source_address() -> Value {
    address("invalid source IP: expected an IP address such as 192.0.2.1 or 2001:db8::1")
}

/// Of the BGP identifier.
pub(crate) fn router_id() -> Value {
    address("invalid router ID: expected it in the form of an IP address such as 192.0.2.1")
}

fn address(message: &'static str) -> Value {
    let [v4, v6] = [IPV4, IPV6].map(|address| matches("self", &format!("^{address}$")));
    validations([(format!("self == '' || (self.contains(':') ? {v6} : {v4})"), message)])
}

/// Of the hold time. Like MetalLB it counts whole seconds.
pub(crate) fn hold_time() -> Value {
    let duration = matches("self", DURATION);
    validations([
        (duration.clone(), "invalid hold time: expected a duration such as 90s or 1m30s"),
        (
            format!("!{duration} || duration(self).getSeconds() == 0 || duration(self).getSeconds() >= 3"),
            "invalid hold time: must be 0 or >=3s",
        ),
    ])
}

/// Of the keepalive time.
pub(crate) fn keepalive_time() -> Value {
    validations([(matches("self", DURATION), "invalid keepaliveTime: expected a duration such as 30s")])
}

/// Of the connect time: MetalLB's own rules, word for word.
pub(crate) fn connect_time() -> Value {
    validations([
        (
            "duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535".to_owned(),
            "connect time should be between 1 seconds to 65535",
        ),
        (
            "duration(self).getMilliseconds() % 1000 == 0".to_owned(),
            "connect time should contain a whole number of seconds",
        ),
    ])
}

/// Of graceful restart: MetalLB's own rule, word for word.
pub(crate) fn graceful_restart() -> Value {
    validations([("self == oldSelf".to_owned(), "EnableGracefulRestart cannot be changed after creation")])
}

/// Of the spec of a BGPPeer.
pub(crate) fn peer() -> Value {
    let (address, interface) = (given("self.peerAddress"), given("self.interface"));
    let (password, secret) = (given("self.password"), "has(self.passwordSecret)");
    validations([
        (
            format!("{address} || {interface}"),
            "peer has no Address or Interface specified: set peerAddress, or interface for a session without addresses",
        ),
        (
            format!("!{address} || !{interface}"),
            "peer has both Address and Interface specified: remove one of peerAddress and interface",
        ),
        (
            "has(self.dynamicASN) || (has(self.peerASN) && self.peerASN != 0)".to_owned(),
            "missing peer ASN and dynamicASN: set peerASN to the AS number of the router, or dynamicASN to internal or external",
        ),
        (
            "!has(self.dynamicASN) || !has(self.peerASN) || self.peerASN == 0".to_owned(),
            "both peer ASN and dynamicASN specified: remove one of peerASN and dynamicASN",
        ),
        (
            format!("!{password} || !{secret} || !{}", given("self.passwordSecret.name")),
            "can not have both password and secret ref set in peer config: remove one of password and passwordSecret",
        ),
        multi_hop(),
        timers(),
    ])
}

/// Of the spec of a BGPPeer in v1beta1. An object that was written in v1beta2 may have no address and no AS number
/// of the peer here, so only the other version asks for them.
pub(crate) fn old_peer() -> Value {
    validations([multi_hop(), timers()])
}

fn multi_hop() -> Rule {
    (
        "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || self.peerASN != self.myASN"
            .to_owned(),
        "invalid ebgp-multihop parameter set for an ibgp peer: remove ebgpMultiHop, or set peerASN to another AS than myASN",
    )
}

fn timers() -> Rule {
    let [hold, keepalive] = ["self.holdTime", "self.keepaliveTime"].map(|field| matches(field, DURATION));
    (
        format!(
            "!has(self.holdTime) || !has(self.keepaliveTime) || !{hold} || !{keepalive} || duration(self.keepaliveTime) <= duration(self.holdTime)"
        ),
        "invalid keepaliveTime: must be lower than holdTime, and is best a third of it",
    )
}
