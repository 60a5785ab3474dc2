//! The vectors of the RFCs, and what must hold whatever comes.

use proptest::prelude::*;

use super::*;

const PROFILES: [Profile; 4] =
    [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32];
const SSRC: u32 = 0xcafe_babe;
const HEADER_BYTES: usize = 12;

fn key(profile: Profile) -> MasterKey {
    let material: Vec<u8> = (1..).take(profile.key_bytes() + profile.salt_bytes()).collect();
    MasterKey::new(profile, &material).unwrap()
}

fn header(ssrc: u32, sequence_number: u64) -> Vec<u8> {
    let mut header = vec![0x80, 96];
    header.extend((sequence_number as u16).to_be_bytes());
    header.extend([0, 0, 0, 9]);
    header.extend(ssrc.to_be_bytes());
    header
}

fn seal(stream: &mut StreamSealer, sequence_number: u64, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut packet = header(stream.ssrc(), sequence_number);
    packet.extend(payload);
    let plain_length = packet.len();
    packet.resize(plain_length + TAG_BYTES_MAX, 0);
    let length = stream.seal_rtp(&mut packet, HEADER_BYTES, plain_length, sequence_number)?;
    packet.truncate(length);
    Ok(packet)
}

fn open(opener: &mut Opener, packet: &[u8]) -> Result<(u64, Vec<u8>), OpenError> {
    let mut out = vec![0; packet.len()];
    let opened = opener.open_rtp(packet, HEADER_BYTES, &mut out)?;
    Ok((opened.sequence_number, out[HEADER_BYTES..opened.length].to_vec()))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

// What the RFCs print.

/// RFC 3711 appendix B.3, of which B.2 is the use.
#[test]
fn session_keys_are_those_of_rfc_3711() {
    let material = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Profile::Aes128CmSha1_80, &material).unwrap();
    let derived = |label, length| {
        let mut out = vec![0; length];
        master.derive(label, &mut out);
        out
    };
    assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let long = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF722709\
                86371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(derived(1, 94), hex(long)[..94]);
}

/// RFC 3711 appendix B.2: the key stream, at its beginning and around block 0xff00.
#[test]
fn counter_mode_is_that_of_rfc_3711() {
    let key = raw::CounterKey::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap());
    let block = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    key.apply(block, &mut stream);
    let begin =
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream[..48], hex(begin));
    let end =
        "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44";
    assert_eq!(stream[0xfeff * 16..], hex(end));
    let mut elsewhere = vec![1; stream.len()];
    key.apply_to(block, &vec![0; stream.len()], &mut elsewhere);
    assert_eq!(stream, elsewhere);
}

/// RFC 2202 section 3, the two cases whose keys have 20 bytes.
#[test]
fn hmac_is_that_of_rfc_2202() {
    let hmac = raw::HmacSha1::new(&[0x0b; 20]);
    assert_eq!(hmac.tag(b"Hi ", b"There").to_vec(), hex("b617318655057264e28bc0b6fb378c8ef146be00"));
    let hmac = raw::HmacSha1::new(&[0xaa; 20]);
    assert_eq!(hmac.tag(&[0xdd; 50], &[]).to_vec(), hex("125d7342b9ac11cd91a39af48aa17b4f63f175d3"));
}

const GALLIA: &str = "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const RTP_HEADER: &str = "8040f17b8041f8d35501a0b2";
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                    deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

fn gcm(key_bytes: usize) -> cipher::Cipher {
    let key: Vec<u8> = (0..).take(key_bytes).collect();
    let salt = hex("517569642070726f2071756f").try_into().unwrap();
    cipher::Cipher::gcm(&key, salt)
}

