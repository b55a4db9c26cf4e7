//! A channel on which short texts reach every instance of a database: LISTEN and NOTIFY, on a connection of its own.
//!
//! NOTIFY takes a lock of the whole server when its transaction commits, so nothing that stores anything sends one.

use std::future::{Future, poll_fn};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::error::PgError;
use super::{PostgresStore, Target};
use crate::StoreError;

/// Longest text that the server takes, in bytes.
pub const MAX_NOTICE_BYTES: usize = 7_999;
/// Longest name of a channel, in bytes.
const MAX_CHANNEL_BYTES: usize = 63;
/// Texts that wait to be taken; more wait at the server.
const MAX_WAITING_NOTICES: usize = 256;
/// How long the server may take to open the channel, or to take texts.
const MAX_TIME: Duration = Duration::from_secs(5);

/// What one connection is set to. Nothing that it runs takes long.
const SETTINGS: &str = "SET application_name = 'lattice-server bus'; SET statement_timeout = 5000";

/// Sends to everybody who listens, this side included.
pub struct ChannelSender {
    client: Client,
    channel: String,
}

/// Receives what was sent since the channel was opened, in the order of the server.
pub struct ChannelReceiver {
    notices: mpsc::Receiver<String>,
}

impl ChannelSender {
    /// Sends texts of at most [`MAX_NOTICE_BYTES`] each, in one transaction.
    ///
    /// # Errors
    /// What the server says, or that it does not answer in time. Some may have been sent then.
    pub async fn send(&self, texts: &[String]) -> Result<(), StoreError> {
        let sql = "SELECT pg_notify($1, text) FROM unnest($2::text[]) AS sent (text)";
        within(async {
            // By its types, so that it needs no round trip of its own.
            let types = [
                (&self.channel as _, tokio_postgres::types::Type::TEXT),
                (&texts as _, tokio_postgres::types::Type::TEXT_ARRAY),
            ];
            self.client.query_typed(sql, &types).await.map(|_| ())
        })
        .await
    }
}

impl ChannelReceiver {
    /// The next text; `None` once the connection is lost.
    pub async fn next(&mut self) -> Option<String> {
        self.notices.recv().await
    }
}

impl PostgresStore {
    /// Opens the channel with this name: lower-case letters, digits and `_`.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn channel(&self, name: &str) -> Result<(ChannelSender, ChannelReceiver), StoreError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.len() <= MAX_CHANNEL_BYTES && name.bytes().all(plain), "not the name of a channel");
        within(async {
            let (client, notices) = self.inner.target.connect_channel().await?;
            client.batch_execute(&format!("{SETTINGS}; LISTEN \"{name}\"")).await?;
            Ok::<_, tokio_postgres::Error>((
                ChannelSender { client, channel: name.to_owned() },
                ChannelReceiver { notices },
            ))
        })
        .await
    }
}

impl Target {
    async fn connect_channel(&self) -> Result<(Client, mpsc::Receiver<String>), tokio_postgres::Error> {
        let (tell, notices) = mpsc::channel(MAX_WAITING_NOTICES);
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(drive(connection, tell));
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(drive(connection, tell));
                client
            }
        };
        Ok((client, notices))
    }
}

/// Moves the connection on until it ends or nobody receives any more.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, tell: mpsc::Sender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = tokio::select! {
            message = poll_fn(|cx| connection.poll_message(cx)) => message,
            () = tell.closed() => return,
        };
        match message {
            Some(Ok(AsyncMessage::Notification(notice))) => {
                if tell.send(notice.payload().to_owned()).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "the channel's connection failed");
                return;
            }
            None => return,
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(MAX_TIME, work).await {
        Ok(result) => result.map_err(|error| PgError::from(error).into_store()),
        Err(_) => Err(PgError::TimedOut.into_store()),
    }
}
