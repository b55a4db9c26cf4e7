//! A tunnel into TLS, so that clients which speak none come to a server that speaks nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// Takes connections until it is dropped.
pub(crate) struct Tunnel {
    _runtime: Runtime,
    pub(crate) address: SocketAddr,
}

impl Tunnel {
    /// A tunnel to a server that has a certificate for `name`.
    pub(crate) fn to(server: SocketAddr, name: &str, config: ClientConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connector, name) = (TlsConnector::from(Arc::new(config)), name.to_owned());
        runtime.spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let (connector, name) = (connector.clone(), name.clone());
                tokio::spawn(async move {
                    let tcp = TcpStream::connect(server).await?;
                    tcp.set_nodelay(true)?;
                    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
                    let mut tls = connector.connect(name, tcp).await?;
                    copy_bidirectional(&mut plain, &mut tls).await.map(|_| ())
                });
            }
        });
        Self { _runtime: runtime, address }
    }
}