/// RFC 7714 sections 16.1.1 and 16.2.1, whose keys are session keys.
#[test]
fn gcm_is_that_of_rfc_7714() {
    let sealed_128 = "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
                      899d7f27beb16a9152cf765ee4390cce";
    let sealed_256 = "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b\
                      7aa3db36dfffd6b0f9bb7878d7a76c13";
    for (key_bytes, sealed) in [(16, sealed_128), (32, sealed_256)] {
        let cipher = gcm(key_bytes);
        let mut packet = hex(&format!("{RTP_HEADER}{GALLIA}"));
        let plain = packet.clone();
        packet.extend([0; 16]);
        let claimed = cipher::Claimed { out: &mut packet, header_length: HEADER_BYTES, index: 0xf17b };
        cipher.seal_rtp(0x5501_a0b2, claimed);
        assert_eq!(packet, hex(&format!("{RTP_HEADER}{sealed}")));
        let mut opened = vec![0; plain.len()];
        cipher.open_rtp(0x5501_a0b2, 0xf17b, &packet, HEADER_BYTES, &mut opened).unwrap();
        assert_eq!(opened, plain);
    }
}

/// RFC 7714 sections 17.1 and 17.3.
#[test]
fn srtcp_gcm_is_that_of_rfc_7714() {
    let sealed_128 = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b\
                      c84aa45896cf4d2fc5abf87245d9eade800005d4";
    let sealed_256 = "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad\
                      1d1eb30c4446839f57ff6f6cb26ac3be800005d4";
    for (key_bytes, sealed) in [(16, sealed_128), (32, sealed_256)] {
        let cipher = gcm(key_bytes);
        let plain = hex(RTCP);
        let mut packet = plain.clone();
        cipher.seal_rtcp(0x4d61_7273, 0x5d4, &mut packet);
        assert_eq!(packet, hex(sealed));
        let mut opened = vec![0; plain.len()];
        cipher.open_rtcp(0x4d61_7273, 0x5d4, &packet, &mut opened).unwrap();
        assert_eq!(opened, plain);
    }
}

// Ownership.

#[test]
fn a_stream_has_one_owner_and_no_index_comes_twice() {
    let mut sealer = Sealer::new(key(Profile::AeadAes128Gcm));
    let mut first = sealer.stream(SSRC).unwrap();
    assert_eq!(sealer.stream(SSRC).unwrap_err(), StreamError::Taken { ssrc: SSRC });
    sealer.stream(SSRC + 1).unwrap();

    seal(&mut first, 70_000, b"a").unwrap();
    let reused = |sequence_number| SealError::Reused { sequence_number };
    assert_eq!(seal(&mut first, 70_000, b"b").unwrap_err(), reused(70_000));
    seal(&mut first, 69_999, b"it was late").unwrap();
    assert_eq!(seal(&mut first, 69_999, b"b").unwrap_err(), reused(69_999));
    assert_eq!(seal(&mut first, 60_000, b"it may have been").unwrap_err(), reused(60_000));
    drop(first);

    let mut second = sealer.stream(SSRC).unwrap();
    assert_eq!(seal(&mut second, 70_000, b"b").unwrap_err(), reused(70_000));
    assert_eq!(seal(&mut second, 69_998, b"b").unwrap_err(), reused(69_998));
    seal(&mut second, 70_001, b"b").unwrap();
}

#[test]
fn an_owner_that_was_leaked_stays_the_owner() {
    let mut sealer = Sealer::new(key(Profile::AeadAes128Gcm));
    std::mem::forget(sealer.stream(SSRC).unwrap());
    assert_eq!(sealer.stream(SSRC).unwrap_err(), StreamError::Taken { ssrc: SSRC });
}

#[test]
fn streams_are_bounded_and_none_is_forgotten() {
    let mut sealer = Sealer::new(key(Profile::AeadAes128Gcm));
    for ssrc in 0..STREAMS_MAX as u32 {
        seal(&mut sealer.stream(ssrc).unwrap(), 7, b"a").unwrap();
    }
    assert_eq!(sealer.stream(SSRC).unwrap_err(), StreamError::TooMany);
    assert!(seal(&mut sealer.stream(0).unwrap(), 7, b"a").is_err());
}

