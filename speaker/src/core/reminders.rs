//! When something about a Service is to be told (again).

use std::collections::{BTreeMap, BTreeSet};

use announce::ServiceKey;
use l2::Instant;

/// At most one appointment for each Service.
#[derive(Debug, Default)]
pub(crate) struct Reminders {
    of: BTreeMap<ServiceKey, Instant>,
    due: BTreeSet<(Instant, ServiceKey)>,
}

impl Reminders {
    /// The appointment of the Service is at this time now.
    pub(crate) fn set(&mut self, service: &ServiceKey, at: Instant) {
        self.cancel(service);
        self.of.insert(service.clone(), at);
        self.due.insert((at, service.clone()));
    }

    /// The Service has none.
    pub(crate) fn cancel(&mut self, service: &ServiceKey) {
        if let Some((service, at)) = self.of.remove_entry(service) {
            self.due.remove(&(at, service));
        }
    }

    /// When the next one is.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out one whose time has come by `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<ServiceKey> {
        if self.next()? > now {
            return None;
        }
        let (_, service) = self.due.pop_first()?;
        self.of.remove(&service);
        Some(service)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
