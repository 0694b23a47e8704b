//! Installing the operator, as an administrator does from the one file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::Cluster;
use crate::artifacts::workspace;

/// The manifest to install from, in the project's top folder.
pub(crate) const MANIFEST: &str = "config/manifests/metallb-operator.yaml";
/// The command that waits for the webhooks: until then the API server refuses resources of metallb.io.
pub(crate) const WEBHOOKS_ROLLOUT: &str =
    "rollout status deployment metallb-operator-webhook-server -n metallb-system --timeout=120s";
/// The images that the manifest names.
const RELEASED: &str = "ghcr.io/metallb-rs/";
/// The images that `cargo xtask images` writes.
const BUILT: (&str, &str) = ("metallb-rs.test/", ":dev");

/// The manifest with the images that were built here in place of the released ones.
pub fn manifest() -> Result<String> {
    let path = workspace().join(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let built = with_built_images(&text);
    ensure!(built != text, "{} names no image of {RELEASED}", path.display());
    Ok(built)
}

/// Replaces `ghcr.io/metallb-rs/NAME:VERSION` by the image of that name that was built here.
fn with_built_images(text: &str) -> String {
    let mut parts = text.split(RELEASED);
    let mut built = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['"', '\'', '\n', ' ']).unwrap_or(part.len());
        let (image, rest) = part.split_at(end);
        let name = image.split([':', '@']).next().unwrap_or_default();
        built.push_str(&format!("{}{name}{}{rest}", BUILT.0, BUILT.1));
    }
    built
}

impl Cluster {
    /// Installs the operator with the images that were built here, and waits until resources of metallb.io can be
    /// created. Doing it again changes nothing.
    pub fn install(&self) -> Result<String> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let applied = self.kubectl_with_stdin(&arguments, &manifest()?).context("installing the operator")?;
        let wait: Vec<&str> = WEBHOOKS_ROLLOUT.split_whitespace().collect();
        self.kubectl(&wait).context("waiting for the webhook server")?;
        Ok(applied)
    }

    /// Applies a file of the project, by its path from the top folder.
    pub fn apply_file(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = workspace().join(path);
        self.kubectl(&["apply".as_ref(), "-f".as_ref(), path.as_os_str()])
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// The files that users were promised, and their SHA-256.
    const PROMISED: [(&str, &str); 15] = [
        ("metallb-cpu-limits.yaml", "74c1a45de794f6baaa5b1b52dc7e56e39698a9a76aeb02e9421635c4b6d7caba"),
        ("metallb-nodes.yaml", "89172d08ce8f86c764d7488ff3c594751b6318424b952fe453e10f4eea5cec65"),
        ("metallb-pod-config.yaml", "b080d17199e3d1065d1440c76fe8fc032cf82209ed26b14ee04ce70191cd725a"),
        ("metallb-runtime.yaml", "9ac175114ab0e3d657ce344941348a63787fb798f24131f71c7ac6a797ed438b"),
        ("metallb.yaml", "f6f52c051a326998271dc379d6b4a5a8bbe14b49adf444273e66412e5b4d23c1"),
        ("olm-install.yaml", "b7c2f405ceeb9ad8f917ad75693b97eb05a248048d3b2a9bdc88eba3f7878def"),
        ("pool-doc-example.yaml", "11d94d5ff53c613ab946a0ebe0027578b683d8739feee85dbd176bf42384fbbd"),
        ("service-any.yaml", "ce757c00b5b7e9884a039e8488b33ac6b8024d2a7634b73606e647d0e289f652"),
        ("service-dns.yaml", "a8ba5fa0a0f41448894b802a5ffe718bb41804d46e2ae8c44a821f59bdf7693e"),
        ("service-invalid-request.yaml", "1746cd91107b293a6899ee162b7905c82e426f6cff0ab332a8d9eed8660db0af"),
        ("service-shared.yaml", "b5a2db59fcfc4c067ab1a7ace6e4a3f151cb95accad16ce6edffb0af86f1cf3e"),
        ("service-specific-ip.yaml", "5d96eb9124ef993bf20af38514ffd7fd7ee9ca6259b3cbd6b08b91833465b29f"),
        ("service-specific-pool.yaml", "8408db6ec1c3e82f4d3484ceed1bd4c64fb1b2531093b667c989cfd54b1e87b0"),
        ("service-unknown-pool.yaml", "8db109ce7adcabb9c400dacea434b04bf8f83d1d05ea80a4a67d42a38e71d19c"),
        ("tutorial.yaml", "408dca87275a3d67b9e1a68aabd537f946b3a7915027537423ac0716c4199569"),
    ];

    #[test]
    fn the_missions_files_are_as_users_were_promised_them() {
        let ours = workspace().join("e2e/mission");
        let promised = workspace().join("../shared/mission");
        let mut names = Vec::new();
        for entry in fs::read_dir(&ours).expect("the mission's files") {
            names.push(entry.expect("an entry").file_name().into_string().expect("a name"));
        }
        names.sort();
        assert_eq!(names, PROMISED.map(|(name, _)| name));
        for (name, sum) in PROMISED {
            let text = fs::read_to_string(ours.join(name)).expect("a text");
            let found: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{name} was changed");
            // Where the promises themselves are at hand the sums have to be theirs.
            if let Ok(original) = fs::read_to_string(promised.join(name)) {
                assert_eq!(text, original, "{name} was changed");
            }
        }
    }

    #[test]
    fn every_released_image_is_replaced_and_nothing_else() {
        let text = "image: ghcr.io/metallb-rs/operator:v0.1.0\nvalue: \"ghcr.io/metallb-rs/speaker@sha256:ab\"\nother: v0.1.0\n";
        let built =
            "image: metallb-rs.test/operator:dev\nvalue: \"metallb-rs.test/speaker:dev\"\nother: v0.1.0\n";
        assert_eq!(with_built_images(text), built);
    }
}
