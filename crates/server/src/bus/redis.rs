//! The bus by Redis, or what speaks its protocol: publish and subscribe.
//!
//! A lost connection is made anew by [`super::Bus`], like every other one, and not by the driver: so it is known when
//! messages may have been lost.

use futures_util::StreamExt;
use lattice_store::BoxFuture;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Client};

use super::{BusError, Link, PacketReceiver, PacketSender, Transport};

/// How long Redis may take to answer.
const MAX_ANSWER_TIME: std::time::Duration = std::time::Duration::from_secs(3);

/// Instances that share a Redis tell one another by it.
pub struct RedisTransport {
    client: Client,
    channel: String,
}

impl RedisTransport {
    /// Reads a `redis://` or `rediss://` address. `deployment` tells instances of one database from others that share the
    /// Redis.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(url: &str, deployment: &str) -> Result<Self, BusError> {
        Ok(Self { client: client(url)?, channel: format!("lattice:{deployment}") })
    }
}

/// Reads an address.
///
/// # Errors
/// When it cannot be read. What is said does not hold it, since it may hold a password.
pub fn client(url: &str) -> Result<Client, BusError> {
    Client::open(url).map_err(|error| BusError(error.to_string()))
}

impl Transport for RedisTransport {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, BusError>> {
        Box::pin(async {
            let failed = |error: redis::RedisError| BusError(error.to_string());
            let (mut sink, stream) = self.client.get_async_pubsub().await.map_err(failed)?.split();
            sink.subscribe(&self.channel).await.map_err(failed)?;
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(MAX_ANSWER_TIME)
                .set_response_timeout(MAX_ANSWER_TIME);
            let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
            let connection = connection.map_err(failed)?;
            Ok(Link {
                sender: Box::new(Publisher { connection, channel: self.channel.clone() }),
                receiver: Box::new(Subscriber { _sink: sink, stream }),
            })
        })
    }
}

struct Publisher {
    connection: MultiplexedConnection,
    channel: String,
}

impl PacketSender for Publisher {
    fn send(&mut self, packets: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let mut pipe = redis::pipe();
            for packet in packets {
                pipe.publish(&self.channel, packet).ignore();
            }
            let sent: Result<(), _> = pipe.query_async(&mut self.connection).await;
            sent.map_err(|error| BusError(error.to_string()))
        })
    }
}

struct Subscriber {
    /// The subscription ends with it.
    _sink: PubSubSink,
    stream: PubSubStream,
}

// The driver keeps what has not been taken, without a limit of its own; the bus takes packets as fast as they come.
impl PacketReceiver for Subscriber {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async { self.stream.next().await.map(|message| message.get_payload_bytes().to_vec()) })
    }
}
