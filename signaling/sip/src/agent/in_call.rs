//! Requests within a call.

use std::time::{Duration, Instant};

use super::{ALLOW, Agent, abilities};
use crate::body::{self, Body, Info};
use crate::call::{Exchange, Phase, SessionAsked};
use crate::flow::Flow;
use crate::headers::name;
use crate::io::{CallId, EndReason, Event};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::timers::{T1, T2, Timer};
use crate::transaction::TransactionId;

impl Agent {
    pub(super) fn request_in_call(
        &mut self,
        id: CallId,
        request: Request,
        source: Flow,
        flow: Flow,
        now: Instant,
    ) {
        if request.method == Method::Ack {
            return self.acknowledged(id, &request, now);
        }
        let rate = self.config.limits.requests_of_call;
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        if !call.requests.take(rate, now) {
            self.counters.dropped += 1;
            return;
        }
        if let Err(refused) = self.check_room(&request).and_then(|()| self.check_extensions(&request)) {
            return self.out.send(flow, refused.bytes());
        }
        let call = self.calls.get_mut(&id).expect("checks end no call");
        let ending = matches!(call.phase, Phase::Ending) && request.method != Method::Bye;
        let in_order = call.follows(&request.head);
        let transaction = self.transactions.serve(&request, flow);
        if ending {
            return self.reply(transaction, &request, 481, now);
        }
        if !in_order {
            return self.reply(transaction, &request, 500, now);
        }
        match request.method {
            Method::Invite => self.reinvite(id, transaction, request, source, now),
            Method::Update => self.update(id, transaction, request, source, now),
            Method::Bye => self.bye(id, transaction, &request, now),
            Method::Prack => self.prack(id, transaction, &request, now),
            Method::Info => self.info(id, transaction, &request, now),
            Method::Options => {
                let mut response = self.response(&request, 200);
                abilities(&mut response.headers);
                self.transactions.respond(transaction, &response, &mut self.out, now);
            }
            Method::Subscribe => self.subscribe_in_call(id, transaction, &request, now),
            Method::Register | Method::Notify | Method::Message | Method::Refer | Method::Publish => {
                let mut response = self.response(&request, 405);
                response.headers.push(name::ALLOW, ALLOW);
                self.transactions.respond(transaction, &response, &mut self.out, now);
            }
            Method::Other(_) => self.reply(transaction, &request, 501, now),
            // Both were dealt with before.
            Method::Ack | Method::Cancel => {}
        }
    }

    pub(super) fn reply(&mut self, transaction: TransactionId, request: &Request, status: u16, now: Instant) {
        let mut response = self.response(request, status);
        if status == 500 {
            // RFC 3261, section 14.2: between 0 and 10 s.
            let pause = self.random.between(Duration::ZERO, Duration::from_secs(10));
            response.headers.push(name::RETRY_AFTER, pause.as_secs());
        }
        self.transactions.respond(transaction, &response, &mut self.out, now);
    }

    fn reinvite(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: Request,
        source: Flow,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let established = matches!(call.phase, Phase::Established);
        match call.exchange {
            // RFC 3261, section 14.2; a 2xx of ours without its ACK is an exchange that has not ended.
            Exchange::OurOffer { .. } | Exchange::OurOfferInSuccess => {
                return self.reply(transaction, &request, 491, now);
            }
            Exchange::Idle if established && call.success.is_none() => {}
            Exchange::Idle | Exchange::TheirOffer { .. } | Exchange::OfferWanted { .. } => {
                return self.reply(transaction, &request, 500, now);
            }
        }
        self.change(id, transaction, request, source, true, now);
    }

