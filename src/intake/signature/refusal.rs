//! Why a request is turned away.

/// The reason a request was refused. The sender is never told which: the answer's body is constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// No `signature` parameter.
    MissingSignature,
    /// More than one `signature` parameter.
    DuplicateSignature,
    /// A signature that is not the base64 of 20 bytes.
    MalformedSignature,
    /// No `client_id` parameter, or an empty one.
    MissingClientId,
    /// More than one `client_id` parameter.
    DuplicateClientId,
    /// No `X-TS-REC-Expires` header.
    MissingExpires,
    /// `X-TS-REC-Expires` is no decimal number of seconds, or was sent more than once.
    MalformedExpires,
    /// The request's time is over.
    Expired,
    /// The request would be valid for longer than the settings allow. Set by the receiver.
    LongLived,
    /// `Content-MD5` is not that of the body, or was sent more than once.
    BodyDigest,
    /// Signed with none of the tenant's secrets, or changed on the way.
    Mismatch,
    /// A `client_id` that no tenant has. Set by the receiver.
    UnknownTenant,
    /// The path names another tenant than `client_id` does. Set by the receiver.
    TenantMismatch,
    /// Of a tenant that was disconnected. Set by the receiver.
    Disconnected,
    /// A body over the receiver's cap.
    TooLarge,
    /// A request that did not arrive in time.
    TooSlow,
    /// A request cut off before its end.
    BrokenOff,
    /// More requests at once than the receiver holds.
    NoRoom,
    /// A genuine callback that could not be stored.
    NotCommitted,
    /// The database's time is not known yet.
    NoClock,
    /// The service is about to end.
    Stopping,
    /// No request of HTTP/1.1, or one that proxies read differently. Noted by the listener.
    Malformed,
    /// More headers, or larger ones, than are read. Noted by the listener.
    HeadersTooLarge,
    /// A method the URL does not take.
    Method,
    /// A path that is none of the service's: a proxy may have added or removed a prefix.
    UnknownPath,
}

impl Refusal {
    /// Every reason, for metrics.
    pub const ALL: [Refusal; 25] = [
        Refusal::MissingSignature,
        Refusal::DuplicateSignature,
        Refusal::MalformedSignature,
        Refusal::MissingClientId,
        Refusal::DuplicateClientId,
        Refusal::MissingExpires,
        Refusal::MalformedExpires,
        Refusal::Expired,
        Refusal::LongLived,
        Refusal::BodyDigest,
        Refusal::Mismatch,
        Refusal::UnknownTenant,
        Refusal::TenantMismatch,
        Refusal::Disconnected,
        Refusal::TooLarge,
        Refusal::TooSlow,
        Refusal::BrokenOff,
        Refusal::NoRoom,
        Refusal::NotCommitted,
        Refusal::NoClock,
        Refusal::Stopping,
        Refusal::Malformed,
        Refusal::HeadersTooLarge,
        Refusal::Method,
        Refusal::UnknownPath,
    ];

    /// The reason as stored and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::MissingSignature => "missing_signature",
            Refusal::DuplicateSignature => "duplicate_signature",
            Refusal::MalformedSignature => "malformed_signature",
            Refusal::MissingClientId => "missing_client_id",
            Refusal::DuplicateClientId => "duplicate_client_id",
            Refusal::MissingExpires => "missing_expires",
            Refusal::MalformedExpires => "malformed_expires",
            Refusal::Expired => "expired",
            Refusal::LongLived => "long_lived",
            Refusal::BodyDigest => "body_digest",
            Refusal::Mismatch => "mismatch",
            Refusal::UnknownTenant => "unknown_tenant",
            Refusal::TenantMismatch => "tenant_mismatch",
            Refusal::Disconnected => "disconnected",
            Refusal::TooLarge => "too_large",
            Refusal::TooSlow => "too_slow",
            Refusal::BrokenOff => "broken_off",
            Refusal::NoRoom => "no_room",
            Refusal::NotCommitted => "not_committed",
            Refusal::NoClock => "no_clock",
            Refusal::Stopping => "stopping",
            Refusal::Malformed => "malformed",
            Refusal::HeadersTooLarge => "headers_too_large",
            Refusal::Method => "method",
            Refusal::UnknownPath => "unknown_path",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
