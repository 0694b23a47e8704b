#![expect(clippy::needless_pass_by_value, reason = "calls with json! read better without references")]

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use webhook::Respond;

use super::view::Unknown;
use super::*;

const NAMESPACE: &str = "metallb-system";

/// Asks as the API server would; whether it is allowed, the reason, the warnings.
async fn ask(
    latest: &Latest,
    kind: Reviewed,
    operation: &str,
    namespace: &str,
    object: Value,
) -> (bool, String, Vec<String>) {
    ask_about(latest, kind, operation, namespace, object, Value::Null).await
}

/// The same, with what an updated object was before.
async fn ask_about(
    latest: &Latest,
    kind: Reviewed,
    operation: &str,
    namespace: &str,
    mut object: Value,
    old: Value,
) -> (bool, String, Vec<String>) {
    object["metadata"]["namespace"] = json!(namespace);
    object["apiVersion"] = json!("metallb.io/v1beta1");
    object["kind"] = json!("X");
    let deleted = operation == "DELETE";
    let name = object["metadata"]["name"].clone();
    let (object, old) = if deleted { (Value::Null, object) } else { (object, old) };
    let which = json!({ "group": "metallb.io", "version": "v1beta1", "kind": "X" });
    let resource = json!({ "group": "metallb.io", "version": "v1beta1", "resource": "xs" });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": which, "resource": resource, "name": name, "namespace": namespace,
            "operation": operation, "userInfo": {}, "object": object, "oldObject": old, "dryRun": false,
        },
    });
    let (_out, latest) = channel::channel(latest.clone());
    let answer = routes(&latest, NAMESPACE).respond(post(kind.path(), &review)).await;
    let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let response = &answer["response"];
    assert_eq!(response["uid"], "u", "{answer}");
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.filter_map(Value::as_str).map(str::to_owned).collect();
    let reason = response["status"]["message"].as_str().unwrap_or_default().to_owned();
    (response["allowed"] == true, reason, warnings)
}

fn post(path: &str, body: &Value) -> Request<Bytes> {
    Request::post(path).body(Bytes::from(body.to_string())).expect("a request")
}

fn named(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("an object"))
}

fn pool(name: &str, addresses: &[&str]) -> Value {
    named(name, json!({ "addresses": addresses }))
}

/// A pool `a`, a BFDProfile `used`, and a BGPPeer `router` that uses it.
#[expect(clippy::unnecessary_wraps, reason = "it is asked for as what there may be")]
fn latest() -> Latest {
    let mut view = View::default();
    view.pools.insert("a".to_owned(), object(pool("a", &["192.0.2.0/28"])));
    view.bfd_profiles.insert("used".to_owned(), object(named("used", json!({}))));
    view.peers.insert("router".to_owned(), object(peer("router", json!({ "bfdProfile": "used" }))));
    Ok(Arc::new(Snapshot::from(view)))
}

fn peer(name: &str, more: Value) -> Value {
    let mut spec = json!({ "myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.254" });
    if let Value::Object(more) = more {
        spec.as_object_mut().expect("an object").extend(more);
    }
    named(name, spec)
}

