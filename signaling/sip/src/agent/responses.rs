//! Responses to what we asked.

use std::time::{Duration, Instant};

use super::{Agent, Owner};
use crate::body::{self, Body};
use crate::call::{Exchange, Phase};
use crate::dialog::Dialog;
use crate::digest::Challenge;
use crate::flow::Flow;
use crate::headers::name;
use crate::io::{CallId, EndReason, Event, Login};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::timers::Timer;
use crate::transaction::TransactionId;
use crate::trunk::TrunkId;

/// The longest session that a peer may force on us by 422.
const SESSION_MIN_MAX: Duration = Duration::from_secs(86_400);

impl Agent {
    pub(super) fn handle_response(&mut self, response: Response, source: Flow, now: Instant) {
        // Section 18.1.2: one Via, ours. Its branch is looked up.
        let ours = response.headers.list(name::VIA).nth(1).is_none();
        let found = ours.then(|| self.transactions.response(&response, &mut self.out, now)).flatten();
        let Some((id, owner)) = found else {
            self.counters.stray += 1;
            return;
        };
        let request = self.transactions.sent(id).map(|(request, _)| request.clone());
        let request = request.expect("a transaction that matched is there");
        self.response_of(id, owner, request, response, Some(source), now);
    }

    /// `source` is None where nothing came, and 408 stands for it.
    pub(super) fn response_of(
        &mut self,
        transaction: TransactionId,
        owner: Owner,
        request: Request,
        response: Response,
        source: Option<Flow>,
        now: Instant,
    ) {
        let id = match owner {
            Owner::Call(id) => id,
            Owner::Registration(index) => return self.registration_response(index, request, &response, now),
            Owner::Nobody => return,
        };
        let Some(call) = self.calls.get(&id) else {
            // A call that is over here was taken there.
            if request.method == Method::Invite && response.is_success() {
                self.decline(&request, &response, source, now);
            }
            return;
        };
        let dialing = match &call.phase {
            Phase::Dialing(dialing) => dialing.transaction == transaction,
            Phase::Incoming { .. } | Phase::Established | Phase::Ending => false,
        };
        match request.method {
            Method::Invite if dialing && !response.is_final() => {
                self.dial_provisional(id, &request, &response, source, now);
            }
            Method::Invite if dialing => self.dial_final(id, request, response, source, now),
            Method::Invite if response.is_success() => {
                self.change_success(id, &request, &response, source, now)
            }
            Method::Invite | Method::Update if !response.is_final() => {}
            Method::Update if response.is_success() => {
                let call = self.calls.get_mut(&id).expect("it was just found");
                call.dialog.refresh_target(&response.headers, source.unwrap_or(call.dialog.flow()));
                self.session_agreed(id, &response.headers, now);
            }
            Method::Invite | Method::Update => self.change_refused(id, request, &response, source, now),
            Method::Bye if response.is_final() => match self.login_again(id, &request, &response) {
                Some(again) => self.send_in_call(id, again, now),
                None => self.forget(id),
            },
            Method::Notify if matches!(response.status, 408 | 481) => self.unsubscribe(id),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Message
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => {}
        }
    }

    fn dial_provisional(
        &mut self,
        id: CallId,
        request: &Request,
        response: &Response,
        source: Option<Flow>,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let Phase::Dialing(dialing) = &mut call.phase else { return };
        let first = !dialing.proceeding;
        dialing.proceeding = true;
        if dialing.cancelled {
            if first {
                self.send_cancel(id, now);
            }
            return;
        }
        let Some(tag) = response.head.to.tag().filter(|_| response.status > 100) else { return };
        let flow = source.unwrap_or(dialing.flow);
        if call.dialog.remote.tag() != Some(tag) {
            let sequence = call.dialog.local_sequence;
            call.dialog = Dialog::of_response(request, response, flow);
            call.dialog.local_sequence = sequence;
            dialing.sequence = None;
        }
        call.peer.learn(&response.headers);
        let reliable = response.headers.lists(name::REQUIRE, "100rel");
        if reliable && let Some(sequence) = response.headers.number(name::RSEQ) {
            // RFC 3262, section 4: each once, in order.
            if dialing.sequence.is_some_and(|last| sequence != last.wrapping_add(1)) {
                return;
            }
            dialing.sequence = Some(sequence);
            let answer = body::sdp(&response.headers, &response.body);
            if let (Body::Sdp(sdp), false) = (answer, dialing.answered) {
                dialing.answered = true;
                call.remote_sdp = Some(sdp.clone());
                self.out.event(Event::Answer { call: id, sdp });
            }
            let call = self.calls.get_mut(&id).expect("events end no call");
            let mut prack = call.dialog.request(Method::Prack);
            prack.headers.push(name::RACK, format!("{sequence} {}", request.head.cseq));
            self.send_in_call(id, prack, now);
        }
        if first || response.status == 180 {
            self.out.event(Event::Ringing { call: id });
        }
    }

