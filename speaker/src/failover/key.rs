//! The key that all speakers have, as the kubelet mounts it.

use std::fs;
use std::io;
use std::path::Path;

use tls::FolderWatch;
use tokio::sync::mpsc;
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

/// Sends each new value of the key, for ever.
pub async fn watch_key(
    folder: &Path,
    mut known: Vec<u8>,
    changes: mpsc::UnboundedSender<Vec<u8>>,
) -> io::Result<()> {
    let watch = FolderWatch::new(folder)?;
    loop {
        match read_key(folder) {
            Ok(key) if key != known => {
                info!("the speakers' common key has changed");
                known.clone_from(&key);
                if changes.send(key).is_err() {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(error) => warn!("{error}; going on with the key as it was"),
        }
        watch.changed().await?;
    }
}
