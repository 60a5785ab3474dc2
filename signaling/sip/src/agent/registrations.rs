//! This server as a client of PBXs: it registers there, and stays registered.

use std::time::{Duration, Instant};

use super::{Agent, Owner};
use crate::headers::{CSeq, Headers, Via, name};
use crate::io::Event;
use crate::message::{Head, Request, Response};
use crate::method::Method;
use crate::timers::Timer;
use crate::uri::{NameAddr, Uri};

#[derive(Debug)]
pub(super) struct Registered {
    call_id: String,
    tag: String,
    sequence: u32,
    contact_user: String,
    expires: Duration,
    /// What was told last.
    accepted: Option<bool>,
    failures: u32,
}

/// After a refusal or silence: 30 s, then longer and longer.
const RETRY: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(960);

impl Agent {
    pub(super) fn begin_registrations(&mut self, now: Instant) {
        for index in 0..self.config.registrations.len() {
            let registered = Registered {
                call_id: self.random.token(),
                tag: self.random.token(),
                sequence: 0,
                contact_user: self.config.registrations[index].user.clone(),
                expires: self.config.registrations[index].expires,
                accepted: None,
                failures: 0,
            };
            self.registrations.push(registered);
            self.out.timers.set(Timer::Registration(index), now);
        }
    }

    /// RFC 3261, section 10.2.
    pub(super) fn register(&mut self, index: usize, now: Instant) {
        let registration = self.config.registrations[index].clone();
        let registered = &mut self.registrations[index];
        registered.sequence += 1;
        let of_record = NameAddr::new(Uri::sip(Some(&registration.user), &registration.registrar, None));
        let head = Head {
            via: Via {
                transport: String::new(),
                host: String::new(),
                port: None,
                params: Default::default(),
            },
            from: of_record.clone().with_tag(&registered.tag),
            to: of_record,
            call_id: registered.call_id.clone(),
            cseq: CSeq { number: registered.sequence, method: Method::Register },
        };
        let mut headers = Headers::default();
        headers.push(name::MAX_FORWARDS, 70);
        headers.push(name::FROM, &head.from);
        headers.push(name::TO, &head.to);
        headers.push(name::CALL_ID, &head.call_id);
        headers.push(name::CSEQ, &head.cseq);
        headers.push(name::EXPIRES, registered.expires.as_secs());
        let user = registered.contact_user.clone();
        let contact = self.contact(registration.flow, None, &user);
        headers.push(name::CONTACT, contact.trim_end_matches(";isfocus"));
        let uri = Uri::sip(None, &registration.registrar, None);
        let mut request = Request { method: Method::Register, uri, head, headers, body: Vec::new() };
        self.stamp(&mut request, registration.flow, None);
        let owner = Owner::Registration(index);
        self.transactions.request(request, registration.flow, owner, &mut self.out, now);
    }

    pub(super) fn registration_response(
        &mut self,
        index: usize,
        request: Request,
        response: &Response,
        now: Instant,
    ) {
        if !response.is_final() {
            return;
        }
        let registration = self.config.registrations[index].clone();
        let next = self.registrations[index].sequence + 1;
        let flow = registration.flow;
        let again = self.with_credentials(&request, response, &registration.credentials, next, flow, None);
        let registered = &mut self.registrations[index];
        if let Some(again) = again {
            registered.sequence = next;
            let owner = Owner::Registration(index);
            self.transactions.request(again, flow, owner, &mut self.out, now);
            return;
        }
        let accepted = response.is_success();
        let pause = if accepted {
            registered.failures = 0;
            // Before it runs out, with time for a refusal and another try.
            granted(response, registered) * 4 / 5
        } else {
            let least = response.headers.number(name::MIN_EXPIRES).filter(|_| response.status == 423);
            if let Some(least) = least {
                registered.expires = Duration::from_secs(least.into()).min(Duration::from_secs(86_400));
            }
            registered.failures = registered.failures.saturating_add(1);
            RETRY.saturating_mul(1 << (registered.failures - 1).min(5)).min(RETRY_MAX)
        };
        if registered.accepted != Some(accepted) {
            registered.accepted = Some(accepted);
            self.out.event(Event::Registered { registration: index, accepted });
        }
        self.out.timers.set(Timer::Registration(index), now + pause);
    }
}

/// How long the PBX keeps it: what it says of our Contact, or of all.
fn granted(response: &Response, registered: &Registered) -> Duration {
    let contacts = response.headers.list(name::CONTACT).filter_map(NameAddr::parse);
    let ours = contacts
        .filter(|contact| contact.uri.user().as_deref() == Some(registered.contact_user.as_str()))
        .find_map(|contact| contact.params.raw("expires")?.parse::<u32>().ok());
    let seconds = ours.or(response.headers.number(name::EXPIRES));
    let granted = seconds.map_or(registered.expires, |seconds| Duration::from_secs(seconds.into()));
    granted.clamp(Duration::from_secs(10), Duration::from_secs(86_400))
}