    fn dial_final(
        &mut self,
        id: CallId,
        request: Request,
        response: Response,
        source: Option<Flow>,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let Phase::Dialing(dialing) = &call.phase else { return };
        let (cancelled, answered, flow) = (dialing.cancelled, dialing.answered, dialing.flow);
        if !response.is_success() {
            if !cancelled && let Some(again) = self.dial_again(id, &request, &response) {
                let owner = Owner::Call(id);
                let transaction = self.transactions.request(again.clone(), flow, owner, &mut self.out, now);
                let call = self.calls.get_mut(&id).expect("nothing has ended it");
                if let Phase::Dialing(dialing) = &mut call.phase {
                    (dialing.transaction, dialing.invite, dialing.proceeding) = (transaction, again, false);
                }
                return;
            }
            // Redirections are not followed: where a call goes is decided here (S2).
            let reason = match source {
                Some(_) => EndReason::Refused(response.status),
                None => EndReason::Lost,
            };
            return if cancelled { self.forget(id) } else { self.ended(id, reason) };
        }
        let sequence = call.dialog.local_sequence;
        call.dialog = Dialog::of_response(&request, &response, source.unwrap_or(flow));
        call.dialog.local_sequence = sequence.max(request.head.cseq.number);
        call.peer.learn(&response.headers);
        call.phase = Phase::Established;
        call.exchange = Exchange::Idle;
        self.out.timers.cancel(Timer::Ringing(id));
        self.out.timers.cancel(Timer::Ending(id));
        self.acknowledge(id, request.head.cseq.number);
        if cancelled {
            return self.send_bye(id, now);
        }
        let call = self.calls.get_mut(&id).expect("nothing has ended it");
        match body::sdp(&response.headers, &response.body) {
            Body::Sdp(sdp) if !answered => {
                call.remote_sdp = Some(sdp.clone());
                self.out.event(Event::Answer { call: id, sdp });
            }
            Body::None | Body::Unusable(_) if !answered => {
                self.send_bye(id, now);
                return self.out.event(Event::Ended { call: id, reason: EndReason::Protocol });
            }
            Body::None | Body::Sdp(_) | Body::Unusable(_) => {}
        }
        self.session_agreed(id, &response.headers, now);
        self.out.event(Event::Accepted { call: id });
    }

    /// The INVITE as the peer wants it: with credentials, or with a longer session.
    fn dial_again(&mut self, id: CallId, request: &Request, response: &Response) -> Option<Request> {
        let mut again = match response.status {
            401 | 407 => return self.login_again(id, request, response),
            422 => request.clone(),
            _ => return None,
        };
        let least = Duration::from_secs(response.headers.number(name::MIN_SE)?.into());
        let asked = request.headers.number(name::MIN_SE).unwrap_or(0);
        if least > SESSION_MIN_MAX || least.as_secs() <= asked.into() {
            return None;
        }
        again.headers.set(name::SESSION_EXPIRES, least.as_secs().max(self.config.session.expires.as_secs()));
        again.headers.set(name::MIN_SE, least.as_secs());
        let call = self.calls.get_mut(&id)?;
        call.dialog.local_sequence += 1;
        let (number, trunk) = (call.dialog.local_sequence, call.trunk);
        let flow = call.dialog.flow();
        self.renumber(&mut again, number, flow, trunk);
        Some(again)
    }

    /// The request again with credentials, if the peer asks for them and they were not sent before.
    fn login_again(&mut self, id: CallId, request: &Request, response: &Response) -> Option<Request> {
        let call = self.calls.get_mut(&id)?;
        let login = call.login.clone()?;
        let flow = call.dialog.next_hop();
        let (number, trunk) = (call.dialog.local_sequence + 1, call.trunk);
        let again = self.with_credentials(request, response, &login, number, flow, trunk)?;
        self.calls.get_mut(&id)?.dialog.local_sequence = number;
        Some(again)
    }

    /// RFC 3261, section 22.2: the same request with the next number and a branch of its own.
    pub(super) fn with_credentials(
        &mut self,
        request: &Request,
        response: &Response,
        login: &Login,
        number: u32,
        flow: Flow,
        trunk: Option<TrunkId>,
    ) -> Option<Request> {
        let (asks, answers) = match response.status {
            401 => (name::WWW_AUTHENTICATE, name::AUTHORIZATION),
            407 => (name::PROXY_AUTHENTICATE, name::PROXY_AUTHORIZATION),
            _ => return None,
        };
        // The first that is spoken here is the one that the peer likes best (RFC 8760, section 2.4).
        let challenge = response.headers.all(asks).find_map(Challenge::parse)?;
        if request.headers.first(answers).is_some() && !challenge.stale {
            return None;
        }
        let mut again = request.clone();
        let (uri, cnonce) = (request.uri.to_string(), self.random.token());
        let method = request.method.as_str();
        again.headers.set(answers, challenge.answer(&login.user, &login.password, method, &uri, &cnonce));
        self.renumber(&mut again, number, flow, trunk);
        Some(again)
    }

