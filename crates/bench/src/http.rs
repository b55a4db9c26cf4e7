//! Making accounts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;

/// Accounts made at the same time: each keeps one core busy with its password.
const PARALLEL: usize = 2;
const MAX_ANSWER_TIME: Duration = Duration::from_secs(20);

/// Makes accounts and answers their tokens.
pub(crate) fn accounts(address: SocketAddr, prefix: &str, count: usize) -> Result<Vec<String>, Failure> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL)
            .map(|first| {
                let numbers = (first..count).step_by(PARALLEL);
                let make = move |number| account(address, &format!("{prefix}-{number}@example.com"));
                scope.spawn(move || numbers.map(make).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        let mut tokens = Vec::with_capacity(count);
        for worker in workers {
            tokens.extend(worker.join().map_err(|_| "making accounts panicked".to_owned())??);
        }
        Ok(tokens)
    })
}

fn account(address: SocketAddr, email: &str) -> Result<String, Failure> {
    let body = format!(r#"{{"email":"{email}","password":"correct horse battery"}}"#);
    let answer = post(address, "/register", &body);
    let answer = answer.map_err(|error| format!("cannot make an account at {address}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let token = serde_json::from_str::<serde_json::Value>(body).ok();
    let token = token.and_then(|body| body.get("token")?.as_str().map(str::to_owned));
    token.ok_or_else(|| format!("POST /register answered {status:?} and no token: {body}"))
}

fn post(address: SocketAddr, path: &str, body: &str) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(MAX_ANSWER_TIME))?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    tcp.write_all(request.as_bytes())?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer)?;
    Ok(answer)
}
