use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::*;
use crate::testing;

fn service(name: &str, uid: &str) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = Some("shop".into());
    service.metadata.name = Some(name.into());
    service.metadata.uid = Some(uid.into());
    service
}

/// What a receiver hears of `events`: `+name`, `-name`, `synced`.
fn heard(known: &mut Known, events: Vec<Event<Service>>) -> Vec<String> {
    let mut out = Vec::new();
    for event in events {
        known.handle(event, &mut out);
    }
    out.iter()
        .map(|change| match change {
            Change::Apply(key, _) => format!("+{}", key.name),
            Change::Delete(key) => format!("-{}", key.name),
            Change::Synced => "synced".into(),
        })
        .collect()
}

fn listed(names: &[&str]) -> Vec<Event<Service>> {
    let objects = names.iter().map(|name| Event::InitApply(service(name, "1")));
    [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect()
}

#[test]
fn the_first_list_is_sent_and_then_synced() {
    assert_eq!(heard(&mut Known::default(), listed(&["a", "b"])), ["+a", "+b", "synced"]);
    assert_eq!(heard(&mut Known::default(), listed(&[])), ["synced"]);
}

#[test]
fn changes_and_deletions_are_sent_as_they_come() {
    let mut known = Known::default();
    heard(&mut known, listed(&["a"]));
    let events = vec![
        Event::Apply(service("a", "1")),
        Event::Apply(service("b", "1")),
        Event::Delete(service("a", "1")),
        Event::Delete(service("never-seen", "1")),
    ];
    assert_eq!(heard(&mut known, events), ["+a", "+b", "-a"]);
}

#[test]
fn a_relist_deletes_what_vanished_and_does_not_say_synced_again() {
    let mut known = Known::default();
    heard(&mut known, listed(&["a", "b", "c"]));
    assert_eq!(heard(&mut known, listed(&["a", "c"])), ["+a", "+c", "-b"]);
    assert_eq!(heard(&mut known, listed(&[])), ["-a", "-c"]);
}

#[test]
fn a_list_that_breaks_off_takes_nothing_away() {
    let mut known = Known::default();
    heard(&mut known, listed(&["a", "b"]));
    let broken = vec![Event::Init, Event::InitApply(service("new", "1"))];
    assert_eq!(heard(&mut known, broken), ["+new"]);
    assert_eq!(heard(&mut known, listed(&["a", "b"])), ["+a", "+b", "-new"]);
}

#[test]
fn a_first_list_that_breaks_off_is_not_synced() {
    let mut known = Known::default();
    assert_eq!(heard(&mut known, vec![Event::Init, Event::InitApply(service("a", "1"))]), ["+a"]);
    assert_eq!(heard(&mut known, listed(&["b"])), ["+b", "-a", "synced"]);
}

#[test]
fn an_object_made_anew_while_nobody_watched_is_deleted_first() {
    let mut known = Known::default();
    heard(&mut known, listed(&["a"]));
    let relisted = vec![Event::Init, Event::InitApply(service("a", "2")), Event::InitDone];
    assert_eq!(heard(&mut known, relisted), ["-a", "+a"]);
    assert_eq!(heard(&mut known, vec![Event::Apply(service("a", "2"))]), ["+a"]);
}

#[test]
fn an_outage_is_said_once_and_so_is_its_end() {
    let mut outage = Outage::default();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(outage.failed(at(0), 0).1);
    assert!(!outage.failed(at(5), 0).1);
    assert!(!outage.failed(at(40), 0).1, "an attempt may itself take half a minute to fail");
    assert!(outage.over());
    assert!(!outage.over());
    assert!(outage.failed(at(45), 0).1, "after an end the next error is a new outage");
}

#[test]
fn an_error_long_after_the_last_is_a_new_outage_with_short_pauses() {
    let mut outage = Outage::default();
    let start = Instant::now();
    for _ in 0..20 {
        outage.failed(start, 0);
    }
    assert_eq!(outage.failed(start, 0), (Duration::from_secs(5), false));
    let later = start + Duration::from_hours(1);
    assert_eq!(outage.failed(later, 0), (Duration::from_millis(250), true));
}

#[test]
fn pruning_leaves_the_annotations_that_people_set() {
    let mut service = service("a", "1");
    service.metadata.managed_fields = Some(vec![<_>::default()]);
    let annotations = service.annotations_mut();
    annotations.insert("kubectl.kubernetes.io/last-applied-configuration".into(), "{}".into());
    annotations.insert("metallb.io/address-pool".into(), "gold".into());
    prune(&mut service);
    assert!(service.managed_fields().is_empty());
    assert_eq!(service.annotations().keys().collect::<Vec<_>>(), ["metallb.io/address-pool"]);
}

/// A list with `names`, as the API server writes it.
fn list(version: &str, names: &[&str]) -> serde_json::Value {
    let items: Vec<_> = names.iter().map(|name| service(name, "1")).collect();
    json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})
}

