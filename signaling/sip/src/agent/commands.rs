//! What the conference plane wants done.

use std::time::Instant;

use super::{Agent, Owner, abilities};
use crate::body;
use crate::call::{Abilities, Call, Dialing, Exchange, Phase, Reliable, SessionAsked};
use crate::dial_out::DialError;
use crate::dialog::Dialog;
use crate::guard::Allowance;
use crate::headers::{CSeq, Headers, Via, name};
use crate::io::{CallId, Callee, CommandError, Dial, EndReason, Event};
use crate::message::{Head, Request};
use crate::method::Method;
use crate::timers::{GIVE_UP, T1, Timer};
use crate::uri::NameAddr;

impl Agent {
    /// Tells the caller that it rings here: reliably, where the caller requires that (RFC 3262).
    pub fn ring(&mut self, id: CallId, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get(&id).ok_or(CommandError::NoCall)?;
        let Phase::Incoming { transaction, cseq, reliable } = call.phase else {
            return Err(CommandError::Unfit);
        };
        let request = call.pending.as_ref().ok_or(CommandError::Unfit)?;
        if reliable && matches!(call.exchange, Exchange::OfferWanted { .. }) {
            // The first reliable response would have to carry our offer (RFC 3262, section 5).
            return Ok(());
        }
        if call.reliable.is_some() {
            return Err(CommandError::Unfit);
        }
        let mut response = self.response_with_tag(request, 180, call.dialog.local_tag());
        for route in request.headers.all(name::RECORD_ROUTE) {
            response.headers.push(name::RECORD_ROUTE, route);
        }
        response
            .headers
            .push(name::CONTACT, self.contact(call.dialog.flow(), call.trunk, &call.contact_user));
        response.headers.push(name::ALLOW, super::ALLOW);
        if reliable {
            // RFC 3262, section 3: below 2^31, so that it can be counted up.
            let sequence = u32::from_be_bytes(self.random.bytes()) >> 1 | 1;
            response.headers.push(name::REQUIRE, "100rel");
            response.headers.push(name::RSEQ, sequence);
            let flow = self.transactions.flow_of(transaction).ok_or(CommandError::Unfit)?;
            let repeat = self.repeat(response.bytes(), flow, cseq, now);
            let call = self.calls.get_mut(&id).expect("it was just found");
            call.reliable = Some(Reliable { repeat, sequence });
            self.out.timers.set(Timer::Reliable(id), now + T1);
        }
        self.transactions.respond(transaction, &response, &mut self.out, now);
        Ok(())
    }

    /// Accepts what the peer waits for: its call, or its change. `sdp` answers its offer, or is the
    /// offer that it wanted.
    pub fn answer(&mut self, id: CallId, sdp: String, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get(&id).ok_or(CommandError::NoCall)?;
        if call.pending.is_none() {
            return Err(CommandError::Unfit);
        }
        self.answer_pending(id, sdp, now);
        Ok(())
    }

    pub(super) fn answer_pending(&mut self, id: CallId, sdp: String, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let Some(request) = call.pending.take() else { return };
        let (transaction, invite, next) = match call.exchange {
            Exchange::TheirOffer { transaction, invite } => (transaction, invite, Exchange::Idle),
            Exchange::OfferWanted { transaction } => (transaction, true, Exchange::OurOfferInSuccess),
            Exchange::Idle | Exchange::OurOffer { .. } | Exchange::OurOfferInSuccess => return,
        };
        call.exchange = next;
        if let Phase::Incoming { .. } = call.phase {
            call.phase = Phase::Established;
        }
        call.reliable = None;
        call.local_sdp = Some(sdp.clone());
        self.out.timers.cancel(Timer::Ringing(id));
        self.out.timers.cancel(Timer::Reliable(id));
        let response = self.success(id, &request, Some(&sdp), now);
        if invite && let Some(flow) = self.transactions.flow_of(transaction) {
            let repeat = self.repeat(response.bytes(), flow, request.head.cseq.number, now);
            let call = self.calls.get_mut(&id).expect("nothing has ended it");
            call.success = Some(repeat);
            self.out.timers.set(Timer::Success(id), now + T1);
        }
        self.transactions.respond(transaction, &response, &mut self.out, now);
    }