    fn renumber(&mut self, request: &mut Request, number: u32, flow: Flow, trunk: Option<TrunkId>) {
        request.head.cseq.number = number;
        request.headers.set(name::CSEQ, &request.head.cseq);
        self.stamp(request, flow, trunk);
    }

    /// A 2xx to a re-INVITE, or another to the first one.
    fn change_success(
        &mut self,
        id: CallId,
        request: &Request,
        response: &Response,
        source: Option<Flow>,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        if call.dialog.remote.tag() != response.head.to.tag() {
            // Another branch of a fork was taken too (section 13.2.2.4).
            return self.decline(request, response, source, now);
        }
        let number = request.head.cseq.number;
        if let Some((_, flow, bytes)) = call.acknowledged.clone().filter(|(known, ..)| *known == number) {
            return self.out.send(flow, bytes);
        }
        call.dialog.refresh_target(&response.headers, source.unwrap_or(call.dialog.flow()));
        call.peer.learn(&response.headers);
        let exchange = std::mem::replace(&mut call.exchange, Exchange::Idle);
        let before = call.remote_sdp.clone();
        let answer = match body::sdp(&response.headers, &response.body) {
            Body::Sdp(sdp) => Some(sdp),
            Body::None | Body::Unusable(_) => None,
        };
        self.acknowledge(id, number);
        if self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Ending)) {
            return;
        }
        self.session_agreed(id, &response.headers, now);
        let refresh = exchange == Exchange::OurOffer { refresh: true };
        let call = self.calls.get_mut(&id).expect("nothing has ended it");
        match answer {
            Some(sdp) => {
                call.remote_sdp = Some(sdp.clone());
                if !refresh || before.as_ref() != Some(&sdp) {
                    self.out.event(Event::Answer { call: id, sdp });
                }
            }
            None if !refresh => {
                self.send_bye(id, now);
                self.out.event(Event::Ended { call: id, reason: EndReason::Protocol });
            }
            None => {}
        }
    }

    fn change_refused(
        &mut self,
        id: CallId,
        request: Request,
        response: &Response,
        source: Option<Flow>,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        if matches!(call.phase, Phase::Ending) {
            return;
        }
        if let Some(again) = self.login_again(id, &request, response) {
            let flow = self.calls.get(&id).expect("nothing has ended it").dialog.next_hop();
            self.transactions.request(again, flow, Owner::Call(id), &mut self.out, now);
            return;
        }
        let call = self.calls.get_mut(&id).expect("nothing has ended it");
        let refresh =
            request.method == Method::Update || call.exchange == Exchange::OurOffer { refresh: true };
        if request.method == Method::Invite {
            call.exchange = Exchange::Idle;
        }
        match (response.status, refresh) {
            // Section 12.2.1.2: the peer is gone, or knows nothing of the call.
            (408 | 481, _) => {
                self.send_bye(id, now);
                self.out.event(Event::Ended { call: id, reason: EndReason::Lost });
            }
            (491, false) => {
                let pause = self.glare_pause(id);
                self.out.timers.set(Timer::Glare(id), now + pause);
            }
            (491, true) => self.refresh_again(id, now),
            // Whoever claims UPDATE and refuses it is refreshed by INVITE.
            (405 | 501, true) if request.method == Method::Update => {
                call.peer.update = false;
                self.out.timers.set(Timer::Session(id), now);
            }
            (status, false) => self.out.event(Event::OfferRefused { call: id, status }),
            // A refusal came, so the peer is there: the session goes on (RFC 4028, section 10).
            (_, true) => {
                if source.is_some() {
                    self.session_agreed(id, &crate::headers::Headers::default(), now);
                }
            }
        }
    }

    /// Sends the ACK of a 2xx, and keeps it for when the 2xx comes again.
    fn acknowledge(&mut self, id: CallId, number: u32) {
        let call = self.calls.get(&id).expect("the caller has found it");
        let (flow, trunk) = (call.dialog.next_hop(), call.trunk);
        let mut ack = call.dialog.acknowledgement(number);
        self.stamp(&mut ack, flow, trunk);
        let bytes = ack.bytes();
        self.out.send(flow, bytes.clone());
        self.calls.get_mut(&id).expect("it was just found").acknowledged = Some((number, flow, bytes));
    }

    /// Takes a call that nobody wants any more, and hangs up.
    fn decline(&mut self, request: &Request, response: &Response, source: Option<Flow>, now: Instant) {
        let Some(source) = source else { return };
        let mut dialog = Dialog::of_response(request, response, source);
        let flow = dialog.next_hop();
        let mut ack = dialog.acknowledgement(request.head.cseq.number);
        self.stamp(&mut ack, flow, None);
        self.out.send(flow, ack.bytes());
        let mut bye = dialog.request(Method::Bye);
        self.stamp(&mut bye, flow, None);
        self.transactions.request(bye, flow, Owner::Nobody, &mut self.out, now);
    }
}
