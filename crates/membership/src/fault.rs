//! Faults planted for the tests: each breaks the protocol in one place, and must be found.

/// A fault of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The lease counts from when the acknowledgement came.
    LeaseFromReceipt,
    /// Hearing others renews the lease.
    HearingIsEnough,
    /// A watcher goes on acknowledging whom it voted down.
    VoteKeepsAcknowledging,
    /// A started node votes at once.
    RestartForgets,
    /// Half of the voters count as a majority.
    HalfIsEnough,
    /// Only the latest electorate is asked, and it is in force at once.
    NewestElectorateOnly,
    /// A refusal by a voter is not heard.
    IgnoresRefusals,
    /// A voter lets go before the lease is over.
    SupportTooShort,
    /// A voter gives an address on while it goes on acknowledging the former holder.
    GrantsTwice,
    /// A holder that yields goes on answering until its next heartbeat.
    YieldsLate,
    /// An address is asked for whoever holds it, and held until the lease runs out although nobody is asked.
    ClaimsUnasked,
    /// In a large cluster acknowledgements of an epoch of the watch that is over go on counting.
    OldEpochsCount,
}
