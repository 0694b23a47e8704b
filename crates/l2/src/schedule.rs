//! When an address that was taken is told to the LAN.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
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

/// How many frames all announcements of an address have that was just taken; of gratuitous ARP each has a request and
/// a reply.
pub(crate) fn frames(family: Family) -> usize {
    match family {
        Family::V4 => 2 * GRATUITOUS_OFFSETS.len(),
        Family::V6 => ADVERTISEMENT_OFFSETS.len(),
    }
}

/// The announcements still to be made for one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    address: IpAddr,
    start: Instant,
    sent: usize,
    next: Option<Instant>,
    /// How often the address is announced after that.
    refresh: Option<Duration>,
}

impl Schedule {
    /// The schedule of an address taken at `start`: the first announcement is due at once, and after the last one of the
    /// series one each `refresh`, where that is wanted.
    pub(crate) fn starting(address: IpAddr, start: Instant, refresh: Option<Duration>) -> Self {
        Self { address, start, sent: 0, next: Some(start), refresh }
    }

    /// When the next announcement is due; `None` after the last.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Notes that an announcement went out at `now`. Of a late driver's missed times one announcement is
    /// made, not one for each.
    pub(crate) fn sent(&mut self, now: Instant) {
        let (offsets, gap) = match Family::of(self.address) {
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
        // The first of them spread the addresses, which may all have been taken at once, over the time of one.
        let first = self.sent == offsets.len();
        self.next =
            self.refresh.map(|refresh| now + if first { refresh * self.share() / 256 } else { refresh });
    }

    /// The address's own part of the time between two refreshes, in 256ths: 1 to 256.
    fn share(&self) -> u32 {
        // Of this hasher it matters only that addresses next to each other differ.
        let mut hasher = DefaultHasher::new();
        self.address.hash(&mut hasher);
        let [.., last] = hasher.finish().to_be_bytes();
        u32::from(last) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn address(family: Family) -> IpAddr {
        let text = if family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        text.parse().expect("an address")
    }

    /// The times, up to an hour, at which a schedule's announcements go out when the driver comes `late` after each
    /// deadline.
    fn times_of(mut schedule: Schedule, late: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(due) = schedule.due().filter(|due| *due < at(3_600_000)) {
            let now = due + Duration::from_millis(late);
            schedule.sent(now);
            times.push(u64::try_from(now.since_origin().as_millis()).expect("small"));
        }
        times
    }

    fn times(family: Family, late: u64) -> Vec<u64> {
        times_of(Schedule::starting(address(family), at(0), None), late)
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

    #[test]
    fn refreshes_come_after_the_series_once_in_their_time() {
        let refresh = Duration::from_secs(60);
        for (family, series) in [(Family::V4, 5), (Family::V6, 3)] {
            let times = times_of(Schedule::starting(address(family), at(0), Some(refresh)), 0);
            let (announced, refreshed) = times.split_at(series);
            assert_eq!(announced, self::times(family, 0));
            let (end, first) = (announced.last().expect("a series"), refreshed.first().expect("refreshes"));
            assert!(first > end && *first <= end + 60_000, "{end} {first}");
            assert!(refreshed.windows(2).all(|pair| matches!(pair, [a, b] if b - a == 60_000)), "{times:?}");
            assert!(refreshed.len() >= 58, "{times:?}");
        }
    }

    #[test]
    fn addresses_taken_at_once_are_refreshed_one_after_the_other() {
        let refresh = Duration::from_secs(256);
        let first = |number: u8| {
            let schedule = Schedule::starting(IpAddr::from([192, 0, 2, number]), at(0), Some(refresh));
            *times_of(schedule, 0).get(GRATUITOUS_OFFSETS.len()).expect("a refresh")
        };
        let mut seconds: Vec<u64> = (0..=255).map(|number| first(number) / 1_000).collect();
        seconds.sort_unstable();
        let most = seconds.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert!(most.is_some_and(|most| most <= 8), "{seconds:?}");
    }
}
