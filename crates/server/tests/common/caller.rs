//! Requests written by hand, from an address of one's own, so that a test knows every byte that a server was given.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::server::TestServer;

/// Somebody at an address of the loopback network, with a `User-Agent`.
#[derive(Clone, Debug)]
pub struct Caller {
    pub address: &'static str,
    pub agent: String,
}

impl Caller {
    pub fn at(address: &'static str, agent: &str) -> Self {
        Self { address, agent: agent.to_owned() }
    }

    /// A connection from the address.
    #[track_caller]
    pub fn connect(&self, server: &TestServer) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from: IpAddr = self.address.parse().expect("an address");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
        socket.connect(&server.address().into()).expect("the server listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }

    /// Sends a request, whatever its body is, and says status and body.
    #[track_caller]
    pub fn send(
        &self,
        server: &TestServer,
        method: &str,
        target: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        let mut stream = self.connect(server);
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{bearer}Content-Length: {}\r\n\r\n{body}",
            server.address(),
            self.agent,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("the server takes a request");
        let mut answer = String::new();
        // A server that refuses a body may close before all of it was sent.
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body.to_owned())
    }

    /// The same with JSON both ways.
    #[track_caller]
    pub fn json(
        &self,
        server: &TestServer,
        method: &str,
        target: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let (status, answer) = self.send(server, method, target, token, &body.to_string());
        (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
    }
}