#[tokio::test]
async fn an_outage_and_a_lost_history_end_in_the_true_state() {
    let (client, mut server) = testing::client();
    let (out, mut changes) = mpsc::channel(16);
    let name = |service: Service| service.metadata.name.unwrap_or_default();
    let watching = watch(Api::<Service>::all(client), watcher::Config::default(), name, |change| change, out);
    let task = tokio::spawn(watching);

    // The server is away at first; then two pages make the first list.
    server.asked().await.hang_up();
    let asked = server.asked().await;
    assert_eq!(asked.what, "GET /api/v1/services");
    assert!(asked.query.contains("limit=500"), "{}", asked.query);
    asked.answer(200, &list("7", &["a", "b"]));
    let asked = server.asked().await;
    assert!(
        asked.query.contains("watch=true") && asked.query.contains("timeoutSeconds=60"),
        "{}",
        asked.query
    );
    let key = |name: &str| ObjectKey::new("shop", name);
    for expected in [Change::Apply(key("a"), "a".into()), Change::Apply(key("b"), "b".into()), Change::Synced]
    {
        assert_eq!(changes.recv().await, Some(expected));
    }

    // The watch breaks, the server comes back but has forgotten version 7, and b is gone meanwhile.
    asked.hang_up();
    server.asked().await.refuse(503, "ServiceUnavailable");
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}});
    server.asked().await.answer(200, &gone);
    let asked = server.asked().await;
    assert!(!asked.query.contains("watch=true"), "it lists anew: {}", asked.query);
    asked.answer(200, &list("99", &["a"]));
    assert_eq!(changes.recv().await, Some(Change::Apply(key("a"), "a".into())));
    assert_eq!(changes.recv().await, Some(Change::Delete(key("b"))));

    drop(changes);
    task.await.expect("a watch whose receiver is gone ends");
}

#[tokio::test]
async fn a_relist_sends_what_there_is_then_and_says_synced_again() {
    let (client, mut server) = testing::client();
    let (out, mut changes) = mpsc::channel(16);
    let name = |service: Service| service.metadata.name.unwrap_or_default();
    let relist = Relist::default();
    let api = Api::<Service>::all(client);
    let watching = watch_relisting(api, watch_config(), name, |change| change, out, relist.clone());
    let task = tokio::spawn(watching);
    server.asked().await.answer(200, &list("7", &["a", "b"]));
    // The watch hangs, as one does that lags behind.
    let _watch = server.asked().await;
    let key = |name: &str| ObjectKey::new("shop", name);
    let apply = |name: &str| Change::Apply(key(name), name.to_owned());
    for expected in [apply("a"), apply("b"), Change::Synced] {
        assert_eq!(changes.recv().await, Some(expected));
    }

    relist.ask();
    let asked = server.asked().await;
    assert_eq!(asked.what, "GET /api/v1/services");
    assert!(!asked.query.contains("resourceVersion=") && !asked.query.contains("watch"), "{}", asked.query);
    asked.answer(200, &list("9", &["b", "c"]));
    for expected in [apply("b"), apply("c"), Change::Delete(key("a")), Change::Synced] {
        assert_eq!(changes.recv().await, Some(expected));
    }

    drop(changes);
    task.await.expect("a watch whose receiver is gone ends");
}
