//! Which programs of a running cluster are older than the images that were built.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Cluster, process, test_images};

/// The workloads with a Pod whose image is not the one that was built last, as arguments of `kubectl
/// rollout restart`: `deployment/web -n default`. The operator comes first, it rolls the others out.
pub(crate) fn outdated(cluster: &Cluster) -> Result<Vec<String>> {
    let built = test_images().iter().map(|archive| built(archive)).collect::<Result<BTreeMap<_, _>>>()?;
    let workloads = cluster.kubectl_json(&["get", "deployments,daemonsets", "-A"])?;
    let pods = cluster.kubectl_json(&["get", "pods", "-A"])?;
    Ok(outdated_among(&built, &workloads, &pods))
}

/// Name of the image in an archive of `cargo xtask images` and the digest of its configuration, by which
/// the kubelet knows it.
fn built(archive: &Path) -> Result<(String, String)> {
    let json = |path: &str| {
        let text = process::run(Command::new("tar").arg("-xOf").arg(archive).arg(path))?;
        serde_json::from_str::<Value>(&text).with_context(|| format!("{path} of {}", archive.display()))
    };
    let entry = json("index.json")?["manifests"][0].take();
    let text = |value: &Value| {
        value.as_str().map(str::to_owned).with_context(|| format!("{} is no image", archive.display()))
    };
    let manifest = json(&format!("blobs/{}", text(&entry["digest"])?.replace(':', "/")))?;
    let name = text(&entry["annotations"]["io.containerd.image.name"])?;
    Ok((name, text(&manifest["config"]["digest"])?))
}

/// `built`: digests by image. The other two: lists of Kubernetes.
fn outdated_among(built: &BTreeMap<String, String>, workloads: &Value, pods: &Value) -> Vec<String> {
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = items(pods);
    let is_old = |pod: &Value| {
        pod["status"]["containerStatuses"].as_array().into_iter().flatten().any(|container| {
            let digest = built.get(&text(&container["image"]));
            digest.is_some_and(|digest| !text(&container["imageID"]).ends_with(digest.as_str()))
        })
    };
    let selects = |workload: &Value, pod: &Value| {
        let labels = workload["spec"]["selector"]["matchLabels"].as_object();
        pod["metadata"]["namespace"] == workload["metadata"]["namespace"]
            && labels.is_some_and(|labels| {
                labels.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
            })
    };
    let mut found: Vec<String> = items(workloads)
        .iter()
        .filter(|workload| pods.iter().any(|pod| selects(workload, pod) && is_old(pod)))
        .map(|workload| {
            let metadata = &workload["metadata"];
            let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
            format!("{}/{name} -n {namespace}", text(&workload["kind"]).to_lowercase())
        })
        .collect();
    found.sort_by_key(|workload| !workload.contains("operator"));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_with_a_pod_of_an_earlier_image_are_outdated() {
        let workload = |kind: &str, name: &str| {
            json!({
                "kind": kind,
                "metadata": {"name": name, "namespace": "n"},
                "spec": {"selector": {"matchLabels": {"app": name}}},
            })
        };
        let pod = |app: &str, image: &str, id: &str| {
            json!({
                "metadata": {"namespace": "n", "labels": {"app": app, "more": "yes"}},
                "status": {"containerStatuses": [{"image": image, "imageID": id}]},
            })
        };
        let workloads = json!({"items": [
            workload("DaemonSet", "speaker"), workload("Deployment", "operator"), workload("Deployment", "web"),
            workload("Deployment", "other"),
        ]});
        let pods = json!({"items": [
            pod("speaker", "r/speaker:dev", "sha256:new"), pod("speaker", "r/speaker:dev", "sha256:old"),
            pod("operator", "r/operator:dev", "sha256:old"), pod("web", "r/web:dev", "sha256:new"),
            pod("other", "docker.io/other", "sha256:whatever"),
        ]});
        let built = ["speaker", "operator", "web"];
        let built = built.map(|name| (format!("r/{name}:dev"), "sha256:new".to_owned())).into();
        let found = outdated_among(&built, &workloads, &pods);
        assert_eq!(found, ["deployment/operator -n n", "daemonset/speaker -n n"]);
    }
}
