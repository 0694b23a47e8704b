//! What is known of another speaker: its life, which of its packets are new, how it is.

use std::collections::VecDeque;
use std::time::Duration;

use l2::Instant;
use net::MacAddr;

use crate::id::{Incarnation, Life, NodeId};
use crate::ledger::View;
use crate::packet::{Flags, LinkId};
use crate::profile::GUARD;

/// How many packets are remembered as sent: their acknowledgements may still come.
const SENT: usize = 32;
/// How many former lives are remembered, lest a recording of one passes for a new one.
const RETIRED: usize = 8;
/// How late an answer may be that proves a new life.
const FRESH: Duration = Duration::from_secs(2);

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Sent {
    pub(crate) sequence: u64,
    pub(crate) at: Instant,
    /// The time between heartbeats that it promised its receiver.
    pub(crate) span: Duration,
    /// The time between heartbeats to those who watch.
    pub(crate) interval: Duration,
    pub(crate) watch: u32,
    pub(crate) link: LinkId,
}

/// Which sequence numbers have been seen: the highest, and a bit for each of the 64 before it.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Window {
    highest: u64,
    seen: u64,
}

impl Window {
    /// Whether the number is new; notes it.
    fn admit(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = u32::try_from(ahead).ok().and_then(|n| self.seen.checked_shl(n)).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        let bit = u32::try_from(behind).ok().and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0 && sequence != 0;
        self.seen |= bit;
        new
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new, from the life that is known.
    Known,
    /// It proves a new life.
    NewLife,
    /// It may be from a new life: answered with an echo, that life can prove itself.
    Unproven,
    /// A recording, a duplicate or too old.
    Replayed,
}

/// Another speaker.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Peer {
    incarnation: Option<Incarnation>,
    window: Window,
    retired: VecDeque<Incarnation>,
    /// The latest packet of a life that has not proved itself.
    unproven: Option<(Incarnation, u64)>,
    next_sequence: u64,
    sent: VecDeque<Sent>,
    /// When it was heard last, and since when it has been expected.
    pub(crate) heard: Option<Instant>,
    pub(crate) expected: Instant,
    /// When its latest heartbeat came, with the interval that it promised.
    pub(crate) beat: Option<(Instant, Duration)>,
    /// The sequence of that heartbeat: one that was sent before it says nothing any more.
    pub(crate) beat_sequence: u64,
    /// Whether heartbeats of every interval are expected of it.
    pub(crate) watched: bool,
    /// The epoch of its watch, and who else watches it.
    pub(crate) watch: u32,
    pub(crate) watchers: Vec<Life>,
    /// The epoch of its watch in which this node voted it down, and how often it has yet to say so.
    pub(crate) voted: u32,
    pub(crate) repeats: u8,
    pub(crate) down: bool,
    /// Since when it is heard without a break.
    pub(crate) risen: Option<Instant>,
    /// When that began.
    pub(crate) fell: Instant,
    /// The latest packet that told, unproven, what it holds.
    hint: Option<(Incarnation, u64)>,
    pub(crate) flags: Flags,
    pub(crate) links: Vec<(LinkId, bool)>,
    pub(crate) macs: Vec<MacAddr>,
    /// The latest electorate that it knows, and the voters that it would found one with.
    pub(crate) newest: u64,
    pub(crate) founding: Vec<NodeId>,
    pub(crate) view: View,
    /// Until when its acknowledgement as a watcher counts.
    pub(crate) watch_valid: Option<Instant>,
    /// The latest epoch of this node's watch that it acknowledged as a voter.
    pub(crate) watch_known: u32,
    /// Until when its acknowledgements count on each other interface.
    pub(crate) link_valid: Vec<(LinkId, Instant)>,
    /// Since when the latest heartbeat to it is unanswered.
    pub(crate) unanswered: Option<Instant>,
    /// When to renew with it next, in a large cluster; at once where nothing is said.
    pub(crate) renew_at: Option<Instant>,
    /// Whether it has been reported as unheard.
    pub(crate) reported: bool,
}

impl Peer {
    /// Its life, where it has proved one.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// It is down from now on; whether that is news.
    pub(crate) fn fall(&mut self, now: Instant) -> bool {
        let news = !std::mem::replace(&mut self.down, true);
        if news {
            self.fell = now;
        }
        news
    }