    /// Refuses what the peer waits for: its call, which ends, or its change, after which what was agreed
    /// before holds. 488 says that no media fits (RFC 3261, section 21.4.26).
    pub fn reject(&mut self, id: CallId, status: u16, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::NoCall)?;
        let (Exchange::TheirOffer { transaction, .. } | Exchange::OfferWanted { transaction }) =
            call.exchange
        else {
            return Err(CommandError::Unfit);
        };
        let request = call.pending.take().ok_or(CommandError::Unfit)?;
        call.exchange = Exchange::Idle;
        let initial = matches!(call.phase, Phase::Incoming { .. });
        let status = if (300..700).contains(&status) { status } else { 500 };
        self.reply_in_call(id, transaction, &request, status, now);
        if initial {
            self.forget(id);
        }
        Ok(())
    }

    pub(super) fn refuse_call(&mut self, id: CallId, status: u16, reason: EndReason, now: Instant) {
        if self.reject(id, status, now).is_ok() {
            self.out.event(Event::Ended { call: id, reason });
        }
    }

    /// Ends a call in whatever state it is. No [`Event::Ended`] follows.
    pub fn hang_up(&mut self, id: CallId, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::NoCall)?;
        match &mut call.phase {
            Phase::Incoming { .. } => self.reject(id, 480, now),
            Phase::Dialing(dialing) if dialing.cancelled => Err(CommandError::Unfit),
            Phase::Dialing(dialing) => {
                dialing.cancelled = true;
                let proceeding = dialing.proceeding;
                self.out.timers.cancel(Timer::Ringing(id));
                self.out.timers.set(Timer::Ending(id), now + GIVE_UP * 2);
                if proceeding {
                    self.send_cancel(id, now);
                }
                Ok(())
            }
            Phase::Established => {
                if call.success.is_some() {
                    call.hang_up_wanted = true;
                } else {
                    self.send_bye(id, now);
                }
                Ok(())
            }
            Phase::Ending => Err(CommandError::Unfit),
        }
    }

    /// Changes the media, or takes them back from hold.
    pub fn offer(&mut self, id: CallId, sdp: String, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::NoCall)?;
        let free = matches!(call.phase, Phase::Established)
            && call.exchange == Exchange::Idle
            && call.success.is_none()
            && !call.hang_up_wanted;
        if !free {
            return Err(CommandError::Unfit);
        }
        self.out.timers.cancel(Timer::Glare(id));
        call.exchange = Exchange::OurOffer { refresh: false };
        call.local_sdp = Some(sdp.clone());
        let request = call.dialog.request(Method::Invite);
        self.send_change(id, request, Some(sdp), now);
        Ok(())
    }

    /// Asks for a key frame by INFO (RFC 5168): for peers without feedback in RTCP.
    pub fn request_key_frame(&mut self, id: CallId, now: Instant) -> Result<(), CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::NoCall)?;
        if !matches!(call.phase, Phase::Established) {
            return Err(CommandError::Unfit);
        }
        let mut request = call.dialog.request(Method::Info);
        request.headers.push(name::CONTENT_TYPE, body::PICTURE_FAST_UPDATE_TYPE);
        request.body = body::PICTURE_FAST_UPDATE.as_bytes().to_vec();
        self.send_in_call(id, request, now);
        Ok(())
    }

    /// Calls somebody, if that is allowed (S2).
    pub fn dial(&mut self, dial: Dial, now: Instant) -> Result<CallId, DialError> {
        let (target, flow, listed) = match dial.callee {
            Callee::Uri { target, flow } => (target, flow, true),
            Callee::Device { user, binding } => {
                if !self.registrar.bindings(&user).contains(&binding) {
                    return Err(DialError::NotRegistered);
                }
                (binding.contact, binding.flow, false)
            }
        };
        if self.announced(flow, dial.trunk).is_none() {
            return Err(DialError::NoAddress);
        }
        if self.calls.len() >= self.config.limits.calls_max {
            return Err(DialError::Full);
        }
        self.ledger.admit(self.config.dial_out.as_ref(), listed.then_some(&target), now)?;
        let (id, tag) = (self.next_call(), self.random.token());
        let contact_user = self.random.token();
        let (host, _) = self.announced(flow, dial.trunk).expect("it was just found");
        let head = Head {
            via: Via {
                transport: String::new(),
                host: String::new(),
                port: None,
                params: Default::default(),
            },
            from: dial.from.with_tag(&tag),
            to: NameAddr::new(target.clone()),
            call_id: format!("{}@{}", self.random.token(), host.trim_matches(['[', ']'])),
            cseq: CSeq { number: 1, method: Method::Invite },
        };
        let mut headers = Headers::default();
        headers.push(name::MAX_FORWARDS, 70);
        headers.push(name::FROM, &head.from);
        headers.push(name::TO, &head.to);
        headers.push(name::CALL_ID, &head.call_id);
        headers.push(name::CSEQ, &head.cseq);
        headers.push(name::CONTACT, self.contact(flow, dial.trunk, &contact_user));
        abilities(&mut headers);
        self.ask_session(&mut headers, None);
        headers.push(name::CONTENT_TYPE, body::SDP);
        let body = dial.offer.clone().into_bytes();
        let mut invite = Request { method: Method::Invite, uri: target, head, headers, body };
        self.stamp(&mut invite, flow, dial.trunk);
        let dialog = Dialog::of_dialing(&invite, flow);
        let transaction =
            self.transactions.request(invite.clone(), flow, Owner::Call(id), &mut self.out, now);
        let dialing = Dialing {
            transaction,
            invite,
            flow,
            proceeding: false,
            cancelled: false,
            answered: false,
            sequence: None,
        };
        let call = Call {
            dialog,
            phase: Phase::Dialing(Box::new(dialing)),
            exchange: Exchange::OurOffer { refresh: false },
            source: flow.address.ip(),
            guest: false,
            dialed: true,
            trunk: dial.trunk,
            contact_user,
            login: dial.login,
            peer: Abilities::default(),
            pending: None,
            asked: SessionAsked::default(),
            local_sdp: Some(dial.offer),
            remote_sdp: None,
            session: None,
            success: None,
            reliable: None,
            acknowledged: None,
            hang_up_wanted: false,
            requests: Allowance::new(now),
            subscription: None,
        };
        self.tags.insert(tag, id);
        self.calls.insert(id, call);
        self.out.timers.set(Timer::Ringing(id), now + self.config.session.ringing);
        Ok(id)
    }

    pub(super) fn ringing_too_long(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get(&id) else { return };
        match call.phase {
            Phase::Incoming { .. } => self.refuse_call(id, 480, EndReason::NoAnswer, now),
            Phase::Dialing(_) => {
                if self.hang_up(id, now).is_ok() {
                    self.out.event(Event::Ended { call: id, reason: EndReason::NoAnswer });
                }
            }
            Phase::Established | Phase::Ending => {}
        }
    }

    /// Sends a request within the call that asks for nothing of offer and answer.
    pub(super) fn send_in_call(&mut self, id: CallId, mut request: Request, now: Instant) {
        let call = self.calls.get(&id).expect("the caller has found it");
        let (flow, trunk) = (call.dialog.next_hop(), call.trunk);
        self.stamp(&mut request, flow, trunk);
        self.transactions.request(request, flow, Owner::Call(id), &mut self.out, now);
    }

    pub(super) fn send_bye(&mut self, id: CallId, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        if let (
            Exchange::TheirOffer { transaction, .. } | Exchange::OfferWanted { transaction },
            Some(pending),
        ) = (call.exchange, call.pending.take())
        {
            self.reply_in_call(id, transaction, &pending, 487, now);
        }
        let call = self.calls.get_mut(&id).expect("replies end no call");
        call.phase = Phase::Ending;
        (call.exchange, call.success, call.reliable) = (Exchange::Idle, None, None);
        let request = call.dialog.request(Method::Bye);
        for timer in [Timer::Success(id), Timer::Reliable(id), Timer::Session(id), Timer::Glare(id)] {
            self.out.timers.cancel(timer);
        }
        self.send_in_call(id, request, now);
        self.out.timers.set(Timer::Ending(id), now + GIVE_UP * 2);
    }

    /// RFC 3261, section 9.1: all but the method as in the INVITE, and by the same way.
    pub(super) fn send_cancel(&mut self, id: CallId, now: Instant) {
        let Some(Phase::Dialing(dialing)) = self.calls.get(&id).map(|call| &call.phase) else { return };
        let (invite, flow) = (&dialing.invite, dialing.flow);
        let mut head = invite.head.clone();
        head.cseq.method = Method::Cancel;
        let mut headers = Headers::default();
        headers.push(name::VIA, &head.via);
        headers.push(name::MAX_FORWARDS, 70);
        headers.push(name::FROM, &head.from);
        headers.push(name::TO, &head.to);
        headers.push(name::CALL_ID, &head.call_id);
        headers.push(name::CSEQ, &head.cseq);
        let cancel =
            Request { method: Method::Cancel, uri: invite.uri.clone(), head, headers, body: Vec::new() };
        self.transactions.request(cancel, flow, Owner::Nobody, &mut self.out, now);
    }
}
