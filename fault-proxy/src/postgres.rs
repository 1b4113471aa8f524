/// Bytes of a message that are kept: enough for a statement's name and COMMIT.
const KEPT: usize = 128;
/// Requests before the start-up message, of whole bytes each: for TLS, for encryption by GSSAPI.
const REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Reads what a client of PostgreSQL sends, in whatever pieces it comes. A stream of another protocol means nothing to
/// it and does it no harm.
#[derive(Default)]
pub(crate) struct Messages {
    /// Whether the start-up message is over.
    started: bool,
    header: Vec<u8>,
    body: Vec<u8>,
    /// Of the message under way.
    left: u32,
}

impl Messages {
    /// How many messages that end within these bytes carry a COMMIT.
    pub(crate) fn commits(&mut self, mut bytes: &[u8]) -> u64 {
        let mut commits = 0;
        loop {
            let wanted = if self.started { 5 } else { 8 };
            if self.header.len() < wanted {
                let taken = (wanted - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if self.header.len() < wanted {
                    return commits;
                }
                let length = &self.header[wanted - if self.started { 4 } else { 8 }..];
                let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
                // The length counts itself, and in the start-up message the code behind it is in the header.
                self.left = length.saturating_sub(if self.started { 4 } else { 8 });
            }
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let kept = taken.min(KEPT - self.body.len());
            self.body.extend_from_slice(&bytes[..kept]);
            self.left -= u32::try_from(taken).unwrap_or(self.left);
            bytes = &bytes[taken..];
            if self.left > 0 {
                return commits;
            }
            commits += u64::from(self.ended());
        }
    }

    /// A message is whole: whether it carries a COMMIT.
    fn ended(&mut self) -> bool {
        let commit = if self.started {
            let mut texts = self.body.split(|byte| *byte == 0);
            match self.header[0] {
                b'Q' => texts.next().is_some_and(is_commit),
                // The statement's name comes first.
                b'P' => texts.nth(1).is_some_and(is_commit),
                _ => false,
            }
        } else {
            let code = &self.header[4..];
            let code = u32::from_be_bytes([code[0], code[1], code[2], code[3]]);
            self.started = !REQUESTS.contains(&code);
            false
        };
        self.header.clear();
        self.body.clear();
        commit
    }
}

fn is_commit(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii();
    statement.strip_suffix(b";").unwrap_or(statement).trim_ascii_end().eq_ignore_ascii_case(b"commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn start_up() -> Vec<u8> {
        let request = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
        let body = b"user\0postgres\0\0";
        let length = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
        [&request[..], &length, &196_608_u32.to_be_bytes(), body].concat()
    }

    #[test]
    fn commits_are_found_in_both_protocols_wherever_the_stream_is_divided() {
        let long = [b"select '".as_slice(), &[b'C'; 3000], b"COMMIT'\0"].concat();
        let stream = [
            start_up(),
            message(b'Q', b"BEGIN\0"),
            message(b'Q', b"select 'COMMIT'\0"),
            message(b'Q', &long),
            message(b'B', b"\0s\0COMMIT\0"),
            message(b'Q', b" commit ; \0"),
            message(b'P', b"sqlx_s_1\0COMMIT\0\0\0"),
            message(b'P', b"COMMIT\0select 1\0\0\0"),
            message(b'S', b""),
            message(b'Q', b"COMMIT\0"),
        ]
        .concat();
        assert_eq!(Messages::default().commits(&stream), 3);
        for at in 0..=stream.len() {
            let mut messages = Messages::default();
            assert_eq!(messages.commits(&stream[..at]) + messages.commits(&stream[at..]), 3, "divided at {at}");
        }
        let mut messages = Messages::default();
        assert_eq!(stream.iter().map(|byte| messages.commits(&[*byte])).sum::<u64>(), 3);
    }

    #[test]
    fn another_protocol_does_no_harm() {
        let mut messages = Messages::default();
        assert_eq!(messages.commits(b"POST /COMMIT HTTP/1.1\r\nhost: localhost\r\n\r\nCOMMIT\0"), 0);
        assert_eq!(messages.commits(&[0; 4096]), 0);
        assert_eq!(messages.commits(&[255; 4096]), 0);
    }
}
