//! Everything that explains a failed test, in one folder.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Cluster;

/// Kubernetes' own view, each into a file of that name.
const QUERIES: [(&str, &[&str]); 8] = [
    ("nodes.txt", &["get", "nodes", "-o", "wide"]),
    ("pods.txt", &["get", "pods", "-A", "-o", "wide"]),
    ("objects.txt", &["get", "deployments,daemonsets,services,endpointslices,leases", "-A", "-o", "wide"]),
    ("events.txt", &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"]),
    ("describe-nodes.txt", &["describe", "nodes"]),
    ("describe-pods.txt", &["describe", "pods", "-A"]),
    ("describe-services.txt", &["describe", "services", "-A"]),
    ("crds.txt", &["get", "crds"]),
];

impl Cluster {
    /// Writes what Kubernetes says of nodes, Pods, Services and events, every metallb.io
    /// object, all Pods' logs and the logs of the cluster's own programs into `folder`.
    ///
    /// What cannot be asked is written down as such: diagnostics come from clusters
    /// that are broken. Fails only when `folder` cannot be written.
    pub fn collect(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let put = |name: &str, text: Result<String>| {
            let path = folder.join(name);
            let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        for (name, arguments) in QUERIES {
            let mut arguments = arguments.to_vec();
            arguments.push("--request-timeout=10s");
            put(name, self.kubectl(&arguments))?;
        }
        put("metallb.yaml", self.metallb_objects())?;
        for (namespace, pod) in self.pods().unwrap_or_default() {
            for (suffix, previous) in [("log", "--previous=false"), ("previous.log", "--previous=true")] {
                let log = self.kubectl(&[
                    "logs",
                    "-n",
                    &namespace,
                    &pod,
                    "--all-containers",
                    previous,
                    "--request-timeout=10s",
                ]);
                // Most containers have no earlier life to tell of.
                if previous == "--previous=false" || log.is_ok() {
                    put(&format!("{namespace}.{pod}.{suffix}"), log)?;
                }
            }
        }
        copy_folder(&self.instance.logs(), &folder.join("cluster"))
    }

    fn metallb_objects(&self) -> Result<String> {
        let names = self.kubectl(&[
            "api-resources",
            "--api-group=metallb.io",
            "-o",
            "name",
            "--request-timeout=10s",
        ])?;
        let names: Vec<_> = names.split_whitespace().collect();
        if names.is_empty() {
            return Ok("no metallb.io resources are served\n".to_owned());
        }
        self.kubectl(&["get", &names.join(","), "-A", "-o", "yaml", "--request-timeout=10s"])
    }

    /// Namespace and name of every Pod.
    fn pods(&self) -> Result<Vec<(String, String)>> {
        let pods = self.kubectl_json(&["get", "pods", "-A", "--request-timeout=10s"])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = pods["items"].as_array().into_iter().flatten();
        Ok(items.map(|pod| (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))).collect())
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
        }
    }
    Ok(())
}
