//! Once its tables have grown, a stream that flows costs no allocation: neither where it comes in,
//! with losses, NACK and feedback, nor where it leaves, with its history and reports.
#![allow(clippy::disallowed_methods)]

mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use broletto_rtp::extension::{self, Extension, ExtensionIds, Values};
use broletto_rtp::feedback::{ArrivalRecorder, TransportFeedback};
use broletto_rtp::ntp::WallClock;
use broletto_rtp::packet::{self, Header};
use broletto_rtp::receive::{Arrival, ReceiveConfig, ReceiveStream};
use broletto_rtp::rtcp::{self, write};
use broletto_rtp::send::{SendConfig, SendStream, Sent};

const RTT: Duration = Duration::from_millis(40);
const SSRC: u32 = 7;

/// A stream at 1,000 packets a second of which every fiftieth is lost, and what it causes.
struct Flow {
    ids: ExtensionIds,
    receive: ReceiveStream,
    recorder: ArrivalRecorder,
    send: SendStream<Arc<[u8]>>,
    payload: Arc<[u8]>,
    wall: WallClock,
    numbers: Vec<u16>,
    resends: Vec<broletto_rtp::send::Resend<Arc<[u8]>>>,
    compound: Vec<u8>,
    feedback: TransportFeedback,
    feedbacks: u64,
}

impl Flow {
    fn new(now: Instant) -> Self {
        let mut ids = ExtensionIds::default();
        ids.set(Extension::TransportNumber, 3).expect("it is free");
        Flow {
            ids,
            receive: ReceiveStream::new(ReceiveConfig { ssrc: SSRC, clock_rate: 90_000, has_nack: true }),
            recorder: ArrivalRecorder::new(1),
            send: SendStream::new(SendConfig {
                ssrc: SSRC,
                clock_rate: 90_000,
                history_packets: 1_024,
                history_age: Duration::from_secs(2),
                resend_percent: 20,
                rtx_number: 1,
            }),
            payload: vec![0; 1_200].into(),
            wall: WallClock { instant: now, time: UNIX_EPOCH + Duration::from_secs(1_000_000) },
            numbers: Vec::with_capacity(256),
            resends: Vec::new(),
            compound: Vec::with_capacity(1_500),
            feedback: TransportFeedback::default(),
            feedbacks: 0,
        }
    }

    fn step(&mut self, at: u64, now: Instant) {
        let number = at as u16;
        let header = Header {
            marker: false,
            payload_type: 96,
            sequence_number: number,
            timestamp: 90 * at as u32,
            ssrc: SSRC,
        };
        let values = Values { transport_number: Some(number), ..Values::default() };
        let mut datagram = [0; 64];
        let length = header.write(&self.ids, &values, &mut datagram).expect("there is room");
        let sent = Sent { sequence_number: at, payload_bytes: self.payload.len() };
        self.send.note_captured(now, header.timestamp);
        self.send.handle_sent(sent, Some(self.payload.clone()), now);
        if !at.is_multiple_of(50) {
            let packet = packet::Packet::parse(&datagram[..length]).expect("it was written by us");
            let block = packet.extensions.expect("it has one");
            let read = extension::parse(&self.ids, block);
            self.recorder.note(SSRC, read.transport_number.expect("it is there"), now);
            let Header { sequence_number, timestamp, .. } = packet.header;
            let arrival = self.receive.handle_packet(sequence_number, timestamp, 1_200, now);
            assert!(matches!(arrival, Arrival::New(_)));
        }
        self.compound.clear();
        self.numbers.clear();
        self.receive.poll_nacks(RTT, now, &mut self.numbers);
        write::nack(&mut self.compound, 1, SSRC, self.numbers.iter().copied());
        if let Some(feedback) = self.recorder.poll(now) {
            write::transport_feedback(&mut self.compound, feedback);
            let blocks = self.receive.report(now);
            write::receiver_report(&mut self.compound, 1, blocks.as_slice());
            let report = self.send.sender_report(&self.wall, now).expect("some were sent");
            write::sender_report(&mut self.compound, &report, &[]);
        }
        self.hear(now);
    }

    /// The other end of the path.
    fn hear(&mut self, now: Instant) {
        for packet in rtcp::parse(&self.compound) {
            match packet.expect("it was written by us") {
                rtcp::Packet::Nack(nack) => {
                    self.resends.clear();
                    self.send.handle_nack(nack.numbers(), RTT, now, &mut self.resends);
                    for resend in &self.resends {
                        let number = resend.sequence_number as u16;
                        assert!(matches!(self.receive.handle_repair(number, now), Arrival::New(_)));
                    }
                }
                rtcp::Packet::TransportFeedback(feedback) => {
                    feedback.decode_into(&mut self.feedback).expect("it was written by us");
                    self.feedbacks += 1;
                }
                rtcp::Packet::ReceiverReport(report) => {
                    for block in report.blocks() {
                        self.send.handle_report_block(&block, &self.wall, now);
                    }
                }
                rtcp::Packet::SenderReport(report) => self.receive.handle_sender_report(report.report, now),
                other => panic!("{other:?} was not written"),
            }
        }
    }
}

#[test]
fn a_stream_that_flows_allocates_nothing() {
    let start = Instant::now();
    let mut flow = Flow::new(start);
    let run = |flow: &mut Flow, steps: std::ops::Range<u64>| {
        for at in steps {
            flow.step(at, start + Duration::from_millis(at));
        }
    };
    run(&mut flow, 1..10_000);
    let before = counting::allocations();
    run(&mut flow, 10_000..110_000);
    assert_eq!(counting::allocations() - before, 0);
    assert!(flow.receive.counters.repaired >= 2_000 && flow.feedbacks >= 900, "all of it happened");
    assert_eq!(flow.receive.counters.given_up, 0);
}
