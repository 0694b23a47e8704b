//! The certificate of the webhooks, replaced while the API server asks them all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::wait_for;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::objects::{Admin, Object};
use crate::serving::ask;
use crate::support::{NAMESPACE, SOON};
use crate::{CONFIGURATION, Suite};

/// The Deployment of the webhook server, and the Secret with its certificate.
const SERVERS: &str = "metallb-operator-webhook-server";
const SECRET: &str = "metallb-webhook-cert";
/// Who ask at once, and how often each.
const CALLERS: usize = 6;
const PACE: Duration = Duration::from_millis(50);
/// Longer than the API server waits for any webhook.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers that are waited for between two events, so that each of them meets a load.
const SOME: u64 = 200;

/// Callers that ask the API server for what it asks the webhooks, until the first of them is disappointed.
struct Load {
    answered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(suite: &Suite) -> Result<Self> {
        suite.run(async |admin| {
            let created = admin.create(&peer("v1beta2")).await?;
            ensure!(created.is_ok(), "{created:?}");
            let answered = Arc::new(AtomicU64::new(0));
            let (stop, stopped) = watch::channel(false);
            let callers = (0..CALLERS).map(|caller| {
                let (admin, answered, stopped) = (admin.clone(), Arc::clone(&answered), stopped.clone());
                tokio::spawn(async move {
                    let mut pace = tokio::time::interval(PACE);
                    while !*stopped.borrow() {
                        pace.tick().await;
                        let asked = timeout(PATIENCE, round(&admin, caller)).await;
                        let answers = asked.context("the API server does not answer")??;
                        answered.fetch_add(answers, Ordering::Relaxed);
                    }
                    Ok(())
                })
            });
            let callers = callers.collect();
            Ok(Self { answered, stop, callers })
        })
    }

    /// Waits until so many more answers were given.
    fn goes_on(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for("further answers", SOON, || {
            let now = self.answered.load(Ordering::Relaxed) - before;
            ensure!(now >= SOME || self.callers.iter().any(JoinHandle::is_finished), "{now}");
            Ok(())
        })?;
        ensure!(!self.callers.iter().any(JoinHandle::is_finished), "a caller has given up");
        Ok(())
    }

    /// Ends it: the number of answers, or the first disappointment.
    fn end(self, suite: &Suite) -> Result<u64> {
        self.stop.send_replace(true);
        suite.run(async |admin| {
            let mut disappointed = None;
            for caller in self.callers {
                disappointed = disappointed.or(caller.await?.err());
            }
            admin.delete(&peer("v1beta2")).await?;
            disappointed.map_or(Ok(()), Err)
        })?;
        Ok(self.answered.load(Ordering::Relaxed))
    }
}

/// The BGPPeer that is read in both versions.
fn peer(version: &str) -> Object {
    let spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254"});
    Object::new("BGPPeer", version, "read", spec)
}

/// One round of a caller: reviews that allow and that refuse, conversions for writing and for reading. The number of
/// answers.
async fn round(admin: &Admin, caller: usize) -> Result<u64> {
    let pool = |addresses: &str| {
        let name = format!("load-{caller}");
        Object::new("IPAddressPool", "v1beta1", &name, json!({"addresses": [addresses]}))
    };
    let allowed = admin.try_create(&pool("203.0.113.0/24")).await?;
    ensure!(allowed.is_ok(), "a good pool: {allowed:?}");
    match admin.try_create(&pool("203.0.113.9-203.0.113.1")).await? {
        Err(refusal) if refusal.message.contains("is after the end IP") => {}
        other => bail!("a bad pool: {other:?}"),
    }
    let older = Object { name: format!("load-{caller}"), ..peer("v1beta1") };
    let allowed = admin.try_create(&older).await?;
    ensure!(allowed.is_ok(), "a peer of the older version: {allowed:?}");
    for version in ["v1beta1", "v1beta2"] {
        let read = admin.api(&peer(version), NAMESPACE).get("read").await.context(version)?;
        let found = read.types.map(|types| types.api_version);
        ensure!(found.as_deref() == Some(&format!("metallb.io/{version}")), "{version}: {found:?}");
    }
    Ok(5)
}

/// The webhooks of the configuration, and the one conversion.
const TRUSTED: [usize; 2] = [7, 1];

