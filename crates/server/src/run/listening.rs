//! The sockets that the server listens on, and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::StartError;
use super::tasks::Tasks;
use crate::config::Config;
use crate::net;
use crate::net::tls::{Tls, Upkeep};

/// Sockets that are bound and take nobody yet.
pub(super) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    redirect: Option<TcpListener>,
    tls: Option<(Arc<Tls>, Upkeep)>,
}

/// Sockets that take clients.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) redirect_address: Option<SocketAddr>,
    /// Ends when the last connection has.
    pub(super) accepting: JoinHandle<()>,
}

impl Listening {
    /// Binds what the settings name, and loads the certificate.
    pub(super) async fn open(config: &Config) -> Result<Self, StartError> {
        let wanted = config.address();
        let listener = bind(wanted).await?;
        let address = listener.local_addr().unwrap_or(wanted);
        let tls = Tls::open(config).map_err(StartError::Tls)?;
        let redirect = match config.redirect_address() {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { listener, address, redirect, tls })
    }

    /// Begins to take clients. `watch` sees to it that what is refused to those without TLS is logged as well.
    pub(super) fn serve(
        self,
        config: &Config,
        router: Router,
        tasks: &Tasks,
        watch: impl FnOnce(Router) -> Router,
    ) -> Serving {
        let tls = self.tls.map(|(tls, upkeep)| {
            tasks.tracker.spawn(upkeep.run(tasks.stop.clone()));
            tls
        });
        let redirect_address = self.redirect.as_ref().and_then(|listener| listener.local_addr().ok());
        if let (Some(listener), Some(tls)) = (self.redirect, &tls) {
            let port = config.tls.http_redirect_to_port.unwrap_or(self.address.port());
            let router = watch(net::redirect::router(Arc::clone(tls), port));
            let (stop, tracker) = (tasks.stop.clone(), tasks.tracker.clone());
            let most = net::redirect::MAX_CONNECTIONS;
            tasks.tracker.spawn(net::listen::serve(listener, router, None, most, stop, tracker));
        }
        let (stop, tracker) = (tasks.stop.clone(), tasks.tracker.clone());
        let serve = net::listen::serve(self.listener, router, tls, config.max_connections, stop, tracker);
        Serving { address: self.address, redirect_address, accepting: tokio::spawn(serve) }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|reason| StartError::Listen { address, reason })
}