    fn update(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: Request,
        source: Flow,
        now: Instant,
    ) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let offers = !request.body.is_empty();
        match call.exchange {
            // RFC 3311, section 5.2.
            Exchange::OurOffer { .. } | Exchange::OurOfferInSuccess if offers => {
                return self.reply(transaction, &request, 491, now);
            }
            Exchange::TheirOffer { .. } | Exchange::OfferWanted { .. } if offers => {
                return self.reply(transaction, &request, 500, now);
            }
            Exchange::Idle
            | Exchange::OurOffer { .. }
            | Exchange::OurOfferInSuccess
            | Exchange::TheirOffer { .. }
            | Exchange::OfferWanted { .. } => {}
        }
        self.change(id, transaction, request, source, false, now);
    }

    /// An INVITE or UPDATE that may change the media, and refreshes target and session.
    fn change(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: Request,
        source: Flow,
        invite: bool,
        now: Instant,
    ) {
        let asked = SessionAsked::of(&request.headers);
        if let Err(refused) = self.check_session(&request, &asked) {
            return self.transactions.respond(transaction, &refused, &mut self.out, now);
        }
        let offer = match body::sdp(&request.headers, &request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp),
            Body::Unusable(status) => return self.reply(transaction, &request, status, now),
        };
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        call.dialog.refresh_target(&request.headers, source);
        call.peer.learn(&request.headers);
        call.asked = asked;
        if invite {
            self.transactions.respond(transaction, &Response::to(&request, 100, None), &mut self.out, now);
        } else if offer.is_none() {
            // A refresh of the session, which asks for no answer of the conference plane.
            let response = self.success(id, &request, None, now);
            return self.transactions.respond(transaction, &response, &mut self.out, now);
        }
        let call = self.calls.get_mut(&id).expect("nothing has ended it");
        call.exchange = match offer {
            Some(_) => Exchange::TheirOffer { transaction, invite },
            None => Exchange::OfferWanted { transaction },
        };
        call.pending = Some(request);
        // What was offered before is agreed already: the peer refreshes the session.
        let agreed = call.local_sdp.clone().filter(|_| offer.is_some() && offer == call.remote_sdp);
        match agreed {
            Some(sdp) => self.answer_pending(id, sdp, now),
            None => self.out.event(Event::Offer { call: id, sdp: offer }),
        }
    }

    /// The ACK of a 2xx of ours.
    fn acknowledged(&mut self, id: CallId, request: &Request, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let Some(repeat) = call.success.take_if(|repeat| repeat.cseq == request.head.cseq.number) else {
            return;
        };
        drop(repeat);
        self.out.timers.cancel(Timer::Success(id));
        if call.hang_up_wanted {
            return self.send_bye(id, now);
        }
        let wanted = call.exchange == Exchange::OurOfferInSuccess;
        match body::sdp(&request.headers, &request.body) {
            Body::Sdp(sdp) if wanted => {
                call.exchange = Exchange::Idle;
                call.remote_sdp = Some(sdp.clone());
                self.out.event(Event::Answer { call: id, sdp });
                self.out.event(Event::Confirmed { call: id });
            }
            Body::None | Body::Unusable(_) if wanted => {
                // Our offer has no answer (RFC 3261, section 13.2.1): there is no session.
                self.send_bye(id, now);
                self.out.event(Event::Ended { call: id, reason: EndReason::Protocol });
            }
            Body::None | Body::Sdp(_) | Body::Unusable(_) => self.out.event(Event::Confirmed { call: id }),
        }
    }

    fn bye(&mut self, id: CallId, transaction: TransactionId, request: &Request, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let ending = matches!(call.phase, Phase::Ending);
        let pending = call.pending.take();
        let exchange = call.exchange;
        self.reply(transaction, request, 200, now);
        // What still waits for an answer gets 487 (section 15.1.2).
        if let (
            Exchange::TheirOffer { transaction, .. } | Exchange::OfferWanted { transaction },
            Some(pending),
        ) = (exchange, pending)
        {
            self.reply_in_call(id, transaction, &pending, 487, now);
        }
        if ending { self.forget(id) } else { self.ended(id, EndReason::HungUp) }
    }

    /// A refusal with the tag of the dialog.
    pub(super) fn reply_in_call(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: &Request,
        status: u16,
        now: Instant,
    ) {
        let Some(call) = self.calls.get(&id) else { return };
        let response = self.response_with_tag(request, status, call.dialog.local_tag());
        self.transactions.respond(transaction, &response, &mut self.out, now);
    }

    /// CANCEL (section 9.2). It comes the way of its INVITE: from elsewhere it means nothing.
    pub(super) fn cancel(&mut self, request: &Request, flow: Flow, now: Instant) {
        let invite = self.transactions.cancelled(request);
        let invite = invite.filter(|id| {
            self.transactions.flow_of(*id).is_some_and(|known| known.address.ip() == flow.address.ip())
        });
        let Some(invite) = invite else {
            if self.may_be_answered(flow, now) {
                let response = self.response(request, 481);
                self.out.send(flow, response.bytes());
            }
            return;
        };
        let transaction = self.transactions.serve(request, flow);
        let found = self.calls.iter().find_map(|(id, call)| match call.exchange {
            Exchange::TheirOffer { transaction, .. } | Exchange::OfferWanted { transaction }
                if transaction == invite =>
            {
                Some(*id)
            }
            Exchange::TheirOffer { .. }
            | Exchange::OfferWanted { .. }
            | Exchange::Idle
            | Exchange::OurOffer { .. }
            | Exchange::OurOfferInSuccess => None,
        });
        let Some(id) = found else {
            // The INVITE has its final response: the CANCEL has no effect.
            return self.reply(transaction, request, 200, now);
        };
        let call = self.calls.get_mut(&id).expect("it was just found");
        let response = Response::to(request, 200, Some(call.dialog.local_tag()));
        call.exchange = Exchange::Idle;
        let initial = matches!(call.phase, Phase::Incoming { .. });
        let pending = call.pending.take();
        self.transactions.respond(transaction, &response, &mut self.out, now);
        if let Some(pending) = pending {
            self.reply_in_call(id, invite, &pending, 487, now);
        }
        if initial {
            self.ended(id, EndReason::Cancelled);
        }
    }

    /// RFC 3262, section 3.
    fn prack(&mut self, id: CallId, transaction: TransactionId, request: &Request, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let named = request.headers.first(name::RACK).and_then(|value| {
            let mut words = value.split_whitespace();
            let (sequence, cseq) = (words.next()?.parse::<u32>().ok()?, words.next()?.parse::<u32>().ok()?);
            Some((sequence, cseq, words.next()?.to_owned()))
        });
        let Some((sequence, cseq, method)) = named else { return self.reply(transaction, request, 400, now) };
        let fits = |reliable: &mut crate::call::Reliable| {
            reliable.sequence == sequence && reliable.repeat.cseq == cseq && method == "INVITE"
        };
        match call.reliable.take_if(fits) {
            Some(_) => {
                self.out.timers.cancel(Timer::Reliable(id));
                self.reply(transaction, request, 200, now);
            }
            None => self.reply(transaction, request, 481, now),
        }
    }

    fn info(&mut self, id: CallId, transaction: TransactionId, request: &Request, now: Instant) {
        let event = match body::info(&request.headers, &request.body) {
            Info::Digit(digit, duration) => Some(Event::Digit { call: id, digit, duration }),
            Info::KeyFrame => Some(Event::KeyFrameWanted { call: id }),
            Info::Nothing => None,
            Info::Unknown => {
                // RFC 6086, section 4.2.2, for packages; RFC 2976 for what came before them.
                let status = if request.headers.first("Info-Package").is_some() { 469 } else { 415 };
                return self.reply(transaction, request, status, now);
            }
        };
        self.reply(transaction, request, 200, now);
        if let Some(event) = event {
            self.out.event(event);
        }
    }

    /// A 2xx is repeated until its ACK comes, whatever the transport (section 13.3.1.4).
    pub(super) fn repeat_success(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(repeat) = &mut call.success else { return };
        if now >= repeat.until {
            call.success = None;
            self.send_bye(id, now);
            return self.out.event(Event::Ended { call: id, reason: EndReason::Lost });
        }
        repeat.interval = (repeat.interval * 2).min(T2);
        let next = (now + repeat.interval).min(repeat.until);
        self.out.send(repeat.flow, repeat.bytes.clone());
        self.out.timers.set(Timer::Success(id), next);
    }

    pub(super) fn repeat_reliable(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(reliable) = &mut call.reliable else { return };
        let repeat = &mut reliable.repeat;
        if now >= repeat.until {
            // RFC 3262, section 3: the request is rejected with a 5xx.
            call.reliable = None;
            return self.refuse_call(id, 504, EndReason::Lost, now);
        }
        repeat.interval *= 2;
        let next = (now + repeat.interval).min(repeat.until);
        self.out.send(repeat.flow, repeat.bytes.clone());
        self.out.timers.set(Timer::Reliable(id), next);
    }

    /// A message of ours that is repeated from now on.
    pub(super) fn repeat(&self, bytes: Vec<u8>, flow: Flow, cseq: u32, now: Instant) -> crate::call::Repeat {
        crate::call::Repeat { bytes, flow, interval: T1, until: now + crate::timers::GIVE_UP, cseq }
    }
}
