//! The writer against a scripted API server.

use http::{Request, Response};
use kube::client::Body;
use kube_ext::ObjectKey;
use serde_json::Value;
use tower_test::mock::{Handle, SendResponse, pair};

use super::*;

const PATH: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates";
const SOON: Duration = Duration::from_secs(10);
const MISTAKE: &str = "configuration error: peer peer1 referencing non existing bfd profile fast";

/// A running writer of the node iris3, whose watch is the test's to play.
struct Fixture {
    desired: watch::Sender<Desired>,
    changes: mpsc::Sender<Change<ConfigurationStateStatus>>,
    server: Handle<Request<Body>, Response<Body>>,
}

/// A request, to be answered.
struct Asked {
    what: String,
    body: Value,
    answer: SendResponse<Response<Body>>,
}

impl Asked {
    fn answer(self, code: u16, body: &Value) {
        let body = Body::from(serde_json::to_vec(body).expect("JSON"));
        self.answer.send_response(Response::builder().status(code).body(body).expect("a response"));
    }

    /// Answers with an object that has what was sent.
    fn accept(self) {
        let object = json!({"metadata": {"name": "speaker-iris3"}, "status": self.body["status"]});
        self.answer(200, &object);
    }

    fn refuse(self, code: u16) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "x", "code": code});
        self.answer(code, &status);
    }
}

impl Fixture {
    fn new() -> Self {
        let (mock, server) = pair::<Request<Body>, Response<Body>>();
        let writer = StateWriter::new(Client::new(mock, "metallb-system"), "metallb-system", "iris3".into());
        let (desired, receiver) = watch::channel(Desired::default());
        let (changes, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.write(receiver, queue));
        Self { desired, changes, server }
    }

    /// One that has listed and found this.
    async fn listed(found: Option<ConfigurationStateStatus>) -> Self {
        let fixture = Self::new();
        if let Some(status) = found {
            fixture.tell(applied(status)).await;
        }
        fixture.tell(Change::Synced).await;
        fixture
    }

    async fn tell(&self, change: Change<ConfigurationStateStatus>) {
        self.changes.send(change).await.expect("the writer runs");
    }

    fn want(&self, mistake: Option<&str>) {
        let verdict = Some(Verdict::from(mistake.map(str::to_owned)));
        self.desired.send_modify(|desired| desired.verdict = verdict);
    }

    async fn asked(&mut self) -> Asked {
        let (request, answer) =
            timeout(SOON, self.server.next_request()).await.expect("soon").expect("the client is there");
        let path = request.uri().path().strip_prefix(PATH).expect("only this kind is touched").to_owned();
        let what = format!("{} {path}", request.method());
        let bytes = request.into_body().collect_bytes().await.expect("a body");
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Asked { what, body, answer }
    }

    /// Nothing is asked for by the time that the writer has taken in another change.
    async fn silent(&mut self) {
        for _ in 0..QUEUE + 2 {
            self.tell(Change::Synced).await;
        }
        let asked = timeout(Duration::from_millis(50), self.server.next_request()).await;
        assert!(asked.is_err(), "{:?}", asked.map(|request| request.map(|(request, _)| request)));
    }
}

