//! Configuration and programs of the control plane's host.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    inner::{
        spec::Spec,
        unit::{Condition, Unit},
    },
    instance::Instance,
    plan::{API_PORT, Host, POD_CIDRS, SERVICE_CIDRS},
};

/// The administrator.
pub(crate) const ADMIN: &str = "admin";
const ETCD: &str = "127.0.0.1:2379";

/// Who may call the API server, and by which secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user that the API server sees.
    pub(crate) user: String,
    /// Its group, or nothing.
    pub(crate) group: &'static str,
    /// Proves the identity. The API server's port is forwarded to the outer machine's loopback,
    /// where every local user can knock, so nobody may guess this.
    pub(crate) token: String,
}

/// All identities of a cluster, each with a token of its own from `secret`.
pub(crate) fn identities(spec: &Spec, mut secret: impl FnMut() -> Result<String>) -> Result<Vec<Identity>> {
    let fixed = [
        (ADMIN, "system:masters"),
        ("system:kube-controller-manager", ""),
        ("system:kube-scheduler", ""),
        ("system:kube-proxy", ""),
    ];
    let nodes = Host::all(spec.nodes).into_iter().filter(|host| host.number().is_some());
    fixed
        .into_iter()
        .map(|(user, group)| (user.to_owned(), group))
        .chain(nodes.map(|node| (format!("system:node:{}", node.name), "system:nodes")))
        .map(|(user, group)| Ok(Identity { user, group, token: secret()? }))
        .collect()
}

