//! Offers in the style of real endpoints (`endpoints/README.md` names the sources), and the answer that
//! each has to get.

use std::path::PathBuf;

use broletto_sip::sdp::{
    self, AudioCodec, Description, Encryption, EncryptionPolicy, Fingerprint, FloorRole, FloorTransport,
    H264Profile, LegMedia, Local, LocalFloor, LocalStream, Policy, Refusal, SdpError, SrtpSuite,
};
use proptest::prelude::*;

fn local() -> Local {
    let stream = |port: u16| LocalStream {
        port,
        rtcp_port: port + 1,
        send: true,
        receive: true,
        key: [port as u8; 44],
    };
    Local {
        address: "203.0.113.1".parse().unwrap(),
        session_id: 11,
        session_version: 1,
        audio: Some(stream(40_000)),
        video: Some(stream(40_002)),
        slides: Some(stream(40_004)),
        floor: Some(LocalFloor { port: 40_006, conference: 77, user: 5, floor: 1 }),
        fingerprint: Some(Fingerprint { hash: "sha-256".to_owned(), bytes: vec![0xab; 32] }),
    }
}

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/endpoints").join(name);
    std::fs::read_to_string(&path).unwrap_or_default().replace('\n', "\r\n")
}

/// Answers the offer of an endpoint, compares, and gives what was agreed.
fn agreed(name: &str, policy: &Policy) -> LegMedia {
    let offer = offer(name);
    let family = Description::parse(&offer).unwrap().media_address().unwrap();
    let address = if family.is_ipv6() { "2001:db8::1".parse().unwrap() } else { local().address };
    let (leg, answer) = sdp::answer(&offer, policy, &Local { address, ..local() }).unwrap();
    let expected = file(&format!("{name}.answer.sdp"));
    assert!(answer == expected, "the answer to {name} is\n{}", answer.replace('\r', ""));
    leg
}

fn with(encryption: EncryptionPolicy) -> Policy {
    Policy { encryption, ..Policy::default() }
}

fn offer(name: &str) -> String {
    file(&format!("{name}.offer.sdp"))
}

#[test]
fn cisco_has_best_effort_keys_slides_and_bfcp_over_udp() {
    let leg = agreed("cisco", &Policy::default());
    let (audio, video, slides, floor) =
        (leg.audio.unwrap(), leg.video.unwrap(), leg.slides.unwrap(), leg.floor.unwrap());
    assert_eq!((audio.codec.codec, audio.codec.telephone_event), (AudioCodec::G722, Some(101)));
    assert!(matches!(
        audio.encryption,
        Encryption::Sdes { suite: SrtpSuite::AesCm128HmacSha1_80, tag: 1, .. }
    ));
    assert_eq!(audio.remote_rtcp, Some("192.0.2.20:16921".parse().unwrap()));
    assert_eq!((video.codec.payload_type, video.codec.packetization_mode), (126, 1));
    assert_eq!(video.codec.profile, H264Profile::Baseline);
    assert!(video.codec.peer.fits(1920, 1080, 30) && !video.codec.peer.fits(1920, 1080, 60));
    assert_eq!(video.bitrate_bps_max, Some(6_000_000));
    assert!(video.feedback.pli && video.feedback.fir && video.feedback.tmmbr && !video.feedback.nack);
    assert_eq!((slides.line, slides.label.as_deref()), (3, Some("12")));
    assert_eq!((floor.role, floor.transport, floor.conference), (FloorRole::Server, FloorTransport::Udp, 77));
}

#[test]
fn poly_offers_twins_and_the_encrypted_one_is_taken() {
    let leg = agreed("poly", &Policy::default());
    let (audio, video, slides, floor) =
        (leg.audio.unwrap(), leg.video.unwrap(), leg.slides.unwrap(), leg.floor.unwrap());
    assert_eq!((audio.line, video.line, slides.line), (0, 2, 5));
    assert!(matches!(audio.encryption, Encryption::Sdes { .. }));
    assert_eq!(video.codec.packetization_mode, 1);
    assert!(video.codec.peer.fits(1280, 720, 60));
    assert_eq!((floor.transport, floor.role, floor.active), (FloorTransport::Tcp, FloorRole::Server, false));
    // Whoever wants no encryption gets the other twin.
    let (leg, answer) = sdp::answer(&offer("poly"), &with(EncryptionPolicy::Off), &local()).unwrap();
    assert_eq!((leg.audio.unwrap().line, leg.video.unwrap().line), (1, 3));
    assert!(answer.contains("m=audio 0 RTP/SAVP") && !answer.contains("crypto"));
    assert!(leg.slides.is_none() && leg.floor.is_none(), "its slides come encrypted only");
}

