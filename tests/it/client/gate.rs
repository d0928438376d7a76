//! What stands in front of servers in a cluster, such as a mesh: it lets calls through to the real
//! server, refuses some with a status of its own, and counts what came.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Channel, Error, Server};
use tower::{Service, ServiceExt as _};

#[derive(Default)]
struct State {
    refusals: Mutex<VecDeque<Status>>,
    /// The only credential that is let through, where there is one.
    credential: Mutex<Option<String>>,
    /// The calls that came: path and credential.
    came: Mutex<Vec<(String, Option<String>)>>,
}

pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

impl Gate {
    pub async fn to(server: Channel) -> Self {
        Self::between(server.clone(), server).await
    }

    /// Calls of the directory lead to the second server, all others to the first.
    pub async fn between(asked: Channel, written: Channel) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let passage = Passage {
            asked,
            written,
            state: Arc::clone(&state),
        };
        let serving = tokio::spawn(async move {
            Server::builder()
                .serve_with_incoming(passage, TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            state,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next calls are refused so, in this order.
    pub fn refuse_next(&self, statuses: impl IntoIterator<Item = Status>) {
        self.state.refusals.lock().unwrap().extend(statuses);
    }

    /// Whoever comes with anything else is unauthenticated.
    pub fn demand(&self, credential: &str) {
        *self.state.credential.lock().unwrap() = Some(credential.to_owned());
    }

    /// The calls that came, refused ones included: path and credential.
    pub fn came(&self) -> Vec<(String, Option<String>)> {
        self.state.came.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.state.came.lock().unwrap().len()
    }
}

#[derive(Clone)]
struct Passage {
    asked: Channel,
    written: Channel,
    state: Arc<State>,
}

impl Passage {
    /// Why a call may not pass.
    fn refusal(&self, request: &Request<Body>) -> Option<Status> {
        let credential = request
            .headers()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        let path = request.uri().path().to_owned();
        let mut came = self.state.came.lock().unwrap();
        came.push((path, credential.clone()));
        let demanded = self.state.credential.lock().unwrap().clone();
        if demanded.is_some() && demanded != credential {
            return Some(Status::unauthenticated("not this one"));
        }
        self.state.refusals.lock().unwrap().pop_front()
    }
}

impl Service<Request<Body>> for Passage {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(status) = self.refusal(&request) {
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let writes = request.uri().path().contains(".DirectoryService/");
        let server = if writes { &self.written } else { &self.asked };
        Box::pin(server.clone().oneshot(request))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
