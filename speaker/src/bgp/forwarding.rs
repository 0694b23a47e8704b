//! Whether this node went on forwarding while the speaker was away (RFC 4724 §3, the Forwarding State bit).
//!
//! Routers keep sending traffic for the routes of a speaker that says so. That is right where only the speaker was gone,
//! and wrong where the node itself has just started: kube-proxy has no rules yet then, and traffic would be lost. It is asked
//! for the first session after a start only: in later ones nothing has restarted, and forwarding went on by definition.

use std::sync::Arc;
use std::time::Duration;

use sockets::boot_time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::info;

/// Where kube-proxy says whether its rules are in place.
const HEALTHZ: &str = "127.0.0.1:10256";
/// How long its answer is waited for.
const ANSWER: Duration = Duration::from_secs(1);

/// The answer, found out once.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwarding(Arc<OnceCell<bool>>);

impl Forwarding {
    /// Whether this node forwards now, and did since before a speaker that was gone for `restart_time` ended.
    pub(super) async fn went_on(&self, restart_time: Duration) -> bool {
        let find = || async {
            let up = boot_time();
            if up <= restart_time {
                info!(
                    seconds = up.as_secs(),
                    "the node has just started: routers are not asked to keep routes"
                );
                return false;
            }
            let healthy = is_healthy(HEALTHZ).await;
            if !healthy {
                info!(
                    "kube-proxy does not answer at http://{HEALTHZ}/healthz: routers are not asked to keep routes"
                );
            }
            healthy
        };
        *self.0.get_or_init(find).await
    }
}

/// Whether the server answers with status 200.
async fn is_healthy(server: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(format!("GET /healthz HTTP/1.0\r\nHost: {server}\r\n\r\n").as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status)
    };
    matches!(timeout(ANSWER, ask).await, Ok(Ok(status)) if status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_is_healthy_when_it_says_so() {
        for (answer, healthy) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let server = listener.local_addr().expect("bound").to_string();
            let serve = async {
                let (mut stream, _) = listener.accept().await.expect("the question");
                stream.write_all(answer.as_bytes()).await.expect("written");
                stream.shutdown().await.expect("closed");
            };
            assert_eq!(tokio::join!(is_healthy(&server), serve).0, healthy, "{answer:?}");
            drop(listener);
            assert!(!is_healthy(&server).await, "nobody listens");
        }
    }
}
