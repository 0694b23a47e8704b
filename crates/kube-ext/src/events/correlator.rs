//! Which Event a notice belongs to. No input or output, no clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};

use super::EventKind;
use crate::ObjectKey;

/// How many different Events are remembered, as many as client-go remembers.
const REMEMBERED: usize = 4096;

/// The longest name an object may have (a DNS subdomain, RFC 1123).
const NAME_LIMIT: usize = 253;

/// One thing to say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notice {
    pub(crate) about: ObjectReference,
    pub(crate) kind: EventKind,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) host: Option<Arc<str>>,
}

impl Notice {
    /// The object that the notice is about, for the log.
    pub(crate) fn object(&self) -> ObjectKey {
        ObjectKey::new(
            self.about.namespace.clone().unwrap_or_default(),
            self.about.name.clone().unwrap_or_default(),
        )
    }
}

/// What makes two notices the same one repeated: the object as such (not its version), type, reason and text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    uid: Option<String>,
    object: ObjectKey,
    object_kind: Option<String>,
    field: Option<String>,
    kind: EventKind,
    reason: String,
    message: String,
    host: Option<Arc<str>>,
}

impl Key {
    fn of(notice: &Notice) -> Self {
        Self {
            uid: notice.about.uid.clone(),
            object: notice.object(),
            object_kind: notice.about.kind.clone(),
            field: notice.about.field_path.clone(),
            kind: notice.kind,
            reason: notice.reason.clone(),
            message: notice.message.clone(),
            host: notice.host.clone(),
        }
    }
}

/// What to write for a notice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    /// The whole Event, with its name, count and times.
    pub(crate) event: Event,
    /// Whether it was written before, so that a patch of count and last time is enough.
    pub(crate) repeated: bool,
    /// What to [`Correlator::forget`] or [`Correlator::rename`] when writing fails.
    pub(crate) key: Arc<Key>,
}

/// An Event written before.
#[derive(Debug)]
struct Written {
    name: String,
    first: Timestamp,
    count: i32,
    used: u64,
}

/// Remembers the Events written, the least recently used forgotten first.
#[derive(Debug)]
pub(crate) struct Correlator {
    component: &'static str,
    instance: String,
    limit: usize,
    written: HashMap<Arc<Key>, Written>,
    by_use: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    /// The number in the last name given, so that no two are the same although the clock stands still.
    last_number: i128,
}

impl Correlator {
    pub(crate) fn new(component: &'static str, instance: String) -> Self {
        Self {
            component,
            instance,
            limit: REMEMBERED,
            written: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            last_number: 0,
        }
    }

    /// Takes `notice`, said at `now`, for a new Event or for one more count of an Event written before.
    pub(crate) fn observe(&mut self, notice: Notice, now: Timestamp) -> Write {
        let key = Arc::new(Key::of(&notice));
        self.uses += 1;
        let uses = self.uses;
        if let Some(written) = self.written.get_mut(&key) {
            let key =
                self.by_use.remove(&written.used).expect("every remembered Event has its place in the order");
            self.by_use.insert(uses, Arc::clone(&key));
            written.used = uses;
            written.count = written.count.saturating_add(1);
            let (name, first, count) = (written.name.clone(), written.first, written.count);
            return Write { event: self.event(notice, name, first, now, count), repeated: true, key };
        }
        let name = self.name(&notice, now);
        if self.written.len() == self.limit
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.written.remove(&oldest);
        }
        self.by_use.insert(uses, Arc::clone(&key));
        self.written
            .insert(Arc::clone(&key), Written { name: name.clone(), first: now, count: 1, used: uses });
        Write { event: self.event(notice, name, now, now, 1), repeated: false, key }
    }

    /// The Event of `key` could not be written: the next notice like it starts afresh.
    pub(crate) fn forget(&mut self, key: &Arc<Key>) {
        if let Some(written) = self.written.remove(key) {
            self.by_use.remove(&written.used);
        }
    }

    /// The name of the Event in `write` is taken by another's: gives it a new one.
    pub(crate) fn rename(&mut self, write: &mut Write, now: Timestamp) {
        let name = self.free_name(write.event.involved_object.name.as_deref().unwrap_or_default(), now);
        if let Some(written) = self.written.get_mut(&write.key) {
            written.name.clone_from(&name);
        }
        write.event.metadata.name = Some(name);
    }

    fn name(&mut self, notice: &Notice, now: Timestamp) -> String {
        self.free_name(notice.about.name.as_deref().unwrap_or_default(), now)
    }

    /// `<object>.<hex nanoseconds>`, as client-go names Events, and different from every name given before.
    fn free_name(&mut self, object: &str, now: Timestamp) -> String {
        self.last_number = now.as_nanosecond().max(self.last_number + 1);
        let number = format!("{:x}", self.last_number);
        let room = NAME_LIMIT - 1 - number.len();
        // Names are ASCII; the fallback keeps a foreign one from breaking in the middle of a character.
        let object = object.get(..room.min(object.len())).unwrap_or_default().trim_end_matches(['.', '-']);
        format!("{object}.{number}")
    }

    fn event(&self, notice: Notice, name: String, first: Timestamp, last: Timestamp, count: i32) -> Event {
        // The server wants the Event beside its object, and those about an object without a namespace in default.
        let namespace = notice.about.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            involved_object: notice.about,
            reason: Some(notice.reason),
            message: Some(notice.message),
            type_: Some(notice.kind.as_str().into()),
            source: Some(EventSource {
                component: Some(self.component.into()),
                host: notice.host.map(|host| host.to_string()),
            }),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(last)),
            count: Some(count),
            reporting_component: Some(self.component.into()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests;
