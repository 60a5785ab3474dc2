//! The answer to an offer of an endpoint.

use super::choose::{self, Side};
use super::description::Description;
use super::leg::{LegMedia, Local, Policy, Refusal};
use super::write;

/// Chooses among what an endpoint offers, and says it in SDP. Each m-line of the offer has one in the
/// answer, at the same place.
pub fn answer(offer: &str, policy: &Policy, local: &Local) -> Result<(LegMedia, String), Refusal> {
    let description = Description::parse(offer)?;
    let roles = choose::roles(&description);
    let leg = choose::choose(&description, &roles, policy, local, Side::Offer);
    if leg.audio.is_none() && leg.video.is_none() {
        return Err(Refusal::NoMedia);
    }
    // With a single video line, content says nothing, and old endpoints stumble over it.
    let both = leg.slides.is_some();
    let mut text = write::session(local);
    for (line, media) in description.media.iter().enumerate() {
        let protocol = media.protocol.as_str();
        if let (Some(stream), Some(own)) = (leg.audio.as_ref().filter(|s| s.line == line), &local.audio) {
            text.push_str(&write::audio(stream, protocol, local, own));
        } else if let (Some(stream), Some(own)) =
            (leg.video.as_ref().filter(|s| s.line == line), &local.video)
        {
            text.push_str(&write::video(stream, protocol, local, own, policy, both.then_some("main")));
        } else if let (Some(stream), Some(own)) =
            (leg.slides.as_ref().filter(|s| s.line == line), &local.slides)
        {
            text.push_str(&write::video(stream, protocol, local, own, policy, Some("slides")));
        } else if let (Some(floor), Some(own)) = (leg.floor.as_ref().filter(|f| f.line == line), local.floor)
        {
            text.push_str(&write::floor(floor, protocol, own.port, local));
        } else {
            text.push_str(&write::refused(&media.kind, protocol, &media.formats));
        }
        // What names a line has to come back with it (RFC 5888, section 9.1).
        if let Some(mid) = media.section.value("mid").filter(|mid| crate::scan::is_token(mid)) {
            text.push_str(&format!("a=mid:{mid}\r\n"));
        }
    }
    Ok((leg, text))
}
