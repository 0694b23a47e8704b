//! What is refused when it is applied, what is reported where nothing refused it, and what monitoring sees.

use anyhow::{Context, Result, bail, ensure};
use e2e::wait_for;
use serde_json::Value;

use crate::support::{NAMESPACE, SOON, World};

/// A resource of metallb.io as YAML.
fn resource(kind: &str, version: &str, name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/{version}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{{spec}}}}}"
    )
}

/// A pool of that name and one line of addresses.
pub(crate) fn pool(name: &str, addresses: &str) -> String {
    resource("IPAddressPool", "v1beta1", name, NAMESPACE, &format!("addresses: [{addresses}]"))
}

/// The reason for which the API server refuses to take it.
fn refusal(world: &World, yaml: &str) -> Result<String> {
    match world.apply(yaml) {
        Ok(_) => bail!("accepted: {yaml}"),
        Err(error) => Ok(error.to_string()),
    }
}

/// Mistakes that no schema sees are refused with MetalLB's words.
pub(crate) fn mistakes_that_no_schema_sees_are_refused(world: &World) -> Result<()> {
    let bgp = "myASN: 64512, peerASN: 64512, peerAddress: 192.0.2.254";
    for (yaml, expected) in [
        (
            pool("backwards", "10.101.0.200-10.101.0.190"),
            r#"start IP "10.101.0.200" is after the end IP "10.101.0.190""#,
        ),
        (pool("overlapping", "172.31.249.0/28"), "overlaps with already defined CIDR"),
        (
            resource("IPAddressPool", "v1beta1", "lost", "default", "addresses: [10.101.0.200/32]"),
            "resource must be created in metallb-system namespace",
        ),
        (
            resource("L2Advertisement", "v1beta1", "lost", "default", ""),
            "resource must be created in metallb-system namespace",
        ),
        (
            resource("L2Advertisement", "v1beta1", "twice", NAMESPACE, "ipAddressPools: [a, a]"),
            "duplicate definition of",
        ),
        (
            resource("BGPPeer", "v1beta2", "lost", "default", bgp),
            "resource must be created in metallb-system namespace",
        ),
    ] {
        let said = refusal(world, &yaml)?;
        ensure!(
            said.contains("denied the request") && said.contains(expected),
            "{expected:?} is not in {said:?}"
        );
    }
    Ok(())
}

/// A BFDProfile that a peer uses cannot be deleted.
pub(crate) fn a_bfd_profile_in_use_cannot_be_deleted(world: &World) -> Result<()> {
    world.apply(&resource("BFDProfile", "v1beta1", "fast", NAMESPACE, "receiveInterval: 100"))?;
    let spec = "myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.254, bfdProfile: fast";
    world.apply(&resource("BGPPeer", "v1beta2", "guarded", NAMESPACE, spec))?;
    let delete = format!("delete bfdprofile fast -n {NAMESPACE}");
    wait_for("the profile to be protected", SOON, || match world.k(&delete) {
        Ok(_) => bail!("it was deleted"),
        Err(error) => {
            let said = error.to_string();
            ensure!(said.contains("failed to delete BFDProfile fast, used by BGPPeer guarded"), "{said}");
            Ok(())
        }
    })?;
    world.k(&format!("delete bgppeer guarded -n {NAMESPACE}"))?;
    wait_for("the profile to be free", SOON, || world.k(&delete).map(drop))
}

/// A peer written in one version is read in the other, and nothing is lost on the way there and back.
pub(crate) fn a_bgp_peer_is_served_in_both_versions(world: &World) -> Result<()> {
    let old = "myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.253, peerPort: 1179";
    world.apply(&resource("BGPPeer", "v1beta1", "old", NAMESPACE, old))?;
    let new = "myASN: 64512, dynamicASN: external, peerAddress: 192.0.2.252, vrf: red, connectTime: 5s";
    world.apply(&resource("BGPPeer", "v1beta2", "new", NAMESPACE, new))?;
    let read = |version: &str, name: &str| {
        anyhow::Ok(world.get(&format!("bgppeers.{version}.metallb.io {name} -n {NAMESPACE}"))?["spec"].take())
    };
    let spec = read("v1beta2", "old")?;
    ensure!(spec["peerPort"] == 1179 && spec["holdTime"].is_null(), "unset stays unset: {spec}");
    let before = read("v1beta2", "new")?;
    // Read and written back in the older version, which has no field for most of it.
    let mut object = world.get(&format!("bgppeers.v1beta1.metallb.io new -n {NAMESPACE}"))?;
    ensure!(object["apiVersion"] == "metallb.io/v1beta1" && object["spec"]["vrf"].is_null(), "{object}");
    object["metadata"]["labels"] = serde_json::json!({"edited": "yes"});
    world.cluster.kubectl_with_stdin(&["replace", "-f", "-"], &object.to_string())?;
    let after = read("v1beta2", "new")?;
    ensure!(before == after, "{before} became {after}");
    world.k(&format!("delete bgppeer old new -n {NAMESPACE}")).map(drop)
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