#[tokio::test]
async fn every_kind_is_judged_at_its_path_and_only_in_the_namespace() {
    let specs = [
        (Reviewed::BgpPeer, peer("x", json!({ "peerAddress": "192.0.2.253" }))),
        (Reviewed::BfdProfile, named("x", json!({}))),
        (Reviewed::BgpAdvertisement, named("x", json!({}))),
        (Reviewed::Community, named("x", json!({ "communities": [{ "name": "n", "value": "1:2" }] }))),
        (Reviewed::IpAddressPool, pool("x", &["198.51.100.0/24"])),
        (Reviewed::L2Advertisement, named("x", json!({}))),
    ];
    for (kind, object) in specs {
        for operation in ["CREATE", "UPDATE", "DELETE"] {
            let fine = ask(&latest(), kind, operation, NAMESPACE, object.clone()).await;
            assert_eq!(fine, (true, String::new(), vec![]), "{kind:?} {operation}");
        }
        let wrong = ask(&latest(), kind, "CREATE", "default", object.clone()).await;
        let reason = "resource must be created in metallb-system namespace".to_owned();
        assert_eq!(wrong, (false, reason, vec![]), "{kind:?}");
        for operation in ["UPDATE", "DELETE"] {
            let (allowed, _, warnings) = ask(&latest(), kind, operation, "default", object.clone()).await;
            assert!(allowed && warnings[0].contains("outside of namespace metallb-system"), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_to_the_others_is_refused_with_the_reason() {
    let overlap = "CIDR \"192.0.2.8/29\" in pool \"b\" overlaps with already defined CIDR \"192.0.2.0/28\"";
    for (kind, operation, object, reason) in [
        (Reviewed::IpAddressPool, "CREATE", pool("b", &["192.0.2.8/29"]), overlap),
        (Reviewed::IpAddressPool, "UPDATE", pool("b", &["192.0.2.8/29"]), overlap),
        (Reviewed::IpAddressPool, "CREATE", pool("b", &["x"]), "invalid CIDR \"x\" in pool \"b\""),
        (
            Reviewed::BfdProfile,
            "DELETE",
            named("used", json!({})),
            "failed to delete BFDProfile used, used by BGPPeer router",
        ),
        (
            Reviewed::IpAddressPool,
            "CREATE",
            named("b", json!({ "addresses": 7 })),
            "IPAddressPool cannot be read",
        ),
    ] {
        let (allowed, why, _) = ask(&latest(), kind, operation, NAMESPACE, object).await;
        assert!(!allowed && why.starts_with(reason), "{kind:?} {operation}: {allowed} {why}");
    }
    let same =
        ask(&latest(), Reviewed::IpAddressPool, "UPDATE", NAMESPACE, pool("a", &["192.0.2.0/24"])).await;
    assert!(same.0, "an object takes the place of the one before: {}", same.1);
}

#[tokio::test]
async fn a_deprecated_field_is_warned_of_and_hides_no_mistake() {
    let warning = "disable mp is deprecated and has no effect since it's the default behavior now";
    let good = peer("x", json!({ "disableMP": true, "peerAddress": "192.0.2.253" }));
    let good = ask(&latest(), Reviewed::BgpPeer, "CREATE", NAMESPACE, good).await;
    assert_eq!((good.0, good.2), (true, vec![warning.to_owned()]), "{}", good.1);
    let bad = peer("x", json!({ "disableMP": true, "myASN": 0 }));
    let bad = ask(&latest(), Reviewed::BgpPeer, "CREATE", NAMESPACE, bad).await;
    assert_eq!((bad.0, bad.2), (false, vec![warning.to_owned()]), "{}", bad.1);
    let elsewhere = peer("x", json!({ "disableMP": true }));
    assert!(!ask(&latest(), Reviewed::BgpPeer, "CREATE", "default", elsewhere).await.0);
}

#[tokio::test]
async fn an_object_that_is_being_deleted_may_lose_its_finalizers() {
    let mut leaving = pool("b", &["x"]);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(ask(&latest(), Reviewed::IpAddressPool, "UPDATE", NAMESPACE, leaving).await.0);
}

#[tokio::test]
async fn nothing_is_let_through_before_everything_is_known() {
    let why = "webhooks: waiting for the first list of Nodes".to_owned();
    let unknown = Err(Unknown { why, needs_us: false });
    let (allowed, why, _) =
        ask(&unknown, Reviewed::IpAddressPool, "CREATE", NAMESPACE, pool("b", &["198.51.100.0/24"])).await;
    assert!(!allowed);
    assert_eq!(why, "webhooks: waiting for the first list of Nodes; try again in a moment");
}

#[tokio::test]
async fn peers_are_converted_in_both_directions() {
    let (_out, latest) = channel::channel(latest());
    let routes = routes(&latest, NAMESPACE);
    for (from, to) in
        [("metallb.io/v1beta1", "metallb.io/v1beta2"), ("metallb.io/v1beta2", "metallb.io/v1beta1")]
    {
        let mut peer = peer("x", json!({}));
        peer["apiVersion"] = json!(from);
        peer["kind"] = json!("BGPPeer");
        let review = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": { "uid": "u", "desiredAPIVersion": to, "objects": [peer] },
        });
        let answer = routes.respond(post("/convert", &review)).await;
        let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(answer["response"]["convertedObjects"][0]["apiVersion"], to, "{answer}");
    }
}

#[tokio::test]
async fn an_update_that_says_the_same_is_let_through_whatever_was_stored() {
    let bad = pool("bad", &["192.0.2.1"]);
    let latest: Latest = Ok(Arc::new(Snapshot::from(View::default())));
    let mut noted = bad.clone();
    noted["metadata"]["annotations"] = json!({"note": "of a tool"});
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({"zone": "a"});
    let mut old = bad.clone();
    old["apiVersion"] = json!("metallb.io/v1beta1");
    old["kind"] = json!("X");
    for (object, allowed) in [(noted, true), (labelled, false), (pool("bad", &["192.0.2.2"]), false)] {
        let answer =
            ask_about(&latest, Reviewed::IpAddressPool, "UPDATE", NAMESPACE, object.clone(), old.clone())
                .await;
        assert_eq!(answer.0, allowed, "{object}: {answer:?}");
    }
}
