//! The direction of dependencies: from programs to crates, from I/O to pure, never back (see docs/adr/).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// The layers, lowest first: a member may use those of its own layer and of lower ones, but programs do not
/// use each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// No task, client, socket, clock, file or thread.
    Pure,
    /// Input and output.
    Shell,
    /// What is started.
    Program,
}

/// Every member and its layer. A new member has to be entered here.
const MEMBERS: [(&str, Layer); 20] = [
    ("announce", Layer::Pure),
    ("api", Layer::Pure),
    ("bgp", Layer::Pure),
    ("config", Layer::Pure),
    ("ipam", Layer::Pure),
    ("l2", Layer::Pure),
    ("membership", Layer::Pure),
    ("net", Layer::Pure),
    ("sim", Layer::Pure),
    ("kube-ext", Layer::Shell),
    ("metrics", Layer::Shell),
    ("sockets", Layer::Shell),
    ("telemetry", Layer::Shell),
    ("tls", Layer::Shell),
    ("webhook", Layer::Shell),
    ("controller", Layer::Program),
    ("e2e", Layer::Program),
    ("operator", Layer::Program),
    ("speaker", Layer::Program),
    ("xtask", Layer::Program),
];

/// Packages that no pure crate may reach, not even through others.
const IMPURE: [&str; 12] = [
    "axum",
    "hyper",
    "kube",
    "kube-client",
    "kube-runtime",
    "mio",
    "nix",
    "rtnetlink",
    "rustls",
    "socket2",
    "tokio",
    "tracing-subscriber",
];

/// Names of the standard library that do not occur in a pure crate's sources.
const IMPURE_NAMES: [&str; 10] = [
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::io::std",
    "Instant::now",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
];

/// A package's direct dependencies, without those of its tests.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Checks the workspace; the error lists every violation.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(&root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")?;
    let (graph, members) = read(&metadata)?;

    let mut violations = violations(&graph, &members);
    for (name, layer) in MEMBERS {
        if layer == Layer::Pure {
            scan(&root.join("crates").join(name).join("src"), &mut violations)?;
        }
    }
    if violations.is_empty() {
        println!("layers: {} members, every arrow points down", members.len());
        return Ok(());
    }
    bail!("the layers are violated:\n  {}", violations.join("\n  "))
}

/// The resolved graph by package name, and the names of the workspace's members.
fn read(metadata: &Value) -> Result<(Graph, BTreeSet<String>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let name_of = |id: &Value| names.get(&text(id)).cloned().with_context(|| format!("unknown package {id}"));
    let mut graph = Graph::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let edges = graph.entry(name_of(&node["id"])?).or_default();
        for dep in list(&node["deps"]) {
            if list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                edges.insert(name_of(&dep["pkg"])?);
            }
        }
    }
    let members = list(&metadata["workspace_members"]).iter().map(name_of).collect::<Result<_>>()?;
    Ok((graph, members))
}

fn violations(graph: &Graph, members: &BTreeSet<String>) -> Vec<String> {
    let layers: BTreeMap<&str, Layer> = MEMBERS.into_iter().collect();
    let mut found = Vec::new();
    for member in members {
        let Some(&layer) = layers.get(member.as_str()) else {
            found.push(format!("{member} has no layer: enter it in xtask/src/layers.rs"));
            continue;
        };
        let none = BTreeSet::new();
        for dependency in graph.get(member).unwrap_or(&none) {
            match layers.get(dependency.as_str()) {
                Some(&below) if below > layer => {
                    found.push(format!("{member} must not use {dependency}, a layer above"));
                }
                // The tests drive the programs from outside; only they may know another program's library.
                Some(Layer::Program) => {
                    found.push(format!("{member} must not use {dependency}: programs stand alone"));
                }
                _ => {}
            }
        }
        if layer == Layer::Pure {
            for package in reachable(graph, member) {
                if IMPURE.contains(&package.as_str()) {
                    found.push(format!("{member} is pure but reaches {package}"));
                }
            }
        }
    }
    found
}

fn reachable(graph: &Graph, start: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![start.to_owned()];
    while let Some(package) = queue.pop() {
        for next in graph.get(&package).into_iter().flatten() {
            if seen.insert(next.clone()) {
                queue.push(next.clone());
            }
        }
    }
    seen
}

/// Looks through the sources of a pure crate for names of impure parts of the standard library.
fn scan(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            scan(&path, found)?;
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(workspace::root()).unwrap_or(&path).display().to_string();
        found.extend(
            impure_lines(&text).map(|(line, name)| format!("{shown}:{line} names {name} in a pure crate")),
        );
        if path.ends_with("src/lib.rs") && !text.contains("#![forbid(unsafe_code)]") {
            found.push(format!("{shown} lacks #![forbid(unsafe_code)]"));
        }
    }
    Ok(())
}

/// The line numbers of code, comments apart, that name something impure.
fn impure_lines(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or_default();
        IMPURE_NAMES.into_iter().find(|name| code.contains(name)).map(|name| (number + 1, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> (Graph, BTreeSet<String>) {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        let members = graph.keys().filter(|name| MEMBERS.iter().any(|(m, _)| m == name)).cloned().collect();
        (graph, members)
    }

    #[test]
    fn arrows_that_point_down_are_accepted() {
        let (graph, members) = graph(&[
            ("speaker", "sockets"),
            ("sockets", "net"),
            ("announce", "config"),
            ("sockets", "tokio"),
        ]);
        assert_eq!(violations(&graph, &members), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_up_or_across_or_to_impure_packages_are_refused() {
        for (edges, expected) in [
            (vec![("config", "kube-ext")], "config must not use kube-ext, a layer above"),
            (vec![("controller", "speaker")], "controller must not use speaker: programs stand alone"),
            (vec![("l2", "helper"), ("helper", "tokio")], "l2 is pure but reaches tokio"),
        ] {
            let (graph, members) = graph(&edges);
            assert_eq!(violations(&graph, &members), [expected]);
        }
    }

    #[test]
    fn a_member_without_a_layer_is_refused() {
        let members = BTreeSet::from(["novel".to_owned()]);
        assert_eq!(violations(&Graph::new(), &members).len(), 1);
    }

    #[test]
    fn impure_names_are_found_in_code_and_not_in_comments() {
        let text = "use std::fs;\n// std::thread is not for us\nlet t = Instant::now(); // why\n";
        let found: Vec<_> = impure_lines(text).collect();
        assert_eq!(found, [(1, "std::fs"), (3, "Instant::now")]);
    }
}