#[test]
fn yealink_has_opus_and_a_high_profile_that_browsers_do_not_decode() {
    let leg = agreed("yealink", &Policy::default());
    let (audio, video, slides) = (leg.audio.unwrap(), leg.video.unwrap(), leg.slides.unwrap());
    assert_eq!((audio.codec.codec, audio.codec.payload_type), (AudioCodec::Opus, 106));
    assert_eq!((audio.codec.telephone_event, audio.codec.telephone_event_clock_hz), (Some(101), 8_000));
    assert_eq!(audio.codec.opus.bitrate_bps_max, Some(64_000));
    assert_eq!(audio.encryption, Encryption::None);
    // Baseline is offered in packetization mode 0 only, to which nothing can be forwarded.
    assert_eq!((video.codec.profile, video.codec.payload_type), (H264Profile::Main, 108));
    assert!(slides.send && !slides.receive && !slides.held);
    let transcoding = Policy { h264: vec![H264Profile::High, H264Profile::Main], ..Policy::default() };
    let (leg, _) = sdp::answer(&offer("yealink"), &transcoding, &local()).unwrap();
    assert_eq!(leg.video.unwrap().codec.payload_type, 107);
    let mandatory = with(EncryptionPolicy::Mandatory);
    assert_eq!(sdp::answer(&offer("yealink"), &mandatory, &local()), Err(Refusal::NoMedia));
}

#[test]
fn a_phone_with_compulsory_srtp_over_ipv6() {
    let leg = agreed("yealink-phone", &with(EncryptionPolicy::Mandatory));
    let audio = leg.audio.unwrap();
    assert_eq!(audio.remote, Some("[2001:db8::40]:11784".parse().unwrap()));
    assert!(leg.video.is_none() && leg.slides.is_none() && leg.floor.is_none());
    let off = sdp::answer(&offer("yealink-phone"), &with(EncryptionPolicy::Off), &local());
    assert_eq!(off, Err(Refusal::NoMedia));
    let without = Policy { sdes: false, ..with(EncryptionPolicy::BestEffort) };
    assert_eq!(sdp::answer(&offer("yealink-phone"), &without, &local()), Err(Refusal::NoMedia));
}

#[test]
fn lifesize_puts_video_first_and_opens_the_floor_connection() {
    let leg = agreed("lifesize", &Policy::default());
    let (audio, video, slides, floor) =
        (leg.audio.unwrap(), leg.video.unwrap(), leg.slides.unwrap(), leg.floor.unwrap());
    assert_eq!((video.line, audio.line, slides.line), (0, 1, 3));
    assert_eq!((audio.codec.codec, audio.codec.packet_ms), (AudioCodec::G722, 20));
    assert_eq!(video.codec.profile, H264Profile::ConstrainedBaseline);
    assert!(video.codec.peer.fits(1280, 720, 60) && !video.codec.peer.fits(1920, 1080, 25));
    assert_eq!(video.bitrate_bps_max, Some(1_856_000));
    assert!(!floor.active);
    assert_eq!(floor.remote, "192.0.2.50:60006".parse().unwrap());
}

#[test]
fn avaya_contradicts_itself_in_bandwidth_and_offers_keys_as_a_capability() {
    let leg = agreed("avaya", &Policy::default());
    let video = leg.video.unwrap();
    assert_eq!((video.bitrate_bps_max, leg.bitrate_bps_max), (Some(1_920_000), Some(1_984_000)));
    assert!(video.feedback.pli && video.feedback.fir && !video.feedback.tmmbr);
    assert_eq!(leg.audio.unwrap().encryption, Encryption::None);
    assert!(leg.slides.is_none() && leg.floor.is_none());
}

#[test]
fn s4_rtcp_goes_to_the_host_of_the_media() {
    let offer =
        |rtcp: &str| format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp:{rtcp}\r\n");
    for (rtcp, address) in [
        ("4009", "192.0.2.1:4009"),
        ("4009 IN IP4 198.51.100.66", "192.0.2.1:4009"),
        ("0", "192.0.2.1:4001"),
        ("x", "192.0.2.1:4001"),
    ] {
        let (leg, _) = sdp::answer(&offer(rtcp), &Policy::default(), &local()).unwrap();
        assert_eq!(leg.audio.unwrap().remote_rtcp, Some(address.parse().unwrap()), "{rtcp}");
    }
}

#[test]
fn s4_where_encryption_is_mandatory_no_plain_stream_is_agreed() {
    let mandatory = with(EncryptionPolicy::Mandatory);
    for name in ["cisco", "poly", "yealink-phone"] {
        let (leg, _) = sdp::answer(&offer(name), &mandatory, &local()).unwrap();
        let streams = [
            leg.audio.map(|s| s.encryption),
            leg.video.map(|s| s.encryption),
            leg.slides.map(|s| s.encryption),
        ];
        assert!(streams.iter().flatten().all(|encryption| *encryption != Encryption::None), "{name}");
    }
    for name in ["yealink", "lifesize", "avaya"] {
        assert_eq!(sdp::answer(&offer(name), &mandatory, &local()), Err(Refusal::NoMedia), "{name}");
    }
}

