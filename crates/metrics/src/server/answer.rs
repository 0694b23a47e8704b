//! One request and its answer.

use std::sync::Arc;

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    Metrics,
    access::{Access, Verdict},
};

/// Prometheus' text format, as MetalLB names it.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const PLAIN: &str = "text/plain; charset=utf-8";

/// The metrics to whoever may see them; to others why not and what to do.
pub(super) async fn answer<B>(
    request: &Request<B>,
    metrics: &Metrics,
    access: &Arc<Access>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return refusal(StatusCode::NOT_FOUND, "only /metrics is served here\n", None);
    }
    // To a HEAD the same answer belongs; hyper leaves out its body.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allowed = (ALLOW, "GET, HEAD");
        return refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "/metrics can only be read: use GET\n",
            Some(allowed),
        );
    }
    let challenge = Some((WWW_AUTHENTICATE, "Bearer"));
    let Some(token) = bearer(request.headers()) else {
        let text = "show the token of a service account: `Authorization: Bearer <token>`\n";
        return refusal(StatusCode::UNAUTHORIZED, text, challenge);
    };
    match access.check(token).await {
        Verdict::Allowed => with_text(StatusCode::OK, TEXT_FORMAT, metrics.text()),
        Verdict::Unauthenticated => {
            let text =
                "the API server does not accept the token: it has expired or was made for someone else\n";
            refusal(StatusCode::UNAUTHORIZED, text, challenge)
        }
        Verdict::Denied { user } => {
            let text = format!(
                "{user:?} may not read the metrics: bind it to a ClusterRole with a rule of nonResourceURLs [\"/metrics\"] and verbs [\"get\"]\n"
            );
            refusal(StatusCode::FORBIDDEN, text, None)
        }
        Verdict::Unavailable(why) => {
            let text = format!("the token cannot be checked now: {why}\n");
            refusal(StatusCode::SERVICE_UNAVAILABLE, text, Some((RETRY_AFTER, "1")))
        }
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

fn refusal(
    status: StatusCode,
    text: impl Into<Bytes>,
    header: Option<(HeaderName, &'static str)>,
) -> Response<Full<Bytes>> {
    let mut response = with_text(status, PLAIN, text);
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn with_text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_token() {
        for (header, expected) in [
            ("Bearer abc.def", Some("abc.def")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            let headers = [(AUTHORIZATION, HeaderValue::from_static(header))].into_iter().collect();
            assert_eq!(bearer(&headers), expected, "{header:?}");
        }
        let binary =
            HeaderValue::from_bytes(b"Bearer \xff").expect("any byte from 32 on may stand in a header");
        assert_eq!(bearer(&[(AUTHORIZATION, binary)].into_iter().collect()), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
