//! H.264, constrained baseline, by OpenH264: what room systems and browsers all decode.

use std::time::Duration;

use openh264::OpenH264API;
use openh264::Timestamp;
use openh264::decoder::{Decoder, DecoderConfig};
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile,
    RateControlMode, SpsPpsStrategy, UsageType,
};
use openh264::formats::YUVSource;

use super::picture::{Picture, PictureRef, Size, plane_size};
use super::{EncodedPicture, VideoDecoder, VideoEncoder, VideoError};

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// What an encoder keeps to. For others there is another encoder, which begins with a key frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct H264Settings {
    pub bitrate_bps: u32,
    pub frames_per_second: f32,
    /// No NAL unit is longer, for packetization mode 0 (RFC 6184 section 6.2).
    pub nal_unit_bytes_max: Option<u32>,
    /// Slides rather than cameras.
    pub screen: bool,
}

pub struct H264Encoder {
    encoder: Encoder,
}

impl H264Encoder {
    pub fn new(settings: &H264Settings) -> Result<Self, VideoError> {
        let usage =
            if settings.screen { UsageType::ScreenContentRealTime } else { UsageType::CameraVideoRealTime };
        let mut config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(settings.bitrate_bps))
            .max_frame_rate(FrameRate::from_hz(settings.frames_per_second))
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(usage)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            // Key frames are asked for.
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .scene_change_detect(false)
            .background_detection(false)
            .adaptive_quantization(false)
            // The caller owns the threads.
            .num_threads(1);
        if let Some(bytes) = settings.nal_unit_bytes_max {
            config = config.max_slice_len(bytes);
        }
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(encode_error)?;
        Ok(H264Encoder { encoder })
    }
}

impl VideoEncoder for H264Encoder {
    fn encode(
        &mut self,
        picture: &Picture,
        at: Duration,
        key_frame: bool,
    ) -> Result<Option<EncodedPicture>, VideoError> {
        if key_frame {
            self.encoder.force_intra_frame();
        }
        let at = Timestamp::from_millis(at.as_millis() as u64);
        let stream = self.encoder.encode_at(picture, at).map_err(encode_error)?;
        let key_frame = match stream.frame_type() {
            FrameType::IDR => true,
            FrameType::Skip => return Ok(None),
            FrameType::I | FrameType::P | FrameType::IPMixed | FrameType::Invalid => false,
        };
        let mut nal_units = Vec::new();
        for layer in (0..stream.num_layers()).filter_map(|index| stream.layer(index)) {
            let units = (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index));
            nal_units.extend(units.map(|unit| without_start_code(unit).to_vec()));
        }
        Ok((!nal_units.is_empty()).then_some(EncodedPicture { nal_units, key_frame }))
    }
}

pub struct H264Decoder {
    decoder: Decoder,
    access_unit: Vec<u8>,
    shown: Option<Picture>,
}

impl H264Decoder {
    pub fn new() -> Result<Self, VideoError> {
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new())
            .map_err(decode_error)?;
        Ok(H264Decoder { decoder, access_unit: Vec::new(), shown: None })
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, nal_units: &[&[u8]]) -> Result<Option<&Picture>, VideoError> {
        self.access_unit.clear();
        for unit in nal_units {
            self.access_unit.extend_from_slice(&START_CODE);
            self.access_unit.extend_from_slice(unit);
        }
        let Some(decoded) = self.decoder.decode(&self.access_unit).map_err(decode_error)? else {
            return Ok(None);
        };
        let (width, height) = decoded.dimensions();
        // A column or line that makes a side odd is left out.
        let size = Size::new(width & !1, height & !1);
        let strides = decoded.strides();
        let planes = [(decoded.y(), strides.0), (decoded.u(), strides.1), (decoded.v(), strides.2)];
        let picture = PictureRef::new(size, planes).ok_or(VideoError::Size { width, height })?;
        match &mut self.shown {
            Some(shown) if shown.size() == size => shown.copy_from(&picture),
            shown => *shown = Some(Picture::copy_of(&picture)?),
        }
        Ok(self.shown.as_ref())
    }
}

impl YUVSource for Picture {
    fn dimensions(&self) -> (usize, usize) {
        (self.size().width, self.size().height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let stride = |index| plane_size(self.size(), index).0;
        (stride(0), stride(1), stride(2))
    }

    fn y(&self) -> &[u8] {
        self.plane(0)
    }

    fn u(&self) -> &[u8] {
        self.plane(1)
    }

    fn v(&self) -> &[u8] {
        self.plane(2)
    }
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    unit.strip_prefix(&START_CODE).or_else(|| unit.strip_prefix(&START_CODE[1..])).unwrap_or(unit)
}

fn encode_error(error: openh264::Error) -> VideoError {
    VideoError::Encode(error.to_string())
}

fn decode_error(error: openh264::Error) -> VideoError {
    VideoError::Decode(error.to_string())
}
