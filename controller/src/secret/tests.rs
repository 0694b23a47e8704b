use super::*;
use kube_ext::testing::{Asked, client};
use serde_json::json;

#[test]
fn base64_is_that_of_the_rfc_without_padding() {
    for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(bytes.as_bytes()).expect("text"), text);
    }
}

#[test]
fn a_key_is_sixteen_new_random_bytes() {
    let (one, other) = (key().expect("random"), key().expect("random"));
    assert_eq!((one.len(), other.len()), (22, 22), "22 digits of base64 carry 16 bytes");
    assert_ne!(one, other);
}

#[tokio::test]
async fn the_secret_is_created_with_its_owner() {
    let (client, mut server) = client();
    let created =
        tokio::spawn(
            async move { create(&client, "metallb-system", "memberlist", "controller", None).await },
        );
    let asked = server.asked().await;
    assert_eq!(asked.what, "GET /apis/apps/v1/namespaces/metallb-system/deployments/controller");
    asked.answer(200, &json!({ "metadata": { "name": "controller", "uid": "uid-1" } }));
    let asked = server.asked().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/metallb-system/secrets");
    assert_eq!(asked.body["metadata"]["name"], "memberlist");
    assert_eq!(asked.body["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert!(asked.body["data"]["secretkey"].is_string());
    let body = asked.body.clone();
    asked.answer(201, &body);
    assert!(created.await.expect("no panic").expect("created"));
}

#[tokio::test]
async fn a_secret_made_while_the_deployment_goes_belongs_to_what_is_gone() {
    let (client, mut server) = client();
    let looked = tokio::spawn({
        let client = client.clone();
        async move { home(&client, "metallb-system", "controller").await }
    });
    server.asked().await.refuse(503, "Unavailable");
    server.asked().await.answer(200, &json!({ "metadata": { "name": "controller", "uid": "uid-1" } }));
    let home = looked.await.expect("no panic");
    let created = tokio::spawn(async move {
        create(&client, "metallb-system", "memberlist", "controller", home.as_ref()).await
    });
    server.asked().await.refuse(404, "NotFound");
    let asked = server.asked().await;
    assert_eq!(
        asked.body["metadata"]["ownerReferences"][0]["uid"], "uid-1",
        "the garbage collector takes it"
    );
    let body = asked.body.clone();
    asked.answer(201, &body);
    assert!(created.await.expect("no panic").expect("created"));
}

#[tokio::test]
async fn a_deployment_that_may_not_be_read_owns_nothing() {
    let (client, mut server) = client();
    let looked = tokio::spawn(async move { home(&client, "metallb-system", "controller").await });
    server.asked().await.refuse(403, "Forbidden");
    assert!(looked.await.expect("no panic").is_none());
}

#[tokio::test]
async fn a_secret_that_is_deleted_is_created_again() {
    let (client, mut server) = client();
    let keeping = tokio::spawn(async move { keep(client, "metallb-system", "memberlist", "").await });
    let metadata =
        json!({ "name": "memberlist", "namespace": "metallb-system", "uid": "1", "resourceVersion": "5" });
    let object =
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
    let asked = server.asked().await;
    assert_eq!(asked.what, "GET /api/v1/namespaces/metallb-system/secrets");
    asked.answer(
        200,
        &json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": { "resourceVersion": "5" }, "items": [object],
        }),
    );
    // The watch that goes on from there.
    server.asked().await.answer(200, &json!({ "type": "DELETED", "object": object }));
    loop {
        let asked = server.asked().await;
        if asked.what == "POST /api/v1/namespaces/metallb-system/secrets" {
            assert_eq!(asked.body["metadata"]["name"], "memberlist");
            break;
        }
        asked.refuse(503, "Unavailable");
    }
    keeping.abort();
}

#[tokio::test]
async fn a_secret_that_exists_is_left_alone() {
    let (client, mut server) = client();
    let created =
        tokio::spawn(async move { create(&client, "metallb-system", "memberlist", "", None).await });
    let asked: Asked = server.asked().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/metallb-system/secrets");
    asked.refuse(409, "AlreadyExists");
    assert!(!created.await.expect("no panic").expect("it exists"));
}
