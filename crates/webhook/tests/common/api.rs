//! An API server in memory: a Secret, webhook configurations and a definition, with versions and watches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower_test::mock;

pub(crate) const SECRETS: &str = "/api/v1/namespaces/metallb-system/secrets";
pub(crate) const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The body of an answer: whole, or line after line.
type Answer = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is stored, by collection and name.
#[derive(Clone)]
pub(crate) struct Api(Arc<Mutex<Store>>);

struct Store {
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    /// `METHOD collection/name status` of each request that changes something.
    log: Vec<String>,
    news: broadcast::Sender<(String, Value)>,
    forbidden: bool,
}

impl Api {
    pub(crate) fn new() -> Self {
        let (news, _) = broadcast::channel(1024);
        let store = Store { objects: BTreeMap::new(), version: 1, log: Vec::new(), news, forbidden: false };
        Self(Arc::new(Mutex::new(store)))
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.store().put(collection, object);
    }

    pub(crate) fn delete(&self, collection: &str, name: &str) {
        let mut store = self.store();
        store.version += 1;
        let object = store.objects.remove(&(collection.to_owned(), name.to_owned())).expect("an object");
        store.news.send((collection.to_owned(), json!({"type": "DELETED", "object": object}))).ok();
    }

    pub(crate) fn get(&self, collection: &str, name: &str) -> Option<Value> {
        self.store().objects.get(&(collection.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.store().log.clone()
    }

    /// Refuses what would change something, as for a service account without rights.
    pub(crate) fn forbid(&self, forbidden: bool) {
        self.store().forbidden = forbidden;
    }

    /// A client of its own.
    pub(crate) fn client(&self) -> Client {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Answer>>();
        let api = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let api = api.clone();
                tokio::spawn(async move { answer.send_response(api.answer(request).await) });
            }
        });
        Client::new(service, "metallb-system")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let path = head.uri.path();
        let query = head.uri.query().unwrap_or_default().replace("%3D", "=");
        let (collection, name) = [SECRETS, WEBHOOKS, DEFINITIONS]
            .into_iter()
            .find_map(|collection| Some((collection, path.strip_prefix(collection)?.trim_start_matches('/'))))
            .expect("a known path");
        if head.method == Method::GET && name.is_empty() {
            let selected =
                query.split('&').find_map(|part| part.strip_prefix("fieldSelector=metadata.name="));
            if query.contains("watch=true") {
                return self.watch(collection, selected, &query);
            }
            return self.list(collection, selected);
        }
        let mut store = self.store();
        let found = store.objects.get(&(collection.to_owned(), name.to_owned())).cloned();
        let (code, answer) = match (head.method.clone(), found) {
            (Method::GET, Some(found)) => return response(200, &found),
            (Method::GET, None) => return response(404, &status(404, "NotFound")),
            _ if store.forbidden => (403, status(403, "Forbidden")),
            (Method::POST, _) => {
                let object: Value = serde_json::from_slice(&body).expect("JSON");
                let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
                if store.objects.contains_key(&(collection.to_owned(), name)) {
                    (409, status(409, "AlreadyExists"))
                } else {
                    (201, store.put(collection, object))
                }
            }
            (Method::PATCH, Some(mut found)) => {
                let change: Value = serde_json::from_slice(&body).expect("JSON");
                if change["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"] {
                    merge(&mut found, &change);
                    (200, store.put(collection, found))
                } else {
                    (409, status(409, "Conflict"))
                }
            }
            (_, _) => (404, status(404, "NotFound")),
        };
        let line =
            format!("{} {}/{name} {code}", head.method, collection.rsplit('/').next().unwrap_or_default());
        store.log.push(line);
        response(code, &answer)
    }

    fn list(&self, collection: &str, selected: Option<&str>) -> Response<Answer> {
        let store = self.store();
        let items: Vec<_> = store
            .objects
            .iter()
            .filter(|((kind, name), _)| {
                kind == collection && selected.is_none_or(|selected| selected == name)
            })
            .map(|(_, object)| object)
            .collect();
        let version = store.version.to_string();
        response(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    fn watch(&self, collection: &str, selected: Option<&str>, query: &str) -> Response<Answer> {
        let store = self.store();
        let from: u64 = query
            .split('&')
            .find_map(|part| part.strip_prefix("resourceVersion=")?.parse().ok())
            .expect("a version to watch from");
        let (collection, selected) = (collection.to_owned(), selected.map(str::to_owned));
        // What changed between the list and now, then what changes.
        let version = |object: &Value| -> u64 {
            object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or_default()
        };
        let missed: Vec<_> = store
            .objects
            .iter()
            .filter(|((kind, _), object)| *kind == collection && version(object) > from)
            .map(|((kind, _), object)| (kind.clone(), json!({"type": "MODIFIED", "object": object})))
            .collect();
        let news = futures::stream::unfold(store.news.subscribe(), |mut news| async {
            news.recv().await.ok().map(|event| (event, news))
        });
        let lines = futures::stream::iter(missed).chain(news).filter_map(move |(kind, event)| {
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
            let fits = kind == collection && selected.as_deref().is_none_or(|selected| selected == name);
            let line = fits.then(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("{event}\n")))));
            std::future::ready(line)
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

impl Store {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        self.objects.insert((collection.to_owned(), name), object.clone());
        let event = json!({"type": "MODIFIED", "object": object});
        self.news.send((collection.to_owned(), event)).ok();
        object
    }
}

/// A merge patch, in which the list `webhooks` is merged by name as a strategic one does.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    for (name, value) in fields {
        if name == "webhooks" {
            for entry in value.as_array().expect("a list") {
                let mut entries = object["webhooks"].as_array_mut().expect("a list").iter_mut();
                let same = entries.find(|old| old["name"] == entry["name"]).expect("an entry of that name");
                merge(same, entry);
            }
        } else {
            merge(&mut object[name], value);
        }
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code})
}

fn response(code: u16, body: &Value) -> Response<Answer> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(std::io::Error::other).boxed_unsync();
    Response::builder().status(code).body(body).expect("a status and a body")
}
