//! What an administrator does with the MetalLB resource. These tests roll the speakers out anew, so they run one
//! after the other, and each ends with the plain resource of the mission.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::wait_for;

use crate::support::{NAMESPACE, ROLLOUT, SOON, World, file, within};

/// The nodes that run a speaker, sorted.
fn speaker_nodes(world: &World) -> Result<Vec<String>> {
    let pods = world.get(&format!("pods -n {NAMESPACE} -l app=metallb,component=speaker"))?;
    let mut nodes: Vec<String> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect();
    nodes.sort();
    Ok(nodes)
}

/// D3.12: one resource gives a controller and a speaker on every node.
pub(crate) fn the_plain_resource_runs_a_controller_and_a_speaker_on_every_node(world: &World) -> Result<()> {
    world.plain_metallb()?;
    let row = world.k(&format!("get deployment controller -n {NAMESPACE} --no-headers"))?;
    ensure!(row.split_whitespace().nth(1) == Some("1/1"), "{row}");
    let row = world.k(&format!("get daemonset speaker -n {NAMESPACE} --no-headers"))?;
    let columns: Vec<&str> = row.split_whitespace().collect();
    ensure!(columns[1..=5] == ["3", "3", "3", "3", "3"] && columns[6] == "kubernetes.io/os=linux", "{row}");
    ensure!(speaker_nodes(world)? == world.cluster.node_names());
    for (kind, status) in
        [("Available", "True"), ("Upgradeable", "True"), ("Progressing", "False"), ("Degraded", "False")]
    {
        let condition = world.condition("metallb", kind)?;
        ensure!(condition.0 == status, "{kind}: {condition:?}");
    }
    let owner =
        world.get(&format!("daemonset speaker -n {NAMESPACE}"))?["metadata"]["ownerReferences"][0]["kind"]
            .take();
    ensure!(owner == "MetalLB", "{owner}");
    Ok(())
}

/// D3.13: labelled nodes only; only those announce.
pub(crate) fn speakers_run_and_announce_on_labelled_nodes_only(world: &World) -> Result<()> {
    for node in ["node1", "node2"] {
        world.k(&format!("label node {node} node-role.kubernetes.io/worker= --overwrite"))?;
    }
    world.mission("metallb-nodes.yaml")?;
    world.wait_available()?;
    wait_for("speakers on node1 and node2", ROLLOUT, || {
        let nodes = speaker_nodes(world)?;
        ensure!(nodes == ["node1", "node2"], "speakers on {nodes:?}");
        Ok(())
    })?;
    let template = world.template("daemonset speaker")?;
    let tolerations = template["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    ensure!(
        tolerations
            .iter()
            .any(|t| t["key"] == "Example" && t["operator"] == "Exists" && t["effect"] == "NoExecute"),
        "{tolerations:?}"
    );
    for number in 1..=6 {
        let name = format!("labelled-{number}");
        world.service(&name, "annotations: {metallb.io/address-pool: spread}", "sessionAffinity: None")?;
        let node = world.wait_announcer_that(&name, "node1 or node2", |n| n == "node1" || n == "node2")?;
        let address = world.wait_addresses(&name)?[0].clone();
        wait_for("that node to answer", SOON, || {
            let holder = world.holder(&address)?;
            ensure!(holder == node, "{holder} answers");
            Ok(())
        })?;
        world.delete_services(&[&name])?;
    }
    world.plain_metallb()?;
    wait_for("speakers on every node again", ROLLOUT, || {
        let nodes = speaker_nodes(world)?;
        ensure!(nodes == world.cluster.node_names(), "speakers on {nodes:?}");
        Ok(())
    })?;
    for node in ["node1", "node2"] {
        world.k(&format!("label node {node} node-role.kubernetes.io/worker-"))?;
    }
    Ok(())
}

/// D3.14: runtime class and annotations reach both, and running Pods.
pub(crate) fn runtime_class_and_annotations_reach_the_pods(world: &World) -> Result<()> {
    world.mission("metallb-runtime.yaml")?;
    world.wait_available()?;
    for component in ["controller", "speaker"] {
        let pods = world.get(&format!("pods -n {NAMESPACE} -l app=metallb,component={component}"))?;
        for pod in pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| p["metadata"]["deletionTimestamp"].is_null())
        {
            ensure!(
                pod["spec"]["runtimeClassName"] == "myclass",
                "{component}: {}",
                pod["spec"]["runtimeClassName"]
            );
            ensure!(
                pod["metadata"]["annotations"][component] == "demo",
                "{}",
                pod["metadata"]["annotations"]
            );
        }
    }
    world.plain_metallb()?;
    for workload in ["deployment controller", "daemonset speaker"] {
        let template = world.template(workload)?;
        ensure!(template["spec"]["runtimeClassName"].is_null(), "{workload} keeps the runtime class");
        let annotations = template["metadata"]["annotations"].to_string();
        ensure!(!annotations.contains("demo"), "{workload} keeps {annotations}");
    }
    world.k("delete runtimeclass myclass").map(drop)
}

