use super::*;
use kube_ext::testing::{Asked, Server, client};

const ALL: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates";

fn invalid(why: &str) -> Standing {
    Standing::Invalid(why.to_owned())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn owner() -> OwnerReference {
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "controller", "uid": "d" });
    serde_json::from_value(owner).expect("an owner")
}

/// The object as it is after everything that is to be done was done.
fn settled(
    seen: Option<&ConfigurationState>,
    standing: &Standing,
    second: i64,
) -> (ConfigurationState, usize) {
    let mut seen = seen.map(|seen| serde_json::to_value(seen).expect("JSON"));
    let mut steps = 0;
    loop {
        let object = seen.as_ref().map(|seen| serde_json::from_value(seen.clone()).expect("an object"));
        match plan(object.as_ref(), standing, Some(&owner()), at(second)) {
            None => return (object.expect("made"), steps),
            Some(Step::Create(object)) => seen = Some(serde_json::to_value(object).expect("JSON")),
            Some(Step::Own(patch) | Step::Status(patch)) => {
                json_patch(seen.as_mut().expect("it exists"), &patch);
            }
        }
        steps += 1;
        assert!(steps < 5, "it does not come to rest");
    }
}

/// A merge patch (RFC 7386).
fn json_patch(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("an object").shift_remove(key);
        } else {
            json_patch(&mut target[key], value);
        }
    }
}

#[test]
fn the_object_is_made_with_label_and_owner_and_then_says_what_holds() {
    let (object, steps) = settled(None, &Standing::Valid, 5);
    assert_eq!(steps, 2);
    let expected = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState",
        "metadata": {
            "name": "controller", "labels": { "metallb.io/component-type": "controller" },
            "ownerReferences": [owner()],
        },
        "status": {
            "result": "Valid",
            "conditions": [{
                "type": "poolReconcilerValid", "status": "True", "reason": "Reconciled",
                "message": "the configuration is valid and in force", "lastTransitionTime": "1970-01-01T00:00:05Z",
            }],
        },
    });
    assert_eq!(serde_json::to_value(&object).expect("JSON"), expected);
}

#[test]
fn only_what_changes_is_written_and_the_time_is_that_of_the_last_change_of_status() {
    let first = "configuration error: first";
    let mut object = None;
    for (second, standing, steps, result, status, reason, summary, since) in [
        (1, invalid(first), 2, "Invalid", "False", "ConfigurationError", Some(first), 1),
        (2, invalid(first), 0, "Invalid", "False", "ConfigurationError", Some(first), 1),
        (3, invalid("next"), 1, "Invalid", "False", "ConfigurationError", Some("next"), 1),
        (4, Standing::Valid, 1, "Valid", "True", "Reconciled", None, 4),
        (5, Standing::Valid, 0, "Valid", "True", "Reconciled", None, 4),
        (6, Standing::Unknown("why".to_owned()), 1, "Unknown", "Unknown", "UnknownError", Some("why"), 6),
        (7, invalid("again"), 1, "Invalid", "False", "ConfigurationError", Some("again"), 7),
    ] {
        let (after, took) = settled(object.as_ref(), &standing, second);
        assert_eq!(took, steps, "at {second}");
        let said = after.status.as_ref().expect("a status");
        let [condition] = said.conditions.as_slice() else { panic!("{said:?}") };
        assert_eq!(said.result.expect("a result").to_string(), result);
        assert_eq!(said.error_summary.as_deref(), summary);
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason));
        assert_eq!(condition.last_transition_time.0, at(since), "at {second}");
        if let Some(summary) = summary {
            assert_eq!(condition.message, summary);
        }
        object = Some(after);
    }
}

#[test]
fn an_object_of_another_owner_becomes_ours_and_keeps_its_time() {
    let (mut object, _) = settled(None, &Standing::Valid, 1);
    object.metadata.labels = None;
    object.metadata.owner_references.as_mut().expect("an owner")[0].uid = "a pod".to_owned();
    let (after, steps) = settled(Some(&object), &Standing::Valid, 9);
    assert_eq!(steps, 1);
    assert_eq!(after, settled(None, &Standing::Valid, 1).0);
}

