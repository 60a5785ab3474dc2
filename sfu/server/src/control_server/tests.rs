use std::net::Ipv4Addr;

use broletto_control::{Epoch, Frame, Request, RequestFrame, RequestId, Response, VERSION};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;

use super::*;
use crate::{NodeHandle, SfuConfig, start};

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for localhost and its key, as PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("broletto-control-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for certificates");
        Files(folder)
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).expect("a file");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn control(files: &Files, authority: &Authority) -> ControlConfig {
    let (certificate, key) = authority.sign();
    ControlConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        certificate: files.write("node.pem", &certificate),
        private_key: files.write("node-key.pem", &key),
        client_ca: files.write("ca.pem", &authority.certificate),
    }
}

fn node(name: &str, authority: &Authority, udp_port_base: u16) -> NodeHandle {
    let files = Files::new(name);
    start(SfuConfig {
        name: name.into(),
        workers: 1,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        udp_port_base,
        control: Some(control(&files, authority)),
        ..SfuConfig::default()
    })
    .expect("the ports are free")
}

type ClientSocket = WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

async fn connect(
    node: &NodeHandle,
    authority: &Authority,
    identity: Option<(String, String)>,
) -> Result<ClientSocket, WebSocketError> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).expect("PEM");
    roots.add(root).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![certificate], key).expect("an identity")
        }
    };
    let stream = TcpStream::connect(node.control_address().expect("it listens")).await?;
    let name = "localhost".try_into().expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(client_async("wss://localhost/", stream).await?.0)
}

fn request(id: u64, request: Request) -> Message {
    let frame = Frame::Request(RequestFrame { id: RequestId(id), epoch: Epoch(1), request });
    Message::text(codec::encode(&frame))
}

/// The next frame; pings and pongs are passed over.
async fn next(socket: &mut ClientSocket) -> Option<Frame> {
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.expect("something comes");
        match message {
            Some(Ok(Message::Text(text))) => return Some(codec::decode(&text).expect("a frame")),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(_) | Err(_)) | None => return None,
        }
    }
}

#[tokio::test]
async fn c1_only_a_certificate_of_the_same_authority_is_let_in() {
    let (ours, others) = (Authority::new(), Authority::new());
    let node = node("c1", &ours, 22_000);
    for identity in [None, Some(others.sign())] {
        // With TLS 1.3 a client learns of its refusal when it reads for the first time.
        let refused = connect(&node, &ours, identity).await;
        assert!(refused.is_err(), "a stranger came in");
    }
    let mut socket = connect(&node, &ours, Some(ours.sign())).await.expect("one of ours comes in");
    socket.send(request(1, Request::Hello { version: VERSION })).await.expect("it is sent");
    let Some(Frame::Response(response)) = next(&mut socket).await else { panic!("hello is answered") };
    assert!(matches!(response.result, Ok(Response::Hello { workers: 1, .. })), "{response:?}");
    let refused = node.metrics().links_refused.with_label_values(&["handshake"]);
    assert_eq!(refused.get(), 2);
}

#[tokio::test]
async fn several_connections_are_served_and_a_broken_one_harms_none() {
    let authority = Authority::new();
    let node = node("several", &authority, 22_010);
    let identity = authority.sign();
    let mut first = connect(&node, &authority, Some(identity.clone())).await.expect("it comes in");
    let mut second = connect(&node, &authority, Some(identity)).await.expect("it comes in");
    first.send(Message::text("{}")).await.expect("it is sent");
    assert_eq!(next(&mut first).await, None, "what is no frame ends its connection");
    second.send(request(1, Request::Hello { version: VERSION + 1 })).await.expect("it is sent");
    let Some(Frame::Response(response)) = next(&mut second).await else { panic!("hello is answered") };
    assert!(matches!(response.result, Err(broletto_control::ControlError::Version { .. })));
    node.shutdown();
    assert_eq!(next(&mut second).await, None);
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_its_connection() {
    let authority = Authority::new();
    let node = node("long", &authority, 22_020);
    let mut socket = connect(&node, &authority, Some(authority.sign())).await.expect("it comes in");
    let _ = socket.send(Message::text("x".repeat(FRAME_BYTES_MAX + 1))).await;
    assert_eq!(next(&mut socket).await, None);
}

#[test]
fn a_wrong_file_is_one_sentence_that_names_the_key() {
    let files = Files::new("wrong");
    let authority = Authority::new();
    let config = control(&files, &authority);
    assert!(tls_config(&config).is_ok());
    let missing = || files.0.join("missing.pem");
    let table = [
        (ControlConfig { certificate: missing(), ..config.clone() }, "media.control.certificate: "),
        (ControlConfig { private_key: missing(), ..config.clone() }, "media.control.private_key: "),
        (
            ControlConfig { client_ca: files.write("empty.pem", ""), ..config.clone() },
            "media.control.client_ca: ",
        ),
        (
            ControlConfig { private_key: files.write("other.pem", &authority.sign().1), ..config.clone() },
            "media.control.certificate: ",
        ),
    ];
    for (config, key) in table {
        let error = tls_config(&config).expect_err(key).to_string();
        assert!(error.starts_with(key), "{error}");
    }
}
