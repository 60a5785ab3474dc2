//! The program as a test drives it: lines in, lines out, and packets through.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(arguments: &[&str]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_broletto-loadtest"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built with this test");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Program { child, input, output }
    }

    fn line(&mut self) -> String {
        self.output.next().expect("the program still runs").expect("its output is text")
    }

    fn order(&mut self, line: &str) -> String {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").expect("the program reads it");
        self.line()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_relay_obeys_its_input_and_ends_with_it() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("it is not zero");
    let to = server.local_addr().expect("it is bound").to_string();
    let mut relay =
        Program::start(&["relay", "--listen", "127.0.0.1:0", "--to", &to, "--delay-ms", "30", "--seed", "9"]);
    let ready = relay.line();
    let address = ready.strip_prefix("ready ").expect("the first line says where it listens");

    let client = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("it is not zero");
    client.connect(address).expect("any address can be connected to");
    let sent_at = Instant::now();
    client.send(b"ping").expect("loopback is there");
    let mut buffer = [0; 64];
    let (length, source) = server.recv_from(&mut buffer).expect("the relay passes it on");
    assert_eq!(&buffer[..length], b"ping");
    server.send_to(b"pong", source).expect("loopback is there");
    assert_eq!(client.recv(&mut buffer).expect("the relay passes it back"), 4);
    assert!(sent_at.elapsed() >= Duration::from_millis(60), "{:?}", sent_at.elapsed());

    assert_eq!(relay.order("down loss 1"), "ok down loss 1");
    server.send_to(b"lost", source).expect("loopback is there");
    assert!(client.recv(&mut buffer).is_err());
    assert!(relay.order("sideways loss 1").starts_with("error a direction is down or up"));
    assert!(relay.order("stats").contains("clients=1 refused=0 down passed=1 bytes=4 lost=1"));

    relay.input = None;
    assert!(relay.child.wait().expect("it can be waited for").success());
}