#[test]
fn a_packet_that_is_not_the_streams_is_left_alone() {
    for profile in PROFILES {
        let mut stream = Sealer::new(key(profile)).stream(SSRC).unwrap();
        let other = SealError::OtherPacket { ssrc: SSRC, sequence_number: 5 };
        let mut packet = header(SSRC + 1, 5);
        packet.resize(100, 3);
        let before = packet.clone();
        assert_eq!(stream.seal_rtp(&mut packet, HEADER_BYTES, 50, 5), Err(other));
        packet[..12].copy_from_slice(&header(SSRC, 6));
        assert_eq!(stream.seal_rtp(&mut packet, HEADER_BYTES, 50, 5), Err(other));
        packet[..12].copy_from_slice(&header(SSRC, 5));
        let needed = 100 + profile.rtp_tag_bytes();
        let no_room = SealError::NoRoom { needed, room: 100 };
        assert_eq!(stream.seal_rtp(&mut packet, HEADER_BYTES, 100, 5), Err(no_room));
        assert!(matches!(stream.seal_rtp(&mut packet, 60, 50, 5), Err(SealError::TooShort { .. })));
        assert!(matches!(stream.seal_rtp(&mut packet, 0, 50, 5), Err(SealError::TooShort { .. })));
        let beyond = (1 << 48) | 5;
        assert_eq!(stream.seal_rtp(&mut packet, HEADER_BYTES, 50, beyond), Err(SealError::Exhausted));
        assert_eq!(packet[12..], before[12..]);
        // None of them used the number up.
        stream.seal_rtp(&mut packet, HEADER_BYTES, 50, 5).unwrap();
    }
}

#[test]
fn an_exhausted_key_seals_no_more_rtcp() {
    let mut sealer = Sealer::new(key(Profile::AeadAes128Gcm));
    sealer.set_rtcp_index(RTCP_INDEX_MAX);
    sealer.seal_rtcp(&mut hex(RTCP)).unwrap();
    assert_eq!(sealer.seal_rtcp(&mut hex(RTCP)), Err(SealError::Exhausted));
}

// Opening.

#[test]
fn both_directions_of_dtls_fit_each_other() {
    for profile in PROFILES {
        let exported: Vec<u8> = (0..).take(profile.exported_bytes()).collect();
        let (client_ours, client_theirs) = from_dtls(profile, &exported, true).unwrap();
        let (server_ours, server_theirs) = from_dtls(profile, &exported, false).unwrap();
        for (ours, theirs) in [(client_ours, server_theirs), (server_ours, client_theirs)] {
            let packet = seal(&mut Sealer::new(ours).stream(SSRC).unwrap(), 1, b"hello").unwrap();
            assert_eq!(packet.len(), HEADER_BYTES + 5 + profile.rtp_tag_bytes());
            assert_eq!(open(&mut Opener::new(theirs), &packet).unwrap(), (1, b"hello".to_vec()));
        }
        let (expected, got) = (exported.len(), exported.len() - 1);
        assert_eq!(
            from_dtls(profile, &exported[1..], true).unwrap_err(),
            KeyLength { profile, expected, got }
        );
    }
}

/// M3.
#[test]
fn m3_a_replayed_packet_is_opened_once() {
    for profile in PROFILES {
        let mut sealer = Sealer::new(key(profile));
        let (mut stream, mut opener) = (sealer.stream(SSRC).unwrap(), Opener::new(key(profile)));
        let packets: Vec<_> = (1..=3).map(|number| seal(&mut stream, number, b"a").unwrap()).collect();
        for index in [0, 2, 1] {
            open(&mut opener, &packets[index]).unwrap();
        }
        for packet in &packets {
            assert_eq!(open(&mut opener, packet), Err(OpenError::Replayed));
        }
        open(&mut opener, &seal(&mut stream, 3 + replay::WINDOW, b"a").unwrap()).unwrap();
        assert_eq!(open(&mut opener, &packets[2]), Err(OpenError::TooOld));

        let mut rtcp = hex(RTCP);
        sealer.seal_rtcp(&mut rtcp).unwrap();
        let mut out = vec![0; rtcp.len()];
        let length = opener.open_rtcp(&rtcp, &mut out).unwrap();
        assert_eq!(out[..length], hex(RTCP));
        assert_eq!(opener.open_rtcp(&rtcp, &mut out), Err(OpenError::Replayed));
    }
}

