//! Mutual TLS: both ends of a connection show a certificate of the cluster's authority that names their node.

use std::fmt;
use std::io;
use std::path::Path;

use rustls_pki_types::{CertificateDer, ServerName};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use webpki::EndEntityCert;

use crate::types::NodeId;

/// What a node shows to its peers, and what it wants to see of them.
#[derive(Clone)]
pub struct Tls {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// From files in PEM: the authority's certificate, this node's, and its private key. The node's certificate is to
    /// name it as [`Tls::node_name`] does, and to be good for both ends of a connection.
    ///
    /// # Errors
    /// When a file cannot be read. What is in it shows when it is used.
    pub fn from_files(ca: &Path, certificate: &Path, key: &Path) -> io::Result<Tls> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        Ok(Tls { ca: read(ca)?, certificate: read(certificate)?, key: read(key)? })
    }

    /// The name of a node in its certificate: a DNS name among the alternative names of the subject.
    pub fn node_name(node: NodeId) -> String {
        format!("node-{}.quorate", node.0)
    }

    /// For a connection to `peer`: no other node's certificate is accepted.
    pub(super) fn client(&self, peer: NodeId) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .domain_name(Self::node_name(peer))
    }

    /// For connections from any node of the cluster; which one it is, its hello says and [`Tls::names`] checks.
    pub(super) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .client_ca_root(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
    }

    /// Whether a certificate, already found to be of the right authority, is `node`'s.
    pub(super) fn names(certificate: &CertificateDer<'_>, node: NodeId) -> bool {
        let (Ok(certificate), Ok(name)) =
            (EndEntityCert::try_from(certificate), ServerName::try_from(Self::node_name(node)))
        else {
            return false;
        };
        certificate.verify_is_valid_for_subject_name(&name).is_ok()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
