//! Requests that belong to no call.

use std::net::IpAddr;
use std::time::Instant;

use super::{ALLOW, Agent, EXTENSIONS, abilities};
use crate::body::{self, Body};
use crate::call::{Abilities, Call, Exchange, Phase, SessionAsked};
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::guard::{Allowance, network};
use crate::headers::name;
use crate::io::{CallId, Caller, Event, Incoming};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::timers::Timer;
use crate::uri::Uri;

/// A refusal without a state, or nothing more to say.
type Outcome = Result<(), Box<Response>>;

impl Agent {
    /// The order of the checks is that of RFC 3261, section 8.2. Refusals leave no state behind, so a
    /// flood of what is refused costs no memory, and nothing of it is ever repeated to a forged address
    /// (section 8.2.7).
    pub(super) fn request_outside(
        &mut self,
        request: Request,
        source: Flow,
        flow: Flow,
        now: Instant,
    ) -> Outcome {
        if let Method::Other(_) = request.method {
            let mut response = self.response(&request, 501);
            response.headers.push(name::ALLOW, ALLOW);
            return Err(Box::new(response));
        }
        if let Uri::Other(_) = request.uri {
            return self.refuse(&request, 416);
        }
        self.check_extensions(&request)?;
        if request.head.to.tag().is_some() {
            return self.refuse(&request, 481);
        }
        match request.method {
            Method::Invite => self.invite(request, source, flow, now),
            Method::Register => self.register_account(request, source, flow, now),
            Method::Options => self.options(&request, flow),
            Method::Subscribe => self.subscribe(request, source, flow, now),
            Method::Bye | Method::Prack | Method::Update | Method::Info => self.refuse(&request, 481),
            Method::Notify | Method::Message | Method::Refer | Method::Publish => {
                let mut response = self.response(&request, 405);
                response.headers.push(name::ALLOW, ALLOW);
                Err(Box::new(response))
            }
            // An ACK has no answer, a CANCEL has been dealt with, and others were refused above.
            Method::Ack | Method::Cancel | Method::Other(_) => Ok(()),
        }
    }

