//! Whose words reach the log.

use tracing::Metadata;

use crate::LogLevel;

/// The crates of this workspace that may write to the log.
///
/// What libraries have to say (each connection, each retry) is only of use to someone who hunts a fault in them: it
/// appears at [`LogLevel::All`]. What matters of it, our own crates say in their own words.
const OURS: [&str; 18] = [
    "announce",
    "api",
    "bfd",
    "bgp",
    "config",
    "controller",
    "ipam",
    "kube_ext",
    "l2",
    "membership",
    "metrics",
    "net",
    "operator",
    "sockets",
    "speaker",
    "telemetry",
    "tls",
    "webhook",
];

/// Whether an event or span of that description is written at `level`.
pub(crate) fn wants(level: LogLevel, metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= level.filter() && (level == LogLevel::All || is_ours(metadata.target()))
}

fn is_ours(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    OURS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn our_crates_and_their_modules_are_ours_and_libraries_with_similar_names_are_not() {
        for target in ["speaker", "kube_ext::watch", "net::range"] {
            assert!(is_ours(target), "{target}");
        }
        for target in ["netlink_proto", "kube_client::client", "hyper", "rustls::conn", "apix"] {
            assert!(!is_ours(target), "{target}");
        }
    }

    #[test]
    fn no_crate_of_the_workspace_is_silenced_by_mistake() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let crates = fs::read_dir(root.join("crates")).expect("the workspace has a folder crates");
        for entry in crates {
            let entry = entry.expect("the folder can be read");
            if entry.path().join("Cargo.toml").exists() {
                let name = entry.file_name().to_string_lossy().replace('-', "_");
                // The network of the tests: it is never part of a program.
                assert!(is_ours(&name) || name == "sim", "add {name} to OURS");
            }
        }
    }
}
