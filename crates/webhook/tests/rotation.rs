//! Whole rotations: replicas with servers, an API server in memory, and callers that trust what it says.

#[path = "common/api.rs"]
mod api;
mod common;

use std::{sync::Arc, time::Duration};

use api::{Api, DEFINITIONS, SECRETS, WEBHOOKS};
use common::{Caller, LONG, Running, authorities, routes, trusting};
use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use tls::CertResolver;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use webhook::{Readiness, RotationConfig, RotationPolicy, ServerConfig, Target, rotate};

const CONFIGURATION: &str = "metallb-webhook-configuration";
const DEFINITION: &str = "bgppeers.metallb.io";
const SECRET: &str = "metallb-webhook-cert";

fn service() -> Value {
    json!({"namespace": "metallb-system", "name": "metallb-webhook-service", "path": "/validate"})
}

/// The objects of an installation, none of them with a certificate yet.
fn installed() -> Api {
    let api = Api::new();
    let webhook = |name: &str, service: Value| json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"service": service}});
    let webhooks = [
        webhook("ipaddresspoolvalidationwebhook.metallb.io", service()),
        webhook("bgppeervalidationwebhook.metallb.io", service()),
        webhook("other.example.com", json!({"namespace": "default", "name": "other"})),
    ];
    api.put(WEBHOOKS, json!({"metadata": {"name": CONFIGURATION}, "webhooks": webhooks}));
    api.put(
        DEFINITIONS,
        json!({
            "metadata": {"name": DEFINITION},
            "spec": {
                "group": "metallb.io", "scope": "Namespaced", "names": {"kind": "BGPPeer", "plural": "bgppeers"},
                "versions": [],
                "conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"], "clientConfig": {"service": service()},
                }},
            },
        }),
    );
    api.put(
        SECRETS,
        json!({"metadata": {"name": SECRET, "labels": {"keep": "me"}}, "data": {"more": "QQ=="}}),
    );
    api
}

fn bundle(value: &Value) -> Vec<u8> {
    serde_json::from_value::<Option<ByteString>>(value.clone()).expect("base64").unwrap_or_default().0
}

/// What the API server trusts when it calls the first webhook.
fn trusted(api: &Api) -> Vec<u8> {
    let object = api.get(WEBHOOKS, CONFIGURATION).expect("a configuration");
    bundle(&object["webhooks"][0]["clientConfig"]["caBundle"])
}

struct Replica {
    server: Running,
    resolver: Arc<CertResolver>,
    readiness: watch::Receiver<Readiness>,
    task: JoinHandle<std::convert::Infallible>,
}

impl Replica {
    fn start(api: &Api, policy: RotationPolicy) -> Self {
        let resolver = Arc::new(CertResolver::new());
        let server = Running::new(&ServerConfig::default(), resolver.clone(), routes());
        let (sender, readiness) = watch::channel(Readiness::NotReady("starting".into()));
        let config = RotationConfig {
            client: api.client(),
            namespace: "metallb-system".into(),
            secret: SECRET.into(),
            owner: Some(OwnerReference { uid: "uid-1".into(), ..OwnerReference::default() }),
            service: "metallb-webhook-service".into(),
            targets: vec![Target::Webhooks(CONFIGURATION.into()), Target::Conversion(DEFINITION.into())],
            policy,
        };
        let task = tokio::spawn(rotate(config, resolver.clone(), sender));
        Self { server, resolver, readiness, task }
    }

    async fn ready(&mut self) {
        let ready = self.readiness.wait_for(|readiness| *readiness == Readiness::Ready);
        timeout(LONG, ready).await.expect("it becomes ready").expect("the rotation runs");
    }

    async fn stop(self) {
        self.task.abort();
        self.server.stop().await;
    }
}