/// D3.15 with several nodes: what cannot be scheduled is named in the conditions.
pub(crate) fn speakers_that_cannot_be_scheduled_are_named(world: &World) -> Result<()> {
    world.mission("metallb-pod-config.yaml")?;
    wait_for("conditions that name a Pending speaker", ROLLOUT, || {
        let pods = world.get(&format!("pods -n {NAMESPACE} -l app=metallb,component=speaker"))?;
        let pending: Vec<String> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| {
                p["status"]["phase"] == "Pending" && p["spec"]["priorityClassName"] == "high-priority"
            })
            .filter_map(|p| p["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        let (available, degraded) =
            (world.condition("metallb", "Available")?, world.condition("metallb", "Degraded")?);
        let progressing = world.condition("metallb", "Progressing")?;
        let said = format!("{} {} {}", available.2, degraded.2, progressing.2);
        ensure!(!pending.is_empty(), "no speaker is Pending; conditions say {said:?}");
        ensure!(available.0 == "False", "{available:?}");
        ensure!(pending.iter().any(|name| said.contains(name.as_str())), "{pending:?} not in {said:?}");
        ensure!(said.contains("affinity"), "no reason in {said:?}");
        Ok(())
    })?;
    world.plain_metallb()?;
    world.k("delete priorityclass high-priority").map(drop)
}

/// D3.16, D3.17: limits and the log level reach the containers, take effect, and are taken back.
pub(crate) fn limits_and_log_level_take_effect_and_are_taken_back(world: &World) -> Result<()> {
    world.mission("metallb-cpu-limits.yaml")?;
    wait_for("Progressing while the change rolls out", SOON, || {
        let progressing = world.condition("metallb", "Progressing")?;
        ensure!(progressing.0 == "True", "{progressing:?}");
        Ok(())
    })?;
    world.wait_available()?;
    for (workload, limit) in [("deployment controller", "200m"), ("daemonset speaker", "300m")] {
        let container = world.template(workload)?["spec"]["containers"][0].take();
        ensure!(container["resources"]["limits"]["cpu"] == limit, "{workload}: {}", container["resources"]);
        ensure!(container["args"].to_string().contains("--log-level=debug"), "{}", container["args"]);
        wait_for("debug lines", SOON, || {
            let logs = world.k(&format!("logs -n {NAMESPACE} {} --tail=400", workload.replace(' ', "/")))?;
            ensure!(logs.contains(r#""level":"debug""#), "{logs}");
            Ok(())
        })?;
    }
    world.plain_metallb()?;
    for workload in ["deployment controller", "daemonset speaker"] {
        let container = world.template(workload)?["spec"]["containers"][0].take();
        ensure!(container["resources"]["limits"].is_null(), "{workload} keeps {}", container["resources"]);
        ensure!(container["args"].to_string().contains("--log-level=info"), "{}", container["args"]);
    }
    Ok(())
}

/// A resource of another name is Degraded; one in another namespace says where it belongs.
pub(crate) fn a_wrong_name_or_namespace_is_explained(world: &World) -> Result<()> {
    let resource = |name: &str, namespace: &str| {
        format!(
            "{{apiVersion: metallb.io/v1beta1, kind: MetalLB, metadata: {{name: {name}, namespace: {namespace}}}}}"
        )
    };
    world.apply(&resource("incorrectname", NAMESPACE))?;
    wait_for("Degraded for the wrong name", SOON, || {
        let condition = world.condition("incorrectname", "Degraded")?;
        let expected =
            ("True", "IncorrectMetalLBResourceName", "Incorrect MetalLB resource name: incorrectname");
        ensure!(
            (condition.0.as_str(), condition.1.as_str(), condition.2.as_str()) == expected,
            "{condition:?}"
        );
        Ok(())
    })?;
    world.k(&format!("delete metallb incorrectname -n {NAMESPACE}"))?;
    world.apply(&resource("metallb", "default"))?;
    wait_for("a word about the namespace", SOON, || {
        let object = world.get("metallb metallb -n default")?;
        let said = object["status"].to_string();
        ensure!(said.contains("IncorrectMetalLBNamespace") && said.contains(NAMESPACE), "{said}");
        Ok(())
    })?;
    world.k("delete metallb metallb -n default")?;
    ensure!(world.condition("metallb", "Available")?.0 == "True", "the right resource suffered");
    Ok(())
}

/// Drift is repaired, what others add stays, and what was deleted comes back.
pub(crate) fn drift_is_repaired(world: &World) -> Result<()> {
    world.k(&format!("annotate daemonset speaker -n {NAMESPACE} example.com/note=kept --overwrite"))?;
    let patch =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"speaker","args":["--log-level=none"]}]}}}}"#;
    world.kubectl(&["patch", "daemonset", "speaker", "-n", NAMESPACE, "-p", patch])?;
    let repaired = || {
        wait_for("the speaker's arguments", Duration::from_secs(10), || {
            let args = world.template("daemonset speaker")?["spec"]["containers"][0]["args"].to_string();
            ensure!(args.contains("--log-level=info") && args.contains("--port"), "{args}");
            Ok(())
        })
    };
    within(Duration::from_secs(10), "the repair", repaired)?;
    let annotations =
        world.get(&format!("daemonset speaker -n {NAMESPACE}"))?["metadata"]["annotations"].take();
    ensure!(annotations["example.com/note"] == "kept", "a foreign annotation is gone: {annotations}");
    world.k(&format!("annotate daemonset speaker -n {NAMESPACE} example.com/note-"))?;

    let controller = || world.get(&format!("deployment controller -n {NAMESPACE}"));
    let old = controller()?["metadata"]["uid"].take();
    world.k(&format!("delete deployment controller -n {NAMESPACE}"))?;
    wait_for("a new controller to run", ROLLOUT, || {
        let new = controller()?;
        ensure!(new["metadata"]["uid"] != old, "it is still the old one");
        ensure!(new["status"]["readyReplicas"] == 1, "{}", new["status"]);
        Ok(())
    })?;
    world.wait_available()?;

    let secret = || world.get(&format!("secret metallb-memberlist -n {NAMESPACE}"));
    let old = secret()?["metadata"]["uid"].take();
    world.k(&format!("delete secret metallb-memberlist -n {NAMESPACE}"))?;
    wait_for("a new Secret metallb-memberlist", SOON, || {
        ensure!(secret()?["metadata"]["uid"] != old, "it is still the old one");
        Ok(())
    })?;
    world.wait_available()
}

