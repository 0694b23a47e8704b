use super::*;

fn correlator() -> Correlator {
    Correlator::new("metallb-controller", "controller-0".into())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time in 2023")
}

fn notice(name: &str, message: &str) -> Notice {
    Notice {
        about: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some("shop".into()),
            name: Some(name.into()),
            uid: Some("4711".into()),
            resource_version: Some("12".into()),
            field_path: None,
        },
        kind: EventKind::Warning,
        reason: "AllocationFailed".into(),
        message: message.into(),
        host: None,
    }
}

#[test]
fn a_new_event_is_what_client_go_would_have_made() {
    let mut notice = notice("web", "no address left");
    notice.host = Some("worker-1".into());
    let write = correlator().observe(notice.clone(), at(0));
    assert!(!write.repeated);
    let written = serde_json::to_value(&write.event).expect("an Event is JSON");
    let time = "2023-11-14T22:13:20Z";
    let expected = serde_json::json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "web.17979cfe362a0000", "namespace": "shop"},
        "involvedObject": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web",
            "uid": "4711", "resourceVersion": "12"},
        "type": "Warning", "reason": "AllocationFailed", "message": "no address left",
        "source": {"component": "metallb-controller", "host": "worker-1"},
        "reportingComponent": "metallb-controller", "reportingInstance": "controller-0",
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    });
    assert_eq!(written, expected);
}

#[test]
fn the_same_again_counts_up_the_same_event() {
    let mut correlator = correlator();
    let first = correlator.observe(notice("web", "no address left"), at(0));
    let mut newer_object = notice("web", "no address left");
    newer_object.about.resource_version = Some("13".into());
    let second = correlator.observe(newer_object, at(60));
    assert!(second.repeated);
    assert_eq!(second.event.metadata.name, first.event.metadata.name);
    assert_eq!(second.event.count, Some(2));
    assert_eq!(second.event.first_timestamp, Some(Time(at(0))));
    assert_eq!(second.event.last_timestamp, Some(Time(at(60))));
}

#[test]
fn what_differs_in_object_type_reason_or_message_is_another_event() {
    let base = notice("web", "no address left");
    let mut other_uid = base.clone();
    other_uid.about.uid = Some("4712".into());
    let mut other_type = base.clone();
    other_type.kind = EventKind::Normal;
    let mut other_reason = base.clone();
    other_reason.reason = "IPAllocated".into();
    let others = [
        notice("api", "no address left"),
        notice("web", "pool is full"),
        other_uid,
        other_type,
        other_reason,
    ];
    let mut correlator = correlator();
    let mut names = vec![correlator.observe(base, at(0)).event.metadata.name];
    for other in others {
        let write = correlator.observe(other.clone(), at(0));
        assert!(!write.repeated, "{other:?}");
        assert!(!names.contains(&write.event.metadata.name), "a name of its own for {other:?}");
        names.push(write.event.metadata.name);
    }
}

#[test]
fn an_event_about_an_object_without_a_namespace_goes_to_default() {
    for namespace in [None, Some(String::new())] {
        let mut notice = notice("worker-1", "link is down");
        notice.about.namespace = namespace;
        let write = correlator().observe(notice, at(0));
        assert_eq!(write.event.metadata.namespace.as_deref(), Some("default"));
    }
}

#[test]
fn a_long_name_leaves_room_for_the_number() {
    let long = format!("{}.{}", "a".repeat(235), "b".repeat(17));
    let write = correlator().observe(notice(&long, "text"), at(0));
    let name = write.event.metadata.name.expect("every Event has a name");
    assert_eq!(name, format!("{}.17979cfe362a0000", "a".repeat(235)), "cut, and no dot before the dot");
    assert!(name.len() <= 253);
}

#[test]
fn the_event_used_least_recently_is_forgotten_first() {
    let mut correlator = Correlator { limit: 2, ..correlator() };
    correlator.observe(notice("a", "x"), at(0));
    correlator.observe(notice("b", "x"), at(1));
    correlator.observe(notice("a", "x"), at(2));
    correlator.observe(notice("c", "x"), at(3));
    assert!(correlator.observe(notice("a", "x"), at(4)).repeated);
    assert!(!correlator.observe(notice("b", "x"), at(5)).repeated);
    assert_eq!((correlator.written.len(), correlator.by_use.len()), (2, 2));
}

#[test]
fn an_event_that_was_never_written_starts_afresh() {
    let mut correlator = correlator();
    let write = correlator.observe(notice("a", "x"), at(0));
    correlator.forget(&write.key);
    let again = correlator.observe(notice("a", "x"), at(1));
    assert!(!again.repeated);
    assert_eq!(again.event.count, Some(1));
}

#[test]
fn a_taken_name_is_replaced_for_good() {
    let mut correlator = correlator();
    let mut write = correlator.observe(notice("a", "x"), at(0));
    let before = write.event.metadata.name.clone();
    correlator.rename(&mut write, at(0));
    assert_ne!(write.event.metadata.name, before);
    let again = correlator.observe(notice("a", "x"), at(1));
    assert_eq!(again.event.metadata.name, write.event.metadata.name);
}