#[tokio::test]
async fn a_certificate_is_made_served_and_trusted_and_only_then_it_is_ready() {
    let api = installed();
    let mut replica = Replica::start(&api, RotationPolicy::default());
    replica.ready().await;

    let object = api.get(WEBHOOKS, CONFIGURATION).expect("a configuration");
    let [first, second, other] =
        [0, 1, 2].map(|n| bundle(&object["webhooks"][n]["clientConfig"]["caBundle"]));
    assert_eq!(authorities(&first).len(), 1);
    assert_eq!((second.clone(), other), (first.clone(), Vec::new()));
    assert_eq!(object["webhooks"][0]["clientConfig"]["service"], service(), "the rest of it stays");
    let definition = api.get(DEFINITIONS, DEFINITION).expect("a definition");
    assert_eq!(bundle(&definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"]), first);
    let secret = api.get(SECRETS, SECRET).expect("a Secret");
    assert_eq!(secret["metadata"]["labels"]["keep"], "me");
    let keys: Vec<_> = secret["data"].as_object().expect("data").keys().cloned().collect();
    assert_eq!(keys, ["more", "ca.crt", "ca.key", "tls.crt", "tls.key"]);

    let caller = Caller::new(replica.server.address, &trusting(&authorities(&first), &[])).await;
    let answer = caller.expect("trusted").review("u", "2").await.expect("answered");
    assert_eq!(answer["allowed"], true);
    assert_eq!(api.log().len(), 3, "one write each: {:?}", api.log());

    // A second replica takes over what is there, and writes nothing.
    let mut second = Replica::start(&api, RotationPolicy::default());
    second.ready().await;
    let shown = |replica: &Replica| replica.resolver.certificate().expect("one").chain().to_vec();
    assert_eq!(shown(&second), shown(&replica));
    assert_eq!(api.log().len(), 3, "{:?}", api.log());
    replica.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_no_hindrance_and_is_served_when_it_comes() {
    let api = Api::new();
    let mut replica = Replica::start(&api, RotationPolicy::default());
    replica.ready().await;
    assert_eq!(api.log(), ["POST secrets/ 201"]);
    let secret = api.get(SECRETS, SECRET).expect("the Secret");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");

    let full = installed();
    api.put(WEBHOOKS, full.get(WEBHOOKS, CONFIGURATION).expect("a configuration"));
    timeout(LONG, async {
        while trusted(&api).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the CA is written");
    replica.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_is_made_again_without_a_change_of_what_is_served_until_all_trust_the_new() {
    let api = installed();
    let mut replica =
        Replica::start(&api, RotationPolicy { propagation: Duration::ZERO, ..RotationPolicy::default() });
    replica.ready().await;
    let before = trusted(&api);
    api.delete(SECRETS, SECRET);
    let new = timeout(LONG, async {
        loop {
            let now = authorities(&trusted(&api));
            if now.len() == 2 {
                return now;
            }
            tokio::task::yield_now().await;
        }
    });
    let new = new.await.expect("a new CA is made");
    assert!(new.contains(&authorities(&before)[0]), "the old one stays trusted");
    let caller = Caller::new(replica.server.address, &trusting(&new, &[])).await.expect("trusted");
    caller.review("u", "2").await.expect("answered");
    replica.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_rights_it_is_not_ready_and_says_why_and_goes_on_when_they_are_given() {
    let api = installed();
    api.forbid(true);
    let mut replica = Replica::start(&api, RotationPolicy::default());
    let reason = Readiness::NotReady("no certificate for the webhooks yet".into());
    let not_ready = replica.readiness.wait_for(|readiness| *readiness == reason);
    timeout(LONG, not_ready).await.expect("it says so").expect("the rotation runs");
    // Several attempts, further and further apart.
    timeout(LONG, async {
        while api.log().len() < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it tries again");
    api.forbid(false);
    replica.ready().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_of_two_replicas_under_load_fail_no_review() {
    let api = installed();
    let policy = RotationPolicy {
        authority: Duration::from_secs(6),
        serving: Duration::from_secs(3),
        renew_before: Duration::from_secs(2),
        backdate: Duration::ZERO,
        propagation: Duration::from_millis(200),
        grace: Duration::from_secs(1),
        recheck: Duration::from_millis(200),
    };
    let mut replicas = [Replica::start(&api, policy), Replica::start(&api, policy)];
    for replica in &mut replicas {
        replica.ready().await;
    }
    let addresses = [0, 1].map(|n| replicas[n].server.address);
    let (stop, stopped) = watch::channel(false);
    let callers: Vec<_> = (0..6)
        .map(|number: usize| {
            let (api, stopped) = (api.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut answered = 0_u64;
                while !*stopped.borrow() {
                    let bundle = trusted(&api);
                    let tls = trusting(&authorities(&bundle), &[]);
                    let caller = Caller::new(addresses[number % 2], &tls).await.expect("trusted");
                    caller.review("u", "2").await.expect("answered");
                    answered += 1;
                    if seen.last() != Some(&bundle) {
                        seen.push(bundle);
                    }
                }
                (answered, seen)
            })
        })
        .collect();

    // Until the first CA and two after it have come and gone.
    let first = authorities(&trusted(&api)).remove(0);
    let mut gone = vec![first];
    timeout(LONG, async {
        while gone.len() < 3 {
            let now = authorities(&trusted(&api));
            if now.len() == 1 && !gone.contains(&now[0]) {
                gone.push(now[0].clone());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("two rotations take less than a minute");
    stop.send_replace(true);
    for done in join_all(callers).await {
        let (answered, seen) = done.expect("no review failed");
        assert!(answered > 50 && seen.len() >= 4, "{answered} reviews, {} bundles", seen.len());
    }
    for replica in replicas {
        replica.stop().await;
    }
}
