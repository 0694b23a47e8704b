use kube_ext::testing::{Server, client};
use tokio::time::advance;

use super::*;
use crate::health::Health;
use crate::status::Problem;

const PATH: &str =
    "/apis/operators.coreos.com/v2/namespaces/operators/operatorconditions/metallb-operator.v1";

fn waiting(faults: &[&str]) -> Health {
    let faults = faults.iter().map(|&fault| fault.to_owned()).collect();
    Health { missing: Some("speaker: ready on 2 of 3 nodes".to_owned()), faults, remark: None }
}

fn serving(speaker: Health, applied: bool, problem: Option<Problem>) -> Verdict {
    Verdict::Serving { controller: Health::default(), speaker, applied, problem }
}

#[test]
fn only_a_rollout_that_ends_by_itself_holds_an_upgrade_up() {
    let problem = || Some(Problem { reason: "InvalidMetalLBSpec", message: "wrong".to_owned() });
    for (verdict, expected) in [
        (serving(Health::default(), true, None), Advice::Settled),
        (serving(waiting(&[]), true, None), Advice::RollingOut),
        (serving(waiting(&["speaker-x is in CrashLoopBackOff"]), true, None), Advice::Settled),
        (serving(waiting(&[]), false, problem()), Advice::Settled),
        (serving(waiting(&[]), true, problem()), Advice::Settled),
        (Verdict::Ignored(problem().expect("one")), Advice::Settled),
    ] {
        assert_eq!(Advice::of(&verdict), expected, "{verdict:?}");
    }
}

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).expect("a time")
}

#[test]
fn the_condition_changes_only_with_what_it_says_and_others_stay() {
    let other = json!({"type": "Other", "status": "True"});
    let first = with(&json!([other]), Advice::RollingOut, at(100)).expect("news");
    assert_eq!(first[0], other);
    assert_eq!(first[1]["type"], "Upgradeable");
    assert_eq!(first[1]["status"], "False");
    assert_eq!(first[1]["lastTransitionTime"], "1970-01-01T00:01:40Z");
    assert_eq!(with(&json!(first), Advice::RollingOut, at(200)), None, "it is so");
    let then = with(&json!(first), Advice::Settled, at(200)).expect("news");
    assert_eq!((then.len(), &then[1]["status"]), (2, &json!("True")));
    let last = with(&json!(then), Advice::StillRollingOut, at(300)).expect("news");
    assert_eq!(last[1]["lastTransitionTime"], then[1]["lastTransitionTime"], "True as before");
    assert_eq!(with(&Value::Null, Advice::Settled, at(1)).expect("news").len(), 1);
}

/// Answers a read of the OperatorCondition and the write that follows; the condition that was written.
async fn written(server: &mut Server, conditions: &Value) -> Value {
    let asked = server.asked().await;
    assert_eq!(asked.what, format!("GET {PATH}"));
    asked.answer(200, &object(conditions));
    let asked = server.asked().await;
    assert_eq!(asked.what, format!("PATCH {PATH}"));
    assert_eq!(asked.body["metadata"]["resourceVersion"], "7");
    let conditions = asked.body["spec"]["conditions"].clone();
    asked.answer(200, &object(&conditions));
    conditions
}

fn object(conditions: &Value) -> Value {
    json!({
        "apiVersion": "operators.coreos.com/v2", "kind": "OperatorCondition",
        "metadata": {"name": "metallb-operator.v1", "namespace": "operators", "resourceVersion": "7"},
        "spec": {"conditions": conditions},
    })
}

fn upgrades(client: &Client) -> Upgrades {
    Upgrades::start(client, "operators", Some("metallb-operator.v1".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_told_and_its_end_and_one_without_end_after_ten_minutes() {
    let (client, mut server) = client();
    let upgrades = upgrades(&client);
    upgrades.tell(Advice::RollingOut);
    let told = written(&mut server, &json!([])).await;
    assert_eq!(told[0]["status"], "False");
    upgrades.tell(Advice::Settled);
    let told = written(&mut server, &told).await;
    assert_eq!((&told[0]["status"], &told[0]["reason"]), (&json!("True"), &json!("Settled")));
    upgrades.tell(Advice::RollingOut);
    let told = written(&mut server, &told).await;
    // Another word in between does not begin the ten minutes anew.
    advance(PATIENCE / 2).await;
    upgrades.tell(Advice::RollingOut);
    let told = written(&mut server, &told).await;
    assert_eq!((&told[0]["status"], &told[0]["reason"]), (&json!("True"), &json!("RollingOutForLong")));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_replica_left_is_taken_back_where_there_is_no_resource() {
    let (client, mut server) = client();
    let _upgrades = upgrades(&client);
    let left = with(&Value::Null, Advice::RollingOut, at(1)).expect("news");
    // OLM gives the right to it a moment after it has started the operator.
    server.asked().await.refuse(404, "NotFound");
    server.asked().await.refuse(403, "Forbidden");
    server.asked().await.refuse(404, "NotFound");
    let told = written(&mut server, &json!(left)).await;
    assert_eq!(told[0]["status"], "True");
}

#[tokio::test]
async fn without_olm_nobody_is_told() {
    let (client, _server) = client();
    for name in [None, Some(String::new())] {
        let upgrades = Upgrades::start(&client, "operators", name);
        upgrades.tell(Advice::RollingOut);
        assert!(upgrades.0.is_none());
    }
}
