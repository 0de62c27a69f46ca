//! TLS between clients and servers: what a server shows, and what a client accepts.
//!
//! Promises: with certificates named on both ends nothing goes over the network in the clear, and a client talks to a server of
//! the authority that it named, at the address that it named.
//! Leaves out: who may do what: whoever is let in may do everything.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

/// Where a server's certificates for its clients are. Relative to the configuration file; `{node}` in a name stands for the
/// node's number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsTls {
    /// The server's certificate. It is to name the address that clients use.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// The authority of the clients' certificates: those without one are refused. Without it, clients are not asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl ClientsTls {
    pub(super) fn settle(&mut self, at: impl Fn(&str) -> PathBuf) {
        for file in [&mut self.cert, &mut self.key] {
            *file = at(file).to_string_lossy().into_owned();
        }
        self.ca = self.ca.take().map(|ca| at(&ca.to_string_lossy()));
    }

    pub(super) fn read(&self) -> anyhow::Result<ServerTlsConfig> {
        let tls = ServerTlsConfig::new().identity(identity(Path::new(&self.cert), Path::new(&self.key))?);
        Ok(match &self.ca {
            Some(ca) => tls.client_ca_root(certificate(ca)?),
            None => tls,
        })
    }
}

/// What a client accepts, and shows.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    // The names within clap are longer than the flags: these go with commands that have a `key` of their own.
    /// The certificate (PEM) of the authority whose servers are trusted. Without it, servers are spoken to in the clear.
    #[arg(id = "tls_ca", long = "ca", value_name = "FILE", env = "QUORATE_CA", global = true)]
    pub ca: Option<PathBuf>,
    /// A certificate to show to servers that ask for one.
    #[arg(
        id = "tls_cert",
        long = "cert",
        value_name = "FILE",
        env = "QUORATE_CERT",
        global = true,
        requires = "tls_ca",
        requires = "tls_key"
    )]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[arg(
        id = "tls_key",
        long = "cert-key",
        value_name = "FILE",
        env = "QUORATE_CERT_KEY",
        global = true,
        requires = "tls_cert"
    )]
    pub key: Option<PathBuf>,
}

impl ClientTls {
    /// The way to a server (`host:port`).
    ///
    /// # Errors
    /// When the address is none, or a file cannot be read.
    pub fn endpoint(&self, server: &str) -> anyhow::Result<Endpoint> {
        let address = |scheme| {
            let endpoint = Endpoint::from_shared(format!("{scheme}://{server}"));
            endpoint.with_context(|| format!("{server} is no address"))
        };
        let Some(ca) = &self.ca else { return Ok(address("http")?.tcp_nodelay(true)) };
        let mut tls = ClientTlsConfig::new().ca_certificate(certificate(ca)?);
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(identity(cert, key)?);
        }
        Ok(address("https")?.tls_config(tls)?.tcp_nodelay(true))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn certificate(path: &Path) -> anyhow::Result<Certificate> {
    Ok(Certificate::from_pem(read(path)?))
}

fn identity(cert: &Path, key: &Path) -> anyhow::Result<Identity> {
    Ok(Identity::from_pem(read(cert)?, read(key)?))
}
