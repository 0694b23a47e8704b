//! An API server for tests: the other end of a client, by hand.

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock::{self, Handle, SendResponse};

/// One request as the API server sees it, to be answered.
pub(crate) struct Asked {
    /// `METHOD path`, without the query.
    pub(crate) what: String,
    pub(crate) query: String,
    pub(crate) body: Value,
    answer: SendResponse<Response<Body>>,
}

impl Asked {
    pub(crate) fn answer(self, code: u16, body: &Value) {
        self.send(code, body.to_string());
    }

    /// The answer to a watch, which ends with it.
    pub(crate) fn tell(self, events: &[Value]) {
        self.send(200, events.iter().map(|event| format!("{event}\n")).collect());
    }

    fn send(self, code: u16, body: String) {
        let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
        self.answer.send_response(response.expect("a status code and a body make a response"));
    }

    /// The answer of an API server that refuses: a Status.
    pub(crate) fn refuse(self, code: u16, reason: &str) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": format!("refused: {reason}"), "reason": reason, "code": code,
        });
        self.answer(code, &status);
    }
}

/// The server's end of a [`client`].
pub(crate) struct Server(Handle<Request<Body>, Response<Body>>);

impl Server {
    /// The next request, for a test that knows that one is due.
    pub(crate) async fn asked(&mut self) -> Asked {
        self.next().await.expect("the client still exists")
    }

    /// The next request; `None` when the client is gone.
    pub(crate) async fn next(&mut self) -> Option<Asked> {
        let (request, answer) = self.0.next_request().await?;
        let what = format!("{} {}", request.method(), request.uri().path());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect_bytes().await.expect("a request of ours has a plain body");
        Some(Asked { what, query, body: serde_json::from_slice(&body).unwrap_or(Value::Null), answer })
    }
}

/// A client whose API server is the test.
pub(crate) fn client() -> (Client, Server) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    (Client::new(service, "default"), Server(handle))
}
