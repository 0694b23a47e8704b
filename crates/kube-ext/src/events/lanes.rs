//! The order in which notices are written: one after the other about one object, many objects at once, and no
//! namespace, whose admission webhook may be broken, takes all the places. No input or output, no clock.

use std::collections::{BTreeMap, VecDeque};

use super::correlator::Notice;
use crate::ObjectKey;

/// How many notices may be written at once.
const PLACES: usize = 16;
/// How many of them may be about objects of one namespace.
const PLACES_OF_A_NAMESPACE: usize = 8;

/// What a lane is for: an object, and its kind.
pub(super) type Lane = (ObjectKey, Option<String>);

/// The notices that wait, and how many are being written.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The notices that wait for each object; a lane is here while one waits or is being written.
    waiting: BTreeMap<Lane, VecDeque<Notice>>,
    /// The lanes of each namespace whose turn it is, in order.
    ready: BTreeMap<String, VecDeque<Lane>>,
    /// How many notices of each namespace are being written.
    writing: BTreeMap<String, usize>,
    /// The namespace that was served last; the others come first.
    last: String,
}

impl Lanes {
    /// Another notice waits.
    pub(super) fn add(&mut self, notice: Notice) {
        let lane = (notice.object(), notice.about.kind.clone());
        let queue = self.waiting.entry(lane.clone()).or_insert_with(|| {
            self.ready.entry(lane.0.namespace.clone()).or_default().push_back(lane.clone());
            VecDeque::new()
        });
        queue.push_back(notice);
    }

    /// The next notice to write; its lane is taken until [`done`](Self::done).
    pub(super) fn next(&mut self) -> Option<(Lane, Notice)> {
        if self.writing.values().sum::<usize>() >= PLACES {
            return None;
        }
        let free = |namespace: &&String| {
            self.writing.get(*namespace).is_none_or(|writing| *writing < PLACES_OF_A_NAMESPACE)
        };
        let after = self.ready.keys().filter(|namespace| **namespace > self.last).find(free);
        let namespace = after.or_else(|| self.ready.keys().find(free))?.clone();
        let lanes = self.ready.get_mut(&namespace)?;
        let lane = lanes.pop_front()?;
        if lanes.is_empty() {
            self.ready.remove(&namespace);
        }
        let notice = self.waiting.get_mut(&lane)?.pop_front()?;
        *self.writing.entry(namespace.clone()).or_default() += 1;
        self.last = namespace;
        Some((lane, notice))
    }

    /// The notice of this lane is written, or given up.
    pub(super) fn done(&mut self, lane: &Lane) {
        let namespace = &lane.0.namespace;
        if let Some(writing) = self.writing.get_mut(namespace) {
            *writing -= 1;
            if *writing == 0 {
                self.writing.remove(namespace);
            }
        }
        if self.waiting.get(lane).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(lane);
        } else {
            self.ready.entry(namespace.clone()).or_default().push_back(lane.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::EventKind;

    fn notice(namespace: &str, name: &str, message: &str) -> Notice {
        Notice {
            about: ObjectReference {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                ..ObjectReference::default()
            },
            kind: EventKind::Normal,
            reason: "Reason".into(),
            message: message.into(),
            host: None,
        }
    }

    fn take(lanes: &mut Lanes) -> Vec<(Lane, String)> {
        std::iter::from_fn(|| lanes.next()).map(|(lane, notice)| (lane, notice.message)).collect()
    }

    #[test]
    fn notices_about_one_object_are_written_one_after_the_other() {
        let mut lanes = Lanes::default();
        for message in ["first", "second"] {
            lanes.add(notice("shop", "web", message));
        }
        let taken = take(&mut lanes);
        assert_eq!(taken.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>(), ["first"]);
        lanes.done(&taken[0].0);
        let taken = take(&mut lanes);
        assert_eq!(taken[0].1, "second");
        lanes.done(&taken[0].0);
        assert!(take(&mut lanes).is_empty());
        assert!(lanes.waiting.is_empty() && lanes.ready.is_empty() && lanes.writing.is_empty());
    }

    #[test]
    fn a_namespace_that_is_stuck_leaves_places_to_others() {
        let mut lanes = Lanes::default();
        for number in 0..100 {
            lanes.add(notice("stuck", &number.to_string(), "never written"));
        }
        assert_eq!(take(&mut lanes).len(), PLACES_OF_A_NAMESPACE);
        lanes.add(notice("healthy", "web", "written"));
        let taken = take(&mut lanes);
        assert_eq!(taken.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>(), ["written"]);
    }

    #[test]
    fn no_more_are_written_at_once_than_there_are_places() {
        let mut lanes = Lanes::default();
        for namespace in ["a", "b", "c"] {
            for number in 0..PLACES {
                lanes.add(notice(namespace, &number.to_string(), "text"));
            }
        }
        assert_eq!(take(&mut lanes).len(), PLACES);
    }
}
