//! Certificates: the self-signed one of the web page, and those that nodes and signaling know each
//! other by (C1).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Https, given};
use crate::secrets::write_private;

const CA_NAME: &str = "Broletto cluster CA";

/// One certificate with its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The files of the web page's certificate: the configured ones, or a self-signed pair in
/// `data_dir`, made if it is not there.
pub fn web_certificate(https: &Https, data_dir: &Path) -> anyhow::Result<PemFiles> {
    if let (Some(certificate), Some(key)) = (given(&https.certificate), given(&https.key)) {
        return Ok(PemFiles { certificate: certificate.to_owned(), key: key.to_owned() });
    }
    let files =
        PemFiles { certificate: data_dir.join("https-certificate.pem"), key: data_dir.join("https-key.pem") };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(crate::addresses::of_this_machine().iter().map(IpAddr::to_string));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named("Broletto (self-signed)");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    replace(&files.key, &key.serialize_pem())?;
    std::fs::write(&files.certificate, certificate.pem())?;
    Ok(files)
}

/// Makes the CA in `dir` if it is not there, and a certificate signed by it under `name`, valid
/// for the host names and addresses in `hosts`.
pub fn make_cluster_certificate(dir: &Path, name: &str, hosts: &[String]) -> anyhow::Result<PemFiles> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        bail!("a name is letters, digits, dots and dashes, not {name:?}");
    }
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let ca = cluster_ca(dir)?;
    let files = PemFiles {
        certificate: dir.join(format!("{name}-certificate.pem")),
        key: dir.join(format!("{name}-key.pem")),
    };
    if files.key.exists() {
        bail!("{} is there already", files.key.display());
    }
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = named(name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &ca)?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    std::fs::write(&files.certificate, certificate.pem())?;
    Ok(files)
}

fn cluster_ca(dir: &Path) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (certificate_file, key_file) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if key_file.exists() {
        let pem = std::fs::read_to_string(&key_file)
            .with_context(|| format!("{} cannot be read", key_file.display()))?;
        // Name and key are all that an issuer is, so the certificate need not be read.
        return Ok(Issuer::new(params, KeyPair::from_pem(&pem)?));
    }
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_private(&key_file, key.serialize_pem().as_bytes())?;
    std::fs::write(&certificate_file, certificate.pem())?;
    Ok(Issuer::new(params, key))
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// As [`write_private`], over what is left of an earlier attempt.
fn replace(path: &Path, contents: &str) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    write_private(path, contents.as_bytes())
}

/// TLS for browsers.
pub fn web_tls(files: &PemFiles) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, key) = read(files)?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and {}", files.certificate.display(), files.key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS towards a node: it must show a certificate of `ca`, and is shown ours.
pub fn node_tls(ca: &Path, files: &PemFiles) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| ca.display().to_string())?;
    }
    let (chain, key) = read(files)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .with_context(|| format!("{} and {}", files.certificate.display(), files.key.display()))?;
    Ok(Arc::new(config))
}

fn read(files: &PemFiles) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("{} holds no private key in PEM form", files.key.display()))?;
    Ok((certificates(&files.certificate)?, key))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} cannot be read as PEM", file.display()))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate in PEM form", file.display());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_web_certificate_is_made_once() {
        let dir = Scratch::new("web-certificate");
        let files = web_certificate(&Https::default(), dir.path()).expect("made");
        let pem = std::fs::read_to_string(&files.certificate).expect("there");
        web_certificate(&Https::default(), dir.path()).expect("kept");
        assert_eq!(std::fs::read_to_string(&files.certificate).expect("there"), pem);
        crate::install_crypto();
        web_tls(&files).expect("rustls takes it");
    }

    #[test]
    fn c1_certificates_of_one_cluster_share_the_ca() {
        let dir = Scratch::new("cluster");
        let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let node = make_cluster_certificate(dir.path(), "node", &hosts).expect("made");
        let ca = std::fs::read_to_string(dir.path().join("ca.pem")).expect("there");
        let signaling = make_cluster_certificate(dir.path(), "signaling", &hosts).expect("made");
        assert_eq!(std::fs::read_to_string(dir.path().join("ca.pem")).expect("there"), ca);
        crate::install_crypto();
        node_tls(&dir.path().join("ca.pem"), &signaling).expect("rustls takes it");

        let again = make_cluster_certificate(dir.path(), "node", &hosts).expect_err("not overwritten");
        assert!(again.to_string().contains("is there already"), "{again}");
        assert!(make_cluster_certificate(dir.path(), "../x", &hosts).is_err());
        assert!(node_tls(&node.key, &node).is_err(), "a key is no CA");
    }
}