/// At rest the operator writes nothing.
pub(crate) fn nothing_is_written_at_rest(world: &World) -> Result<()> {
    world.wait_available()?;
    let versions = || {
        let mut found = Vec::new();
        for object in
            ["metallb metallb", "deployment controller", "daemonset speaker", "configmap metallb-excludel2"]
        {
            let metadata = world.get(&format!("{object} -n {NAMESPACE}"))?["metadata"].take();
            found.push(format!("{object} {}", metadata["resourceVersion"]));
        }
        anyhow::Ok(found)
    };
    let before = versions()?;
    // What is looked for is the absence of writes over a time, so a time has to pass.
    std::thread::sleep(Duration::from_secs(10));
    let after = versions()?;
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

/// Deleting the resource takes what it made, but no Service's address; making it again carries on.
pub(crate) fn deleting_the_resource_cleans_up_and_keeps_addresses(world: &World) -> Result<()> {
    world.service("kept", "labels: {}", "sessionAffinity: None")?;
    let address = world.wait_addresses("kept")?;
    world.k(&format!("delete metallb metallb -n {NAMESPACE}"))?;
    wait_for("what it made to go", ROLLOUT, || {
        let left = world
            .k(&format!("get deployment,daemonset,configmap,pod -l app=metallb -n {NAMESPACE} -o name"))?;
        ensure!(left.trim().is_empty(), "left: {left}");
        Ok(())
    })?;
    ensure!(world.addresses("kept")? == address);
    world.kubectl(&["apply", "-f", &file("mission/metallb.yaml").display().to_string()])?;
    world.wait_available()?;
    ensure!(world.addresses("kept")? == address);
    world.wait_announcer("kept")?;
    world.wait_fetch(&address[0], 80)?;
    world.delete_services(&["kept"])
}