#[test]
fn numbers_wrap_whatever_the_order() {
    for profile in PROFILES {
        let mut stream = Sealer::new(key(profile)).stream(SSRC).unwrap();
        let mut opener = Opener::new(key(profile));
        for wrap in 1..4 {
            let numbers: Vec<u64> = (65_536 * wrap - 40..65_536 * wrap + 40).collect();
            let packets: Vec<_> =
                numbers.iter().map(|n| (*n, seal(&mut stream, *n, b"a").unwrap())).collect();
            for pair in packets.chunks(8) {
                for (number, packet) in pair.iter().rev() {
                    assert_eq!(open(&mut opener, packet).unwrap().0, *number);
                }
            }
            // On to the next wrap, in steps that a guess can follow.
            for number in [65_536 * wrap + 20_000, 65_536 * wrap + 45_000] {
                open(&mut opener, &seal(&mut stream, number, b"a").unwrap()).unwrap();
            }
        }
    }
}

/// What is forged makes no stream, takes nobody's place and moves no count, so that what is
/// authentic opens as if it had never come.
#[test]
fn m3_forged_packets_change_nothing() {
    for profile in PROFILES {
        let mut stream = Sealer::new(key(profile)).stream(SSRC).unwrap();
        let mut opener = Opener::new(key(profile));
        open(&mut opener, &seal(&mut stream, 60_000, b"a").unwrap()).unwrap();
        for ssrc in 0..2 * STREAMS_MAX as u32 {
            let mut forged = header(ssrc, 1);
            forged.resize(80, 1);
            assert_eq!(open(&mut opener, &forged), Err(OpenError::Forged));
        }
        for number in (0..65_536).step_by(977) {
            let mut forged = header(SSRC, number);
            forged.resize(80, 1);
            assert!(open(&mut opener, &forged).is_err());
        }
        assert_eq!(open(&mut opener, &seal(&mut stream, 60_001, b"b").unwrap()).unwrap().0, 60_001);
        let mut newcomer = Sealer::new(key(profile)).stream(SSRC + 1).unwrap();
        open(&mut opener, &seal(&mut newcomer, 9, b"c").unwrap()).unwrap();
    }
}

#[test]
fn an_authentic_peer_cannot_make_more_streams_than_allowed() {
    let mut sealer = Sealer::new(key(Profile::AeadAes128Gcm));
    let mut opener = Opener::new(key(Profile::AeadAes128Gcm));
    let first = seal(&mut sealer.stream(0).unwrap(), 1, b"a").unwrap();
    open(&mut opener, &first).unwrap();
    for ssrc in 1..STREAMS_MAX as u32 {
        open(&mut opener, &seal(&mut sealer.stream(ssrc).unwrap(), 1, b"a").unwrap()).unwrap();
    }
    let mut other = Sealer::new(key(Profile::AeadAes128Gcm)).stream(SSRC).unwrap();
    assert_eq!(open(&mut opener, &seal(&mut other, 1, b"a").unwrap()), Err(OpenError::TooManyStreams));
    assert_eq!(open(&mut opener, &first), Err(OpenError::Replayed));
}

/// S4: where encryption was agreed, nothing else is taken.
#[test]
fn s4_rtcp_that_is_not_encrypted_is_refused() {
    let mut sealer = Sealer::new(key(Profile::Aes128CmSha1_80));
    let mut packet = hex(RTCP);
    sealer.seal_rtcp(&mut packet).unwrap();
    let end = packet.len() - 10;
    packet[end - 4] &= 0x7f;
    let mut out = vec![0; packet.len()];
    let opened = Opener::new(key(Profile::Aes128CmSha1_80)).open_rtcp(&packet, &mut out);
    assert_eq!(opened, Err(OpenError::Unencrypted));
}

