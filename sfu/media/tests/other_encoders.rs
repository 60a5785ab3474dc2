//! What another implementation encoded is heard as it was meant.

use std::f32::consts::TAU;

use broletto_media::codec::{AudioCodec, NoiseGenerator, NoiseShape};
use broletto_media::frame::level_dbov;

/// In dB: the tone that it should be, over what else there is.
fn tone_over_rest(samples: &[f32], frequency: f32) -> f32 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    let count = samples.len() as f32;
    let phase = |n: usize| TAU * frequency * n as f32 / 48_000.0;
    for (n, sample) in samples.iter().enumerate() {
        sine += 2.0 * sample * phase(n).sin() / count;
        cosine += 2.0 * sample * phase(n).cos() / count;
    }
    let rest: Vec<f32> = samples
        .iter()
        .enumerate()
        .map(|(n, sample)| sample - sine * phase(n).sin() - cosine * phase(n).cos())
        .collect();
    level_dbov(samples) - level_dbov(&rest)
}

#[test]
fn tones_that_another_program_encoded() {
    let files: [(AudioCodec, &[u8], f32); 3] = [
        (AudioCodec::G722, include_bytes!("fixtures/sine-440.g722"), 28.0),
        (AudioCodec::Pcma, include_bytes!("fixtures/sine-440.alaw"), 33.0),
        (AudioCodec::Pcmu, include_bytes!("fixtures/sine-440.ulaw"), 33.0),
    ];
    for (codec, file, at_least) in files {
        let mut decoder = codec.decoder().expect("it is set up");
        let mut samples = Vec::new();
        for payload in file.chunks(160) {
            decoder.decode(payload, &mut samples).expect("it is decoded");
        }
        assert_eq!(samples.len(), file.len() * 6);
        // 33 whole periods, past the beginning.
        let steady = &samples[4_800..4_800 + 3_600];
        let level = level_dbov(steady);
        assert!((level + 21.07).abs() < 0.3, "{codec:?}: {level} dBov");
        let ratio = tone_over_rest(steady, 440.0);
        assert!(ratio > at_least, "{codec:?}: {ratio} dB");
    }
}

#[test]
fn noise_that_another_program_described() {
    let payload = [0x13, 0x00, 0x82, 0x84, 0x7f, 0x83, 0x84, 0x77, 0x71, 0x6f, 0x7c];
    let mut generator = NoiseGenerator::new(6, 1);
    generator.set_shape(NoiseShape::parse(&payload).expect("it is well formed"));
    let mut samples = Vec::new();
    generator.generate(48_000 * 4, &mut samples);
    let level = level_dbov(&samples[4_800..]);
    assert!((level + 19.0).abs() < 2.0, "{level}");
    // Brown noise is mostly slow: at 8 kHz one sample is much like the next.
    let narrow: Vec<f32> = samples.into_iter().skip(4_800).step_by(6).collect();
    let product = |lag: usize| narrow.iter().zip(&narrow[lag..]).map(|(a, b)| a * b).sum::<f32>();
    assert!(product(1) / product(0) > 0.9, "{}", product(1) / product(0));
}
