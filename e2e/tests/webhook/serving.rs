//! How the program serves: soon after its start, with the certificate of others, as the flags say.

use anyhow::{Context, Result, bail, ensure};
use e2e::wait_for;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::Suite;
use crate::support::{NAMESPACE, SOON};

/// The name by which the API server calls.
const SERVICE: &str = "metallb-webhook-service.metallb-system.svc";
/// Where OLM and cert-manager's users mount the certificate.
const FOLDER: &str = "/tmp/k8s-webhook-server/serving-certs";

/// Sends a review to a webhook server as the API server does, from where that is, trusting one CA only: the version of
/// HTTP that was spoken.
pub(crate) fn ask(suite: &Suite, server: &str, authority: &str, options: &[&str]) -> Result<String> {
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "asked", "name": "c", "namespace": NAMESPACE, "operation": "CREATE", "userInfo": {},
            "kind": {"group": "metallb.io", "version": "v1beta1", "kind": "Community"},
            "resource": {"group": "metallb.io", "version": "v1beta1", "resource": "communities"},
            "object": {
                "kind": "Community", "apiVersion": "metallb.io/v1beta1",
                "metadata": {"name": "c", "namespace": NAMESPACE}, "spec": {},
            },
        },
    })
    .to_string();
    let resolve = format!("{SERVICE}:9443:{server}");
    let url = format!("https://{SERVICE}:9443/validate-metallb-io-v1beta1-community");
    // The CA comes by a pipe: the hosts of the cluster have no place for files of ours.
    let script = r#"exec curl -sS -m 5 --cacert <(printf %s "$0") "$@""#;
    let request = ["-H", "content-type: application/json", "-d", &review, "--resolve", &resolve, &url];
    let written = ["-w", "\n%{http_version}"];
    let words = [&["bash", "-c", script, authority], &request[..], &written, options].concat();
    let answer = suite.world.cluster.run("control-plane", &words)?;
    let (body, version) = answer.rsplit_once('\n').context("curl wrote no version")?;
    let body: Value = serde_json::from_str(body).with_context(|| format!("no review: {body:?}"))?;
    ensure!(body["response"]["uid"] == "asked" && body["response"]["allowed"] == true, "{body}");
    Ok(version.to_owned())
}

/// A CA and a certificate of it with its key, in PEM.
struct Issued {
    authority: String,
    certificate: String,
    key: String,
}

fn issue(name: &str) -> Result<Issued> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![SERVICE.to_owned()])?.signed_by(&key, &issuer)?.pem();
    Ok(Issued { authority, certificate, key: key.serialize_pem() })
}

/// A webhook server of its own, with a certificate from a Secret of its name.
struct Server<'a> {
    suite: &'a Suite,
    name: &'static str,
}

impl<'a> Server<'a> {
    /// Starts it with these flags besides, and waits until it is ready.
    fn start(suite: &'a Suite, name: &'static str, issued: &Issued, flags: &[&str]) -> Result<Self> {
        let server = Self { suite, name };
        server.put(issued)?;
        let flags: Vec<&str> =
            [&["--webhook-mode=onlywebhook", "--disable-cert-rotation", "--port=0"], flags].concat();
        let folder = flags.iter().find_map(|flag| flag.strip_prefix("--cert-dir=")).unwrap_or(FOLDER);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "serviceAccountName": "webhook-server", "terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534},
                "containers": [{
                    "name": "webhook-server", "image": "metallb-rs.test/controller:dev",
                    "imagePullPolicy": "IfNotPresent", "args": flags,
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 17472}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "certificate", "mountPath": folder, "readOnly": true}],
                }],
                "volumes": [{"name": "certificate", "secret": {"secretName": name}}],
            },
        });
        suite.world.apply(&pod.to_string())?;
        suite.world.k(&format!("wait --for=condition=Ready pod/{name} -n {NAMESPACE} --timeout=30s"))?;
        Ok(server)
    }

    /// Writes the Secret.
    fn put(&self, issued: &Issued) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name, "namespace": NAMESPACE},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key},
        });
        self.suite.world.apply(&secret.to_string()).map(drop)
    }

    fn ask(&self, issued: &Issued, options: &[&str]) -> Result<String> {
        let pod = self.suite.world.get(&format!("pod {} -n {NAMESPACE}", self.name))?;
        let address = pod["status"]["podIP"].as_str().context("the Pod has no address")?;
        ask(self.suite, address, &issued.authority, options)
    }

    fn end(self) -> Result<()> {
        self.suite.world.k(&format!("delete pod {} -n {NAMESPACE}", self.name))?;
        self.suite.world.k(&format!("delete secret {} -n {NAMESPACE}", self.name)).map(drop)
    }
}