#[test]
fn a_group_stops_at_the_packet_at_fault() {
    for profile in PROFILES {
        for (fault, sealed) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
            let mut stream = Sealer::new(key(profile)).stream(SSRC).unwrap();
            let mut numbers: Vec<u64> = (10..14).collect();
            numbers[fault] = if fault > 0 { numbers[fault - 1] } else { 0 };
            let mut slab: Vec<_> = numbers.iter().map(|number| header(SSRC, *number)).collect();
            if fault == 0 {
                slab[0] = header(SSRC, 1);
            }
            slab.iter_mut().for_each(|packet| packet.resize(100, 5));
            let group = numbers.iter().zip(&mut slab).map(|(number, out)| Unsealed {
                out,
                header_length: HEADER_BYTES,
                plain_length: 80,
                sequence_number: *number,
            });
            stream.seal_rtp_group(group).unwrap_err();
            let mut opener = Opener::new(key(profile));
            let opened = slab
                .iter()
                .filter(|packet| open(&mut opener, &packet[..80 + profile.rtp_tag_bytes()]).is_ok());
            assert_eq!(opened.count(), sealed, "{profile:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_group_is_sealed_as_its_packets_are(
        profile in prop::sample::select(&PROFILES[..]),
        first in 0u64..1 << 40,
        lengths in prop::collection::vec(prop_oneof![Just(60usize), 0usize..300], 0..9),
    ) {
        let mut singly = Sealer::new(key(profile)).stream(SSRC).unwrap();
        let mut together = Sealer::new(key(profile)).stream(SSRC).unwrap();
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|length| vec![*length as u8; *length]).collect();
        let expected: Vec<_> =
            (first..).zip(&payloads).map(|(number, payload)| seal(&mut singly, number, payload).unwrap()).collect();
        let mut slab: Vec<_> = (first..)
            .zip(&payloads)
            .map(|(number, payload)| [header(SSRC, number), payload.clone(), vec![0; together.tag_bytes()]].concat())
            .collect();
        let tag_bytes = together.tag_bytes();
        let group = (first..).zip(&mut slab).map(|(sequence_number, out)| {
            let plain_length = out.len() - tag_bytes;
            Unsealed { out, header_length: HEADER_BYTES, plain_length, sequence_number }
        });
        together.seal_rtp_group(group).unwrap();
        prop_assert_eq!(slab, expected);
    }

    #[test]
    fn two_hashes_at_once_are_those_of_each(
        secret in any::<[u8; 20]>(),
        length in 0usize..300,
        fill in any::<[u8; 2]>(),
        after in any::<[[u8; 4]; 2]>(),
    ) {
        let hmac = raw::HmacSha1::new(&secret);
        if hmac.takes_pairs() {
            let bodies = fill.map(|fill| (0..length).map(|index| fill ^ index as u8).collect::<Vec<_>>());
            let expected = [hmac.tag(&bodies[0], &after[0]), hmac.tag(&bodies[1], &after[1])];
            prop_assert_eq!(hmac.tag_pair([&bodies[0], &bodies[1]], after), expected);
        }
    }

    #[test]
    fn what_is_sealed_opens_and_what_is_tampered_with_does_not(
        profile in prop::sample::select(&PROFILES[..]),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        number in 0u64..65_536,
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut sealer = Sealer::new(key(profile));
        let packet = seal(&mut sealer.stream(SSRC).unwrap(), number, &payload).unwrap();
        let mut opener = Opener::new(key(profile));
        let mut tampered = packet.clone();
        tampered[at.index(packet.len())] ^= flip;
        prop_assert_eq!(open(&mut opener, &tampered), Err(OpenError::Forged));
        prop_assert_eq!(open(&mut opener, &packet), Ok((number, payload.clone())));

        let mut rtcp = hex("81c80001cafebabe");
        rtcp.extend(&payload);
        let plain = rtcp.clone();
        sealer.seal_rtcp(&mut rtcp).unwrap();
        let mut out = vec![0; rtcp.len()];
        let mut tampered = rtcp.clone();
        tampered[at.index(rtcp.len())] ^= flip;
        let refused = opener.open_rtcp(&tampered, &mut out);
        prop_assert!(matches!(refused, Err(OpenError::Forged | OpenError::Unencrypted)), "{:?}", refused);
        let length = opener.open_rtcp(&rtcp, &mut out).unwrap();
        prop_assert_eq!(&out[..length], &plain);
    }

    #[test]
    fn nothing_that_comes_makes_a_panic(
        profile in prop::sample::select(&PROFILES[..]),
        datagram in prop::collection::vec(any::<u8>(), 0..100),
        header_length in prop_oneof![0usize..120, Just(usize::MAX)],
        room in 0usize..100,
    ) {
        let mut opener = Opener::new(key(profile));
        let mut out = vec![0; room];
        prop_assert!(opener.open_rtp(&datagram, header_length, &mut out).is_err());
        prop_assert!(opener.open_rtcp(&datagram, &mut out).is_err());
    }
}
