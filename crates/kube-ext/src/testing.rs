//! An API server for tests: the other end of a client, by hand or as a [`Fake`] that has a state.

use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower_test::mock::{self, Handle, SendResponse};

/// One request as the API server sees it, to be answered.
pub struct Asked {
    /// `METHOD path`, without the query.
    pub what: String,
    /// What stands behind the path.
    pub query: String,
    /// The body, `null` where it is no JSON.
    pub body: Value,
    answer: SendResponse<Response<Body>>,
}

impl Asked {
    /// An answer with this status code and body.
    pub fn answer(self, code: u16, body: &Value) {
        self.answer_lines(code, body.to_string().into_bytes());
    }

    /// The answer of an API server that refuses: a Status.
    pub fn refuse(self, code: u16, reason: &str) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": format!("refused: {reason}"), "reason": reason, "code": code,
        });
        self.answer(code, &status);
    }

    /// No answer: the connection breaks.
    pub fn hang_up(self) {
        self.answer.send_error("connection reset by peer");
    }

    /// The answer to a watch, which ends with it.
    pub fn tell(self, events: &[Value]) {
        self.answer_lines(200, events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect());
    }

    /// An answer with this status code and these bytes.
    pub fn answer_lines(self, code: u16, body: Vec<u8>) {
        let response = Response::builder().status(code).body(Body::from(body));
        self.answer.send_response(response.expect("a status code and a body make a response"));
    }
}

/// The server's end of a [`client`].
pub struct Server(Handle<Request<Body>, Response<Body>>);

impl Server {
    /// The next request, for a test that knows that one is due.
    pub async fn asked(&mut self) -> Asked {
        self.next().await.expect("the client still exists")
    }

    /// The next request; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Asked> {
        let (request, answer) = self.0.next_request().await?;
        let what = format!("{} {}", request.method(), request.uri().path());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect_bytes().await.expect("a request of ours has a plain body");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Some(Asked { what, query, body, answer })
    }
}

/// A client and the server that it talks to.
pub fn client() -> (Client, Server) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    (Client::new(service, "default"), Server(handle))
}

/// What a [`Fake`] has, and how it answers.
pub trait Answers: Send + 'static {
    /// Answers a request, at once or later.
    fn handle(&mut self, asked: Asked);
}

/// An API server with a state, for as many clients as wanted.
#[derive(Default)]
pub struct Fake<S> {
    store: Arc<Mutex<S>>,
    asked: Arc<Notify>,
}

impl<S: Answers> Fake<S> {
    /// What it has. Nothing is answered while somebody looks.
    pub fn store(&self) -> MutexGuard<'_, S> {
        self.store.lock().expect("no test panics while it looks at the store")
    }

    /// A client, which is answered for as long as it exists.
    pub fn client(&self) -> Client {
        let (client, mut server) = client();
        let (store, news) = (Arc::clone(&self.store), Arc::clone(&self.asked));
        tokio::spawn(async move {
            while let Some(asked) = server.next().await {
                store.lock().expect("no test panics while it looks at the store").handle(asked);
                news.notify_one();
            }
        });
        client
    }

    /// Waits for what requests bring about.
    pub async fn until(&self, happened: impl Fn(&S) -> bool) {
        while !happened(&self.store()) {
            self.asked.notified().await;
        }
    }
}
