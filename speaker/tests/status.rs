//! The writer of status objects against a scripted API server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use announce::ServiceKey;
use api::ServiceL2Status;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::client::Body;
use kube_ext::{Change, ObjectKey};
use serde_json::{Value, json};
use speaker::core::{StatusView, Want, Why};
use speaker::status::{StatusInput, StatusObject as _, StatusWriter, object_name};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATH: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses";
const SOON: Duration = Duration::from_secs(10);

fn service() -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: "web".into() }
}

fn own_name() -> String {
    object_name::<ServiceL2Status>("iris3", &service())
}

/// The objects of a pretended API server, and what was asked of it.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
    away: bool,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let rest = path.strip_prefix(PATH).expect("only this kind is touched").trim_start_matches('/');
        self.calls.push(format!("{method} {rest}"));
        if self.away {
            return (StatusCode::SERVICE_UNAVAILABLE, failure(503));
        }
        let name = rest.trim_end_matches("/status");
        match *method {
            Method::PATCH => match self.objects.get_mut(name) {
                Some(object) => {
                    object["status"] = body["status"].clone();
                    (StatusCode::OK, object.clone())
                }
                None => (StatusCode::NOT_FOUND, failure(404)),
            },
            Method::POST => {
                let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
                self.objects.insert(name, body.clone());
                (StatusCode::CREATED, body.clone())
            }
            Method::GET => {
                let items: Vec<&Value> = self.objects.values().collect();
                (StatusCode::OK, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
            }
            Method::DELETE => {
                self.objects.remove(name);
                (StatusCode::OK, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => panic!("{method} is not expected"),
        }
    }
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "x", "code": code})
}

/// A running writer of a node, iris3 for the most part.
struct Fixture {
    server: Arc<Mutex<Server>>,
    inputs: mpsc::UnboundedSender<StatusInput>,
    /// Told after each call.
    called: mpsc::UnboundedReceiver<()>,
}

impl Fixture {
    fn new(objects: &[(&str, Value)]) -> Self {
        Self::of("iris3", objects)
    }

    fn of(node: &str, objects: &[(&str, Value)]) -> Self {
        let server = Server {
            objects: objects.iter().map(|(name, object)| ((*name).to_owned(), object.clone())).collect(),
            ..Server::default()
        };
        let server = Arc::new(Mutex::new(server));
        let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (tell, called) = mpsc::unbounded_channel();
        let answering = Arc::clone(&server);
        tokio::spawn(async move {
            while let Some((request, respond)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.expect("a body");
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let mut server = answering.lock().expect("not poisoned");
                let (status, answer) = server.answer(&parts.method, parts.uri.path(), &body);
                let answer = Body::from(serde_json::to_vec(&answer).expect("JSON"));
                respond.send_response(Response::builder().status(status).body(answer).expect("a response"));
                tell.send(()).ok();
            }
        });
        let (inputs, queue) = mpsc::unbounded_channel();
        let writer = StatusWriter::<ServiceL2Status>::new(
            Client::new(mock, "metallb-system"),
            "metallb-system",
            node.into(),
        );
        tokio::spawn(writer.run(queue));
        Self { server, inputs, called }
    }

    fn tell(&self, input: StatusInput) {
        self.inputs.send(input).expect("the writer runs");
    }

    /// Waits for this many calls and returns all there were.
    async fn calls(&mut self, count: usize) -> Vec<String> {
        for _ in 0..count {
            timeout(SOON, self.called.recv()).await.expect("called soon").expect("the server runs");
        }
        self.server.lock().expect("not poisoned").calls.clone()
    }

    fn objects(&self) -> BTreeMap<String, Value> {
        self.server.lock().expect("not poisoned").objects.clone()
    }
}

fn here(interfaces: &[&str]) -> Want {
    let why = Why { cause: "HolderDown".into(), former: Some("iris1".into()) };
    Want::Here { names: interfaces.iter().map(|&i| i.to_owned()).collect(), why: Some(why) }
}