fn applied(status: ConfigurationStateStatus) -> Change<ConfigurationStateStatus> {
    Change::Apply(ObjectKey::new("metallb-system", "speaker-iris3"), status)
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// What a speaker of this node wrote before.
fn written(mistake: Option<&str>, since: &str) -> ConfigurationStateStatus {
    let (mock, _server) = pair::<Request<Body>, Response<Body>>();
    let mut writer = StateWriter::new(Client::new(mock, "x"), "x", "iris3".into());
    writer.status(&Verdict::from(mistake.map(str::to_owned)), &BTreeMap::new(), time(since))
}

#[tokio::test]
async fn nothing_is_written_before_configuration_and_object_are_known() {
    let mut fixture = Fixture::new();
    fixture.want(None);
    assert!(timeout(Duration::from_millis(50), fixture.server.next_request()).await.is_err());
    let mut fixture = Fixture::listed(None).await;
    fixture.silent().await;
}

#[tokio::test]
async fn a_first_object_is_created_with_labels_and_owner_and_then_has_its_status() {
    let mut fixture = Fixture::listed(None).await;
    let owner =
        OwnerReference { kind: "DaemonSet".into(), name: "speaker".into(), ..OwnerReference::default() };
    fixture.desired.send_modify(|desired| desired.owner = Some(owner));
    fixture.want(Some(MISTAKE));
    let asked = fixture.asked().await;
    assert_eq!(asked.what, "POST ");
    let metadata = &asked.body["metadata"];
    assert_eq!(metadata["name"], "speaker-iris3");
    assert_eq!(
        metadata["labels"],
        json!({"metallb.io/component-type": "speaker", "metallb.io/node-name": "iris3"})
    );
    assert_eq!(metadata["ownerReferences"][0]["kind"], "DaemonSet");
    asked.accept();
    let asked = fixture.asked().await;
    assert_eq!(asked.what, "PATCH /speaker-iris3/status");
    let status = &asked.body["status"];
    assert_eq!(status["result"], "Invalid");
    assert_eq!(status["errorSummary"], MISTAKE);
    let condition = &status["conditions"][0];
    for (field, value) in [
        ("type", "configReconcilerValid"),
        ("status", "False"),
        ("reason", "ConfigurationError"),
        ("message", MISTAKE),
    ] {
        assert_eq!(condition[field], value, "{field}");
    }
    asked.accept();
    fixture.want(Some(MISTAKE));
    fixture.silent().await;
}

#[tokio::test]
async fn a_mistake_that_is_mended_is_taken_out_of_the_object() {
    let found = written(Some(MISTAKE), "2026-01-01T00:00:00Z");
    let mut fixture = Fixture::listed(Some(found)).await;
    fixture.want(None);
    let asked = fixture.asked().await;
    assert_eq!(asked.what, "PATCH /speaker-iris3/status");
    let status = &asked.body["status"];
    assert_eq!((&status["result"], &status["errorSummary"]), (&json!("Valid"), &Value::Null));
    let condition = &status["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("Reconciled")));
    assert_eq!(condition["message"], "");
    assert_ne!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    asked.accept();
}

#[tokio::test]
async fn a_restart_that_finds_what_it_would_write_writes_nothing() {
    for mistake in [None, Some(MISTAKE)] {
        let mut fixture = Fixture::listed(Some(written(mistake, "2026-01-01T00:00:00Z"))).await;
        fixture.want(mistake);
        fixture.silent().await;
    }
}

#[tokio::test]
async fn another_mistake_is_written_without_a_new_time() {
    let found = written(Some(MISTAKE), "2026-01-01T00:00:00Z");
    let mut fixture = Fixture::listed(Some(found)).await;
    fixture.want(Some("configuration error: parsing peer peer2 missing local ASN"));
    let asked = fixture.asked().await;
    let condition = &asked.body["status"]["conditions"][0];
    assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    asked.accept();
}

#[tokio::test]
async fn a_deleted_object_comes_back_and_says_the_same() {
    let since = "2026-01-01T00:00:00Z";
    let mut fixture = Fixture::listed(Some(written(Some(MISTAKE), since))).await;
    fixture.want(Some(MISTAKE));
    fixture.silent().await;
    fixture.tell(Change::Delete(ObjectKey::new("metallb-system", "speaker-iris3"))).await;
    let asked = fixture.asked().await;
    assert_eq!(asked.what, "POST ");
    asked.accept();
    let asked = fixture.asked().await;
    assert_eq!(asked.body["status"]["errorSummary"], MISTAKE);
    assert_eq!(asked.body["status"]["conditions"][0]["lastTransitionTime"], since);
    asked.accept();
}

#[tokio::test]
async fn a_foreign_hand_in_the_status_is_undone() {
    let right = written(None, "2026-01-01T00:00:00Z");
    let wrong = ConfigurationStateStatus { error_summary: Some("nonsense".into()), ..right.clone() };
    let mut fixture = Fixture::listed(Some(right)).await;
    fixture.want(None);
    fixture.silent().await;
    fixture.tell(applied(wrong)).await;
    let asked = fixture.asked().await;
    assert_eq!(
        (asked.what.as_str(), &asked.body["status"]["errorSummary"]),
        ("PATCH /speaker-iris3/status", &Value::Null)
    );
    asked.accept();
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_again_until_it_works() {
    let mut fixture = Fixture::listed(None).await;
    fixture.want(None);
    for code in [503, 409] {
        let asked = fixture.asked().await;
        assert_eq!(asked.what, "POST ");
        asked.refuse(code);
    }
    // Somebody else created it meanwhile: that is as good.
    let asked = fixture.asked().await;
    assert_eq!(asked.what, "PATCH /speaker-iris3/status");
    asked.accept();
    fixture.silent().await;
}

#[tokio::test]
async fn only_the_own_object_is_watched() {
    let (mock, mut server) = pair::<Request<Body>, Response<Body>>();
    let writer = StateWriter::new(Client::new(mock, "metallb-system"), "metallb-system", "iris3".into());
    let (_desired, receiver) = watch::channel(Desired::default());
    tokio::spawn(writer.run(receiver));
    let (request, _answer) = timeout(SOON, server.next_request()).await.expect("soon").expect("a request");
    assert_eq!(request.uri().path(), PATH);
    let query = request.uri().query().unwrap_or_default();
    assert!(query.contains("fieldSelector=metadata.name%3Dspeaker-iris3"), "{query}");
}

#[tokio::test]
async fn the_label_of_a_node_with_a_long_name_is_cut() {
    let node = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    let (mock, _server) = pair::<Request<Body>, Response<Body>>();
    let writer = StateWriter::new(Client::new(mock, "x"), "x", node.clone());
    let labels = writer.object(None).metadata.labels.expect("labels");
    assert_eq!(labels["metallb.io/node-name"], names::label_value(&node));
}

#[tokio::test]
async fn a_long_message_is_cut_to_what_a_condition_takes() {
    let status = written(Some(&"é".repeat(40_000)), "2026-01-01T00:00:00Z");
    assert_eq!(status.conditions[0].message.chars().count(), 32_768);
}

#[tokio::test]
async fn each_session_has_a_condition_that_goes_with_its_peer() {
    let mut fixture = Fixture::listed(None).await;
    let view = |up: bool, message: &str| SessionView {
        up,
        reason: if up { "Established" } else { "Down" },
        message: message.to_owned(),
    };
    let one = |up, message| BTreeMap::from([("tor-a".to_owned(), view(up, message))]);
    fixture.desired.send_modify(|desired| desired.sessions = one(false, "nobody answers"));
    fixture.want(None);
    fixture.asked().await.accept();
    let asked = fixture.asked().await;
    let conditions = asked.body["status"]["conditions"].as_array().expect("a list").clone();
    assert_eq!(asked.body["status"]["result"], "Valid", "a session that is down is no mistake");
    assert_eq!(conditions.len(), 2);
    assert_eq!(conditions[1]["type"], "bgp.metallb.io/tor-a");
    assert_eq!((&conditions[1]["status"], &conditions[1]["reason"]), (&json!("False"), &json!("Down")));
    assert_eq!(conditions[1]["message"], "nobody answers");
    asked.accept();
    fixture.desired.send_modify(|desired| desired.sessions.clear());
    let asked = fixture.asked().await;
    assert_eq!(asked.body["status"]["conditions"].as_array().map(Vec::len), Some(1));
}
