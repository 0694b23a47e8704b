//! Growing pauses between attempts.

use std::time::Duration;

/// The longest pause between two attempts to reach the API server.
///
/// Short on purpose: a server that was away for a minute is caught up with within seconds of its return, and an
/// attempt every five seconds from each of a few hundred speakers is no load for it.
const LONGEST: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_millis(250);

/// Pauses that double from 250 ms to 5 s, each up to a quarter shorter by chance so that speakers that lost the
/// server in the same instant do not all come back in the same instant.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        self.next(chance())
    }

    /// The pause before the next attempt. `chance` in 0..=255 says how much of the jitter to use.
    pub(crate) fn next(&mut self, chance: u8) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(1.0 - f64::from(chance) / 1024.0)
    }

    /// An attempt succeeded: the next failure starts again at the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number without a pattern, for jitter only.
pub(crate) fn chance() -> u8 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..7).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next(0).as_millis(), 250);
    }

    #[test]
    fn jitter_takes_less_than_a_quarter_off() {
        for chance in [0, 1, 128, 255] {
            let pause = Backoff { failures: 20 }.next(chance);
            assert!(pause <= LONGEST && pause > LONGEST * 3 / 4, "{chance} gave {pause:?}");
        }
    }

    #[test]
    fn many_failures_do_not_overflow() {
        assert_eq!(Backoff { failures: u32::MAX }.next(0), LONGEST);
    }
}
