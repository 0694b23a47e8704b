//! What did not succeed, in words that name the object and the cure.

/// What was tried, and why it did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API server, or the way to it, answered with an error.
    #[error("{what} failed: {}", answer(.source))]
    Request {
        /// What was tried.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Somebody else has an object of a name that is needed.
    #[error("{kind} {object} is there and not of this operator: {cure}")]
    Taken {
        /// The object's kind.
        kind: String,
        /// Its namespace and name.
        object: String,
        /// What to do.
        cure: String,
    },
}

impl Failure {
    /// `what` says what was tried, as in "applying DaemonSet metallb-system/speaker".
    pub(crate) fn new(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Request { what: what.into(), source: Box::new(source) }
    }

    /// Whether the API server does not have what was asked for: of an apply, which makes what is not there, this says
    /// that it does not know the kind.
    pub(crate) fn is_unknown_kind(&self) -> bool {
        // By the code: where the whole group is unknown the answer is plain text and has no reason.
        matches!(self, Self::Request { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 404))
    }

    /// Whether the API server understood and refused, so that another attempt alone changes nothing: a permission is missing.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Request { source, .. } = self else { return true };
        matches!(&**source, kube::Error::Api(status) if status.code == 401 || status.code == 403)
    }
}

/// The API server's own sentence, where it gave one: it names the field or the missing permission.
fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_unknown_whether_or_not_the_api_server_knows_its_group() {
        // The second is what becomes of the plain text "404 page not found".
        for (code, reason, unknown) in
            [(404, "NotFound", true), (404, "Failed to parse error data", true), (403, "Forbidden", false)]
        {
            let status = json!({"status": "Failure", "code": code, "message": "no", "reason": reason});
            let status = serde_json::from_value(status).expect("a Status");
            let failure = Failure::new("applying it", kube::Error::Api(status));
            assert_eq!(failure.is_unknown_kind(), unknown, "{reason}");
        }
    }
}
