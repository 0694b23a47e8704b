//! Configuration and programs of a node: containerd, kubelet, kube-proxy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    inner::{
        control_plane::{api_listens, kubeconfig_name},
        spec::Spec,
        unit::{Condition, Unit},
    },
    instance::Instance,
    plan::{CLUSTER_DNS, Host, POD_CIDRS},
};

/// containerd's default socket: in a node's mount namespace `ctr` needs no address.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Manifests in a node's folder of this name run without the API server.
pub(crate) const STATIC_PODS: &str = "/var/lib/kubelet/manifests";
/// The sandbox image of every Pod, loaded from an archive.
const PAUSE: &str = "metallb-rs.test/pause:dev";

/// Writes a node's configuration into its folder.
pub(crate) fn write(spec: &Spec, instance: &Instance, node: &Host) -> Result<()> {
    let folder = instance.host_dir(&node.name);
    let cni = folder.join("cni");
    fs::create_dir_all(&cni).with_context(|| format!("creating {}", cni.display()))?;
    let files = [
        (folder.join("containerd.toml"), containerd(spec, &folder)),
        (cni.join("10-pods.conflist"), pod_network(node)),
        (folder.join("kubelet.json"), kubelet(spec, instance, node)),
        (folder.join("kube-proxy.json"), kube_proxy(instance, node)),
        (folder.join("masquerade.nft"), masquerade(node)),
    ];
    for (path, text) in files {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The programs, each with what it needs.
pub(crate) fn units(spec: &Spec, instance: &Instance, node: &Host) -> Vec<Unit> {
    let folder = instance.host_dir(&node.name);
    let pki = instance.certificates();
    let text = |path: PathBuf| path.display().to_string();
    let kube = text(spec.kube.clone());
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();

    let mut units = vec![
        Unit::daemon(
            "containerd",
            words(&["containerd", "--config", &text(folder.join("containerd.toml"))]),
            vec![],
        ),
        Unit::once("masquerade", words(&["nft", "-f", &text(folder.join("masquerade.nft"))]), vec![]),
    ];
    let mut ready = vec![api_listens(), Condition::Done("masquerade".to_owned())];
    for image in &spec.images {
        let stem = image.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let name = format!("import-{stem}");
        let argv = words(&["ctr", "--namespace", "k8s.io", "images", "import", &text(image.clone())]);
        units.push(Unit::once(&name, argv, vec![Condition::Exists(CONTAINERD.into())]));
        ready.push(Condition::Done(name));
    }
    let kubelet = words(&[
        &kube,
        "kubelet",
        &format!("--config={}", text(folder.join("kubelet.json"))),
        &format!("--kubeconfig={}", text(pki.join(kubeconfig_name(&node.name)))),
        &format!("--hostname-override={}", node.name),
        &format!("--node-ip={},{}", node.v4(), node.v6()),
        "--v=2",
    ]);
    units.push(Unit::daemon("kubelet", kubelet, ready));
    let proxy = words(&[&kube, "kube-proxy", &format!("--config={}", text(folder.join("kube-proxy.json")))]);
    units.push(Unit::daemon("kube-proxy", proxy, vec![api_listens()]));
    units
}

fn containerd(spec: &Spec, folder: &Path) -> String {
    let (folder, cni, snapshotter) = (folder.display(), spec.cni.display(), &spec.snapshotter);
    let runtime = |name: &str| {
        format!(
            "\
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}]
runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}.options]
SystemdCgroup = false
"
        )
    };
    // Version 2 of the format is read by containerd 1.6 and, converted, by 2.x.
    format!(
        "\
version = 2
root = \"{folder}/containerd\"
state = \"/run/containerd\"
disabled_plugins = [
  \"io.containerd.internal.v1.tracing\",
  \"io.containerd.snapshotter.v1.aufs\",
  \"io.containerd.snapshotter.v1.btrfs\",
  \"io.containerd.snapshotter.v1.devmapper\",
  \"io.containerd.snapshotter.v1.zfs\",
]
[grpc]
address = \"{CONTAINERD}\"
[plugins.\"io.containerd.internal.v1.opt\"]
path = \"{folder}/containerd/opt\"
[plugins.\"io.containerd.grpc.v1.cri\"]
sandbox_image = \"{PAUSE}\"
restrict_oom_score_adj = true
disable_apparmor = true
disable_tcp_service = true
[plugins.\"io.containerd.grpc.v1.cri\".cni]
bin_dir = \"{cni}\"
conf_dir = \"{folder}/cni\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd]
snapshotter = \"{snapshotter}\"
default_runtime_name = \"runc\"
{}{}",
        runtime("runc"),
        // What a RuntimeClass of the tests names.
        runtime("myconfiguration"),
    )
}

fn pod_network(node: &Host) -> String {
    let [v4, v6] = node.pod_cidrs().expect("only nodes have Pods");
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                // Pods see each other's addresses: masquerade.nft leaves their traffic alone.
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": v4}], [{"subnet": v6}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{config:#}\n")
}

/// Pods that speak to the LAN appear there with their node's address.
fn masquerade(node: &Host) -> String {
    let [v4, v6] = node.pod_cidrs().expect("only nodes have Pods");
    let [all_v4, all_v6] = POD_CIDRS;
    let control_plane = Host::by_name("control-plane").expect("by_name knows this name");
    let (api_v4, api_v6) = (control_plane.v4(), control_plane.v6());
    format!(
        "\
table inet e2e {{
  chain postrouting {{
    type nat hook postrouting priority srcnat + 10;
    ip saddr {v4} ip daddr != {{ {all_v4}, {api_v4}, 224.0.0.0/4 }} oifname != \"cni0\" masquerade
    ip6 saddr {v6} ip6 daddr != {{ {all_v6}, {api_v6}, ff00::/8 }} oifname != \"cni0\" masquerade
  }}
}}
"
    )
}

