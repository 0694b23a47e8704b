//! BFD profiles.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::ConfigError;

/// A validated BFDProfile: the settings of BFD sessions (RFC 5880). `None` is the default of the BFD engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BfdProfile {
    /// The name of the BFDProfile.
    pub name: String,
    /// The shortest interval between packets that we can receive: 10 ms to 60 s.
    pub receive_interval: Option<Duration>,
    /// The shortest interval between packets that we want to send: 10 ms to 60 s.
    pub transmit_interval: Option<Duration>,
    /// How many packets in a row may be lost: 2 to 255.
    pub detect_multiplier: Option<u8>,
    /// The shortest interval between echo packets: 10 ms to 60 s.
    pub echo_interval: Option<Duration>,
    /// Whether packets are sent that the router forwards back.
    pub echo_mode: bool,
    /// Whether the session waits for the router's first packet before it sends any.
    pub passive_mode: bool,
    /// The lowest TTL of packets that is accepted in multihop sessions: 1 to 254.
    pub minimum_ttl: Option<u8>,
}

/// The range of intervals, in milliseconds.
const INTERVAL: RangeInclusive<i32> = 10..=60_000;

/// Reads one BFDProfile, which stands at `place` (from 1) among all by name.
pub(crate) fn parse(object: &api::BFDProfile, place: usize) -> Result<BfdProfile, ConfigError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let at = |source| ConfigError::BfdProfile { place, source: Box::new(source) };
    if name.is_empty() {
        return Err(at(ConfigError::MissingBfdProfileName));
    }
    let number = |value: Option<i32>, range: RangeInclusive<i32>, what: &'static str| match value {
        Some(value) if !range.contains(&value) => {
            Err(at(ConfigError::BfdRange { value, first: *range.start(), last: *range.end(), what }))
        }
        value => Ok(value),
    };
    let byte = |value: Option<i32>, range, what| -> Result<_, ConfigError> {
        Ok(number(value, range, what)?.map(|value| u8::try_from(value).expect("the range is within a byte")))
    };
    let interval = |value: Option<i32>, what| -> Result<_, ConfigError> {
        let milliseconds = number(value, INTERVAL, what)?;
        Ok(milliseconds.map(|value| Duration::from_millis(u64::try_from(value).expect("positive"))))
    };
    let spec = &object.spec;
    Ok(BfdProfile {
        detect_multiplier: byte(spec.detect_multiplier, 2..=255, "detect multiplier")?,
        receive_interval: interval(spec.receive_interval, "receive interval")?,
        transmit_interval: interval(spec.transmit_interval, "transmit interval")?,
        minimum_ttl: byte(spec.minimum_ttl, 1..=254, "minimum ttl")?,
        echo_interval: interval(spec.echo_interval, "echo interval")?,
        echo_mode: spec.echo_mode.unwrap_or(false),
        passive_mode: spec.passive_mode.unwrap_or(false),
        name,
    })
}
