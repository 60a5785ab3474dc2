//! Our 2xx to INVITE and UPDATE, and the timers of sessions (RFC 4028).

use std::time::{Duration, Instant};

use super::{Agent, Owner, abilities};
use crate::body;
use crate::call::{Call, Exchange, Phase, Session};
use crate::headers::{Headers, name};
use crate::io::{CallId, EndReason, Event};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::timers::Timer;

/// A refresh that cannot go out yet is tried again after this.
const REFRESH_AGAIN: Duration = Duration::from_secs(5);

impl Agent {
    /// 200 with what a dialog needs and, in it, who refreshes the session.
    pub(super) fn success(
        &mut self,
        id: CallId,
        request: &Request,
        sdp: Option<&str>,
        now: Instant,
    ) -> Response {
        let call = self.calls.get(&id).expect("calls are answered while they are there");
        let mut response = self.response_with_tag(request, 200, call.dialog.local_tag());
        for route in request.headers.all(name::RECORD_ROUTE) {
            response.headers.push(name::RECORD_ROUTE, route);
        }
        response
            .headers
            .push(name::CONTACT, self.contact(call.dialog.flow(), call.trunk, &call.contact_user));
        abilities(&mut response.headers);
        let (times, asked) = (self.config.session, call.asked);
        let interval = asked.interval.unwrap_or(times.expires).min(times.expires);
        let interval = interval.max(asked.interval_min.unwrap_or_default()).max(times.expires_min);
        // Who does not know the timer lets us refresh, so that a peer that is gone is noticed.
        let we_refresh = !asked.supported || asked.itself == Some(false);
        if asked.supported {
            let refresher = if we_refresh { "uas" } else { "uac" };
            response
                .headers
                .push(name::SESSION_EXPIRES, format!("{};refresher={refresher}", interval.as_secs()));
            if !we_refresh {
                response.headers.push(name::REQUIRE, "timer");
            }
        }
        if let Some(sdp) = sdp {
            response.headers.push(name::CONTENT_TYPE, body::SDP);
            response.body = sdp.as_bytes().to_vec();
        }
        self.set_session(id, Session::new(interval, we_refresh, now));
        response
    }

    /// What the peer's 2xx says of the session that we asked for.
    pub(super) fn session_agreed(&mut self, id: CallId, headers: &Headers, now: Instant) {
        let interval =
            headers.number(name::SESSION_EXPIRES).map(|seconds| Duration::from_secs(seconds.into()));
        let theirs = headers.first(name::SESSION_EXPIRES).is_some_and(|value| {
            value.split(';').skip(1).any(|param| param.trim().eq_ignore_ascii_case("refresher=uas"))
        });
        let ours = self.config.session;
        let interval = interval.unwrap_or(ours.expires).clamp(ours.expires_min, Duration::from_secs(86_400));
        self.set_session(id, Session::new(interval, !theirs, now));
    }

    fn set_session(&mut self, id: CallId, session: Session) {
        let call = self.calls.get_mut(&id).expect("sessions are of calls that are there");
        if !matches!(call.phase, Phase::Established) {
            // An UPDATE before the call is answered agrees on nothing that could run out.
            return;
        }
        call.session = Some(session);
        self.out.timers.set(Timer::Session(id), session.next());
    }

    /// Fields of a request that asks for a session.
    pub(super) fn ask_session(&self, headers: &mut Headers, call: Option<&Call>) {
        let times = self.config.session;
        let interval = call.and_then(|call| call.session).map_or(times.expires, |session| session.interval);
        let refresher = if call.is_some() { ";refresher=uac" } else { "" };
        headers.push(name::SESSION_EXPIRES, format!("{}{refresher}", interval.as_secs()));
        headers.push(name::MIN_SE, times.expires_min.as_secs());
    }

    pub(super) fn session_due(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(session) = call.session else { return };
        let last = Session { we_refresh: false, ..session }.next();
        if now >= last {
            self.send_bye(id, now);
            return self.out.event(Event::Ended { call: id, reason: EndReason::SessionExpired });
        }
        let free = call.exchange == Exchange::Idle && call.success.is_none();
        if session.we_refresh && free && matches!(call.phase, Phase::Established) {
            self.refresh_session(id, now);
        }
        let again = if free { last } else { (now + REFRESH_AGAIN).min(last) };
        self.out.timers.set(Timer::Session(id), again);
    }

    /// The refresh met a request of the peer: it is tried again.
    pub(super) fn refresh_again(&mut self, id: CallId, now: Instant) {
        let pause = self.glare_pause(id);
        self.out.timers.set(Timer::Session(id), now + pause);
    }

    /// By UPDATE, which disturbs no media, or by repeating what was agreed.
    fn refresh_session(&mut self, id: CallId, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        if call.peer.update {
            let request = call.dialog.request(Method::Update);
            return self.send_change(id, request, None, now);
        }
        let Some(sdp) = call.local_sdp.clone() else { return };
        call.exchange = Exchange::OurOffer { refresh: true };
        let request = call.dialog.request(Method::Invite);
        self.send_change(id, request, Some(sdp), now);
    }

    /// An INVITE or UPDATE of ours within a call.
    pub(super) fn send_change(
        &mut self,
        id: CallId,
        mut request: Request,
        sdp: Option<String>,
        now: Instant,
    ) {
        let call = self.calls.get(&id).expect("the caller has found it");
        let flow = call.dialog.next_hop();
        request.headers.push(name::CONTACT, self.contact(flow, call.trunk, &call.contact_user));
        abilities(&mut request.headers);
        self.ask_session(&mut request.headers, Some(call));
        let trunk = call.trunk;
        if let Some(sdp) = sdp {
            request.headers.push(name::CONTENT_TYPE, body::SDP);
            request.body = sdp.into_bytes();
        }
        self.stamp(&mut request, flow, trunk);
        self.transactions.request(request, flow, Owner::Call(id), &mut self.out, now);
    }

    /// RFC 3261, section 14.1: who made the Call-ID waits longer.
    pub(super) fn glare_pause(&mut self, id: CallId) -> Duration {
        let ours = self.calls.get(&id).is_some_and(|call| call.dialed);
        let ms = Duration::from_millis;
        if ours { self.random.between(ms(2_100), ms(4_000)) } else { self.random.between(ms(0), ms(2_000)) }
    }
}
