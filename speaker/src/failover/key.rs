//! The key that all speakers have, as the kubelet mounts it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tls::FolderWatch;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

/// The file in the folder: the key of the Secret that the controller makes.
const FILE: &str = "secretkey";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(
        "cannot read the speakers' common key {path}: {source}; mount the Secret metallb-memberlist there"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is empty.
    #[error(
        "the speakers' common key {0} is empty: delete the Secret metallb-memberlist, and the controller makes a new one"
    )]
    Empty(String),
}

/// The key in that folder.
pub fn read_key(folder: &Path) -> Result<Vec<u8>, KeyError> {
    let path = folder.join(FILE);
    let shown = || path.display().to_string();
    let key = fs::read(&path).map_err(|source| KeyError::Unreadable { path: shown(), source })?;
    if key.is_empty() { Err(KeyError::Empty(shown())) } else { Ok(key) }
}

/// How often the file is read where the kernel cannot tell of changes.
const AGAIN: Duration = Duration::from_secs(10);

/// Sends each new value of the key, as long as somebody takes them.
pub async fn watch_key(folder: &Path, mut known: Vec<u8>, changes: mpsc::UnboundedSender<Vec<u8>>) {
    let mut watch = started(folder);
    loop {
        match read_key(folder) {
            Ok(key) if key != known => {
                info!("the speakers' common key has changed");
                known.clone_from(&key);
                if changes.send(key).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => warn!("{error}; going on with the key as it was"),
        }
        if let Some(told) = &watch {
            if let Err(error) = told.changed().await {
                warn!(%error, "the watch of the speakers' common key broke");
                watch = None;
            }
        } else {
            sleep(AGAIN).await;
            watch = started(folder);
        }
    }
}

/// A node has 128 watches for all programs of a user, by default; a speaker that gets none has its work to do all the same.
fn started(folder: &Path) -> Option<FolderWatch> {
    let watch = FolderWatch::new(folder);
    watch
        .inspect_err(|error| {
            warn!(
                %error,
                folder = %folder.display(),
                "the kernel does not tell when the speakers' common key changes (raise fs.inotify.max_user_instances), reading it every ten seconds"
            );
        })
        .ok()
}
