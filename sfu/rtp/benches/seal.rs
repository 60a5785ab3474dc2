//! What it costs to seal and to open a packet of 1,200 bytes, by profile.

use std::hint::black_box;

use broletto_rtp::srtp::{MasterKey, Opener, Profile, Sealer, Unsealed};

const HEADER_BYTES: usize = 24;
const PAYLOAD_BYTES: usize = 1_160;
const ROOM: usize = 1_500;
const SSRC: u32 = 0x1234_5678;
const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];

fn main() {
    divan::main();
}

fn key(profile: Profile) -> MasterKey {
    MasterKey::new(profile, &vec![7; profile.key_bytes() + profile.salt_bytes()]).expect("it is as long")
}

/// As if from the packet before it, but for the number.
fn write_header(out: &mut [u8], sequence_number: u64) {
    out[0] = 0x80;
    out[2..4].copy_from_slice(&(sequence_number as u16).to_be_bytes());
    out[8..12].copy_from_slice(&SSRC.to_be_bytes());
}

#[divan::bench(args = PROFILES)]
fn copy_and_seal(bencher: divan::Bencher, profile: Profile) {
    let mut stream = Sealer::new(key(profile)).stream(SSRC).expect("nobody has it");
    let (payload, mut out, mut number) = ([5; PAYLOAD_BYTES], [0; ROOM], 0);
    bencher.bench_local(|| {
        number += 1;
        write_header(&mut out, number);
        out[HEADER_BYTES..HEADER_BYTES + PAYLOAD_BYTES].copy_from_slice(black_box(&payload));
        stream.seal_rtp(&mut out, HEADER_BYTES, HEADER_BYTES + PAYLOAD_BYTES, number)
    });
}

/// Eight packets.
#[divan::bench(args = PROFILES)]
fn copy_and_seal_a_group(bencher: divan::Bencher, profile: Profile) {
    let mut stream = Sealer::new(key(profile)).stream(SSRC).expect("nobody has it");
    let (payload, mut slab, mut number) = ([5; PAYLOAD_BYTES], vec![0; 8 * ROOM], 0);
    bencher.counter(divan::counter::ItemsCount::new(8u32)).bench_local(|| {
        let group = slab.chunks_exact_mut(ROOM).map(|out| {
            number += 1;
            write_header(out, number);
            out[HEADER_BYTES..HEADER_BYTES + PAYLOAD_BYTES].copy_from_slice(black_box(&payload));
            let plain_length = HEADER_BYTES + PAYLOAD_BYTES;
            Unsealed { out, header_length: HEADER_BYTES, plain_length, sequence_number: number }
        });
        stream.seal_rtp_group(group)
    });
}

#[divan::bench(args = PROFILES)]
fn open(bencher: divan::Bencher, profile: Profile) {
    let mut stream = Sealer::new(key(profile)).stream(SSRC).expect("nobody has it");
    let mut opener = Opener::new(key(profile));
    let (mut number, mut opened) = (0, [0; ROOM]);
    bencher
        .with_inputs(|| {
            number += 1;
            let mut out = vec![5; ROOM];
            write_header(&mut out, number);
            let length = stream.seal_rtp(&mut out, HEADER_BYTES, HEADER_BYTES + PAYLOAD_BYTES, number);
            out.truncate(length.expect("the number is new"));
            out
        })
        .bench_local_refs(|packet| opener.open_rtp(packet, HEADER_BYTES, &mut opened).expect("authentic"));
}
