use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::testing::{self, Server};

fn service() -> ObjectReference {
    let mut service = Service::default();
    service.metadata.namespace = Some("shop".into());
    service.metadata.name = Some("web".into());
    service.metadata.uid = Some("4711".into());
    service.metadata.resource_version = Some("12".into());
    object_reference(&service)
}

fn recorder() -> (EventRecorder, Server) {
    let (client, server) = testing::client();
    (EventRecorder::new(client, "metallb-speaker", "speaker-x".into()), server)
}

/// Answers a create as the server does, with the object, and returns its name.
async fn accept(server: &mut Server) -> String {
    let asked = server.asked().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/shop/events");
    let event = asked.body.clone();
    asked.answer(201, &event);
    event["metadata"]["name"].as_str().expect("every Event has a name").to_owned()
}

/// An Event as an answer whose content nobody reads.
fn some_event() -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {}, "involvedObject": {}})
}

#[test]
fn a_reference_names_kind_version_and_all_that_tells_the_object_apart() {
    let reference = serde_json::to_value(service()).expect("a reference is JSON");
    let expected = json!({"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web",
        "uid": "4711", "resourceVersion": "12"});
    assert_eq!(reference, expected);
}

#[tokio::test]
async fn an_event_is_created_and_its_repetition_patched() {
    let (recorder, mut server) = recorder();
    let recorder = recorder.on_host("worker-1");
    for _ in 0..2 {
        recorder.record(service(), EventKind::Normal, "nodeAssigned", "announcing".into());
    }
    let asked = server.asked().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/shop/events");
    let event = asked.body.clone();
    assert_eq!(event["source"], json!({"component": "metallb-speaker", "host": "worker-1"}));
    assert_eq!(event["reportingInstance"], "speaker-x");
    assert_eq!((&event["type"], &event["count"]), (&json!("Normal"), &json!(1)));
    asked.answer(201, &event);

    let asked = server.asked().await;
    let name = event["metadata"]["name"].as_str().expect("the Event has a name");
    assert_eq!(asked.what, format!("PATCH /api/v1/namespaces/shop/events/{name}"));
    let fields: Vec<_> = asked.body.as_object().expect("a patch is an object").keys().cloned().collect();
    assert_eq!(fields, ["count", "lastTimestamp"]);
    assert_eq!(asked.body["count"], 2);
    asked.answer(200, &some_event());
}

#[tokio::test]
async fn a_repetition_of_an_expired_event_creates_it_again_with_its_count() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Warning, "AllocationFailed", "full".into());
    let name = accept(&mut server).await;
    recorder.record(service(), EventKind::Warning, "AllocationFailed", "full".into());
    server.asked().await.refuse(404, "NotFound");
    let asked = server.asked().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/shop/events");
    assert_eq!((&asked.body["metadata"]["name"], &asked.body["count"]), (&json!(name), &json!(2)));
    assert!(asked.body["metadata"].get("resourceVersion").is_none());
}

#[tokio::test]
async fn events_outlast_an_outage_in_their_order() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    recorder.record(service(), EventKind::Normal, "Second", "two".into());
    server.asked().await.hang_up();
    let asked = server.asked().await;
    assert_eq!(asked.body["reason"], "First");
    let event = asked.body.clone();
    asked.answer(201, &event);
    assert_eq!(server.asked().await.body["reason"], "Second");
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_is_not_written_twice() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    recorder.record(service(), EventKind::Normal, "Second", "two".into());
    server.asked().await.hang_up();
    server.asked().await.refuse(409, "AlreadyExists");
    assert_eq!(server.asked().await.body["reason"], "Second");
}

#[tokio::test]
async fn a_name_taken_by_another_event_gives_way_to_a_new_one() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    let asked = server.asked().await;
    let taken = asked.body["metadata"]["name"].clone();
    asked.refuse(409, "AlreadyExists");
    assert_ne!(server.asked().await.body["metadata"]["name"], taken);
}

#[tokio::test]
async fn a_refused_event_is_given_up_and_does_not_hold_up_the_next() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    recorder.record(service(), EventKind::Normal, "Second", "two".into());
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    server.asked().await.refuse(403, "Forbidden");
    accept(&mut server).await;
    let again = server.asked().await;
    assert_eq!((&again.body["reason"], &again.body["count"]), (&json!("First"), &json!(1)));
}

#[tokio::test]
async fn recording_never_waits_although_nobody_answers() {
    let (recorder, _server) = recorder();
    for number in 0..2 * QUEUE {
        recorder.record(service(), EventKind::Normal, "Busy", format!("message {number}"));
    }
}

#[tokio::test]
async fn what_is_queued_is_written_after_the_last_recorder_is_gone() {
    let (recorder, mut server) = recorder();
    recorder.record(service(), EventKind::Normal, "First", "one".into());
    drop(recorder);
    accept(&mut server).await;
}
