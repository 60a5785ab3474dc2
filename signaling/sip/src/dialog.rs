//! Dialogs (RFC 3261, section 12): who speaks with whom, in which order, along which way.

use crate::flow::{Flow, Transport};
use crate::headers::{CSeq, Headers, name};
use crate::message::{Head, Request, Response};
use crate::method::Method;
use crate::uri::{self, NameAddr, Uri};

#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// With our tag.
    pub(crate) local: NameAddr,
    /// With the peer's tag, if it has told one.
    pub(crate) remote: NameAddr,
    pub(crate) local_sequence: u32,
    /// None until the peer's first request.
    remote_sequence: Option<u32>,
    route_set: Vec<NameAddr>,
    /// The peer's Contact.
    target: Uri,
    /// The way of the message that the target came with.
    flow: Flow,
}

impl Dialog {
    /// Of a request that came (section 12.1.1). None: it has no Contact to answer to.
    pub(crate) fn of_request(request: &Request, local_tag: &str, flow: Flow) -> Option<Dialog> {
        Some(Dialog {
            call_id: request.head.call_id.clone(),
            local: request.head.to.clone().with_tag(local_tag),
            remote: request.head.from.clone(),
            local_sequence: 0,
            remote_sequence: Some(request.head.cseq.number),
            route_set: routes(&request.headers),
            target: contact(&request.headers)?,
            flow,
        })
    }

    /// Of a request of ours that nobody has answered yet.
    pub(crate) fn of_dialing(request: &Request, flow: Flow) -> Dialog {
        Dialog {
            call_id: request.head.call_id.clone(),
            local: request.head.from.clone(),
            remote: request.head.to.clone(),
            local_sequence: request.head.cseq.number,
            remote_sequence: None,
            route_set: Vec::new(),
            target: request.uri.clone(),
            flow,
        }
    }

    /// Of a response to a request of ours (section 12.1.2).
    pub(crate) fn of_response(request: &Request, response: &Response, flow: Flow) -> Dialog {
        let mut route_set = routes(&response.headers);
        route_set.reverse();
        Dialog {
            call_id: request.head.call_id.clone(),
            local: request.head.from.clone(),
            remote: response.head.to.clone(),
            local_sequence: request.head.cseq.number,
            remote_sequence: None,
            route_set,
            // A provisional response may come without one.
            target: contact(&response.headers).unwrap_or_else(|| request.uri.clone()),
            flow,
        }
    }

    pub(crate) fn local_tag(&self) -> &str {
        self.local.tag().unwrap_or_default()
    }

    /// Whether a request with our tag is of this dialog.
    pub(crate) fn is_of(&self, head: &Head) -> bool {
        head.call_id == self.call_id
            && head.to.tag() == self.local.tag()
            && head.from.tag() == self.remote.tag()
    }

    /// Takes the number of a request of the peer (section 12.2.2). False: it is out of order.
    pub(crate) fn follows(&mut self, cseq: &CSeq) -> bool {
        if self.remote_sequence.is_some_and(|last| cseq.number <= last) {
            return false;
        }
        self.remote_sequence = Some(cseq.number);
        true
    }

    /// An INVITE or UPDATE, or its answer, moves the target.
    pub(crate) fn refresh_target(&mut self, headers: &Headers, flow: Flow) {
        if let Some(target) = contact(headers) {
            self.target = target;
            self.flow = flow;
        }
    }

    /// A request of ours within the dialog, still without its Via and Contact.
    pub(crate) fn request(&mut self, method: Method) -> Request {
        self.local_sequence += 1;
        self.numbered(method, self.local_sequence)
    }

    /// The ACK of a 2xx, which has the number of its INVITE (section 13.2.2.4).
    pub(crate) fn acknowledgement(&self, invite: u32) -> Request {
        self.numbered(Method::Ack, invite)
    }

    /// Section 12.2.1.1.
    fn numbered(&self, method: Method, number: u32) -> Request {
        let (mut uri, mut routes) = (self.target.clone(), self.route_set.clone());
        if let Some(first) = routes.first()
            && !first.uri.has_param("lr")
        {
            // A strict router takes itself out of the request URI (section 12.2.1.1).
            uri = routes.remove(0).uri;
            routes.push(NameAddr::new(self.target.clone()));
        }
        let mut headers = Headers::default();
        headers.push(name::MAX_FORWARDS, 70);
        for route in routes {
            headers.push(name::ROUTE, route);
        }
        let cseq = CSeq { number, method: method.clone() };
        headers.push(name::FROM, &self.local);
        headers.push(name::TO, &self.remote);
        headers.push(name::CALL_ID, &self.call_id);
        headers.push(name::CSEQ, &cseq);
        let head = Head {
            via: crate::headers::Via {
                transport: self.flow.transport.to_string(),
                host: String::new(),
                port: None,
                params: Default::default(),
            },
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
        };
        Request { method, uri, head, headers, body: Vec::new() }
    }

    /// Where requests go: back where the peer's messages come from, which is the one way that works
    /// through NAT and proxies alike. A port that the next hop names at that same address is preferred,
    /// because streams come from short-lived ports.
    pub(crate) fn next_hop(&self) -> Flow {
        let next = self.route_set.first().map_or(&self.target, |route| &route.uri);
        let Some(next) = next.as_sip() else { return self.flow };
        if self.flow.connection.is_some() || next.address() != Some(self.flow.address.ip().to_canonical()) {
            return self.flow;
        }
        let mut flow = self.flow;
        flow.address.set_port(next.port.unwrap_or(flow.transport.default_port()));
        flow
    }

    /// The connection broke: what follows goes to the address that the peer named, over a new one.
    pub(crate) fn disconnected(&mut self, connection: crate::flow::ConnectionId) {
        if self.flow.connection == Some(connection) {
            self.flow.connection = None;
        }
    }

    pub(crate) fn flow(&self) -> Flow {
        self.flow
    }
}

fn contact(headers: &Headers) -> Option<Uri> {
    let contact = headers.list(name::CONTACT).next().and_then(NameAddr::parse)?;
    // RFC 3261, section 8.1.1.8: nothing but SIP is called back.
    matches!(contact.uri, Uri::Sip(_)).then_some(contact.uri)
}

/// More hops than any call has.
const ROUTES_MAX: usize = 16;

fn routes(headers: &Headers) -> Vec<NameAddr> {
    headers.list(name::RECORD_ROUTE).filter_map(NameAddr::parse).take(ROUTES_MAX).collect()
}

/// The source as the sender of a response sees it (RFC 3261, section 18.2.2, and RFC 3581): written
/// into the topmost Via, and where the response goes.
pub(crate) fn response_flow(request: &mut Request, source: Flow) -> Flow {
    let via = &mut request.head.via;
    let mut flow = source;
    let host = source.address.ip().to_canonical();
    if via.params.has("rport") {
        via.params.set("rport", Some(source.address.port().to_string()));
        via.params.set("received", Some(host.to_string()));
    } else {
        if uri::address(&via.host) != Some(host) {
            via.params.set("received", Some(host.to_string()));
        }
        if source.transport == Transport::Udp {
            flow.address.set_port(via.port.unwrap_or(source.transport.default_port()));
        }
    }
    let vias: Vec<String> = request.headers.list(name::VIA).skip(1).map(str::to_owned).collect();
    let top = via.to_string();
    request.headers.remove(name::VIA);
    request.headers.push(name::VIA, top);
    for via in vias {
        request.headers.push(name::VIA, via);
    }
    flow
}