/// 32 bytes that nobody can guess, in hexadecimal digits.
pub(crate) fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("reading a secret from /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The API server's token file: token, user, uid, groups.
pub(crate) fn tokens(identities: &[Identity]) -> String {
    identities
        .iter()
        .map(|Identity { user, group, token }| match *group {
            "" => format!("{token},{user},{user}\n"),
            group => format!("{token},{user},{user},{group}\n"),
        })
        .collect()
}

/// The audit policy: who wrote what, for tests that count writes. Leases and
/// events are heartbeats and chatter, and left out.
///
/// With `reads` everything that Pods ask for is there, too, for tests of who may do what.
pub(crate) fn audit_policy(reads: bool) -> String {
    let pods = "- {level: Metadata, userGroups: [\"system:serviceaccounts\"]}\n";
    format!("{AUDIT_HEAD}{}{AUDIT_RULES}", if reads { pods } else { "" })
}

const AUDIT_HEAD: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
";
const AUDIT_RULES: &str = "\
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: \"\", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
- level: Metadata
";

/// A kubeconfig whose user has this token.
pub(crate) fn kubeconfig(server: &str, ca: &Path, token: &str) -> String {
    let ca = ca.display();
    format!(
        "\
apiVersion: v1
kind: Config
current-context: cluster
contexts:
- name: cluster
  context: {{cluster: cluster, user: user}}
clusters:
- name: cluster
  cluster:
    server: {server}
    tls-server-name: kubernetes
    certificate-authority: {ca}
users:
- name: user
  user: {{token: \"{token}\"}}
"
    )
}

/// The API server as seen from the LAN.
pub(crate) fn server() -> String {
    format!("https://{}:{API_PORT}", control_plane().v4())
}

/// File name of an identity's kubeconfig inside the certificates' folder.
pub(crate) fn kubeconfig_name(user: &str) -> String {
    format!("{}.kubeconfig", user.rsplit(':').next().unwrap_or(user))
}

/// Holds when the API server takes connections.
pub(crate) fn api_listens() -> Condition {
    Condition::Listens((control_plane().v4(), API_PORT).into())
}

fn control_plane() -> Host {
    Host::by_name("control-plane").expect("by_name knows this name")
}

/// The programs, each with what it needs.
pub(crate) fn units(spec: &Spec, instance: &Instance) -> Vec<Unit> {
    let folder = instance.host_dir("control-plane");
    let pki = instance.certificates();
    let kube = |program: &str, arguments: Vec<String>| {
        let mut argv = vec![spec.kube.display().to_string(), program.to_owned()];
        argv.extend(arguments);
        argv
    };
    let etcd_listens = Condition::Listens(ETCD.parse().expect("a literal socket address"));
    let ready = Condition::Done("api-ready".to_owned());
    vec![
        Unit::daemon("etcd", kube("etcd", etcd(&folder)), vec![]),
        Unit::daemon(
            "kube-apiserver",
            kube("kube-apiserver", apiserver(&folder, &pki, &instance.logs())),
            vec![etcd_listens],
        ),
        Unit::patient("api-ready", kube("kubectl", ask_whether_ready(&pki)), vec![api_listens()]),
        Unit::daemon(
            "kube-controller-manager",
            kube("kube-controller-manager", controller_manager(&folder, &pki)),
            vec![ready.clone()],
        ),
        Unit::daemon("kube-scheduler", kube("kube-scheduler", scheduler(&pki)), vec![ready]),
    ]
}

fn etcd(folder: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls=http://{ETCD}"),
        format!("--advertise-client-urls=http://{ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // A crash of the machine ends the cluster anyway.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn apiserver(folder: &Path, pki: &Path, logs: &Path) -> Vec<String> {
    let pki = pki.display();
    vec![
        format!("--etcd-servers=http://{ETCD}"),
        format!("--advertise-address={}", control_plane().v4()),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-signing-key-file={pki}/service-accounts.key"),
        format!("--service-account-key-file={pki}/service-accounts.pub"),
        // There is no kube-proxy here: webhooks are called at their endpoints.
        "--enable-aggregator-routing=true".to_owned(),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={pki}/front-proxy.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--audit-policy-file={}", folder.join("audit-policy.yaml").display()),
        format!("--audit-log-path={}", logs.join("control-plane/audit.log").display()),
    ]
}

/// The controllers end when they start before the API server has its first objects.
fn ask_whether_ready(pki: &Path) -> Vec<String> {
    let kubeconfig = pki.join("admin.kubeconfig");
    let cache = pki.join("kubectl-cache");
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--cache-dir={}", cache.display()),
        "get".to_owned(),
        "--raw=/readyz".to_owned(),
    ]
}

fn controller_manager(folder: &Path, pki: &Path) -> Vec<String> {
    let kubeconfig = pki.join("kube-controller-manager.kubeconfig");
    let (kubeconfig, pki) = (kubeconfig.display(), pki.display());
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={pki}/service-accounts.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        format!("--cluster-cidr={}", POD_CIDRS.join(",")),
        "--allocate-node-cidrs=false".to_owned(),
        // It would be made in /usr/libexec otherwise.
        format!("--flex-volume-plugin-dir={}", folder.join("flex-volumes").display()),
        // A node that is cut is NotReady after 6 s instead of 40 s.
        "--node-monitor-grace-period=6s".to_owned(),
        "--node-monitor-period=1s".to_owned(),
        "--v=2".to_owned(),
    ]
}

fn scheduler(pki: &Path) -> Vec<String> {
    let kubeconfig = pki.join("kube-scheduler.kubeconfig");
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            instance: "t".to_owned(),
            nodes: 2,
            kube: "/k/kube".into(),
            cni: "/usr/lib/cni".into(),
            images: vec![],
            audit_reads: false,
            snapshotter: "overlayfs".to_owned(),
            cgroup_v1: true,
        }
    }

    #[test]
    fn every_node_has_an_identity_that_the_node_authorizer_knows() {
        let mut number = 0;
        let numbered = || {
            number += 1;
            Ok(format!("secret{number}"))
        };
        let tokens = tokens(&identities(&spec(), numbered).expect("numbers do not fail"));
        assert!(tokens.contains("secret6,system:node:node2,system:node:node2,system:nodes\n"), "{tokens}");
        assert!(tokens.contains("secret4,system:kube-proxy,system:kube-proxy\n"), "{tokens}");
        assert_eq!(tokens.lines().count(), 6);
    }

    #[test]
    fn no_two_identities_and_no_two_clusters_share_a_token() {
        let both = [(); 2].map(|()| identities(&spec(), random_secret).expect("the kernel has secrets"));
        let tokens: std::collections::HashSet<_> =
            both.iter().flatten().map(|identity| identity.token.as_str()).collect();
        assert_eq!(tokens.len(), 12);
        assert!(tokens.iter().all(|token| token.len() == 64), "{tokens:?}");
    }

    #[test]
    fn kubeconfigs_are_named_after_the_last_part_of_the_user() {
        assert_eq!(kubeconfig_name("admin"), "admin.kubeconfig");
        assert_eq!(kubeconfig_name("system:node:node1"), "node1.kubeconfig");
    }

    #[test]
    fn controllers_wait_for_the_api_server_and_it_waits_for_etcd() {
        let instance = Instance::new("t").expect("a fine name");
        let units = units(&spec(), &instance);
        let after =
            |name: &str| &units.iter().find(|unit| unit.name == name).expect("a unit of that name").after;
        assert_eq!(after("etcd"), &[]);
        assert_eq!(
            after("kube-apiserver"),
            &[Condition::Listens("127.0.0.1:2379".parse().expect("an address"))]
        );
        assert_eq!(after("api-ready"), &[Condition::Listens("192.0.2.10:6443".parse().expect("an address"))]);
        assert_eq!(after("kube-scheduler"), &[Condition::Done("api-ready".to_owned())]);
    }
}
