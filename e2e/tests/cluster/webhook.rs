//! What is reported where nothing refused a mistake, and what monitoring sees. What is refused, and with which words, is
//! for the suite `webhook`.

use anyhow::{Context, Result, bail, ensure};
use e2e::wait_for;
use serde_json::Value;

use crate::support::{NAMESPACE, SOON, World};

/// A pool of that name and one line of addresses, as YAML.
pub(crate) fn pool(name: &str, addresses: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
         spec: {{addresses: [{addresses}]}}}}"
    )
}

/// The reason for which the API server refuses to take it.
fn refusal(world: &World, yaml: &str) -> Result<String> {
    match world.apply(yaml) {
        Ok(_) => bail!("accepted: {yaml}"),
        Err(error) => Ok(error.to_string()),
    }
}

/// The results of all ConfigurationState objects, by name, with what they say.
fn states(world: &World) -> Result<Vec<(String, String, String)>> {
    let list = world.get(&format!("configurationstates -n {NAMESPACE}"))?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().into_iter().flatten();
    let state = |s: &Value| {
        (text(&s["metadata"]["name"]), text(&s["status"]["result"]), text(&s["status"]["errorSummary"]))
    };
    Ok(items.map(state).collect())
}

/// Waits until the controller and every speaker say the same of the configuration.
fn wait_states(world: &World, result: &str, summary: &str) -> Result<()> {
    let expected = world.cluster.node_names().len() + 1;
    wait_for(&format!("every ConfigurationState to be {result}"), SOON, || {
        let states = states(world)?;
        let good = |(_, r, s): &&(String, String, String)| r == result && s.contains(summary);
        ensure!(states.len() == expected && states.iter().filter(good).count() == expected, "{states:?}");
        Ok(())
    })
}

