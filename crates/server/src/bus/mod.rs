//! The bus between instances: small messages that save the others from finding out by themselves.
//!
//! Losing one costs time, never data: whoever listens looks for itself as well, now and then ([`crate::instances`]). So
//! nothing here is confirmed or sent twice, and what finds no room is dropped.

pub mod message;
mod outbox;
pub mod postgres;
pub mod redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_store::BoxFuture;
use lattice_store::time::Random;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use message::{InstanceId, Message, pack, unpack};
pub use outbox::Outbox;

/// How long messages are collected before they leave together. Adds to the latency between instances.
const BATCH_TIME: Duration = Duration::from_millis(3);
/// How often an instance says that it is there, and what its clients show.
const BEAT: Duration = Duration::from_secs(5);
/// Silence after which a connection counts as lost: an instance hears its own messages too.
const MAX_SILENCE: Duration = Duration::from_secs(15);
/// How long messages may take to leave.
const MAX_SEND_TIME: Duration = Duration::from_secs(5);
/// How long what is left may take at the end.
const MAX_FAREWELL_TIME: Duration = Duration::from_millis(500);
/// Pauses between two tries to connect, the first and the longest; each is drawn anew around them.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why there is no bus at the moment, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

/// A way by which packets reach all instances.
pub trait Transport: Send + Sync {
    /// What the operator calls it.
    fn name(&self) -> &'static str;

    /// Opens both directions. What was sent before is not heard.
    fn connect(&self) -> BoxFuture<'_, Result<Link, BusError>>;
}

/// An open connection.
pub struct Link {
    /// To all instances, this one included.
    pub sender: Box<dyn PacketSender>,
    /// From all of them.
    pub receiver: Box<dyn PacketReceiver>,
}

/// Sends packets.
pub trait PacketSender: Send {
    /// Sends packets; some may have left when it fails.
    fn send(&mut self, packets: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), BusError>>;
}

/// Receives packets.
pub trait PacketReceiver: Send {
    /// The next packet; `None` once the connection is lost. May be dropped while it waits.
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>>;
}

/// Whoever is told what comes by the bus. Nothing of it may block: what comes is taken as fast as it comes.
pub trait Listener: Send + Sync {
    /// Another instance has told something.
    fn heard(&self, from: InstanceId, message: Message);

    /// From here on messages come; those before are lost.
    fn connected(&self);

    /// What the clients of this instance show, for the others to compare.
    fn rosters(&self) -> Vec<Message>;
}

/// This instance's end of the bus.
pub struct Bus {
    id: InstanceId,
    transport: Box<dyn Transport>,
    outbox: Arc<Outbox>,
    listener: Arc<dyn Listener>,
    random: Arc<dyn Random>,
    connected: Arc<AtomicBool>,
}

enum Ended {
    Stopped,
    Lost(BusError),
}

impl Bus {
    /// An end that is not connected yet.
    #[must_use]
    pub fn new(
        transport: Box<dyn Transport>,
        outbox: Arc<Outbox>,
        listener: Arc<dyn Listener>,
        random: Arc<dyn Random>,
    ) -> Self {
        let mut id = [0; 16];
        random.fill(&mut id);
        Self { id: InstanceId(id), transport, outbox, listener, random, connected: Arc::default() }
    }

    /// Whether it is connected, for as long as it is asked.
    #[must_use]
    pub fn status(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.connected)
    }

    /// Connects, again and again, until `stop` is cancelled; what waits then still leaves.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.transport.name();
        let mut pause = PAUSES.0;
        loop {
            let tried = Instant::now();
            let linked = tokio::select! {
                () = stop.cancelled() => return,
                linked = timeout(MAX_SEND_TIME, self.transport.connect()) => linked,
            };
            let error = match linked {
                Ok(Ok(link)) => {
                    tracing::debug!(bus = name, "connected");
                    self.connected.store(true, Ordering::Release);
                    self.listener.connected();
                    let ended = self.serve(link, &stop).await;
                    self.connected.store(false, Ordering::Release);
                    match ended {
                        Ended::Stopped => return,
                        Ended::Lost(error) => error,
                    }
                }
                Ok(Err(error)) => error,
                Err(_) => BusError("it does not answer in time".into()),
            };
            if tried.elapsed() > MAX_SILENCE {
                pause = PAUSES.0;
            }
            tracing::warn!(bus = name, %error, "the bus is cut; changes made elsewhere are looked for until it is back");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(jittered(pause, &*self.random)) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Both directions at once, until one fails.
    async fn serve(&self, link: Link, stop: &CancellationToken) -> Ended {
        let Link { mut sender, mut receiver } = link;
        tokio::select! {
            ended = self.send(&mut *sender, stop) => ended,
            error = self.receive(&mut *receiver) => Ended::Lost(error),
        }
    }

    async fn receive(&self, receiver: &mut dyn PacketReceiver) -> BusError {
        loop {
            match timeout(MAX_SILENCE, receiver.next()).await {
                Err(_) => return BusError("nothing comes any more".into()),
                Ok(None) => return BusError("the connection was lost".into()),
                Ok(Some(packet)) => {
                    let Some((from, messages)) = unpack(&packet) else { continue };
                    if from != self.id {
                        messages.into_iter().for_each(|message| self.listener.heard(from, message));
                    }
                }
            }
        }
    }

    async fn send(&self, sender: &mut dyn PacketSender, stop: &CancellationToken) -> Ended {
        let mut beat = interval(BEAT);
        loop {
            let (mut messages, stopped) = tokio::select! {
                () = self.outbox.filled() => {
                    tokio::time::sleep(BATCH_TIME).await;
                    (self.outbox.take(), false)
                }
                _ = beat.tick() => {
                    // After what waits: whoever compares must have been told.
                    let mut messages = self.outbox.take();
                    messages.push(Message::Alive);
                    messages.extend(self.listener.rosters());
                    (messages, false)
                }
                () = stop.cancelled() => (self.outbox.take(), true),
            };
            let packets = pack(self.id, &std::mem::take(&mut messages));
            let time = if stopped { MAX_FAREWELL_TIME } else { MAX_SEND_TIME };
            if !packets.is_empty() {
                match timeout(time, sender.send(packets)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Ended::Lost(error),
                    Err(_) => return Ended::Lost(BusError("messages do not leave".into())),
                }
            }
            if stopped {
                return Ended::Stopped;
            }
        }
    }
}

/// A time between three and five quarters of this one: what many instances do now and then is not done by all at once.
#[must_use]
pub fn jittered(time: Duration, random: &dyn Random) -> Duration {
    let mut byte = [0];
    random.fill(&mut byte);
    time.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
}
