//! Packets exchanged with an implementation that is not ours.

use broletto_rtp::srtp::{MasterKey, Opener, Profile, RTCP_GROWTH_BYTES_MAX, Sealer, TAG_BYTES_MAX};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

const PROFILES: [(Profile, ProtectionProfile); 4] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (Profile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
    (Profile::Aes128CmSha1_32, ProtectionProfile::Aes128CmHmacSha1_32),
];
const SSRC: u32 = 0x0bad_cafe;
/// With one contributing source and an extension of one word.
const HEADER_BYTES: usize = 24;

fn ours(profile: Profile) -> MasterKey {
    MasterKey::new(profile, &material(profile)).unwrap()
}

fn theirs(profile: Profile, theirs: ProtectionProfile) -> Context {
    let material = material(profile);
    let (key, salt) = material.split_at(profile.key_bytes());
    let replay = (srtp_replay_protection(64), srtcp_replay_protection(64));
    let provider = default_provider().unwrap();
    Context::new(key, salt, theirs, Some(replay.0), Some(replay.1), provider.crypto()).unwrap()
}

fn material(profile: Profile) -> Vec<u8> {
    (0..).step_by(3).take(profile.key_bytes() + profile.salt_bytes()).map(|byte: usize| byte as u8).collect()
}

fn packet(sequence_number: u64) -> Vec<u8> {
    let mut packet = vec![0x91, 0xe0];
    packet.extend((sequence_number as u16).to_be_bytes());
    packet.extend((sequence_number as u32 * 3_000).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0x10, 0x33, 0, 0]);
    assert_eq!(packet.len(), HEADER_BYTES);
    packet.extend((0..sequence_number as usize % 1_200).map(|index| index as u8));
    packet
}

/// Two roll-overs.
fn numbers() -> impl Iterator<Item = u64> {
    (0..3 * 65_536).step_by(1_021)
}

fn receiver_report(at: u32) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7];
    report.extend(SSRC.to_be_bytes());
    report.extend([at.to_be_bytes(); 6].concat());
    report
}

#[test]
fn what_we_seal_they_open() {
    for (profile, their_profile) in PROFILES {
        let mut sealer = Sealer::new(ours(profile));
        let mut stream = sealer.stream(SSRC).unwrap();
        let mut context = theirs(profile, their_profile);
        for number in numbers() {
            let plain = packet(number);
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + TAG_BYTES_MAX, 0);
            let length = stream.seal_rtp(&mut sealed, HEADER_BYTES, plain.len(), number);
            let opened = context.decrypt_rtp(&sealed[..length.unwrap()]).unwrap();
            assert_eq!(opened, plain, "{profile:?}, packet {number}");
        }
        for at in 0..100 {
            let mut sealed = receiver_report(at);
            sealer.seal_rtcp(&mut sealed).unwrap();
            assert!(sealed.len() <= receiver_report(at).len() + RTCP_GROWTH_BYTES_MAX);
            assert_eq!(context.decrypt_rtcp(&sealed).unwrap(), receiver_report(at), "{profile:?}");
        }
    }
}

#[test]
fn what_they_seal_we_open() {
    for (profile, their_profile) in PROFILES {
        let mut opener = Opener::new(ours(profile));
        let mut context = theirs(profile, their_profile);
        let mut out = [0; 2_000];
        for number in numbers() {
            let sealed = context.encrypt_rtp(&packet(number)).unwrap();
            let opened = opener.open_rtp(&sealed, HEADER_BYTES, &mut out).unwrap();
            assert_eq!(opened.sequence_number, number, "{profile:?}");
            assert_eq!(out[..opened.length], packet(number), "{profile:?}, packet {number}");
        }
        for at in 0..100 {
            let sealed = context.encrypt_rtcp(&receiver_report(at)).unwrap();
            let length = opener.open_rtcp(&sealed, &mut out).unwrap();
            assert_eq!(out[..length], receiver_report(at), "{profile:?}");
        }
    }
}
