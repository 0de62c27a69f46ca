//! A certificate authority for development: enough to try mutual TLS on one machine.
//!
//! Leaves out: passphrases, revocation and expiry. Whoever holds `ca-key.pem` can be any node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::tls::Tls;
use crate::types::NodeId;

/// Where a node's files are in a directory made by [`dev_certs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
}

impl CertFiles {
    /// The files of `node` in `dir`.
    pub fn of(dir: &Path, node: NodeId) -> Self {
        CertFiles {
            ca: dir.join("ca.pem"),
            certificate: dir.join(format!("node-{}.pem", node.0)),
            key: dir.join(format!("node-{}-key.pem", node.0)),
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(&self) -> io::Result<Tls> {
        Tls::from_files(&self.ca, &self.certificate, &self.key)
    }
}

/// Makes a certificate authority in `dir`, unless there is one, and a certificate for each of `nodes` that has none.
///
/// The files are `ca.pem`, `ca-key.pem`, and for node 1 `node-1.pem` and `node-1-key.pem`. Private keys can be read by
/// their owner only. A node's certificate names it, and this machine's loopback addresses.
///
/// # Errors
/// When a file cannot be read or written, or the authority's key is not one. Nothing that was there before is changed.
pub fn dev_certs(dir: &Path, nodes: &[NodeId]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let authority = authority(dir)?;
    for node in nodes {
        let files = CertFiles::of(dir, *node);
        let key = key_at(&files.key)?;
        if !files.certificate.exists() {
            let certificate = node_params(*node)?.signed_by(&key, &authority).map_err(io::Error::other)?;
            fs::write(&files.certificate, certificate.pem())?;
        }
    }
    Ok(())
}

/// The authority in `dir`: the one that is there, or a new one.
fn authority(dir: &Path) -> io::Result<Issuer<'static, KeyPair>> {
    let (certificate, key) = (dir.join("ca.pem"), key_at(&dir.join("ca-key.pem"))?);
    let params = authority_params();
    if !certificate.exists() {
        fs::write(&certificate, params.self_signed(&key).map_err(io::Error::other)?.pem())?;
    }
    // Of its certificate a signature needs the name, which is always the same, and the key.
    Ok(Issuer::new(params, key))
}

/// The private key in a file, which is made if there is none. Never readable by others, not even for a moment.
fn key_at(path: &Path) -> io::Result<KeyPair> {
    if path.exists() {
        return KeyPair::from_pem(&fs::read_to_string(path)?).map_err(io::Error::other);
    }
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    Ok(key)
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Quorate development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn node_params(node: NodeId) -> io::Result<CertificateParams> {
    let names = [Tls::node_name(node), "localhost".into()];
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    params.subject_alt_names.extend(loopback.map(SanType::IpAddress));
    params.distinguished_name = named(&Tls::node_name(node));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn certificates_name_their_nodes_and_what_is_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        dev_certs(dir.path(), &[NodeId(1), NodeId(2)]).unwrap();
        let one = CertFiles::of(dir.path(), NodeId(1));
        let before = fs::read(&one.certificate).unwrap();
        dev_certs(dir.path(), &[NodeId(1), NodeId(3)]).unwrap();
        assert_eq!(fs::read(&one.certificate).unwrap(), before);
        for node in [1, 2, 3].map(NodeId) {
            let files = CertFiles::of(dir.path(), node);
            let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
            assert!(Tls::names(&certificate, node) && !Tls::names(&certificate, NodeId(node.0 + 1)));
            files.read().unwrap();
        }
    }

    #[test]
    fn private_keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        dev_certs(dir.path(), &[NodeId(1)]).unwrap();
        for name in ["ca-key.pem", "node-1-key.pem"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
