//! The bus by LISTEN and NOTIFY.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use lattice_store::BoxFuture;
use lattice_store::postgres::{ChannelReceiver, ChannelSender, MAX_NOTICE_BYTES, PostgresStore};

use super::message::MAX_PACKET_BYTES;
use super::{BusError, Link, PacketReceiver, PacketSender, Transport};

/// Channels belong to one database, so that the name need not tell it from others.
const CHANNEL: &str = "lattice_bus";

// Notices are text: a packet travels as base64, without padding.
const _: () = assert!(MAX_PACKET_BYTES.div_ceil(3) * 4 <= MAX_NOTICE_BYTES);

/// Instances that share a database tell one another by it.
pub struct PostgresTransport(pub PostgresStore);

impl Transport for PostgresTransport {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, BusError>> {
        Box::pin(async {
            let opened = self.0.channel(CHANNEL).await.map_err(|error| BusError(error.to_string()))?;
            Ok(Link { sender: Box::new(opened.0), receiver: Box::new(opened.1) })
        })
    }
}

impl PacketSender for ChannelSender {
    fn send(&mut self, packets: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), BusError>> {
        let texts: Vec<String> = packets.iter().map(|packet| STANDARD_NO_PAD.encode(packet)).collect();
        Box::pin(async move {
            ChannelSender::send(self, &texts).await.map_err(|error| BusError(error.to_string()))
        })
    }
}

impl PacketReceiver for ChannelReceiver {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async {
            let text = ChannelReceiver::next(self).await?;
            // What is no packet is an empty one, which says nothing.
            Some(STANDARD_NO_PAD.decode(text).unwrap_or_default())
        })
    }
}