#[tokio::test]
async fn a_new_holder_creates_its_object_and_then_deletes_the_others() {
    let other = json!({"metadata": {"name": "l2-other"}, "status": {"node": "iris1"}});
    let mut fixture = Fixture::new(&[("l2-other", other)]);
    fixture.tell(StatusInput::Owner(OwnerReference {
        api_version: "apps/v1".into(),
        kind: "DaemonSet".into(),
        name: "speaker".into(),
        uid: "d1".into(),
        ..OwnerReference::default()
    }));
    fixture.tell(StatusInput::Want(service(), here(&["eth0"])));
    let name = own_name();
    assert_eq!(
        fixture.calls(5).await,
        [
            format!("PATCH {name}/status"),
            "POST ".to_owned(),
            format!("PATCH {name}/status"),
            "GET ".to_owned(),
            "DELETE l2-other".to_owned(),
        ]
    );
    let objects = fixture.objects();
    let object = objects.get(&name).expect("its own object");
    assert_eq!(objects.len(), 1, "the other node's object is gone");
    assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    assert_eq!(object["metadata"]["labels"]["metallb.io/node"], "iris3");
    assert_eq!(object["metadata"]["labels"]["metallb.io/service-name"], "web");
    assert_eq!(object["metadata"]["labels"]["metallb.io/service-namespace"], "shop");
    assert_eq!(
        object["status"],
        json!({
            "node": "iris3", "serviceName": "web", "serviceNamespace": "shop", "interfaces": [{"name": "eth0"}],
            "cause": "HolderDown", "formerNode": "iris1",
        })
    );
}

#[tokio::test]
async fn a_node_with_a_long_name_has_objects_that_it_finds_and_knows_again() {
    let node = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    let mut fixture = Fixture::of(&node, &[]);
    fixture.tell(StatusInput::Want(service(), here(&["eth0"])));
    fixture.calls(4).await;
    let objects = fixture.objects();
    let object = objects.get(&object_name::<ServiceL2Status>(&node, &service())).expect("its own object");
    let label = object["metadata"]["labels"]["metallb.io/node"].as_str().expect("a label");
    assert_eq!(label, api::names::label_value(&node), "what the watch selects by");
    assert!(label.len() <= 63, "{label}");
    assert_eq!(object["status"]["node"], node);
    let object: ServiceL2Status = serde_json::from_value(object.clone()).expect("an object of the kind");
    let Want::Here { names, why } = here(&["eth0"]) else { unreachable!() };
    let expected = StatusView { service: service(), complete: true, names, why };
    assert_eq!(object.view(), expected);
    // One whose status names another node is not what was written.
    let mut foreign = object;
    foreign.status.as_mut().expect("a status").node = Some("iris3".to_owned());
    assert!(!foreign.view().complete);
}

#[tokio::test]
async fn an_object_that_says_the_right_thing_is_not_written() {
    let mut fixture = Fixture::new(&[]);
    let Want::Here { why, .. } = here(&[]) else { unreachable!() };
    let view = StatusView { service: service(), complete: true, names: Vec::new(), why };
    let key = ObjectKey::new("metallb-system", own_name());
    fixture.tell(StatusInput::Want(service(), here(&[])));
    fixture.calls(4).await;
    fixture.tell(StatusInput::Actual(Change::Apply(key, view)));
    fixture.tell(StatusInput::Want(service(), here(&[])));
    // What comes next is the first thing after it: nothing was written for the two inputs before.
    fixture.tell(StatusInput::Want(service(), Want::Nowhere));
    assert_eq!(fixture.calls(1).await.last(), Some(&format!("DELETE {}", own_name())));
    assert_eq!(fixture.objects().len(), 0);
}

#[tokio::test]
async fn an_api_server_that_comes_back_gets_what_it_missed() {
    let mut fixture = Fixture::new(&[]);
    fixture.server.lock().expect("not poisoned").away = true;
    fixture.tell(StatusInput::Want(service(), here(&[])));
    fixture.calls(2).await;
    fixture.server.lock().expect("not poisoned").away = false;
    fixture.calls(4).await;
    assert!(fixture.objects().contains_key(&own_name()));
}

#[test]
fn names_are_short_valid_and_differ_by_node_and_service() {
    let name = own_name();
    assert!(
        name.len() < 30 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    );
    assert_eq!(name, own_name());
    assert_ne!(name, object_name::<ServiceL2Status>("iris2", &service()));
    assert_ne!(
        name,
        object_name::<ServiceL2Status>(
            "iris3",
            &ServiceKey { namespace: "shop".into(), name: "web2".into() }
        )
    );
}