    /// 420 for what is required and not spoken here (section 8.2.2.3).
    pub(super) fn check_extensions(&mut self, request: &Request) -> Outcome {
        let known = |option: &&str| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(option));
        let unknown: Vec<&str> =
            request.headers.list(name::REQUIRE).filter(|option| !known(option)).take(16).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown = unknown.join(", ");
        let mut response = self.response(request, 420);
        response.headers.push(name::UNSUPPORTED, unknown);
        Err(Box::new(response))
    }

    pub(super) fn refuse(&mut self, request: &Request, status: u16) -> Outcome {
        Err(Box::new(self.response(request, status)))
    }

    /// Monitors and trunks ask whether somebody is there. Everybody is told the same.
    fn options(&mut self, request: &Request, flow: Flow) -> Outcome {
        let mut response = self.response(request, 200);
        abilities(&mut response.headers);
        response.headers.push(name::ACCEPT, body::SDP);
        self.out.send(flow, response.bytes());
        Ok(())
    }

    fn register_account(&mut self, request: Request, source: Flow, flow: Flow, now: Instant) -> Outcome {
        let ours = request.uri.host().is_some_and(|host| self.is_ours(&host));
        if !ours {
            return self.refuse(&request, 404);
        }
        let Some(user) = self.authenticate(&request, source, now)? else {
            return Err(Box::new(self.challenge(&request, false, now)));
        };
        // Whoever has a password registers its own account and no other (section 10.3).
        if request.head.to.uri.user().as_deref() != Some(user.as_str()) {
            return self.refuse(&request, 403);
        }
        self.check_room(&request)?;
        let response = match self.registrar.register(&user, &request, source, now) {
            Ok(headers) => {
                let mut response = self.response(&request, 200);
                for (field, value) in headers.iter() {
                    response.headers.push_parsed(field, value.to_owned());
                }
                self.tell_bindings(user);
                self.set_expiry();
                response
            }
            Err(refused) => {
                let mut response = self.response(&request, refused.status);
                if let Some((field, value)) = refused.detail {
                    response.headers.push(field, value);
                }
                response
            }
        };
        // The nonce is used up: a retransmission finds the response of this transaction.
        let transaction = self.transactions.serve(&request, flow);
        self.transactions.respond(transaction, &response, &mut self.out, now);
        Ok(())
    }

    fn invite(&mut self, request: Request, source: Flow, flow: Flow, now: Instant) -> Outcome {
        let caller = self.admit(&request, source, now)?;
        let Some(called) = self.called(&request.uri, &caller) else { return self.refuse(&request, 404) };
        let guest = caller == Caller::Guest;
        let asked = SessionAsked::of(&request.headers);
        self.check_merged(&request)?;
        self.check_session(&request, &asked)?;
        self.check_room(&request)?;
        self.check_calls(&request, source.address.ip(), guest)?;
        let offer = match body::sdp(&request.headers, &request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp),
            Body::Unusable(status) => {
                let mut response = self.response(&request, status);
                response.headers.push(name::ACCEPT, body::SDP);
                return Err(Box::new(response));
            }
        };
        let tag = self.random.token();
        let Some(dialog) = Dialog::of_request(&request, &tag, source) else {
            return self.refuse(&request, 400);
        };
        let transaction = self.transactions.serve(&request, flow);
        self.transactions.respond(transaction, &Response::to(&request, 100, None), &mut self.out, now);
        let id = self.next_call();
        let trunk = match caller {
            Caller::Trunk(trunk) => Some(trunk),
            Caller::Account(_) | Caller::Guest => None,
        };
        let reliable = request.headers.lists(name::REQUIRE, "100rel");
        let mut peer = Abilities::default();
        peer.learn(&request.headers);
        let incoming = Incoming {
            call: id,
            caller,
            called,
            from: request.head.from.clone(),
            flow: source,
            offer: offer.clone(),
            user_agent: request.headers.first(name::USER_AGENT).map(str::to_owned),
        };
        let call = Call {
            dialog,
            phase: Phase::Incoming { transaction, cseq: request.head.cseq.number, reliable },
            exchange: match offer {
                Some(_) => Exchange::TheirOffer { transaction, invite: true },
                None => Exchange::OfferWanted { transaction },
            },
            source: source.address.ip(),
            guest,
            dialed: false,
            trunk,
            contact_user: self.random.token(),
            login: None,
            peer,
            pending: Some(request),
            asked,
            local_sdp: None,
            remote_sdp: offer,
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
        self.out.event(Event::Incoming(Box::new(incoming)));
        Ok(())
    }

    pub(super) fn next_call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    /// The same request by two ways is one call (section 8.2.2.2).
    fn check_merged(&mut self, request: &Request) -> Outcome {
        let head = &request.head;
        let merged = self.calls.values().filter_map(|call| call.pending.as_ref()).any(|pending| {
            pending.head.call_id == head.call_id
                && pending.head.from.tag() == head.from.tag()
                && pending.head.cseq == head.cseq
        });
        if merged { self.refuse(request, 482) } else { Ok(()) }
    }

    /// 422 for sessions that would be refreshed all the time (RFC 4028, section 9).
    pub(super) fn check_session(&mut self, request: &Request, asked: &SessionAsked) -> Outcome {
        let least = self.config.session.expires_min;
        if !asked.supported || asked.interval.is_none_or(|interval| interval >= least) {
            return Ok(());
        }
        let mut response = self.response(request, 422);
        response.headers.push(name::MIN_SE, least.as_secs());
        Err(Box::new(response))
    }

    pub(super) fn check_room(&mut self, request: &Request) -> Outcome {
        if self.transactions.len() < self.config.limits.transactions_max {
            return Ok(());
        }
        self.full(request)
    }

    fn check_calls(&mut self, request: &Request, source: IpAddr, guest: bool) -> Outcome {
        let limits = &self.config.limits;
        let source = network(source);
        let of_source =
            || self.calls.values().filter(|call| call.guest && network(call.source) == source).count();
        if self.draining
            || self.calls.len() >= limits.calls_max
            || guest && of_source() >= limits.calls_per_guest_max
        {
            return self.full(request);
        }
        Ok(())
    }

    fn full(&mut self, request: &Request) -> Outcome {
        self.counters.full += 1;
        let mut response = self.response(request, 503);
        response.headers.push(name::RETRY_AFTER, 30);
        Err(Box::new(response))
    }
}
