//! What the speaker's own program takes with one router and a thousand Services: with its watches, status objects and
//! everything else that it does in a cluster.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::Api;
use super::{LIMIT, NODE, PREFIXES, count, figure, routers, until};

/// Where things listen, in a network namespace of their own.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6_443);
const ROUTER: u16 = 4_000;

/// The program while it runs; ends, and its folder with it, when it is dropped.
struct Running {
    child: Child,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; its folder is one for temporary files.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn start() -> Running {
    let folder = std::env::temp_dir().join(format!("bench-bgp-{}", std::process::id()));
    fs::create_dir_all(folder.join("state")).expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("written");
        path
    };
    file("secretkey", "none of them knows it");
    let cluster = json!({"name": "c", "cluster": {"server": format!("http://{API}")}});
    let context = json!({"name": "c", "context": {"cluster": "c", "user": "u"}});
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "current-context": "c",
        "users": [{"name": "u", "user": {}}],
    });
    let kubeconfig = file("kubeconfig", &kubeconfig.to_string());
    let child = Command::new(env!("CARGO_BIN_EXE_speaker"))
        .args(["--log-level=error", "--port=0", "--node-name", NODE, "--namespace=metallb-system"])
        .args(["--host=127.0.0.1", "--ml-bindaddr=127.0.0.1", "--pod-name=speaker-x"])
        .arg(format!("--ml-secret-key-path={}", folder.display()))
        .arg(format!("--state-dir={}", folder.join("state").display()))
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .spawn()
        .expect("the speaker starts");
    Running { child, folder }
}

/// A node, a router, and Services with their endpoints, as an API server has them.
fn objects() -> Vec<(&'static str, Value)> {
    let meta = |name: &str| json!({"name": name, "namespace": "metallb-system"});
    let custom = |kind: &str, version: &str, name: &str, spec: Value| json!({"apiVersion": format!("metallb.io/{version}"), "kind": kind, "metadata": meta(name), "spec": spec});
    let peer = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "127.0.0.1", "peerPort": ROUTER, "ebgpMultiHop": true});
    let mut all = vec![
        (
            "nodes",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}}),
        ),
        ("ipaddresspools", custom("IPAddressPool", "v1beta1", "blue", json!({"addresses": ["10.0.0.0/8"]}))),
        (
            "bgpadvertisements",
            custom("BGPAdvertisement", "v1beta1", "all", json!({"communities": ["64512:1"]})),
        ),
        ("bgppeers", custom("BGPPeer", "v1beta2", "tor", peer)),
    ];
    for number in 0..PREFIXES {
        let (name, address) = (format!("service-{number}"), Ipv4Addr::from_bits(0x0a00_0000 + number));
        let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": name}});
        all.push(("services", json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": name}},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
        })));
        all.push(("endpointslices", json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": true, "serving": true}, "nodeName": NODE}],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        })));
    }
    all
}

/// The memory of the program with one router and a thousand Services, all of them announced and their status written.
pub(crate) fn one_router() -> bool {
    let api = Api::serve(API, objects()).expect("a free port");
    let seen = routers(ROUTER..=ROUTER);
    let running = start();
    let services = usize::try_from(PREFIXES).expect("few");
    until(&seen, services, 0);
    let start = Instant::now();
    let written = || api.count("servicebgpstatuses", |object| object["status"]["node"] == NODE);
    while written() < services {
        assert!(start.elapsed() < LIMIT, "the status of {} of {services} Services is written", written());
        std::thread::sleep(Duration::from_millis(10));
    }
    let kilobytes = super::resident(&running.child.id().to_string());
    let megabytes = usize::try_from(kilobytes.div_ceil(1_024)).unwrap_or(usize::MAX);
    figure("memory of the speaker, one router and 1,000 Services", count(megabytes), 20.0, "MB")
}