/// With `--disable-cert-rotation` the certificate that OLM or cert-manager mounts is served, and the next one when the
/// files change.
pub(crate) fn a_certificate_of_others_is_served_and_follows_its_files(suite: &Suite) -> Result<()> {
    let (first, second) = (issue("first")?, issue("second")?);
    let server = Server::start(suite, "certificate-of-others", &first, &[])?;
    server.ask(&first, &[])?;
    ensure!(server.ask(&second, &[]).is_err(), "a certificate of the first CA is none of the second");
    server.put(&second)?;
    let mut looks = 0;
    wait_for("the new certificate to be served", SOON * 2, || {
        // The kubelet writes the files of a Secret anew when it looks at the Pod, which a change of the Pod makes it do.
        looks += 1;
        let note = format!("annotate pod {} -n {NAMESPACE} looks={looks} --overwrite", server.name);
        suite.world.k(&note)?;
        server.ask(&second, &[]).map(drop)
    })?;
    ensure!(server.ask(&first, &[]).is_err(), "the old certificate is served no more");
    server.end()
}

/// HTTP/2 is offered, and TLS 1.2 accepted, only where the flags say so.
pub(crate) fn the_flags_decide_about_http_2_and_tls_versions(suite: &Suite) -> Result<()> {
    let issued = issue("flags")?;
    let plain = Server::start(suite, "without-flags", &issued, &[])?;
    let flags = ["--webhook-http2", "--tls-min-version=VersionTLS12", "--cert-dir=/certificates"];
    let asked = Server::start(suite, "with-flags", &issued, &flags)?;
    for (server, options, spoken) in [
        (&plain, &["--http2"][..], Some("1.1")),
        (&plain, &["--tls-max", "1.2"], None),
        (&asked, &["--http2"], Some("2")),
        (&asked, &["--http1.1"], Some("1.1")),
        (&asked, &["--http2", "--tls-max", "1.2"], Some("2")),
        (&asked, &["--http2", "--tls-max", "1.1"], None),
    ] {
        match (server.ask(&issued, options), spoken) {
            (Ok(found), Some(spoken)) if found == spoken => {}
            (Err(_), None) => {}
            (found, _) => bail!("{} {options:?}: expected {spoken:?}, found {found:?}", server.name),
        }
    }
    plain.end()?;
    asked.end()
}

/// The programs' own account of their start: the times of the first line and of the one that says they are ready. How
/// long it took is a figure of the suite; it is no reason to fail on a busy machine.
pub(crate) fn programs_are_ready_soon_after_their_start(suite: &Suite) -> Result<()> {
    for component in ["controller", "webhook-server"] {
        let pods = suite.world.get(&format!("pods -n {NAMESPACE} -l component={component}"))?;
        let pod = &pods["items"][0];
        let name = pod["metadata"]["name"].as_str().context("a Pod")?;
        let log = suite.world.k(&format!("logs -n {NAMESPACE} {name}"))?;
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let time =
            |line: &Value| -> Result<jiff::Timestamp> { Ok(line["ts"].as_str().context("a time")?.parse()?) };
        let first = time(lines.first().context("no line")?)?;
        let ready = lines.iter().find(|line| line["msg"] == "ready").context("no line says ready")?;
        let taken = time(ready)?.duration_since(first).as_millis();
        let started: jiff::Timestamp = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
            .as_str()
            .context("it does not run")?
            .parse()?;
        let conditions = pod["status"]["conditions"].as_array().context("conditions")?;
        let condition = conditions.iter().find(|c| c["type"] == "Ready").context("no condition")?;
        ensure!(condition["status"] == "True", "{condition}");
        let seen: jiff::Timestamp = condition["lastTransitionTime"].as_str().context("a time")?.parse()?;
        let seen = seen.duration_since(started).as_secs();
        suite.figure(format!(
            "{component}: ready {taken} ms after its start; by the kubelet's clock, of whole seconds, {seen} s"
        ));
    }
    Ok(())
}
