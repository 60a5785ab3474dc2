//! Packets are sealed and opened without an allocation.

mod counting;

use broletto_rtp::srtp::{MasterKey, Opener, Profile, Sealer, TAG_BYTES_MAX, Unsealed};

/// Counts what this thread asks for.
const SSRC: u32 = 5;
const HEADER_BYTES: usize = 12;
const PLAIN_BYTES: usize = 1_000;

#[test]
fn a_packet_is_sealed_and_opened_without_an_allocation() {
    let profiles =
        [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32];
    for profile in profiles {
        let secret = vec![7; profile.key_bytes() + profile.salt_bytes()];
        let key = || MasterKey::new(profile, &secret).unwrap();
        let (mut sealer, mut opener) = (Sealer::new(key()), Opener::new(key()));
        let mut stream = sealer.stream(SSRC).unwrap();
        let mut slab = vec![0; 3 * (PLAIN_BYTES + TAG_BYTES_MAX)];
        let mut rtcp = Vec::with_capacity(200);
        let mut out = [0; 1_500];
        let mut allocations = 0;
        for round in 0..100 {
            // The first packets make the opener's streams.
            if round == 1 {
                allocations = counting::allocations();
            }
            let mut numbers = 3 * round..;
            let group = slab.chunks_exact_mut(PLAIN_BYTES + TAG_BYTES_MAX).zip(&mut numbers);
            let group = group.map(|(out, sequence_number)| {
                out[..HEADER_BYTES].fill(0);
                out[2..4].copy_from_slice(&(sequence_number as u16).to_be_bytes());
                out[8..12].copy_from_slice(&SSRC.to_be_bytes());
                Unsealed { out, header_length: HEADER_BYTES, plain_length: PLAIN_BYTES, sequence_number }
            });
            stream.seal_rtp_group(group).unwrap();
            for packet in slab.chunks_exact(PLAIN_BYTES + TAG_BYTES_MAX) {
                let packet = &packet[..PLAIN_BYTES + profile.rtp_tag_bytes()];
                opener.open_rtp(packet, HEADER_BYTES, &mut out).unwrap();
            }
            rtcp.clear();
            rtcp.extend([0x80, 201, 0, 1, 0, 0, 0, 5]);
            sealer.seal_rtcp(&mut rtcp).unwrap();
            opener.open_rtcp(&rtcp, &mut out).unwrap();
        }
        assert_eq!(counting::allocations(), allocations, "{profile:?}");
    }
}
