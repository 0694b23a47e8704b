//! How many reviews a second the controller answers over kept-alive connections with a large configuration, and how
//! long one takes: `cargo xtask bench webhook`.
//!
//! Clients and server share the machine, so the server alone can do about twice as much.

#[path = "../../crates/webhook/tests/common/mod.rs"]
mod common;
#[path = "../../crates/config/benches/common/mod.rs"]
mod large;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Caller, Running, made, trusting};
use futures::future::join_all;
use http::{Method, StatusCode};
use large::{ADVERTISEMENTS, Large, POOLS, Report, advertisement, peer, pool};
use serde_json::{Value, json};
use webhook::ServerConfig;

const NAMESPACE: &str = "metallb-system";
/// Connections, each with one review at a time.
const CALLERS: usize = 200;
/// Reviews over each connection in a round.
const REVIEWS: usize = 100;
/// The figures are the medians of so many rounds.
const ROUNDS: usize = 9;
/// Reviews a second, at least.
const RATE: f64 = 2_000.0;
/// How long all but one of a hundred take, at most.
const LATE: Duration = Duration::from_millis(50);

/// One review to ask for.
struct Asked {
    path: &'static str,
    body: Bytes,
    allowed: bool,
}

/// What a round has shown.
struct Round {
    rate: f64,
    median: Duration,
    late: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let large = Large::new();
    let routes = controller::reviews_of(&large.resources(), NAMESPACE);
    let made = made("CA");
    let server = Running::new(&ServerConfig::default(), Arc::new(made.certificate.into()), routes);
    let tls = trusting(&[made.authority], &[]);
    let callers = join_all((0..CALLERS).map(|_| Caller::new(server.address, &tls))).await;
    let callers: Vec<_> = callers.into_iter().collect::<Result<_, _>>().expect("connected");
    let asked: Arc<Vec<Asked>> = Arc::new(reviews());

    let first = Instant::now();
    ask(&callers[0], &asked[0]).await;
    let first = first.elapsed();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(round(&callers, &asked).await);
    }
    server.stop().await;

    let mut report = Report::default();
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let of = format!("median of {ROUNDS} rounds of {} reviews of all kinds", CALLERS * REVIEWS);
    let rate = middle(&rounds, |round| round.rate);
    let what = format!("webhook: reviews a second, {CALLERS} at once");
    report.line(&what, &format!("{rate:.0}/s"), &format!("bound {RATE:.0}/s, {of}"), rate >= RATE);
    let median = middle(&rounds, |round| round.median);
    report.line("webhook: p50", &milliseconds(median), "no bound", true);
    let late = middle(&rounds, |round| round.late);
    let bound = format!("bound {} ms", LATE.as_millis());
    report.line("webhook: p99", &milliseconds(late), &bound, late <= LATE);
    report.line("webhook: first review after a change", &milliseconds(first), &bound, first <= LATE);
    report.end()
}

/// All callers ask at once, each for one thing after the other.
async fn round(callers: &[Caller], asked: &Arc<Vec<Asked>>) -> Round {
    let begun = Instant::now();
    let tasks = callers.iter().enumerate().map(|(place, caller)| {
        let (caller, asked) = (caller.clone(), Arc::clone(asked));
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(REVIEWS);
            for number in 0..REVIEWS {
                let begun = Instant::now();
                ask(&caller, &asked[(place * REVIEWS + number) % asked.len()]).await;
                times.push(begun.elapsed());
            }
            times
        })
    });
    let times = join_all(tasks).await.into_iter().map(|times| times.expect("no review is lost"));
    let mut times: Vec<Duration> = times.flatten().collect();
    let took = begun.elapsed();
    times.sort_unstable();
    let count = u32::try_from(times.len()).expect("a small number");
    Round {
        rate: f64::from(count) / took.as_secs_f64(),
        median: times[times.len() / 2],
        late: times[times.len() * 99 / 100],
    }
}

async fn ask(caller: &Caller, asked: &Asked) {
    let (status, body) = caller.send(Method::POST, asked.path, asked.body.clone()).await.expect("answered");
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(answer["response"]["allowed"], asked.allowed, "{answer} to {:?}", asked.body);
}

fn middle<T: PartialOrd + Copy>(rounds: &[Round], figure: impl Fn(&Round) -> T) -> T {
    let mut figures: Vec<T> = rounds.iter().map(figure).collect();
    figures.sort_by(|one, two| one.partial_cmp(two).expect("figures are numbers"));
    figures[figures.len() / 2]
}

/// Reviews of all kinds: of new objects and of such as there are, and one of twelve to refuse.
fn reviews() -> Vec<Asked> {
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    (0..240)
        .map(|number| {
            let name = format!("new{number}");
            let (path, object, allowed) = match number % 12 {
                0 => ("v1beta1-ipaddresspool", pool(number), true),
                1 => ("v1beta1-ipaddresspool", pool(POOLS + number), true),
                2 => ("v1beta1-ipaddresspool", named(&name, json!({"addresses": ["10.1.7.9/32"]})), false),
                3..=5 => ("v1beta1-bgpadvertisement", advertisement(number), true),
                6 => ("v1beta1-bgpadvertisement", advertisement(ADVERTISEMENTS + number), true),
                7 | 8 => ("v1beta2-bgppeer", peer(number), true),
                9 => ("v1beta1-bfdprofile", named(&name, json!({"detectMultiplier": 3})), true),
                10 => {
                    let aliases = json!([{"name": name, "value": "65000:1"}]);
                    ("v1beta1-community", named(&name, json!({"communities": aliases})), true)
                }
                _ => ("v1beta1-l2advertisement", named(&name, json!({"ipAddressPools": ["pool1"]})), true),
            };
            let path: &'static str = PATHS.iter().find(|known| known.ends_with(path)).expect("a known path");
            Asked { path, body: review(object).to_string().into(), allowed }
        })
        .collect()
}

const PATHS: [&str; 6] = [
    "/validate-metallb-io-v1beta2-bgppeer",
    "/validate-metallb-io-v1beta1-bfdprofile",
    "/validate-metallb-io-v1beta1-bgpadvertisement",
    "/validate-metallb-io-v1beta1-community",
    "/validate-metallb-io-v1beta1-ipaddresspool",
    "/validate-metallb-io-v1beta1-l2advertisement",
];

/// As the API server sends it, with what `kubectl apply` leaves in an object.
fn review(mut object: Value) -> Value {
    let name = object["metadata"]["name"].clone();
    let fields = json!({"f:metadata": {"f:annotations": {}, "f:labels": {}}, "f:spec": {"f:addresses": {}, "f:peers": {}}});
    object["apiVersion"] = json!("metallb.io/v1beta1");
    object["kind"] = json!("X");
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object["metadata"]["uid"] = json!("7d0e0b6e-9a3c-4a52-8d7f-6f2e8c1f4b11");
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["managedFields"] = json!([{
        "manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "metallb.io/v1beta1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
    }]);
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": object["spec"].to_string()});
    let which = json!({"group": "metallb.io", "version": "v1beta1", "kind": "X"});
    let resource = json!({"group": "metallb.io", "version": "v1beta1", "resource": "xs"});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": which, "resource": resource, "name": name, "namespace": NAMESPACE,
            "operation": "UPDATE", "userInfo": {"username": "kubernetes-admin"}, "object": object,
            "oldObject": object, "dryRun": false,
        },
    })
}
