//! Answers of the API server that are still good.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Digest, Verdict};

/// How many are kept.
const ROOM: usize = 256;

/// How long a token that may is not asked about again: as long as it may at most go on after it was taken back.
const ALLOWED: Duration = Duration::from_secs(60);

/// How long a token that may not is not asked about again: as long as a new RoleBinding may take to be seen.
const REFUSED: Duration = Duration::from_secs(10);

/// A bounded memory of answers by token.
#[derive(Debug, Default)]
pub(super) struct Answers {
    entries: HashMap<Digest, Entry>,
    /// Counts uses: what was used last has the highest number.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    verdict: Verdict,
    until: Instant,
    used: u64,
}

impl Answers {
    pub(super) fn get(&mut self, token: &Digest, now: Instant) -> Option<Verdict> {
        let entry = self.entries.get_mut(token).filter(|entry| now < entry.until)?;
        self.uses += 1;
        entry.used = self.uses;
        Some(entry.verdict.clone())
    }

    /// Remembers what is an answer. Where there is no room, what has expired goes first, then refusals, then what was
    /// used longest ago: so a stranger with many tokens does not push out those that may.
    pub(super) fn put(&mut self, token: Digest, verdict: Verdict, now: Instant) {
        let life = match verdict {
            Verdict::Allowed => ALLOWED,
            Verdict::Denied { .. } | Verdict::Unauthenticated => REFUSED,
            Verdict::Unavailable(_) => return,
        };
        if self.entries.len() >= ROOM && !self.entries.contains_key(&token) {
            let rank = |entry: &Entry| (now < entry.until, entry.verdict == Verdict::Allowed, entry.used);
            if let Some(&least) =
                self.entries.iter().min_by_key(|(_, entry)| rank(entry)).map(|(token, _)| token)
            {
                self.entries.remove(&least);
            }
        }
        self.uses += 1;
        self.entries.insert(token, Entry { verdict, until: now + life, used: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Digest {
        let mut token = [0; 32];
        token[..8].copy_from_slice(&number.to_be_bytes());
        token
    }

    #[test]
    fn an_answer_is_good_for_as_long_as_its_kind_is() {
        let start = Instant::now();
        for (verdict, seconds) in [
            (Verdict::Allowed, 60),
            (Verdict::Unauthenticated, 10),
            (Verdict::Denied { user: "u".into() }, 10),
            (Verdict::Unavailable("gone".into()), 0),
        ] {
            let mut answers = Answers::default();
            answers.put(token(1), verdict.clone(), start);
            if seconds > 0 {
                let last = start + Duration::from_secs(seconds).saturating_sub(Duration::from_millis(1));
                assert_eq!(answers.get(&token(1), last), Some(verdict.clone()));
            }
            assert_eq!(answers.get(&token(1), start + Duration::from_secs(seconds)), None, "{verdict:?}");
        }
    }

    #[test]
    fn many_strangers_take_no_more_room_and_push_out_nobody_who_may() {
        let now = Instant::now();
        let mut answers = Answers::default();
        answers.put(token(0), Verdict::Allowed, now);
        for stranger in 1..10 * ROOM {
            answers.put(token(stranger), Verdict::Unauthenticated, now);
        }
        assert_eq!(answers.entries.len(), ROOM);
        assert_eq!(answers.get(&token(0), now), Some(Verdict::Allowed));
        assert_eq!(answers.get(&token(1), now), None);
        assert_eq!(answers.get(&token(10 * ROOM - 1), now), Some(Verdict::Unauthenticated));
    }

    #[test]
    fn what_has_expired_goes_first_and_what_was_used_longest_ago_next() {
        let start = Instant::now();
        let later = start + REFUSED;
        let mut answers = Answers::default();
        answers.put(token(0), Verdict::Unauthenticated, start);
        for number in 1..ROOM {
            answers.put(token(number), Verdict::Allowed, start);
        }
        answers.get(&token(1), later).expect("it is still good");
        answers.put(token(ROOM), Verdict::Allowed, later);
        answers.put(token(ROOM + 1), Verdict::Allowed, later);
        assert_eq!(answers.entries.len(), ROOM);
        assert!(!answers.entries.contains_key(&token(0)), "it had expired");
        assert!(answers.entries.contains_key(&token(1)), "it was just used");
        assert!(!answers.entries.contains_key(&token(2)), "it was used longest ago");
    }
}