/// The first certificate of the Secret's CAs: the one that new certificates are of.
fn authority(suite: &Suite) -> Result<String> {
    let template = r#"go-template={{index .data "ca.crt" | base64decode}}"#;
    let bundle = suite.world.kubectl(&["get", "secret", SECRET, "-n", NAMESPACE, "-o", template])?;
    let end = "-----END CERTIFICATE-----";
    let (first, _) = bundle.split_once(end).with_context(|| format!("no certificate in {bundle:?}"))?;
    Ok(format!("{first}{end}\n"))
}

/// How often the API server is told to trust the CA: by each webhook, and by the conversion.
fn trusted(suite: &Suite, authority: &str) -> Result<[usize; 2]> {
    let count = |object: &[&str], template: &str| {
        let template = format!("go-template={template}");
        let all = [&["get"], object, &["-o", &template]].concat();
        anyhow::Ok(suite.world.kubectl(&all)?.matches(authority.trim_end()).count())
    };
    Ok([
        count(
            &["validatingwebhookconfiguration", CONFIGURATION],
            "{{range .webhooks}}{{.clientConfig.caBundle | base64decode}}{{end}}",
        )?,
        count(
            &["crd", "bgppeers.metallb.io"],
            "{{.spec.conversion.webhook.clientConfig.caBundle | base64decode}}",
        )?,
    ])
}

/// The addresses of the webhook servers that are ready.
fn servers(suite: &Suite) -> Result<Vec<String>> {
    let pods = suite.world.get(&format!("pods -n {NAMESPACE} -l component=webhook-server"))?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    Ok(pods
        .iter()
        .filter(ready)
        .filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned))
        .collect())
}

/// Deletes the Secret, as an administrator does who wants another certificate, and waits until every replica serves a
/// certificate of the new CA.
fn rotate(suite: &Suite, replicas: usize) -> Result<()> {
    let before = authority(suite)?;
    suite.world.k(&format!("delete secret {SECRET} -n {NAMESPACE}"))?;
    let new = wait_for("a new CA", SOON, || {
        let now = authority(suite)?;
        ensure!(now != before, "it is still the old one");
        Ok(now)
    })?;
    wait_for("the new CA to be trusted", SOON, || {
        let trusted = trusted(suite, &new)?;
        ensure!(trusted == TRUSTED, "it is trusted at {trusted:?} places");
        Ok(())
    })?;
    wait_for("every replica to serve a certificate of the new CA", SOON * 2, || {
        let servers = servers(suite)?;
        ensure!(servers.len() == replicas, "{servers:?}");
        servers.iter().try_for_each(|server| ask(suite, server, &new, &[]).map(drop))
    })?;
    let old = trusted(suite, &before)?;
    ensure!(old == TRUSTED, "the old CA is not trusted for a while any more: {old:?}");
    Ok(())
}

/// While the certificate is replaced again and again, servers are added, replaced and removed, every review and every
/// conversion is answered.
pub(crate) fn no_review_fails_while_certificates_are_replaced(suite: &Suite) -> Result<()> {
    let load = Load::start(suite)?;
    let scale = |replicas: usize| {
        suite.world.k(&format!("scale deployment {SERVERS} -n {NAMESPACE} --replicas={replicas}"))?;
        wait_for("the servers to be as many", SOON, || {
            let servers = servers(suite)?;
            ensure!(servers.len() == replicas, "{servers:?}");
            Ok(())
        })
    };
    let events = || {
        for replicas in [2, 1, 1] {
            scale(replicas)?;
            load.goes_on()?;
            rotate(suite, replicas).with_context(|| format!("with {replicas} replicas"))?;
            load.goes_on()?;
        }
        // New connections, to a process that never served another certificate.
        suite.world.k(&format!("rollout restart deployment {SERVERS} -n {NAMESPACE}"))?;
        suite.world.k(&format!("rollout status deployment {SERVERS} -n {NAMESPACE} --timeout=60s"))?;
        load.goes_on()
    };
    let happened: Result<()> = events();
    let answered = load.end(suite).map_err(|error| anyhow!("a review failed: {error:#}"))?;
    suite.figure(format!(
        "{answered} reviews and conversions were answered over three rotations, none failed"
    ));
    happened
}
