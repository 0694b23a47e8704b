//! Whether a Lease may be taken. No input or output; time comes in.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

/// What a candidate has seen of a Lease, by its own clock.
///
/// Expiry counts from when this candidate saw the record change last, never from the times written in it: clocks
/// of different nodes may be minutes apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    last: Option<(Option<LeaseSpec>, Instant)>,
}

impl Observed {
    /// Notes what the Lease looks like `now`; `None` where there is none.
    pub(crate) fn note(&mut self, lease: Option<&LeaseSpec>, now: Instant) {
        if self.last.as_ref().is_none_or(|(last, _)| last.as_ref() != lease) {
            self.last = Some((lease.cloned(), now));
        }
    }

    /// Since when the Lease has looked as it does now.
    fn since(&self) -> Option<Instant> {
        self.last.as_ref().map(|(_, since)| *since)
    }
}

/// What to do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is free or expired: take it.
    Acquire,
    /// It is ours, perhaps from before a restart: go on with it.
    Renew,
    /// It is another's: look again when it changes, or after this long.
    Wait(Duration),
}

/// What the candidate `identity` does about `lease` at `now`.
pub(crate) fn decide(lease: Option<&LeaseSpec>, observed: &Observed, identity: &str, now: Instant) -> Action {
    let Some(lease) = lease else { return Action::Acquire };
    match lease.holder_identity.as_deref() {
        None | Some("") => return Action::Acquire,
        Some(holder) if holder == identity => return Action::Renew,
        Some(_) => {}
    }
    let seconds = u64::try_from(lease.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    let duration = Duration::from_secs(seconds);
    let expires = observed.since().unwrap_or(now) + duration.saturating_sub(early(duration));
    match expires.saturating_duration_since(now) {
        Duration::ZERO => Action::Acquire,
        left => Action::Wait(left),
    }
}

/// How long before its end a Lease may be taken, so that whoever takes it is at work when it ends. A holder has given
/// up far earlier: its renew deadline is below nine tenths of the duration, with client-go as here.
fn early(duration: Duration) -> Duration {
    (duration / 16).min(Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a candidate leaves a Lease of 15 s alone.
    const WAIT: Duration = Duration::from_millis(14_500);

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        let renewed = k8s_openapi::jiff::Timestamp::from_second(renewed).expect("a time in range");
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(renewed)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_that_is_absent_released_or_ours_is_taken_at_once() {
        let now = Instant::now();
        let unheld = LeaseSpec { holder_identity: None, ..held_by("", 0) };
        let cases = [
            (None, Action::Acquire),
            (Some(unheld), Action::Acquire),
            (Some(held_by("", 0)), Action::Acquire),
            (Some(held_by("me", 0)), Action::Renew),
        ];
        for (lease, expected) in cases {
            let mut observed = Observed::default();
            observed.note(lease.as_ref(), now);
            assert_eq!(decide(lease.as_ref(), &observed, "me", now), expected, "{lease:?}");
        }
    }

    #[test]
    fn anothers_lease_is_left_alone_until_it_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let mut observed = Observed::default();
        let lease = held_by("other", 1_700_000_000);
        observed.note(Some(&lease), start);
        for (seconds, expected) in [
            (0, Action::Wait(WAIT)),
            (10, Action::Wait(Duration::from_millis(4_500))),
            (15, Action::Acquire),
            (3600, Action::Acquire),
        ] {
            let now = start + Duration::from_secs(seconds);
            observed.note(Some(&lease), now);
            assert_eq!(decide(Some(&lease), &observed, "me", now), expected, "after {seconds} s");
        }
    }

    #[test]
    fn a_renewal_starts_the_wait_anew() {
        let start = Instant::now();
        let mut observed = Observed::default();
        observed.note(Some(&held_by("other", 1_700_000_000)), start);
        let later = start + Duration::from_secs(14);
        let renewed = held_by("other", 1_700_000_014);
        observed.note(Some(&renewed), later);
        assert_eq!(decide(Some(&renewed), &observed, "me", later), Action::Wait(WAIT));
    }

    #[test]
    fn the_clocks_of_others_do_not_matter() {
        let now = Instant::now();
        for renewed in [0, 4_000_000_000] {
            let lease = held_by("other", renewed);
            let mut observed = Observed::default();
            observed.note(Some(&lease), now);
            assert_eq!(decide(Some(&lease), &observed, "me", now), Action::Wait(WAIT));
        }
    }
}
