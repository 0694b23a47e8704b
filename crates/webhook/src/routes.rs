//! Which path asks what.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use crate::{
    AdmissionRequest, Decision, Respond,
    admission::{self, Reviewer},
    conversion::{self, Converter},
    server::text,
};

/// What is answered on each path: give it to [`Server::serve`](crate::Server::serve).
///
/// A body that is no review is answered with 400 and what is wrong with it, an unknown path with 404, another method
/// than POST with 405.
#[derive(Default)]
pub struct Routes(BTreeMap<String, Route>);

enum Route {
    Review(Reviewer),
    Convert(Converter),
}

impl Routes {
    /// No path at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `reviewer` decide on the AdmissionReviews (admission.k8s.io/v1) that arrive at `path`.
    #[must_use]
    pub fn review<F, D>(mut self, path: impl Into<String>, reviewer: F) -> Self
    where
        F: Fn(AdmissionRequest) -> D + Send + Sync + 'static,
        D: Future<Output = Decision> + Send + 'static,
    {
        let reviewer = move |request| Box::pin(reviewer(request)) as Pin<Box<dyn Future<Output = _> + Send>>;
        self.0.insert(path.into(), Route::Review(Box::new(reviewer)));
        self
    }

    /// Lets `converter` convert the objects of the ConversionReviews (apiextensions.k8s.io/v1 and v1beta1) that
    /// arrive at `path`.
    ///
    /// `converter(object, apiVersion)` gives the object in that version, or in a sentence why it cannot.
    #[must_use]
    pub fn convert<F>(mut self, path: impl Into<String>, converter: F) -> Self
    where
        F: Fn(Value, &str) -> Result<Value, String> + Send + Sync + 'static,
    {
        self.0.insert(path.into(), Route::Convert(std::sync::Arc::new(converter)));
        self
    }
}

impl Respond for Routes {
    async fn respond(&self, request: Request<Bytes>) -> Response<Bytes> {
        let answer = match self.0.get(request.uri().path()) {
            Some(Route::Review(reviewer)) => admission::review(request.body(), reviewer).await,
            Some(Route::Convert(converter)) => {
                conversion::review(request.into_body(), converter.clone()).await
            }
            None => return self.unknown(request.uri().path()),
        };
        match answer {
            Ok(json) => {
                let mut response = Response::new(json);
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(fault) => text(StatusCode::BAD_REQUEST, format!("{fault}\n")),
        }
    }

    fn refuse(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if !self.0.contains_key(path) {
            return Some(self.unknown(path));
        }
        (method != Method::POST).then(|| {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            response
        })
    }
}

impl Routes {
    fn unknown(&self, path: &str) -> Response<Bytes> {
        let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        text(StatusCode::NOT_FOUND, format!("nothing is reviewed at {path}; use one of {known}\n"))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(method: Method, path: &str, body: &'static str) -> (StatusCode, String) {
        let routes = Routes::new()
            .review("/validate", async |_| Decision::allow())
            .convert("/convert", |object, _| Ok(object));
        let response = if let Some(refusal) = routes.refuse(&method, path) {
            refusal
        } else {
            let request = Request::builder().method(method).uri(path).body(Bytes::from(body));
            routes.respond(request.expect("a request")).await
        };
        let text = String::from_utf8(response.body().to_vec()).expect("answers are UTF-8");
        (response.status(), text)
    }

    #[tokio::test]
    async fn what_is_no_review_is_refused_with_the_reason() {
        let cases = [
            (
                Method::POST,
                "/elsewhere",
                "",
                404,
                "nothing is reviewed at /elsewhere; use one of /convert, /validate\n",
            ),
            (Method::GET, "/validate", "", 405, "reviews are sent by POST\n"),
            (Method::POST, "/validate", "", 400, "not an AdmissionReview: EOF while parsing"),
            (Method::POST, "/validate", "{}", 400, "not an AdmissionReview: "),
            (Method::POST, "/convert", "[1", 400, "not a ConversionReview: EOF while parsing"),
            (Method::POST, "/convert", "[]", 400, "not a ConversionReview: "),
        ];
        for (method, path, body, code, begins) in cases {
            let (status, text) = status(method, path, body).await;
            assert_eq!(status, code, "{path} {body:?} {text}");
            assert!(text.starts_with(begins), "{path} {body:?}: {text}");
        }
    }

    #[tokio::test]
    async fn deeply_nested_json_is_refused() {
        let deep: &'static str = Box::leak("[".repeat(100_000).into_boxed_str());
        for path in ["/validate", "/convert"] {
            let (status, text) = status(Method::POST, path, deep).await;
            assert_eq!(status, 400, "{text}");
        }
    }
}
