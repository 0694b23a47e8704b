//! The Operator Lifecycle Manager on a test cluster: its programs, and a catalog with the bundles of this checkout.
//!
//! ```text
//! opm serve ──▶ catalog operator ──InstallPlan──▶ API server ◀──CSV── olm operator ──▶ Deployments, webhooks
//! ```
//! All three run on the control plane's host, as its own controllers do, and end with the cluster.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artifacts::workspace;
use crate::go::{self, Module};
use crate::plan::Host;
use crate::{Cluster, Progress, Spawned, process};

/// Where its operators run, and where catalogs for all namespaces are.
pub const OLM_NAMESPACE: &str = "olm";
/// The CatalogSource.
pub const CATALOG: &str = "metallb-rs";
/// The port of the catalog on the control plane's host.
const PORT: u16 = 50051;
/// Without what needs C libraries.
const TAGS: &str =
    "json1,containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper";
/// The module that OLM is from.
const SOURCE: &str = "github.com/operator-framework/operator-lifecycle-manager";

/// The programs of `e2e/olm`, and the definitions of OLM's resources.
#[derive(Clone, Debug)]
pub struct OlmPrograms(PathBuf);

/// OLM while it runs. Dropped, it ends, and what it installed stays.
#[derive(Debug)]
pub struct Olm {
    _running: Vec<Spawned>,
}

fn module() -> Module {
    Module {
        what: "the Operator Lifecycle Manager (about 5 minutes",
        folder: "olm",
        sources: &["go.mod", "go.sum", "validate/main.go"],
        salt: TAGS.to_owned(),
        arguments: ["-tags", TAGS, "-ldflags", "-s -w"].map(str::to_owned).to_vec(),
        environment: &[("CGO_ENABLED", "0")],
        packages: &[
            "github.com/operator-framework/operator-lifecycle-manager/cmd/olm",
            "github.com/operator-framework/operator-lifecycle-manager/cmd/catalog",
            "github.com/operator-framework/operator-registry/cmd/opm",
            "./validate",
        ],
        programs: &["olm", "catalog", "opm", "validate"],
    }
}

impl OlmPrograms {
    /// From the cache, or built into it.
    pub fn built(progress: &Progress) -> Result<Self> {
        let folder = module().built(progress)?;
        let definitions = folder.join("crds");
        if !definitions.is_dir() {
            let mut command = Command::new(go::go()?);
            command
                .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", SOURCE])
                .current_dir(workspace().join("e2e/olm"))
                .env("GOTOOLCHAIN", "local")
                .env("GOWORK", "off");
            let source = process::run(&mut command).context("asking go for the sources of OLM")?;
            keep(&Path::new(source.trim()).join("deploy/chart/crds"), &definitions)?;
        }
        Ok(Self(folder))
    }

    /// The path of one of them: `opm` or `validate`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Starts OLM on the cluster, with that catalog (a folder of files for `opm serve`) as the CatalogSource
    /// `metallb-rs` in the namespace `olm`.
    pub fn start(&self, cluster: &Cluster, catalog: &Path) -> Result<Olm> {
        let crds = self.0.join("crds");
        // The largest is too long for the annotation of a client-side apply.
        let apply = ["apply", "--server-side", "-f"].map(std::ffi::OsStr::new);
        cluster
            .kubectl(&[&apply[..], &[crds.as_os_str()]].concat())
            .context("installing OLM's definitions")?;
        let established =
            ["wait", "--for=condition=Established", "--timeout=60s", "-f"].map(std::ffi::OsStr::new);
        cluster
            .kubectl(&[&established[..], &[crds.as_os_str()]].concat())
            .context("waiting for OLM's definitions")?;
        cluster.kubectl_with_stdin(&["apply", "-f", "-"], NAMESPACES).context("making OLM's namespaces")?;
        let kubeconfig = cluster.instance().lan_kubeconfig();
        let environment = [
            "env".to_owned(),
            format!("KUBECONFIG={}", kubeconfig.display()),
            format!("OPERATOR_NAMESPACE={OLM_NAMESPACE}"),
            "OPERATOR_NAME=olm-operator".to_owned(),
        ];
        let run = |name: &str, program: &str, arguments: &[&str]| {
            let log = cluster.instance().logs().join(format!("control-plane/{name}.log"));
            let mut words = environment.to_vec();
            words.push(self.program(program).display().to_string());
            words.extend(arguments.iter().map(|&argument| argument.to_owned()));
            cluster.spawn("control-plane", &words, &log)
        };
        let cache = cluster.instance().host_dir("control-plane").join("opm");
        let (catalog, cache) = (catalog.display().to_string(), cache.display().to_string());
        let listen = PORT.to_string();
        let termination = format!("{cache}.termination");
        let serve = [
            "serve",
            &catalog,
            "-p",
            &listen,
            "--cache-dir",
            &cache,
            // There is none yet.
            "--cache-enforce-integrity=false",
            "--pprof-addr",
            "",
            "--termination-log",
            &termination,
        ];
        // What fails because something is not there yet is tried again soon, and not after a quarter of an hour.
        let namespaced = ["--namespace", OLM_NAMESPACE, "--writeStatusName", "", "--interval", "15s"];
        let images = ["--configmapServerImage=none", "--util-image=none", "--opmImage=none"];
        let running = vec![
            run("opm", "opm", &serve)?,
            run("olm-operator", "olm", &namespaced)?,
            run("catalog-operator", "catalog", &[&namespaced[..], &images[..]].concat())?,
        ];
        let address = Host::by_name("control-plane")?.v4();
        let source = format!(
            "{{apiVersion: operators.coreos.com/v1alpha1, kind: CatalogSource, metadata: {{name: {CATALOG}, namespace: \
             {OLM_NAMESPACE}}}, spec: {{sourceType: grpc, address: \"{address}:{PORT}\", displayName: metallb-rs}}}}"
        );
        cluster.kubectl_with_stdin(&["apply", "-f", "-"], &source).context("making the CatalogSource")?;
        Ok(Olm { _running: running })
    }
}

const NAMESPACES: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: olm}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: operators}}
";

/// Copies the files of a folder of Go's module cache, whose files nobody may write.
fn keep(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension(format!("{}.unfinished", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("creating {}", unfinished.display()))?;
    let mut count = 0;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let mut source = File::open(entry.path())?;
        let mut target = File::create(unfinished.join(entry.file_name()))?;
        std::io::copy(&mut source, &mut target)
            .with_context(|| format!("copying {}", entry.path().display()))?;
        count += 1;
    }
    ensure!(count > 0, "{} holds no definition", from.display());
    fs::rename(&unfinished, to).with_context(|| format!("keeping {}", to.display()))
}