#[test]
fn hold_is_said_in_three_ways() {
    let policy = Policy::default();
    let base =
        "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    for (offer, send, receive, held, said) in [
        (base.to_owned(), true, true, false, "a=sendrecv"),
        (format!("{base}a=sendonly\r\n"), false, true, true, "a=recvonly"),
        (format!("{base}a=inactive\r\n"), false, false, true, "a=inactive"),
        (format!("{base}a=recvonly\r\n"), true, false, false, "a=sendonly"),
        (base.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"), false, true, true, "a=recvonly"),
        (base.replace("t=0 0", "t=0 0\r\na=sendonly"), false, true, true, "a=recvonly"),
    ] {
        let (leg, answer) = sdp::answer(&offer, &policy, &local()).unwrap();
        let audio = leg.audio.unwrap();
        assert_eq!((audio.send, audio.receive, audio.held), (send, receive, held), "{offer}");
        assert!(answer.contains(said), "{answer}");
    }
}

#[test]
fn dtls_is_preferred_and_passive() {
    let fingerprint = ["CD"; 32].join(":");
    let offer = |setup: &str| {
        format!(
            "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\na=fingerprint:SHA-256 {fingerprint}\r\n\
             m=audio 4000 UDP/TLS/RTP/SAVP 8\r\na=setup:{setup}\r\na=rtcp-mux\r\na=mid:0\r\n"
        )
    };
    let mandatory = with(EncryptionPolicy::Mandatory);
    for (setup, answered) in [("actpass", "passive"), ("active", "passive"), ("passive", "active")] {
        let (leg, answer) = sdp::answer(&offer(setup), &mandatory, &local()).unwrap();
        let audio = leg.audio.unwrap();
        assert!(
            matches!(&audio.encryption, Encryption::Dtls { fingerprints, .. } if fingerprints[0].bytes == [0xcd; 32])
        );
        assert!(
            answer.contains(&format!("a=setup:{answered}\r\n"))
                && answer.contains("a=fingerprint:sha-256 AB:")
        );
        assert!(answer.contains("a=rtcp-mux") && answer.contains("a=mid:0"));
        assert_eq!(audio.remote_rtcp, audio.remote);
    }
    for offer in [offer("holdconn"), offer("actpass").replace("SHA-256", "sha-1")] {
        assert_eq!(sdp::answer(&offer, &mandatory, &local()), Err(Refusal::NoMedia));
    }
}

#[test]
fn nothing_is_agreed_where_nothing_fits() {
    let line = |line: &str| format!("v=0\r\nc=IN IP4 192.0.2.1\r\n{line}\r\n");
    for (offer, refusal) in [
        (line("m=audio 4000 RTP/AVP 18"), Refusal::NoMedia),
        (line("m=audio 0 RTP/AVP 8"), Refusal::NoMedia),
        (line("m=audio 4000 RTP/SAVP 8"), Refusal::NoMedia),
        (line("m=audio 4000 udp 8"), Refusal::NoMedia),
        (line("m=message 4000 TCP/MSRP *"), Refusal::NoMedia),
        ("v=0\r\nm=audio 4000 RTP/AVP 8\r\n".to_owned(), Refusal::NoMedia),
        ("v=0\r\n".to_owned(), Refusal::NoMedia),
        (line("m=audio"), Refusal::Malformed(SdpError::Media)),
        ("hello".to_owned(), Refusal::Malformed(SdpError::Version)),
    ] {
        assert_eq!(sdp::answer(&offer, &Policy::default(), &local()), Err(refusal), "{offer}");
    }
    assert_eq!((Refusal::NoMedia.status(), Refusal::Malformed(SdpError::Version).status()), (488, 400));
}

/// The other side of a call of ours.
fn remote() -> Local {
    Local { address: "192.0.2.99".parse().unwrap(), session_id: 99, ..local() }
}