fn kubelet(spec: &Spec, instance: &Instance, node: &Host) -> String {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.v4().to_string(),
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}/{}", instance.cgroup(), node.name),
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        "oomScoreAdj": 0,
        "failSwapOn": false,
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        // The resolver of the outer machine cannot be reached from here.
        "resolvConf": "",
        "staticPodPath": STATIC_PODS,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // A cut node is noticed in seconds.
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "2s",
        "nodeLeaseDurationSeconds": 4,
        "serializeImagePulls": false,
        // A test that kills a container, even often, does not wait for minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        // The outer machine's disk is not the tests' concern.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    });
    if spec.cgroup_v1 {
        config["failCgroupV1"] = json!(false);
    }
    format!("{config:#}\n")
}

fn kube_proxy(instance: &Instance, node: &Host) -> String {
    let kubeconfig = instance.certificates().join(kubeconfig_name("system:kube-proxy"));
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node.name,
        "mode": "nftables",
        "clusterCIDR": POD_CIDRS.join(","),
        // The limits of connection tracking belong to the outer machine.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
        "oomScoreAdj": 0,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::unit::Kind;

    fn spec() -> Spec {
        Spec {
            instance: "t".to_owned(),
            nodes: 3,
            kube: "/k/kube".into(),
            cni: "/usr/lib/cni".into(),
            images: vec!["/i/pause.tar".into(), "/i/web.tar".into()],
            audit_reads: false,
            snapshotter: "overlayfs".to_owned(),
            cgroup_v1: true,
        }
    }

    fn node() -> Host {
        Host::by_name("node2").expect("node2 exists")
    }

    #[test]
    fn the_kubelet_starts_only_after_every_image_is_there() {
        let instance = Instance::new("t").expect("a fine name");
        let units = units(&spec(), &instance, &node());
        let kubelet = units.iter().find(|unit| unit.name == "kubelet").expect("a kubelet");
        for image in ["import-pause", "import-web"] {
            assert!(kubelet.after.contains(&Condition::Done(image.to_owned())), "{:?}", kubelet.after);
            let import = units.iter().find(|unit| unit.name == image).expect("an import");
            assert_eq!(import.kind, Kind::Once);
        }
        assert!(kubelet.argv.contains(&"--node-ip=192.0.2.12,2001:db8::12".to_owned()), "{:?}", kubelet.argv);
    }

    #[test]
    fn both_runtimes_of_containerd_are_runc() {
        let text = containerd(&spec(), Path::new("/d/node2"));
        for name in ["runc", "myconfiguration"] {
            let section = format!("runtimes.{name}]\nruntime_type = \"io.containerd.runc.v2\"");
            assert!(text.contains(&section), "{text}");
        }
        assert!(text.contains("sandbox_image = \"metallb-rs.test/pause:dev\""), "{text}");
    }

    #[test]
    fn pods_of_a_node_are_in_its_prefixes_of_both_families() {
        let network: serde_json::Value = serde_json::from_str(&pod_network(&node())).expect("valid JSON");
        let ranges = &network["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges, &json!([[{"subnet": "10.244.2.0/24"}], [{"subnet": "fd00:10:244:2::/64"}]]));
    }

    #[test]
    fn the_kubelet_is_told_to_accept_cgroup_v1_only_where_it_is_used() {
        let instance = Instance::new("t").expect("a fine name");
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("valid JSON");
        let v1 = parse(kubelet(&spec(), &instance, &node()));
        assert_eq!(v1["failCgroupV1"], json!(false));
        assert_eq!(v1["cgroupRoot"], json!("/metallb-rs-t/node2"));
        let v2 = parse(kubelet(&Spec { cgroup_v1: false, ..spec() }, &instance, &node()));
        assert_eq!(v2.get("failCgroupV1"), None);
    }
}
