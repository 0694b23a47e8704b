//! When an address that was taken is told to the LAN.

use std::time::Duration;

use net::Family;

use crate::Instant;

/// Gratuitous ARP after taking an address: at once for hosts, twice later than one second for receivers that
/// ignore a second change within that time (Linux's `locktime`), a last time for lost frames.
pub const GRATUITOUS_OFFSETS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(1_100),
    Duration::from_millis(2_200),
    Duration::from_secs(5),
];

/// Unsolicited neighbor advertisements: at most three, at least a second apart (RFC 4861 §7.2.6).
pub const ADVERTISEMENT_OFFSETS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(1_100), Duration::from_millis(2_200)];

const ADVERTISEMENT_GAP: Duration = Duration::from_secs(1);

/// From a foreign claim to the defence against it. A handover between nodes whose views of the cluster differ
/// for a moment looks like a claim, too; the loser has yielded by then.
pub const CONFLICT_DELAY: Duration = Duration::from_secs(1);

/// At most one defence of an address in this time (RFC 5227 §2.4(c)).
pub const DEFENCE_INTERVAL: Duration = Duration::from_secs(10);

/// How long after a defence a rival's answer to the probe is waited for.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(2);

/// The announcements still to be made for one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    family: Family,
    start: Instant,
    sent: usize,
    next: Option<Instant>,
}

impl Schedule {
    /// The schedule of an address taken at `start`: the first announcement is due at once.
    pub(crate) fn starting(family: Family, start: Instant) -> Self {
        Self { family, start, sent: 0, next: Some(start) }
    }

    /// When the next announcement is due; `None` after the last.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Notes that an announcement went out at `now`. Of a late driver's missed times one announcement is
    /// made, not one for each.
    pub(crate) fn sent(&mut self, now: Instant) {
        let (offsets, gap) = match self.family {
            Family::V4 => (GRATUITOUS_OFFSETS.as_slice(), Duration::ZERO),
            Family::V6 => (ADVERTISEMENT_OFFSETS.as_slice(), ADVERTISEMENT_GAP),
        };
        self.sent += 1;
        while let Some(&offset) = offsets.get(self.sent) {
            let at = self.start + offset;
            if at > now {
                self.next = Some(at.max(now + gap));
                return;
            }
            self.sent += 1;
        }
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    /// The times at which announcements go out when the driver comes `late` after each deadline.
    fn times(family: Family, late: u64) -> Vec<u64> {
        let mut schedule = Schedule::starting(family, at(0));
        let mut times = Vec::new();
        while let Some(due) = schedule.due() {
            let now = due + Duration::from_millis(late);
            schedule.sent(now);
            times.push(u64::try_from(now.since_origin().as_millis()).expect("small"));
        }
        times
    }

    #[test]
    fn announcements_come_at_the_stated_times() {
        assert_eq!(times(Family::V4, 0), [0, 100, 1_100, 2_200, 5_000]);
        assert_eq!(times(Family::V6, 0), [0, 1_100, 2_200]);
    }

    #[test]
    fn a_late_driver_announces_once_for_what_it_missed() {
        assert_eq!(times(Family::V4, 1_500), [1_500, 3_700, 6_500]);
        assert_eq!(times(Family::V6, 1_500), [1_500, 4_000]);
    }
}
