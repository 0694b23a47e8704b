//! How fast: intervals and what follows from them.

use std::time::Duration;

use crate::electorate::MAX_VOTERS;

/// How long no running or former lease can outlast: 3 intervals of the slowest profile and a clock that is 1% slow,
/// rounded up. A speaker that starts neither acknowledges nor votes for this long.
pub const GUARD: Duration = Duration::from_millis(1_000);

/// How long a change of the electorate is under way at least: longer than API views lag, so that also one who
/// forgot that it agreed has seen the change.
pub const SETTLE: Duration = Duration::from_secs(6);

/// How fast failures are found (`spec.failover.profile`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// A heartbeat every 50 ms.
    Fast,
    /// A heartbeat every 100 ms.
    #[default]
    Default,
    /// A heartbeat every 300 ms.
    Relaxed,
}

impl Profile {
    /// The time from one heartbeat to the next. A node is down after three.
    pub fn interval(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 50,
            Self::Default => 100,
            Self::Relaxed => 300,
        })
    }

    /// The next slower one; the slowest stays.
    #[must_use]
    pub fn slower(self) -> Self {
        match self {
            Self::Fast => Self::Default,
            Self::Default | Self::Relaxed => Self::Relaxed,
        }
    }
}

/// What a node may do without a majority (`spec.failover.onQuorumLoss`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnQuorumLoss {
    /// Nothing: no address is ever held twice.
    #[default]
    Silent,
    /// Announce what nobody answers for.
    Announce,
}

/// How often a node renews with its voters. In a small cluster that is the heartbeat; a council hears from each of
/// many speakers so rarely that 25 renewals a second reach each of its members, and learns of deaths from watchers.
pub(crate) fn renewal(interval: Duration, speakers: usize) -> Duration {
    if speakers <= MAX_VOTERS {
        return interval;
    }
    let many = u32::try_from(speakers).unwrap_or(u32::MAX);
    (Duration::from_millis(40) * many).clamp(interval, Duration::from_secs(30))
}

/// How long an acknowledged heartbeat gives the right to answer, from when it was sent.
pub(crate) fn lease(span: Duration) -> Duration {
    span * 5 / 2
}

/// How long a voter stands by what it acknowledged: longer than the lease on any two clocks that differ by 1%.
pub(crate) fn support(span: Duration) -> Duration {
    span * 3
}
