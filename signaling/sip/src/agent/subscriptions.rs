//! Endpoints that want the roster of their conference (RFC 4575 and 6665).

use std::time::{Duration, Instant};

use super::Agent;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::guard::network;
use crate::headers::{Headers, name};
use crate::io::{CallId, CommandError, Event};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::roster::{self, CONFERENCE, CONFERENCE_INFO, EXPIRES_MAX, Roster, Subscription};
use crate::transaction::TransactionId;

impl Agent {
    /// Tells the endpoint of a call who is there, if it has asked. False: it has not.
    pub fn roster(&mut self, id: CallId, roster: &Roster, now: Instant) -> Result<bool, CommandError> {
        let call = self.calls.get_mut(&id).ok_or(CommandError::NoCall)?;
        let Some(subscription) = &mut call.subscription else { return Ok(false) };
        subscription.version += 1;
        let body = roster::document(roster, subscription.version);
        let left = subscription.expires_at.saturating_duration_since(now).as_secs();
        if left == 0 {
            self.notify(id, "terminated;reason=timeout".to_owned(), None, now);
            self.unsubscribe(id);
            return Ok(false);
        }
        self.notify(id, format!("active;expires={left}"), Some(body), now);
        Ok(true)
    }

    /// Outside of the dialog of its call, an endpoint names the call by our Contact, which nobody else
    /// knows, and comes from where the call comes from. Everybody else has nothing to subscribe to (S1).
    pub(super) fn subscribe(
        &mut self,
        request: Request,
        source: Flow,
        flow: Flow,
        now: Instant,
    ) -> Result<(), Box<Response>> {
        let named = request.uri.user().unwrap_or_default();
        let here = network(source.address.ip());
        let found = self
            .calls
            .iter()
            .find(|(_, call)| call.contact_user == named && network(call.dialog.flow().address.ip()) == here)
            .map(|(id, _)| *id);
        let Some(id) = found else {
            self.admit_nobody(&request, source, now)?;
            return self.refuse(&request, 404);
        };
        let tag = self.random.token();
        let Some(dialog) = Dialog::of_request(&request, &tag, source) else {
            return self.refuse(&request, 400);
        };
        let expires = self.check_event(&request)?;
        let transaction = self.transactions.serve(&request, flow);
        self.unsubscribe(id);
        let call = self.calls.get_mut(&id).expect("it was just found");
        call.subscription = Some(subscription(&request, dialog, false, now + expires));
        self.tags.insert(tag.clone(), id);
        self.accept_subscription(id, transaction, &request, &tag, expires, now);
        Ok(())
    }

    /// The challenge that anybody else gets, or nothing for those who are known.
    fn admit_nobody(&mut self, request: &Request, source: Flow, now: Instant) -> Result<(), Box<Response>> {
        if self.trunk(source).is_some() || self.authenticate(request, source, now)?.is_some() {
            return Ok(());
        }
        Err(Box::new(self.challenge(request, false, now)))
    }

    /// Within the dialog of the call, or of the subscription that it refreshes.
    pub(super) fn subscribe_in_call(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: &Request,
        now: Instant,
    ) {
        let expires = match self.check_event(request) {
            Ok(expires) => expires,
            Err(refused) => return self.transactions.respond(transaction, &refused, &mut self.out, now),
        };
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let tag = request.head.to.tag().unwrap_or_default().to_owned();
        match &mut call.subscription {
            Some(known) if known.shared || known.dialog.local_tag() == tag => {
                known.expires_at = now + expires
            }
            Some(_) => return self.reply(transaction, request, 481, now),
            None => {
                let dialog = call.dialog.clone();
                call.subscription = Some(subscription(request, dialog, true, now + expires));
            }
        }
        self.accept_subscription(id, transaction, request, &tag, expires, now);
    }

    fn check_event(&mut self, request: &Request) -> Result<Duration, Box<Response>> {
        let event = request.headers.first(name::EVENT).and_then(|event| event.split(';').next());
        if event.map(str::trim) != Some(CONFERENCE) {
            let mut response = self.response(request, 489);
            response.headers.push(name::ALLOW_EVENTS, CONFERENCE);
            return Err(Box::new(response));
        }
        let asked = request.headers.number(name::EXPIRES).unwrap_or(EXPIRES_MAX.as_secs() as u32);
        Ok(Duration::from_secs(asked.into()).min(EXPIRES_MAX))
    }

    fn accept_subscription(
        &mut self,
        id: CallId,
        transaction: TransactionId,
        request: &Request,
        tag: &str,
        expires: Duration,
        now: Instant,
    ) {
        let mut response = self.response_with_tag(request, 200, tag);
        let call = self.calls.get(&id).expect("the caller has found it");
        response
            .headers
            .push(name::CONTACT, self.contact(call.dialog.flow(), call.trunk, &call.contact_user));
        response.headers.push(name::EXPIRES, expires.as_secs());
        self.transactions.respond(transaction, &response, &mut self.out, now);
        if expires.is_zero() {
            self.notify(id, "terminated;reason=timeout".to_owned(), None, now);
            return self.unsubscribe(id);
        }
        self.out.event(Event::RosterWanted { call: id });
    }

    fn notify(&mut self, id: CallId, state: String, body: Option<String>, now: Instant) {
        let call = self.calls.get_mut(&id).expect("the caller has found it");
        let Some(subscription) = &mut call.subscription else { return };
        let dialog = if subscription.shared { &mut call.dialog } else { &mut subscription.dialog };
        let mut request = dialog.request(Method::Notify);
        let flow = dialog.next_hop();
        let event = subscription
            .id
            .as_ref()
            .map_or_else(|| CONFERENCE.to_owned(), |id| format!("{CONFERENCE};id={id}"));
        request.headers.push(name::EVENT, event);
        request.headers.push(name::SUBSCRIPTION_STATE, state);
        let trunk = call.trunk;
        let contact = self.contact(flow, trunk, &self.calls[&id].contact_user);
        request.headers.push(name::CONTACT, contact);
        if let Some(body) = body {
            request.headers.push(name::CONTENT_TYPE, CONFERENCE_INFO);
            request.body = body.into_bytes();
        }
        self.stamp(&mut request, flow, trunk);
        self.transactions.request(request, flow, super::Owner::Call(id), &mut self.out, now);
    }

    pub(super) fn unsubscribe(&mut self, id: CallId) {
        let subscription = self.calls.get_mut(&id).and_then(|call| call.subscription.take());
        if let Some(subscription) = subscription
            && !subscription.shared
        {
            self.tags.remove(subscription.dialog.local_tag());
        }
    }
}

fn subscription(request: &Request, dialog: Dialog, shared: bool, expires_at: Instant) -> Subscription {
    Subscription { dialog, shared, id: event_id(&request.headers), expires_at, version: 0 }
}

fn event_id(headers: &Headers) -> Option<String> {
    let (_, params) = headers.first(name::EVENT)?.split_once(';')?;
    crate::scan::Params::parse(params)?.text("id").filter(|id| crate::scan::is_token(id) && id.len() <= 64)
}