    /// Whether a packet of that life shows that a node is up again that was only said to be down. None that may have
    /// been on its way when it fell, and none a second time.
    pub(crate) fn rises(&mut self, life: Incarnation, sequence: u64, now: Instant) -> bool {
        let new = self.hint.is_none_or(|(known, last)| known != life || last < sequence);
        if new {
            self.hint = Some((life, sequence));
        }
        let hearsay = self.down && !self.watched && now >= self.fell + GUARD;
        new && hearsay && !self.retired.contains(&life) && std::mem::take(&mut self.down)
    }

    /// What proves to it that this node's packets are no recordings.
    pub(crate) fn echo(&self) -> Option<(Incarnation, u64)> {
        self.unproven.or_else(|| self.incarnation.map(|life| (life, self.window.highest)))
    }

    /// The number of the next packet to it.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// The number of the latest packet to it.
    pub(crate) fn last_number(&self) -> u64 {
        self.next_sequence
    }

    /// Remembers a packet as sent.
    pub(crate) fn note(&mut self, sent: Sent) {
        if self.sent.len() == SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
    }

    /// The packet of that number, where it is remembered.
    pub(crate) fn sent(&self, sequence: u64) -> Option<Sent> {
        self.sent.iter().rev().find(|sent| sent.sequence == sequence).copied()
    }

    /// Judges a received packet.
    pub(crate) fn admit(
        &mut self,
        life: Incarnation,
        sequence: u64,
        echoed: Option<u64>,
        now: Instant,
    ) -> Admission {
        if self.incarnation == Some(life) {
            if !self.window.admit(sequence) {
                return Admission::Replayed;
            }
            self.unproven = None;
            return Admission::Known;
        }
        if self.retired.contains(&life) {
            return Admission::Replayed;
        }
        let answered = echoed.and_then(|sequence| self.sent(sequence));
        if answered.is_none_or(|sent| now.saturating_since(sent.at) > FRESH) {
            self.unproven = Some((life, sequence));
            return Admission::Unproven;
        }
        if let Some(former) = self.incarnation.replace(life) {
            if self.retired.len() == RETIRED {
                self.retired.pop_front();
            }
            self.retired.push_back(former);
        }
        *self = Self {
            incarnation: self.incarnation,
            retired: std::mem::take(&mut self.retired),
            next_sequence: self.next_sequence,
            sent: std::mem::take(&mut self.sent),
            expected: now,
            down: self.down,
            fell: self.fell,
            reported: self.reported,
            ..Self::default()
        };
        self.window.admit(sequence);
        Admission::NewLife
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn a_number_is_admitted_once_and_only_within_the_window() {
        let mut window = Window::default();
        for (sequence, new) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (100, true),
            (30, false),
            (37, true),
            (0, false),
        ] {
            assert_eq!(window.admit(sequence), new, "{sequence}");
        }
    }

    #[test]
    fn a_life_proves_itself_by_an_answer_and_never_comes_back() {
        let mut peer = Peer::default();
        let (first, second) = (Incarnation(1), Incarnation(2));
        assert_eq!(peer.admit(first, 1, None, at(0)), Admission::Unproven);
        assert_eq!(peer.echo(), Some((first, 1)));
        let sent = |sequence, ms| Sent {
            sequence,
            at: at(ms),
            span: FRESH,
            interval: FRESH,
            watch: 0,
            link: LinkId(0),
        };
        let number = peer.number();
        peer.note(sent(number, 5));
        assert_eq!(peer.admit(first, 2, Some(number), at(10)), Admission::NewLife);
        assert_eq!(peer.admit(first, 2, Some(number), at(11)), Admission::Replayed);
        assert_eq!(peer.admit(second, 1, Some(number), at(2_006)), Admission::Unproven, "an old answer");
        let number = peer.number();
        peer.note(sent(number, 2_010));
        assert_eq!(peer.admit(second, 2, Some(number), at(2_020)), Admission::NewLife);
        assert_eq!(peer.admit(first, 3, Some(number), at(2_021)), Admission::Replayed, "its time is over");
    }
}
