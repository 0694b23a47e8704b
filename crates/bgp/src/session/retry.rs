//! When a session is tried again.

use std::time::Duration;

/// The time to the first retry.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time between sessions that go wrong, where the time between attempts to connect is shorter.
const DAMPED: Duration = Duration::from_secs(60);

/// How long an attempt to connect may take, where the time between attempts is longer.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection.
    Connect,
    /// There was one, but no session, or it ended.
    Session,
}

/// Failures in a row, and randomness for the times between.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    failures: u32,
    random: u64,
}

impl Retry {
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// The last session was a good one, or there is a new reason to hope.
    pub(crate) fn forget(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure: twice as long each time, up to the time between attempts to connect;
    /// up to a minute where sessions go wrong, so that neither side is kept busy with them (RFC 4271 §8.1.1,
    /// DampPeerOscillations).
    pub(crate) fn after(&mut self, failure: Failure, connect_time: Duration) -> Duration {
        let longest = match failure {
            Failure::Connect => connect_time,
            Failure::Session => connect_time.max(DAMPED),
        };
        let time = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(longest);
        self.failures = self.failures.saturating_add(1).min(31);
        self.jittered(time)
    }

    /// Whether several failed in a row.
    pub(crate) fn is_damping(&self) -> bool {
        self.failures >= 3
    }

    /// How long an attempt to connect may take.
    pub(crate) fn attempt(connect_time: Duration) -> Duration {
        connect_time.min(ATTEMPT)
    }

    /// A time between three quarters and all of this one, so that many speakers do not march in step (RFC 4271 §10).
    pub(crate) fn jittered(&mut self, time: Duration) -> Duration {
        // SplitMix64: small, and good enough to spread times.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((z ^ (z >> 31)) >> 48).expect("16 bits are left");
        time * 3 / 4 + time / 4 * share / 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_when_forgotten() {
        let connect_time = Duration::from_secs(10);
        for (failure, expected) in [
            (Failure::Connect, [1, 2, 4, 8, 10, 10, 10, 10]),
            (Failure::Session, [1, 2, 4, 8, 16, 32, 60, 60]),
        ] {
            let mut retry = Retry::new(7);
            for seconds in expected {
                let (wait, full) = (retry.after(failure, connect_time), Duration::from_secs(seconds));
                assert!(wait >= full * 3 / 4 && wait <= full, "{wait:?} of {full:?}");
            }
            for _ in 0..100 {
                assert!(retry.after(failure, connect_time) <= Duration::from_secs(60));
            }
            retry.forget();
            assert!(retry.after(failure, connect_time) <= FIRST);
        }
    }

    #[test]
    fn waits_are_spread_over_the_last_quarter() {
        let mut retry = Retry::new(1);
        let times: Vec<Duration> = (0..1_000).map(|_| retry.jittered(Duration::from_secs(100))).collect();
        let (least, most) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
        assert!(*least < Duration::from_secs(76) && *least >= Duration::from_secs(75), "{least:?}");
        assert!(*most > Duration::from_secs(99) && *most <= Duration::from_secs(100), "{most:?}");
    }
}
