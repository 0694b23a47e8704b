//! An API server as far as a speaker needs one: lists, watches, and objects that the speaker writes, over plain HTTP.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// What there is, by resource (`services`) and name, and who watches which resource.
#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    watchers: Vec<(String, TcpStream)>,
}

/// The server. Its threads end with the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api(Arc<Mutex<Store>>);

/// One request.
#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
}

impl Api {
    /// Serves these objects, by resource, at this address.
    pub(crate) fn serve(at: SocketAddr, objects: Vec<(&str, Value)>) -> io::Result<Self> {
        let api = Self::default();
        for (resource, object) in objects {
            api.with(|store| store.put(resource, object, "ADDED"));
        }
        let listener = TcpListener::bind(at)?;
        let server = api.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.converse(&stream).ok());
            }
        });
        Ok(api)
    }

    /// How many objects of a resource fulfil the condition.
    pub(crate) fn count(&self, resource: &str, condition: impl Fn(&Value) -> bool) -> usize {
        let count = |store: &mut Store| {
            store
                .objects
                .get(resource)
                .map_or(0, |all| all.values().filter(|object| condition(object)).count())
        };
        self.with(count)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers the requests of one connection until it ends or becomes a watch.
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream.try_clone()?;
        while let Some(request) = read(&mut reader)? {
            if request.query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1") {
                writer.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                )?;
                let (resource, _) = place(&request.path);
                self.with(|store| store.watchers.push((resource.to_owned(), writer)));
                return Ok(());
            }
            let (status, body) = self.with(|store| store.answer(&request));
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            writer.write_all((head + &body).as_bytes())?;
        }
        Ok(())
    }
}

/// Reads a request; `None` at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, query, body }))
}

/// The resource of a path, and the name of an object where it has one:
/// `/api/v1/namespaces/NAMESPACE/RESOURCE/NAME/status`.
fn place(path: &str) -> (&str, Option<&str>) {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // api/VERSION, or apis/GROUP/VERSION.
    parts.drain(..parts.len().min(if parts.first() == Some(&"api") { 2 } else { 3 }));
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    (parts.first().copied().unwrap_or_default(), parts.get(1).copied())
}

impl Store {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        let (resource, name) = place(&request.path);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), name) {
            ("GET", None) => {
                let items: Vec<Value> =
                    self.objects.get(resource).map(|all| all.values().cloned().collect()).unwrap_or_default();
                (
                    200,
                    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}),
                )
            }
            ("POST", None) => (201, self.put(resource, body, "ADDED")),
            ("PATCH" | "PUT", Some(name)) => {
                match self.objects.get(resource).and_then(|all| all.get(name)).cloned() {
                    Some(mut object) => {
                        merge(&mut object, &body);
                        (200, self.put(resource, object, "MODIFIED"))
                    }
                    None => (404, missing(name)),
                }
            }
            (_, name) => (404, missing(name.unwrap_or_default())),
        }
    }

    /// Keeps an object and tells those who watch.
    fn put(&mut self, resource: &str, mut object: Value, event: &str) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        object["metadata"]["uid"] = format!("uid-{resource}-{name}").into();
        object["metadata"]["resourceVersion"] = "2".into();
        self.objects.entry(resource.to_owned()).or_default().insert(name, object.clone());
        let line = format!("{}\n", json!({"type": event, "object": object}));
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        self.watchers.retain_mut(|(watched, stream)| {
            watched != resource || stream.write_all(chunk.as_bytes()).is_ok()
        });
        object
    }
}

fn missing(name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
           "message": format!("{name} not found")})
}

/// Merges a patch (RFC 7396) into an object.
fn merge(object: &mut Value, patch: &Value) {
    let (Some(fields), Some(changes)) = (object.as_object_mut(), patch.as_object()) else {
        *object = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}
