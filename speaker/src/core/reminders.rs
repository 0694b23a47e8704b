//! When something about a Service, or another object, is to be told (again).

use std::collections::{BTreeMap, BTreeSet};

use l2::Instant;

/// At most one appointment for each object.
#[derive(Debug)]
pub(crate) struct Reminders<K> {
    of: BTreeMap<K, Instant>,
    due: BTreeSet<(Instant, K)>,
}

impl<K> Default for Reminders<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), due: BTreeSet::new() }
    }
}

impl<K: Clone + Ord> Reminders<K> {
    /// The appointment of the object is at this time now.
    pub(crate) fn set(&mut self, object: &K, at: Instant) {
        self.cancel(object);
        self.of.insert(object.clone(), at);
        self.due.insert((at, object.clone()));
    }

    /// The object has none.
    pub(crate) fn cancel(&mut self, object: &K) {
        if let Some((object, at)) = self.of.remove_entry(object) {
            self.due.remove(&(at, object));
        }
    }

    /// When the next one is.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out one whose time has come by `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, object) = self.due.pop_first()?;
        self.of.remove(&object);
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use announce::ServiceKey;

    use super::*;

    #[test]
    fn each_service_has_one_appointment_and_they_come_in_order() {
        let at = |seconds| Instant::from_origin(Duration::from_secs(seconds));
        let key = |name: &str| ServiceKey { namespace: "shop".into(), name: name.into() };
        let mut reminders = Reminders::default();
        reminders.set(&key("a"), at(9));
        reminders.set(&key("b"), at(5));
        reminders.set(&key("c"), at(1));
        reminders.set(&key("a"), at(3));
        reminders.cancel(&key("c"));
        reminders.cancel(&key("never"));
        assert_eq!(reminders.next(), Some(at(3)));
        assert_eq!(reminders.take(at(2)), None);
        assert_eq!(reminders.take(at(5)), Some(key("a")));
        assert_eq!(reminders.take(at(5)), Some(key("b")));
        assert_eq!((reminders.take(at(99)), reminders.next()), (None, None));
    }
}
