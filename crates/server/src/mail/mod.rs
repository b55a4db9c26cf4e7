//! Sending letters: a queue that nobody waits for, and a task that works it off.

mod letter;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use lattice_auth::mailer::{Letter, Mailer};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

pub(crate) use letter::escape;
pub use settings::MailSettings;

use settings::{Links, Smtp, SmtpTls};

/// Letters that may wait. More are dropped: whoever misses one asks again.
const MAX_WAITING: usize = 1_000;
/// Letters that are on their way at the same time.
const MAX_SENDING: usize = 4;
/// Tries of one letter.
const MAX_TRIES: u32 = 4;
/// The pause before the second try; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// How long the mail server may take for a step.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(20);
/// How long what still waits may take at the end.
const MAX_FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Why letters cannot be sent: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("cannot send mail: {0}")]
pub struct MailError(String);

/// Takes letters and sends them.
pub struct Mail {
    queue: mpsc::Sender<Letter>,
}

/// Works the queue off.
pub struct Post {
    waiting: Mutex<mpsc::Receiver<Letter>>,
    way: Way,
    app: String,
    links: Links,
}

enum Way {
    Smtp(Box<Sender>),
    Log,
}

/// Speaks to a mail server.
struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: lettre::message::Mailbox,
}

/// The queue, and the task for it.
pub type Opened = (Arc<Mail>, Arc<Post>);

impl Mailer for Mail {
    fn is_on(&self) -> bool {
        true
    }

    fn send(&self, letter: Letter) {
        if self.queue.try_send(letter).is_err() {
            tracing::warn!("too many letters wait for the mail server; one is dropped");
        }
    }
}

impl Mail {
    /// A queue and the task for it, if letters are to be sent.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(settings: &MailSettings) -> Result<Option<Opened>, MailError> {
        let Some(links) = settings.links().filter(|_| settings.is_on()) else { return Ok(None) };
        let way = match (&settings.smtp_url, &settings.mail_from) {
            (Some(url), Some(from)) => {
                let transport = transport(&Smtp::read(url).map_err(MailError)?)?;
                Way::Smtp(Box::new(Sender { transport, from: from.clone() }))
            }
            _ => {
                tracing::warn!(
                    "MAIL_TO_LOG: letters are logged with their links; whoever reads the log can take accounts over"
                );
                Way::Log
            }
        };
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let post = Post { waiting: Mutex::new(waiting), way, app: settings.app_name.clone(), links };
        Ok(Some((Arc::new(Self { queue }), Arc::new(post))))
    }
}

fn transport(smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let failed = |error: lettre::transport::smtp::Error| MailError(error.to_string());
    let builder = match smtp.tls {
        SmtpTls::Whole => AsyncSmtpTransport::<Tokio1Executor>::relay(&smtp.host).map_err(failed)?,
        SmtpTls::Upgraded => {
            AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&smtp.host).map_err(failed)?
        }
        SmtpTls::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host),
    };
    let builder = builder.timeout(Some(MAX_ANSWER_TIME));
    let builder = match smtp.port {
        Some(port) => builder.port(port),
        None => builder,
    };
    Ok(match &smtp.credentials {
        Some((user, password)) => {
            builder.credentials(Credentials::new(user.clone(), password.clone())).build()
        }
        None => builder.build(),
    })
}

impl Post {
    /// Sends letters until `stop` is cancelled, and then for a moment what still waits.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let workers: Vec<_> = (0..MAX_SENDING)
            .map(|_| {
                let (post, stop) = (Arc::clone(&self), stop.clone());
                tokio::spawn(async move { post.work(stop).await })
            })
            .collect();
        stop.cancelled().await;
        let rest = async {
            for worker in workers {
                let _ = worker.await;
            }
        };
        if tokio::time::timeout(MAX_FAREWELL_TIME, rest).await.is_err() {
            tracing::warn!("some letters could not be sent before the end");
        }
    }

    async fn work(&self, stop: CancellationToken) {
        loop {
            let letter = {
                let mut waiting = self.waiting.lock().await;
                tokio::select! {
                    biased;
                    letter = waiting.recv() => letter,
                    () = stop.cancelled() => None,
                }
            };
            let Some(letter) = letter else { return };
            self.deliver(&letter, &stop).await;
        }
    }

    /// Sends a letter. Neither its address nor its link is ever logged, but where that is the way.
    async fn deliver(&self, letter: &Letter, stop: &CancellationToken) {
        let Way::Smtp(sender) = &self.way else {
            let text = letter::plain(letter, &self.app, &self.links);
            tracing::warn!("letter to {}: {text}", letter.to);
            return;
        };
        let message = match letter::message(letter, &sender.from, &self.app, &self.links) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(%error, "a letter could not be written"),
        };
        let mut pause = FIRST_PAUSE;
        for tried in 1..=MAX_TRIES {
            let Err(error) = sender.transport.send(message.clone()).await else { return };
            if error.is_permanent() || tried == MAX_TRIES {
                return tracing::warn!(error = kind(&error), tried, "a letter could not be sent");
            }
            tracing::info!(error = kind(&error), tried, "a letter could not be sent; it is tried again");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause *= 4,
                () = stop.cancelled() => return tracing::warn!("a letter could not be sent before the end"),
            }
        }
    }
}

/// What kind of failure it was. What the server said may hold the address.
fn kind(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None if error.is_tls() => "TLS with the mail server failed".to_owned(),
        None => "the mail server could not be reached".to_owned(),
    }
}
