//! An API server for tests that is asked about tokens.

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock::{self, Handle, SendResponse};

pub(crate) const TOKEN_REVIEWS: &str = "POST /apis/authentication.k8s.io/v1/tokenreviews";
pub(crate) const ACCESS_REVIEWS: &str = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";

/// The server's end of a client.
pub(crate) struct Server(Handle<Request<Body>, Response<Body>>);

/// One question, to be answered.
pub(crate) struct Asked {
    /// `METHOD path`.
    pub(crate) what: String,
    pub(crate) spec: Value,
    answer: SendResponse<Response<Body>>,
}

/// A client and the server that it talks to.
pub(crate) fn client() -> (Client, Server) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    (Client::new(service, "default"), Server(handle))
}

impl Server {
    pub(crate) async fn asked(&mut self) -> Asked {
        let (request, answer) = self.0.next_request().await.expect("the client still exists");
        let what = format!("{} {}", request.method(), request.uri().path());
        let body = request.into_body().collect_bytes().await.expect("a request of ours has a plain body");
        let mut body: Value = serde_json::from_slice(&body).expect("a review is JSON");
        Asked { what, spec: body["spec"].take(), answer }
    }

    /// The answer to the next TokenReview.
    pub(crate) async fn token_is(&mut self, status: Value) {
        let asked = self.asked().await;
        assert_eq!(asked.what, TOKEN_REVIEWS);
        asked.answer(201, &json!({"metadata": {}, "spec": {}, "status": status}));
    }

    /// The answer to the next SubjectAccessReview.
    pub(crate) async fn access_is(&mut self, status: Value) {
        let asked = self.asked().await;
        assert_eq!(asked.what, ACCESS_REVIEWS);
        asked.answer(201, &json!({"metadata": {}, "spec": {}, "status": status}));
    }
}

impl Asked {
    pub(crate) fn answer(self, code: u16, body: &Value) {
        self.answer_text(code, &body.to_string());
    }

    pub(crate) fn answer_text(self, code: u16, body: &str) {
        let response = Response::builder().status(code).body(Body::from(body.as_bytes().to_vec()));
        self.answer.send_response(response.expect("a status code and a body make a response"));
    }

    /// The answer of an API server that refuses: a Status.
    pub(crate) fn refuse(self, code: u16) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "refused", "reason": "Because", "code": code});
        self.answer(code, &status);
    }

    /// No answer: the connection breaks.
    pub(crate) fn hang_up(self) {
        self.answer.send_error("connection reset by peer");
    }
}

/// The status of a TokenReview for Prometheus' service account.
pub(crate) fn prometheus() -> Value {
    json!({"authenticated": true, "user": {
        "username": "system:serviceaccount:monitoring:prometheus", "uid": "4711",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]}}})
}