/// Where nothing refused an invalid pool, the pool's events, the ConfigurationStates and a metric name it; the
/// rest goes on working, and all is well again when it is gone.
pub(crate) fn an_invalid_pool_is_reported_and_hurts_nobody(world: &World) -> Result<()> {
    wait_states(world, "Valid", "")?;
    world.k("delete validatingwebhookconfiguration metallb-webhook-configuration")?;
    let applied = wait_for("the webhook to be out of the way", SOON, || {
        world.apply(&pool("backwards", "10.101.0.200-10.101.0.190"))
    });
    let reported = applied.and_then(|_| {
        let event = world.wait_event("IPAddressPool", "backwards", "InvalidConfiguration")?;
        let reason = r#"start IP "10.101.0.200" is after the end IP "10.101.0.190""#;
        ensure!(
            event.starts_with("Warning") && event.contains(r#"pool "backwards""#) && event.contains(reason),
            "{event}"
        );
        wait_states(world, "Invalid", reason)?;
        let stale = metric(world, "metallb_k8s_client_config_stale_bool")?;
        ensure!(stale == "1", "the stale metric is {stale}");
        world.service(
            "unhurt",
            "annotations: {metallb.io/address-pool: doc-example}",
            "sessionAffinity: None",
        )?;
        let address = world.wait_addresses("unhurt")?[0].clone();
        world.wait_fetch(&address, 80).map(drop)
    });
    world.k(&format!("delete ipaddresspool backwards -n {NAMESPACE} --ignore-not-found"))?;
    world.cluster.install()?;
    world.delete_services(&["unhurt"])?;
    reported?;
    wait_states(world, "Valid", "")?;
    let stale = metric(world, "metallb_k8s_client_config_stale_bool")?;
    ensure!(stale == "0", "the stale metric is {stale}");
    let refused = || ensure_refused(world);
    wait_for("the webhook to be back", SOON, refused)
}

fn ensure_refused(world: &World) -> Result<()> {
    let said = refusal(world, &pool("backwards", "10.101.0.200-10.101.0.190"));
    if said.is_err() {
        world.k(&format!("delete ipaddresspool backwards -n {NAMESPACE} --ignore-not-found"))?;
    }
    ensure!(said?.contains("denied the request"));
    Ok(())
}

/// A token that may read metrics.
fn token(world: &World) -> Result<String> {
    world.apply(
        "{apiVersion: v1, kind: List, items: [\
         {apiVersion: v1, kind: ServiceAccount, metadata: {name: scraper, namespace: default}}, \
         {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: scraper}, \
          rules: [{nonResourceURLs: [/metrics], verbs: [get]}]}, \
         {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: scraper}, \
          roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}, \
          subjects: [{kind: ServiceAccount, name: scraper, namespace: default}]}]}",
    )?;
    Ok(world.k("create token scraper -n default")?.trim().to_owned())
}

/// Metrics of the Pod with this address: the status code and the text.
fn scrape(world: &World, address: &str, token: Option<&str>) -> Result<(String, String)> {
    let url = format!("https://{address}:9120/metrics");
    let header = format!("Authorization: Bearer {}", token.unwrap_or_default());
    let mut words = vec!["curl", "-sk", "-m", "5", "-w", "\n%{http_code}", &url];
    if token.is_some() {
        words.extend(["-H", &header]);
    }
    let text = world.cluster.run("node1", &words)?;
    let (body, code) = text.rsplit_once('\n').context("no status code")?;
    Ok((code.to_owned(), body.to_owned()))
}

/// The address of the one Pod of a component on any node.
fn pod_address(world: &World, component: &str) -> Result<String> {
    let pods = world.get(&format!("pods -n {NAMESPACE} -l app=metallb,component={component}"))?;
    let running = pods["items"].as_array().into_iter().flatten().find(|p| p["status"]["phase"] == "Running");
    running.and_then(|p| p["status"]["podIP"].as_str()).map(str::to_owned).context("no Pod runs")
}

/// The value of a metric of the controller without labels.
fn metric(world: &World, name: &str) -> Result<String> {
    let (code, text) = scrape(world, &pod_address(world, "controller")?, Some(&token(world)?))?;
    ensure!(code == "200", "{code}: {text}");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map(str::to_owned).with_context(|| format!("no {name} in\n{text}"))
}

/// Metrics need a token and the right to read them; they count what there is, on the node that announces only.
pub(crate) fn metrics_are_for_those_who_may_read_them(world: &World) -> Result<()> {
    let controller = pod_address(world, "controller")?;
    ensure!(scrape(world, &controller, None)?.0 == "401");
    ensure!(scrape(world, &controller, Some("nonsense"))?.0 == "401");
    let token = token(world)?;
    world.service("counted", "annotations: {metallb.io/address-pool: dual}", "sessionAffinity: None")?;
    let address = world.wait_addresses("counted")?[0].clone();
    let node = world.wait_announcer("counted")?;
    wait_for("the controller to count it", SOON, || {
        let (code, text) = scrape(world, &controller, Some(&token))?;
        ensure!(code == "200", "{code}: {text}");
        let line = r#"metallb_allocator_addresses_total{pool="dual"} 267"#;
        ensure!(text.contains(line), "{line} is not in\n{text}");
        ensure!(!text.contains(r#"metallb_allocator_addresses_in_use_total{pool="dual"} 0"#), "{text}");
        Ok(())
    })?;
    for host in world.cluster.node_names() {
        let host = world.cluster.host(&host)?;
        let line = format!(
            r#"metallb_speaker_announced{{ip="{address}",node="{node}",protocol="layer2",service="default/counted"}} 1"#
        );
        wait_for("the speakers to say who announces", SOON, || {
            let (code, text) = scrape(world, &host.v4().to_string(), Some(&token))?;
            ensure!(code == "200", "{code}: {text}");
            ensure!(text.contains(&line) == (host.name == node), "{} says\n{text}", host.name);
            Ok(())
        })?;
    }
    world.delete_services(&["counted"])
}