#[test]
fn a_version_that_is_older_than_what_is_known_is_seen_as_such() {
    let meta = |uid: &str, version: &str| ObjectMeta {
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectMeta::default()
    };
    for (this, that, older) in [
        (meta("a", "9"), meta("a", "10"), true),
        (meta("a", "10"), meta("a", "9"), false),
        (meta("a", "10"), meta("a", "10"), false),
        (meta("b", "9"), meta("a", "10"), false),
    ] {
        assert_eq!(is_older(&this, &that), older, "{this:?} {that:?}");
    }
}

/// An API server with this one object.
struct Fake {
    server: Server,
    object: Option<Value>,
    version: u64,
    /// The watch that waits for something to tell.
    watch: Option<Asked>,
    listed: bool,
}

impl Fake {
    /// Answers until a request other than those of the watch was answered; which one.
    async fn answered(&mut self) -> String {
        loop {
            let asked = timeout(PATIENCE, self.server.asked()).await.expect("a request is due");
            let what = asked.what.clone();

            self.version += 1;
            match what.split_once(' ').expect("method and path") {
                ("GET", ALL) if self.listed => {
                    self.watch = Some(asked);
                    continue;
                }
                ("GET", ALL) => {
                    self.listed = true;
                    let items: Vec<&Value> = self.object.iter().collect();
                    asked.answer(200, &json!({ "metadata": { "resourceVersion": "1" }, "items": items }));
                    continue;
                }
                ("GET", _) => {
                    asked.answer(200, &json!({ "metadata": { "name": "controller", "uid": "d" } }));
                }
                ("POST", ALL) => {
                    let mut object = asked.body.clone();
                    object["metadata"]["uid"] = json!(format!("u{}", self.version));
                    self.store(asked, object);
                }
                ("PATCH", _) => match self.object.clone() {
                    Some(mut object) => {
                        json_patch(&mut object, &asked.body);
                        self.store(asked, object);
                    }
                    None => asked.refuse(404, "NotFound"),
                },
                other => panic!("{other:?}"),
            }
            return what;
        }
    }

    fn store(&mut self, asked: Asked, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        asked.answer(200, &object);
        self.object = Some(object);
    }

    async fn delete(&mut self) {
        while self.watch.is_none() {
            let asked = self.server.asked().await;
            assert_eq!(asked.what, format!("GET {ALL}"));
            self.watch = Some(asked);
        }
        let object = self.object.take().expect("it exists");
        let events = ["ADDED", "DELETED"].map(|kind| json!({ "type": kind, "object": object }));
        self.watch.take().expect("it watches").tell(&events);
    }

    fn says(&self) -> &Value {
        &self.object.as_ref().expect("it exists")["status"]["result"]
    }
}

#[tokio::test]
async fn the_object_is_written_on_change_and_made_again_when_it_is_deleted() {
    let (client, server) = client();
    let (standing, standings) = channel::channel(None);
    let kept = keep(client, "metallb-system".to_owned(), "controller".to_owned(), standings);
    let kept = tokio::spawn(kept);
    let mut fake = Fake { server, object: None, version: 1, watch: None, listed: false };
    let quiet = timeout(Duration::from_millis(100), fake.answered()).await;
    assert!(quiet.is_err(), "nothing is written before something is known: {quiet:?}");
    let status = format!("PATCH {ALL}/controller/status");
    standing.send_replace(Some(Standing::Valid));
    let mut answered = Vec::new();
    for _ in 0..3 {
        answered.push(fake.answered().await);
    }
    let owner = "GET /apis/apps/v1/namespaces/metallb-system/deployments/controller".to_owned();
    assert_eq!(answered, [owner, format!("POST {ALL}"), status.clone()]);
    standing.send_replace(Some(invalid("configuration error: x")));
    assert_eq!(fake.answered().await, status);
    assert_eq!(fake.says(), "Invalid");
    standing.send_replace(Some(invalid("configuration error: x")));
    let quiet = timeout(Duration::from_millis(100), fake.answered()).await;
    assert!(quiet.is_err(), "nothing has changed: {quiet:?}");
    fake.delete().await;
    assert_eq!([fake.answered().await, fake.answered().await], [format!("POST {ALL}"), status.clone()]);
    assert_eq!(fake.says(), "Invalid");
    // A deletion that is not told yet.
    fake.object = None;
    standing.send_replace(Some(Standing::Valid));
    let answered = [fake.answered().await, fake.answered().await, fake.answered().await];
    assert_eq!(answered, [status.clone(), format!("POST {ALL}"), status]);
    assert_eq!(fake.says(), "Valid");
    let object = fake.object.expect("it exists");
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "d");
    kept.abort();
}
