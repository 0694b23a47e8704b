use kube_ext::ObjectKey;

use super::*;
use crate::action::Desired;
use kube_ext::testing::{Server, client};

/// A Service as the server has it, with things that this program knows nothing of.
fn object() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": { "app": "web" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", (MISSING_POOL): "old" },
        },
        "spec": { "type": "LoadBalancer", "fieldOfTomorrow": 1 },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9", "ipMode": "Proxy" }] }, "fieldOfTomorrow": 2 },
    })
}

fn write(addresses: &[&str], ingress: bool) -> StatusWrite {
    let pool = (!addresses.is_empty()).then(|| "p".to_owned());
    StatusWrite {
        key: ObjectKey::new("shop", "web"),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        desired: Desired {
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            pool,
            missing_pool: None,
        },
        ingress,
    }
}

/// Answers the read with the object and gives the update that follows, and the answer to it: the same with a new version.
async fn served(server: &mut Server, object: &Value) -> Value {
    let asked = server.asked().await;
    assert_eq!(asked.what, "GET /api/v1/namespaces/shop/services/web");
    asked.answer(200, object);
    let asked = server.asked().await;
    assert_eq!(asked.what, "PUT /api/v1/namespaces/shop/services/web/status");
    let mut answer = asked.body.clone();
    answer["metadata"]["resourceVersion"] = json!("8");
    let body = asked.body.clone();
    asked.answer(200, &answer);
    body
}

#[tokio::test]
async fn the_update_changes_addresses_and_our_annotations_and_keeps_everything_else() {
    for (addresses, ingress, balancer) in [
        (
            &["192.0.2.1", "2001:db8::1"][..],
            true,
            json!({ "ingress": [{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }] }),
        ),
        (&[], true, json!({})),
        (&["192.0.2.9"], false, json!({ "ingress": [{ "ip": "192.0.2.9", "ipMode": "Proxy" }] })),
    ] {
        let (client, mut server) = client();
        let write = write(addresses, ingress);
        let mut expected = object();
        let (outcome, body) =
            tokio::join!(write_service(client, &write, || true), served(&mut server, &expected));
        expected["status"]["loadBalancer"] = balancer;
        let annotations = expected["metadata"]["annotations"].as_object_mut().expect("a map");
        annotations.remove(MISSING_POOL);
        if !addresses.is_empty() {
            annotations.insert(names::ALLOCATED_FROM_POOL.to_owned(), json!("p"));
        }
        assert_eq!(body, expected);
        let Outcome::Done(service) = outcome else { panic!("{outcome:?}") };
        assert_eq!(service.resource_version, "8");
    }
}

#[tokio::test]
async fn a_service_that_has_changed_is_not_written() {
    for (field, value, expected) in
        [("resourceVersion", "9", Outcome::Conflict), ("uid", "another", Outcome::Gone)]
    {
        let (client, mut server) = client();
        let write = write(&["192.0.2.1"], true);
        let answer = async {
            let mut object = object();
            object["metadata"][field] = json!(value);
            server.asked().await.answer(200, &object);
        };
        assert_eq!(tokio::join!(write_service(client, &write, || true), answer).0, expected);
    }
}

#[tokio::test]
async fn what_the_server_says_decides_what_comes_next() {
    for (code, reason, expected) in [
        (409, "Conflict", Outcome::Conflict),
        (404, "NotFound", Outcome::Gone),
        (403, "Forbidden", Outcome::Failed("refused: Forbidden".to_owned())),
        (500, "InternalError", Outcome::Failed("refused: InternalError".to_owned())),
    ] {
        let (client, mut server) = client();
        let write = write(&["192.0.2.1"], true);
        let answers = async {
            server.asked().await.answer(200, &object());
            server.asked().await.refuse(code, reason);
        };
        assert_eq!(tokio::join!(write_service(client, &write, || true), answers).0, expected, "{code}");
    }
}

#[tokio::test]
async fn an_update_that_is_swallowed_is_a_failure() {
    let (client, mut server) = client();
    let write = write(&["192.0.2.1"], true);
    let answers = async {
        server.asked().await.answer(200, &object());
        server.asked().await.answer(200, &object());
    };
    let (outcome, ()) = tokio::join!(write_service(client, &write, || true), answers);
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("admission webhook")), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let (client, mut server) = client();
    let write = write(&["192.0.2.1"], true);
    let (outcome, _asked) = tokio::join!(write_service(client, &write, || true), server.asked());
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("did not answer")), "{outcome:?}");
}

#[tokio::test]
async fn the_counters_of_a_pool_are_merged_into_its_status() {
    let (client, mut server) = client();
    let status =
        IPAddressPoolStatus { assigned_ipv4: 1, available_ipv4: 2, ..IPAddressPoolStatus::default() };
    let answer = async {
        let asked = server.asked().await;
        assert_eq!(
            asked.what,
            "PATCH /apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/p/status"
        );
        assert_eq!(
            asked.body,
            json!({ "status": { "assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 2, "availableIPv6": 0 } })
        );
        asked.refuse(404, "NotFound");
    };
    let written = write_pool(client.clone(), "metallb-system", "p", &status, || true);
    let (outcome, ()) = tokio::join!(written, answer);
    assert_eq!(outcome, Ok(()), "a pool that is gone needs no counters");
    // The server would wait for an answer of the test.
    let refused = write_pool(client, "metallb-system", "p", &status, || false).await;
    assert_eq!(refused, Err(LEASE_OVER.to_owned()), "nothing is sent without a lease");
}
