//! A request to the API server that failed.

/// What was tried, and what the API server or the way to it answered.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {}", answer(.source))]
pub(crate) struct Failure {
    what: String,
    source: Box<kube::Error>,
}

impl Failure {
    /// `what` says what was tried, as in "applying DaemonSet metallb-system/speaker".
    pub(crate) fn new(what: impl Into<String>, source: kube::Error) -> Self {
        Self { what: what.into(), source: Box::new(source) }
    }

    /// Whether the API server does not have what was asked for: of an apply, which makes what is not there, this says
    /// that it does not know the kind.
    pub(crate) fn is_unknown_kind(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_not_found())
    }
}

/// The API server's own sentence, where it gave one: it names the field or the missing permission.
fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