#[test]
fn an_offer_of_ours_is_agreed_on_by_both_sides() {
    for encryption in [EncryptionPolicy::Off, EncryptionPolicy::BestEffort, EncryptionPolicy::Mandatory] {
        for (sdes, dtls) in [(true, false), (false, true), (true, true)] {
            let policy = Policy { encryption, sdes, dtls, ..Policy::default() };
            let offered = sdp::offer(&policy, &local());
            let (theirs, answer) = sdp::answer(&offered.sdp, &policy, &remote()).unwrap();
            let ours = offered.accept(&answer).unwrap();
            let (audio, other) = (ours.audio.unwrap(), theirs.audio.unwrap());
            assert_eq!(audio.codec.codec, AudioCodec::Opus);
            assert_eq!(audio.codec.payload_type, other.codec.payload_type_received);
            assert_eq!(audio.remote, Some("192.0.2.99:40000".parse().unwrap()));
            match (&audio.encryption, &other.encryption) {
                (
                    Encryption::Sdes { send, receive, suite, .. },
                    Encryption::Sdes { send: their_send, receive: their_receive, suite: their_suite, .. },
                ) => {
                    assert_eq!((send, receive, suite), (their_receive, their_send, their_suite));
                    assert!(sdes && !dtls && encryption != EncryptionPolicy::Off);
                }
                (Encryption::Dtls { role, .. }, Encryption::Dtls { role: their_role, .. }) => {
                    assert!(role != their_role && dtls && encryption != EncryptionPolicy::Off);
                }
                (Encryption::None, Encryption::None) => assert_eq!(encryption, EncryptionPolicy::Off),
                other => panic!("{other:?}"),
            }
            assert_eq!(ours.slides.unwrap().codec.packetization_mode, 1);
            assert!(
                theirs.floor.is_some_and(|floor| floor.role == FloorRole::Client && floor.conference == 77)
            );
        }
    }
}

#[test]
fn an_answer_that_answers_something_else_is_refused() {
    let policy = with(EncryptionPolicy::Mandatory);
    let offered = sdp::offer(&Policy { dtls: false, ..policy.clone() }, &local());
    let (_, answer) = sdp::answer(&offered.sdp, &Policy { dtls: false, ..policy }, &remote()).unwrap();
    assert!(offered.accept(&answer).is_ok());
    let other = Err(Refusal::Malformed(SdpError::OtherLines));
    assert_eq!(offered.accept(&answer.replace("m=audio", "m=video")), other);
    assert_eq!(offered.accept(answer.split("m=application").next().unwrap()), other);
    assert_eq!(offered.accept(&format!("{answer}m=audio 1 RTP/AVP 0\r\n")), other);
    // A tag that was offered for another suite, and no key at all where there must be one.
    assert_eq!(offered.accept(&answer.replace("a=crypto:1", "a=crypto:3")), Err(Refusal::NoMedia));
    let plain: String =
        answer.lines().filter(|line| !line.contains("crypto")).map(|line| format!("{line}\r\n")).collect();
    assert_eq!(offered.accept(&plain), Err(Refusal::NoMedia));
}

fn mutated() -> impl Strategy<Value = String> {
    let names = ["cisco", "poly", "yealink", "yealink-phone", "lifesize", "avaya"];
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..4), 0..16);
    (prop::sample::select(names.to_vec()), edits).prop_map(|(name, edits)| {
        let offer = offer(name);
        let mut lines: Vec<String> = offer.lines().map(str::to_owned).collect();
        for (at, other, kind) in edits {
            let (at, other) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => lines.swap(at, other),
                1 => lines[at] = lines[other].clone(),
                2 => {
                    let cut = other % (lines[at].len() + 1);
                    lines[at].truncate(cut);
                }
                _ => lines[at] = lines[at].replace(char::from(b'0' + (other % 10) as u8), "99999999999"),
            }
        }
        lines.iter().map(|line| format!("{line}\r\n")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An answer can be read, has the lines of its offer, and nothing unencrypted where that is mandatory.
    #[test]
    fn answers_to_mutated_offers_are_well_formed(offer in mutated(), mandatory in any::<bool>()) {
        let policy = if mandatory { with(EncryptionPolicy::Mandatory) } else { Policy::default() };
        let Ok((leg, answer)) = sdp::answer(&offer, &policy, &local()) else { return Ok(()) };
        prop_assert!(Description::parse(&answer).is_ok(), "{}", answer);
        let kinds = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix("m=")).map(|line| line.split(' ').next().unwrap().to_ascii_lowercase()).collect()
        };
        prop_assert_eq!(kinds(&answer), kinds(&offer.lines().map(|line| format!("{}\n", line.trim())).collect::<String>()));
        if mandatory {
            let encryptions = [leg.audio.map(|s| s.encryption), leg.video.map(|s| s.encryption), leg.slides.map(|s| s.encryption)];
            prop_assert!(!encryptions.contains(&Some(Encryption::None)));
        }
    }

    #[test]
    fn whatever_text_comes_nothing_panics(text in "(v=0\r\n)?(m=(audio|video|application) [0-9]{1,5} [A-Z/]{1,20} [0-9 *]{0,20}\r\n|[a-z]=[ -~]{0,40}\r\n){0,12}") {
        let _ = sdp::answer(&text, &Policy::default(), &local());
        let _ = sdp::offer(&Policy::default(), &local()).accept(&text);
    }
}
