//! How long a received frame has waited, by a clock that people set.

use std::time::Duration;

use crate::clock::{boot_time, wall_time};

/// A difference between the two clocks that is larger than this was made by somebody who set the wall clock: who only
/// corrects its rate (adjtimex(2)) changes it by less than this in seconds.
const STEP: i128 = 10_000_000;
/// How long after a step frames may still wait that came before it.
const FORMER: Duration = Duration::from_secs(10);

/// Tells the age of received frames. The kernel stamps them by the wall clock (`CLOCK_REALTIME`), which may be set
/// between a frame's arrival and now. What the wall clock was ahead of the boot clock, which nobody sets, is therefore
/// remembered across a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// What the wall clock is ahead of the boot clock, in nanoseconds.
    ahead: i128,
    /// What it was before the latest step, and when, by the boot clock, that was noticed.
    former: Option<(i128, Duration)>,
}

/// The time by both clocks: since the machine booted, and since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both {
    boot: Duration,
    wall: Duration,
}

impl Both {
    pub(crate) fn now() -> Self {
        Self { boot: boot_time(), wall: wall_time() }
    }

    fn ahead(self) -> i128 {
        nanos(self.wall) - nanos(self.boot)
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4)
}

impl Ages {
    pub(crate) fn new(now: Both) -> Self {
        Self { ahead: now.ahead(), former: None }
    }

    /// The age of a frame with that stamp. Where the wall clock was just set the stamp may be from before or after; then
    /// the smaller age counts that is possible, and a stamp from the future by both is one of now.
    pub(crate) fn age(&mut self, now: Both, stamp: Duration) -> Duration {
        let before = std::mem::replace(&mut self.ahead, now.ahead());
        if (before - self.ahead).abs() > STEP {
            self.former = Some((before, now.boot));
        }
        self.former = self.former.filter(|(_, noticed)| now.boot.saturating_sub(*noticed) < FORMER);
        let of = |ahead: i128| u64::try_from(nanos(now.boot) + ahead - nanos(stamp)).ok();
        let former = self.former.and_then(|(ahead, _)| of(ahead));
        Duration::from_nanos([of(self.ahead), former].into_iter().flatten().min().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The wall clock begins a year ahead of the boot clock.
    const YEAR: u64 = 365 * 24 * HOUR;

    fn both(boot: u64, wall: u64) -> Both {
        Both { boot: ms(boot), wall: ms(wall) }
    }

    #[test]
    fn an_age_is_the_time_since_the_stamp() {
        let mut ages = Ages::new(both(0, YEAR));
        assert_eq!(ages.age(both(500, YEAR + 500), ms(YEAR + 499)), ms(1));
        assert_eq!(ages.age(both(5_000, YEAR + 5_000), ms(YEAR + 500)), ms(4_500));
        assert_eq!(ages.age(both(5_000, YEAR + 5_000), ms(YEAR + 5_001)), ms(0), "a stamp from the future");
    }

    #[test]
    fn a_wall_clock_that_is_set_makes_no_waiting_frame_old_or_new_and_none_after_it() {
        // By how much, in milliseconds: forwards and backwards, a little and more than the clock shows.
        for step in
            [-i128::from(YEAR) / 2, -i128::from(HOUR), -1_000, 1_000, i128::from(HOUR), i128::from(YEAR) * 50]
        {
            let wall =
                |boot: u64, step: i128| u64::try_from(i128::from(YEAR + boot) + step).expect("after 1970");
            let mut ages = Ages::new(both(0, YEAR));
            // The clock is set at 10,000; frames came 900 ms and 50 ms before it and 5 ms after it, and are read 10 ms after it.
            let now = both(10_010, wall(10_010, step));
            assert_eq!(ages.age(now, ms(wall(9_950, 0))), ms(60), "{step}");
            assert_eq!(ages.age(now, ms(wall(9_100, 0))), ms(910), "{step}");
            assert_eq!(ages.age(now, ms(wall(10_005, step))), ms(5), "{step}");
            // From then on nothing is dropped that is fresh, nor taken that is not: at once, and for ever.
            for boot in [10_020, 10_500, 19_000, 25_000, 3_000_000] {
                let now = both(boot, wall(boot, step));
                assert_eq!(ages.age(now, ms(wall(boot - 1, step))), ms(1), "{step} {boot}");
            }
            let stale = both(3_001_000, wall(3_001_000, step));
            assert_eq!(ages.age(stale, ms(wall(3_000_000, step))), ms(1_000), "{step}");
        }
    }

    #[test]
    fn a_rate_that_is_corrected_is_no_step() {
        // 500 parts in a million, the most that adjtimex(2) does, looked at once in ten seconds.
        let mut ages = Ages::new(both(0, YEAR));
        for round in 1..100 {
            let (boot, wall) = (round * 10_000, YEAR + round * 10_005);
            assert_eq!(ages.age(both(boot, wall), ms(wall - 20)), ms(20));
            assert!(ages.former.is_none(), "round {round}");
        }
    }
}
