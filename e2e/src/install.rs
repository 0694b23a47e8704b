//! Installing the operator, as an administrator does from the one file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::Cluster;
use crate::artifacts::workspace;

/// The manifest to install from, in the project's top folder.
pub(crate) const MANIFEST: &str = "config/manifests/metallb-operator.yaml";
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
    /// Installs the operator with the images that were built here. Doing it again changes nothing.
    pub fn install(&self) -> Result<String> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl_with_stdin(&arguments, &manifest()?).context("installing the operator")
    }

    /// Applies a file of the project, by its path from the top folder.
    pub fn apply_file(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = workspace().join(path);
        self.kubectl(&["apply".as_ref(), "-f".as_ref(), path.as_os_str()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missions_files_are_as_users_were_promised_them() {
        let ours = workspace().join("e2e/mission");
        let promised = workspace().join("../shared/mission");
        for entry in fs::read_dir(&ours).expect("the mission's files") {
            let name = entry.expect("an entry").file_name();
            let text = fs::read_to_string(ours.join(&name)).expect("a text");
            // Where the promises are not at hand there is nothing to compare with.
            if let Ok(original) = fs::read_to_string(promised.join(&name)) {
                assert_eq!(text, original, "{} was changed", name.to_string_lossy());
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
