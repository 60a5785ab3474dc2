//! The roster of a conference as endpoints read it (RFC 4575), and who wants it (RFC 6665).

use std::time::{Duration, Instant};

use crate::dialog::Dialog;

pub(crate) const CONFERENCE: &str = "conference";
pub(crate) const CONFERENCE_INFO: &str = "application/conference-info+xml";
pub(crate) const EXPIRES_MAX: Duration = Duration::from_secs(3_600);

/// What an endpoint is told of the conference that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// The address of the conference.
    pub entity: String,
    /// What it is called.
    pub subject: String,
    pub users: Vec<RosterUser>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterUser {
    /// A URI that is the same for as long as the user is there.
    pub entity: String,
    pub display: String,
    pub audio: bool,
    pub video: bool,
}

/// An endpoint that wants to be told of changes.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) dialog: Dialog,
    /// Whether it shares the dialog of the call, and so its sequence numbers.
    pub(crate) shared: bool,
    /// The `id` of its Event.
    pub(crate) id: Option<String>,
    pub(crate) expires_at: Instant,
    /// Each document has the next number.
    pub(crate) version: u32,
}

/// The whole state (section 5), which needs no memory of what was told before.
pub(crate) fn document(roster: &Roster, version: u32) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <conference-info xmlns=\"urn:ietf:params:xml:ns:conference-info\" entity=\"{}\" state=\"full\" \
         version=\"{version}\">\r\n\
         <conference-description><subject>{}</subject></conference-description>\r\n\
         <conference-state><user-count>{}</user-count><active>true</active></conference-state>\r\n<users>\r\n",
        escape(&roster.entity),
        escape(&roster.subject),
        roster.users.len()
    );
    for user in &roster.users {
        let entity = escape(&user.entity);
        xml.push_str(&format!(
            "<user entity=\"{entity}\" state=\"full\"><display-text>{}</display-text>\
             <endpoint entity=\"{entity}\"><status>connected</status>",
            escape(&user.display)
        ));
        for (id, (kind, present)) in [("audio", user.audio), ("video", user.video)].into_iter().enumerate() {
            if present {
                xml.push_str(&format!("<media id=\"{}\"><type>{kind}</type></media>", id + 1));
            }
        }
        xml.push_str("</endpoint></user>\r\n");
    }
    xml.push_str("</users>\r\n</conference-info>\r\n");
    xml
}

/// Text for XML 1.0. What no document may contain is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inert_in_a_document() {
        let roster = Roster {
            entity: "sip:123@meet.example.org".to_owned(),
            subject: "Giunta & \"Consiglio\"\u{1}".to_owned(),
            users: vec![RosterUser {
                entity: "sip:u1@meet.example.org".to_owned(),
                display: "</display-text><user entity=\"x\">".to_owned(),
                audio: true,
                video: false,
            }],
        };
        let xml = document(&roster, 3);
        assert!(xml.contains("version=\"3\""));
        assert!(xml.contains("<subject>Giunta &amp; &quot;Consiglio&quot;</subject>"));
        assert_eq!(xml.matches("<user ").count(), 1);
        assert!(xml.contains("<type>audio</type>") && !xml.contains("<type>video</type>"));
    }
}
